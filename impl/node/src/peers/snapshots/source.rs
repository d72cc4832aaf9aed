//! What the transfer needs of the storage of snapshots.

use std::io;

use serde::{Deserialize, Serialize};
use synod_model::{ReplicaId, Slot};
use thiserror::Error;

/// What names a snapshot file. Files with the same name have the same bytes, whichever replica wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotId {
    /// The last slot that it includes.
    pub slot: Slot,
    /// Its length.
    pub bytes: u64,
    /// The checksum of the whole.
    pub checksum: u64,
}

/// The beginning of a snapshot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialSnapshot {
    /// Which snapshot.
    pub id: SnapshotId,
    /// How many of its bytes there are.
    pub received_bytes: u64,
}

/// The snapshots that a replica may send. It is asked from threads that may wait for a disk, except for
/// [`newest`](Self::newest) and [`has`](Self::has).
pub trait SnapshotSource: Send + Sync + 'static {
    /// The newest one. Never waits.
    fn newest(&self) -> Option<SnapshotId>;

    /// Whether this one is there. Never waits.
    fn has(&self, id: SnapshotId) -> bool;

    /// Opens one. What was opened can be read to its end, even if the snapshot is removed meanwhile.
    ///
    /// # Errors
    ///
    /// If it is not there any more, or cannot be opened.
    fn open(&self, id: SnapshotId) -> io::Result<Box<dyn ReadAt>>;
}

/// An open snapshot file.
pub trait ReadAt: Send {
    /// Fills the buffer with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Where a snapshot that is fetched goes. There is one at a time, and it is called from one thread at a time,
/// which may wait.
pub trait SnapshotSink: Send + 'static {
    /// What is here of a snapshot that was not finished, perhaps by a former run.
    fn partial(&mut self) -> Option<PartialSnapshot>;

    /// Begins this snapshot, or goes on with the [partial](Self::partial) one, if it is the same. A partial one
    /// that is another is dropped.
    ///
    /// # Errors
    ///
    /// If the disk fails, or has no room for it.
    fn begin(&mut self, id: SnapshotId) -> Result<(), SinkError>;

    /// Adds the next bytes of the snapshot that was begun.
    ///
    /// # Errors
    ///
    /// If the disk fails, or is full.
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError>;

    /// All bytes are here. Checks them, makes them durable, and tells the replica. Nothing is left of a
    /// snapshot that fails its check.
    ///
    /// # Errors
    ///
    /// If the check fails, or the disk.
    fn finish(&mut self, from: ReplicaId) -> Result<(), SinkError>;
}

/// Why a snapshot that is fetched cannot be kept.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The disk of this replica fails, or is full.
    #[error("it cannot be stored: {0}")]
    Disk(String),
    /// What was sent is not that snapshot.
    #[error("what was sent is not that snapshot: {0}")]
    Invalid(String),
}

/// Neither sends nor stores any snapshot: for a node that stops, and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSnapshots;

impl SnapshotSource for NoSnapshots {
    fn newest(&self) -> Option<SnapshotId> {
        None
    }

    fn has(&self, _id: SnapshotId) -> bool {
        false
    }

    fn open(&self, _id: SnapshotId) -> io::Result<Box<dyn ReadAt>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl SnapshotSink for NoSnapshots {
    fn partial(&mut self) -> Option<PartialSnapshot> {
        None
    }

    fn begin(&mut self, _id: SnapshotId) -> Result<(), SinkError> {
        Err(SinkError::Disk("there is no disk".to_owned()))
    }

    fn write(&mut self, _bytes: &[u8]) -> Result<(), SinkError> {
        Err(SinkError::Disk("there is no disk".to_owned()))
    }

    fn finish(&mut self, _from: ReplicaId) -> Result<(), SinkError> {
        Err(SinkError::Disk("there is no disk".to_owned()))
    }
}
