//! What a replica writes, and what its writings amount to.
//!
//! The log on disk is a base and the records after it. Every record carries the watermark as it
//! stood when the record was written, so that knowledge of commits reaches the disk without a write
//! of its own, and never before the entries that it covers.
//!
//! What came by catch-up is written as *committed*. Such a record carries a watermark that covers its
//! own entries. A replica that has the record has the watermark, so no promise reports these entries,
//! and no accept overwrites them.
//!
//! If several records name one slot, **the last one counts**. [`Content::put_into`] decides that, and
//! nothing else does. Nothing is written for a slot at or below the watermark, and above it a later
//! record has a higher number.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeBounds;

use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::entry::Entry;
use crate::numbers::{ConfigurationId, SequenceNumber, Slot, SlotRange};
use crate::prefix::PrefixHash;
use crate::snapshot::SnapshotHandle;
use crate::testimony::Forgotten;

/// One record of a replica's log on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record<V> {
    /// Every slot up to here is committed. Never below an earlier record's.
    pub watermark: Slot,
    /// The running hash up to there.
    pub hash: PrefixHash,
    /// What is recorded.
    pub content: Content<V>,
}

/// What a record records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Content<V> {
    /// "I will obey nobody below this number."
    Promised(SequenceNumber),
    /// "I have accepted these entries under `s`", which also promises `s`.
    Accepted {
        /// The number.
        s: SequenceNumber,
        /// The configuration of which it was ordered. If another one turns out to govern the slot of an
        /// entry, then the entry counts for nothing.
        configuration: ConfigurationId,
        /// The slot of the first entry.
        first: Slot,
        /// The entries of consecutive slots.
        entries: Vec<Entry<V>>,
    },
    /// "These entries are committed", as catch-up told. The record's watermark covers them.
    Committed {
        /// The slot of the first entry.
        first: Slot,
        /// The entries of consecutive slots.
        entries: Vec<Entry<V>>,
    },
    /// "This disk has lost something that I once told": the replica that has this record does nothing
    /// any more.
    Forgotten(Forgotten),
    /// "Everything up to a slot is in a snapshot", which is durable: one of this replica's, or one that it
    /// has installed. The record's watermark covers the slot. From then on the log begins after it.
    Snapshot {
        /// The snapshot, without the state of the application.
        handle: Arc<SnapshotHandle>,
        /// What is promised, for older records may go.
        promised: SequenceNumber,
    },
}

impl<V> Content<V> {
    /// The slots that this record has entries for, if it has any.
    #[must_use]
    pub fn slots(&self) -> Option<SlotRange> {
        match self {
            Self::Promised(_) | Self::Forgotten(_) | Self::Snapshot { .. } => None,
            Self::Accepted { first, entries, .. } | Self::Committed { first, entries } => {
                let more = (entries.len() as u64).checked_sub(1)?;
                Some(SlotRange { first: *first, last: first.plus(more) })
            }
        }
    }

    /// Whether recovery from a snapshot of the slots up to `snapshot` does without this record, which is older
    /// than the record of that snapshot.
    ///
    /// The record of the snapshot repeats the promise and the watermark. So of the older records, only
    /// entries above the snapshot are needed; and what the disk has lost is never forgotten. [`Recovery`]
    /// takes the same from a record that is still there.
    ///
    /// [`Recovery`]: crate::Recovery
    #[must_use]
    pub fn may_be_cut(&self, snapshot: Slot) -> bool {
        match self {
            Self::Promised(_) | Self::Snapshot { .. } => true,
            Self::Forgotten(_) => false,
            Self::Accepted { .. } | Self::Committed { .. } => {
                self.slots().is_none_or(|slots| slots.last <= snapshot)
            }
        }
    }

    /// Puts the entries of this record that lie in `slots` among the entries of the records before
    /// it, and replaces what stood in their slots: the last record of a slot counts.
    ///
    /// [`Fold`] uses this, and so does a shell that reads slots from the disk to serve them
    /// ([`Output::serve`](crate::Output::serve)).
    pub fn put_into(self, entries: &mut BTreeMap<Slot, Stored<V>>, slots: impl RangeBounds<Slot>) {
        let (s, configuration, first, new) = match self {
            Self::Promised(_) | Self::Forgotten(_) | Self::Snapshot { .. } => return,
            Self::Accepted { s, configuration, first, entries } => {
                (s, configuration, first, entries)
            }
            Self::Committed { first, entries } => {
                (SequenceNumber::NONE, ConfigurationId::NONE, first, entries)
            }
        };
        for (ahead, entry) in (0..).zip(new) {
            // Saturates: a record that no replica wrote must not stop the program that reads it.
            let slot = first.plus(ahead);
            if slots.contains(&slot) {
                entries.insert(slot, Stored { s, configuration, entry });
            }
        }
    }
}

/// What the log starts from once older records are gone. A new data directory starts from [`Base::new`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Base<V> {
    /// Everything up to its slot is in the snapshot, and not in the log.
    pub snapshot: Arc<SnapshotHandle>,
    /// What the records before amount to.
    pub fold: Fold<V>,
}

impl<V> Base<V> {
    /// The base of a replica that has never written anything.
    #[must_use]
    pub fn new(configuration: Configuration) -> Self {
        Self::behind(Arc::new(SnapshotHandle::empty(configuration)))
    }

    /// The base of a replica that has nothing but a snapshot.
    pub(crate) fn behind(snapshot: Arc<SnapshotHandle>) -> Self {
        let fold = Fold {
            promised: SequenceNumber::NONE,
            watermark: snapshot.slot,
            hash: snapshot.hash(),
            entries: BTreeMap::new(),
            forgotten: None,
        };
        Self { snapshot, fold }
    }
}

impl<V: Clone + Eq> Base<V> {
    /// Folds in the next record. If it is that of a snapshot, the log begins after it from then on.
    ///
    /// # Errors
    ///
    /// If no replica can have written this record after those before it; nothing is folded then.
    pub fn apply(&mut self, record: Record<V>) -> Result<(), RecordError> {
        let Content::Snapshot { handle, promised } = &record.content else {
            return self.fold.apply(record);
        };
        let handle = Arc::clone(handle);
        if handle.slot <= self.snapshot.slot || *promised != self.fold.promised {
            return Err(RecordError::BadSnapshot { slot: handle.slot });
        }
        self.fold.apply(record)?;
        self.snapshot = handle;
        Ok(())
    }
}

/// What records amount to: the state of the disk, without the history that led there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fold<V> {
    /// The highest number that was promised.
    pub promised: SequenceNumber,
    /// Every slot up to here is committed.
    pub watermark: Slot,
    /// The running hash up to there, as the records say it. [`Recovery`](crate::Recovery) computes it
    /// from the entries, and compares.
    pub hash: PrefixHash,
    /// The entries, each with the number under which it was accepted.
    pub entries: BTreeMap<Slot, Stored<V>>,
    /// What the disk has lost, if the replica was found to have lost something.
    pub forgotten: Option<Forgotten>,
}

/// An entry on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stored<V> {
    /// The number under which it was accepted. [`SequenceNumber::NONE`] once the entry is known to
    /// be committed: from then on its number means nothing.
    pub s: SequenceNumber,
    /// The configuration of which it was ordered; [`ConfigurationId::NONE`] once it is committed.
    pub configuration: ConfigurationId,
    /// The entry.
    pub entry: Entry<V>,
}

/// Why records cannot be what a replica wrote. The disk, or the program that read it, is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The watermark covers a slot that no record has an entry for.
    CommittedSlotMissing {
        /// The slot.
        slot: Slot,
    },
    /// The watermark or the number is below one recorded before, or a promise is repeated.
    Backwards {
        /// The watermark of the record.
        watermark: Slot,
    },
    /// A record names an impossible range of slots.
    BadRange {
        /// The slot of the record's first entry.
        first: Slot,
    },
    /// Two records hold different entries for one slot under one number.
    TwoUnderOneNumber {
        /// The slot.
        slot: Slot,
    },
    /// The record of a snapshot does not go with what is committed before it.
    BadSnapshot {
        /// The last slot that the snapshot includes.
        slot: Slot,
    },
    /// The log begins after a snapshot, and has no record of it.
    SnapshotRecordMissing {
        /// The last slot that the snapshot includes.
        slot: Slot,
    },
    /// A record overwrites a slot that is committed.
    CommittedSlotOverwritten {
        /// The slot.
        slot: Slot,
    },
    /// An entry was accepted in a configuration that is newer than all that is committed.
    UnknownConfiguration {
        /// The slot of the entry.
        slot: Slot,
    },
    /// The entries up to a slot are not those that were there when a record was written.
    OtherPrefix {
        /// The slot.
        slot: Slot,
    },
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::CommittedSlotMissing { slot } => {
                write!(f, "the log says that slot {slot} is committed and has no entry for it")
            }
            Self::Backwards { watermark } => {
                write!(f, "a record with watermark {watermark} goes back behind an earlier record")
            }
            Self::BadRange { first } => {
                write!(f, "a record that begins at slot {first} names an impossible range of slots")
            }
            Self::TwoUnderOneNumber { slot } => {
                write!(f, "two records hold different entries for slot {slot} under one number")
            }
            Self::BadSnapshot { slot } => {
                write!(
                    f,
                    "the snapshot of the slots up to {slot} does not go with the log before it"
                )
            }
            Self::SnapshotRecordMissing { slot } => {
                write!(f, "the log has no record of the snapshot of the slots up to {slot}")
            }
            Self::CommittedSlotOverwritten { slot } => {
                write!(f, "a record overwrites slot {slot}, which is committed")
            }
            Self::UnknownConfiguration { slot } => {
                write!(
                    f,
                    "the entry of slot {slot} was accepted in a configuration that the log does not have"
                )
            }
            Self::OtherPrefix { slot } => {
                write!(
                    f,
                    "the entries up to slot {slot} have another hash than was written with them"
                )
            }
        }
    }
}

impl core::error::Error for RecordError {}

impl<V: Clone + Eq> Fold<V> {
    /// Folds in the next record.
    ///
    /// # Errors
    ///
    /// If no replica can have written this record after those before it; nothing is folded then.
    pub fn apply(&mut self, record: Record<V>) -> Result<(), RecordError> {
        let Record { watermark, hash, content } = record;
        if watermark < self.watermark {
            return Err(RecordError::Backwards { watermark });
        }
        if watermark == self.watermark && hash != self.hash {
            return Err(RecordError::OtherPrefix { slot: watermark });
        }
        let (s, first, entries): (_, _, &[_]) = match &content {
            Content::Promised(s) if *s > self.promised => (*s, watermark.next(), &[]),
            Content::Forgotten(_) => (SequenceNumber::NONE, watermark.next(), &[]),
            Content::Snapshot { handle, promised } if *promised >= self.promised => {
                let slot = handle.slot;
                if slot > watermark || (slot == watermark && hash != handle.hash()) {
                    return Err(RecordError::BadSnapshot { slot });
                }
                (*promised, watermark.next(), &[])
            }
            Content::Accepted { s, first, entries, configuration: _ }
                if *s >= self.promised && *s != SequenceNumber::NONE =>
            {
                self.check_range(*first, entries)?;
                if *first <= watermark {
                    return Err(RecordError::CommittedSlotOverwritten { slot: *first });
                }
                (*s, *first, entries)
            }
            Content::Promised(_) | Content::Accepted { .. } | Content::Snapshot { .. } => {
                return Err(RecordError::Backwards { watermark });
            }
            Content::Committed { first, entries } => {
                self.check_range(*first, entries)?;
                if first.0 + entries.len() as u64 != watermark.next().0 {
                    return Err(RecordError::BadRange { first: *first });
                }
                (SequenceNumber::NONE, *first, entries)
            }
        };
        for (slot, entry) in (first.0..).map(Slot).zip(entries) {
            if let Some(stored) = self.entries.get(&slot)
                && stored.s == s
                && stored.entry != *entry
            {
                return Err(RecordError::TwoUnderOneNumber { slot });
            }
        }
        let snapshot = match &content {
            Content::Snapshot { handle, .. } => handle.slot,
            _ => Slot::ZERO,
        };
        let count = entries.len() as u64;
        let written = |slot: Slot| first <= slot && slot.0 < first.0 + count;
        // Every slot in here that is not found ends the loop: a watermark that is forged far ahead
        // costs nothing.
        let mut slot = self.watermark.max(snapshot).next();
        while slot <= watermark {
            if !written(slot) && !self.entries.contains_key(&slot) {
                return Err(RecordError::CommittedSlotMissing { slot });
            }
            slot = slot.next();
        }

        if let Content::Forgotten(forgotten) = &content {
            self.forgotten = Some(*forgotten);
        }
        self.promised = self.promised.max(s);
        content.put_into(&mut self.entries, ..);
        if snapshot > Slot::ZERO {
            self.entries = self.entries.split_off(&snapshot.next());
        }
        let newly_committed = self.watermark.next()..=watermark;
        if !newly_committed.is_empty() {
            for (_, stored) in self.entries.range_mut(newly_committed) {
                (stored.s, stored.configuration) = (SequenceNumber::NONE, ConfigurationId::NONE);
            }
        }
        self.watermark = watermark;
        self.hash = hash;
        Ok(())
    }

    fn check_range(&self, first: Slot, entries: &[Entry<V>]) -> Result<(), RecordError> {
        let count = entries.len() as u64;
        if first <= self.watermark {
            return Err(RecordError::CommittedSlotOverwritten { slot: first });
        }
        if count == 0 || first.0.saturating_add(count) > Slot::MAX.0 {
            return Err(RecordError::BadRange { first });
        }
        Ok(())
    }
}
