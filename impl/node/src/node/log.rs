//! The replicated log, for whoever uses it in the process of a node.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use synod_model::{ReplicaId, Run, SessionId, Slot, SlotRange};
use synod_wire::Value;
use synod_wire::api::{
    About, Delivery, DiskStatus, Forming, NotDone, PeerStatus, ReadError, ReplicaStatus, Request,
    Role, SubmitError, SubscribeError, Unknown,
};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::application::Application;
use super::replica::Wanted;
use super::resident::Resident;
use super::session::Session;
use super::shared::{Published, Shared};
use super::{Config, NodeError, NodeOpenError, Notice, open};
use crate::backend::{Backend, Subscription};
use crate::identity::Identity;
use crate::peers::Peers;
use crate::shell::Submission;
use crate::storage::{LogReader, LogSize, ReadError as DiskReadError};

/// How many followers of the log are served at once. Default 64: each may keep a thread busy reading.
const SUBSCRIPTIONS_MAX: usize = 64;

/// A replicated log: what is submitted at any replica is delivered at all of them, in the same order,
/// once.
///
/// A `Log` is one running replica. Cloning it gives another handle on the same one. The replica runs
/// until [`stop`](Self::stop), until the last handle is gone, or until it cannot go on
/// ([`ended`](Self::ended)).
#[derive(Clone, Debug)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    identity: Identity,
    run: Run,
    reader: LogReader,
    peers: Arc<Peers>,
    wanted: mpsc::Sender<Wanted>,
    notices: mpsc::UnboundedSender<Notice>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<Result<(), NodeError>>>>,
    subscriptions: Arc<Semaphore>,
    resident: Resident,
    /// The session that [`Log::submit`] uses.
    own: Mutex<Option<Session>>,
}

/// What a node is made of once it runs.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) identity: Identity,
    pub(super) run: Run,
    pub(super) reader: LogReader,
    pub(super) peers: Arc<Peers>,
    pub(super) wanted: mpsc::Sender<Wanted>,
    pub(super) notices: mpsc::UnboundedSender<Notice>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) task: JoinHandle<Result<(), NodeError>>,
}

impl Log {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { shared, identity, run, reader, peers, wanted, notices, stop, task } = parts;
        let task = Mutex::new(Some(task));
        let subscriptions = Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX));
        let own = Mutex::new(None);
        Self {
            inner: Arc::new(Inner {
                shared,
                identity,
                run,
                reader,
                peers,
                wanted,
                notices,
                stop,
                task,
                subscriptions,
                resident: Resident::default(),
                own,
            }),
        }
    }

    /// Opens the replica of a data directory and lets it run. Everything that is committed in its log
    /// is delivered to `application` before this returns, from where it says that it stopped.
    ///
    /// It runs on the runtime that this is called in. A value is answered soonest on one of a single
    /// thread, as `synod node` has, for no other thread has to be woken on its way.
    ///
    /// # Errors
    ///
    /// If the data directory is in use, damaged or not there, or the port cannot be had.
    pub async fn open<A: Application>(
        config: Config,
        application: A,
    ) -> Result<Self, NodeOpenError> {
        open(config, application).await
    }

    /// Puts `value` in the log, and returns its slot once the application of this replica has it.
    ///
    /// # Errors
    ///
    /// That it is [not done](SubmitError::NotDone), or that it is [unknown](SubmitError::Unknown) what
    /// becomes of it. Dropping the future does not take the value back.
    pub async fn submit(&self, value: impl Into<Value>) -> Result<Slot, SubmitError> {
        let session = self.own_session().await?;
        let begun = session.begin().await;
        let request = Request {
            session: session.id(),
            number: begun.number(),
            answered: begun.answered(),
            value: value.into(),
        };
        let outcome = self.request(request).await;
        if let Err(SubmitError::Unknown(Unknown::Refused(_))) = outcome {
            // Evicted to make room, perhaps: the next submission opens another.
            let mut own = self.inner.own.lock().await;
            if own.as_ref().is_some_and(|it| it.id() == session.id()) {
                *own = None;
            }
        }
        outcome
    }

    async fn own_session(&self) -> Result<Session, SubmitError> {
        let mut own = self.inner.own.lock().await;
        if let Some(session) = &*own {
            return Ok(session.clone());
        }
        let id = self.open_session().await?;
        let requests_max = self.inner.identity.cluster.limits().session_requests_max;
        Ok(own.insert(Session::new(id, requests_max)).clone())
    }

    /// The id of this replica.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.inner.identity.replica
    }

    /// Stops the replica, and waits until it has. Whoever waits for an answer hears that it is
    /// unknown.
    ///
    /// What is under way is waited for, however long it takes: a write and its sync, a read for a
    /// peer, and the callbacks of the batch that the application is at. What is committed and queued
    /// behind those is not delivered; it is in the log, and the next [`open`](Self::open) delivers it.
    /// Where a callback may never return, or a disk never answer, give this a time limit and then end
    /// the process, as `synod node` does: the replica forgets nothing by it that it has acknowledged.
    ///
    /// # Errors
    ///
    /// If it had ended before by itself.
    pub async fn stop(&self) -> Result<(), NodeError> {
        self.inner.stop.send_replace(true);
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
        ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn want<T, E>(
        &self,
        wanted: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Wanted,
        not_taken: E,
        gone: E,
    ) -> Result<T, E> {
        let (reply, outcome) = oneshot::channel();
        if self.inner.wanted.send(wanted(reply)).await.is_err() {
            return Err(not_taken);
        }
        outcome.await.unwrap_or(Err(gone))
    }

    async fn submission(&self, submission: Submission) -> Result<Slot, SubmitError> {
        let not_taken = SubmitError::NotDone(NotDone::Stopping);
        let gone = SubmitError::Unknown(Unknown::Stopping);
        self.want(|reply| Wanted::Submit(submission, reply), not_taken, gone).await
    }
}

impl Backend for Log {
    type Subscription = LogSubscription;

    fn about(&self) -> About {
        let Inner { identity, run, .. } = &*self.inner;
        let limits = identity.cluster.limits();
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
        self.submission(Submission::Open).await.map(|slot| SessionId(slot.0))
    }

    async fn request(&self, request: Request) -> Result<Slot, SubmitError> {
        self.submission(Submission::Request(request)).await
    }

    async fn end_session(&self, session: SessionId) -> Result<Slot, SubmitError> {
        self.submission(Submission::End(session)).await
    }

    async fn read(&self) -> Result<Slot, ReadError> {
        self.want(Wanted::Read, ReadError::Stopping, ReadError::Stopping).await
    }

    fn subscribe(&self, from: Slot) -> Result<LogSubscription, SubscribeError> {
        let subscriptions = Arc::clone(&self.inner.subscriptions);
        let permit = subscriptions.try_acquire_owned().map_err(|_| SubscribeError::TooMany)?;
        Ok(LogSubscription {
            next: from.max(Slot(1)),
            published: self.inner.shared.watch(),
            log: self.clone(),
            reading: None,
            permit: Arc::new(permit),
        })
    }

    fn status(&self) -> ReplicaStatus {
        let (status, known_watermark) = self.inner.shared.status();
        let LogSize { fdatasyncs, bytes_written, log_bytes, segments } =
            self.inner.shared.counters.get();
        let (role, sequence_number) = Role::of(status.role);
        let missing = self.inner.peers.missing();
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
            applied: status.applied,
            lag_slots: known_watermark.above(status.applied),
            disk: DiskStatus {
                log_bytes,
                segments,
                unsynced_bytes: status.unsynced_bytes,
                synced: status.synced,
                fdatasyncs,
                bytes_written,
            },
            resident_bytes: self.inner.resident.bytes(),
            peers: self.inner.peers.status().into_iter().map(PeerStatus::from).collect(),
        }
    }
}

/// Why a piece of the log was not read.
#[derive(Debug)]
enum ReadFailed {
    Disk(DiskReadError),
    /// Which copies in it are second ones is known from this slot on only.
    Gone {
        known_from: Slot,
    },
}

/// The log from some slot on. Made by [`Backend::subscribe`].
///
/// A read that has begun cannot be taken back, and a slow disk may need longer than anybody waits at
/// once. So the read outlives the wait, and the next wait goes on with it: a subscription has one read
/// under way at most, and makes none twice.
#[derive(Debug)]
pub struct LogSubscription {
    next: Slot,
    published: watch::Receiver<Published>,
    log: Log,
    /// The read of what begins with `next`.
    reading: Option<JoinHandle<Result<Vec<Delivery>, ReadFailed>>>,
    /// Held by the read as well: while it keeps a thread busy, nobody else has its place.
    permit: Arc<OwnedSemaphorePermit>,
}

impl LogSubscription {
    fn read_through(&self, last: Slot) -> JoinHandle<Result<Vec<Delivery>, ReadFailed>> {
        let inner = Arc::clone(&self.log.inner);
        let permit = Arc::clone(&self.permit);
        let first = self.next;
        let limits = inner.identity.cluster.limits();
        let (entries_max, bytes_max) = (limits.frame_entries_max, limits.frame_bytes_max);
        tokio::task::spawn_blocking(move || {
            let entries = inner.reader.read(SlotRange { first, last }, entries_max, bytes_max);
            drop(permit);
            let entries = entries.map_err(ReadFailed::Disk)?;
            inner
                .shared
                .deliveries(first, entries)
                .map_err(|known_from| ReadFailed::Gone { known_from })
        })
    }
}

impl LogSubscription {
    /// What a follower is told of a log that cannot be read. Damage ends the node, whoever finds it:
    /// to go on would be to acknowledge what may not be there any more.
    fn failed(&self, error: ReadFailed) -> SubscribeError {
        let error = match error {
            ReadFailed::Disk(error) => error,
            ReadFailed::Gone { known_from } => {
                return SubscribeError::Gone { log_starts_at: known_from };
            }
        };
        let told = SubscribeError::Disk(error.to_string());
        if !error.is_want_of_descriptors() {
            // The replica may have ended already.
            let _ = self.log.inner.notices.send(Notice::Fatal(NodeError::Read(error)));
        }
        told
    }
}

impl Subscription for LogSubscription {
    async fn next(&mut self) -> Result<Vec<Delivery>, SubscribeError> {
        let reading = if let Some(reading) = &mut self.reading {
            reading
        } else {
            let next = self.next;
            let waiting = self.published.wait_for(|it| it.ended || it.status.durable >= next).await;
            let readable = waiting.ok().filter(|it| !it.ended).map(|it| it.status.durable);
            let last = readable.ok_or(SubscribeError::Stopping)?;
            let reading = self.read_through(last);
            self.reading.insert(reading)
        };
        // Dropped here, the read goes on, and so does the next wait with it.
        let read = reading.await;
        self.reading = None;
        let read = read.map_err(|error| SubscribeError::Disk(error.to_string()))?;
        let deliveries = read.map_err(|error| self.failed(error))?;
        if let Some(last) = deliveries.last() {
            self.next = last.slot.next();
        }
        Ok(deliveries)
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
