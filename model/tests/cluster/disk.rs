//! The disk of one replica: a base, the records after it, and how many of them are durable.

use std::collections::BTreeMap;

use synod_model::{Base, Content, Entry, Fold, Position, Record, SequenceNumber, Slot};

use super::V;

/// A disk that keeps all records, so that a test can recover from any prefix of them.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    base: Base<V>,
    records: Vec<Record<V>>,
    durable: usize,
    /// The number of records when the present run began. Positions count from there.
    run_begins: usize,
    /// What the durable records amount to.
    folded: Base<V>,
}

/// The newest record of a slot.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// None if the entry came by catch-up.
    pub(crate) s: Option<SequenceNumber>,
    pub(crate) entry: Entry<V>,
    pub(crate) durable: bool,
}

impl Disk {
    pub(crate) fn new(base: Base<V>) -> Self {
        let folded = base.clone();
        Self { base, records: Vec::new(), durable: 0, run_begins: 0, folded }
    }

    pub(crate) fn append(&mut self, record: Record<V>) {
        self.records.push(record);
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.records.len() - self.durable
    }

    /// Makes the next `count` records durable, and returns the last durable position.
    pub(crate) fn sync(&mut self, count: usize) -> Position {
        for record in &self.records[self.durable..][..count] {
            self.folded.apply(record.clone()).expect("a replica writes only possible records");
        }
        self.durable += count;
        Position((self.durable - self.run_begins) as u64)
    }

    /// The newest `count` of the durable records.
    pub(crate) fn last_synced(&self, count: usize) -> &[Record<V>] {
        &self.records[self.durable - count..self.durable]
    }

    /// Loses all records that are not durable, except for the next `keep`: these reached the disk,
    /// and the replica did not learn of it.
    pub(crate) fn crash(&mut self, keep: usize) {
        self.sync(keep);
        self.records.truncate(self.durable);
        self.run_begins = self.durable;
    }

    /// Loses the newest `count` durable records. There are no others.
    pub(crate) fn roll_back(&mut self, count: usize) {
        self.records.truncate(self.durable - count);
        self.durable = self.records.len();
        self.run_begins = self.durable;
        self.folded = self.base_after(self.durable);
    }

    /// The fold of the durable records.
    pub(crate) fn fold(&self) -> &Fold<V> {
        &self.folded.fold
    }

    /// Whether it has `entry` in `slot`, in the log or in a snapshot.
    pub(crate) fn has(&self, slot: Slot, entry: &Entry<V>) -> bool {
        let stored = self.fold().entries.get(&slot);
        slot <= self.folded.snapshot.slot || stored.is_some_and(|it| it.entry == *entry)
    }

    pub(crate) fn records(&self) -> &[Record<V>] {
        &self.records
    }

    /// The base that the first `count` records fold into.
    pub(crate) fn base_after(&self, count: usize) -> Base<V> {
        let mut base = self.base.clone();
        for record in &self.records[..count] {
            base.apply(record.clone()).expect("a replica writes only possible records");
        }
        base
    }

    /// The position of the newest record.
    pub(crate) fn written(&self) -> Position {
        Position((self.records.len() - self.run_begins) as u64)
    }

    /// The newest record of every slot, durable or not.
    pub(crate) fn log(&self) -> BTreeMap<Slot, Written> {
        let mut log = BTreeMap::new();
        for (index, record) in self.records.iter().enumerate() {
            let durable = index < self.durable;
            let (s, first, entries) = match &record.content {
                Content::Promised(_) | Content::Forgotten(_) | Content::Snapshot { .. } => continue,
                Content::Accepted { s, first, entries, .. } => (Some(*s), first, entries),
                Content::Committed { first, entries } => (None, first, entries),
            };
            for (slot, entry) in (first.0..).map(Slot).zip(entries) {
                log.insert(slot, Written { s, entry: entry.clone(), durable });
            }
        }
        log
    }
}
