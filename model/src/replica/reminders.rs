//! Reminders: a peer is held to what it told.
//!
//! A replica remembers what peers have told it that was durable ([`testimony`](crate::testimony)), and
//! reminds them when a connection is made. A replica whose disk has less than that writes so, tells
//! everybody, and stops: it counts for nothing until it is replaced. What it has told before counts for
//! nothing either, as far as others can take it back.

use super::common::Common;
use super::{Replica, Role};
use crate::entry::Value;
use crate::io::Output;
use crate::message::{Message, Reply};
use crate::numbers::{ReplicaId, SequenceNumber, Slot};
use crate::prefix::EntryDigest;
use crate::record::Content;
use crate::testimony::{Forgotten, Testimony, ToldAccepted};

impl<V: Value> Common<V> {
    /// Remembers what `peer` tells in `reply`, under a number of this replica's own: `s`.
    pub(crate) fn remember(&mut self, peer: ReplicaId, s: SequenceNumber, reply: &Reply<V>) {
        let testimony = match reply {
            Reply::Promise(_) => Testimony { promised: s, accepted: None },
            Reply::Acknowledge { ranges, .. } => {
                let slot = ranges.last().map(|range| range.last);
                // Nobody has been asked to accept anything above.
                let last = self.acceptor.last(self.watermark());
                let Some(slot) = slot.filter(|slot| *slot <= last) else {
                    return;
                };
                let accepted = Some(ToldAccepted { slot, s, digest: None });
                Testimony { promised: SequenceNumber::NONE, accepted }
            }
            _ => return,
        };
        let known = self.testimonies.entry(peer).or_default();
        known.promised = known.promised.max(testimony.promised);
        let rank = |it: &ToldAccepted| (it.s, it.slot);
        known.accepted = known.accepted.into_iter().chain(testimony.accepted).max_by_key(rank);
    }

    /// What `peer` has told this replica, as far as it is known.
    fn testimony_of(&self, peer: ReplicaId) -> Testimony {
        let mut testimony = self.testimonies.get(&peer).copied().unwrap_or_default();
        // The owner of a number promises it before it gives an order under it.
        let promised = self.acceptor.promised();
        if self.constants.owns(peer, promised) {
            testimony.promised = testimony.promised.max(promised);
        }
        if let Some(accepted) = &mut testimony.accepted {
            accepted.digest = self.digest_in(accepted.slot);
        }
        testimony
    }

    /// The digest of the entry that is accepted or committed in `slot`, if it is in memory.
    fn digest_in(&self, slot: Slot) -> Option<EntryDigest> {
        if let Some(held) = self.acceptor.accepted().get(&slot) {
            return Some(held.digest);
        }
        let committed = || self.learner.tail_from(slot).next();
        committed().filter(|(at, _)| *at == slot).map(|(_, entry)| EntryDigest::of(entry))
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
        let ToldAccepted { slot, s, digest } = testimony.accepted?;
        let has_it = slot <= self.watermark()
            || self.acceptor.accepted().get(&slot).is_some_and(|held| {
                held.s >= s || digest.is_none_or(|digest| held.digest == digest)
            });
        if has_it { None } else { forgotten(s, Some(slot)) }
    }
}

impl<V: Value> Replica<V> {
    /// `from` says what this replica has told it. If the disk has less, this replica stops, for good.
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
                coordinator.forget_votes(from, &common.configuration);
            }
        }
    }
}
