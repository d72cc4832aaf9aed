//! Membership: what follows when another configuration governs.
//!
//! A change of the members is an entry of the log. The slots after it are governed by the configuration that
//! it names (Lamport, Malkhi and Zhou, "Reconfiguring a State Machine", 2010). Four rules follow:
//!
//! 1. **What was accepted in another configuration counts for nothing** above the change: it is neither a vote
//!    nor a value that may have been chosen, whatever its number. A replica forgets it in the step that commits
//!    the change; and on the disk, each entry names its configuration.
//! 2. **Nothing is opened above an open change**, neither from the queue nor by an election. So what is held under
//!    the number of a coordinator, and is committed, is what the coordinator has opened. Catch-up relies on that.
//! 3. **Committing a change ends every role** in the same step, however the replica learns of it. The
//!    coordinator stands again, under a new number. So one number belongs to one configuration.
//! 4. **Orders and replies count only within one configuration.** Promises are global, and only grow. Who
//!    gets an order of another configuration tells what it has committed. So the one that lacks something
//!    gets it.
//!
//! A change is *finished* when a slot after it is committed. A majority of the new voters has accepted that
//! slot. The record of that is durable, and so are all records before it. So they have everything up to the
//! change, and the former members are needed no more.

use super::clients::Clients;
use super::common::Common;
use super::{Coordinator, Replica, Role};
use crate::configuration::Configuration;
use crate::entry::{Entry, Value};
use crate::forming::Incarnation;
use crate::io::{ClientAnswer, Output, ReadRefused};
use crate::message::{Message, Order};
use crate::numbers::{ReplicaId, Slot, SlotRange};
use crate::prefix::Prefix;

impl<V: Value> Common<V> {
    /// Whether this replica is a member of the newest configuration that it knows.
    pub(super) fn is_member(&self) -> bool {
        self.configuration().contains(self.me)
    }

    /// The data directory that is registered under the id of this replica, if it is another one than this replica
    /// has. That one votes, and this one must not.
    pub(crate) fn other_directory(&self) -> Option<Incarnation> {
        let mine = self.incarnation?;
        let registered = self.configuration().registration(self.me)?.incarnation;
        (registered != mine).then_some(registered)
    }

    /// Another configuration than before governs the slots above the watermark.
    pub(super) fn configuration_changed(&mut self, out: &mut Output<V>) {
        if let Some(former) = self.learner.former() {
            out.address_others(former, self.me);
        }
        self.acceptor.void();
        self.owed.clear();
        self.told = None;
        self.told_room = None;
        self.asks_at_once = true;
    }

    /// Tells the members before and after the newest change what is committed. Some may not know of it.
    pub(super) fn tell_of_change(&self, out: &mut Output<V>) {
        let (former, newest) = (self.learner.former(), self.configuration());
        let members = newest.members().iter();
        let gone = former.into_iter().flat_map(Configuration::members);
        let gone = gone.filter(|member| !newest.contains(**member));
        for &member in members.chain(gone).filter(|member| **member != self.me) {
            out.send(member, Message::CommittedThrough { prefix: self.prefix() });
        }
    }

    /// Repeats that, until a slot after the change is committed. A replica that is no member asks around in
    /// the same way, until it knows that it is not needed.
    pub(super) fn repeat_change(&self, out: &mut Output<V>) {
        let is_outside = !self.is_member() && self.watermark() == Slot::ZERO;
        if is_outside || self.learner.is_change_unfinished() {
            self.tell_of_change(out);
        }
    }
}

impl<V: Value> Replica<V> {
    /// `from` has committed `prefix`. One of the two may not know of the newest configuration: it gets what
    /// it lacks. If both have the same, `from` may have obeyed no order so far, because it has only now come to
    /// know that it is a member.
    pub(super) fn take_committed_through(
        &mut self,
        from: ReplicaId,
        prefix: &Prefix,
        out: &mut Output<V>,
    ) {
        let common = &mut self.common;
        let watermark = common.watermark();
        if prefix.through > Slot::MAX {
            return;
        }
        if prefix.through > watermark {
            common.ask(from, prefix.through, out);
        } else if prefix.through < watermark {
            // What it is being served is on its way, and to begin again would hold that up.
            if let Some(rest) = common.serving.get_mut(&from) {
                rest.last = rest.last.max(watermark);
                return;
            }
            let first = prefix.through.next();
            common.serve(from, SlotRange { first, last: watermark }, out);
        } else if common.configuration().contains(from) {
            match &mut self.role {
                // It has told how far it is, so there is no need to wait for a round.
                Role::Coordinator(coordinator) => coordinator.repeat_open(from, common, out),
                _ => self.repeat_to(from, out),
            }
        }
    }

    /// A change is committed, so every role ends. A coordinator that still votes stands again.
    ///
    /// That is also so for a change that delivery has refused: the coordinator may have left slots above it
    /// that must be finished.
    pub(super) fn end_role_after_change(&mut self, out: &mut Output<V>) {
        let role = core::mem::replace(&mut self.role, Role::Follower);
        if let Role::Coordinator(coordinator) = role {
            coordinator.tell_last_commit(&self.common, out);
            if self.common.configuration().is_voter(self.common.me) {
                self.stand_again(out);
            }
        }
        self.common.tell_of_change(out);
        if !self.common.is_member() {
            self.clients.give_up_all(out);
        }
    }
}

impl<V: Value> Coordinator<V> {
    /// Repeats to `member`, which has all that is committed, what is open and the newest round.
    fn repeat_open(&self, member: ReplicaId, common: &Common<V>, out: &mut Output<V>) {
        let next = self.next_slot(common.watermark());
        let slots = SlotRange { first: common.watermark().next(), last: Slot(next.0 - 1) };
        if slots.first <= slots.last && !common.full.contains(&member) {
            self.push_slots(member, slots, common, out);
        }
        self.rounds.send_to(member, self.s, common, out);
    }

    /// Tells those that held the change under this number that it is committed. They obey no other
    /// configuration than their own.
    fn tell_last_commit(&self, common: &Common<V>, out: &mut Output<V>) {
        let its = common.learner.former().unwrap_or(common.configuration());
        for &member in its.members().iter().filter(|member| **member != common.me) {
            let order = Order::Commit { prefix: common.prefix() };
            out.send(member, Message::Order { configuration: its.id(), s: self.s, order });
        }
    }

    /// Whether the last open slot holds a change. Then nothing is opened above it.
    pub(super) fn has_open_change(&self, common: &Common<V>) -> bool {
        self.open.last_key_value().is_some_and(|(slot, _)| {
            let held = common.acceptor.accepted().get(slot);
            held.is_some_and(|held| matches!(held.entry, Entry::Change(_)))
        })
    }
}

impl<V: Value> Clients<V> {
    /// This replica is no member any more, and learns no more of what its clients wait for. A member knows.
    fn give_up_all(&mut self, out: &mut Output<V>) {
        let submissions = self.take_all();
        let removed = |submission| ClientAnswer::Removed { submission };
        out.answers.extend(submissions.into_iter().map(removed));
        let reason = ReadRefused::NotAMember;
        let refused = |id| ClientAnswer::ReadRefused { id, reason };
        out.answers.extend(self.reads.take_all().into_iter().map(refused));
    }
}
