//! From a data directory to a running replica.

use std::error::Error;
use std::io;
use std::sync::Arc;

use synod_model::{Base, Delivered, Output, RecordError, Recovery, Replica, Run, Slot, Verdict};
use synod_wire::Value;

use crate::state_machine::{Responder, StateMachine};
use crate::storage::{DataDirectory, Log, Preparation, RecoverError, SnapshotFolder, UnreadLog};

/// Why a replica cannot start from its data directory.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(Box<RecoverError>),
    /// The base that the replica starts from is impossible.
    #[error("the replica cannot start: {0}")]
    Base(RecordError),
    /// The application cannot be given the snapshot that its log begins behind.
    #[error(transparent)]
    Restore(Box<RestoreError>),
}

/// Why an application was not restored from a snapshot.
#[derive(Debug, thiserror::Error)]
#[error(
    "the state machine cannot be restored from the snapshot of the slots up to {slot}: {cause}\n  \
     what came before is in that snapshot only, so this replica cannot start; nothing was changed\n  \
     `synod inspect` says whether the file is sound; if it is, the state machine is another one than the \
     one that wrote it"
)]
pub struct RestoreError {
    /// The last slot that the snapshot includes.
    pub slot: Slot,
    /// Why. It may be a [`SnapshotError`](crate::storage::SnapshotError).
    pub cause: io::Error,
}

/// What is found to be committed while the log is read.
#[derive(Debug)]
pub(crate) enum Committed {
    /// The application has less than the snapshot of the slots up to this one. It is to be restored from
    /// the [snapshot file](crate::storage::SnapshotFolder::open) of this slot, before it is given anything
    /// that follows.
    Restore(Slot),
    /// The application has not applied it.
    ToDeliver(Delivered<Value>),
    /// The application has applied it. Those who follow the log need the verdict.
    HadAlready(Slot, Verdict),
}

/// Recovers the log of `directory`, and the replica that wrote it. What is committed goes to `committed`
/// as it is read, in order. `progress` is told how many segments are read, of how many. The application
/// has applied everything up to `applied`.
pub(crate) fn start(
    directory: &DataDirectory,
    preparation: Preparation,
    run: Run,
    applied: Slot,
    progress: impl FnMut(u64, u64),
    committed: impl FnMut(Committed) -> Result<(), RestoreError>,
) -> Result<(Replica<Value>, Log), StartError> {
    let (recovery, log) = read(directory, preparation, run, applied, progress, committed)?;
    Ok((recovery.finish().map_err(StartError::Base)?, log))
}

/// The same, without the last step: what the log amounts to.
pub(crate) fn read(
    directory: &DataDirectory,
    preparation: Preparation,
    run: Run,
    applied: Slot,
    progress: impl FnMut(u64, u64),
    mut committed: impl FnMut(Committed) -> Result<(), RestoreError>,
) -> Result<(Recovery<Value>, Log), StartError> {
    let identity = directory.identity();
    let (cluster, me) = (Arc::new(identity.constants.clone()), identity.replica);
    let unread = UnreadLog::of(directory)?;
    let mut out = Output::default();
    let recovery = if let Some(snapshot) = unread.snapshot() {
        let snapshot = Arc::clone(snapshot);
        Recovery::from_snapshot(cluster, me, run, applied, snapshot, &mut out)
    } else {
        let base = Base::new(cluster.first_configuration().clone());
        Recovery::new(cluster, me, run, applied, base, &mut out)
    };
    let mut recovery = recovery.map_err(StartError::Base)?.of_directory(identity.incarnation);
    let mut tell = |out: &mut Output<Value>| {
        let restore = out.restore.take().map(Committed::Restore);
        let had_already = out.had_already.drain(..);
        let had_already = had_already.map(|(slot, verdict)| Committed::HadAlready(slot, verdict));
        let delivered = out.delivered.drain(..).map(Committed::ToDeliver);
        restore.into_iter().chain(had_already).chain(delivered).try_for_each(&mut committed)
    };
    tell(&mut out)?;
    let log = unread.read(preparation, progress, |record| {
        recovery.record(record, &mut out)?;
        tell(&mut out)?;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    });
    Ok((recovery, log?))
}

impl From<RestoreError> for StartError {
    fn from(error: RestoreError) -> Self {
        Self::Restore(Box::new(error))
    }
}

impl From<RecoverError> for StartError {
    fn from(error: RecoverError) -> Self {
        match error {
            // It is no fault of the record.
            RecoverError::Refused { path, offset, cause } => match cause.downcast() {
                Ok(error) => Self::Restore(error),
                Err(cause) => Self::Log(Box::new(RecoverError::Refused { path, offset, cause })),
            },
            error => Self::Log(Box::new(error)),
        }
    }
}

/// Restores `machine` from the snapshot of the slots up to `slot`.
pub(crate) fn restore<M: StateMachine>(
    machine: &mut Responder<M>,
    snapshots: &SnapshotFolder,
    slot: Slot,
) -> Result<(), RestoreError> {
    let mut restored = || {
        let (_, mut snapshot) = snapshots.open(slot)?;
        machine.restore(&mut snapshot)?;
        // What was not read may be missing or damaged.
        snapshot.check_to_end()?;
        if machine.applied() == slot {
            return Ok(());
        }
        let applied = machine.applied();
        let other = format!("it is the state of a machine that has applied slots up to {applied}");
        Err(io::Error::new(io::ErrorKind::InvalidData, other))
    };
    restored().map_err(|cause| RestoreError { slot, cause })
}
