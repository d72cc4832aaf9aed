//! The data directory: how it is made, and how it is opened.
//!
//! ```text
//! LOCK               held by the process that has the directory open; its process id, for people
//! identity           who this replica is; written last, so that without it nothing was ever promised
//! incarnations       which data directory each member was first met with, and whether all have met
//! peers              the addresses of the other replicas, as last given
//! log/00000001.wal   the segments of the log
//! ```
//!
//! Making and opening are two commands, and neither does the other's work. Only
//! [`init`](DataDirectory::init) makes anything, once; [`open`](DataDirectory::open) never does. So a
//! directory that was emptied, or a disk that was not mounted, is never mistaken for a first start,
//! whatever a service manager is told to run: a replica that forgot its promises could break those
//! of the whole cluster.

mod error;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use synod_model::{ClusterConstants, ReplicaId};
use synod_wire::{ClusterId, Incarnation};

use super::identity::{IDENTITY, Identity, IdentityError, LogLimits};
use super::init;
use super::segment::{LOG, Listing};
use super::small_file::{Kind, SmallFileError};
use super::trouble::DiskError;
use crate::disk::{Disk, DiskLock, LockError, ROOT};
pub use error::{IdentityGone, InUse, IncarnationError, InitError, OpenError};

pub(super) const LOCK: &str = "LOCK";
pub(super) const INCARNATIONS: Kind =
    Kind { name: "incarnations", new_name: "incarnations.new", letters: *b"SYNODinc" };
pub(super) const PEERS: Kind = Kind { name: "peers", new_name: "peers.new", letters: *b"SYNODper" };

/// The small files, in the order in which they are made.
pub(super) const SMALL_FILES: [Kind; 3] = [PEERS, INCARNATIONS, IDENTITY];

/// What a replica is made with.
#[derive(Clone, Debug)]
pub struct NewReplica {
    /// The name of its cluster, for people; the same at all its replicas.
    pub cluster_name: String,
    /// The stride, the first members and the limits; the same at all replicas.
    pub cluster: ClusterConstants,
    /// Which of the members it is.
    pub replica: ReplicaId,
    /// A number drawn at random, by whoever has randomness.
    pub incarnation: Incarnation,
    /// The sizes of its log.
    pub log: LogLimits,
    /// Where the other replicas are.
    pub peers: BTreeMap<ReplicaId, String>,
}

impl NewReplica {
    pub(super) fn identity(&self) -> Result<Identity, IdentityError> {
        let identity = Identity {
            cluster_name: self.cluster_name.clone(),
            cluster_id: ClusterId::of(&self.cluster_name, &self.cluster),
            replica: self.replica,
            incarnation: self.incarnation,
            cluster: self.cluster.clone(),
            log: self.log,
        };
        identity.check().map(|()| identity)
    }
}

/// Which of the other members a replica has met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// Which data directory each was first met with.
    pub incarnations: BTreeMap<ReplicaId, Incarnation>,
    /// Whether all of them know this one, too: then the cluster is formed, and stays so.
    pub is_formed: bool,
}

impl Met {
    /// What a new replica of `cluster` has met. One that is alone has nobody to meet.
    pub(super) fn nobody_yet(cluster: &ClusterConstants) -> Self {
        let is_formed = cluster.first_configuration().members().len() == 1;
        Self { incarnations: BTreeMap::new(), is_formed }
    }
}

/// The data directory of a replica, open and locked.
///
/// The lock is held as long as this or a [`Log`](super::Log) of it is.
#[derive(Debug)]
pub struct DataDirectory {
    disk: Arc<dyn Disk>,
    lock: Arc<dyn DiskLock>,
    identity: Identity,
    met: Met,
    peers: BTreeMap<ReplicaId, String>,
    /// A small file could not be replaced, so it is unknown what is in it.
    has_failed: bool,
}

impl DataDirectory {
    /// Makes a data directory where there is nothing yet, or finishes what an earlier `init` was
    /// interrupted in. When it returns, everything is durable.
    ///
    /// # Errors
    ///
    /// If anything is there that an interrupted `init` cannot have left, or the disk refuses.
    pub fn init(disk: Arc<dyn Disk>, replica: &NewReplica) -> Result<Self, InitError> {
        let (lock, identity) = init::make(&*disk, replica)?;
        Ok(Self {
            disk,
            lock: lock.into(),
            identity,
            met: Met::nobody_yet(&replica.cluster),
            peers: replica.peers.clone(),
            has_failed: false,
        })
    }

    /// Opens a data directory that was made.
    ///
    /// # Errors
    ///
    /// If it was not, if another process has it open, if it is damaged, or the disk refuses.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let names = match disk.list(ROOT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(DiskError::at(&*disk, ROOT, "list"))?,
        };
        if !names.iter().any(|name| name == IDENTITY.name) {
            return Err(without_identity(&*disk, &names)?);
        }
        let lock = lock(&*disk)?;
        let identity: Identity = IDENTITY.read(&*disk)?;
        identity.check().map_err(|error| SmallFileError::Damaged {
            path: disk.path(IDENTITY.name),
            what: format!("it says what cannot be: {error}"),
        })?;
        let met: Met = INCARNATIONS.read(&*disk)?;
        let peers: BTreeMap<ReplicaId, String> = PEERS.read(&*disk)?;
        // Whoever wrote them may have been stopped just before making that durable, or have failed
        // to. As with the last batch of the log, nobody rests on them before they are written again.
        PEERS.write(&*disk, &peers)?;
        INCARNATIONS.write(&*disk, &met)?;
        IDENTITY.write(&*disk, &identity)?;
        Ok(Self { disk, lock: lock.into(), identity, met, peers, has_failed: false })
    }

    /// Who this replica is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Which of the other members were met, and how far.
    pub fn met(&self) -> &Met {
        &self.met
    }

    /// Remembers that `replica` was met with `incarnation`. When it returns, that is durable.
    ///
    /// # Errors
    ///
    /// If it is known under another one: an id belongs to one data directory for ever.
    pub fn store_incarnation(
        &mut self,
        replica: ReplicaId,
        incarnation: Incarnation,
    ) -> Result<(), IncarnationError> {
        let known = if replica == self.identity.replica {
            Some(&self.identity.incarnation)
        } else {
            self.met.incarnations.get(&replica)
        };
        match known {
            Some(known) if *known == incarnation => Ok(()),
            Some(known) => {
                Err(IncarnationError::Other { replica, known: *known, found: incarnation })
            }
            None => {
                let mut met = self.met.clone();
                met.incarnations.insert(replica, incarnation);
                self.store_met(met).map_err(IncarnationError::from)
            }
        }
    }

    /// Remembers that all members have met. When it returns, that is durable.
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    pub fn store_formed(&mut self) -> Result<(), SmallFileError> {
        if self.met.is_formed {
            return Ok(());
        }
        self.store_met(Met { is_formed: true, ..self.met.clone() })
    }

    fn store_met(&mut self, met: Met) -> Result<(), SmallFileError> {
        self.replace(&INCARNATIONS, &met)?;
        self.met = met;
        Ok(())
    }

    /// Where the other replicas are, as last given.
    pub fn peers(&self) -> &BTreeMap<ReplicaId, String> {
        &self.peers
    }

    /// Remembers where the other replicas are. When it returns, that is durable.
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    pub fn store_peers(
        &mut self,
        peers: BTreeMap<ReplicaId, String>,
    ) -> Result<(), SmallFileError> {
        if peers != self.peers {
            self.replace(&PEERS, &peers)?;
            self.peers = peers;
        }
        Ok(())
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn lock(&self) -> &Arc<dyn DiskLock> {
        &self.lock
    }

    fn replace(
        &mut self,
        file: &Kind,
        content: &impl serde::Serialize,
    ) -> Result<(), SmallFileError> {
        if self.has_failed {
            let error = io::Error::other("an earlier change of the data directory has failed");
            return Err(DiskError::at(&*self.disk, file.name, "replace")(error).into());
        }
        let replaced = file.write(&*self.disk, content);
        self.has_failed = replaced.is_err();
        replaced
    }
}

/// What a directory is in which there is no identity among these names.
fn without_identity(disk: &dyn Disk, names: &[String]) -> Result<OpenError, DiskError> {
    let path = disk.path(ROOT);
    if names.is_empty() {
        return Ok(OpenError::Empty { path });
    }
    if !names.iter().all(|name| init::is_known(name)) {
        return Ok(OpenError::NotADataDirectory { path });
    }
    let has_log = names.iter().any(|name| name == LOG);
    let gone = if has_log { init::remains(disk, &Listing::read(disk)?)? } else { None };
    Ok(gone.map_or(OpenError::InitInterrupted { path }, OpenError::from))
}

/// Locks the directory, which has a file for that.
pub(super) fn lock(disk: &dyn Disk) -> Result<Box<dyn DiskLock>, InUse> {
    disk.lock(LOCK).map_err(|error| match error {
        LockError::Held(holder) => InUse::Held { path: disk.path(ROOT), holder },
        LockError::Disk(error) if error.kind() == io::ErrorKind::NotFound => {
            InUse::NoLockFile { path: disk.path(LOCK) }
        }
        LockError::Disk(error) => InUse::Disk(DiskError::at(disk, LOCK, "lock")(error)),
    })
}
