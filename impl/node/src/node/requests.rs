//! What a process asks of the node that runs in it: commands, queries and reads.
//!
//! Each has a form with a deadline: without a majority there would be no answer.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use synod_model::Slot;
use synod_wire::Value;
use synod_wire::api::{
    Answered, Applied, Consistency, NotDone, QUERY_BYTES_MAX, QueryError, ReadError, Request,
    SnapshotTaken, SubmitError, TakeSnapshotError, Unknown,
};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::Node;
use super::call::{Call, Query, ReadReply};
use super::local_session::LocalSession;
use crate::backend::Backend as _;
use crate::shell::Submission;

impl Node {
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
        if let Err(SubmitError::Unknown(Unknown::Refused(_) | Unknown::InSnapshot)) = outcome {
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

    /// Takes a snapshot of this replica, and returns when it is durable. The log is cut behind it soon after.
    /// While a snapshot is being taken already, that one is returned.
    ///
    /// Other replicas take their own. A node takes snapshots [by itself](crate::SnapshotOptions), too.
    ///
    /// # Errors
    ///
    /// If there is no snapshot. Nothing is changed then.
    pub async fn take_snapshot(&self) -> Result<SnapshotTaken, TakeSnapshotError> {
        let stopping = TakeSnapshotError::Stopping;
        self.call(Call::TakeSnapshot, stopping.clone(), stopping).await
    }

    pub(super) async fn call<T, E>(
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

    pub(super) async fn submission(&self, submission: Submission) -> Result<Applied, SubmitError> {
        let not_taken = SubmitError::NotDone(NotDone::Stopping);
        let gone = SubmitError::Unknown(Unknown::Stopping);
        self.call(|reply| Call::Submit(submission, reply), not_taken, gone).await
    }
}
