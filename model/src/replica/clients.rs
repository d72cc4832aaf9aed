//! What clients submit, here or forwarded from another replica.
//!
//! The replica that a client asked is the *origin*. It keeps a submission, and repeats it to the
//! coordinator until it is delivered here. If the origin crashes, the client does not know what became
//! of the submission. A retry at any replica finds out.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::common::Common;
use super::reads::Reads;
use super::resend::room_of_portion;
use super::{Coordinator, Replica, Role};
use crate::counted::CountedMap;
use crate::entry::{Change, Entry, Opening, Request, SubmissionId, Value};
use crate::frames::{FrameRoom, in_frames, is_one_frame};
use crate::io::{ClientAnswer, Output, SubmitRefused};
use crate::limits::Limits;
use crate::message::{Message, NotTakenReason};
use crate::numbers::{ReplicaId, SequenceNumber, SessionId, Slot};
use crate::sessions::{Known, RequestTable};

/// What the clients of this replica wait for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Clients<V> {
    /// What they submitted and was not delivered yet.
    submissions: CountedMap<SubmissionId, Entry<V>>,
    /// Of these, the ones that are to be forwarded to the coordinator. At the coordinator itself: those
    /// that its queue had no room for.
    unforwarded: BTreeSet<SubmissionId>,
    /// The coordinator of the promised number had no room, and has not said yet that it has. Until then,
    /// nothing is forwarded.
    waits_for_room: bool,
    pub(crate) reads: Reads,
}

impl<V> Default for Clients<V> {
    fn default() -> Self {
        Self {
            submissions: CountedMap::default(),
            unforwarded: BTreeSet::new(),
            waits_for_room: false,
            reads: Reads::default(),
        }
    }
}

impl<V: Value> Clients<V> {
    /// What was submitted here and not delivered yet.
    pub(crate) fn submissions(&self) -> impl Iterator<Item = &Entry<V>> {
        self.submissions.items().values()
    }

    /// Everything is to be forwarded, to a coordinator that has received none of it; or, at the coordinator
    /// itself, taken up.
    pub(super) fn forward_anew(&mut self) {
        self.unforwarded = self.submissions.items().keys().copied().collect();
        self.reads.forward_anew();
        self.waits_for_room = false;
    }

    /// The coordinator has no room for these. What is not kept here is left out.
    pub(super) fn hold(&mut self, submissions: impl IntoIterator<Item = SubmissionId>) {
        let kept = self.submissions.items();
        self.unforwarded.extend(submissions.into_iter().filter(|id| kept.contains_key(id)));
    }

    /// Takes a portion of the submissions that are to be forwarded.
    pub(super) fn take_portion(&mut self, limits: &Limits) -> Vec<Entry<V>> {
        let mut room = room_of_portion(limits);
        let mut portion = Vec::new();
        while let Some(entry) =
            self.unforwarded.first().and_then(|id| self.submissions.items().get(id))
            && room.take(entry.size_bytes())
        {
            portion.push(entry.clone());
            self.unforwarded.pop_first();
        }
        portion
    }

    /// Whether nothing is forwarded until the coordinator has room.
    pub(super) fn waits_for_room(&self) -> bool {
        self.waits_for_room
    }

    /// The coordinator may have said that it has room, and that may be lost.
    pub(super) fn try_without_room(&mut self) {
        self.waits_for_room = false;
    }

    /// Whether something is to be forwarded as soon as the coordinator gives an order.
    pub(crate) fn has_unforwarded(&self) -> bool {
        !self.unforwarded.is_empty() || self.reads.are_unforwarded()
    }

    /// Takes all submissions out.
    pub(super) fn take_all(&mut self) -> Vec<SubmissionId> {
        let taken = core::mem::take(self);
        self.reads = taken.reads;
        taken.submissions.items().keys().copied().collect()
    }

    pub(super) fn waits_for(&self, submission: &SubmissionId) -> bool {
        self.submissions.items().contains_key(submission)
    }

    /// Keeps a submission of a client of this replica; false if it is kept already.
    fn keep(&mut self, entry: &Entry<V>, common: &Common<V>) -> Result<bool, ClientAnswer> {
        let limits = common.limits();
        let submission = entry.submission_id();
        let refused = |reason| Err(ClientAnswer::Refused { submission, reason });
        let Some(id) = submission else {
            return refused(SubmitRefused::NotASubmission);
        };
        if let Entry::Open(Opening { origin, run, .. }) = *entry
            && (origin, run) != (common.me, common.run)
        {
            return refused(SubmitRefused::NotASubmission);
        }
        if let Some(answer) = answer_of(id, common.learner.table()) {
            // Answers go by id, so this one also answers the copy that is kept.
            self.forget(&id);
            return Err(answer);
        }
        if self.waits_for(&id) {
            return Ok(false);
        }
        if !common.is_member() {
            return refused(SubmitRefused::NotAMember);
        }
        if !entry.is_within(limits) {
            return refused(SubmitRefused::TooLarge);
        }
        if let Entry::Change(change) = entry
            && u64::from(change.configuration.next_replica_id()) > common.constants.stride()
        {
            return refused(SubmitRefused::IdTooLarge);
        }
        let size_bytes = self.submissions.size_bytes().saturating_add(entry.size_bytes());
        if self.submissions.count() >= limits.submissions_max
            || size_bytes > limits.submissions_bytes_max
        {
            return refused(SubmitRefused::TooMany);
        }
        self.submissions.insert(id, entry.clone());
        Ok(true)
    }

    /// A copy of a submission is committed. If it is delivered, the delivery answers its client. If the
    /// application had it before this run, it is not delivered, and so it is answered here. If it was
    /// refused then, the table does not know, and another copy has to find out. What the client has given
    /// up with it is answered too.
    pub(super) fn committed(
        &mut self,
        copy: &Copied,
        is_delivered: bool,
        table: &RequestTable,
        out: &mut Output<V>,
    ) {
        if is_delivered {
            self.forget(&copy.submission);
        } else {
            self.answer_if_known(copy.submission, table, out);
            self.hold([copy.submission]);
        }
        match (copy.submission, table.look_up(copy.submission)) {
            (SubmissionId::Request { session, .. }, _) => {
                self.answer_given_up(session, copy.answered, table, out);
            }
            // Numbers begin with 1. The coordinator, which knew the session already, took no request 0.
            (SubmissionId::Open(_), Known::Delivered { slot }) => {
                self.answer_given_up(SessionId(slot.0), 1, table, out);
            }
            _ => {}
        }
    }

    /// Answers a submission that a client of this replica waits for, if the log has answered it. It
    /// is then kept no longer.
    fn answer_if_known(
        &mut self,
        submission: SubmissionId,
        table: &RequestTable,
        out: &mut Output<V>,
    ) {
        if self.waits_for(&submission)
            && let Some(answer) = answer_of(submission, table)
        {
            out.answers.push(answer);
            self.forget(&submission);
        }
    }

    pub(super) fn forget(&mut self, submission: &SubmissionId) {
        self.submissions.remove(submission);
        self.unforwarded.remove(submission);
    }

    /// Answers what the client of `session` has given up: every request below `answered`. A request
    /// that says so is committed.
    fn answer_given_up(
        &mut self,
        session: SessionId,
        answered: u64,
        table: &RequestTable,
        out: &mut Output<V>,
    ) {
        let request = |number| SubmissionId::Request { session, number };
        let given_up = self.submissions.items().range(request(0)..request(answered));
        let given_up: Vec<_> = given_up.map(|(submission, _)| *submission).collect();
        for submission in given_up {
            self.answer_if_known(submission, table, out);
        }
    }

    /// A snapshot with `table`, of everything up to `slot`, took the place of slots that were not delivered
    /// here one by one. What it does not answer may have been delivered, if its session is over: an ended
    /// session remembers no requests, and an evicted one is not in the table. A session that was opened above
    /// `slot` is not in the table either, and nothing of it is lost.
    pub(super) fn answer_after_snapshot(
        &mut self,
        slot: Slot,
        table: &RequestTable,
        out: &mut Output<V>,
    ) {
        self.answer_all_known(table, out);
        let is_lost = |submission: &SubmissionId| match submission {
            SubmissionId::Open(_) => false,
            SubmissionId::Request { session, .. } | SubmissionId::End { session } => {
                session.0 <= slot.0 && !table.is_open(*session)
            }
        };
        let lost: Vec<_> = self.submissions.items().keys().copied().filter(is_lost).collect();
        for submission in lost {
            out.answers.push(ClientAnswer::Unknown { submission });
            self.forget(&submission);
        }
    }

    /// Answers what the log has answered meanwhile.
    pub(super) fn answer_all_known(&mut self, table: &RequestTable, out: &mut Output<V>) {
        let answer = |id: &SubmissionId| Some((*id, answer_of(*id, table)?));
        let answered: Vec<_> = self.submissions.items().keys().filter_map(answer).collect();
        for (submission, answer) in answered {
            out.answers.push(answer);
            self.forget(&submission);
        }
    }
}

/// What an entry says of the submissions of its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copied {
    /// The submission that the entry is a copy of.
    submission: SubmissionId,
    /// The client waits for no request of the session below this number.
    answered: u64,
}

impl Copied {
    /// What `entry` says, if it is a submission.
    pub(super) fn of<V: Value>(entry: &Entry<V>) -> Option<Self> {
        let submission = entry.submission_id()?;
        let answered = match entry {
            Entry::Request(Request { answered, .. }) | Entry::Change(Change { answered, .. }) => {
                *answered
            }
            _ => 0,
        };
        Some(Self { submission, answered })
    }
}

/// What the log answers to a submission, if it does.
fn answer_of(submission: SubmissionId, table: &RequestTable) -> Option<ClientAnswer> {
    match table.look_up(submission) {
        Known::Nothing => None,
        Known::Delivered { slot } => Some(ClientAnswer::Done { submission, slot }),
        Known::GivenUp => Some(ClientAnswer::GivenUp { submission }),
    }
}

impl<V: Value> Replica<V> {
    /// Clients of this replica want these in the log.
    pub(super) fn submit(&mut self, submissions: Vec<Entry<V>>, out: &mut Output<V>) {
        let mut new = Vec::new();
        let mut refused = Vec::new();
        for entry in submissions {
            match self.clients.keep(&entry, &self.common) {
                Ok(true) => new.push(entry),
                Ok(false) => {}
                Err(answer @ ClientAnswer::Refused { .. }) => refused.push(answer),
                Err(answer) => out.answers.push(answer),
            }
        }
        // A copy of it may be kept, from before or after. Then the copy is answered, not this one.
        let is_kept = |answer: &ClientAnswer| {
            matches!(answer, ClientAnswer::Refused { submission: Some(id), .. }
                if self.clients.waits_for(id))
        };
        out.answers.extend(refused.into_iter().filter(|answer| !is_kept(answer)));
        self.pass_on(new, out);
    }

    /// Passes submissions of this replica's clients on to the coordinator: this replica, or another
    /// if one is known. They are held back while that one has no room, or while much is on its way to it
    /// already.
    pub(super) fn pass_on(&mut self, submissions: Vec<Entry<V>>, out: &mut Output<V>) {
        let common = &self.common;
        if let Role::Coordinator(coordinator) = &mut self.role {
            let no_room = coordinator.enqueue(submissions, common.limits());
            self.clients.hold(no_room);
        } else if let Some(coordinator) = common.forwards_to() {
            if common.full.contains(&coordinator) || self.clients.waits_for_room {
                self.clients.hold(submissions.iter().filter_map(Entry::submission_id));
                return;
            }
            for submissions in in_frames(submissions, FrameRoom::of(common.limits())) {
                out.send(coordinator, Message::Submit { submissions });
            }
        }
    }

    /// Forwards a portion of what is to be forwarded, if there is room for it on the way. The coordinator
    /// has just given an order, so it takes what is forwarded.
    pub(super) fn forward_held_back(&mut self, out: &mut Output<V>) {
        let common = &self.common;
        let is_full = |coordinator| common.full.contains(&coordinator);
        if common.forwards_to().is_none_or(is_full) || self.clients.waits_for_room {
            return;
        }
        let portion = self.clients.take_portion(common.limits());
        let reads = self.clients.reads.take_unforwarded();
        self.pass_on(portion, out);
        self.pass_on_reads(&reads, out);
    }

    /// Takes in what `from` forwards. Only a coordinator does, and nothing is forwarded twice.
    ///
    /// What a candidate drops, or what there is no room for, is answered. What a follower drops is not.
    /// Somebody who forwards to it has promised a number of it that is over, and will forward everything
    /// under the next one.
    pub(super) fn take_forwarded(
        &mut self,
        from: ReplicaId,
        submissions: Vec<Entry<V>>,
        out: &mut Output<V>,
    ) {
        let common = &self.common;
        if !is_one_frame(&submissions, FrameRoom::of(common.limits())) {
            return;
        }
        let (s, reason, not_taken) = match &mut self.role {
            Role::Coordinator(coordinator) => {
                let not_taken = coordinator.take_forwarded(from, submissions, common, out);
                coordinator.has_refused |= !not_taken.is_empty();
                (coordinator.s, NotTakenReason::NoRoom, not_taken)
            }
            Role::Candidate(candidate) => {
                let all = submissions.iter().filter_map(Entry::submission_id).collect();
                (candidate.s, NotTakenReason::Stands, all)
            }
            Role::Follower | Role::Canvassing(_) => return,
        };
        if !not_taken.is_empty() {
            out.send(from, Message::NotTaken { s, reason, submissions: not_taken, reads: false });
        }
    }

    /// The owner of `s` has not taken what this replica forwarded.
    pub(super) fn not_taken(
        &mut self,
        s: SequenceNumber,
        from: ReplicaId,
        reason: NotTakenReason,
        submissions: &[SubmissionId],
        reads: bool,
    ) {
        if !self.forwards_under(s, from) || !self.common.is_possible_list(submissions) {
            return;
        }
        let clients = &mut self.clients;
        clients.hold(submissions.iter().copied());
        if reads {
            clients.reads.forward_anew();
        }
        clients.waits_for_room |= reason == NotTakenReason::NoRoom;
    }

    /// The coordinator of `s` has room again.
    pub(super) fn may_forward(&mut self, s: SequenceNumber, from: ReplicaId, out: &mut Output<V>) {
        if self.forwards_under(s, from) {
            self.clients.waits_for_room = false;
            self.forward_held_back(out);
        }
    }

    /// Whether this replica forwards to `from`, as the owner of `s`.
    pub(super) fn forwards_under(&self, s: SequenceNumber, from: ReplicaId) -> bool {
        self.common.acceptor.promised() == s && self.common.forwards_to() == Some(from)
    }

    /// The coordinator says that a submission is in the log already. If this replica lacks that slot,
    /// it asks for it, and the delivery then answers the client.
    pub(super) fn submitted(
        &mut self,
        from: ReplicaId,
        submission: SubmissionId,
        slot: Slot,
        out: &mut Output<V>,
    ) {
        if self.clients.waits_for(&submission) && slot <= Slot::MAX {
            self.common.ask(from, slot, out);
        }
    }
}

impl<V: Value> Coordinator<V> {
    /// Takes in what `from` forwards, but for what is in the log already. Returns what there is no room
    /// for.
    fn take_forwarded(
        &mut self,
        from: ReplicaId,
        submissions: Vec<Entry<V>>,
        common: &Common<V>,
        out: &mut Output<V>,
    ) -> Vec<SubmissionId> {
        let mut not_taken = Vec::new();
        for entry in submissions {
            let Some(submission) = entry.submission_id() else {
                continue;
            };
            match common.learner.table().look_up(submission) {
                Known::Delivered { slot } => {
                    out.send(from, Message::Submitted { submission, slot });
                }
                // The origin learns it from the log.
                Known::GivenUp => {}
                Known::Nothing => not_taken.extend(self.enqueue([entry], common.limits())),
            }
        }
        not_taken
    }
}
