//! What the tasks of the transport share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use synod_model::{Limits, ReplicaId};
use tokio::sync::watch;
use tracing::error;

use super::error::{LinkError, Mismatch, PeersError};
use super::events::Inbox;
use super::introduction::{Introduction, Refusal};
use super::limits::LinkTiming;
use super::peer::Peer;
use super::snapshots;
use crate::forming::{Gate, GateError};
use crate::log_rate_limit::LogRateLimit;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) me: Introduction,
    pub(super) limits: Limits,
    pub(super) timing: LinkTiming,
    pub(super) gate: Gate,
    pub(super) peers: BTreeMap<ReplicaId, Arc<Peer>>,
    pub(super) inbox: Inbox,
    /// The snapshots that peers fetch.
    pub(super) sender: snapshots::Sender,
    /// The snapshot that this replica fetches.
    pub(super) fetch: Arc<snapshots::Fetch>,
    /// Why this replica must stop. The first reason stays.
    pub(super) fatal: watch::Sender<Option<PeersError>>,
    /// The last error that was logged for each replica id that a refused caller has given.
    pub(super) last_errors: Mutex<BTreeMap<ReplicaId, String>>,
    /// Limits the log lines about callers, who can send anything.
    pub(super) log_rate_limit: Arc<LogRateLimit>,
}

/// For how many ids of refused callers the last error is remembered. Default 64: more than a cluster
/// has members, since a stranger can give any id.
const REFUSED_IDS_MAX: usize = 64;

impl Shared {
    /// Whether messages may pass, in either direction.
    pub(super) fn passes(&self) -> bool {
        self.gate.is_formed() && self.fatal.borrow().is_none()
    }

    /// The error when `peer` does not pass the gate.
    pub(super) fn at_gate(&self, peer: &Peer, error: GateError) -> LinkError {
        let replica = peer.id;
        match error {
            GateError::OtherIncarnation(other) => {
                LinkError::Mismatch(Mismatch::Incarnation { replica, other })
            }
            GateError::MadeAnew { known } => LinkError::Fatal(PeersError::OtherDirectory {
                by: replica,
                address: peer.address.clone(),
                mine: self.me.incarnation,
                known,
            }),
            GateError::NoPeer => {
                let peers = self.peers.keys().copied().collect();
                LinkError::Mismatch(Mismatch::NoPeer { replica, peers })
            }
            GateError::Store(error) => LinkError::Fatal(PeersError::Store(error)),
            GateError::NoThread => LinkError::NoThread,
            GateError::Closed => LinkError::Stopping,
        }
    }

    /// Whether this error of a caller that says it is `replica`, or of a replica that was found where that
    /// one was looked for, differs from the last one. A replica with a wrong address calls again and again.
    pub(super) fn is_news(&self, replica: ReplicaId, text: &str) -> bool {
        let mut last_errors = self.last_errors.lock().unwrap_or_else(PoisonError::into_inner);
        if last_errors.get(&replica).is_some_and(|before| before == text) {
            return false;
        }
        if last_errors.len() >= REFUSED_IDS_MAX {
            last_errors.clear();
        }
        last_errors.insert(replica, text.to_owned());
        true
    }

    /// This replica must stop. From now on, no message passes.
    pub(super) fn fail(&self, error: PeersError) {
        self.fatal.send_if_modified(|fatal| {
            let is_first = fatal.is_none();
            if is_first {
                error!("{error}");
                *fatal = Some(error);
            }
            is_first
        });
    }
}

/// What a member that does not pass the gate is told. None if the cause is not the member's.
pub(super) fn refusal(error: &GateError) -> Option<Refusal> {
    match error {
        GateError::OtherIncarnation(other) => {
            Some(Refusal::OtherIncarnation { known: other.known })
        }
        GateError::NoPeer => Some(Refusal::NoPeer),
        GateError::MadeAnew { .. }
        | GateError::Store(_)
        | GateError::NoThread
        | GateError::Closed => None,
    }
}
