//! Making the data directory of a replica of a new cluster whose log does not begin with nothing: from a saved
//! snapshot, or from the log of a last survivor.
//!
//! What is made from a snapshot is what a replica has that has installed the snapshot into an empty log and has cut the log
//! behind it: the snapshot file, under the id of the new cluster; its record, in the first batch; and the file
//! `base`, so that nobody takes a damaged first batch for an interrupted write. The core says what goes over
//! ([`SnapshotHandle::restored`](synod_model::SnapshotHandle::restored)).
//!
//! Behind that, or in an empty log, come the records of a survivor's log, if it is made from one
//! ([`Survivor`](synod_model::Survivor)). The log appends them as it does in any run.
//!
//! The identity is written last, as [`init`](super::init) does. An empty file `restoring` is there meanwhile. So
//! the remains of an interrupted restore can be told from a replica whose identity was lost, and another
//! restore may remove them.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use synod_model::{NotRestorable, Record, SnapshotHandle};
use synod_wire::Value;
use synod_wire::codec::EncodeError;
use thiserror::Error;

use super::base::{BaseFile, LogStart};
use super::batch::{HEADER_BYTES, seal};
use super::directory_error::InitError;
use super::disk_error::DiskError;
use super::init::{NewReplica, check_names, make_folder, make_log, make_root, write_small_files};
use super::layout::{BASE, IDENTITY, IdentityFile, RESTORING};
use super::segment::segment_name;
use super::small_file::SmallFileError;
use super::snapshot::{
    SNAPSHOTS, SavedSnapshot, SnapshotError, SnapshotFile, SnapshotFolder, SnapshotReader, of_saved,
};
use super::stored_record::encode;
use crate::disk::{Access, Disk, DiskLock, ROOT};

/// How much of a snapshot is copied at once. 64 KiB: a chunk.
const PIECE_BYTES: usize = 64 << 10;

/// The first segment of a log, and the first batch in it.
const FIRST: (u32, u64) = (1, 1);

/// Why no data directory was made from a snapshot.
#[derive(Debug, Error)]
pub enum RestoreDirectoryError {
    /// The directory cannot be made, or exists.
    #[error(transparent)]
    Directory(#[from] InitError),
    /// The snapshot cannot be read, or cannot be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The snapshot cannot begin the log of such a cluster.
    #[error(
        "{} cannot begin the log of the new cluster: {error}\n  \
         nothing was made; its cluster has other limits than this program gives to a new one",
        path.display()
    )]
    NotRestorable {
        /// The file of the snapshot.
        path: PathBuf,
        /// Why.
        error: NotRestorable,
    },
    /// The first record has no encoding.
    #[error("the record of the snapshot cannot be written: {0}\n  please report this")]
    Record(EncodeError),
}

impl From<DiskError> for RestoreDirectoryError {
    fn from(error: DiskError) -> Self {
        Self::Directory(error.into())
    }
}

impl From<SmallFileError> for RestoreDirectoryError {
    fn from(error: SmallFileError) -> Self {
        Self::Directory(error.into())
    }
}

/// Makes the data directory of `replica`, and locks it.
pub(super) fn make(
    disk: &Arc<dyn Disk>,
    replica: &NewReplica,
    snapshot: SavedSnapshot,
    progress: impl FnMut(u64),
) -> Result<(Arc<dyn DiskLock>, IdentityFile), RestoreDirectoryError> {
    let identity = replica.identity_file(Some(&snapshot.restored_from()))?;
    let path = snapshot.path().to_owned();
    let (handle, application) = snapshot.into_parts();
    let handle = handle.restored(&replica.constants);
    let handle = handle.map_err(|error| RestoreDirectoryError::NotRestorable { path, error })?;

    let lock = make_empty(&**disk, replica)?;
    let folder = SnapshotFolder::new(Arc::clone(disk), Arc::clone(&lock), &identity.identity);
    let begun = begin_with(&**disk, replica, &folder, handle, application, progress);
    begun.map_err(|error| match error {
        RestoreDirectoryError::Snapshot(error) => of_saved(error).into(),
        error => error,
    })?;
    finish(&**disk, replica, &identity)?;
    Ok((lock, identity))
}

/// Makes a data directory with an empty log and no identity, and locks it. A start refuses it until it is
/// [finished](finish).
pub(super) fn make_empty(
    disk: &dyn Disk,
    replica: &NewReplica,
) -> Result<Arc<dyn DiskLock>, InitError> {
    let lock = make_root(disk, check_names_or_remains)?;
    begin(disk)?;
    make_log(disk, replica.log.segment_bytes)?;
    make_folder(disk, SNAPSHOTS)?;
    Ok(lock.into())
}

/// Begins the empty log with a snapshot.
pub(super) fn begin_with(
    disk: &dyn Disk,
    replica: &NewReplica,
    folder: &SnapshotFolder,
    handle: SnapshotHandle,
    application: SnapshotReader,
    progress: impl FnMut(u64),
) -> Result<(), RestoreDirectoryError> {
    let file = copy(folder, &handle, application, progress)?;
    append(disk, replica, &Arc::new(handle).first_record(), file)?;
    let (_, record_batch) = FIRST;
    BASE.write(disk, &BaseFile { snapshot: file, record_batch, log: LogStart::WHOLE })?;
    Ok(())
}

/// Writes the small files. From then on it is the data directory of a replica.
pub(super) fn finish(
    disk: &dyn Disk,
    replica: &NewReplica,
    identity: &IdentityFile,
) -> Result<(), InitError> {
    write_small_files(disk, replica, identity, &replica.knows_nobody())?;
    // After a power loss the file may be there again. Then a start removes it.
    disk.remove(RESTORING).map_err(DiskError::at(disk, RESTORING, "remove"))?;
    disk.sync_folder(ROOT).map_err(DiskError::at(disk, ROOT, "sync"))?;
    Ok(())
}

/// Checks that the directory holds nothing, or what an interrupted restore has left.
fn check_names_or_remains(disk: &dyn Disk) -> Result<(), InitError> {
    if has_remains(disk)? { Ok(()) } else { check_names(disk) }
}

fn has_remains(disk: &dyn Disk) -> Result<bool, DiskError> {
    let names = match disk.list(ROOT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        listed => listed.map_err(DiskError::at(disk, ROOT, "list"))?,
    };
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    Ok(has(RESTORING) && !has(IDENTITY.name))
}

/// Says durably that a restore has begun, and removes what an interrupted one has left.
fn begin(disk: &dyn Disk) -> Result<(), DiskError> {
    match disk.create(RESTORING) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => drop(created.map_err(DiskError::at(disk, RESTORING, "create"))?),
    }
    disk.sync_folder(ROOT).map_err(DiskError::at(disk, ROOT, "sync"))?;
    remove(disk, BASE.name)?;
    let names = match disk.list(SNAPSHOTS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(DiskError::at(disk, SNAPSHOTS, "list"))?,
    };
    names.into_iter().try_for_each(|name| remove(disk, &format!("{SNAPSHOTS}/{name}")))
}

fn remove(disk: &dyn Disk, name: &str) -> Result<(), DiskError> {
    match disk.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(DiskError::at(disk, name, "remove")),
    }
}

/// Writes the snapshot for the new cluster. It is durable then.
fn copy(
    folder: &SnapshotFolder,
    handle: &SnapshotHandle,
    mut application: SnapshotReader,
    mut progress: impl FnMut(u64),
) -> Result<SnapshotFile, SnapshotError> {
    let mut writer = folder.create(handle)?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut copied = 0;
    loop {
        let count = application.read(&mut buffer).map_err(snapshot_error)?;
        if count == 0 {
            break;
        }
        writer.write_all(&buffer[..count]).map_err(snapshot_error)?;
        copied += count as u64;
        progress(copied);
    }
    application.check_to_end()?;
    writer.finish()
}

/// The error of the snapshot that is inside.
fn snapshot_error(error: io::Error) -> SnapshotError {
    match error.downcast() {
        Ok(error) => error,
        Err(error) => {
            SnapshotError::Store(DiskError { doing: "write", path: SNAPSHOTS.into(), error })
        }
    }
}

/// Writes the first batch of the log, which has one record.
fn append(
    disk: &dyn Disk,
    replica: &NewReplica,
    record: &Record<Value>,
    file: SnapshotFile,
) -> Result<(), RestoreDirectoryError> {
    let length_bytes_max = HEADER_BYTES as u64 + replica.log.batch_bytes_max;
    let mut buffer = vec![0; HEADER_BYTES];
    encode(
        record,
        Some(file),
        &mut buffer,
        usize::try_from(length_bytes_max).unwrap_or(usize::MAX),
    )
    .map_err(RestoreDirectoryError::Record)?;
    let (segment, number) = FIRST;
    seal(&mut buffer, segment, number, replica.incarnation, 0);
    let name = segment_name(segment);
    let at = |doing| DiskError::at(disk, &name, doing);
    let opened = disk.open(&name, Access::Write).map_err(at("open"))?;
    opened.write_at(&buffer, 0).map_err(at("write"))?;
    opened.sync_data().map_err(at("sync"))?;
    Ok(())
}
