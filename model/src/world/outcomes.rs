//! The outcome of an event at a local state, computed once.
//!
//! A step of one replica is pure: its outcome depends only on the local state and the event. Most
//! transitions of a cluster repeat a step that was taken in another cluster state before. They look
//! up its outcome here.

use std::boxed::Box;

use dashmap::DashMap;
use rustc_hash::FxBuildHasher;

use super::directory::DirectoryName;
use super::history::Effects;
use super::intern::Id;
use super::local::EntryId;
use crate::numbers::Slot;

/// The name of an event at a replica. Messages and entries are named by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKey {
    Deliver(Id),
    Submit(usize),
    Read,
    Suspect,
    Elect {
        canvass: bool,
    },
    Resend,
    Sync(usize),
    Crash,
    Survive,
    /// Whether the one that serves has the same prefix as the one that is served.
    Serve {
        entry: EntryId,
        from: usize,
        shares_prefix: bool,
    },
    Greet {
        from: DirectoryName,
        is_welcome: bool,
    },
    Lose,
    RollBack,
    HangDisk,
    DiskHung,
    /// The snapshot with this handle.
    Snapshot(Id),
    Install(Id),
    Offer(Slot),
}

/// The outcome of an event at a local state.
pub(super) struct Outcome {
    pub(super) local: Id,
    /// All messages that were sent. Those that the network of the scenario keeps come first.
    pub(super) sent: Box<[Id]>,
    /// How many of them the network keeps.
    pub(super) kept: usize,
    /// The replica from which a snapshot is to be fetched, and the last slot of that snapshot.
    pub(super) fetch: Option<(usize, Slot)>,
    /// What the step adds to history; `None` for most steps.
    pub(super) effects: Option<Box<Effects>>,
}

/// The outcomes so far, by local state and event.
#[derive(Default)]
pub(super) struct Outcomes {
    numbers: DashMap<u64, u32, FxBuildHasher>,
    outcomes: boxcar::Vec<Outcome>,
}

impl Outcomes {
    /// The outcome of the event `key` at `local`. It is computed if it is not known.
    pub(super) fn get(
        &self,
        local: Id,
        key: EventKey,
        compute: impl FnOnce() -> Outcome,
    ) -> &Outcome {
        let bits = u64::from(local) << 32 | u64::from(key.bits());
        if let Some(number) = self.numbers.get(&bits) {
            return &self.outcomes[*number as usize];
        }
        let index = self.outcomes.push(compute());
        let number = u32::try_from(index).unwrap_or_else(|_| panic!("more than 2^32 steps"));
        self.numbers.insert(bits, number);
        &self.outcomes[index]
    }

    /// The number of outcomes.
    pub(super) fn len(&self) -> usize {
        self.outcomes.count()
    }
}

impl Outcome {
    /// The messages that were sent and that the network keeps.
    pub(super) fn kept(&self) -> &[Id] {
        &self.sent[..self.kept]
    }
}

impl EventKey {
    /// The key in 32 bits, with the kind of event in the upper four.
    fn bits(self) -> u32 {
        let of = |kind: u32, argument: u32| {
            debug_assert!(argument < 1 << 28, "an argument has 28 bits");
            kind << 28 | argument
        };
        let small = |argument: usize| u32::try_from(argument).unwrap_or(u32::MAX);
        match self {
            Self::Deliver(id) => of(0, id),
            Self::Submit(index) => of(1, small(index)),
            Self::Read => of(2, 0),
            Self::Suspect => of(3, 0),
            Self::Elect { canvass } => of(4, u32::from(canvass)),
            Self::Resend => of(5, 0),
            Self::Sync(count) => of(6, small(count)),
            Self::Crash => of(7, 0),
            Self::Survive => of(8, 0),
            Self::Serve { entry, from, shares_prefix } => {
                of(9, u32::from(shares_prefix) << 16 | u32::from(entry) << 8 | small(from))
            }
            Self::Greet { from, is_welcome } => {
                let from = u32::from(from.replica.0) << 16 | small(from.lost_before) << 1;
                of(10, from | u32::from(is_welcome))
            }
            Self::Lose => of(11, 0),
            Self::RollBack => of(12, 0),
            Self::HangDisk => of(13, 0),
            Self::DiskHung => of(14, 0),
            Self::Snapshot(id) => of(15, id),
            Self::Install(id) => of(15, 1 << 26 | id),
            Self::Offer(Slot(slot)) => of(15, 2 << 26 | u32::try_from(slot).unwrap_or(u32::MAX)),
        }
    }
}
