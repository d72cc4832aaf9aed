//! Why a log cannot be recovered: what is damaged, and where.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use super::batch::{Flaw, NoHeader};
use super::disk_error::{DiskError, Grouped};
use super::segment::{Place, segment_name};
use super::small_file::{FORMAT_VERSION, SmallFileError};
use super::snapshot::SnapshotError;
use crate::disk::Disk;
use crate::identity::REPLACEMENT_ADVICE;

/// Why a log was not recovered. Nothing on the disk was changed, except by an error of the
/// [`Disk`](RecoverError::Disk).
#[derive(Debug, Error)]
pub enum RecoverError {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A segment is not there.
    #[error(
        "{} is not there{}\n  \
         segments are made in order, and removed only when `base` says that the log begins after them, \
         so something else removed it, or `base`\n  \
         nothing was changed, and this replica will not vote\n  \
         {REPLACEMENT_ADVICE}",
        path.display(),
        next.as_ref().map(|it| format!(", and {} is", it.display())).unwrap_or_default()
    )]
    SegmentMissing {
        /// The first segment that is not there.
        path: PathBuf,
        /// The next segment that is there.
        next: Option<PathBuf>,
    },
    /// A segment has another length than all segments of the log.
    #[error(
        "{} is {} bytes long, and a segment of this log has {}\n  \
         segments never change their length, so something else changed it\n  \
         nothing was changed, and this replica will not vote\n  \
         {REPLACEMENT_ADVICE}",
        path.display(), Grouped(*found), Grouped(*expected)
    )]
    SegmentLength {
        /// The segment.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The length that it should have.
        expected: u64,
    },
    /// A segment holds nothing, although a later one was made.
    #[error(
        "{} holds no batch, and yet {} was made after it\n  \
         a segment is made only when the one before it holds a batch, so its batches are lost: \
         this is damage, nothing was changed, and this replica will not vote\n  \
         `synod inspect {}` shows what is readable\n  \
         {REPLACEMENT_ADVICE}",
        path.display(), next.display(), root.display()
    )]
    SegmentAfterEmpty {
        /// The empty segment.
        path: PathBuf,
        /// The one after it.
        next: PathBuf,
        /// The data directory.
        root: PathBuf,
    },
    /// Something durable has changed.
    #[error(
        "{}: at byte {}: {flaw}{}\n  \
         this is damage, not an interrupted write, so nothing was cut off and this replica will not \
         vote\n  \
         `synod inspect {}` shows what is readable\n  \
         {REPLACEMENT_ADVICE}",
        path.display(), Grouped(*offset), LaterText(later.as_ref()), root.display()
    )]
    Damage {
        /// The segment.
        path: PathBuf,
        /// The place in it: where a sound batch should begin, or where nothing should be written.
        offset: u64,
        /// What is wrong there.
        flaw: Flaw,
        /// The place of something that was written later, if that shows the damage.
        later: Option<(PathBuf, u64)>,
        /// The data directory.
        root: PathBuf,
    },
    /// The file `base` cannot be read.
    #[error(transparent)]
    Base(SmallFileError),
    /// A snapshot that stands for the beginning of the log cannot be read.
    #[error(
        "{} names a snapshot, and it cannot be used: {error}\n  \
         it was durable before that was written, and what it stands for may be removed, so nothing was \
         changed and this replica will not vote\n  \
         {REPLACEMENT_ADVICE}",
        path.display()
    )]
    Snapshot {
        /// The segment, or the file `base`.
        path: PathBuf,
        /// Why it cannot be used.
        error: SnapshotError,
    },
    /// The log was written by a version of synod that this one does not know.
    #[error(
        "{}: at byte {}: a batch of format version {found}, and this program knows version \
         {FORMAT_VERSION} only\n  \
         run the version of synod that wrote it, or a newer one; nothing was changed",
        path.display(), Grouped(*offset)
    )]
    UnknownVersion {
        /// The segment.
        path: PathBuf,
        /// The byte in it.
        offset: u64,
        /// The version.
        found: u32,
    },
    /// The function that takes the records has refused one.
    #[error(
        "{}: the batch at byte {} holds a record that was refused: {cause}\n  \
         its checksum is right, so it is what was written: please report this",
        path.display(), Grouped(*offset)
    )]
    Refused {
        /// The segment.
        path: PathBuf,
        /// The place where the batch begins.
        offset: u64,
        /// Why.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RecoverError {
    pub(super) fn damage(disk: &dyn Disk, place: Place, flaw: Flaw, later: Option<Place>) -> Self {
        let path = |place: Place| disk.path(&segment_name(place.segment));
        if let Flaw::NoHeader(NoHeader::UnknownVersion { found }) = flaw {
            return Self::UnknownVersion { path: path(place), offset: place.offset, found };
        }
        Self::Damage {
            path: path(place),
            offset: place.offset,
            flaw,
            later: later.map(|it| (path(it), it.offset)),
            root: disk.path(""),
        }
    }
}

struct LaterText<'a>(Option<&'a (PathBuf, u64)>);

impl fmt::Display for LaterText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some((path, offset)) => {
                let offset = Grouped(*offset);
                write!(f, "; and what is at byte {offset} of {} was written later", path.display())
            }
        }
    }
}
