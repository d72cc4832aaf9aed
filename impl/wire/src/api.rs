//! What clients ask of a node, and what it answers, whoever carries the words.
//!
//! A client submits values, reads where the log ends, follows the log and asks how a replica is.
//!
//! Three outcomes are told apart, and no answer ever claims more than is known:
//!
//! - *done*: the value was delivered, in this slot, once and for all;
//! - *not done*: nothing of it was ever taken, so it is in no slot and will be in none;
//! - *unknown*: it was taken, and nobody here knows what became of it. It may be in the log, or get
//!   there later. The client may ask again with the same session and number: that is the same
//!   request, and is delivered at most once, however often it was taken.

mod response;

use serde::{Deserialize, Serialize};
use synod_model::{
    DeliveryRefused, Entry, Position, ReplicaId, RoleName, Run, SequenceNumber, Slot,
    SubmitRefused, Verdict,
};
use thiserror::Error;

pub use response::{
    Answered, Applied, Consistency, QUERY_BYTES_MAX, QueryError, RESPONSE_BYTES_MAX, Response,
};

use crate::{ClusterId, Value};

/// A client's request for a value in the log: the same type from the client to the entry.
pub type Request = synod_model::Request<Value>;

/// What a client must know of a node before it asks for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The cluster. Sessions and slots of one mean nothing in another.
    pub cluster_id: ClusterId,
    /// The replica.
    pub replica: ReplicaId,
    /// Its run.
    pub run: Run,
    /// How many bytes one value may have.
    pub value_bytes_max: u64,
    /// How many requests of one session may be in flight.
    pub session_requests_max: u64,
}

/// An entry that was delivered, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The slot.
    pub slot: Slot,
    /// The entry.
    pub entry: Entry<Value>,
    /// Whether it is the first copy of its submission. No-ops and configurations have no verdict.
    pub verdict: Option<Verdict>,
}

impl Delivery {
    /// The client's value, if this is where an application acts on one: the first copy of a request.
    pub fn first_value(&self) -> Option<&Value> {
        match (&self.entry, self.verdict) {
            (Entry::Request(Request { value, .. }), Some(Verdict::First)) => Some(value),
            _ => None,
        }
    }
}

/// Why a submission has no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum SubmitError {
    /// Nothing of it was taken: it is in no slot and will be in none.
    #[error("not done: {0}")]
    NotDone(NotDone),
    /// It may be in the log, or may get there.
    #[error("unknown: {0}")]
    Unknown(Unknown),
}

/// Why a submission was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum NotDone {
    /// As many submissions as the limit allows wait already, or as many clients for this one. Later,
    /// or elsewhere, it may be taken.
    #[error("too many submissions wait at this replica already")]
    TooMany,
    /// The value has more bytes than the limit allows, here and everywhere else in the cluster.
    #[error("the value has more bytes than the cluster allows")]
    TooLarge,
    /// It is nothing that a client may submit.
    #[error("that is nothing that a client may submit")]
    NotASubmission,
    /// The replica is stopping. Elsewhere it may be taken.
    #[error("the replica is stopping")]
    Stopping,
    /// The cluster is new, and its members have not all met.
    #[error("the cluster is still forming: not all of its members have met")]
    Forming,
}

impl NotDone {
    /// Whether the same submission may be taken later, or by another replica.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::TooMany | Self::Stopping | Self::Forming)
    }
}

impl From<SubmitRefused> for NotDone {
    fn from(refused: SubmitRefused) -> Self {
        match refused {
            SubmitRefused::TooMany => Self::TooMany,
            SubmitRefused::TooLarge => Self::TooLarge,
            SubmitRefused::NotASubmission => Self::NotASubmission,
        }
    }
}

/// Why nobody here knows what became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Unknown {
    /// The replica that took it stops, or has stopped. Asked again elsewhere, there will be an answer.
    #[error("the replica that took it stops")]
    Stopping,
    /// A copy was delivered and refused. Another copy may have been delivered before.
    #[error("a copy was delivered and refused: {}", refusal(*.0))]
    Refused(DeliveryRefused),
    /// The client has told of a later request that it waits for no answer to this one.
    #[error("the client has given it up")]
    GivenUp,
}

impl Unknown {
    /// Whether asking again, with the same session and number, can tell more.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Stopping)
    }
}

/// Why a delivery was refused, for people.
fn refusal(reason: DeliveryRefused) -> &'static str {
    match reason {
        DeliveryRefused::NoSession => "its session has ended, or was evicted to make room",
        DeliveryRefused::GivenUp => "the client had given it up",
        DeliveryRefused::TooFarAhead => "too many requests of its session were in flight",
    }
}

/// Why a read has no slot. Reads change nothing, so it can be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ReadError {
    /// As many reads as the limit allows wait already.
    #[error("too many reads wait at this replica already")]
    TooMany,
    /// The replica is stopping.
    #[error("the replica is stopping")]
    Stopping,
    /// The cluster is new, and its members have not all met.
    #[error("the cluster is still forming: not all of its members have met")]
    Forming,
}

/// Why the log cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum SubscribeError {
    /// The log no longer has that slot, or it is not known any more which copies of a request are
    /// second ones there.
    #[error("this replica tells the log from slot {log_starts_at} on only")]
    Gone {
        /// The first slot that it tells.
        log_starts_at: Slot,
    },
    /// The client follows the log on this connection already.
    #[error("the log is followed on this connection already")]
    AlreadyFollowing,
    /// What is no longer in memory could not be read.
    #[error("the log could not be read: {0}")]
    Disk(String),
    /// The replica is stopping.
    #[error("the replica is stopping")]
    Stopping,
}

/// How a replica is, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Its id.
    pub replica: ReplicaId,
    /// Its run.
    pub run: Run,
    /// Whether all members have met.
    pub forming: Forming,
    /// What it does besides accepting and learning.
    pub role: Role,
    /// The number that it coordinates, or stands, under; none for a follower.
    pub sequence_number: SequenceNumber,
    /// Whom it takes for the coordinator.
    pub coordinator: Option<ReplicaId>,
    /// It obeys nobody below this number.
    pub promised: SequenceNumber,
    /// Every slot up to here is committed, as far as it knows.
    pub committed: Slot,
    /// Its application has everything up to here.
    pub applied: Slot,
    /// How many slots that it knows to be committed, its own or by hearsay, its application lacks.
    pub lag_slots: u64,
    /// Its disk.
    pub disk: DiskStatus,
    /// How much of its memory is resident.
    pub resident_bytes: u64,
    /// The other members.
    pub peers: Vec<PeerStatus>,
}

/// Whether the members of a cluster have met, so that it can work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forming {
    /// These have not.
    Forming {
        /// Who is still missing.
        missing: Vec<ReplicaId>,
    },
    /// They have.
    Formed,
}

/// What a replica does besides accepting and learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes orders.
    Follower,
    /// Asks who would follow it.
    Canvassing,
    /// Gathers promises.
    Candidate,
    /// Gives orders.
    Coordinator,
}

impl Role {
    /// The role, and the number that it is held under.
    pub fn of(role: RoleName) -> (Self, SequenceNumber) {
        match role {
            RoleName::Follower => (Self::Follower, SequenceNumber::NONE),
            RoleName::Canvassing { s } => (Self::Canvassing, s),
            RoleName::Candidate { s } => (Self::Candidate, s),
            RoleName::Coordinator { s, .. } => (Self::Coordinator, s),
        }
    }

    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::Canvassing => "canvassing",
            Self::Candidate => "candidate",
            Self::Coordinator => "coordinator",
        }
    }
}

/// What a replica has on its disk, and has done to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// How many bytes the log has, without the zeros written ahead of use.
    pub log_bytes: u64,
    /// In how many segments.
    pub segments: u64,
    /// How many bytes of values wait for a sync.
    pub unsynced_bytes: u64,
    /// The position of the newest durable record of this run.
    pub synced: Position,
    /// How many fdatasyncs this run has made of the log.
    pub fdatasyncs: u64,
    /// How many bytes this run has written to the log.
    pub bytes_written: u64,
}

/// What a replica knows of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its id.
    pub replica: ReplicaId,
    /// Where it is looked for: host and port.
    pub address: String,
    /// Whether there is a connection.
    pub connected: bool,
    /// How many messages to it were dropped, since its queue was full or it was not there.
    pub dropped: u64,
}
