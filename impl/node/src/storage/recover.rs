//! Making what survived durable, before anybody rests on it.
//!
//! What a killed process has written may still be only in the page cache; and after a sync that
//! failed, a page can be clean there and absent from the disk. So at every start, before the last
//! batch is handed out:
//!
//! - what an interruption has left of a segment that was being made is removed;
//! - the last sound batch is written again and synced;
//! - the place of the batch after it, in either segment where it can have been begun, is overwritten
//!   with zeros and synced, as far as the largest batch reaches. What an interrupted write has left
//!   there would lie under later batches. It is overwritten even where zeros are read: an earlier
//!   start may have written those and failed to sync them;
//! - if there is a segment that was made ahead of use, it is renamed to the name that it has, and the
//!   folder is synced.
//!
//! Doing it twice, or half and then again, comes to the same.

use std::path::PathBuf;

use thiserror::Error;

use super::batch::{Flaw, NoHeader};
use super::identity::LogLimits;
use super::segment::{LOG, Listing, rename_again, segment_name};
use super::small_file::FORMAT_VERSION;
use super::survey::{Place, Survey};
use super::trouble::{DiskError, Grouped, LOST};
use crate::disk::{Access, Disk, DiskFile};

/// The files that the log goes on in.
#[derive(Debug)]
pub(super) struct Files {
    /// The segment in which the log ends.
    pub(super) present: Box<dyn DiskFile>,
    /// The one after it, if it was made already.
    pub(super) spare: Option<Box<dyn DiskFile>>,
}

/// Makes durable what `survey` has found, and cuts off what was interrupted.
pub(super) fn mend(
    disk: &dyn Disk,
    limits: &LogLimits,
    survey: &Survey,
) -> Result<Files, DiskError> {
    Listing::read(disk)?.remove_unfinished(disk)?;
    let name = segment_name(survey.end.segment);
    let at = |doing| DiskError::at(disk, &name, doing);
    let present = disk.open(&name, Access::Write).map_err(at("open"))?;
    if let Some(last) = &survey.last {
        present.write_at(&last.span, last.place.offset).map_err(at("write"))?;
    }
    blank(&*present, survey.end.offset, limits).map_err(at("write"))?;
    present.sync_data().map_err(at("sync"))?;
    let mut spare = None;
    if let Some(segment) = survey.spare {
        let name = segment_name(segment);
        let at = |doing| DiskError::at(disk, &name, doing);
        let file = disk.open(&name, Access::Write).map_err(at("open"))?;
        blank(&*file, 0, limits).map_err(at("write"))?;
        file.sync_data().map_err(at("sync"))?;
        rename_again(disk, segment)?;
        spare = Some(file);
    }
    disk.sync_folder(LOG).map_err(DiskError::at(disk, LOG, "sync"))?;
    Ok(Files { present, spare })
}

fn blank(file: &dyn DiskFile, offset: u64, limits: &LogLimits) -> std::io::Result<()> {
    let bytes = limits.span_bytes_max().min(limits.segment_bytes.saturating_sub(offset));
    let zeros = vec![0; usize::try_from(bytes).unwrap_or_default()];
    if zeros.is_empty() { Ok(()) } else { file.write_at(&zeros, offset) }
}

/// Why a log was not recovered. Nothing on the disk was changed, but by a
/// [`Disk`](RecoverError::Disk) error.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file of the log is not there.
    #[error(
        "{} is not there{}\n  \
         segments are made in order and none is ever removed, so somebody else did that\n  \
         nothing was changed, and this replica will not vote\n  \
         {LOST}",
        path.display(),
        next.as_ref().map(|it| format!(", and {} is", it.display())).unwrap_or_default()
    )]
    SegmentMissing {
        /// The first segment that is not there.
        path: PathBuf,
        /// The next one that is.
        next: Option<PathBuf>,
    },
    /// A segment is longer or shorter than all segments are.
    #[error(
        "{} is {} bytes long, and a segment of this log has {}\n  \
         segments never change their length, so somebody else did that\n  \
         nothing was changed, and this replica will not vote\n  \
         {LOST}",
        path.display(), Grouped(*found), Grouped(*expected)
    )]
    SegmentLength {
        /// The segment.
        path: PathBuf,
        /// How long it is.
        found: u64,
        /// How long it should be.
        expected: u64,
    },
    /// A segment holds nothing, although a later one was begun.
    #[error(
        "{} holds no batch, and yet {} was made after it\n  \
         a segment is made only once the one before it holds something, so what it held is lost: \
         this is damage, nothing was changed, and this replica will not vote\n  \
         `synod inspect {}` shows what is readable\n  \
         {LOST}",
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
    /// Something durable has been changed.
    #[error(
        "{}: at byte {}: {flaw}{}\n  \
         this is damage, not an interrupted write, so nothing was cut off and this replica will not \
         vote\n  \
         `synod inspect {}` shows what is readable\n  \
         {LOST}",
        path.display(), Grouped(*offset), LaterText(later.as_ref()), root.display()
    )]
    Damage {
        /// The segment.
        path: PathBuf,
        /// The byte in it: where the batch begins that should be sound, or what should be blank.
        offset: u64,
        /// What is wrong there.
        flaw: Flaw,
        /// What was found behind it, and where.
        later: Option<(PathBuf, u64)>,
        /// The data directory.
        root: PathBuf,
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
    /// Whoever was to take in the records refused one.
    #[error(
        "{}: the batch at byte {} holds a record that was refused: {cause}\n  \
         its checksum is right, so it is what was written: please report this",
        path.display(), Grouped(*offset)
    )]
    Refused {
        /// The segment.
        path: PathBuf,
        /// Where the batch begins.
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

impl std::fmt::Display for LaterText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => Ok(()),
            Some((path, offset)) => {
                let offset = Grouped(*offset);
                write!(f, "; and what is at byte {offset} of {} was written later", path.display())
            }
        }
    }
}
