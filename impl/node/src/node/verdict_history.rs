//! Which entries of the log are not the first copy of a request. The entries alone do not show it.
//!
//! A retry may put a second copy of a request into the log, and the copy looks like the first one. The
//! request table told them apart when they were committed. Verdicts other than "first" are few, so
//! memory holds them, up to a limit. Beyond the limit the oldest are forgotten, and the log can be
//! followed only from the slots after them. That is better than to deliver a command twice.

use std::collections::VecDeque;

use synod_model::{Entry, Slot, Verdict};
use synod_wire::Value;
use synod_wire::api::Delivery;

/// How many verdicts other than "first" are kept. Default 1,048,576: some 32 MiB, for as many retries
/// whose command was committed already.
const VERDICTS_MAX: usize = 1 << 20;

/// The verdicts other than "first", and the slot from which on all of them are known.
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

    /// Takes in the verdict of the next slot that has one.
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

    /// Adds the verdicts to entries of the log, which begin at slot `first`.
    ///
    /// # Errors
    ///
    /// If some are forgotten. The error is the first slot whose verdict is still known.
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
