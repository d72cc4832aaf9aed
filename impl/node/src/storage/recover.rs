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

use super::disk_error::DiskError;
use super::log_limits::LogLimits;
use super::segment::{LOG, Listing, rename_again, segment_name};
use super::survey::Survey;
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
