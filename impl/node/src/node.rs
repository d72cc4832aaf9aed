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
//! of it together; [`Node`] is the handle on it.

mod call;
mod catch_up_queue;
mod disk;
mod error;
mod forming_store;
mod local_session;
pub(crate) mod machine;
mod make;
mod open;
mod prepare;
mod recent;
mod replica;
mod resident_memory;
mod shared;
mod starting;
mod subscription;
#[cfg(test)]
mod tests;
mod verdict_history;

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use synod_model::{Position, ReplicaId, Run, SessionId, Slot};
use synod_wire::Value;
use synod_wire::api::{
    About, Answered, Applied, Consistency, DiskStatus, Forming, NotDone, PeerStatus,
    QUERY_BYTES_MAX, QueryError, ReadError, ReplicaStatus, Request, Role, Starting, SubmitError,
    SubscribeError, Unknown,
};
use thiserror::Error;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

pub use error::{NodeError, NodeOpenError};
pub use make::{MakeError, make_data_directory};
pub use prepare::{Config, PreparedNode};
pub use starting::NodeBackend;
pub use subscription::NodeSubscription;

use crate::backend::Backend;
use crate::identity::Identity;
use crate::peers::Peers;
use crate::shell::Submission;
use crate::state_machine::StateMachine;
use crate::storage::{LogReader, LogSize};
use call::{Call, Query, ReadReply};
use local_session::LocalSession;
use resident_memory::ResidentMemory;
use shared::Shared;

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
}

/// What a node is made of once it runs.
#[derive(Debug)]
struct Parts {
    shared: Arc<Shared>,
    identity: Identity,
    run: Run,
    reader: LogReader,
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
    Fatal(NodeError),
}

/// A replica stops, or has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the replica is stopping")]
pub struct Stopping;

impl Node {
    fn new(parts: Parts, task: JoinHandle<Result<(), NodeError>>) -> Self {
        let inner = Inner {
            parts,
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
    /// refused as [`NotDone::Forming`]. A cluster that has formed once never forms again.
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

    /// Submits a command. Returns its slot and its response once this replica has applied it.
    ///
    /// # Errors
    ///
    /// That it is [not done](SubmitError::NotDone), or that it is [unknown](SubmitError::Unknown) what
    /// becomes of it. Dropping the future does not take the command back.
    pub async fn submit(&self, command: impl Into<Value>) -> Result<Applied, SubmitError> {
        self.submit_with(command.into(), pending()).await
    }

    /// The same, for so long at most. Without a majority there would be no answer.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), and [`NotDone::Deadline`] or [`Unknown::Deadline`] when the time is
    /// up.
    pub async fn submit_within(
        &self,
        command: impl Into<Value>,
        within: Duration,
    ) -> Result<Applied, SubmitError> {
        self.submit_with(command.into(), sleep(within)).await
    }

    async fn submit_with(
        &self,
        command: Value,
        deadline: impl Future<Output = ()>,
    ) -> Result<Applied, SubmitError> {
        let mut deadline = pin!(deadline);
        let prepare = async {
            let session = self.own_session().await?;
            let numbered = session.begin().await;
            Ok((session, numbered))
        };
        let (session, numbered) = tokio::select! {
            prepared = prepare => prepared?,
            () = &mut deadline => return Err(SubmitError::NotDone(NotDone::Deadline)),
        };
        let request = Request {
            session: session.id(),
            number: numbered.number(),
            answered: numbered.answered(),
            value: command,
        };
        let outcome = tokio::select! {
            outcome = self.request(request) => outcome,
            () = &mut deadline => return Err(SubmitError::Unknown(Unknown::Deadline)),
        };
        if let Err(SubmitError::Unknown(Unknown::Refused(_))) = outcome {
            // Evicted to make room, perhaps: the next submission opens another.
            let mut own = self.inner.session.lock().await;
            if own.as_ref().is_some_and(|it| it.id() == session.id()) {
                *own = None;
            }
        }
        outcome
    }

    async fn own_session(&self) -> Result<LocalSession, SubmitError> {
        let mut own = self.inner.session.lock().await;
        if let Some(session) = &*own {
            return Ok(session.clone());
        }
        let id = self.open_session().await?;
        let requests_max = self.inner.parts.identity.constants.limits().session_requests_max;
        Ok(own.insert(LocalSession::new(id, requests_max)).clone())
    }

    /// Asks the state machine of this replica. The answer says in which state it was asked.
    ///
    /// # Errors
    ///
    /// If it was not asked. A query changes nothing, so it can be asked again.
    pub async fn query(
        &self,
        request: impl Into<Value>,
        consistency: Consistency,
    ) -> Result<Answered, QueryError> {
        let request = request.into();
        if request.0.len() > QUERY_BYTES_MAX {
            return Err(QueryError::TooLarge);
        }
        let call = |reply| {
            let query = Query { request, reply };
            match consistency {
                Consistency::Linearizable => Call::Read(ReadReply::Query(query)),
                Consistency::Stale => Call::QueryStale(query),
            }
        };
        self.call(call, QueryError::Stopping, QueryError::Stopping).await
    }

    /// The same, for so long at most. A linearizable query has no answer without a majority.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`QueryError::Deadline`] when the time is up.
    pub async fn query_within(
        &self,
        request: impl Into<Value>,
        consistency: Consistency,
        within: Duration,
    ) -> Result<Answered, QueryError> {
        let queried = timeout(within, self.query(request, consistency)).await;
        queried.unwrap_or(Err(QueryError::Deadline))
    }

    /// Waits until this replica has applied every command that any client was told is done before this
    /// was called. Returns the slot up to which it has.
    ///
    /// # Errors
    ///
    /// If that was not found out. It can be asked again.
    pub async fn read(&self) -> Result<Slot, ReadError> {
        let call = |reply| Call::Read(ReadReply::Barrier(reply));
        self.call(call, ReadError::Stopping, ReadError::Stopping).await
    }

    /// The same, for so long at most. Without a majority there would be no answer.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`ReadError::Deadline`] when the time is up.
    pub async fn read_within(&self, within: Duration) -> Result<Slot, ReadError> {
        timeout(within, self.read()).await.unwrap_or(Err(ReadError::Deadline))
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
        let LogSize { fdatasyncs, bytes_written, log_bytes, segments } =
            parts.shared.counters.get();
        let (role, sequence_number) = Role::of(status.role);
        let missing = parts.peers.missing();
        let peers: Vec<_> = parts.peers.status().into_iter().map(PeerStatus::from).collect();
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
            role,
            sequence_number,
            coordinator: status.coordinator,
            promised: status.promised,
            committed: status.watermark,
            committed_hash: status.prefix.hash,
            applied: status.applied,
            lag_slots: knows_lag.then(|| known_watermark.above(status.applied)),
            out_of_touch_ms,
            other_histories: status.other_histories.into_iter().map(Into::into).collect(),
            disk: DiskStatus {
                log_bytes,
                segments,
                unsynced_bytes: status.unsynced_bytes,
                synced: status.synced,
                fdatasyncs,
                bytes_written,
            },
            resident_bytes: self.inner.resident_memory.bytes(),
            peers,
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

    async fn call<T, E>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Call,
        not_taken: E,
        gone: E,
    ) -> Result<T, E> {
        let (reply, outcome) = oneshot::channel();
        if self.inner.parts.calls.send(call(reply)).await.is_err() {
            return Err(not_taken);
        }
        outcome.await.unwrap_or(Err(gone))
    }

    async fn submission(&self, submission: Submission) -> Result<Applied, SubmitError> {
        let not_taken = SubmitError::NotDone(NotDone::Stopping);
        let gone = SubmitError::Unknown(Unknown::Stopping);
        self.call(|reply| Call::Submit(submission, reply), not_taken, gone).await
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
            address: status.address,
            connected: status.is_connected,
            dropped: status.dropped_frames,
        }
    }
}
