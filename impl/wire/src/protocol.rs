//! The client protocol: the messages between a client and a node.
//!
//! A connection begins with a handshake. The client says which version of the protocol it speaks. The
//! node says whether it speaks the same, and which replica of which cluster it is. From then on the
//! client asks and the node answers. The client gives every ask an id that it uses once on the
//! connection, and the answer repeats the id. So a client may send many asks before it reads an answer,
//! and the answers come in any order.
//!
//! A follow has many answers: deliveries, and one end. While there is nothing to deliver, an empty
//! delivery now and then shows that the node is alive. A client that reads slowly also delays the
//! answers to its other asks on the same connection. So a follow deserves a connection of its own.
//!
//! A snapshot is saved piece by piece: the client begins a [save](Ask::BeginSave), and reads it
//! ([`Ask::ReadSave`]) at the offsets that it wants, several at a time. The node keeps the snapshot for the save, and
//! not for the connection. So after a lost connection the client goes on where it was.
//!
//! Each message is encoded by [`codec`](crate::codec) and travels in a frame of its own. The protocol
//! is internal to one version of Synod: both ends are of the same version, or do not talk.

use serde::{Deserialize, Serialize};
use synod_model::{Change, SessionId, Slot};
use thiserror::Error;

use crate::Value;
use crate::api::{
    About, Answered, Applied, Consistency, Delivery, Members, QUERY_BYTES_MAX, QueryError,
    RESPONSE_BYTES_MAX, ReadError, ReplicaStatus, Request, SaveBegun, SaveError, SaveId,
    SnapshotTaken, Starting, SubmitError, SubscribeError, TakeSnapshotError,
};

/// The version of this module and of [`api`](crate::api). Both ends of a connection have the same
/// version.
pub const VERSION: u32 = 8;

/// Marks a client of Synod, so that a stranger who finds the port is recognized.
pub const MAGIC: [u8; 8] = *b"SYNODcli";

/// How many bytes a message of the handshake may have. A stranger can make neither end allocate more.
pub const HANDSHAKE_BYTES_MAX: u64 = 256;

/// How many bytes a message may have besides a value, a query or a response of the largest size. 64 KiB:
/// a few numbers, or the status of a replica with many peers.
pub const BESIDES_VALUE_BYTES_MAX: u64 = 64 << 10;

/// How many bytes of entries one message carries to a follower, unless a single entry has more. 256
/// KiB: long enough to be worth a system call, and as much as a slow follower makes a node keep.
pub const DELIVERIES_BYTES_MAX: u64 = 256 << 10;

/// How many bytes a piece of a snapshot has at most. 256 KiB, as the entries for a follower.
pub const SAVE_PIECE_BYTES_MAX: u64 = 256 << 10;

/// How many bytes a message may have after the handshake.
pub fn message_bytes_max(value_bytes_max: u64) -> u64 {
    let [query, response] = [QUERY_BYTES_MAX as u64, RESPONSE_BYTES_MAX as u64];
    let largest = value_bytes_max.max(query).max(response).max(DELIVERIES_BYTES_MAX);
    let largest = largest.max(SAVE_PIECE_BYTES_MAX);
    largest.saturating_add(BESIDES_VALUE_BYTES_MAX)
}

/// The first message on a connection, from the client. Its shape never changes.
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

/// The second message on a connection, from the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// The client may ask.
    Welcome(About),
    /// The client may not ask, and the connection ends here.
    Unwelcome(Unwelcome),
}

/// Why a node does not talk to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Unwelcome {
    /// Client and node are of different versions.
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

/// A message from the client, after the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToNode {
    /// The answers repeat this id.
    pub id: u64,
    /// The question.
    pub ask: Ask,
}

/// What a client asks.
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
    /// Follow the log: any number of [`Answer::Deliveries`], then [`Answer::FollowEnds`].
    Follow(Follow),
    /// How are you? [`Answer::Status`] or [`Answer::Starting`].
    Status,
    /// Take a snapshot: [`Answer::SnapshotTaken`] or [`Answer::NoSnapshot`].
    TakeSnapshot,
    /// Take a snapshot, and keep it to be saved: [`Answer::SaveBegun`] or [`Answer::NotSaved`]. A save that has
    /// begun is begun again without effect.
    BeginSave(SaveId),
    /// A piece of it: [`Answer::SavePiece`] or [`Answer::NotSaved`].
    ReadSave(ReadSave),
    /// The save is over, and the snapshot need not be kept for it: [`Answer::SaveEnded`].
    EndSave(SaveId),
    /// Who are the members? [`Answer::Members`] or [`Answer::NotRead`].
    Members,
    /// Change the members: [`Answer::Changed`] or [`Answer::NoSlot`].
    Change(Change),
}

/// Which piece of a snapshot a client wants that saves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSave {
    /// The save.
    pub save: SaveId,
    /// Where in the file the piece begins.
    pub offset: u64,
}

/// A question to the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// What the state machine is given.
    pub request: Value,
    /// How fresh the state must be.
    pub consistency: Consistency,
}

/// What a client wants to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// The first slot.
    pub from: Slot,
    /// Whether to end at the slot that a linearizable read gives when the node takes this ask.
    /// Otherwise the follow goes on until the client closes it.
    pub until_caught_up: bool,
    /// Whether to deliver every entry of the log. Otherwise only the first copies of requests.
    pub everything: bool,
}

/// A message from the node, after the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToClient {
    /// The id of the question.
    pub id: u64,
    /// The answer to it.
    pub answer: Answer,
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The session is open.
    Opened(SessionId),
    /// The command was applied.
    Done(Applied),
    /// The session was ended at this slot.
    Ended(Slot),
    /// The submission has no slot, as far as this node knows.
    NoSlot(SubmitError),
    /// The state machine has answered.
    Answered(Answered),
    /// The state machine was not asked.
    NotAnswered(QueryError),
    /// The log ended here when the read was made.
    ReadAt(Slot),
    /// The read was not made.
    NotRead(ReadError),
    /// Some of the log.
    Deliveries {
        /// The entries that were asked for, in slot order.
        deliveries: Vec<Delivery>,
        /// Everything that was asked for has been delivered up to this slot.
        through: Slot,
        /// For how long the replica has been out of touch with a coordinator that has a majority. The
        /// log may have grown since. None while it is in touch.
        out_of_touch_ms: Option<u64>,
    },
    /// The follow ends.
    FollowEnds(FollowEnd),
    /// How the replica is.
    Status(Box<ReplicaStatus>),
    /// The replica still reads its log.
    Starting(Starting),
    /// The snapshot is durable.
    SnapshotTaken(SnapshotTaken),
    /// There is no snapshot.
    NoSnapshot(TakeSnapshotError),
    /// The snapshot is kept for the save.
    SaveBegun(SaveBegun),
    /// A piece of the snapshot: [`SaveBegun::piece_bytes`] from the offset that was asked for, or what is left from
    /// there on.
    SavePiece(Value),
    /// The save is not begun, or cannot go on.
    NotSaved(SaveError),
    /// The save is over.
    SaveEnded,
    /// The members, as of a linearizable read.
    Members(Box<Members>),
    /// The members were changed by this slot.
    Changed(Slot),
}

/// Why a follow ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FollowEnd {
    /// It has caught up, as the client wanted.
    CaughtUp {
        /// The slot that it has caught up with.
        with: Slot,
    },
    /// The read that says where the follow ends was not made.
    NotRead(ReadError),
    /// The log cannot be followed any further.
    NoMore(SubscribeError),
}

#[cfg(test)]
mod tests;
