//! What clients are told of a node that still reads its log.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use synod_model::{Change, SessionId, Slot};
use synod_wire::Value;
use synod_wire::api::{
    About, Answered, Applied, Consistency, Members, NotDone, QueryError, ReadError, ReplicaStatus,
    Request, SaveBegun, SaveError, SaveId, SnapshotTaken, Starting, SubmitError, SubscribeError,
    TakeSnapshotError,
};
use synod_wire::protocol::ReadSave;
use tracing::info;

use super::{Node, NodeSubscription};
use crate::backend::Backend;

/// How often the log of the node says how far the reading has come. Default 5 s: an operator who watches
/// sees that it goes on, and the slowest start fills no page.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// How far the log is read.
#[derive(Debug, Default)]
pub(super) struct Reading(Mutex<ReadingState>);

#[derive(Clone, Copy, Debug, Default)]
struct ReadingState {
    segments_read: u64,
    segments: u64,
    told_at: Option<Instant>,
}

impl Reading {
    /// So much of the log is read. The log of the node says so now and then.
    pub(super) fn tell(&self, segments_read: u64, segments: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.segments_read = segments_read;
        state.segments = segments;
        if state.told_at.is_some_and(|at| at.elapsed() < TELL_AGAIN) {
            return;
        }
        state.told_at = Some(Instant::now());
        drop(state);
        info!(segments_read, segments, "reads the log");
    }

    /// How many segments are read, and how many there are.
    pub(super) fn get(&self) -> (u64, u64) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.segments_read, state.segments)
    }
}

/// A node as its clients see it from the moment on when its ports are taken. Made by
/// [`PreparedNode::backend`](crate::PreparedNode::backend).
#[derive(Debug)]
pub struct NodeBackend {
    about: About,
    reading: Arc<Reading>,
    node: OnceLock<Node>,
}

impl NodeBackend {
    pub(super) fn new(about: About) -> Self {
        Self { about, reading: Arc::default(), node: OnceLock::new() }
    }

    pub(super) fn reading(&self) -> Arc<Reading> {
        Arc::clone(&self.reading)
    }

    /// The log is read.
    pub(super) fn opened(&self, node: Node) {
        // A prepared node is opened once.
        let _ = self.node.set(node);
    }

    fn node<E>(&self, starting: E) -> Result<&Node, E> {
        self.node.get().ok_or(starting)
    }
}

impl Backend for NodeBackend {
    type Subscription = NodeSubscription;

    fn about(&self) -> About {
        self.about
    }

    async fn open_session(&self) -> Result<SessionId, SubmitError> {
        self.node(SubmitError::NotDone(NotDone::Starting))?.open_session().await
    }

    async fn request(&self, request: Request) -> Result<Applied, SubmitError> {
        self.node(SubmitError::NotDone(NotDone::Starting))?.request(request).await
    }

    async fn end_session(&self, session: SessionId) -> Result<Slot, SubmitError> {
        self.node(SubmitError::NotDone(NotDone::Starting))?.end_session(session).await
    }

    async fn change(&self, change: Change) -> Result<Slot, SubmitError> {
        self.node(SubmitError::NotDone(NotDone::Starting))?.change(change).await
    }

    async fn members(&self) -> Result<Members, ReadError> {
        self.node(ReadError::Starting)?.members().await
    }

    async fn query(
        &self,
        request: Value,
        consistency: Consistency,
    ) -> Result<Answered, QueryError> {
        self.node(QueryError::Starting)?.query(request, consistency).await
    }

    async fn read(&self) -> Result<Slot, ReadError> {
        self.node(ReadError::Starting)?.read().await
    }

    fn subscribe(&self, from: Slot) -> Result<NodeSubscription, SubscribeError> {
        Ok(self.node(SubscribeError::Starting)?.subscribe(from))
    }

    async fn take_snapshot(&self) -> Result<SnapshotTaken, TakeSnapshotError> {
        self.node(TakeSnapshotError::Starting)?.take_snapshot().await
    }

    async fn begin_save(&self, save: SaveId) -> Result<SaveBegun, SaveError> {
        self.node(SaveError::NotTaken(TakeSnapshotError::Starting))?.begin_save(save).await
    }

    async fn read_save(&self, read: ReadSave) -> Result<Value, SaveError> {
        self.node(SaveError::NotKept)?.read_save(read).await
    }

    fn end_save(&self, save: SaveId) {
        if let Some(node) = self.node.get() {
            node.end_save(save);
        }
    }

    fn status(&self) -> Result<ReplicaStatus, Starting> {
        let (segments_read, segments) = self.reading.get();
        let About { replica, run, .. } = self.about;
        let node = self.node(Starting { replica, run, segments_read, segments })?;
        Ok(node.status())
    }

    fn out_of_touch_ms(&self) -> Option<u64> {
        self.node.get().and_then(Node::out_of_touch_ms)
    }
}
