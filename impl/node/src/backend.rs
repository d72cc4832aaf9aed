//! The interface of a node for its clients, independent of any transport.
//!
//! [`Node`](crate::Node) implements [`Backend`]. The [client port](crate::client_port) serves a backend
//! to all clients that connect. Nothing here knows of sockets or of tokio. What is asked and answered
//! is in [`synod_wire::api`].

use std::future::Future;

use synod_model::{Change, SessionId, Slot};
use synod_wire::Value;
use synod_wire::api::{
    About, Answered, Applied, Consistency, Delivery, Members, QueryError, ReadError, ReplicaStatus,
    Request, SaveBegun, SaveError, SaveId, SnapshotTaken, Starting, SubmitError, SubscribeError,
    TakeSnapshotError,
};
use synod_wire::protocol::ReadSave;

/// What clients may ask of a node.
pub trait Backend: Send + Sync + 'static {
    /// What [`Backend::subscribe`] gives.
    type Subscription: Subscription;

    /// What the node says of itself before a client asks for anything.
    fn about(&self) -> About;

    /// Opens a session. Answered when this replica has applied the opening.
    fn open_session(&self) -> impl Future<Output = Result<SessionId, SubmitError>> + Send;

    /// Submits a command. Answered when this replica has applied it, with the slot and the response of
    /// its first copy.
    fn request(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Applied, SubmitError>> + Send;

    /// Ends a session.
    fn end_session(
        &self,
        session: SessionId,
    ) -> impl Future<Output = Result<Slot, SubmitError>> + Send;

    /// Changes the members. Answered when this replica has applied the change, with its slot. The replica that is asked
    /// may be removed by it.
    fn change(&self, change: Change) -> impl Future<Output = Result<Slot, SubmitError>> + Send;

    /// Finds out who the members are, linearizably: the answer covers every change that any replica had committed
    /// when the question arrived.
    fn members(&self) -> impl Future<Output = Result<Members, ReadError>> + Send;

    /// Asks the state machine.
    fn query(
        &self,
        request: Value,
        consistency: Consistency,
    ) -> impl Future<Output = Result<Answered, QueryError>> + Send;

    /// Finds out where the log ends, linearizably: the slot covers everything that any replica had
    /// committed when the read arrived. Answered when this replica has applied it.
    fn read(&self) -> impl Future<Output = Result<Slot, ReadError>> + Send;

    /// Follows the log from slot `from` on. Slot 0 is the same as 1.
    ///
    /// # Errors
    ///
    /// If this node cannot give it.
    fn subscribe(&self, from: Slot) -> Result<Self::Subscription, SubscribeError>;

    /// Takes a snapshot, and lets the log begin behind it. Answered when the snapshot is durable.
    fn take_snapshot(
        &self,
    ) -> impl Future<Output = Result<SnapshotTaken, TakeSnapshotError>> + Send;

    /// Takes a snapshot, and keeps it to be saved elsewhere. The log stays as it is. Answered when the snapshot is
    /// durable.
    fn begin_save(&self, save: SaveId)
    -> impl Future<Output = Result<SaveBegun, SaveError>> + Send;

    /// Reads a piece of a snapshot that is kept for a save. Answered no sooner than the rate at which snapshots are
    /// sent allows.
    fn read_save(&self, read: ReadSave) -> impl Future<Output = Result<Value, SaveError>> + Send;

    /// The snapshot need not be kept for this save any more.
    fn end_save(&self, save: SaveId);

    /// How this replica is.
    ///
    /// # Errors
    ///
    /// If it still reads its log.
    fn status(&self) -> Result<ReplicaStatus, Starting>;

    /// For how long this replica has been out of touch with a coordinator that has a majority. None while
    /// it is in touch.
    fn out_of_touch_ms(&self) -> Option<u64>;
}

/// The log from some slot on. The follower decides how fast.
pub trait Subscription: Send + 'static {
    /// Waits for the next deliveries: at least one, in slot order, without gaps. Nothing is lost if the
    /// wait is dropped: the next wait begins where this one did.
    ///
    /// A slow follower is never waited for, and costs no memory in proportion to the log: the disk has
    /// what memory does not hold any more.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Delivery>, SubscribeError>> + Send;
}
