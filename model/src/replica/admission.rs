//! Admission: a change is opened only if a majority of those who would vote after it are ready.
//!
//! A change can strand a cluster. Three members are `0`, `1` and `2`, and `2` has failed. To remove `1` leaves `0` and
//! `2`, and a majority of the two needs both. Nothing is committed any more, not even a change that would take this
//! one back. So is a new member that was never started, or that takes hours to catch up.
//!
//! So the coordinator keeps a change aside, and asks all who would vote after it: [`Message::AskReady`]. A voter is
//! *ready* if it has answered with the data directory that the change registers, and lacks no more than an acceptor
//! accepts ahead ([`Limits::accepted_slots_max`](crate::Limits::accepted_slots_max)). A replica whose disk or application
//! hangs does not answer. The same holds for the coordinator itself. Once a majority is ready, and every learner that the
//! change makes a voter, the change is opened. What else waits goes on meanwhile.
//!
//! Who lacks something asks for it when it is asked whether it is ready. So a replica that is to become a member
//! catches up.
//!
//! No change waits for ever. If it is not opened after two repetitions, its client is told which voters are ready:
//! [`ClientAnswer::NotReady`]. So is the client whose change another one replaces. It may ask again.
//!
//! What an election must finish was admitted by another coordinator, and may be chosen. It is not asked about again.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::clients::Clients;
use super::common::Common;
use super::{Coordinator, Replica, Role};
use crate::configuration::{Configuration, MemberSet};
use crate::entry::{Change, Entry, SubmissionId, Value};
use crate::forming::Incarnation;
use crate::io::{ClientAnswer, Output};
use crate::membership::Membership;
use crate::message::Message;
use crate::numbers::{ReplicaId, SequenceNumber, Slot};
use crate::prefix::Prefix;

/// How often a change is repeated to those who are not ready, before its client is told. Default 2: so each of
/// them has had the time of one repetition at least.
const REPETITIONS_MAX: u8 = 2;

/// The change that waits, and what became of those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Admission {
    waiting: Option<Box<Waiting>>,
    /// How many changes were asked about.
    asked: u64,
    /// The changes that wait no more, and whose clients have not been told yet.
    refused: Vec<(SubmissionId, MemberSet)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Waiting {
    change: Change,
    is_asked: bool,
    ready: MemberSet,
    repetitions: u8,
}

impl Waiting {
    fn submission(&self) -> SubmissionId {
        SubmissionId::Request { session: self.change.session, number: self.change.number }
    }

    /// Whether it may be opened. Delivery refuses a change that is not based on the newest configuration, whoever
    /// is ready. Its client learns of that when it is committed.
    fn is_admitted(&self, newest: &Configuration) -> bool {
        let next = &self.change.configuration;
        let is_promoted = |it: &ReplicaId| Membership::of(*it, newest) == Membership::Learner;
        let mut promoted = next.voters().filter(is_promoted);
        let are_ready =
            next.is_majority(self.ready) && promoted.all(|it| next.is_in(self.ready, it));
        are_ready || !next.follows(newest)
    }
}

impl Admission {
    /// How many changes wait.
    pub(super) fn count(&self) -> u64 {
        u64::from(self.waiting.is_some())
    }

    /// From now on `change` waits. Returns the one that has waited before.
    pub(super) fn wait(&mut self, change: Change) -> Option<SubmissionId> {
        let (is_asked, ready, repetitions) = (false, MemberSet::default(), 0);
        let waiting = Waiting { change, is_asked, ready, repetitions };
        let before = self.waiting.replace(Box::new(waiting))?;
        let submission = before.submission();
        self.refused.push((submission, before.ready));
        Some(submission)
    }

    /// Takes the change out if it may be opened.
    pub(super) fn take_admitted<V>(&mut self, newest: &Configuration) -> Option<Entry<V>> {
        let admitted = self.waiting.take_if(|it| it.is_admitted(newest))?;
        Some(Entry::Change(admitted.change))
    }

    /// Asks those who would vote, and are not known to be ready.
    fn ask<V: Value>(&mut self, s: SequenceNumber, common: &Common<V>, out: &mut Output<V>) {
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        let next = &waiting.change.configuration;
        if !waiting.is_asked {
            waiting.is_asked = true;
            self.asked = self.asked.saturating_add(1);
            if common.is_ready_for(next) {
                next.insert(&mut waiting.ready, common.me);
            }
        }
        for voter in next.voters().filter(|it| !next.is_in(waiting.ready, *it)) {
            let (number, prefix) = (self.asked, common.prefix());
            out.send(voter, Message::AskReady { s, number, prefix });
        }
    }

    /// Time has passed. Returns the change that has waited for long enough.
    fn repeat<V: Value>(
        &mut self,
        s: SequenceNumber,
        common: &Common<V>,
        out: &mut Output<V>,
    ) -> Option<SubmissionId> {
        let waiting = self.waiting.as_mut()?;
        if waiting.repetitions == REPETITIONS_MAX {
            let (submission, ready) = (waiting.submission(), waiting.ready);
            self.waiting = None;
            self.refused.push((submission, ready));
            return Some(submission);
        }
        waiting.repetitions += 1;
        self.ask(s, common, out);
        None
    }
}

impl<V: Value> Common<V> {
    /// Whether this replica itself is ready to vote in `next`: nothing hangs, and it has the registered directory.
    fn is_ready_for(&self, next: &Configuration) -> bool {
        let is_other = self.incarnation.is_some_and(|it| next.is_other_directory(self.me, it));
        self.hung.any().is_none() && !is_other
    }
}

impl<V: Value> Coordinator<V> {
    /// Asks about a change that has come, and tells the clients of those that wait no more.
    pub(super) fn proceed_with_admission(
        &mut self,
        common: &Common<V>,
        clients: &mut Clients<V>,
        out: &mut Output<V>,
    ) {
        if self.admission.waiting.as_ref().is_some_and(|it| !it.is_asked) {
            self.admission.ask(self.s, common, out);
        }
        for (submission, ready) in core::mem::take(&mut self.admission.refused) {
            clients.not_ready(submission, ready, out);
            out.send_to_others(Message::NotReady { s: self.s, submission, ready });
        }
    }

    /// Asks again who is ready, or gives the change up.
    pub(super) fn repeat_admission(&mut self, common: &Common<V>, out: &mut Output<V>) {
        if let Some(submission) = self.admission.repeat(self.s, common, out) {
            self.forget_copy(submission);
        }
    }

    fn take_ready(
        &mut self,
        from: ReplicaId,
        incarnation: Option<Incarnation>,
        through: Slot,
        common: &Common<V>,
    ) {
        let Some(waiting) = &mut self.admission.waiting else {
            return;
        };
        let next = &waiting.change.configuration;
        let is_other = incarnation.is_some_and(|it| next.is_other_directory(from, it));
        let is_near = through.plus(common.limits().accepted_slots_max) >= common.watermark();
        if is_near && !is_other {
            next.insert(&mut waiting.ready, from);
        }
    }
}

impl<V: Value> Replica<V> {
    /// `from` asks whether this replica could vote after a change. It has committed `prefix`.
    pub(super) fn take_ask_ready(
        &mut self,
        from: ReplicaId,
        s: SequenceNumber,
        number: u64,
        prefix: &Prefix,
        out: &mut Output<V>,
    ) {
        let common = &mut self.common;
        if prefix.through > Slot::MAX {
            return;
        }
        if prefix.through > common.watermark() {
            common.ask(from, prefix.through, out);
        }
        if common.hung.any().is_some() {
            return;
        }
        let (incarnation, through) = (common.incarnation, common.learner.durable());
        out.send(from, Message::Ready { s, number, incarnation, through });
    }

    /// `from` has answered the question with this number.
    pub(super) fn take_ready(
        &mut self,
        from: ReplicaId,
        (s, number): (SequenceNumber, u64),
        incarnation: Option<Incarnation>,
        through: Slot,
    ) {
        if let Role::Coordinator(coordinator) = &mut self.role
            && (coordinator.s, coordinator.admission.asked) == (s, number)
        {
            coordinator.take_ready(from, incarnation, through, &self.common);
        }
    }

    /// The coordinator of `s` does not open this change.
    pub(super) fn not_ready(
        &mut self,
        from: ReplicaId,
        s: SequenceNumber,
        submission: SubmissionId,
        ready: MemberSet,
        out: &mut Output<V>,
    ) {
        if self.forwards_under(s, from) {
            self.clients.not_ready(submission, ready, out);
        }
    }
}

impl<V: Value> Clients<V> {
    /// The client of this change is told that it is not opened now.
    fn not_ready(&mut self, submission: SubmissionId, ready: MemberSet, out: &mut Output<V>) {
        if self.waits_for(&submission) {
            self.forget(&submission);
            out.answers.push(ClientAnswer::NotReady { submission, ready });
        }
    }
}
