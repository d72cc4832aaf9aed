//! The sizes of the log in one data directory, and which of them are possible.

use serde::{Deserialize, Serialize};
use synod_model::Limits;
use thiserror::Error;

use super::batch::{BLOCK_BYTES, span_bytes};
use super::disk_error::Grouped;

/// The length of the longest segment: 1 GiB. A start reads the unused part of the last segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// The sizes of a log on disk. They are fixed when its data directory is made: recovery relies on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// The length of each segment file. Default 64 MiB: a new one is seldom waited for, and filling the
    /// next one with zeros does not keep the disk busy for long.
    pub segment_bytes: u64,
    /// How many bytes of records one batch carries, that is, one write and one sync. Default 4 MiB: far
    /// more than a sync needs to be worth its cost, and little enough that the first record of a batch
    /// does not wait long for the last. A start overwrites as much behind the end of the log.
    pub batch_bytes_max: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, batch_bytes_max: 4 << 20 }
    }
}

impl LogLimits {
    /// How many bytes of a segment the largest batch takes.
    pub(super) fn span_bytes_max(&self) -> u64 {
        span_bytes(self.batch_bytes_max)
    }

    /// Checks that a log of these sizes can hold every record that `limits` allow.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), LogLimitsError> {
        let Self { segment_bytes, batch_bytes_max } = *self;
        let is_possible = segment_bytes.is_multiple_of(BLOCK_BYTES)
            && segment_bytes <= SEGMENT_BYTES_MAX
            && batch_bytes_max <= segment_bytes
            && self.span_bytes_max() <= segment_bytes;
        if !is_possible {
            return Err(LogLimitsError::Segment { segment_bytes, batch_bytes_max });
        }
        let record_bytes_max = record_bytes_max(limits);
        if record_bytes_max > batch_bytes_max {
            return Err(LogLimitsError::Batch { batch_bytes_max, record_bytes_max });
        }
        Ok(())
    }
}

/// The length of the longest encoding of a record: as many entries as a frame has, or a single longer
/// one, with everything around their values.
fn record_bytes_max(limits: &Limits) -> u64 {
    /// The kind of an entry and at most four numbers; or a change to sixteen members, most of them learners.
    const ENTRY_BYTES_MAX: u64 = 144;
    let values = limits.frame_bytes_max.max(limits.value_bytes_max);
    let around = limits.frame_entries_max.saturating_add(1).saturating_mul(ENTRY_BYTES_MAX);
    values.saturating_add(around)
}

/// Why a log cannot have the sizes that are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogLimitsError {
    /// Segments consist of blocks, and each holds at least the largest batch.
    #[error(
        "segment_bytes = {} is impossible with batch_bytes_max = {}\n  \
         a segment consists of whole blocks of {BLOCK_BYTES} bytes, is at most {} bytes long, and \
         holds the largest batch with its header",
        Grouped(*segment_bytes), Grouped(*batch_bytes_max), Grouped(SEGMENT_BYTES_MAX)
    )]
    Segment {
        /// The length of a segment.
        segment_bytes: u64,
        /// The length of a batch.
        batch_bytes_max: u64,
    },
    /// A batch cannot hold the longest record, and a record is never split.
    #[error(
        "batch_bytes_max = {} is too small for the limits of the cluster\n  \
         with frame_bytes_max, frame_entries_max and value_bytes_max a record can take {} bytes, and \
         one batch must hold it",
        Grouped(*batch_bytes_max), Grouped(*record_bytes_max)
    )]
    Batch {
        /// The length of a batch.
        batch_bytes_max: u64,
        /// The length of the longest record.
        record_bytes_max: u64,
    },
}
