//! A cluster without consensus: replicas that share one log in memory, each on a real socket.
//!
//! The request table of the core gives the verdicts, so "exactly once" means the same as in a node.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use synod_client::Endpoint;
use synod_model::{
    Change, ClusterConstants, Configuration, ConfigurationId, Entry, Limits, MemberSet, Opening,
    Position, PrefixHash, Registration, ReplicaId, RequestTable, Run, SequenceNumber, SessionId,
    Slot, Value as _, Verdict,
};
use synod_node::client_port::{ServerLimits, serve};
use synod_node::{Backend, Subscription};
use synod_wire::ClusterId;
use synod_wire::Value;
use synod_wire::api::{
    About, Answered, Applied, Consistency, Delivery, DiskStatus, Forming, Members, Membership,
    NotDone, QueryError, ReadError, ReplicaStatus, Request, Response, Role, SaveBegun, SaveError,
    SaveId, SnapshotStatus, SnapshotTaken, Starting, SubmitError, SubscribeError,
    TakeSnapshotError, Unknown,
};
use synod_wire::protocol::ReadSave;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

pub(crate) const VALUE_BYTES_MAX: u64 = 1 << 20;

/// The log that all replicas share.
#[derive(Debug)]
pub(crate) struct Cluster {
    id: ClusterId,
    limits: Limits,
    log: Mutex<Log>,
    /// The last slot.
    end: watch::Sender<Slot>,
    opened: AtomicU64,
}

#[derive(Debug)]
struct Log {
    deliveries: Vec<Delivery>,
    table: RequestTable,
    /// The newest configuration, and the slot that made it.
    configuration: Configuration,
    changed_at: Slot,
}

impl Cluster {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(1, Limits { value_bytes_max: VALUE_BYTES_MAX, ..Limits::default() })
    }

    pub(crate) fn with(id: u8, limits: Limits) -> Arc<Self> {
        let (end, _) = watch::channel(Slot::ZERO);
        let (deliveries, table) = (Vec::new(), RequestTable::default());
        let first =
            Configuration::new(ConfigurationId(1), vec![ReplicaId(0), ReplicaId(1)]).unwrap();
        let configuration = first.with_all_registered(Registration::first_of).unwrap();
        let log = Log { deliveries, table, configuration, changed_at: Slot::ZERO };
        let (id, log) = (ClusterId([id; 32]), Mutex::new(log));
        Arc::new(Self { id, limits, log, end, opened: AtomicU64::new(0) })
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Commits an entry.
    pub(crate) fn deliver(&self, entry: Entry<Value>) -> (Slot, Option<Verdict>) {
        let mut log = self.log();
        let slot = Slot(log.deliveries.len() as u64 + 1);
        let Log { table, configuration, .. } = &mut *log;
        let verdict = table.deliver(slot, &entry, configuration, &self.limits);
        if let (Entry::Change(change), Some(Verdict::First)) = (&entry, verdict) {
            (log.configuration, log.changed_at) = (change.configuration.clone(), slot);
        }
        log.deliveries.push(Delivery { slot, entry, verdict });
        self.end.send_replace(slot);
        (slot, verdict)
    }

    /// The newest configuration.
    pub(crate) fn configuration(&self) -> Configuration {
        self.log().configuration.clone()
    }

    /// The whole log.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.log().deliveries.clone()
    }

    /// The values that an application has seen, in order, with their slots.
    pub(crate) fn values(&self) -> Vec<(Slot, Value)> {
        let of = |it: &Delivery| it.first_value().map(|value| (it.slot, value.clone()));
        self.log().deliveries.iter().filter_map(of).collect()
    }

    /// How many entries of a kind the log holds.
    pub(crate) fn count(&self, is_of_kind: impl Fn(&Entry<Value>) -> bool) -> usize {
        self.log().deliveries.iter().filter(|it| is_of_kind(&it.entry)).count()
    }

    /// Forgets every session, as if others had taken all places.
    pub(crate) fn evict_sessions(&self) {
        self.log().table = RequestTable::default();
    }
}

/// How a replica behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It does what it is asked, after a delay.
    Serve(Duration),
    /// It refuses at once.
    Refuse(NotDone),
    /// It commits what it is asked, and does not say so.
    CommitAndSilent,
    /// It takes a request, and never answers.
    Silent,
    /// It commits what it is asked, and says that it is stopping.
    CommitAndStop,
}

pub(crate) struct Node {
    cluster: Arc<Cluster>,
    id: ReplicaId,
    manner: watch::Sender<Manner>,
    /// How many requests have arrived.
    pub(crate) requests: AtomicUsize,
    arrived: Notify,
    /// How many bytes of values it works on, and the maximum so far.
    bytes: AtomicU64,
    pub(crate) bytes_most: AtomicU64,
    /// How many changes have arrived.
    pub(crate) changes: AtomicUsize,
    /// So many changes are not opened, since nobody is ready.
    pub(crate) not_ready: AtomicUsize,
    /// It is no member of the cluster.
    pub(crate) is_outside: AtomicBool,
    /// How many queries have arrived.
    pub(crate) queries: AtomicUsize,
    /// How often it was asked for its status.
    pub(crate) statuses: AtomicUsize,
    /// How many batches a subscription has given.
    pub(crate) batches: Arc<AtomicUsize>,
    /// For how long it says that it is out of touch. 0 while it is in touch.
    pub(crate) out_of_touch_ms: AtomicU64,
    /// Its log was cut: it begins here.
    pub(crate) log_starts_at: Arc<AtomicU64>,
    pub(crate) saves: Mutex<Saves>,
}

/// How long a piece of a snapshot is.
const PIECE: usize = 1000;
pub(crate) const PIECE_BYTES: u64 = PIECE as u64;

/// What clients save of a replica.
#[derive(Debug, Default)]
pub(crate) struct Saves {
    pub(crate) snapshot: Vec<u8>,
    pub(crate) kept: BTreeSet<SaveId>,
    /// Where pieces were read.
    pub(crate) reads: Vec<u64>,
    /// When this is read, it has forgotten all saves.
    pub(crate) restarts_at: Option<u64>,
    /// What it has then.
    pub(crate) another: Option<Vec<u8>>,
    pub(crate) refuses: Option<SaveError>,
}

impl Node {
    pub(crate) fn behave(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// Waits until at least so many queries have arrived.
    pub(crate) async fn has_queries(&self, count: usize) {
        while self.queries.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until at least so many requests have arrived.
    pub(crate) async fn has_requests(&self, count: usize) {
        loop {
            let arrived = self.arrived.notified();
            if self.requests.load(Ordering::SeqCst) >= count {
                return;
            }
            arrived.await;
        }
    }

    async fn submit(&self, entry: Entry<Value>) -> Result<Slot, SubmitError> {
        if self.is_outside.load(Ordering::SeqCst) {
            return Err(SubmitError::NotDone(NotDone::NotAMember));
        }
        let manner = *self.manner.borrow();
        match manner {
            Manner::Refuse(reason) => return Err(SubmitError::NotDone(reason)),
            Manner::Silent => std::future::pending().await,
            Manner::Serve(delay) => {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
            }
            Manner::CommitAndSilent | Manner::CommitAndStop => {}
        }
        let (slot, verdict) = self.cluster.deliver(entry);
        match (manner, verdict) {
            (Manner::CommitAndSilent, _) => std::future::pending().await,
            (Manner::CommitAndStop, _) => Err(SubmitError::Unknown(Unknown::Stopping)),
            (_, Some(Verdict::First)) => Ok(slot),
            (_, Some(Verdict::Duplicate { first_slot })) => Ok(first_slot),
            (_, Some(Verdict::Refused { reason })) => {
                Err(SubmitError::Unknown(Unknown::Refused(reason)))
            }
            (_, None) => Err(SubmitError::NotDone(NotDone::NotASubmission)),
        }
    }
}

/// What a command in this slot is answered: with the slot.
pub(crate) fn applied(slot: Slot) -> Applied {
    Applied { slot, response: Response::Known(slot.to_string().into()) }
}

/// A query is a number, and its response has so many bytes.
impl Backend for Node {
    type Subscription = Tail;

    fn about(&self) -> About {
        About {
            cluster_id: self.cluster.id,
            replica: self.id,
            run: Run(1),
            value_bytes_max: self.cluster.limits.value_bytes_max,
            session_requests_max: self.cluster.limits.session_requests_max,
        }
    }

    async fn open_session(&self) -> Result<SessionId, SubmitError> {
        let count = self.cluster.opened.fetch_add(1, Ordering::SeqCst);
        let slot =
            self.submit(Entry::Open(Opening { origin: self.id, run: Run(1), count })).await?;
        Ok(SessionId(slot.0))
    }

    async fn request(&self, request: Request) -> Result<Applied, SubmitError> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.arrived.notify_waiters();
        let Request { session, number, answered, value } = request;
        let value_bytes = value.size_bytes();
        let bytes = self.bytes.fetch_add(value_bytes, Ordering::SeqCst) + value_bytes;
        self.bytes_most.fetch_max(bytes, Ordering::SeqCst);
        let outcome =
            self.submit(Entry::Request(Request { session, number, answered, value })).await;
        self.bytes.fetch_sub(value_bytes, Ordering::SeqCst);
        outcome.map(applied)
    }

    async fn query(
        &self,
        request: Value,
        _consistency: Consistency,
    ) -> Result<Answered, QueryError> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        let slot = self.read().await.map_err(QueryError::from)?;
        let bytes = str::from_utf8(&request.0).unwrap().parse().unwrap();
        Ok(Answered { slot, response: Response::Known(vec![0xff; bytes].into()) })
    }

    async fn end_session(&self, session: SessionId) -> Result<Slot, SubmitError> {
        self.submit(Entry::End { session }).await
    }

    async fn change(&self, change: Change) -> Result<Slot, SubmitError> {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let less = |left: usize| left.checked_sub(1);
        if self.not_ready.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            let ready = MemberSet::default();
            return Err(SubmitError::Unknown(Unknown::NotReady { ready }));
        }
        self.submit(Entry::Change(change)).await
    }

    async fn members(&self) -> Result<Members, ReadError> {
        self.read().await?;
        let log = self.cluster.log();
        let (configuration, changed_at) = (log.configuration.clone(), log.changed_at);
        let first =
            Configuration::new(ConfigurationId(1), vec![ReplicaId(0), ReplicaId(1)]).unwrap();
        Ok(Members {
            cluster_id: self.cluster.id,
            cluster_name: "fake".to_owned(),
            constants: ClusterConstants::new(65_536, first, Limits::default()).unwrap(),
            configuration,
            changed_at,
            is_finished: true,
        })
    }

    async fn read(&self) -> Result<Slot, ReadError> {
        if self.is_outside.load(Ordering::SeqCst) {
            return Err(ReadError::NotAMember);
        }
        let manner = *self.manner.borrow();
        match manner {
            Manner::Refuse(_) => Err(ReadError::TooMany),
            Manner::Silent => std::future::pending().await,
            _ => Ok(*self.cluster.end.borrow()),
        }
    }

    fn subscribe(&self, from: Slot) -> Result<Tail, SubscribeError> {
        if let Manner::Refuse(_) = *self.manner.borrow() {
            return Err(SubscribeError::Stopping);
        }
        let next = Slot(from.0.max(1));
        let (cluster, end) = (self.cluster.clone(), self.cluster.end.subscribe());
        let (batches, log_starts_at) = (self.batches.clone(), self.log_starts_at.clone());
        Ok(Tail { next, end, cluster, batches, log_starts_at })
    }

    async fn take_snapshot(&self) -> Result<SnapshotTaken, TakeSnapshotError> {
        Err(TakeSnapshotError::Empty)
    }

    async fn begin_save(&self, save: SaveId) -> Result<SaveBegun, SaveError> {
        let mut saves = self.saves.lock().unwrap();
        if let Some(error) = &saves.refuses {
            return Err(error.clone());
        }
        saves.kept.insert(save);
        let bytes = saves.snapshot.len() as u64;
        let (checksum, cluster_name) = (u64::from(saves.snapshot[0]), "fake".to_owned());
        Ok(SaveBegun { slot: Slot(5), bytes, checksum, piece_bytes: PIECE_BYTES, cluster_name })
    }

    async fn read_save(&self, read: ReadSave) -> Result<Value, SaveError> {
        let mut saves = self.saves.lock().unwrap();
        saves.reads.push(read.offset);
        if saves.restarts_at.take_if(|at| *at <= read.offset).is_some() {
            saves.kept.clear();
            if let Some(another) = saves.another.take() {
                saves.snapshot = another;
            }
        }
        if !saves.kept.contains(&read.save) {
            return Err(SaveError::NotKept);
        }
        let from = usize::try_from(read.offset).unwrap();
        let piece = saves.snapshot[from..].chunks(PIECE).next();
        Ok(Value::from(piece.unwrap_or_default().to_vec()))
    }

    fn end_save(&self, save: SaveId) {
        self.saves.lock().unwrap().kept.remove(&save);
    }

    fn status(&self) -> Result<ReplicaStatus, Starting> {
        self.statuses.fetch_add(1, Ordering::SeqCst);
        let end = *self.cluster.end.borrow();
        Ok(ReplicaStatus {
            replica: self.id,
            run: Run(1),
            forming: Forming::Formed,
            configuration: self.cluster.configuration().id(),
            membership: Membership::of(self.id, &self.cluster.configuration()),
            role: if self.id.0 == 0 { Role::Coordinator } else { Role::Follower },
            sequence_number: SequenceNumber(3),
            coordinator: Some(ReplicaId(0)),
            promised: SequenceNumber(3),
            committed: end,
            committed_hash: PrefixHash(end.0),
            applied: end,
            lag_slots: Some(0),
            out_of_touch_ms: self.out_of_touch_ms(),
            hangs: Vec::new(),
            other_histories: Vec::new(),
            forgotten: Vec::new(),
            disk: DiskStatus { synced: Position(end.0), ..DiskStatus::default() },
            snapshots: SnapshotStatus::default(),
            resident_bytes: 4 << 20,
            peers: Vec::new(),
        })
    }

    fn out_of_touch_ms(&self) -> Option<u64> {
        match self.out_of_touch_ms.load(Ordering::SeqCst) {
            0 => None,
            ms => Some(ms),
        }
    }
}

/// Some of the log at a time.
pub(crate) struct Tail {
    next: Slot,
    end: watch::Receiver<Slot>,
    cluster: Arc<Cluster>,
    batches: Arc<AtomicUsize>,
    log_starts_at: Arc<AtomicU64>,
}

impl Subscription for Tail {
    async fn next(&mut self) -> Result<Vec<Delivery>, SubscribeError> {
        const BATCH: usize = 16;
        let next = self.next;
        if self.end.wait_for(|end| *end >= next).await.is_err() {
            return Err(SubscribeError::Stopping);
        }
        let log_starts_at = Slot(self.log_starts_at.load(Ordering::SeqCst));
        if next < log_starts_at {
            return Err(SubscribeError::Gone { log_starts_at });
        }
        let from = usize::try_from(next.0 - 1).unwrap();
        let log = self.cluster.log();
        let batch: Vec<_> = log.deliveries[from..].iter().take(BATCH).cloned().collect();
        self.next = self.next.plus(batch.len() as u64);
        self.batches.fetch_add(1, Ordering::SeqCst);
        Ok(batch)
    }
}

/// A replica on a port of its own. It dies when this is dropped.
pub(crate) struct Running {
    pub(crate) node: Arc<Node>,
    pub(crate) endpoint: Endpoint,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(cluster: &Arc<Cluster>, id: u16) -> Self {
        Self::with(cluster, id, ServerLimits::default()).await
    }

    pub(crate) async fn with(cluster: &Arc<Cluster>, id: u16, limits: ServerLimits) -> Self {
        let node = Arc::new(Node {
            cluster: cluster.clone(),
            id: ReplicaId(id),
            manner: watch::Sender::new(Manner::Serve(Duration::ZERO)),
            requests: AtomicUsize::new(0),
            arrived: Notify::new(),
            bytes: AtomicU64::new(0),
            bytes_most: AtomicU64::new(0),
            changes: AtomicUsize::new(0),
            not_ready: AtomicUsize::new(0),
            is_outside: AtomicBool::new(false),
            queries: AtomicUsize::new(0),
            statuses: AtomicUsize::new(0),
            batches: Arc::default(),
            out_of_touch_ms: AtomicU64::new(0),
            log_starts_at: Arc::new(AtomicU64::new(1)),
            saves: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let server = tokio::spawn(serve(listener, node.clone(), limits, stopped));
        Self { node, endpoint, stop: Some(stop), server }
    }

    /// It dies at once, with whatever it was doing.
    pub(crate) async fn die(mut self) -> Endpoint {
        self.server.abort();
        let _ = (&mut self.server).await;
        self.endpoint.clone()
    }

    /// It is told to stop; ready when it has.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.server).await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}
