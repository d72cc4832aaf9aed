//! What a state machine responds, as clients see it.

use serde::{Deserialize, Serialize};
use synod_model::Slot;
use thiserror::Error;

use super::ReadError;
use crate::Value;

/// How many bytes a response may have: 1 MiB, as many as a command. A larger one is neither sent nor
/// kept for a retry, and the client is told so.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// How many bytes the request of a query may have: 1 MiB.
pub const QUERY_BYTES_MAX: usize = 1 << 20;

/// A submission that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The slot of its first copy, where it was applied.
    pub slot: Slot,
    /// What the state machine responded then.
    pub response: Response,
}

impl Applied {
    /// Done in this slot, by a state machine that has nothing to respond.
    pub fn with_empty_response(slot: Slot) -> Self {
        Self { slot, response: Response::empty() }
    }
}

/// The response of a state machine to a command or a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// The response. It may be empty.
    Known(Value),
    /// The command was applied, once, and its response is not here. A retry does not apply the command
    /// again. The reasons:
    ///
    /// - Newer responses took its place: all that a replica keeps have a limit.
    /// - The replica has restarted, and its state machine had stored the effect of the command before.
    ///   Another replica may still know the response.
    /// - The client left answers unread, and the response had no room: among those that wait at its
    ///   connection, or among the messages of all clients.
    NoLongerKnown,
    /// The response has more bytes than [`RESPONSE_BYTES_MAX`].
    TooLarge {
        /// How many it has.
        bytes: u64,
    },
}

impl Response {
    /// The response of a state machine that has nothing to respond.
    pub fn empty() -> Self {
        Self::Known(Value::default())
    }

    /// The response, if there is one to be had.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Known(value) => Some(value),
            Self::NoLongerKnown | Self::TooLarge { .. } => None,
        }
    }

    /// How many bytes it takes, to be sent or kept.
    pub fn size_bytes(&self) -> usize {
        self.value().map_or(0, |value| value.0.len())
    }
}

/// How fresh the state is that a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// The state includes every command that any client was told is done before the query was asked.
    /// It takes a round of messages to a majority.
    Linearizable,
    /// The state is the one that this replica has. It may lag behind. No message is sent, and no
    /// majority is needed.
    Stale,
}

/// A query that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The state that it saw includes every command up to this slot, and none above.
    pub slot: Slot,
    /// What the state machine responded. It is never [`Response::NoLongerKnown`].
    pub response: Response,
}

/// Why a query was not answered. A query changes nothing, so it can be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum QueryError {
    /// As many queries as the limit allows wait at this replica.
    #[error("too many queries wait at this replica already")]
    TooMany,
    /// The request has more bytes than [`QUERY_BYTES_MAX`].
    #[error("the request has more bytes than a query may have, {QUERY_BYTES_MAX}")]
    TooLarge,
    /// The replica is stopping.
    #[error("the replica is stopping")]
    Stopping,
    /// The cluster is new, and its members have not all met.
    #[error("the cluster is still forming: not all of its members have met")]
    Forming,
    /// The replica has not read its log yet. Another replica may be ready.
    #[error("the replica is starting: it reads its log")]
    Starting,
    /// There was no answer before the deadline.
    #[error("there was no answer before the deadline")]
    Deadline,
    /// The replica is no member of the cluster. A member may answer.
    #[error("the replica is no member of the cluster")]
    NotAMember,
}

impl QueryError {
    /// Whether the same query may be answered later, or by another replica.
    pub fn may_pass(self) -> bool {
        !matches!(self, Self::TooLarge)
    }
}

impl From<ReadError> for QueryError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooMany => Self::TooMany,
            ReadError::Stopping => Self::Stopping,
            ReadError::Forming => Self::Forming,
            ReadError::Starting => Self::Starting,
            ReadError::Deadline => Self::Deadline,
            ReadError::NotAMember => Self::NotAMember,
        }
    }
}
