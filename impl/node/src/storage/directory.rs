//! The data directory: how it is made and how it is opened.
//!
//! ```text
//! LOCK               held by the process that has the directory open; its process id, for people
//! identity           who this replica is; written last, so that without it nothing was ever promised
//! incarnations       which data directory each member was first met with, and whether all have met
//! peers              the addresses of the other replicas, as last given
//! log/00000001.wal   the segments of the log
//! snapshots/...      the snapshot files
//! restoring          only while the directory is being made from a saved snapshot, or from another directory
//! ```
//!
//! Making and opening are two commands, and neither does the work of the other. Only
//! [`init`](DataDirectory::init) makes anything, once; [`open`](DataDirectory::open) never does. So
//! nobody mistakes a directory that was emptied, or a disk that was not mounted, for a first start,
//! whatever a service manager runs. A replica that forgot its promises could break those of the whole
//! cluster.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use synod_model::{KnownMembers, ReplicaId};

use super::directory_error::{InitError, OpenError};
use super::disk_error::DiskError;
use super::init::{self, Joining, NewReplica};
use super::layout::{IDENTITY, INCARNATIONS, IdentityFile, PEERS, RESTORING, is_known, lock};
use super::log_limits::LogLimits;
use super::restore::{self, RestoreDirectoryError};
use super::segment::{LOG, Listing};
use super::small_file::{Replacing, SmallFileError};
use super::snapshot::{SNAPSHOTS, SavedSnapshot, SnapshotFolder};
use crate::disk::{Disk, DiskLock, ROOT};
use crate::identity::Identity;

/// The data directory of a replica, open and locked.
///
/// The lock is held as long as this value, or a [`Log`](super::Log) of it, exists.
#[derive(Debug)]
pub struct DataDirectory {
    disk: Arc<dyn Disk>,
    lock: Arc<dyn DiskLock>,
    identity: Identity,
    log_limits: LogLimits,
    known_members: KnownMembers,
    peers: BTreeMap<ReplicaId, String>,
    snapshots: SnapshotFolder,
    replacing: Replacing,
}

impl DataDirectory {
    /// Makes a data directory where there is nothing, or finishes an interrupted `init`. When it
    /// returns, everything is durable.
    ///
    /// # Errors
    ///
    /// If the directory holds anything that an interrupted `init` cannot have left, or the disk refuses.
    pub fn init(disk: Arc<dyn Disk>, replica: &NewReplica) -> Result<Self, InitError> {
        let (lock, identity) = init::make(&*disk, replica)?;
        Ok(Self::made(disk, lock.into(), identity, replica.knows_nobody(), replica))
    }

    /// Makes the data directory of a replica that joins a cluster, where there is nothing, or finishes an
    /// interrupted attempt. The replica counts for nothing until a change of the members names it with its
    /// incarnation. When this returns, everything is durable.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init). The replica need not be one of the first members.
    pub fn join(
        disk: Arc<dyn Disk>,
        replica: &NewReplica,
        joining: &Joining,
    ) -> Result<Self, InitError> {
        let (lock, identity, known) = init::make_joining(&*disk, replica, joining)?;
        Ok(Self::made(disk, lock.into(), identity, known, replica))
    }

    /// Makes the data directory of a replica of a new cluster, whose log begins with `snapshot`, where there is
    /// nothing, or where a restore was interrupted. All members of the cluster are made with the same snapshot.
    /// When it returns, everything is durable. `progress` is told how many of the application's bytes are written.
    ///
    /// # Errors
    ///
    /// If the snapshot is damaged, or no log of the new cluster can have led to it; if the directory holds anything
    /// that an interrupted restore cannot have left; or if the disk refuses.
    pub fn restore(
        disk: Arc<dyn Disk>,
        replica: &NewReplica,
        snapshot: SavedSnapshot,
        progress: impl FnMut(u64),
    ) -> Result<Self, RestoreDirectoryError> {
        let (lock, identity) = restore::make(&disk, replica, snapshot, progress)?;
        Ok(Self::made(disk, lock, identity, replica.knows_nobody(), replica))
    }

    pub(super) fn made(
        disk: Arc<dyn Disk>,
        lock: Arc<dyn DiskLock>,
        identity: IdentityFile,
        known_members: KnownMembers,
        replica: &NewReplica,
    ) -> Self {
        let IdentityFile { identity, log: log_limits } = identity;
        let (own_disk, own_lock) = (Arc::clone(&disk), Arc::clone(&lock));
        Self {
            snapshots: SnapshotFolder::new(own_disk, own_lock, &identity),
            replacing: Replacing::new(Arc::clone(&disk)),
            disk,
            lock,
            identity,
            log_limits,
            known_members,
            peers: replica.peers.clone(),
        }
    }

    /// Opens an existing data directory.
    ///
    /// # Errors
    ///
    /// If it does not exist, another process has it open, it is damaged, or the disk refuses.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let names = match disk.list(ROOT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(DiskError::at(&*disk, ROOT, "list"))?,
        };
        if !names.iter().any(|name| name == IDENTITY.name) {
            return Err(without_identity(&*disk, &names)?);
        }
        let lock = lock(&*disk)?;
        let file: IdentityFile = IDENTITY.read(&*disk)?;
        let impossible = |error: &dyn std::fmt::Display| SmallFileError::Damaged {
            path: disk.path(IDENTITY.name),
            what: format!("it says what cannot be: {error}"),
        };
        file.identity.check().map_err(|error| impossible(&error))?;
        file.log.check(file.identity.constants.limits()).map_err(|error| impossible(&error))?;
        let known_members: KnownMembers = INCARNATIONS.read(&*disk)?;
        let peers: BTreeMap<ReplicaId, String> = PEERS.read(&*disk)?;
        // Data directories of the first clusters have none. The next write syncs the directory.
        init::make_folder(&*disk, SNAPSHOTS)?;
        if names.iter().any(|name| name == RESTORING) {
            // Only the end of the restore is missing. The next write syncs the directory.
            disk.remove(RESTORING).map_err(DiskError::at(&*disk, RESTORING, "remove"))?;
        }
        // The process that wrote these files may have stopped before they were durable, or their sync
        // may have failed. So they are written again before anybody relies on them, as the last batch
        // of the log is.
        PEERS.renew(&*disk, &peers)?;
        INCARNATIONS.renew(&*disk, &known_members)?;
        IDENTITY.renew(&*disk, &file)?;
        let IdentityFile { identity, log: log_limits } = file;
        let lock: Arc<dyn DiskLock> = lock.into();
        let (own_disk, own_lock) = (Arc::clone(&disk), Arc::clone(&lock));
        let snapshots = SnapshotFolder::new(own_disk, own_lock, &identity);
        snapshots.remove_unfinished()?;
        Ok(Self {
            replacing: Replacing::new(Arc::clone(&disk)),
            disk,
            lock,
            identity,
            log_limits,
            known_members,
            peers,
            snapshots,
        })
    }

    /// Who this replica is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The sizes of its log.
    pub fn log_limits(&self) -> &LogLimits {
        &self.log_limits
    }

    /// Which of the other members this replica has met, and whether the cluster is formed.
    pub fn known_members(&self) -> &KnownMembers {
        &self.known_members
    }

    /// Stores durably what this replica knows of the other members.
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    pub fn store_known_members(&mut self, known: KnownMembers) -> Result<(), SmallFileError> {
        self.replacing.replace(&INCARNATIONS, &known)?;
        self.known_members = known;
        Ok(())
    }

    /// The addresses of the other replicas, as last given.
    pub fn peers(&self) -> &BTreeMap<ReplicaId, String> {
        &self.peers
    }

    /// Stores the addresses of the other replicas durably.
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    pub fn store_peers(
        &mut self,
        peers: BTreeMap<ReplicaId, String>,
    ) -> Result<(), SmallFileError> {
        if peers != self.peers {
            self.replacing.replace(&PEERS, &peers)?;
            self.peers = peers;
        }
        Ok(())
    }

    /// The snapshot files.
    pub fn snapshots(&self) -> &SnapshotFolder {
        &self.snapshots
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn lock(&self) -> &Arc<dyn DiskLock> {
        &self.lock
    }

    pub(super) fn replacing(&self) -> &Replacing {
        &self.replacing
    }
}

/// What a directory without an identity is, which holds these names.
fn without_identity(disk: &dyn Disk, names: &[String]) -> Result<OpenError, DiskError> {
    let path = disk.path(ROOT);
    if names.is_empty() {
        return Ok(OpenError::Empty { path });
    }
    if !names.iter().all(|name| is_known(name)) {
        return Ok(OpenError::NotADataDirectory { path });
    }
    if names.iter().any(|name| name == RESTORING) {
        return Ok(OpenError::RestoreInterrupted { path });
    }
    let has_log = names.iter().any(|name| name == LOG);
    let gone = if has_log { init::remains(disk, &Listing::read(disk)?)? } else { None };
    Ok(gone.map_or(OpenError::InitInterrupted { path }, OpenError::from))
}
