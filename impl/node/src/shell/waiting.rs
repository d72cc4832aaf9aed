//! The clients that wait for an answer.
//!
//! A client may repeat its request, on the same connection or another, so several waiters may wait for
//! one submission. All of them get its outcome. The core bounds both maps: it answers at once what it
//! refuses.

use std::collections::HashMap;

use synod_model::{ReadId, Slot, SubmissionId, Verdict};
use synod_wire::api::{SubmitError, Unknown};

/// How many may wait for one submission. Default 64: a client repeats a request only after it has given
/// up the last attempt, so there are few. Further waiters are refused, not kept.
pub(super) const WAITERS_MAX: usize = 64;

/// Below this number of reads, nobody looks for readers that have gone. Default 16: even with the
/// largest requests, so many need little memory.
const READS_BEFORE_SEARCH: usize = 16;

/// The way to answer a client.
pub(crate) trait Waiter {
    /// Whether nobody waits for the answer any more, for example because the connection was closed.
    fn is_gone(&self) -> bool;
}

/// The clients of one replica that have no answer yet. An `S` waits for a submission, an `R` for a read.
#[derive(Debug)]
pub(crate) struct Waiting<S, R> {
    submissions: HashMap<SubmissionId, Vec<S>>,
    reads: HashMap<ReadId, R>,
    reads_asked: u64,
    /// How many reads the last search left, or fewer have waited since.
    reads_left: usize,
}

impl<S, R> Default for Waiting<S, R> {
    fn default() -> Self {
        Self { submissions: HashMap::new(), reads: HashMap::new(), reads_asked: 0, reads_left: 0 }
    }
}

impl<S: Waiter, R> Waiting<S, R> {
    /// Adds `reply` to those that wait for this submission. Returns it if too many do.
    pub(crate) fn submission(&mut self, id: SubmissionId, reply: S) -> Result<(), S> {
        let waiters = self.submissions.entry(id).or_default();
        // Before the vector grows, the waiters that have gone are removed.
        if waiters.len() == waiters.capacity() || waiters.len() >= WAITERS_MAX {
            waiters.retain(|it| !it.is_gone());
        }
        if waiters.len() >= WAITERS_MAX {
            return Err(reply);
        }
        waiters.push(reply);
        Ok(())
    }
}

impl<S, R: Waiter> Waiting<S, R> {
    /// Adds `reply` as the one that waits for a read, which gets the returned id.
    ///
    /// A read may carry a request, and without a quorum nobody is answered. So whenever there are twice
    /// as many reads as the last search left, the readers that have gone are removed.
    pub(crate) fn read(&mut self, reply: R) -> ReadId {
        self.reads_left = self.reads_left.min(self.reads.len());
        if self.reads.len() >= READS_BEFORE_SEARCH.max(2 * self.reads_left) {
            self.reads.retain(|_, it| !it.is_gone());
            self.reads_left = self.reads.len();
        }
        self.reads_asked += 1;
        let id = ReadId(self.reads_asked);
        self.reads.insert(id, reply);
        id
    }

    /// Whether a client still waits for this read. If not, the read is forgotten.
    pub(crate) fn still_reads(&mut self, id: ReadId) -> bool {
        let reads = self.reads.get(&id).is_some_and(|it| !it.is_gone());
        if !reads {
            self.reads.remove(&id);
        }
        reads
    }
}

impl<S, R> Waiting<S, R> {
    /// Takes all that wait for this submission.
    pub(crate) fn delivered(&mut self, id: SubmissionId) -> impl Iterator<Item = S> + use<S, R> {
        self.submissions.remove(&id).into_iter().flatten()
    }

    /// Takes the one that waits for this read.
    pub(crate) fn answered(&mut self, id: ReadId) -> Option<R> {
        self.reads.remove(&id)
    }

    /// Takes all that wait for any submission.
    pub(crate) fn take_submissions(&mut self) -> impl Iterator<Item = S> + use<S, R> {
        std::mem::take(&mut self.submissions).into_values().flatten()
    }

    /// Takes all that wait for any read.
    pub(crate) fn take_reads(&mut self) -> impl Iterator<Item = R> + use<S, R> {
        std::mem::take(&mut self.reads).into_values()
    }
}

/// The outcome that the delivery of a copy has for the submission.
pub(crate) fn outcome(slot: Slot, verdict: Verdict) -> Result<Slot, SubmitError> {
    match verdict {
        Verdict::First => Ok(slot),
        Verdict::Duplicate { first_slot } => Ok(first_slot),
        Verdict::Refused { reason } => Err(SubmitError::Unknown(Unknown::Refused(reason))),
    }
}

#[cfg(test)]
mod tests {
    use synod_model::SessionId;
    use tokio::sync::oneshot::{self, Receiver, Sender};

    use super::*;

    const ID: SubmissionId = SubmissionId::Request { session: SessionId(1), number: 1 };

    type Reply = Sender<u8>;

    fn waits(waiting: &mut Waiting<Reply, ()>) -> Result<Receiver<u8>, Reply> {
        let (reply, outcome) = oneshot::channel();
        waiting.submission(ID, reply).map(|()| outcome)
    }

    #[test]
    fn waiters_that_have_gone_are_not_kept() {
        let mut waiting = Waiting::default();
        let first = waits(&mut waiting).unwrap();
        for _ in 0..10_000 {
            drop(waits(&mut waiting).unwrap());
        }
        let kept = waiting.submissions[&ID].capacity();
        assert!(kept <= WAITERS_MAX, "there is room for {kept}");
        assert!(waiting.delivered(ID).any(|reply| reply.send(7).is_ok()));
        assert_eq!(first.blocking_recv(), Ok(7));
    }

    #[test]
    fn readers_that_have_gone_are_not_kept() {
        let mut waiting = Waiting::<Reply, Reply>::default();
        // What many have needed is not kept for those who come later.
        for count in [20, 1000, 0] {
            let readers: Vec<_> = (0..count)
                .map(|_| {
                    let (reply, outcome) = oneshot::channel();
                    (waiting.read(reply), outcome)
                })
                .collect();
            for _ in 0..10_000 {
                waiting.read(oneshot::channel().0);
            }
            let kept = waiting.reads.len();
            assert!(kept <= 2 * count.max(READS_BEFORE_SEARCH), "{kept} are kept for {count}");
            for (id, outcome) in readers {
                assert!(waiting.answered(id).is_some_and(|reply| reply.send(7).is_ok()));
                assert_eq!(outcome.blocking_recv(), Ok(7));
            }
        }
    }

    #[test]
    fn the_number_of_waiters_is_limited() {
        let mut waiting = Waiting::default();
        let mut those: Vec<_> = (0..WAITERS_MAX).map(|_| waits(&mut waiting).unwrap()).collect();
        assert!(waits(&mut waiting).is_err());
        those.pop();
        assert!(waits(&mut waiting).is_ok(), "one has gone");
    }
}
