//! Reading slots from the log, for peers that lag behind what is in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use synod_model::{Entry, Slot, SlotRange, Stored};
use synod_wire::Incarnation;
use synod_wire::Value;
use synod_wire::codec;
use thiserror::Error;

use super::batch::Flaw;
use super::index::{Index, Stretch};
use super::log::lock;
use super::scan::Scanner;
use super::segment::segment_name;
use super::trouble::{DiskError, Grouped, LOST};
use crate::disk::Disk;

/// Reads slots from the log while it is appended to. It opens the files for itself, and sees what
/// is durable and nothing else.
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

    /// The entries of the first of `slots`, in order: at most `entries_max`, and no more than have
    /// `bytes_max` together, but one at least. Of each slot it is the last that was written, which is
    /// the committed one once the slot is committed.
    ///
    /// It reads what the index says, some 256 KiB at a time, and holds little more in memory than it
    /// returns.
    ///
    /// # Errors
    ///
    /// If the log has nothing for the first slot, or what it has is damaged.
    pub fn read(
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
            // What is found may fill the answer, and then most of what was asked for is not wanted.
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
            wanted.last = fits(&found, wanted, bytes_max);
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
            for record in codec::records(header.payload(span).map_err(damaged)?) {
                let record = record.map_err(|error| damaged(Flaw::NoRecord(error)))?;
                record.content.put_into(found, wanted.first..=wanted.last);
            }
            offset += header.span_bytes();
        }
        Ok(())
    }
}

/// The last slot that is wanted, if no more than `bytes_max` are wanted: those found already count,
/// and one is wanted in any case.
fn fits(found: &BTreeMap<Slot, Stored<Value>>, wanted: SlotRange, bytes_max: u64) -> Slot {
    let mut bytes = 0_u64;
    for (slot, stored) in found {
        bytes = bytes.saturating_add(stored.entry.size_bytes());
        if bytes > bytes_max && *slot > wanted.first {
            // Whatever is still missing below this slot is wanted.
            return Slot(slot.0 - 1);
        }
    }
    wanted.last
}

impl ReadError {
    /// Whether the log is as it was, and can be read when fewer files are open.
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
    /// The log has no record for it.
    #[error("the log has no record for slot {slot}")]
    SlotMissing {
        /// The slot.
        slot: Slot,
    },
    /// What was durable has been changed.
    #[error(
        "{}: at byte {}: {flaw}\n  \
         it was sound when it was written, so this is damage\n  \
         {LOST}",
        path.display(), Grouped(*offset)
    )]
    Damage {
        /// The segment.
        path: PathBuf,
        /// Where the batch begins.
        offset: u64,
        /// What is wrong with it.
        flaw: Flaw,
    },
}
