//! What clients were told, and whether the log agrees with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use synod_client::{Applied, Response, SubmitFailed};
use synod_model::Slot;

/// What clients have submitted so far, and the answers that they got.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The highest slot in any answer or read.
    floor: u64,
    submissions: BTreeMap<String, Submission>,
}

#[derive(Debug)]
struct Submission {
    /// Everything that was answered before this value was submitted has a lower slot.
    floor: u64,
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Done(u64),
    NotDone,
    Unknown,
}

/// How many submissions had which outcome.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) done: usize,
    pub(crate) not_done: usize,
    pub(crate) unknown: usize,
}

impl History {
    /// A client submits `value`, which no client has submitted before.
    pub(crate) fn begin(&self, value: &str) {
        let mut inner = self.inner();
        let submission = Submission { floor: inner.floor, told: None };
        assert!(inner.submissions.insert(value.to_owned(), submission).is_none(), "{value} twice");
    }

    /// A client has got an answer.
    pub(crate) fn end(&self, value: &str, outcome: &Result<Applied, SubmitFailed>) {
        let mut inner = self.inner();
        let told = match outcome {
            Ok(Applied { slot, response }) => {
                assert_eq!(*response, Response::empty(), "that of a bare log");
                Told::Done(slot.0)
            }
            Err(SubmitFailed::NotDone(_)) => Told::NotDone,
            Err(SubmitFailed::Unknown(_)) => Told::Unknown,
        };
        if let Told::Done(slot) = told {
            inner.floor = inner.floor.max(slot);
        }
        inner.submissions.get_mut(value).expect("it was begun").told = Some(told);
    }

    /// No answer so far has a higher slot. A read that begins now covers at least this one.
    pub(crate) fn floor(&self) -> u64 {
        self.inner().floor
    }

    /// A client has read that the log ends here.
    pub(crate) fn read(&self, floor: u64, slot: Slot) {
        assert!(slot.0 >= floor, "slot {floor} was told before, and a read then said {slot}");
        // Whatever is submitted from now on has a higher slot.
        let mut inner = self.inner();
        inner.floor = inner.floor.max(slot.0);
    }

    /// Checks that the log, as slots and values, agrees with what the clients were told.
    pub(crate) fn check(&self, log: &[(u64, String)]) -> Counts {
        let inner = self.inner();
        let mut counts = Counts::default();
        let mut delivered = BTreeSet::new();
        for (slot, value) in log {
            let Some(Submission { floor, told }) = inner.submissions.get(value) else {
                panic!("slot {slot} holds {value:?}, which nobody has submitted");
            };
            assert!(delivered.insert(value), "{value:?} is delivered twice, again in slot {slot}");
            assert!(
                slot > floor,
                "{value:?} is in slot {slot}, and {floor} was told before it was submitted"
            );
            assert_ne!(*told, Some(Told::NotDone), "{value:?} is in slot {slot}");
            if let Some(Told::Done(told)) = told {
                assert_eq!(slot, told, "{value:?} is in another slot than was told");
            }
        }
        for (value, submission) in &inner.submissions {
            match submission.told.expect("every client was told something") {
                Told::Done(slot) => {
                    assert!(delivered.contains(value), "{value:?} was in slot {slot} and is gone");
                    counts.done += 1;
                }
                Told::NotDone => counts.not_done += 1,
                Told::Unknown => counts.unknown += 1,
            }
        }
        counts
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}
