//! Testimony: what a replica has told another one, and must have on its disk ever since.
//!
//! A replica tells three things only when they are durable: a promise, that it has accepted an entry, and
//! any order but a canvass, for it has promised the number to itself before. Whoever was told remembers,
//! and reminds the replica when the two connect again. If its disk has less, the disk has lost what was
//! durable, or somebody has put an older copy of the data directory in its place. Then the replica must
//! not vote any more: it might help to choose a second value where it has helped to choose one.
//!
//! The replica itself judges that, for what is on its disk only grows. So it does not matter how late a
//! reminder arrives, or how often, or in which order. Nothing else is held against a replica: when it
//! obeys a round or rejects an order, it does not wait for its disk.
//!
//! That finds as much as anybody remembers. What is told is remembered in memory, but for one thing: the
//! owner of the number that a replica has promised has promised it as well, and that is on the disk.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::numbers::{ReplicaId, SequenceNumber, Slot};
use crate::prefix::EntryDigest;

/// What a replica has told another one when it was durable.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Testimony {
    /// It has promised this number; [`SequenceNumber::NONE`] if it has told of no promise.
    pub promised: SequenceNumber,
    /// The last slot that it has accepted, under the highest number under which it has told of one.
    pub accepted: Option<ToldAccepted>,
}

/// A slot in which a replica has told that it has accepted an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ToldAccepted {
    /// The slot.
    pub slot: Slot,
    /// The number under which it was asked to accept. It may hold the entry under a lower one, if it knew
    /// already that the entry is committed.
    pub s: SequenceNumber,
    /// The digest of the entry, if the replica that was told still has the entry.
    pub digest: Option<EntryDigest>,
}

/// What the disk of a replica has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Forgotten {
    /// Whose disk it is.
    pub replica: ReplicaId,
    /// The replica that was told, and has reminded it.
    pub told_to: ReplicaId,
    /// The number that it has promised, or under which it has accepted an entry.
    pub s: SequenceNumber,
    /// The slot of that entry. `None` if it is the promise that is lost.
    pub slot: Option<Slot>,
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replica, told_to, s, slot } = self;
        write!(f, "replica {replica} has told replica {told_to} that it ")?;
        match slot {
            Some(slot) => write!(f, "accepted slot {slot} under number {s}")?,
            None => write!(f, "promised number {s}")?,
        }
        write!(f, ", and its disk has lost that")
    }
}
