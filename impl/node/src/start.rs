//! From a data directory to a running replica.

use std::sync::Arc;

use synod_model::{Base, Delivered, Output, RecordError, Recovery, Replica, Run, Slot, Verdict};
use synod_wire::Value;
use thiserror::Error;

use crate::storage::{DataDirectory, Log, Preparation, RecoverError};

/// Why a replica cannot start from its data directory.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(Box<RecoverError>),
    /// The base that the replica starts from is impossible.
    #[error("the replica cannot start: {0}")]
    Base(RecordError),
}

/// A committed slot, found while the log is read.
#[derive(Debug)]
pub(crate) enum Committed {
    /// The application has not applied it.
    ToDeliver(Delivered<Value>),
    /// The application has applied it. Those who follow the log need the verdict.
    HadAlready(Slot, Verdict),
}

/// Recovers the log of `directory`, and the replica that wrote it. Committed slots go to `committed` as
/// they are read, in order. `progress` is told how many segments are read, of how many. The application
/// has applied everything up to `applied`.
pub(crate) fn start(
    directory: &DataDirectory,
    preparation: Preparation,
    run: Run,
    applied: Slot,
    mut progress: impl FnMut(u64, u64),
    mut committed: impl FnMut(Committed),
) -> Result<(Replica<Value>, Log), StartError> {
    let identity = directory.identity();
    let cluster = Arc::new(identity.constants.clone());
    let base = Base::new(cluster.first_configuration().clone());
    let mut out = Output::default();
    let mut recovery = Recovery::new(cluster, identity.replica, run, applied, base, &mut out)
        .map_err(StartError::Base)?;
    let log = Log::recover_telling(directory, preparation, &mut progress, |record| {
        recovery.record(record, &mut out)?;
        let had_already = out.had_already.drain(..);
        had_already.for_each(|(slot, verdict)| committed(Committed::HadAlready(slot, verdict)));
        out.delivered.drain(..).for_each(|it| committed(Committed::ToDeliver(it)));
        Ok::<_, RecordError>(())
    });
    let log = log.map_err(|error| StartError::Log(Box::new(error)))?;
    Ok((recovery.finish().map_err(StartError::Base)?, log))
}
