//! Reading slots from the log, for peers that lag behind the entries in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use synod_model::{Entry, FrameRoom, Incarnation, Slot, SlotRange, Stored};
use synod_wire::Value;
use thiserror::Error;

use super::batch::Flaw;
use super::disk_error::{DiskError, Grouped};
use super::index::{Index, Stretch, lock};
use super::scan::Scanner;
use super::segment::segment_name;
use super::stored_record::records;
use crate::disk::Disk;
use crate::identity::REPLACEMENT_ADVICE;

/// Reads slots from the log while it is appended to. It opens the files itself, and sees only what is
/// durable.
#[derive(Clone, Debug)]
pub struct LogReader {
    disk: Arc<dyn Disk>,
    index: Arc<Mutex<Index>>,
    incarnation: Incarnation,
}

impl LogReader {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        index: Arc<Mutex<Index>>,
        incarnation: Incarnation,
    ) -> Self {
        Self { disk, index, incarnation }
    }

    /// The entries of the first of `slots`, in order: at most `entries_max`, with at most `bytes_max`
    /// together, but at least one. The entry of a slot is the one that was written last. If the slot is
    /// committed, that is the committed entry.
    ///
    /// It reads the stretches that the index names, some 256 KiB each, and holds little more in memory
    /// than it returns.
    ///
    /// # Errors
    ///
    /// If the log has nothing for the first slot, or nothing any more, or is damaged there.
    pub fn read(
        &self,
        slots: SlotRange,
        entries_max: u64,
        bytes_max: u64,
    ) -> Result<Vec<Entry<Value>>, ReadError> {
        self.read_what_is_there(slots, entries_max, bytes_max).map_err(|error| {
            let slot = slots.first;
            let is_absent = match &error {
                ReadError::SlotMissing { .. } => true,
                // Its segment has gone since the index named it.
                ReadError::Disk(error) => error.error.kind() == io::ErrorKind::NotFound,
                _ => false,
            };
            let snapshot = lock(&self.index).snapshot();
            if is_absent && slot <= snapshot { ReadError::Gone { slot, snapshot } } else { error }
        })
    }

    fn read_what_is_there(
        &self,
        slots: SlotRange,
        entries_max: u64,
        bytes_max: u64,
    ) -> Result<Vec<Entry<Value>>, ReadError> {
        let first = slots.first;
        let last = slots.last.min(first.plus(entries_max.saturating_sub(1)));
        let mut wanted = SlotRange { first, last };
        let stretches: Vec<Stretch> = lock(&self.index).find(wanted).collect();

        let mut found = BTreeMap::new();
        let mut scanner = None;
        for stretch in stretches {
            // What was found may fill the answer already, and then this stretch is not wanted.
            if stretch.slots.first > wanted.last {
                continue;
            }
            let scanner = match &mut scanner {
                None => scanner.insert(Scanner::open(&*self.disk, stretch.place.segment)?),
                Some(scanner) => {
                    if scanner.segment != stretch.place.segment {
                        scanner.switch(stretch.place.segment)?;
                    }
                    scanner
                }
            };
            self.read_stretch(scanner, stretch, wanted, &mut found)?;
            wanted.last = last_that_fits(&found, wanted, bytes_max);
            found.split_off(&wanted.last.next());
        }
        let mut entries = Vec::new();
        let mut expected = first;
        for (slot, Stored { entry, .. }) in found {
            if slot != expected {
                break;
            }
            entries.push(entry);
            expected = slot.next();
        }
        if entries.is_empty() { Err(ReadError::SlotMissing { slot: first }) } else { Ok(entries) }
    }

    fn read_stretch(
        &self,
        scanner: &mut Scanner<'_>,
        stretch: Stretch,
        wanted: SlotRange,
        found: &mut BTreeMap<Slot, Stored<Value>>,
    ) -> Result<(), ReadError> {
        let mut offset = stretch.place.offset;
        let end = offset + stretch.length_bytes;
        while offset < end {
            let damaged = |flaw| ReadError::Damage {
                path: self.disk.path(&segment_name(stretch.place.segment)),
                offset,
                flaw,
            };
            let (header, span) = scanner.any_batch(offset, end)?.map_err(damaged)?;
            if header.incarnation != self.incarnation {
                return Err(damaged(Flaw::Foreign { found: header.incarnation }));
            }
            for stored in records(header.payload(span).map_err(damaged)?) {
                let stored = stored.map_err(|error| damaged(Flaw::NoRecord(error)))?;
                // The record of a snapshot has no entries, and its handle is not needed.
                if let Ok(record) = stored.into_record(|_| Err(())) {
                    record.content.put_into(found, wanted.first..=wanted.last);
                }
            }
            offset += header.span_bytes();
        }
        Ok(())
    }
}

/// The last slot that is wanted if the answer has at most `bytes_max`. Entries that were found already
/// count, and one entry is always wanted.
fn last_that_fits(
    found: &BTreeMap<Slot, Stored<Value>>,
    wanted: SlotRange,
    bytes_max: u64,
) -> Slot {
    let mut room = FrameRoom::new(u64::MAX, bytes_max);
    let too_much = found.iter().find(|(_, stored)| !room.take(stored.entry.size_bytes()));
    // Slots below the first that does not fit are wanted, even if they are still missing.
    too_much.map_or(wanted.last, |(slot, _)| Slot(slot.0 - 1))
}

impl ReadError {
    /// Whether too many files were open. The log is sound then, and can be read later.
    pub(crate) fn is_want_of_descriptors(&self) -> bool {
        matches!(self, Self::Disk(error) if error.is_want_of_descriptors())
    }
}

/// Why slots were not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log has no record for the slot.
    #[error("the log has no record for slot {slot}")]
    SlotMissing {
        /// The slot.
        slot: Slot,
    },
    /// The log has no record for the slot any more.
    #[error(
        "slot {slot} is not in the log any more: a snapshot of the slots up to {snapshot} has it"
    )]
    Gone {
        /// The slot.
        slot: Slot,
        /// The last slot of the snapshot.
        snapshot: Slot,
    },
    /// What was durable has changed.
    #[error(
        "{}: at byte {}: {flaw}\n  \
         it was sound when it was written, so this is damage\n  \
         {REPLACEMENT_ADVICE}",
        path.display(), Grouped(*offset)
    )]
    Damage {
        /// The segment.
        path: PathBuf,
        /// The place where the batch begins.
        offset: u64,
        /// What is wrong with the batch.
        flaw: Flaw,
    },
}
