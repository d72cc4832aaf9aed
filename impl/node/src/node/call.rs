//! What the clients of this replica want of it, and how they are answered.

use synod_model::Slot;
use synod_wire::Value;
use synod_wire::api::{
    Answered, Applied, NotDone, QueryError, ReadError, SubmitError, TakeSnapshotError,
};
use tokio::sync::oneshot;

use super::shared::Governing;
use super::snapshots::SnapshotReply;
use crate::shell::Submission;
use crate::shell::waiting::Waiter;

/// What a client wants.
#[derive(Debug)]
pub(super) enum Call {
    /// Something in the log.
    Submit(Submission, SubmitReply),
    /// Something that needs the end of the log.
    Read(ReadReply),
    /// A query of the state as it is here.
    QueryStale(Query),
    /// A snapshot, and that the log is cut behind it.
    TakeSnapshot(SnapshotReply),
    /// A snapshot, to save it elsewhere. The log stays.
    SaveSnapshot(SnapshotReply),
}

pub(super) type SubmitReply = oneshot::Sender<Result<Applied, SubmitError>>;

/// What a linearizable read is for.
#[derive(Debug)]
pub(super) enum ReadReply {
    /// The client wants to know that this replica has applied everything that was done before.
    Barrier(oneshot::Sender<Result<Slot, ReadError>>),
    /// The client wants to query that state.
    Query(Query),
    /// The client wants to know who the members are.
    Members(oneshot::Sender<Result<Governing, ReadError>>),
}

/// A query, and who waits for its answer.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) request: Value,
    pub(super) reply: oneshot::Sender<Result<Answered, QueryError>>,
}

impl Call {
    /// Refuses it, since the cluster is still forming.
    pub(super) fn refuse_while_forming(self) {
        // The client may have gone.
        match self {
            Self::Submit(_, reply) => {
                let _ = reply.send(Err(SubmitError::NotDone(NotDone::Forming)));
            }
            Self::Read(reply) => reply.fail(ReadError::Forming),
            Self::QueryStale(query) => query.fail(QueryError::Forming),
            Self::TakeSnapshot(reply) | Self::SaveSnapshot(reply) => {
                let _ = reply.send(Err(TakeSnapshotError::Forming));
            }
        }
    }
}

impl ReadReply {
    /// The read was not made.
    pub(super) fn fail(self, error: ReadError) {
        match self {
            Self::Barrier(reply) => {
                let _ = reply.send(Err(error));
            }
            Self::Query(query) => query.fail(error.into()),
            Self::Members(reply) => {
                let _ = reply.send(Err(error));
            }
        }
    }
}

impl Query {
    /// It is not answered. The client may have gone.
    pub(super) fn fail(self, error: QueryError) {
        let _ = self.reply.send(Err(error));
    }
}

impl<T> Waiter for oneshot::Sender<T> {
    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

impl Waiter for ReadReply {
    fn is_gone(&self) -> bool {
        match self {
            Self::Barrier(reply) => reply.is_closed(),
            Self::Query(query) => query.reply.is_closed(),
            Self::Members(reply) => reply.is_closed(),
        }
    }
}
