//! Snapshots: what stands for the beginning of the log, so that it can be cut.
//!
//! The log would grow for ever. So the application writes its state to a file now and then, and the log up
//! to there is not needed any more. There are three steps (Paxos Made Live, 5.3): the application asks for a
//! *handle*; it takes its snapshot, in its own time, while commits go on; it gives the handle back, and only
//! then is the log cut. A snapshot that fails changes nothing, and neither does a handle that comes back
//! late.
//!
//! The state of the application is not all. The core's own state as of that slot belongs to the snapshot,
//! too: the request table, or a retry could have a second effect, and the running hash, by which histories
//! are compared. The handle has both.
//!
//! A replica that lags behind what its peers still have gets the whole snapshot. It *installs* the handle:
//! the log here then begins after it, as if this replica had taken the snapshot itself.

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::numbers::{Slot, SlotRange};
use crate::prefix::{PrefixHash, PrefixHashes};
use crate::sessions::RequestTable;

/// The core's part of a snapshot: everything up to a slot, but for the state of the application.
///
/// It is a function of the log up to there. So the handles of two replicas for one slot are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotHandle {
    /// The last slot that the snapshot includes.
    pub slot: Slot,
    /// The configuration that governs the slots after it.
    pub configuration: Configuration,
    /// The running hash up to there, and at the checkpoints before.
    pub hashes: PrefixHashes,
    /// What is remembered of the requests up to there.
    pub table: Arc<RequestTable>,
}

impl SnapshotHandle {
    /// The running hash of all that the snapshot stands for.
    #[must_use]
    pub fn hash(&self) -> PrefixHash {
        self.hashes.hash()
    }
}

/// Whether recovery from a snapshot of the slots up to `snapshot` needs no record with entries for
/// `slots`; none for a record without entries.
///
/// It decides which records may be removed, of those that are older than the record of the snapshot. That
/// record repeats the promise. So older records are needed only for the entries above the snapshot.
#[must_use]
pub fn may_be_cut(slots: Option<SlotRange>, snapshot: Slot) -> bool {
    slots.is_none_or(|slots| slots.last <= snapshot)
}
