//! Making a data directory, so that an interruption leaves all of it or nothing of value.
//!
//! The identity is written last, when everything else is durable. Before that, the replica has promised
//! nothing. So an `init` that finds the remains of an earlier one may begin again, if there is nothing
//! else: only names that `init` itself makes, and not one byte in any segment.

use std::collections::BTreeMap;
use std::io;

use synod_model::{ClusterConstants, Incarnation, KnownMembers, ReplicaId};
use synod_wire::ClusterId;
use synod_wire::identity::RestoredFrom;

use super::directory_error::{IdentityGone, InitError};
use super::disk_error::DiskError;
use super::layout::{IDENTITY, INCARNATIONS, IdentityFile, LOCK, PEERS, RESTORING, is_known, lock};
use super::log_limits::LogLimits;
use super::scan::{Rest, Scanner};
use super::segment::{LOG, Listing, prepare, segment_name};
use super::snapshot::SNAPSHOTS;
use crate::disk::{Disk, DiskLock, ROOT};
use crate::identity::Identity;

/// What a new replica is made with.
#[derive(Clone, Debug)]
pub struct NewReplica {
    /// The name of its cluster, for people. All replicas of a cluster have the same.
    pub cluster_name: String,
    /// The stride, the first members and the limits. All replicas of a cluster have the same.
    pub constants: ClusterConstants,
    /// Which of the members it is.
    pub replica: ReplicaId,
    /// A random number.
    pub incarnation: Incarnation,
    /// The sizes of its log.
    pub log: LogLimits,
    /// The addresses of the other replicas.
    pub peers: BTreeMap<ReplicaId, String>,
}

impl NewReplica {
    /// `snapshot` is the one that the cluster is restored from, if it is.
    pub(super) fn identity_file(
        &self,
        snapshot: Option<&RestoredFrom>,
    ) -> Result<IdentityFile, InitError> {
        let (name, constants) = (&self.cluster_name, &self.constants);
        let identity = Identity {
            cluster_name: name.clone(),
            cluster_id: snapshot.map_or_else(
                || ClusterId::of(name, constants),
                |it| ClusterId::of_restored(name, constants, it),
            ),
            replica: self.replica,
            incarnation: self.incarnation,
            constants: self.constants.clone(),
        };
        identity.check()?;
        identity.check_first_member()?;
        self.log.check(self.constants.limits())?;
        Ok(IdentityFile { identity, log: self.log })
    }
}

/// Makes the data directory of `replica`, and locks it.
pub(super) fn make(
    disk: &dyn Disk,
    replica: &NewReplica,
) -> Result<(Box<dyn DiskLock>, IdentityFile), InitError> {
    let identity = replica.identity_file(None)?;
    let lock = make_root(disk, check_names)?;
    make_log(disk, replica.log.segment_bytes)?;
    make_folder(disk, SNAPSHOTS)?;
    write_small_files(disk, replica, &identity)?;
    Ok((lock, identity))
}

/// Makes the directory itself, and locks it. `check` says whether what is in it allows that.
pub(super) fn make_root(
    disk: &dyn Disk,
    check: impl Fn(&dyn Disk) -> Result<(), InitError>,
) -> Result<Box<dyn DiskLock>, InitError> {
    // Before anything is made: not even a lock file is left in a directory that holds something else.
    check(disk)?;
    disk.make_root().map_err(DiskError::at(disk, ROOT, "make"))?;
    match disk.create(LOCK) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => drop(created.map_err(DiskError::at(disk, LOCK, "create"))?),
    }
    let lock = lock(disk)?;
    // Again, because another process may have changed the directory in between.
    check(disk)?;
    Ok(lock)
}

/// Writes the small files of a new replica, the identity last.
pub(super) fn write_small_files(
    disk: &dyn Disk,
    replica: &NewReplica,
    identity: &IdentityFile,
) -> Result<(), InitError> {
    // Each write syncs the directory, and with it the names of what was made before.
    PEERS.write(disk, &replica.peers)?;
    INCARNATIONS.write(disk, &KnownMembers::new(replica.constants.first_configuration()))?;
    IDENTITY.write(disk, identity)?;
    Ok(())
}

/// Checks that the directory holds nothing, or only what an interrupted `init` leaves.
pub(super) fn check_names(disk: &dyn Disk) -> Result<(), InitError> {
    let names = match disk.list(ROOT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(DiskError::at(disk, ROOT, "list"))?,
    };
    let path = disk.path(ROOT);
    if names.iter().any(|name| name == IDENTITY.name) {
        return Err(InitError::AlreadyMade { path });
    }
    // What an interrupted restore has left, a restore removes.
    if let Some(name) = names.iter().find(|name| !is_known(name) || *name == RESTORING) {
        return Err(InitError::NotEmpty { path, name: name.clone() });
    }
    if names.iter().any(|name| name == SNAPSHOTS) {
        let snapshots = disk.list(SNAPSHOTS).map_err(DiskError::at(disk, SNAPSHOTS, "list"))?;
        if let Some(name) = snapshots.first() {
            // No `init` makes anything in there.
            return Err(InitError::NotEmpty { path, name: format!("{SNAPSHOTS}/{name}") });
        }
    }
    if !names.iter().any(|name| name == LOG) {
        return Ok(());
    }
    let listing = Listing::read(disk)?;
    if let Some(name) = listing.unknown.first() {
        return Err(InitError::NotEmpty { path, name: format!("{LOG}/{name}") });
    }
    match remains(disk, &listing)? {
        Some(gone) => Err(gone.into()),
        None => Ok(()),
    }
}

/// The first segment that holds something. If a directory has no identity and no such segment, nothing
/// was promised from it: making it was interrupted.
pub(super) fn remains(
    disk: &dyn Disk,
    listing: &Listing,
) -> Result<Option<IdentityGone>, DiskError> {
    for &segment in &listing.segments {
        let rest = Scanner::open(disk, segment)?.rest(0, |_, _| false)?;
        if rest != Rest::default() {
            return Ok(Some(IdentityGone { path: disk.path(&segment_name(segment)) }));
        }
    }
    Ok(None)
}

/// Makes the folder of the log, which then holds one segment and nothing else.
pub(super) fn make_log(disk: &dyn Disk, segment_bytes: u64) -> Result<(), DiskError> {
    make_folder(disk, LOG)?;
    let listing = Listing::read(disk)?;
    listing.remove_unfinished(disk)?;
    // The segments are empty, and may have another length.
    for segment in listing.segments {
        let name = segment_name(segment);
        disk.remove(&name).map_err(DiskError::at(disk, &name, "remove"))?;
    }
    prepare(disk, 1, segment_bytes).map(drop)
}

/// Makes a folder, unless it exists.
pub(super) fn make_folder(disk: &dyn Disk, name: &str) -> Result<(), DiskError> {
    match disk.create_folder(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map_err(DiskError::at(disk, name, "create")),
    }
}
