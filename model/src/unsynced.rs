//! What is written and not yet durable, and what waits for it.
//!
//! No fact may be forgotten once a peer has been told of it. So three things wait for the record that
//! they rest on: a promise, an acknowledgement, and the coordinator's own vote. Nothing else waits.
//!
//! This module keeps no messages, only the facts that the outstanding records make durable. When a
//! sync is reported, the replica sends what has become true, once and merged: one acknowledgement for
//! many slots, and no promise that a higher one has overtaken.

use crate::counted::{CountedQueue, SizeBytes};
use crate::entry::{Entry, Value};
use crate::io::Output;
use crate::numbers::{Position, SequenceNumber, Slot, SlotRange};
use crate::record::{Content, Record};

/// The records that are not durable yet, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Unsynced {
    /// Everything up to here is durable.
    synced: Position,
    records: CountedQueue<Outstanding>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Outstanding {
    fact: Fact,
    size_bytes: u64,
}

impl SizeBytes for Outstanding {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// What a record makes true once it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fact {
    /// The promise of a number.
    Promised(SequenceNumber),
    /// Entries accepted under a number, which promises it too; [`SequenceNumber::NONE`] for entries
    /// that are written as committed.
    Holds(SequenceNumber, SlotRange),
    /// That everything up to a slot is in a snapshot.
    Snapshot(Slot),
    /// That the disk has lost something.
    Forgotten,
}

impl Unsynced {
    /// Appends a record to the log on disk.
    pub(crate) fn write<V: Value>(&mut self, record: Record<V>, out: &mut Output<V>) {
        let (fact, size_bytes) = match &record.content {
            Content::Promised(s) => (Fact::Promised(*s), 0),
            Content::Snapshot { handle, .. } => (Fact::Snapshot(handle.slot), 0),
            Content::Forgotten(_) => (Fact::Forgotten, 0),
            Content::Accepted { s, first, entries, configuration: _ } => {
                (Fact::Holds(*s, range_of(*first, entries)), total_bytes(entries))
            }
            Content::Committed { first, entries } => {
                let range = range_of(*first, entries);
                (Fact::Holds(SequenceNumber::NONE, range), total_bytes(entries))
            }
        };
        self.records.push_back(Outstanding { fact, size_bytes });
        out.writes.push(record);
    }

    /// Everything up to `through` is durable: takes out the oldest fact that this makes true. Call it
    /// until there is none. A position that is known already, or that is ahead of what was written,
    /// takes out nothing more.
    pub(crate) fn pop(&mut self, through: Position) -> Option<Fact> {
        if self.synced >= through {
            return None;
        }
        let outstanding = self.records.pop_front()?;
        self.synced.0 += 1;
        Some(outstanding.fact)
    }

    /// How many bytes of values wait for a sync.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.records.size_bytes()
    }

    /// The position of the newest durable record.
    pub(crate) fn synced(&self) -> Position {
        self.synced
    }

    /// The position of the newest record.
    pub(crate) fn written(&self) -> Position {
        Position(self.synced.0 + self.records.count())
    }

    /// Counts positions from the last durable record on.
    #[cfg(feature = "stateright")]
    pub(crate) fn renumber(&mut self) {
        self.synced = Position(0);
    }
}

fn range_of<V>(first: Slot, entries: &[Entry<V>]) -> SlotRange {
    SlotRange { first, last: first.plus((entries.len() as u64).saturating_sub(1)) }
}

/// How many bytes `entries` count for in the limits.
fn total_bytes<V: Value>(entries: &[Entry<V>]) -> u64 {
    entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.size_bytes()))
}
