//! A running replica: the shell, driven by real time, real files and real sockets.
//!
//! ```text
//! peers <-> connections <-> inbox --> replica's task: Shell (the core inside) --> connections
//!                                     |     ^                  |
//!                              records v     | Synced           | committed entries, queries
//!                                   appender thread             v
//!                             (append + fdatasync)     state machine's thread --> clients
//! ```
//!
//! One task owns the replica ([`replica`]). Threads of their own wait for the disk ([`mod@disk`]) and
//! run the state machine ([`machine`]). Each of them can end with an error, and that ends the node: a
//! replica that cannot write, or cannot apply what is committed, is one that is down. [`open`] puts all
//! of it together; [`Node`] is the handle on it, and [`requests`] what a process asks of it.

mod call;
mod catch_up_queue;
mod disk;
mod error;
mod forming_store;
mod local_session;
pub(crate) mod machine;
mod make;
mod members;
mod open;
mod prepare;
mod recent;
mod replica;
mod requests;
mod resident_memory;
mod saves;
mod shared;
mod snapshots;
mod starting;
mod subscription;
#[cfg(test)]
mod tests;
mod verdict_history;

use std::sync::Arc;

use synod_model::{Change, Position, ReplicaId, Run, SessionId, Slot, SnapshotHandle};
use synod_wire::Value;
use synod_wire::api::{
    About, Answered, Applied, Consistency, DiskStatus, Forming, Members, Membership, PeerStatus,
    QueryError, ReadError, ReplicaStatus, Request, Role, SaveBegun, SaveError, SaveId,
    SnapshotProgress, SnapshotStatus, SnapshotTaken, SnapshotTransfer, Starting, SubmitError,
    SubscribeError, TakeSnapshotError,
};
use synod_wire::protocol::ReadSave;
use thiserror::Error;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

pub use error::{NodeError, NodeOpenError};
pub use make::{
    MakeError, RestoreProgress, join_data_directory, make_data_directory, restore_data_directory,
    state_bytes,
};
pub use prepare::{Config, PreparedNode};
pub use snapshots::SnapshotOptions;
pub use starting::NodeBackend;
pub use subscription::NodeSubscription;

use crate::backend::Backend;
use crate::identity::Identity;
use crate::peers::Peers;
use crate::shell::Submission;
use crate::state_machine::StateMachine;
use crate::storage::{LogReader, LogSize, SnapshotFolder};
use call::Call;
use local_session::LocalSession;
use resident_memory::ResidentMemory;
use saves::Saves;
use shared::Shared;
use snapshots::SnapshotWritten;

/// How many followers read the disk at once. Default 16: each keeps a thread busy, and more threads do
/// not make a disk faster. The others wait in turn.
const FOLLOWER_READS_MAX: usize = 16;

/// A running replica of a state machine: what is submitted at any replica is applied at all of them, in
/// the same order, once.
///
/// Cloning a `Node` gives another handle on the same replica. The replica runs until
/// [`stop`](Self::stop), until the last handle is gone, or until it cannot go on
/// ([`ended`](Self::ended)).
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    task: Mutex<Option<JoinHandle<Result<(), NodeError>>>>,
    /// A permit is a follower's turn to read the disk.
    disk_reads: Arc<Semaphore>,
    resident_memory: ResidentMemory,
    /// The session that [`Node::submit`] uses.
    session: Mutex<Option<LocalSession>>,
    /// The snapshots that clients save.
    saves: Arc<Saves>,
}

/// What a node is made of once it runs.
#[derive(Debug)]
struct Parts {
    shared: Arc<Shared>,
    identity: Identity,
    /// Where its peers look for it, if it was told.
    address: Option<String>,
    run: Run,
    reader: LogReader,
    folder: SnapshotFolder,
    peers: Arc<Peers>,
    calls: mpsc::Sender<Call>,
    notices: mpsc::UnboundedSender<Notice>,
    stop: watch::Sender<bool>,
}

/// What the threads of a node tell the task of the replica.
#[derive(Debug)]
enum Notice {
    Synced(Position),
    Applied(Slot),
    /// What this peer was to be served is not in the log any more.
    NotServed(ReplicaId),
    SnapshotWritten(SnapshotWritten),
    /// A peer's snapshot is durable here.
    SnapshotFetched {
        from: ReplicaId,
        handle: Arc<SnapshotHandle>,
    },
    Fatal(NodeError),
}

/// A replica stops, or has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the replica is stopping")]
pub struct Stopping;

impl Node {
    fn new(
        parts: Parts,
        task: JoinHandle<Result<(), NodeError>>,
        sent_bytes_per_second: u64,
    ) -> Self {
        let inner = Inner {
            parts,
            saves: Arc::new(Saves::new(sent_bytes_per_second)),
            task: Mutex::new(Some(task)),
            disk_reads: Arc::new(Semaphore::new(FOLLOWER_READS_MAX)),
            resident_memory: ResidentMemory::default(),
            session: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Opens the replica of a data directory and lets it run. Every command that is committed in its
    /// log is applied to `machine` before this returns, from the slot on where the machine
    /// [says](StateMachine::applied) that it stopped.
    ///
    /// The replica runs on the runtime that this is called in. A command is answered soonest on a
    /// runtime of a single thread, as `synod node` has: no other thread has to be woken on its way.
    ///
    /// # Errors
    ///
    /// If the data directory is in use, damaged or not there, or the port cannot be had.
    pub async fn open<M: StateMachine>(config: Config, machine: M) -> Result<Self, NodeOpenError> {
        Self::prepare(config).await?.open(machine).await
    }

    /// Locks the data directory, checks the members and takes the port for peers. What can be refused is
    /// refused now, before a long log is read. [`open`](Self::open) does this and then
    /// [reads the log](PreparedNode::open).
    ///
    /// # Errors
    ///
    /// If the data directory is in use or not there, or the port cannot be had.
    pub async fn prepare(config: Config) -> Result<PreparedNode, NodeOpenError> {
        PreparedNode::new(config).await
    }

    /// Waits until the members of the cluster have all met. Until then, what is asked of a replica is
    /// refused as [`NotDone::Forming`](synod_wire::api::NotDone::Forming). A cluster that has formed once never forms again.
    ///
    /// # Errors
    ///
    /// If the replica stops before.
    pub async fn formed(&self) -> Result<(), Stopping> {
        let Parts { peers, shared, .. } = &self.inner.parts;
        let (mut formed, mut published) = (peers.formed(), shared.watch());
        tokio::select! {
            biased;
            formed = formed.wait_for(|formed| *formed) => formed.map(drop).map_err(|_| Stopping),
            _ = published.wait_for(|it| it.ended) => Err(Stopping),
        }
    }

    /// Follows the log from slot `from` on: every entry that was and will be committed, also those that
    /// are no commands. Slot 0 is the same as 1. Any number of followers may do so.
    #[must_use]
    pub fn subscribe(&self, from: Slot) -> NodeSubscription {
        NodeSubscription::new(self, from)
    }

    /// How this replica is.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        let parts = &self.inner.parts;
        let (status, known_watermark) = parts.shared.status();
        let LogSize { fdatasyncs, bytes_written, log_bytes, segments, .. } =
            parts.shared.counters.get();
        let (role, sequence_number) = Role::of(status.role);
        let configuration = parts.shared.configuration();
        let missing = parts.peers.missing();
        let peers = parts.peers.status().into_iter();
        let peers: Vec<_> = peers.map(PeerStatus::from).collect();
        let out_of_touch_ms = self.out_of_touch_ms();
        // It hears of commits from its coordinator.
        let hears_of_commits = role == Role::Coordinator
            || peers.iter().any(|it| it.connected && Some(it.replica) == status.coordinator);
        let knows_lag = hears_of_commits && out_of_touch_ms.is_none();
        ReplicaStatus {
            replica: status.me,
            run: status.run,
            forming: if missing.is_empty() {
                Forming::Formed
            } else {
                Forming::Forming { missing }
            },
            configuration: configuration.id(),
            membership: Membership::of(status.me, &configuration),
            role,
            sequence_number,
            coordinator: status.coordinator,
            promised: status.promised,
            committed: status.watermark,
            committed_hash: status.prefix.hash,
            applied: status.applied,
            lag_slots: knows_lag.then(|| known_watermark.above(status.applied)),
            out_of_touch_ms,
            hangs: parts.shared.hangs(),
            other_histories: status.other_histories.into_iter().map(Into::into).collect(),
            forgotten: status.forgotten.into_iter().map(Into::into).collect(),
            disk: DiskStatus {
                log_bytes,
                segments,
                unsynced_bytes: status.unsynced_bytes,
                synced: status.synced,
                fdatasyncs,
                bytes_written,
            },
            snapshots: self.snapshot_status(status.log_starts_at),
            resident_bytes: self.inner.resident_memory.bytes(),
            peers,
        }
    }

    fn snapshot_status(&self, log_starts_at: Slot) -> SnapshotStatus {
        let Parts { shared, folder, peers, .. } = &self.inner.parts;
        let receiving = peers.receiving().map(|it| SnapshotTransfer {
            peer: it.from,
            slot: it.slot,
            transferred_bytes: it.received_bytes,
            bytes: it.bytes,
        });
        let sending = peers.sending().into_iter().filter(|it| it.is_connected);
        let sending = sending.map(|it| SnapshotTransfer {
            peer: it.to,
            slot: it.slot,
            transferred_bytes: it.sent_bytes,
            bytes: it.bytes,
        });
        SnapshotStatus {
            newest: folder.newest().map(|file| file.slot),
            log_starts_at,
            bytes: folder.files().iter().map(|file| file.length_bytes).sum(),
            taking: shared
                .snapshot_progress
                .get()
                .map(|(slot, written_bytes)| SnapshotProgress { slot, written_bytes }),
            receiving,
            sending: sending.collect(),
        }
    }

    /// For how long this replica has been out of touch with a coordinator that has a majority. None while
    /// it is in touch.
    fn out_of_touch_ms(&self) -> Option<u64> {
        let out_of_touch = self.inner.parts.shared.out_of_touch()?;
        Some(u64::try_from(out_of_touch.as_millis()).unwrap_or(u64::MAX))
    }

    /// The id of this replica.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.inner.parts.identity.replica
    }

    /// Stops the replica, and waits until it has stopped. Clients that wait for an answer hear that the
    /// outcome is unknown.
    ///
    /// What is under way is waited for, however long it takes: a write and its sync, a read for a peer,
    /// and the batch that the state machine is at. What is committed and queued behind that batch is not
    /// applied now: it is in the log, and the next [`open`](Self::open) applies it. A state machine
    /// may never return, and a disk may never answer. Where that can happen, give this a time limit and
    /// then end the process, as `synod node` does: the replica forgets nothing that it has acknowledged.
    ///
    /// # Errors
    ///
    /// If it had ended before by itself.
    pub async fn stop(&self) -> Result<(), NodeError> {
        self.inner.parts.stop.send_replace(true);
        self.ended().await
    }

    /// Waits until the replica has ended. Only the first who waits for it is told why.
    ///
    /// # Errors
    ///
    /// Why it could not go on.
    pub async fn ended(&self) -> Result<(), NodeError> {
        let mut task = self.inner.task.lock().await;
        let Some(running) = &mut *task else {
            return Ok(());
        };
        let ended = running.await;
        *task = None;
        ended.unwrap_or_else(|error| {
            Err(if error.is_panic() {
                NodeError::Panicked { thread: "replica" }
            } else {
                NodeError::RuntimeEnded
            })
        })
    }
}

impl Backend for Node {
    type Subscription = NodeSubscription;

    fn about(&self) -> About {
        let Parts { identity, run, .. } = &self.inner.parts;
        let limits = identity.constants.limits();
        About {
            cluster_id: identity.cluster_id,
            replica: identity.replica,
            run: *run,
            value_bytes_max: limits.value_bytes_max,
            session_requests_max: limits.session_requests_max,
        }
    }

    async fn open_session(&self) -> Result<SessionId, SubmitError> {
        // A session is known by the slot that opened it.
        self.submission(Submission::Open).await.map(|opened| SessionId(opened.slot.0))
    }

    async fn request(&self, request: Request) -> Result<Applied, SubmitError> {
        self.submission(Submission::Request(request)).await
    }

    async fn end_session(&self, session: SessionId) -> Result<Slot, SubmitError> {
        self.submission(Submission::End(session)).await.map(|ended| ended.slot)
    }

    async fn change(&self, change: Change) -> Result<Slot, SubmitError> {
        self.submission(Submission::Change(change)).await.map(|changed| changed.slot)
    }

    async fn members(&self) -> Result<Members, ReadError> {
        Self::members(self).await
    }

    async fn query(
        &self,
        request: Value,
        consistency: Consistency,
    ) -> Result<Answered, QueryError> {
        Self::query(self, request, consistency).await
    }

    async fn read(&self) -> Result<Slot, ReadError> {
        Self::read(self).await
    }

    fn subscribe(&self, from: Slot) -> Result<NodeSubscription, SubscribeError> {
        Ok(Self::subscribe(self, from))
    }

    async fn take_snapshot(&self) -> Result<SnapshotTaken, TakeSnapshotError> {
        Self::take_snapshot(self).await
    }

    async fn begin_save(&self, save: SaveId) -> Result<SaveBegun, SaveError> {
        let stopping = TakeSnapshotError::Stopping;
        let take = || self.call(Call::SaveSnapshot, stopping.clone(), stopping.clone());
        let Parts { identity, folder, .. } = &self.inner.parts;
        self.inner.saves.begin(save, folder, &identity.cluster_name, take).await
    }

    async fn read_save(&self, read: ReadSave) -> Result<Value, SaveError> {
        self.inner.saves.read(read).await
    }

    fn end_save(&self, save: SaveId) {
        self.inner.saves.end(save);
    }

    fn status(&self) -> Result<ReplicaStatus, Starting> {
        Ok(Self::status(self))
    }

    fn out_of_touch_ms(&self) -> Option<u64> {
        Self::out_of_touch_ms(self)
    }
}

impl From<crate::peers::PeerStatus> for PeerStatus {
    fn from(status: crate::peers::PeerStatus) -> Self {
        Self {
            replica: status.replica,
            address: status.address.unwrap_or_default(),
            membership: status.membership,
            connected: status.is_connected,
            dropped: status.dropped_frames,
        }
    }
}
