//! Where the log begins: which snapshot stands for its beginning, and which segments are still needed.
//!
//! Every record says whether a snapshot can stand for it: [`Content::may_be_cut`] decides. The log only
//! remembers the answer for each segment, so that it need not read the segment again. A segment goes when
//! it lies wholly before the record of the newest snapshot, no record in it is needed any more, and all
//! segments before it go as well.
//!
//! The file `base` says where the log begins. It is written when the record of the snapshot is durable,
//! and before any segment is removed. So a start knows which segments to ignore, whatever unlinks a crash
//! has left undone, and which segments must not be missing.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use synod_model::{Content, Slot};

use super::batch::Header;
use super::segment::Place;
use super::snapshot::SnapshotFile;

/// What the file `base` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFile {
    /// The newest snapshot whose record was durable when this was written.
    pub snapshot: SnapshotFile,
    /// The number of the batch that has this record. All batches up to it were durable.
    pub record_batch: u64,
    /// Where reading begins.
    pub log: LogStart,
}

/// Where a log begins, and what is needed to check its first batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStart {
    /// The first segment that is needed. Earlier ones are ignored, and removed.
    pub segment: u32,
    /// The number of the first batch in it.
    pub batch: u64,
    /// The checksum of the header of the batch before.
    pub previous_checksum: u32,
}

impl LogStart {
    /// The beginning of a log that was never cut.
    pub(super) const WHOLE: Self = Self { segment: 1, batch: 1, previous_checksum: 0 };
}

/// For how long a record is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needed {
    /// Until there is a snapshot of this slot, or of a later one.
    Until(Slot),
    Forever,
}

impl Needed {
    pub(super) const NEVER: Self = Self::Until(Slot::ZERO);

    pub(super) fn of<V>(content: &Content<V>) -> Self {
        if content.may_be_cut(Slot::ZERO) {
            return Self::NEVER;
        }
        match content.slots() {
            Some(slots) if content.may_be_cut(slots.last) => Self::Until(slots.last),
            _ => Self::Forever,
        }
    }

    pub(super) fn is_over(self, snapshot: Slot) -> bool {
        match self {
            Self::Until(slot) => slot <= snapshot,
            Self::Forever => false,
        }
    }
}

/// The segments that the log has, in order, and what is known of each.
#[derive(Debug, Default)]
pub(super) struct KeptSegments(VecDeque<KeptSegment>);

#[derive(Debug)]
struct KeptSegment {
    start: LogStart,
    /// The longest that one of its records is needed.
    needed: Needed,
}

impl KeptSegments {
    /// Adds the batch at `place`, which comes behind all that were added before.
    pub(super) fn add(&mut self, place: Place, header: &Header, needed: Needed) {
        match self.0.back_mut() {
            Some(last) if last.start.segment == place.segment => {
                last.needed = last.needed.max(needed);
            }
            _ => {
                let start = LogStart {
                    segment: place.segment,
                    batch: header.number,
                    previous_checksum: header.previous_checksum,
                };
                self.0.push_back(KeptSegment { start, needed });
            }
        }
    }

    /// The first segment that is needed besides a snapshot of `slot`, whose record is in segment
    /// `record_in`.
    pub(super) fn start_behind(&self, slot: Slot, record_in: u32) -> Option<LogStart> {
        let is_needed =
            |it: &&KeptSegment| it.start.segment >= record_in || !it.needed.is_over(slot);
        self.0.iter().find(is_needed).map(|it| it.start)
    }

    /// The first segment.
    pub(super) fn first(&self) -> Option<u32> {
        self.0.front().map(|it| it.start.segment)
    }

    /// Forgets the segments before this one. Returns how many there were.
    pub(super) fn forget_before(&mut self, segment: u32) -> usize {
        let count = self.0.partition_point(|it| it.start.segment < segment);
        self.0.drain(..count);
        count
    }
}
