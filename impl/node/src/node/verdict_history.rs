//! Which entries of the log are not the first copy of a request: what a follower of the log cannot
//! read off the entries.
//!
//! A copy that a retry has put in the log looks like the first one. What it is was decided when it was
//! committed, by the request table as it was then. The verdicts that are no "first" are few, and kept
//! in memory. There is a limit all the same; past it the oldest are forgotten, and the log can be
//! followed from the slots after them only. That is better than to tell somebody a value twice.

use std::collections::VecDeque;

use synod_model::{Entry, Slot, Verdict};
use synod_wire::Value;
use synod_wire::api::Delivery;

/// How many verdicts are kept that are no "first". Default 1,048,576: some 32 MiB, for as many retries
/// that were late to find their value committed.
const VERDICTS_MAX: usize = 1 << 20;

/// The verdicts that are no "first", and from where on all of them are known.
#[derive(Debug)]
pub(super) struct VerdictHistory {
    /// By slot, ascending.
    others: VecDeque<(Slot, Verdict)>,
    others_max: usize,
    known_from: Slot,
}

impl Default for VerdictHistory {
    fn default() -> Self {
        Self::with_max(VERDICTS_MAX)
    }
}

impl VerdictHistory {
    fn with_max(others_max: usize) -> Self {
        Self { others: VecDeque::new(), others_max, known_from: Slot(1) }
    }

    /// The next slot that has a verdict has this one.
    pub(super) fn note(&mut self, slot: Slot, verdict: Verdict) {
        if verdict == Verdict::First {
            return;
        }
        if self.others.len() >= self.others_max
            && let Some((forgotten, _)) = self.others.pop_front()
        {
            self.known_from = forgotten.next();
        }
        self.others.push_back((slot, verdict));
    }

    /// What was delivered with these entries.
    ///
    /// # Errors
    ///
    /// If it is not known any more. It is from the slot on that the error is.
    pub(super) fn deliveries(
        &self,
        first: Slot,
        entries: Vec<Entry<Value>>,
    ) -> Result<Vec<Delivery>, Slot> {
        if first < self.known_from {
            return Err(self.known_from);
        }
        let from = self.others.partition_point(|(slot, _)| *slot < first);
        let mut others = self.others.range(from..).peekable();
        let slots = (first.0..).map(Slot);
        let delivery = |(slot, entry): (Slot, Entry<Value>)| {
            let other = others.next_if(|(of, _)| *of == slot).map(|(_, verdict)| *verdict);
            let first = entry.submission_id().map(|_| Verdict::First);
            Delivery { slot, verdict: other.or(first), entry }
        };
        Ok(slots.zip(entries).map(delivery).collect())
    }
}

#[cfg(test)]
mod tests {
    use synod_model::{Request, SessionId};

    use super::*;

    const AGAIN: Verdict = Verdict::Duplicate { first_slot: Slot(1) };

    /// Whether each of these slots is told as a second copy, in a log of requests.
    fn are_copies(verdicts: &VerdictHistory, first: u64, count: usize) -> Result<Vec<bool>, Slot> {
        let request = Entry::Request(Request {
            session: SessionId(1),
            number: 1,
            answered: 1,
            value: "v".into(),
        });
        let told = verdicts.deliveries(Slot(first), vec![request; count])?;
        assert!(told.iter().map(|it| it.slot.0).eq(first..first + count as u64));
        Ok(told.iter().map(|it| it.verdict == Some(AGAIN)).collect())
    }

    #[test]
    fn what_is_no_first_is_told_wherever_one_begins() {
        let mut verdicts = VerdictHistory::default();
        for slot in 1..=10 {
            let is_copy = [3, 4, 8].contains(&slot);
            verdicts.note(Slot(slot), if is_copy { AGAIN } else { Verdict::First });
        }
        for first in 1..=10_u64 {
            let expected: Vec<_> = (first..=10).map(|slot| [3, 4, 8].contains(&slot)).collect();
            assert_eq!(are_copies(&verdicts, first, expected.len()), Ok(expected));
        }
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten_and_the_log_is_told_from_there_on() {
        let mut verdicts = VerdictHistory::with_max(2);
        for slot in [3, 5, 9] {
            verdicts.note(Slot(slot), AGAIN);
        }
        assert_eq!(are_copies(&verdicts, 3, 3), Err(Slot(4)));
        assert_eq!(are_copies(&verdicts, 4, 3), Ok(vec![false, true, false]));
    }
}
