//! Making durable what survived, before anybody relies on it.
//!
//! What a killed process has written may still be in the page cache only. After a sync that failed, a
//! page can be clean in the cache and absent from the disk. So every start does this before the last
//! batch is handed out:
//!
//! - It removes what an interruption has left of a segment that was being made.
//! - It writes the last sound batch again and syncs it.
//! - It overwrites with zeros, and syncs, the place of the next batch, in each of the two segments where
//!   that batch may have been begun, as far as the largest batch reaches. Otherwise the remains of an
//!   interrupted write would lie under later batches. It does so even where it reads zeros: an earlier
//!   start may have written them and failed to sync them.
//! - If a segment was made ahead of use, it renames the segment once more, and syncs the folder.
//!
//! All of this may be done twice, or in part and then again, with the same result.

use super::disk_error::DiskError;
use super::log_limits::LogLimits;
use super::segment::{LOG, Listing, rename_again, segment_name};
use super::survey::Survey;
use crate::disk::{Access, Disk, DiskFile};

/// The files in which the log goes on.
#[derive(Debug)]
pub(super) struct Files {
    /// The segment in which the log ends.
    pub(super) present: Box<dyn DiskFile>,
    /// The segment after it, if it was made already.
    pub(super) spare: Option<Box<dyn DiskFile>>,
}

/// Makes durable what `survey` has found, and cuts off what an interrupted write has left.
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
