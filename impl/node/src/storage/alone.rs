//! Making the data directory of a cluster of one, from what a last survivor has.
//!
//! The directory of the survivor is not changed. It is all that is left, and what is made here may turn out to
//! be wrong: another member may be found after all. So the new cluster gets a directory of its own, with all
//! that goes over: a snapshot, and the entries behind it. That has three advantages over a change in place:
//!
//! - An interruption leaves no replica that is half a member of the old cluster and half alone. There is the
//!   new directory, whole, or there is none, as after an interrupted [restore](super::restore).
//! - Each batch of the new log has the incarnation of the new directory, so no segment of the one is taken for
//!   one of the other.
//! - The header of a snapshot file names its cluster. The new file names the new one. So a replica that joins
//!   later takes it.
//!
//! What it costs is room on a disk, for as long as both are there.

use std::sync::Arc;

use synod_model::{Record, SnapshotHandle};
use synod_wire::{ClusterId, Value};

use super::directory::DataDirectory;
use super::init::NewReplica;
use super::layout::IdentityFile;
use super::log::{AppendError, Log};
use super::recover_error::RecoverError;
use super::restore::{RestoreDirectoryError, begin_with, finish, make_empty};
use super::segment::Preparation;
use super::snapshot::{SnapshotFolder, SnapshotReader};
use crate::disk::Disk;
use crate::identity::Identity;

/// What the log of a new directory begins with: the core's part of a snapshot, and the application's.
pub type BeginsWith = (SnapshotHandle, SnapshotReader);

/// Makes the data directory of `replica`, the only one of the new cluster with this id, where there is nothing, or
/// where this was interrupted. Its log begins with a snapshot, if there is one. `fill` appends the rest.
///
/// When it returns, everything is durable. `progress` is told how many bytes of the application are written.
///
/// # Errors
///
/// If the directory holds anything that an interrupted restore cannot have left, the snapshot is damaged, `fill`
/// fails, or the disk refuses.
pub fn begin_alone<E>(
    disk: &Arc<dyn Disk>,
    replica: &NewReplica,
    cluster_id: ClusterId,
    snapshot: Option<BeginsWith>,
    progress: impl FnMut(u64),
    fill: impl FnOnce(&mut NewLog) -> Result<(), E>,
) -> Result<DataDirectory, E>
where
    E: From<RestoreDirectoryError> + From<RecoverError> + From<AppendError>,
{
    let made = replica.identity_file(None).map_err(RestoreDirectoryError::from)?;
    let IdentityFile { identity, log } = made;
    // Nobody else may ever come to the same one, so it is no hash of what the cluster is.
    let identity = IdentityFile { identity: Identity { cluster_id, ..identity }, log };
    let lock = make_empty(&**disk, replica).map_err(RestoreDirectoryError::from)?;
    if let Some((handle, application)) = snapshot {
        let (own_disk, own_lock) = (Arc::clone(disk), Arc::clone(&lock));
        let folder = SnapshotFolder::new(own_disk, own_lock, &identity.identity);
        begin_with(&**disk, replica, &folder, handle, application, progress)?;
    }
    let directory = DataDirectory::made(
        Arc::clone(disk),
        lock,
        identity.clone(),
        replica.knows_nobody(),
        replica,
    );
    let ignore = |_| Ok::<_, std::convert::Infallible>(());
    let log = Log::recover(&directory, Preparation::InLine, ignore)?;
    let mut log = NewLog { log, waiting: Vec::new() };
    fill(&mut log)?;
    log.write()?;
    drop(log);
    finish(&**disk, replica, &identity).map_err(RestoreDirectoryError::from)?;
    Ok(directory)
}

/// How many records wait until they are written in one go: 16. Each is a frame at most, so few sync for many bytes,
/// and memory stays bounded.
const WAITING_MAX: usize = 16;

/// The log of a directory that is being made.
#[derive(Debug)]
pub struct NewLog {
    log: Log,
    waiting: Vec<Record<Value>>,
}

impl NewLog {
    /// Appends a record.
    ///
    /// # Errors
    ///
    /// If it is too long, or the disk refuses.
    pub fn append(&mut self, record: Record<Value>) -> Result<(), AppendError> {
        self.waiting.push(record);
        if self.waiting.len() < WAITING_MAX { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<(), AppendError> {
        let mut rest = &self.waiting[..];
        while !rest.is_empty() {
            let taken = self.log.append(rest)?;
            rest = &rest[taken..];
        }
        self.waiting.clear();
        Ok(())
    }
}
