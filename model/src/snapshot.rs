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
//!
//! A snapshot that was saved can also begin the log of a *new cluster* ([`SnapshotHandle::restored`]). All
//! members of the new cluster start with that snapshot, and with nothing else.

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::constants::ClusterConstants;
use crate::limits::Limits;
use crate::numbers::{SequenceNumber, Slot};
use crate::prefix::{PrefixHash, PrefixHashes};
use crate::record::{Content, Record};
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
    /// The slot of the change that made this configuration; [`Slot::ZERO`] for the first one.
    pub changed_at: Slot,
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
        Self { slot: Slot::ZERO, configuration, changed_at: Slot::ZERO, hashes, table }
    }

    /// Whether a replica can have made it. What it says of the log may be wrong all the same.
    pub(crate) fn is_possible(&self, limits: &Limits) -> bool {
        self.changed_at <= self.slot
            && self.hashes.are_up_to(self.slot, limits)
            && self.table.is_up_to(self.slot, limits)
    }

    /// The running hash of all that the snapshot stands for.
    #[must_use]
    pub fn hash(&self) -> PrefixHash {
        self.hashes.hash()
    }
}

/// How the replicas of a new cluster begin that is restored from a snapshot.
impl SnapshotHandle {
    /// The same snapshot as the beginning of a new cluster with these constants. Every member of the new
    /// cluster must begin with it: then it is as if the new cluster had committed these slots, everywhere,
    /// before its first coordinator.
    ///
    /// - The slots, the running hash and the request table stay, because the state of the application goes
    ///   with them: a command that it has is never applied again.
    /// - The configuration is that of the new cluster. Members of the old one mean nothing there.
    /// - Nothing that was promised or accepted goes over. A handle has none of it, and promises bind only
    ///   those that count each other. The shell must keep the two clusters apart for that: it gives the new
    ///   one another id.
    ///
    /// # Errors
    ///
    /// If no log under the limits of the new cluster can have led to this handle.
    pub fn restored(self, constants: &ClusterConstants) -> Result<Self, NotRestorable> {
        let limits = constants.limits();
        // Taken apart, so that nothing that is added goes over unnoticed.
        let Self { slot, configuration: _, changed_at: _, hashes, table } = self;
        if slot == Slot::ZERO {
            return Err(NotRestorable::Empty);
        }
        if !hashes.are_up_to(slot, limits) {
            return Err(NotRestorable::OtherHashes);
        }
        let (sessions, sessions_max) = (table.sessions(), limits.sessions_max);
        if sessions > sessions_max {
            return Err(NotRestorable::TooManySessions { sessions, sessions_max });
        }
        if !table.is_up_to(slot, limits) {
            return Err(NotRestorable::OtherRequests);
        }
        let configuration = constants.first_configuration().clone();
        let changed_at = Slot::ZERO;
        Ok(Self { slot, configuration, changed_at, hashes, table })
    }

    /// The only record in the log of a replica that begins with this snapshot. It is the record that an
    /// empty replica writes when it installs the snapshot.
    #[must_use]
    pub fn first_record<V>(self: Arc<Self>) -> Record<V> {
        let (watermark, hash) = (self.slot, self.hash());
        let content = Content::Snapshot { handle: self, promised: SequenceNumber::NONE };
        Record { watermark, hash, content }
    }
}

/// Why a snapshot cannot begin the log of a new cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRestorable {
    /// It has no slot. A new cluster needs no snapshot for that.
    Empty,
    /// Its running hashes are not those that a log up to its slot has under the limits of the new cluster.
    OtherHashes,
    /// What it remembers of requests is not what a log up to its slot leads to under the limits of the new
    /// cluster.
    OtherRequests,
    /// It remembers more sessions than the new cluster may have.
    TooManySessions {
        /// How many it remembers.
        sessions: u64,
        /// The limit of the new cluster.
        sessions_max: u64,
    },
}

impl core::fmt::Display for NotRestorable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => write!(f, "it is the snapshot of an empty log"),
            Self::OtherHashes => write!(
                f,
                "its running hashes are not those of a log up to its slot under the limits of the new \
                 cluster (frame_entries_max)"
            ),
            Self::OtherRequests => write!(
                f,
                "what it remembers of requests is beyond the limits of the new cluster \
                 (session_requests_max)"
            ),
            Self::TooManySessions { sessions, sessions_max } => write!(
                f,
                "it remembers {sessions} sessions, and the new cluster may have {sessions_max} \
                 (sessions_max)"
            ),
        }
    }
}

impl core::error::Error for NotRestorable {}

#[cfg(feature = "stateright")]
use crate::{entry::Entry, sessions::Verdict};

#[cfg(feature = "stateright")]
impl SnapshotHandle {
    /// The handle of the log that has one more entry, computed from the log alone.
    pub(crate) fn after<V: crate::entry::Value>(
        mut self,
        entry: &Entry<V>,
        limits: &Limits,
    ) -> Self {
        self.slot = self.slot.next();
        self.hashes.push(crate::prefix::EntryDigest::of(entry), limits);
        self.hashes.keep(limits.accepted_slots_max);
        let table = Arc::make_mut(&mut self.table);
        let verdict = table.deliver(self.slot, entry, &self.configuration, limits);
        if let (Entry::Change(change), Some(Verdict::First)) = (entry, verdict) {
            (self.configuration, self.changed_at) = (change.configuration.clone(), self.slot);
        }
        self
    }
}
