//! A cluster of one, from the data directory of the last replica that is left.
//!
//! The core says what the new cluster begins with ([`Survivor`]). This module reads the log of the directory that is
//! left, twice: first to the end, to know what there is; and then to write it anew, in a directory of its own. The
//! one that is left is opened as by a start. It stays the directory of a member of the old cluster.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use synod_model::{
    CommittedLog, Configuration, Forgotten, Incarnation, LeftOut, Membership, NotAlone,
    NotRestorable, PrefixHash, Recovery, Run, Slot, Survivor,
};
use synod_wire::{ClusterId, Value};
use thiserror::Error;

use crate::disk::{Disk, RealDisk};
use crate::identity::Identity;
use crate::start::{Committed, RestoreError, StartError, read};
use crate::storage::{
    AppendError, BeginsWith, DataDirectory, NewLog, NewReplica, OpenError, Preparation,
    RecoverError, RestoreDirectoryError, SnapshotError, UnreadLog, begin_alone,
};

/// What a last replica has, and what a cluster of one would begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// Who the replica is.
    pub identity: Identity,
    /// The members of its cluster, as far as it knows.
    pub configuration: Configuration,
    /// What it is among them.
    pub membership: Membership,
    /// The data directory that is registered under its id, if that is another one than this.
    pub other_directory: Option<Incarnation>,
    /// The snapshot that its log begins behind. [`Slot::ZERO`] if the log has everything.
    pub snapshot: Slot,
    /// Every slot up to here is committed, as far as it knows.
    pub committed: Slot,
    /// It has accepted all slots from there up to this one. They are committed in the new cluster.
    pub last: Slot,
    /// What it has accepted behind a gap, which is left out.
    pub left_out: Option<LeftOut>,
    /// What its disk has lost, as far as others have told it.
    pub forgotten: Option<Forgotten>,
    /// Where its peers look for it, as last given.
    pub address: Option<String>,
}

/// The new cluster.
#[derive(Clone, Debug)]
pub struct NewCluster {
    /// Its name, for people. Without it, that of the old one.
    pub name: Option<String>,
    /// Where replicas that join later look for this one, as `host:port`. Without it, where they did before.
    pub address: Option<String>,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AloneProgress {
    /// What is being done.
    pub step: AloneStep,
    /// How many bytes of that are done.
    pub bytes: u64,
    /// How many there are.
    pub of: u64,
}

/// The steps of the work, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AloneStep {
    /// The log is read to its end.
    ReadsLog,
    /// The snapshot is copied to the new directory.
    CopiesSnapshot,
    /// The log is read again, and written to the new directory.
    WritesLog,
}

/// Why no cluster of one was made.
#[derive(Debug, Error)]
pub enum AloneError {
    /// The directory that is left cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its log cannot be read.
    #[error(transparent)]
    Read(#[from] StartError),
    /// Its snapshot cannot be read, or not be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The core makes no cluster of what is there.
    #[error("{}: {error}\n  {}", path.display(), advice(error))]
    NotAlone {
        /// The directory that is left.
        path: PathBuf,
        /// Why.
        error: NotAlone,
    },
    /// The snapshot does not go with the limits of its own cluster.
    #[error(
        "the snapshot of the slots up to {slot} cannot begin a log: {error}\n  please report this"
    )]
    NotRestorable {
        /// The last slot of the snapshot.
        slot: Slot,
        /// Why.
        error: NotRestorable,
    },
    /// Nothing says where the replica is to be found.
    #[error("nothing says where other replicas will look for this one\n  give --address HOST:PORT")]
    NoAddress,
    /// The new directory cannot be made, or is not empty.
    #[error(transparent)]
    Make(RestoreDirectoryError),
    /// The log of the new directory cannot be read back.
    #[error(transparent)]
    NewLog(Box<RecoverError>),
    /// The log of the new directory cannot be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log was read twice, and it was not the same.
    #[error(
        "the log of {} has not the same entries when it is read again\n  \
         its disk is not to be trusted: copy the directory to another one, and try with the copy",
        path.display()
    )]
    Differs {
        /// The directory that is left.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

fn advice(error: &NotAlone) -> &'static str {
    match error {
        NotAlone::Empty => {
            "there is nothing to recover: `synod init` makes the data directory of a new cluster"
        }
        NotAlone::OnlyVoter { .. } => "nothing is lost: start it with `synod node`",
        NotAlone::Record(_) => {
            "`synod inspect` shows what is readable; another replica that is left may have a sound log"
        }
        NotAlone::NoConfigurationId | NotAlone::Configuration(_) | NotAlone::Constants(_) => {
            "another replica that is left may have a log from which a cluster can begin"
        }
    }
}

impl From<RecoverError> for AloneError {
    fn from(error: RecoverError) -> Self {
        Self::NewLog(Box::new(error))
    }
}

impl From<RestoreDirectoryError> for AloneError {
    fn from(error: RestoreDirectoryError) -> Self {
        match error {
            RestoreDirectoryError::Snapshot(error) => Self::Snapshot(error),
            error => Self::Make(error),
        }
    }
}

/// Says what a cluster of one would begin with that is made from the data directory `from`. It makes nothing. It
/// opens the directory as a start does, so no node may have it open.
///
/// # Errors
///
/// If a start from the directory would fail, or no cluster can begin with what it has.
pub fn look_at_remains(
    from: &Path,
    progress: impl FnMut(AloneProgress),
) -> Result<Remains, AloneError> {
    let progress = RefCell::new(progress);
    let tell = |it| progress.borrow_mut()(it);
    Ok(Left::read(Arc::new(RealDisk::new(from)), from, tell)?.remains())
}

/// Makes the data directory of a cluster of one, once, as `synod recover-alone` does, from the directory `from` of a
/// member of a cluster that has lost a majority for good.
///
/// Values that were committed, and that this member has not accepted, are lost. Nobody can say which those are. The
/// new cluster has a random id. So no member of the old one ever talks to it, whatever comes back.
///
/// The directory `from` is opened as by a start, and is otherwise unchanged.
///
/// # Errors
///
/// If a start from `from` would fail, no cluster can begin with what it has, or `data_dir` is not empty or cannot be
/// made.
pub fn recover_alone(
    from: &Path,
    data_dir: &Path,
    new: NewCluster,
    progress: impl FnMut(AloneProgress),
) -> Result<(Identity, Remains), AloneError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(data_dir));
    recover_alone_on(Arc::new(RealDisk::new(from)), from, &disk, new, Drawn::new()?, progress)
}

/// What is drawn at random for a new cluster.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    cluster_id: ClusterId,
    incarnation: Incarnation,
}

impl Drawn {
    fn new() -> Result<Self, AloneError> {
        let (mut cluster_id, mut incarnation) = ([0; 32], [0; 16]);
        getrandom::fill(&mut cluster_id).map_err(AloneError::Random)?;
        getrandom::fill(&mut incarnation).map_err(AloneError::Random)?;
        let incarnation = Incarnation(u128::from_le_bytes(incarnation));
        Ok(Self { cluster_id: ClusterId(cluster_id), incarnation })
    }
}

fn recover_alone_on(
    from: Arc<dyn Disk>,
    path: &Path,
    disk: &Arc<dyn Disk>,
    new: NewCluster,
    drawn: Drawn,
    progress: impl FnMut(AloneProgress),
) -> Result<(Identity, Remains), AloneError> {
    let progress = RefCell::new(progress);
    let tell = |it| progress.borrow_mut()(it);
    let left = Left::read(from, path, tell)?;
    let remains = left.remains();
    let Drawn { cluster_id, incarnation } = drawn;
    let me = remains.identity.replica;
    let address = new.address.or_else(|| remains.address.clone()).ok_or(AloneError::NoAddress)?;
    let replica = NewReplica {
        cluster_name: new.name.unwrap_or_else(|| remains.identity.cluster_name.clone()),
        constants: left.survivor.constants.clone(),
        replica: me,
        incarnation,
        log: *left.directory.log_limits(),
        peers: [(me, address)].into(),
    };
    let snapshot = left.snapshot()?;
    let of = snapshot.as_ref().map_or(0, |(_, reader)| reader.file().length_bytes);
    let hash = snapshot.as_ref().map_or_else(PrefixHash::default, |(handle, _)| handle.hash());
    let copies = |bytes| tell(AloneProgress { step: AloneStep::CopiesSnapshot, bytes, of });
    let fill = |log: &mut NewLog| left.write(hash, log, tell);
    let directory = begin_alone(disk, &replica, cluster_id, snapshot, copies, fill)?;
    Ok((directory.identity().clone(), remains))
}

/// The directory that is left, open, and what it has.
struct Left {
    path: PathBuf,
    directory: DataDirectory,
    /// The slot of the snapshot that the log begins behind.
    begins_after: Slot,
    survivor: Survivor<Value>,
}

impl Left {
    /// Opens the directory, and reads its log to the end.
    fn read(
        disk: Arc<dyn Disk>,
        path: &Path,
        progress: impl Fn(AloneProgress),
    ) -> Result<Self, AloneError> {
        let directory = DataDirectory::open(disk)?;
        let mut begins_after = Slot::ZERO;
        let tell = |bytes, of| progress(AloneProgress { step: AloneStep::ReadsLog, bytes, of });
        let recovery = each_committed(&directory, tell, |committed| {
            if let Committed::Restore(slot) = committed {
                begins_after = slot;
            }
            Ok(())
        })?;
        let path = path.to_owned();
        let survivor = match Survivor::of(recovery) {
            Ok(survivor) => survivor,
            Err(error) => return Err(AloneError::NotAlone { path, error }),
        };
        // To read it has finished a cut that was interrupted: now the log may begin behind a later snapshot.
        let unread = UnreadLog::of(&directory).map_err(StartError::from)?;
        let cut_at = unread.snapshot().map_or(Slot::ZERO, |handle| handle.slot);
        let begins_after = begins_after.max(cut_at);
        Ok(Self { path, directory, begins_after, survivor })
    }

    fn remains(&self) -> Remains {
        let identity = self.directory.identity().clone();
        let address = self.directory.peers().get(&identity.replica).cloned();
        let Survivor {
            configuration,
            membership,
            other_directory,
            committed,
            left_out,
            forgotten,
            ..
        } = &self.survivor;
        Remains {
            identity,
            configuration: configuration.clone(),
            membership: *membership,
            other_directory: *other_directory,
            snapshot: self.begins_after,
            committed: *committed,
            last: self.survivor.last(),
            left_out: *left_out,
            forgotten: *forgotten,
            address,
        }
    }

    /// The snapshot that the log begins behind, for the new cluster.
    fn snapshot(&self) -> Result<Option<BeginsWith>, AloneError> {
        let slot = self.begins_after;
        if slot == Slot::ZERO {
            return Ok(None);
        }
        let (handle, application) = self.directory.snapshots().open(slot)?;
        let restored = Arc::unwrap_or_clone(handle).restored(&self.survivor.constants);
        let handle = restored.map_err(|error| AloneError::NotRestorable { slot, error })?;
        Ok(Some((handle, application)))
    }

    /// Writes what is behind the snapshot to the log of the new directory. `hash` is that up to the snapshot.
    fn write(
        &self,
        hash: PrefixHash,
        to: &mut NewLog,
        progress: impl Fn(AloneProgress),
    ) -> Result<(), AloneError> {
        let limits = self.survivor.constants.limits();
        let mut log = CommittedLog::after(self.begins_after, hash, limits);
        let mut failed = None;
        let tell = |bytes, of| progress(AloneProgress { step: AloneStep::WritesLog, bytes, of });
        let read = each_committed(&self.directory, tell, |committed| match committed {
            Committed::ToDeliver(it) if it.slot > self.begins_after => {
                let record = log.push(it.entry);
                record.map_or(Ok(()), |record| to.append(record)).map_err(|error| {
                    failed = Some(error);
                    // It only ends the reading.
                    RestoreError { slot: it.slot, cause: io::ErrorKind::Other.into() }
                })
            }
            _ => Ok(()),
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        read?;
        for entry in &self.survivor.adopted {
            log.push(entry.clone()).map_or(Ok(()), |record| to.append(record))?;
        }
        if log.through() != (self.survivor.last(), self.survivor.hash) {
            return Err(AloneError::Differs { path: self.path.clone() });
        }
        log.finish().map_or(Ok(()), |record| to.append(record))?;
        Ok(())
    }
}

/// Reads the log of `directory`, as for an application that has nothing yet. `progress` is told how many bytes are
/// read, of how many.
fn each_committed(
    directory: &DataDirectory,
    progress: impl Fn(u64, u64),
    committed: impl FnMut(Committed) -> Result<(), RestoreError>,
) -> Result<Recovery<Value>, StartError> {
    // Nothing of this run is ever told to anybody.
    let run = Run(0);
    let segment_bytes = directory.log_limits().segment_bytes;
    let progress = |segments, of| progress(segments * segment_bytes, of * segment_bytes);
    let (recovery, _) = read(directory, Preparation::InLine, run, Slot::ZERO, progress, committed)?;
    Ok(recovery)
}

#[cfg(test)]
mod tests;
