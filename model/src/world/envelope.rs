//! Messages in flight.

use super::local::index;
use super::scenario::Kind;
use crate::message::{Message, Order, Reply};
use crate::numbers::ReplicaId;

/// A message on its way to one replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Envelope {
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    pub(crate) message: Message<u8>,
}

/// What the model asks of an envelope again and again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// In what order the messages in flight are kept and shown: by recipient, then kind, then hash.
    pub(crate) order: u64,
}

impl Envelope {
    pub(crate) fn kind(&self) -> Kind {
        kind_of(&self.message)
    }

    pub(crate) fn route(&self, digest: u128) -> Route {
        let (from, to) = (usize::from(self.from.0), usize::from(self.to.0));
        let rank = (to as u64) << 8 | self.kind() as u64;
        #[allow(clippy::cast_possible_truncation)] // any 48 bits of the hash do
        let hash = digest as u64 >> 16;
        Route { from, to, order: rank << 48 | hash }
    }
}

/// The kind of a message.
pub(crate) fn kind_of<V>(message: &Message<V>) -> Kind {
    match message {
        Message::Order { order, .. } => match order {
            Order::Canvass => Kind::Canvass,
            Order::Propose { .. } => Kind::Propose,
            Order::Accept { .. } => Kind::Accept,
            Order::Commit { .. } => Kind::Commit,
            Order::Round { .. } => Kind::Round,
        },
        Message::Reply { reply, .. } => match reply {
            Reply::Agree => Kind::Agree,
            Reply::Promise(_) => Kind::Promise,
            Reply::Acknowledge { .. } => Kind::Acknowledge,
            Reply::Obey { .. } => Kind::Obey,
        },
        Message::Reject { .. } => Kind::Reject,
        Message::Ask { .. } => Kind::Ask,
        Message::Committed { .. } => Kind::Committed,
        Message::Submit { .. } => Kind::Submit,
        Message::Submitted { .. } => Kind::Submitted,
        Message::Read { .. } => Kind::Read,
        Message::ReadAt { .. } => Kind::ReadAt,
    }
}

/// The slots of `count` entries from `first` on, as places in an array of slots.
pub(crate) fn places(first: crate::numbers::Slot, count: usize) -> core::ops::Range<usize> {
    let first = index(first);
    first..first.saturating_add(count)
}
