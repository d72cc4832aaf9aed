//! Clients of a cluster, over TCP.
//!
//! A [`Client`] submits commands to a cluster, and queries its state machine. It knows some replicas by
//! their endpoints and asks one of them. When that one cannot be reached, is silent or stops, the
//! client asks the next. Every submission keeps its number in the session of the client, so a retry is
//! the same submission: each command is applied at most once. In the end the client says what is known:
//! done, with the slot and the response ([`Applied`]); not done; or unknown ([`SubmitFailed`]).
//!
//! It also says who the members of the cluster are ([`Members`]), and changes them ([`ChangeFailed`]).
//!
//! [`SnapshotSave`] reads a snapshot of one replica.
//!
//! Below them, a [`Connection`] carries the asks and answers of [`synod_wire::protocol`] to one replica.

// Whatever comes from outside has an error of its own; what must be true inside is asserted, with the
// reason. Tests may be short about both.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod change;
mod connection;
mod driver;
mod endpoint;
mod follow;
mod outcome;
mod requests;
mod rotation;
mod save;
mod session;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use synod_wire::api::{
    QUERY_BYTES_MAX, QueryError, ReplicaStatus, SnapshotTaken, TakeSnapshotError,
};
use synod_wire::protocol::{Answer, Ask, Query};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use change::ChangeFailed;
pub use connection::{ConnectError, ConnectTrouble, Connection, ConnectionLost, NotANode};
use driver::{Command, Driver};
pub use endpoint::{Endpoint, EndpointError};
pub use follow::{FollowFailed, Following, Left};
pub use outcome::{NotDone, QueryFailed, ReadFailed, SubmitFailed, Unknown};
pub use save::{SaveFailed, SaveOptions, SavePiece, SnapshotSave};
// What the interface of this package is made of besides.
pub use synod_model::{Configuration, MemberSet, Slot};
pub use synod_wire::api::{Answered, Applied, Consistency, Members, Response};
pub use synod_wire::{Value, api, protocol};

/// The limits and timeouts of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long a submission, a query or a read may take in all. Default 10 s: a new coordinator
    /// takes about half a second, more on a busy machine.
    pub deadline: Duration,
    /// How long a replica may take to welcome the client. Default 1 s.
    pub connect_max: Duration,
    /// How long a replica that owes an answer may be silent before the client asks the next one.
    /// Default 2 s: longer than an election, so that no replica is blamed for one.
    pub silent_max: Duration,
    /// How long a replica that is followed may be out of touch with a coordinator that has a majority
    /// before the client follows the next one. Default 2 s: longer than an election. It counts only while
    /// the replica has nothing new.
    pub out_of_touch_max: Duration,
    /// How many submissions, queries and reads are in flight at once. More wait before they are taken.
    /// Default 1,024: as many as a session may have.
    pub in_flight_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            connect_max: Duration::from_secs(1),
            silent_max: Duration::from_secs(2),
            out_of_touch_max: Duration::from_secs(2),
            in_flight_max: 1024,
        }
    }
}

/// A client of a cluster, with its own session. One connection carries everything.
#[derive(Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    driver: JoinHandle<()>,
    give_up: oneshot::Sender<()>,
    deadline: Duration,
}

impl Client {
    /// A client of the cluster whose replicas are at `endpoints`; some of them are enough. The first is
    /// asked first. Nothing is sent before it is needed.
    ///
    /// # Errors
    ///
    /// If there is no endpoint.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(endpoints: Vec<Endpoint>, options: ClientOptions) -> Result<Self, NoEndpoint> {
        if endpoints.is_empty() {
            return Err(NoEndpoint);
        }
        let (commands, receiver) = mpsc::channel(options.in_flight_max.max(1));
        let deadline = options.deadline;
        let (give_up, is_given_up) = oneshot::channel();
        let driver = tokio::spawn(Driver::new(endpoints, options).run(receiver, is_given_up));
        Ok(Self { commands, driver, give_up, deadline })
    }

    /// Submits a command, and waits until a replica has applied it. Returns its slot and its response.
    /// It is applied once, however often the client had to ask.
    ///
    /// # Errors
    ///
    /// If there is no answer in time; [`SubmitFailed`] says what that means.
    pub async fn submit(&self, value: impl Into<Value>) -> Result<Applied, SubmitFailed> {
        self.start(value).await.await
    }

    /// The same, with another deadline than [`ClientOptions::deadline`].
    ///
    /// # Errors
    ///
    /// If there is no answer in time; [`SubmitFailed`] says what that means.
    pub async fn submit_within(
        &self,
        value: impl Into<Value>,
        within: Duration,
    ) -> Result<Applied, SubmitFailed> {
        self.start_within(value, within).await.await
    }

    /// Begins to submit a command: waits only until there is room for it. Submissions that are in
    /// flight together may be applied in any order.
    pub async fn start(&self, value: impl Into<Value>) -> Submission {
        self.start_within(value, self.deadline).await
    }

    /// The same, with another deadline than [`ClientOptions::deadline`]. It counts from now on.
    pub async fn start_within(&self, value: impl Into<Value>, within: Duration) -> Submission {
        let (reply, outcome) = oneshot::channel();
        let (value, deadline) = (value.into(), Instant::now() + within);
        // If the task has ended, the reply is dropped with the command, and the outcome says so.
        let _ = self.commands.send(Command::Submit { value, deadline, reply }).await;
        Submission(outcome)
    }

    /// Asks the state machine of one replica. The answer says in which state it was asked.
    ///
    /// # Errors
    ///
    /// If there is no answer in time.
    pub async fn query(
        &self,
        request: impl Into<Value>,
        consistency: Consistency,
    ) -> Result<Answered, QueryFailed> {
        self.query_within(request, consistency, self.deadline).await
    }

    /// The same, with another deadline than [`ClientOptions::deadline`].
    ///
    /// # Errors
    ///
    /// If there is no answer in time.
    pub async fn query_within(
        &self,
        request: impl Into<Value>,
        consistency: Consistency,
        within: Duration,
    ) -> Result<Answered, QueryFailed> {
        let request = request.into();
        // A replica closes a connection on which a longer request comes.
        if request.0.len() > QUERY_BYTES_MAX {
            return Err(QueryFailed::Refused(QueryError::TooLarge));
        }
        let (reply, outcome) = oneshot::channel();
        let (query, deadline) = (Query { request, consistency }, Instant::now() + within);
        let _ = self.commands.send(Command::Query { query, deadline, reply }).await;
        outcome.await.unwrap_or(Err(QueryFailed::Closed))
    }

    /// Finds out where the log ends, linearizably.
    ///
    /// # Errors
    ///
    /// If there is no answer in time.
    pub async fn read(&self) -> Result<Slot, ReadFailed> {
        self.read_within(self.deadline).await
    }

    /// The same, with another deadline than [`ClientOptions::deadline`].
    ///
    /// # Errors
    ///
    /// If there is no answer in time.
    pub async fn read_within(&self, within: Duration) -> Result<Slot, ReadFailed> {
        let (reply, outcome) = oneshot::channel();
        let deadline = Instant::now() + within;
        let _ = self.commands.send(Command::Read { deadline, reply }).await;
        outcome.await.unwrap_or(Err(ReadFailed::Closed))
    }

    /// Waits until everything in flight is answered or has timed out, and ends the session.
    pub async fn close(self) {
        let Self { commands, driver, .. } = self;
        drop(commands);
        // A panic of the task has printed its message already.
        let _ = driver.await;
    }

    /// Gives up what is in flight, and ends the session. Every [`Submission`] is told at once what is
    /// known of it: not done, if it was never sent, or unknown.
    pub async fn give_up(self) {
        let Self { commands, driver, give_up, .. } = self;
        // Fails only if the task has ended.
        let _ = give_up.send(());
        drop(commands);
        let _ = driver.await;
    }
}

/// There is no replica to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no endpoint is given")]
pub struct NoEndpoint;

/// A submission in flight: a future of its outcome. The submission goes on if this is dropped.
#[derive(Debug)]
pub struct Submission(oneshot::Receiver<Result<Applied, SubmitFailed>>);

impl Future for Submission {
    type Output = Result<Applied, SubmitFailed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.0).poll(context));
        // The task never drops a reply. If the task is gone, nobody knows what it had sent.
        Poll::Ready(outcome.unwrap_or(Err(SubmitFailed::Unknown(Unknown::Closed))))
    }
}

/// Asks the replica at `endpoint` for its status.
///
/// # Errors
///
/// If there is no answer within `answer_max`, or the replica still [reads its
/// log](ConnectTrouble::Starting).
pub async fn status(
    endpoint: &Endpoint,
    answer_max: Duration,
) -> Result<ReplicaStatus, ConnectError> {
    let ask = ask_one(endpoint, Ask::Status, answer_max, |answer| match answer {
        Answer::Status(status) => Some(Ok(*status)),
        Answer::Starting(starting) => Some(Err(starting.into())),
        _ => None,
    });
    ask.await?.map_err(|trouble| ConnectError { endpoint: endpoint.clone(), trouble })
}

/// Has the replica at `endpoint` take a snapshot, and waits until the snapshot is durable. The log of the
/// replica is cut behind it soon after.
///
/// # Errors
///
/// If there is no answer within `answer_max`: the snapshot may come later. Inside is why there is none.
pub async fn take_snapshot(
    endpoint: &Endpoint,
    answer_max: Duration,
) -> Result<Result<SnapshotTaken, TakeSnapshotError>, ConnectError> {
    ask_one(endpoint, Ask::TakeSnapshot, answer_max, |answer| match answer {
        Answer::SnapshotTaken(taken) => Some(Ok(taken)),
        Answer::NoSnapshot(error) => Some(Err(error)),
        _ => None,
    })
    .await
}

/// Asks one replica one thing, on a connection of its own.
async fn ask_one<T>(
    endpoint: &Endpoint,
    ask: Ask,
    answer_max: Duration,
    take: impl Fn(Answer) -> Option<T>,
) -> Result<T, ConnectError> {
    let failed = |trouble| ConnectError { endpoint: endpoint.clone(), trouble };
    let asking = async {
        let mut connection = Connection::connect(endpoint, answer_max).await?;
        connection
            .put(0, ask)
            .map_err(|error| failed(ConnectTrouble::Io(std::io::Error::other(error))))?;
        loop {
            match connection.answer().await {
                Ok(answer) => {
                    if let Some(taken) = take(answer.answer) {
                        return Ok(taken);
                    }
                }
                Err(ConnectionLost::Io(error)) => return Err(failed(ConnectTrouble::Io(error))),
                Err(_) => return Err(failed(ConnectTrouble::HungUp)),
            }
        }
    };
    let silent = || Err(failed(ConnectTrouble::Silent(answer_max)));
    tokio::time::timeout(answer_max, asking).await.unwrap_or_else(|_| silent())
}
