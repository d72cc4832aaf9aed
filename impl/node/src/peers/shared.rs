//! What the tasks of the transport share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use synod_model::{Configuration, Incarnation, Limits, ReplicaId};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::error::{LinkError, Mismatch, PeersError};
use super::events::Inbox;
use super::introduction::{Hello, Introduction, Purpose, Refusal};
use super::limits::LinkTiming;
use super::peer::Peer;
use super::presence::Present;
use super::roster::Roster;
use super::snapshots;
use super::tasks::Tasks;
use crate::forming::{Gate, GateError};
use crate::log_rate_limit::LogRateLimit;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) me: Introduction,
    pub(super) limits: Limits,
    pub(super) timing: LinkTiming,
    pub(super) gate: Gate,
    pub(super) roster: Roster,
    pub(super) tasks: Tasks,
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

    /// What this replica says when it dials `to`.
    pub(super) fn hello(&self, to: ReplicaId, purpose: Purpose) -> Hello {
        Hello { from: self.me.clone(), address: self.roster.own_address(), to, purpose }
    }

    /// From now on, `newest` is the newest configuration that this replica knows. The members of the `former` one
    /// are still talked to.
    pub(super) fn govern(self: &Arc<Self>, newest: &Configuration, former: Option<&Configuration>) {
        let Some(added) = self.roster.govern(newest, former) else {
            return;
        };
        self.gate.govern(newest);
        // Their connections began before this was registered.
        for peer in self.roster.peers() {
            let directory = peer.presence.directory();
            let other = directory.and_then(|it| self.gate.check(peer.id, it).err());
            if let Some(error) = other {
                warn!("{peer} is disconnected: {error}");
                peer.presence.shut_out();
            }
        }
        for peer in added {
            self.keep_connected(&peer);
        }
    }

    /// The peer that a caller is, who has passed the gate. A replica that was none becomes a guest.
    pub(super) fn meet(self: &Arc<Self>, hello: &Hello) -> Result<Arc<Peer>, (LinkError, Refusal)> {
        let met = self.roster.meet(hello.from.replica, hello.address.as_deref());
        let (peer, is_new) = met.map_err(|guests_max| {
            let refusal = Refusal::TooManyGuests { guests_max: guests_max as u64 };
            (LinkError::TooManyGuests { guests_max }, refusal)
        })?;
        if is_new {
            info!("{peer} is a guest: it is outside the configuration that this replica knows");
            self.keep_connected(&peer);
        }
        Ok(peer)
    }

    /// A connection with `peer` begins, whose data directory has passed the gate.
    pub(super) fn enter(&self, peer: &Peer, directory: Incarnation) -> Result<Present, LinkError> {
        let present = peer.enter(directory)?;
        // Another one may have been registered since. If that happens from now on, the connection ends.
        let checked = self.gate.check(peer.id, directory);
        checked.map_err(|error| self.at_gate(peer.id, &peer.place(), error))?;
        Ok(present)
    }

    /// The error when a replica, which was met at this address, does not pass the gate.
    pub(super) fn at_gate(&self, replica: ReplicaId, address: &str, error: GateError) -> LinkError {
        match error {
            GateError::OtherIncarnation(other) => {
                LinkError::Mismatch(Mismatch::Incarnation { replica, other })
            }
            GateError::MadeAnew { known } => LinkError::Fatal(PeersError::OtherDirectory {
                by: replica,
                address: address.to_owned(),
                mine: self.me.incarnation,
                known,
            }),
            GateError::NoPeer => LinkError::Mismatch(Mismatch::NotFormed { replica }),
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
