//! Why a snapshot is not fetched from a peer.

use std::time::Duration;

use synod_model::Slot;
use synod_wire::blocking::NotRun;
use thiserror::Error;

use super::super::error::LinkError;
use super::source::{SinkError, SnapshotId};

/// Why a transfer has ended before its end. The texts continue "replica 2 at HOST:PORT".
#[derive(Debug, Error)]
pub(super) enum TransferError {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{}", has_none(*.newest))]
    HasNone { newest: Option<Slot> },
    #[error("sends snapshots to as many replicas as it may, and is asked again")]
    Busy,
    #[error("has sent nothing of its snapshot for {} s, and another peer is asked", limit.as_secs())]
    NoProgress { limit: Duration },
    #[error("sends the snapshot of slot {} from byte {offset} on, which was not asked for", id.slot)]
    NotAsked { id: SnapshotId, offset: u64 },
    #[error("sends {bytes} bytes of the snapshot of slot {slot}, which lacks {left}")]
    NotAChunk { slot: Slot, bytes: u64, left: u64 },
    #[error("has a snapshot of slot {slot}, and {error}")]
    Sink { slot: Slot, error: SinkError },
    #[error("has a snapshot, and it cannot be stored: {0}")]
    Thread(#[from] NotRun),
}

impl TransferError {
    /// What it is about, without what changes from one time to the next. The log tells it once.
    pub(super) fn topic(&self) -> String {
        match self {
            Self::Link(error) => error.topic(),
            Self::HasNone { newest: Some(_) } => "has another snapshot".to_owned(),
            Self::Sink { error, .. } => error.to_string(),
            error => error.to_string(),
        }
    }

    /// Whether the cause is here, and not at the peer.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Sink { .. } | Self::Thread(_))
    }
}

impl From<synod_wire::frame::FrameReadError> for TransferError {
    fn from(error: synod_wire::frame::FrameReadError) -> Self {
        Self::Link(error.into())
    }
}

fn has_none(newest: Option<Slot>) -> String {
    match newest {
        Some(slot) => format!("has another snapshot, of slot {slot}"),
        None => "has no snapshot".to_owned(),
    }
}
