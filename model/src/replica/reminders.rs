//! Reminders: a peer is held to what it told.
//!
//! A replica remembers what peers have told it that was durable ([`testimony`](crate::testimony)), and
//! reminds them when a connection is made. A replica whose disk has less than that writes a record of it,
//! tells all others, and stops. From then on it counts for nothing, and its votes and its promises are taken
//! back.

use super::common::Common;
use super::{Replica, Role};
use crate::entry::Value;
use crate::io::Output;
use crate::message::{Message, Reply};
use crate::numbers::{ReplicaId, SequenceNumber, Slot};
use crate::record::Content;
use crate::testimony::{Forgotten, Testimony, ToldAccepted};

impl<V: Value> Common<V> {
    /// Remembers what `peer` tells in `reply`, under a number of this replica's own: `s`.
    pub(crate) fn remember(&mut self, peer: ReplicaId, s: SequenceNumber, reply: &Reply<V>) {
        let known = self.testimonies.get(&peer).copied().unwrap_or_default();
        let told = match reply {
            Reply::Promise(_) => Testimony { promised: known.promised.max(s), ..known },
            Reply::Acknowledge { ranges, prefix } => {
                // What it knows to be committed it may hold under a lower number. And nobody has been asked
                // to accept anything above the last slot.
                let last = self.acceptor.last(self.watermark());
                let is_held = |slot: &Slot| prefix.through < *slot && *slot <= last;
                let slot = ranges.last().map(|range| range.last).filter(is_held);
                let configuration = self.configuration().id();
                let told = slot.map(|slot| ToldAccepted { configuration, s, slot });
                let accepted = known.accepted.max(told);
                Testimony { accepted, ..known }
            }
            _ => return,
        };
        if told != known {
            self.testimonies.insert(peer, told);
        }
    }

    /// What `peer` has told this replica, as far as it is known.
    fn testimony_of(&self, peer: ReplicaId) -> Testimony {
        let mut testimony = self.testimonies.get(&peer).copied().unwrap_or_default();
        // The owner of a number promises it before it gives an order under it.
        let promised = self.acceptor.promised();
        if self.constants.owns(peer, promised) {
            testimony.promised = testimony.promised.max(promised);
        }
        testimony
    }

    /// Reminds `peer` of what it has told, if it has told anything.
    pub(super) fn remind(&self, peer: ReplicaId, out: &mut Output<V>) {
        let testimony = self.testimony_of(peer);
        if testimony != Testimony::default() {
            out.send(peer, Message::Remind { testimony });
        }
    }

    /// What the disk of this replica has lost of what it has told `told_to`.
    fn forgotten_of(&self, told_to: ReplicaId, testimony: &Testimony) -> Option<Forgotten> {
        let forgotten = |s, slot| Some(Forgotten { replica: self.me, told_to, s, slot });
        if self.acceptor.promised() < testimony.promised {
            return forgotten(testimony.promised, None);
        }
        let ToldAccepted { configuration, s, slot } = testimony.accepted?;
        if configuration < self.configuration().id() {
            return None;
        }
        let held = self.acceptor.accepted().get(&slot);
        let has_it = slot <= self.watermark() || held.is_some_and(|held| held.s >= s);
        if has_it { None } else { forgotten(s, Some(slot)) }
    }

    /// Tells `peer` what the disk of this replica has lost, if it has stopped for that.
    pub(super) fn tell_what_is_lost(&self, peer: ReplicaId, out: &mut Output<V>) {
        if let Some(forgotten) = self.forgotten.get(&self.me)
            && self.configuration().contains(peer)
            && peer != self.me
        {
            out.send(peer, Message::Forgot { forgotten: *forgotten });
        }
    }

    /// `peer` has begun another run: somebody may have put its data directory right. It will be reminded.
    pub(super) fn trust_again(&mut self, peer: ReplicaId) {
        if peer != self.me {
            self.forgotten.remove(&peer);
        }
    }
}

impl<V: Value> Replica<V> {
    /// `from` says what this replica has told it. If the disk has less, this replica stops for good.
    pub(super) fn take_reminder(
        &mut self,
        from: ReplicaId,
        testimony: &Testimony,
        out: &mut Output<V>,
    ) {
        let common = &mut self.common;
        let Some(forgotten) = common.forgotten_of(from, testimony) else {
            return;
        };
        self.role = Role::Follower;
        common.write(Content::Forgotten(forgotten), out);
        common.forgotten.insert(common.me, forgotten);
        out.forgotten.push(forgotten);
        out.send_to_others(Message::Forgot { forgotten });
    }

    /// The disk of `from` has lost something. It counts for nothing from now on, and neither do the votes
    /// that it gave and the promise that it made to this replica.
    pub(super) fn take_forgotten(
        &mut self,
        from: ReplicaId,
        forgotten: Forgotten,
        out: &mut Output<V>,
    ) {
        let common = &mut self.common;
        if forgotten.replica != from || common.forgotten.contains_key(&from) {
            return;
        }
        common.forgotten.insert(from, forgotten);
        out.forgotten.push(forgotten);
        if common.catch_up.as_ref().is_some_and(|catch_up| catch_up.from == from) {
            common.forget_asks();
        }
        match &mut self.role {
            Role::Follower | Role::Canvassing(_) => {}
            Role::Candidate(candidate) => candidate.forget_promise(from),
            Role::Coordinator(coordinator) => {
                if !coordinator.is_elected_without(from, common.configuration()) {
                    self.role = Role::Follower;
                    return;
                }
                coordinator.forget_votes(from, common.configuration());
                coordinator.rounds.forget(from, common.configuration());
            }
        }
    }
}
