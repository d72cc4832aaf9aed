//! From a data directory to a running replica.

use std::sync::Arc;

use synod_model::{Base, Delivered, Output, RecordError, Recovery, Replica, Run, Slot};
use thiserror::Error;

use crate::storage::{DataDirectory, Log, Preparation, RecoverError};
use crate::value::Value;

/// Why a replica cannot start from its data directory.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its log cannot be read.
    #[error(transparent)]
    Log(Box<RecoverError>),
    /// Its first record is nothing that this core could start from.
    #[error("the replica cannot start: {0}")]
    Base(RecordError),
}

/// Recovers the log of `directory` and the replica that wrote it. What is committed above `applied`
/// goes to `deliver`, in order, as it is read.
pub(crate) fn start(
    directory: &DataDirectory,
    preparation: Preparation,
    run: Run,
    applied: Slot,
    mut deliver: impl FnMut(Delivered<Value>),
) -> Result<(Replica<Value>, Log), StartError> {
    let identity = directory.identity();
    let cluster = Arc::new(identity.cluster.clone());
    let base = Base::new(cluster.first_configuration().clone());
    let mut out = Output::default();
    let mut recovery = Recovery::new(cluster, identity.replica, run, applied, base, &mut out)
        .map_err(StartError::Base)?;
    let log = Log::recover(directory, preparation, |record| {
        recovery.record(record, &mut out)?;
        out.delivered.drain(..).for_each(&mut deliver);
        Ok::<_, RecordError>(())
    });
    let log = log.map_err(|error| StartError::Log(Box::new(error)))?;
    Ok((recovery.finish(), log))
}
