//! What clients want: submissions and reads, here or forwarded from another replica.
//!
//! The replica that a client asked is the *origin*. It keeps a submission, and repeats it to whoever
//! coordinates, until it is delivered here. If the origin crashes, what became of the submission is
//! unknown to the client, and a retry anywhere finds out.

use alloc::vec::Vec;

use super::{Replica, Role};
use crate::coordinator::WaitingRead;
use crate::entry::{Entry, Opening, SubmissionId, Value};
use crate::io::{Answer, Output, SubmitRefused};
use crate::message::Message;
use crate::numbers::{ReadId, ReplicaId, Run, Slot};
use crate::sessions::Known;

impl<V: Value> Replica<V> {
    pub(super) fn submit(&mut self, submissions: Vec<Entry<V>>, out: &mut Output<V>) {
        let mut forward = Vec::new();
        let mut refused = Vec::new();
        for entry in submissions {
            match self.take_submission(&entry) {
                Ok(true) => match &mut self.role {
                    Role::Coordinator(_) => self.enqueue(entry),
                    _ => forward.push(entry),
                },
                Ok(false) => {}
                Err(answer @ Answer::Refused { .. }) => refused.push(answer),
                Err(answer) => out.answers.push(answer),
            }
        }
        // Where a copy of it was taken, before or after, that is the answer.
        let is_kept = |answer: &Answer| {
            matches!(answer, Answer::Refused { submission: Some(id), .. }
                if self.submissions.contains_key(id))
        };
        out.answers.extend(refused.into_iter().filter(|answer| !is_kept(answer)));
        self.forward(forward, out);
    }

    /// Keeps a submission of a client of this replica; false if it is kept already.
    fn take_submission(&mut self, entry: &Entry<V>) -> Result<bool, Answer> {
        let submission = entry.submission_id();
        let refused = |reason| Err(Answer::Refused { submission, reason });
        let Some(id) = submission else {
            return refused(SubmitRefused::NotASubmission);
        };
        if let Entry::Open(Opening { origin, run, .. }) = *entry
            && (origin, run) != (self.me, self.run)
        {
            return refused(SubmitRefused::NotASubmission);
        }
        match self.learner.table().look_up(id) {
            Known::Delivered { slot } => return Err(Answer::Done { submission: id, slot }),
            Known::GivenUp => return Err(Answer::GivenUp { submission: id }),
            Known::Nothing => {}
        }
        if self.submissions.contains_key(&id) {
            return Ok(false);
        }
        if !entry.is_within(self.limits()) {
            return refused(SubmitRefused::TooLarge);
        }
        let submissions_bytes = self.submissions_bytes.saturating_add(entry.size_bytes());
        if self.submissions.len() as u64 >= self.limits().submissions_max
            || submissions_bytes > self.limits().submissions_bytes_max
        {
            return refused(SubmitRefused::TooMany);
        }
        self.submissions_bytes = submissions_bytes;
        self.submissions.insert(id, entry.clone());
        Ok(true)
    }

    /// Sends submissions to the coordinator, if one is known; a resend repeats them.
    fn forward(&self, submissions: Vec<Entry<V>>, out: &mut Output<V>) {
        let Some(owner) =
            self.cluster.owner(self.acceptor.promised()).filter(|owner| *owner != self.me)
        else {
            return;
        };
        for submissions in self.in_frames(submissions) {
            out.send(owner, Message::Submit { submissions });
        }
    }

    /// Cuts `entries` into frames that keep the limits.
    pub(super) fn in_frames(&self, entries: Vec<Entry<V>>) -> Vec<Vec<Entry<V>>> {
        let mut frames: Vec<Vec<Entry<V>>> = Vec::new();
        let mut size_bytes: u64 = 0;
        for entry in entries {
            size_bytes = size_bytes.saturating_add(entry.size_bytes());
            match frames.last_mut() {
                Some(frame)
                    if (frame.len() as u64) < self.limits().frame_entries_max
                        && size_bytes <= self.limits().frame_bytes_max =>
                {
                    frame.push(entry);
                }
                _ => {
                    size_bytes = entry.size_bytes();
                    frames.push(alloc::vec![entry]);
                }
            }
        }
        frames
    }

    /// Takes in what `from` forwards. Only a coordinator does; nothing is forwarded twice.
    pub(super) fn take_forwarded(
        &mut self,
        from: ReplicaId,
        submissions: Vec<Entry<V>>,
        out: &mut Output<V>,
    ) {
        if !matches!(self.role, Role::Coordinator(_))
            || submissions.len() as u64 > self.limits().frame_entries_max
        {
            return;
        }
        for entry in submissions {
            let Some(submission) = entry.submission_id() else {
                continue;
            };
            match self.learner.table().look_up(submission) {
                Known::Delivered { slot } => {
                    out.send(from, Message::Submitted { submission, slot });
                }
                // The origin learns it from the log.
                Known::GivenUp => {}
                Known::Nothing => self.enqueue(entry),
            }
        }
    }

    /// Lets a submission wait for a slot, unless it waits or is in an open slot already.
    pub(super) fn enqueue(&mut self, entry: Entry<V>) {
        let limits = self.cluster.limits();
        if let (Role::Coordinator(coordinator), Some(id)) = (&mut self.role, entry.submission_id())
            && entry.is_within(limits)
        {
            coordinator.enqueue(id, entry, limits);
        }
    }

    /// The coordinator says that a submission is in the log already. If this replica has not got
    /// that far, it asks for the rest; the delivery then answers the client.
    pub(super) fn submitted(
        &mut self,
        from: ReplicaId,
        submission: SubmissionId,
        slot: Slot,
        out: &mut Output<V>,
    ) {
        if self.submissions.contains_key(&submission) && slot > self.learner.watermark() {
            self.ask(from, out);
        }
    }

    pub(super) fn read(&mut self, ids: Vec<ReadId>, out: &mut Output<V>) {
        let reads_max = self.limits().reads_max;
        let mut taken = Vec::new();
        for id in ids {
            if self.reads.ask(id, reads_max) {
                taken.push(id);
            } else {
                out.answers.push(Answer::ReadRefused { id });
            }
        }
        self.forward_reads(&taken, out);
    }

    /// Hands reads to the coordinator: this replica, or another if one is known.
    fn forward_reads(&mut self, ids: &[ReadId], out: &mut Output<V>) {
        if matches!(self.role, Role::Coordinator(_)) {
            self.read_for(self.me, self.run, ids);
        } else if let Some(owner) = self.cluster.owner(self.acceptor.promised())
            && owner != self.me
            && !ids.is_empty()
        {
            let frame = usize::try_from(self.limits().frame_entries_max).unwrap_or(usize::MAX);
            for ids in ids.chunks(frame.max(1)) {
                out.send(owner, Message::Read { run: self.run, ids: ids.to_vec() });
            }
        }
    }

    /// As coordinator, takes in reads of `from`.
    ///
    /// Whatever any replica has committed by now lies at or below the larger of two slots: this
    /// replica's watermark covers what was committed under its own number and is known to it, and
    /// what was committed before was reported by the promises that made it coordinator.
    pub(super) fn read_for(&mut self, from: ReplicaId, run: Run, ids: &[ReadId]) {
        let watermark = self.learner.watermark();
        let reads_max = self.limits().reads_max;
        if let Role::Coordinator(coordinator) = &mut self.role {
            let slot = watermark.max(coordinator.last_promised);
            for &id in ids {
                if coordinator.reads_waiting() < reads_max {
                    coordinator.add_read(WaitingRead { from, run, id }, slot);
                }
            }
        }
    }

    /// Answers a submission of a client of this replica if the log has answered it.
    pub(super) fn answer_from_table(&self, submission: SubmissionId, out: &mut Output<V>) -> bool {
        if !self.submissions.contains_key(&submission) {
            return false;
        }
        let answer = match self.learner.table().look_up(submission) {
            Known::Nothing => return false,
            Known::Delivered { slot } => Answer::Done { submission, slot },
            Known::GivenUp => Answer::GivenUp { submission },
        };
        out.answers.push(answer);
        true
    }

    /// Keeps a submission no longer, if it is kept.
    pub(super) fn forget_submission(&mut self, submission: SubmissionId) {
        if let Some(kept) = self.submissions.remove(&submission) {
            self.submissions_bytes = self.submissions_bytes.saturating_sub(kept.size_bytes());
        }
    }

    /// Repeats what the coordinator has not answered, and answers what the log has answered
    /// meanwhile.
    pub(super) fn resend_clients(&mut self, out: &mut Output<V>) {
        let kept: Vec<_> = self.submissions.keys().copied().collect();
        for submission in kept {
            if self.answer_from_table(submission, out) {
                self.forget_submission(submission);
            }
        }
        let mut size_bytes: u64 = 0;
        let submissions: Vec<_> = self
            .submissions
            .values()
            .take_while(|entry| {
                let first = size_bytes == 0;
                size_bytes = size_bytes.saturating_add(entry.size_bytes());
                first || size_bytes <= self.cluster.limits().resend_bytes_max
            })
            .cloned()
            .collect();
        if matches!(self.role, Role::Coordinator(_)) {
            for entry in submissions {
                self.enqueue(entry);
            }
        } else {
            self.forward(submissions, out);
        }
        let unanswered = self.reads.unanswered();
        self.forward_reads(&unanswered, out);
    }
}
