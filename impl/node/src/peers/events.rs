//! What the transport tells the replica, and where.

use std::time::Duration;

use synod_model::{Message, ReplicaId};
use synod_wire::Value;
use tokio::sync::mpsc;

use super::lane::Lane;

/// What the transport tells the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// A peer has sent a message.
    Message(ReplicaId, Message<Value>),
    /// Bytes of a message of this peer have arrived, and the message is not whole yet. At most one
    /// event in 25 ms for each peer.
    Alive(ReplicaId),
    /// This peer has begun another run since it was met last. Comes before the
    /// [`Reconnected`](Self::Reconnected) of its first connection.
    Restarted(ReplicaId),
    /// A connection with this peer was made, in either direction and of either lane, for the first time
    /// or again. What was sent before, either way, may have been lost. Messages pass from now on. The
    /// first messages of the connection may come before this.
    ///
    /// The dialer is told first. So whatever the acceptor sends when it is told finds the connection of
    /// the dialer open, and a dialer that knows of it.
    Reconnected(ReplicaId),
    /// The bulk connection to this peer was made again, and the catch-up that was sent to it before and
    /// has not left is lost. Comes before [`Reconnected`](Self::Reconnected).
    CatchUpLost(ReplicaId),
    /// Messages with entries wait for this peer: 8 MiB of them, or one of them for a second. Catch-up
    /// does not count.
    Full(ReplicaId),
    /// After [`Full`](Self::Full): less than 1 MiB waits for this peer, and for less than a second.
    /// [`Reconnected`](Self::Reconnected) says that, too; if the queue is full all the same,
    /// [`Full`](Self::Full) follows again.
    Drained(ReplicaId),
    /// Little of the catch-up that was sent to this peer still waits: less than 1 MiB. More may follow.
    CatchUpLeft(ReplicaId),
    /// A ping was answered by this peer, after this time.
    RoundTrip(ReplicaId, Duration),
}

/// Where events go. Both have limits: while one of them is full, the transport waits to put more in.
/// Messages without entries, and all other events, never wait for messages with entries.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// For messages without entries, and for all events that are not messages.
    pub control: mpsc::Sender<PeerEvent>,
    /// For messages with entries.
    pub bulk: mpsc::Sender<PeerEvent>,
}

impl Inbox {
    pub(super) fn of(&self, lane: Lane) -> &mpsc::Sender<PeerEvent> {
        match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
        }
    }
}
