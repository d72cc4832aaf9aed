//! What is in the log, as far as it is known without reading it again.

use std::sync::{Arc, Mutex};

use synod_model::{Content, Slot, SlotRange};

use super::base::{BaseFile, KeptSegments, Needed};
use super::batch::Header;
use super::index::{Index, STRETCH_BYTES, cover, lock};
use super::segment::Place;
use super::snapshot::SnapshotFile;

/// What one batch has.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchContents {
    slots: Option<SlotRange>,
    /// The longest that one of its records is needed.
    needed: Needed,
    /// The newest snapshot that it has a record of.
    snapshot: Option<SnapshotFile>,
}

impl BatchContents {
    pub(super) fn new() -> Self {
        Self { slots: None, needed: Needed::NEVER, snapshot: None }
    }

    /// Adds the next record. `snapshot` is the file of the snapshot that it names, if it names one.
    pub(super) fn add<V>(&mut self, content: &Content<V>, snapshot: Option<SnapshotFile>) {
        self.slots = cover(self.slots, content.slots());
        self.needed = self.needed.max(Needed::of(content));
        self.snapshot = snapshot.or(self.snapshot);
    }

    pub(super) fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }
}

/// What is in the log.
#[derive(Debug)]
pub(super) struct Contents {
    index: Arc<Mutex<Index>>,
    kept: KeptSegments,
    /// The last slot of the oldest snapshot that was added.
    oldest_snapshot: Option<Slot>,
    newest_snapshot: Option<SnapshotInLog>,
    bytes_since_snapshot: u64,
}

/// The record of a snapshot.
#[derive(Clone, Copy, Debug)]
struct SnapshotInLog {
    file: SnapshotFile,
    /// The number of its batch.
    batch: u64,
    /// The segment that this is in.
    segment: u32,
}

impl Contents {
    pub(super) fn new() -> Self {
        Self {
            index: Arc::new(Mutex::new(Index::new(STRETCH_BYTES))),
            kept: KeptSegments::default(),
            oldest_snapshot: None,
            newest_snapshot: None,
            bytes_since_snapshot: 0,
        }
    }

    /// Adds the batch at `place`, which lies behind all batches that were added before.
    pub(super) fn add(&mut self, place: Place, header: &Header, batch: &BatchContents) {
        self.kept.add(place, header, batch.needed);
        if let Some(slots) = batch.slots {
            lock(&self.index).add(place, header.span_bytes(), slots);
        }
        self.bytes_since_snapshot += header.span_bytes();
        if let Some(file) = batch.snapshot {
            let Header { number: batch, segment, .. } = *header;
            self.newest_snapshot = Some(SnapshotInLog { file, batch, segment });
            self.oldest_snapshot = self.oldest_snapshot.or(Some(file.slot));
            self.bytes_since_snapshot = 0;
        }
    }

    /// Forgets what the newest snapshot stands for. Returns where the log begins from now on, and how many
    /// segments are not needed any more. None if there is no snapshot.
    pub(super) fn cut(&mut self) -> Option<(BaseFile, usize)> {
        let SnapshotInLog { file, batch, segment } = self.newest_snapshot?;
        let log = self.kept.start_behind(file.slot, segment)?;
        let segments = self.kept.forget_before(log.segment);
        lock(&self.index).forget_before(log.segment, file.slot);
        Some((BaseFile { snapshot: file, record_batch: batch, log }, segments))
    }

    pub(super) fn index(&self) -> &Arc<Mutex<Index>> {
        &self.index
    }

    /// The last slot of the oldest snapshot whose record was added.
    pub(super) fn oldest_snapshot(&self) -> Option<Slot> {
        self.oldest_snapshot
    }

    /// How many bytes were written behind the batch with the record of the newest snapshot.
    pub(super) fn bytes_since_snapshot(&self) -> u64 {
        self.bytes_since_snapshot
    }

    /// The first segment that the log has, if it has any batch.
    pub(super) fn first_segment(&self) -> Option<u32> {
        self.kept.first()
    }
}
