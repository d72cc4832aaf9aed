//! What clients and nodes say to one another.
//!
//! A connection begins with a handshake: the client says which protocol it speaks, the node whether
//! it speaks it too, and which replica of which cluster it is. From then on the client asks and the
//! node answers. Every ask has an id, which its answer repeats; the client chooses the ids, and uses
//! none twice on one connection. So asks may be sent without waiting for answers, and are answered in
//! whatever order they are done.
//!
//! A follow has many answers: deliveries, again and again, and one end. While there is nothing to
//! deliver, an empty one now and then says that the node is still there. Answers to other asks on the
//! same connection wait behind it where the client reads slowly, so a follow deserves a connection of
//! its own.
//!
//! Each message is encoded by [`codec`](crate::codec) and travels in a frame of its own. This is
//! internal to one version of Synod: both ends are of the same version, or do not talk.

use serde::{Deserialize, Serialize};
use synod_model::{SessionId, Slot};
use thiserror::Error;

use crate::Value;
use crate::api::{
    About, Answered, Applied, Consistency, Delivery, QUERY_BYTES_MAX, QueryError,
    RESPONSE_BYTES_MAX, ReadError, ReplicaStatus, Request, SubmitError, SubscribeError,
};

/// The version of everything in this module and in [`api`](crate::api). The two ends of a connection
/// have the same one.
pub const VERSION: u32 = 2;

/// What tells a client of Synod from anybody else who finds the port.
pub const MAGIC: [u8; 8] = *b"SYNODcli";

/// How many bytes a message of the handshake may have. They are all that a stranger can make either
/// end allocate.
pub const HANDSHAKE_BYTES_MAX: u64 = 256;

/// How many bytes a message may have besides a value, a query or a response of the largest size. 64 KiB:
/// a few numbers, or the status of a replica with many peers.
pub const BESIDES_VALUE_BYTES_MAX: u64 = 64 << 10;

/// How many bytes of entries one message carries to a follower, unless a single entry has more.
/// 256 KiB: long enough to be worth a system call, and as much as a slow follower makes a node keep.
pub const DELIVERIES_BYTES_MAX: u64 = 256 << 10;

/// How many bytes a message may have after the handshake.
pub fn message_bytes_max(value_bytes_max: u64) -> u64 {
    let [query, response] = [QUERY_BYTES_MAX as u64, RESPONSE_BYTES_MAX as u64];
    let largest = value_bytes_max.max(query).max(response).max(DELIVERIES_BYTES_MAX);
    largest.saturating_add(BESIDES_VALUE_BYTES_MAX)
}

/// The first message on a connection: the client's. Its shape never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
}

impl Hello {
    /// What this version says.
    pub const OURS: Self = Self { magic: MAGIC, version: VERSION };
}

/// The second message on a connection: the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// The client may ask.
    Welcome(About),
    /// It may not, and the connection ends here.
    Unwelcome(Unwelcome),
}

/// Why a node does not talk to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Unwelcome {
    /// They are of different versions.
    #[error("it speaks version {node_speaks} of the client protocol, and this program {VERSION}")]
    Version {
        /// The node's version.
        node_speaks: u32,
    },
    /// The node has as many connections as the limit allows.
    #[error("it has as many connections as its limit allows")]
    TooManyConnections,
    /// The node is stopping.
    #[error("it is stopping")]
    Stopping,
}

/// What a client asks, from the third message on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToNode {
    /// What the answers to it are known by.
    pub id: u64,
    /// The question.
    pub ask: Ask,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Open a session: [`Answer::Opened`] or [`Answer::NoSlot`].
    OpenSession,
    /// Apply this command: [`Answer::Done`] or [`Answer::NoSlot`].
    Request(Request),
    /// End a session: [`Answer::Ended`] or [`Answer::NoSlot`].
    EndSession(SessionId),
    /// Ask the state machine: [`Answer::Answered`] or [`Answer::NotAnswered`].
    Query(Query),
    /// Where does the log end? [`Answer::ReadAt`] or [`Answer::NotRead`].
    Read,
    /// Tell what was and will be delivered: any number of [`Answer::Deliveries`], then
    /// [`Answer::FollowEnds`].
    Follow(Follow),
    /// How are you? [`Answer::Status`].
    Status,
}

/// A question to the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// What the state machine is given.
    pub request: Value,
    /// How fresh the state must be.
    pub consistency: Consistency,
}

/// What a follower wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// The first slot that matters.
    pub from: Slot,
    /// Whether to end with the slot that a linearizable read gives, made when the node takes the ask;
    /// otherwise it goes on until the client has enough.
    pub until_caught_up: bool,
    /// Whether to tell everything that the log holds; otherwise only the first copy of each client's
    /// value.
    pub everything: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToClient {
    /// The id of the question.
    pub id: u64,
    /// The answer to it.
    pub answer: Answer,
}

/// What there is to say to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The session is open.
    Opened(SessionId),
    /// The command was applied.
    Done(Applied),
    /// The session was ended at this slot.
    Ended(Slot),
    /// The submission has no slot, as far as the node knows.
    NoSlot(SubmitError),
    /// The state machine has answered.
    Answered(Answered),
    /// The state machine was not asked.
    NotAnswered(QueryError),
    /// The log ends here, or later.
    ReadAt(Slot),
    /// The read was not made.
    NotRead(ReadError),
    /// Some of the log.
    Deliveries {
        /// What was asked for, in slot order.
        deliveries: Vec<Delivery>,
        /// Up to here nothing that was asked for is missing.
        through: Slot,
    },
    /// No more of it comes.
    FollowEnds(FollowEnd),
    /// How the replica is.
    Status(Box<ReplicaStatus>),
}

/// Why a follow ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FollowEnd {
    /// It has caught up, as it was to.
    CaughtUp {
        /// With this slot.
        with: Slot,
    },
    /// The read that says where it is to end was not made.
    NotRead(ReadError),
    /// The log cannot be followed any further.
    NoMore(SubscribeError),
}
