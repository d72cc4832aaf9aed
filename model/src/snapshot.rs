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
use crate::limits::Limits;
use crate::numbers::Slot;
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
    /// The running hash up to there, and at slots before: at as many as an acceptor accepts ahead, and at
    /// all checkpoints.
    pub hashes: PrefixHashes,
    /// What is remembered of the requests up to there. Shared with the replica until it delivers more.
    pub table: Arc<RequestTable>,
}

impl SnapshotHandle {
    /// The handle of the empty log.
    #[must_use]
    pub fn empty(configuration: Configuration) -> Self {
        let (hashes, table) = (PrefixHashes::default(), Arc::default());
        Self { slot: Slot::ZERO, configuration, hashes, table }
    }

    /// Whether a replica can have made it. What it says of the log may be wrong all the same.
    pub(crate) fn is_possible(&self, limits: &Limits) -> bool {
        self.hashes.are_up_to(self.slot, limits) && self.table.is_up_to(self.slot, limits)
    }

    /// The running hash of all that the snapshot stands for.
    #[must_use]
    pub fn hash(&self) -> PrefixHash {
        self.hashes.hash()
    }
}

#[cfg(feature = "stateright")]
impl SnapshotHandle {
    /// The handle of the log that has one more entry, computed from the log alone.
    pub(crate) fn after<V: crate::entry::Value>(
        mut self,
        entry: &crate::entry::Entry<V>,
        limits: &Limits,
    ) -> Self {
        self.slot = self.slot.next();
        self.hashes.push(crate::prefix::EntryDigest::of(entry), limits);
        self.hashes.keep(limits.accepted_slots_max);
        Arc::make_mut(&mut self.table).deliver(self.slot, entry, limits);
        self
    }
}
