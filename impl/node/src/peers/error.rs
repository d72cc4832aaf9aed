//! What goes wrong between two replicas.
//!
//! Most errors concern one connection, which they end: [`LinkError`]. An error that concerns the
//! replica itself, which must stop, is a [`PeersError`].

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use synod_model::{Incarnation, OtherIncarnation, ReplicaId};
use synod_wire::codec::{DecodeError, EncodeError};
use synod_wire::frame::{FrameError, FrameReadError};
use thiserror::Error;

use super::introduction::{PROTOCOL_VERSION, Refusal};
use crate::identity::REPLACEMENT_ADVICE;

/// Why a replica cannot talk to its peers, and must stop.
#[derive(Clone, Debug, Error)]
pub enum PeersError {
    /// A peer has met this replica with another data directory, and the peer's own directory is the
    /// right one as far as this replica knows.
    #[error(
        "replica {by} at {address} knows this replica under another data directory: that one is \
         incarnation {known}, this one {mine}\n  \
         either this one was made anew under an id that was in use: it does not know what the other \
         one has promised, so it must not take part: start this replica with the data directory that \
         it had\n  \
         or {address} leads to a replica of another cluster, with the same name and the same ids: \
         give the right address with --peers {by}=HOST:PORT, and give each cluster a name of its own \
         with `synod init --cluster NAME`\n  \
         {REPLACEMENT_ADVICE}"
    )]
    OtherDirectory {
        /// The peer.
        by: ReplicaId,
        /// The address of the peer.
        address: String,
        /// The incarnation of this replica.
        mine: Incarnation,
        /// The incarnation that the peer has met.
        known: Incarnation,
    },
    /// What this replica knows of its peers could not be stored.
    #[error("what is known of the other members could not be stored\n  {0}")]
    Store(Arc<dyn Error + Send + Sync>),
}

/// Why there is no connection to a peer, or why a connection has ended. The texts continue "replica 2
/// at HOST:PORT" or "a caller from HOST:PORT".
#[derive(Debug, Error)]
pub(super) enum LinkError {
    #[error(
        "has no address that is known here\n  \
         give it with --peers ID=HOST:PORT, or start that replica: it says where it is"
    )]
    NoAddress,
    #[error("is looked for at another address now")]
    Moved,
    #[error("cannot be looked up: {0}\n  check the name in its address")]
    Lookup(io::Error),
    #[error("has a name without any address\n  check the name in its address")]
    NoSuchHost,
    #[error("cannot be reached: {0}")]
    Connect(io::Error),
    #[error("took longer than {} ms to {doing}", limit.as_millis())]
    TooSlow { doing: &'static str, limit: Duration },
    #[error("has closed the connection")]
    Closed,
    #[error("is lost: {0}")]
    Io(io::Error),
    #[error("sends something that is not a message of a replica: {0}")]
    Frame(FrameError),
    #[error("sends something that is not a message of a replica: {0}")]
    Undecodable(DecodeError),
    #[error("cannot be told who this replica is: {0}")]
    Unencodable(EncodeError),
    #[error("sends something that this version of the protocol does not know")]
    Unknown,
    #[error("sends a message of more than {bytes_max} bytes in pieces")]
    TooManyPieces { bytes_max: usize },
    #[error(
        "could not be stored for want of a thread\n  \
         see the limits of this process, and of its user and its group"
    )]
    NoThread,
    #[error("sends something on a connection on which it should only receive")]
    Speaks,
    #[error(
        "does not speak as a replica does\n  \
         see whether the address is the one for peers, and not the one for clients"
    )]
    NotAReplica,
    #[error(
        "speaks version {found} of the protocol, and this replica speaks {PROTOCOL_VERSION}\n  \
         run the same version of synod on all replicas"
    )]
    OtherVersion { found: u32 },
    #[error("{0}")]
    Mismatch(Mismatch),
    #[error("refuses this replica, {0}")]
    Refused(Refusal),
    #[error("is starting, and reads its log: {segments_read} of {segments} segments")]
    Starting { segments_read: u64, segments: u64 },
    #[error("{0}")]
    Overflow(Overflow),
    #[error("is this very connection: the system has connected its two ends with each other")]
    SelfConnection,
    #[error("sends more pings than answers fit on their way")]
    Unanswerable,
    #[error("sent something before this replica was formed, and is asked to send it again")]
    BeforeFormed,
    #[error("is not dialled for the moment: a task of this replica has panicked: {0}")]
    Panicked(String),
    #[error("has replaced this connection by a newer one")]
    Replaced,
    #[error("is registered with another data directory")]
    ShutOut,
    #[error(
        "comes with another data directory than the one that is connected under its id\n  \
         if two directories were made for this id, one of them has to be made again: \
         `synod init --join` gives it another id"
    )]
    IdTaken,
    #[error("is needed no more: it is outside the configuration, and was away")]
    Dropped,
    #[error(
        "is outside the configuration, and {guests_max} such replicas are connected already\n  \
         stop those that were removed, or wait until they are"
    )]
    TooManyGuests { guests_max: usize },
    #[error("had not said who it is when another caller needed the room")]
    MadeRoom,
    #[error("was not answered: this replica is stopping")]
    Stopping,
    #[error("was not answered: {0}")]
    Fatal(PeersError),
}

impl LinkError {
    /// What the error is about: its text without what changes from one dial to the next. The log tells it
    /// once.
    pub(super) fn topic(&self) -> String {
        match self {
            Self::Starting { .. } => "is starting".to_owned(),
            error => error.to_string(),
        }
    }
}

impl From<FrameReadError> for LinkError {
    fn from(error: FrameReadError) -> Self {
        match error {
            FrameReadError::Frame(error) => Self::Frame(error),
            FrameReadError::CutOff => Self::Closed,
            FrameReadError::Io(error) => Self::Io(error),
        }
    }
}

/// Why a queue was given up. The connection is closed, so that both ends know that something is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Overflow {
    #[error("takes what is sent to it too slowly: more than {bytes_max} bytes wait for it")]
    Bytes { bytes_max: usize },
    #[error(
        "takes what is sent to it too slowly: a control message has waited longer than {} ms",
        age_max.as_millis()
    )]
    Age { age_max: Duration },
}

/// Why two replicas do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Mismatch {
    #[error(
        "is of cluster {theirs:?}, and this replica of {mine:?}\n  \
         see whether each has the addresses of its own cluster"
    )]
    ClusterName { mine: String, theirs: String },
    #[error(
        "is of another cluster: both are named {name:?}, but its members are {theirs:?} and not {mine:?}\n  \
         all replicas of a cluster are made with the same members"
    )]
    Members { name: String, mine: Vec<ReplicaId>, theirs: Vec<ReplicaId> },
    #[error(
        "is of another cluster: both are named {name:?} and have the same members, but they were made \
         with other limits\n  \
         all replicas of a cluster are made with the same limits; `synod inspect` tells them"
    )]
    Constants { name: String },
    #[error(
        "is replica {found}, and replica {wanted} was looked for\n  \
         see whether the addresses of the replicas are mixed up"
    )]
    WrongReplica { wanted: ReplicaId, found: ReplicaId },
    #[error(
        "looks for replica {wanted}, and this is replica {me}\n  \
         see whether the addresses of the replicas are mixed up"
    )]
    Misled { wanted: ReplicaId, me: ReplicaId },
    #[error(
        "says that it is replica {replica}, and so is this one\n  \
         see whether an address leads back to this replica, or its data directory was copied"
    )]
    SameReplica { replica: ReplicaId },
    #[error(
        "says that it is replica {replica}, which is none of the first members\n  \
         others may join when the cluster is formed: start all first members once"
    )]
    NotFormed { replica: ReplicaId },
    #[error(
        "has another data directory than the one this cluster knows replica {replica} by: incarnation \
         {}, and not {}\n  \
         either it was made anew under an id that was in use: it does not know what the other one has \
         promised, so it gets no messages: start replica {replica} with the data directory that it \
         had\n  \
         or it belongs to another cluster, with the same name and the same ids: see whether each has \
         the addresses of its own cluster\n  \
         {REPLACEMENT_ADVICE}",
        other.found, other.known
    )]
    Incarnation { replica: ReplicaId, other: OtherIncarnation },
}
