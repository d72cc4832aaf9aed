//! The outcomes of submissions, queries and reads, as far as the client can know.

use std::time::Duration;

use synod_wire::api;
use thiserror::Error;

/// Why a submission is not done, as far as the client knows. "Not done" and "unknown" are never mixed
/// up: "not done" is said only of what no replica has taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubmitFailed {
    /// It is in no slot and will be in none. Every attempt failed to connect, or was refused at once.
    #[error("not done: {0}")]
    NotDone(NotDone),
    /// It may be in the log, or may get there later.
    #[error("unknown, it may be in the log or get there: {0}")]
    Unknown(Unknown),
}

/// Why no replica has taken a submission.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotDone {
    /// The value is larger than the cluster allows.
    #[error("the value has {value_bytes} bytes, and the cluster allows {value_bytes_max}")]
    TooLarge {
        /// Its size.
        value_bytes: u64,
        /// The limit.
        value_bytes_max: u64,
    },
    /// The replicas that were asked refused it, until its deadline or for good.
    #[error("it was refused at once: {0}")]
    Refused(api::NotDone),
    /// No replica could be asked in time.
    #[error("no replica could be asked within {} ms: {trouble}", .waited.as_millis())]
    NotReached {
        /// How long it was tried.
        waited: Duration,
        /// What went wrong last.
        trouble: String,
    },
    /// The client was closed before it was sent.
    #[error("the client was closed before it was sent")]
    Closed,
}

/// Why the client does not know what became of a submission.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unknown {
    /// A replica has said so.
    #[error("{0}")]
    Told(api::Unknown),
    /// There was no answer in time.
    #[error("no answer within {} ms: {trouble}", .waited.as_millis())]
    NoAnswer {
        /// How long it was tried.
        waited: Duration,
        /// What went wrong last.
        trouble: String,
    },
    /// An attempt may have been taken, and a later one was refused for good.
    #[error("one attempt may have been taken, and another was refused: {0}")]
    RefusedLater(api::NotDone),
    /// The client was closed before there was an answer.
    #[error("the client was closed before there was an answer")]
    Closed,
}

/// Why a query has no answer. It changed nothing, so it can be asked again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueryFailed {
    /// No replica would answer it.
    #[error("it was refused: {0}")]
    Refused(api::QueryError),
    /// There was no answer in time.
    #[error("no answer within {} ms: {trouble}", .waited.as_millis())]
    NoAnswer {
        /// How long it was tried.
        waited: Duration,
        /// What went wrong last.
        trouble: String,
    },
    /// The client was closed before there was an answer.
    #[error("the client was closed before there was an answer")]
    Closed,
}

/// Why a read has no slot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadFailed {
    /// There was no answer in time.
    #[error("no answer within {} ms: {trouble}", .waited.as_millis())]
    NoAnswer {
        /// How long it was tried.
        waited: Duration,
        /// What went wrong last.
        trouble: String,
    },
    /// The client was closed before there was an answer.
    #[error("the client was closed before there was an answer")]
    Closed,
}
