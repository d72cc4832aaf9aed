//! Testimony: what a replica has told another one, and must have on its disk ever since.
//!
//! A replica tells three things only when they are durable: a promise, that it has accepted an entry, and
//! any order but a canvass, because it has promised the number to itself before. Its peers remember what
//! they were told, and remind the replica when they connect again. If its disk has less, the disk has lost
//! what was durable, or somebody has put an older copy of the data directory in its place. Then the replica
//! must not vote any more: it might help to choose a second value where it has helped to choose one.
//!
//! The replica itself compares. What is on a sound disk only grows, so a replica whose disk lost nothing has
//! what it is reminded of, however late the reminder arrives, how often, or in which order. A late reminder
//! may find less: what was lost may have been accepted anew, or committed, meanwhile.
//!
//! Nothing else is held against a replica. When it obeys a round or rejects an order, it does not wait for
//! its disk. When it acknowledges an entry that it knows to be committed, it may have accepted the entry
//! under a lower number, and forget in a crash that the entry is committed.
//!
//! Only what peers remember is found. They remember in memory, but for one thing: the owner of the number
//! that a replica has promised has promised it as well, and that is on the disk.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::numbers::{ConfigurationId, ReplicaId, SequenceNumber, Slot};

/// What a replica has told another one when it was durable.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Testimony {
    /// It has promised this number; [`SequenceNumber::NONE`] if it has told of no promise.
    pub promised: SequenceNumber,
    /// The last slot that it has accepted, under the highest number of the newest configuration in which it has
    /// told of one.
    pub accepted: Option<ToldAccepted>,
}

/// A slot in which a replica has told that it has accepted an entry, before it knew that the entry is
/// committed. Then the entry is on its disk under this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ToldAccepted {
    /// The configuration. What was accepted in an older one may be void by now. (It comes first, so that
    /// these are ordered by it, and then by the number.)
    pub configuration: ConfigurationId,
    /// The number.
    pub s: SequenceNumber,
    /// The slot.
    pub slot: Slot,
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
