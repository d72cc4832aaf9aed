//! What clients submit, here or forwarded from another replica.
//!
//! The replica that a client asked is the *origin*. It keeps a submission, and repeats it to the
//! coordinator until it is delivered here. If the origin crashes, the client does not know what became
//! of the submission. A retry at any replica finds out.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::common::Common;
use super::reads::Reads;
use super::resend::room_of_resend;
use super::{Replica, Role};
use crate::counted::CountedMap;
use crate::entry::{Entry, Opening, SubmissionId, Value};
use crate::frames::{FrameRoom, in_frames};
use crate::io::{ClientAnswer, Output, SubmitRefused};
use crate::message::Message;
use crate::numbers::{ReplicaId, Slot};
use crate::sessions::{Known, RequestTable};

/// What the clients of this replica wait for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Clients<V> {
    /// What they submitted and was not delivered yet.
    submissions: CountedMap<SubmissionId, Entry<V>>,
    /// Of these, the ones that are to be forwarded to the coordinator.
    unforwarded: BTreeSet<SubmissionId>,
    pub(crate) reads: Reads,
}

impl<V> Default for Clients<V> {
    fn default() -> Self {
        Self {
            submissions: CountedMap::default(),
            unforwarded: BTreeSet::new(),
            reads: Reads::default(),
        }
    }
}

impl<V: Value> Clients<V> {
    /// What was submitted here and not delivered yet.
    pub(crate) fn submissions(&self) -> impl Iterator<Item = &Entry<V>> {
        self.submissions.items().values()
    }

    /// Everything is to be forwarded, to a coordinator that has received none of it.
    pub(super) fn forward_anew(&mut self) {
        self.unforwarded.extend(self.submissions.items().keys());
        self.reads.forward_anew();
    }

    /// This replica coordinates, and has nothing to forward.
    pub(super) fn forward_nothing(&mut self) {
        self.unforwarded.clear();
        self.reads.take_unforwarded();
    }

    /// Whether something is to be forwarded as soon as the coordinator gives an order.
    #[cfg(feature = "stateright")]
    pub(crate) fn has_unforwarded(&self) -> bool {
        !self.unforwarded.is_empty() || self.reads.are_unforwarded()
    }

    fn waits_for(&self, submission: &SubmissionId) -> bool {
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
            return Err(answer);
        }
        if self.waits_for(&id) {
            return Ok(false);
        }
        if !entry.is_within(limits) {
            return refused(SubmitRefused::TooLarge);
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

    /// A copy of `submission` is committed. If it is delivered, the delivery answers its client. If the
    /// application had it before this run, it is not delivered, and so it is answered here.
    pub(super) fn committed(
        &mut self,
        submission: SubmissionId,
        is_delivered: bool,
        table: &RequestTable,
        out: &mut Output<V>,
    ) {
        if is_delivered {
            self.forget(&submission);
        } else {
            self.answer_if_known(submission, table, out);
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

    fn forget(&mut self, submission: &SubmissionId) {
        self.submissions.remove(submission);
        self.unforwarded.remove(submission);
    }

    /// Answers what the log has answered meanwhile.
    pub(super) fn answer_all_known(&mut self, table: &RequestTable, out: &mut Output<V>) {
        let kept: Vec<_> = self.submissions.items().keys().copied().collect();
        for submission in kept {
            self.answer_if_known(submission, table, out);
        }
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
    /// if one is known. They are held back while much is on its way to that one already.
    pub(super) fn pass_on(&mut self, submissions: Vec<Entry<V>>, out: &mut Output<V>) {
        let common = &self.common;
        if let Role::Coordinator(coordinator) = &mut self.role {
            coordinator.enqueue(submissions, common.limits());
        } else if let Some(coordinator) = common.forwards_to() {
            if common.full.contains(&coordinator) {
                let ids = submissions.iter().filter_map(Entry::submission_id);
                self.clients.unforwarded.extend(ids);
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
        if common.forwards_to().is_none_or(|coordinator| common.full.contains(&coordinator)) {
            return;
        }
        let Clients { submissions, unforwarded, reads } = &mut self.clients;
        let mut room = room_of_resend(common.limits());
        let mut portion = Vec::new();
        while let Some(entry) = unforwarded.first().and_then(|id| submissions.items().get(id))
            && room.take(entry.size_bytes())
        {
            portion.push(entry.clone());
            unforwarded.pop_first();
        }
        let reads = reads.take_unforwarded();
        self.pass_on(portion, out);
        self.pass_on_reads(&reads, out);
    }

    /// Takes in what `from` forwards. Only a coordinator does, and nothing is forwarded twice.
    pub(super) fn take_forwarded(
        &mut self,
        from: ReplicaId,
        submissions: Vec<Entry<V>>,
        out: &mut Output<V>,
    ) {
        let common = &self.common;
        let Role::Coordinator(coordinator) = &mut self.role else {
            return;
        };
        if submissions.len() as u64 > common.limits().frame_entries_max {
            return;
        }
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
                Known::Nothing => coordinator.enqueue([entry], common.limits()),
            }
        }
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
