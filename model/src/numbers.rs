//! The numbers of the protocol, each a type of its own, so that the compiler tells them apart.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number! {
    /// Names a replica of the cluster. An id is never used again by another replica, not even after
    /// its disk is lost.
    ReplicaId(u16)
}

number! {
    /// Orders the coordinators (Paxos Made Live, 4.1, footnote 1). Numbers start at 1; 0 is none.
    ///
    /// [`ClusterConstants`](crate::ClusterConstants) says which replica owns a number, and which number
    /// a replica picks next.
    SequenceNumber(u64)
}

impl SequenceNumber {
    /// No number: smaller than every number that a coordinator can have.
    pub const NONE: Self = Self(0);
}

number! {
    /// One instance of Paxos, which is one entry of the log. Slots count from 1; 0 stands before
    /// the log.
    Slot(u64)
}

impl Slot {
    /// The place before the first slot: the watermark of a replica that knows of no commit.
    pub const ZERO: Self = Self(0);

    /// The largest slot there can be. Nobody reaches it (at a million slots a second it is 292,000
    /// years away), so a message that names a slot beyond it is forged.
    pub const MAX: Self = Self(u64::MAX / 2);

    /// The slot after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The slot `count` after this one.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// How many slots there are from `other`, exclusive, to this one, inclusive. Zero if this one is
    /// not above `other`.
    #[must_use]
    pub fn above(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

number! {
    /// The place of a record among those that this run of a replica has written: the first has
    /// position 1, and 0 stands for what was on the disk already.
    Position(u64)
}

number! {
    /// Numbers the rounds of one coordinator under one sequence number, from 1.
    RoundNumber(u64)
}

number! {
    /// One start of a replica. The shell draws it (at random in the node, by counting restarts in
    /// the model) so that the same replica never uses the same run twice.
    Run(u64)
}

number! {
    /// Names a configuration. The first has id 1, and every change takes the next.
    ConfigurationId(u64)
}

impl ConfigurationId {
    /// No configuration.
    pub const NONE: Self = Self(0);
}

number! {
    /// Names a read among those of one run of a replica; chosen by the shell.
    ReadId(u64)
}

number! {
    /// One run of one client: the slot of the entry that opened the session.
    SessionId(u64)
}

/// The slots from `first` to `last`, both included; never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotRange {
    /// The first slot of the range.
    pub first: Slot,
    /// The last slot of the range; at least `first`.
    pub last: Slot,
}

impl SlotRange {
    /// The slots of this range, in order.
    pub fn iter(self) -> impl Iterator<Item = Slot> {
        (self.first.0..=self.last.0).map(Slot)
    }

    /// How many slots the range names.
    #[must_use]
    pub fn count(self) -> u64 {
        self.last.0.saturating_sub(self.first.0).saturating_add(1)
    }
}

impl fmt::Debug for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}..={}", self.first, self.last)
        }
    }
}

/// Gathers slots, given in ascending order, into as few ranges as they make.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeBuilder {
    ranges: alloc::vec::Vec<SlotRange>,
}

impl RangeBuilder {
    /// Adds `slot`. It must lie above every slot added before.
    pub(crate) fn push(&mut self, slot: Slot) {
        match self.ranges.last_mut() {
            Some(range) if range.last.next() == slot => range.last = slot,
            _ => self.ranges.push(SlotRange { first: slot, last: slot }),
        }
    }

    pub(crate) fn finish(self) -> alloc::vec::Vec<SlotRange> {
        self.ranges
    }
}
