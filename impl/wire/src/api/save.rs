//! Saving a snapshot elsewhere.

use serde::{Deserialize, Serialize};
use synod_model::Slot;
use thiserror::Error;

use super::TakeSnapshotError;

/// Names a save, at one replica. The client draws it at random, so that nobody else has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SaveId(pub u64);

/// A snapshot that a replica keeps for a save, for a while after each piece that is read of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveBegun {
    /// The last slot that it includes.
    pub slot: Slot,
    /// The length of its file.
    pub bytes: u64,
    /// The checksum of its file.
    pub checksum: u64,
    /// The length of a piece.
    pub piece_bytes: u64,
    /// The name of the cluster.
    pub cluster_name: String,
}

/// Why a snapshot is not saved. The replica is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum SaveError {
    /// It has taken none.
    #[error("{0}")]
    NotTaken(TakeSnapshotError),
    /// As many clients as may save snapshots of it.
    #[error("as many snapshots of it are being saved as its limit allows")]
    Busy,
    /// It does not know the save: it was begun elsewhere or before a restart, or nothing was read for a while.
    #[error("it does not keep that snapshot any more")]
    NotKept,
    /// The file cannot be read.
    #[error("its snapshot cannot be read: {0}")]
    Disk(String),
    /// The replica is stopping.
    #[error("it is stopping")]
    Stopping,
}
