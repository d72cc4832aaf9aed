//! Who waits for what.
//!
//! A client may ask again for what it asked already, on the same connection or another, so several
//! may wait for one submission. All of them hear what became of it. How many can wait is bounded by
//! what the core takes: it answers at once what it refuses.

use std::collections::HashMap;

use synod_model::{ReadId, Slot, SubmissionId, Verdict};

use crate::api::{SubmitError, Unknown};

/// The clients of one replica that have not been answered yet: an `S` submits, an `R` reads.
#[derive(Debug)]
pub(crate) struct Waiting<S, R> {
    submissions: HashMap<SubmissionId, Vec<S>>,
    reads: HashMap<ReadId, R>,
    reads_asked: u64,
}

impl<S, R> Default for Waiting<S, R> {
    fn default() -> Self {
        Self { submissions: HashMap::new(), reads: HashMap::new(), reads_asked: 0 }
    }
}

impl<S, R> Waiting<S, R> {
    /// `reply` waits for this submission.
    pub(crate) fn submission(&mut self, id: SubmissionId, reply: S) {
        self.submissions.entry(id).or_default().push(reply);
    }

    /// `reply` waits for a read, which gets this id.
    pub(crate) fn read(&mut self, reply: R) -> ReadId {
        self.reads_asked += 1;
        let id = ReadId(self.reads_asked);
        self.reads.insert(id, reply);
        id
    }

    /// Takes those who wait for this submission.
    pub(crate) fn delivered(&mut self, id: SubmissionId) -> impl Iterator<Item = S> + use<S, R> {
        self.submissions.remove(&id).into_iter().flatten()
    }

    /// Takes whoever waits for this read.
    pub(crate) fn answered(&mut self, id: ReadId) -> Option<R> {
        self.reads.remove(&id)
    }

    /// Takes everybody who waits for a submission.
    pub(crate) fn take_submissions(&mut self) -> impl Iterator<Item = S> + use<S, R> {
        std::mem::take(&mut self.submissions).into_values().flatten()
    }

    /// Takes everybody who waits for a read.
    pub(crate) fn take_reads(&mut self) -> impl Iterator<Item = R> + use<S, R> {
        std::mem::take(&mut self.reads).into_values()
    }
}

/// What the delivery of a copy tells those who wait for its submission.
pub(crate) fn outcome(slot: Slot, verdict: Verdict) -> Result<Slot, SubmitError> {
    match verdict {
        Verdict::First => Ok(slot),
        Verdict::Duplicate { first_slot } => Ok(first_slot),
        Verdict::Refused { reason } => Err(SubmitError::Unknown(Unknown::Refused(reason))),
    }
}
