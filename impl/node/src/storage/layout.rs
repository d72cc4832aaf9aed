//! The layout of a data directory: the names of its files, the contents of the small ones, and its lock.

use std::io;

use serde::{Deserialize, Serialize};

use super::directory_error::InUse;
use super::disk_error::DiskError;
use super::log_limits::LogLimits;
use super::segment::LOG;
use super::small_file::SmallFile;
use super::snapshot::SNAPSHOTS;
use crate::disk::{Disk, DiskLock, LockError, ROOT};
use crate::identity::Identity;

pub(super) const LOCK: &str = "LOCK";
pub(super) const IDENTITY: SmallFile =
    SmallFile { name: "identity", new_name: "identity.new", letters: *b"SYNODidn" };
/// Holds the [`KnownMembers`](synod_model::KnownMembers) of the replica.
pub(super) const INCARNATIONS: SmallFile =
    SmallFile { name: "incarnations", new_name: "incarnations.new", letters: *b"SYNODinc" };
pub(super) const PEERS: SmallFile =
    SmallFile { name: "peers", new_name: "peers.new", letters: *b"SYNODper" };
/// Holds a [`BaseFile`](super::base::BaseFile), once there was a snapshot.
pub(super) const BASE: SmallFile =
    SmallFile { name: "base", new_name: "base.new", letters: *b"SYNODbas" };

/// Is there from the beginning of a restore to its end. So what is beside it, if there is no identity, is of a
/// restore that was interrupted, and no replica ever ran from it.
pub(super) const RESTORING: &str = "restoring";

/// The small files. The first three are made with the directory, in this order.
const SMALL_FILES: [SmallFile; 4] = [PEERS, INCARNATIONS, IDENTITY, BASE];

/// What the file `identity` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityFile {
    /// Who the replica is.
    pub identity: Identity,
    /// The sizes of the log in this directory. They may differ between replicas.
    pub log: LogLimits,
}

/// Whether something of this name belongs in a data directory.
pub(super) fn is_known(name: &str) -> bool {
    let is_small_file = SMALL_FILES.iter().any(|it| name == it.name || name == it.new_name);
    is_small_file || [LOCK, LOG, SNAPSHOTS, RESTORING].contains(&name)
}

/// Takes the lock of the directory.
pub(super) fn lock(disk: &dyn Disk) -> Result<Box<dyn DiskLock>, InUse> {
    disk.lock(LOCK).map_err(|error| match error {
        LockError::Held(holder) => InUse::Held { path: disk.path(ROOT), holder },
        LockError::Disk(error) if error.kind() == io::ErrorKind::NotFound => {
            InUse::NoLockFile { path: disk.path(LOCK) }
        }
        LockError::Disk(error) => InUse::Disk(DiskError::at(disk, LOCK, "lock")(error)),
    })
}
