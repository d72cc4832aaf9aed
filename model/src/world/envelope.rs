//! A message in flight, with its sender and its recipient.

use core::hash::{Hash, Hasher};

use super::local::index;
use super::scenario::MessageKind;
use crate::forming::Incarnation;
use crate::message::{Message, Order, Reply};
use crate::numbers::ReplicaId;
use crate::prefix::Prefix;

/// A message on its way to one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    pub(crate) message: Message<u8>,
    /// `None` in a scenario without forming.
    pub(crate) connection: Option<Connection>,
}

/// The two data directories that a connection joins. A message reaches no other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    pub(crate) from: Incarnation,
    pub(crate) to: Incarnation,
}

impl Hash for Envelope {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { from, to, message, connection } = self;
        (from, to, message).hash(hasher);
        // The hash decides the order of messages in a state. Without forming, that order must not change.
        if let Some(connection) = connection {
            connection.hash(hasher);
        }
    }
}

/// What the model often reads from an envelope, computed once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// The order of messages in a state: by recipient, then kind, then hash.
    pub(crate) order: u64,
}

impl Envelope {
    /// Leaves out what the sender of a reply has committed. The empty prefix is true of every replica.
    ///
    /// This makes the model smaller, and loses nothing where no disk loses what was durable: no two
    /// replicas commit different values there, which is a property of its own. So every prefix compares
    /// as the empty one does.
    pub(crate) fn tell_no_prefix(&mut self) {
        if let Message::Reply { reply, .. } = &mut self.message
            && let Reply::Acknowledge { prefix, .. } | Reply::Obey { prefix, .. } = reply
        {
            *prefix = Prefix::default();
        }
    }

    pub(crate) fn kind(&self) -> MessageKind {
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
pub(crate) fn kind_of<V>(message: &Message<V>) -> MessageKind {
    match message {
        Message::Order { order, .. } => match order {
            Order::Canvass { .. } => MessageKind::Canvass,
            Order::Propose { .. } => MessageKind::Propose,
            Order::Accept { .. } => MessageKind::Accept,
            Order::Commit { .. } => MessageKind::Commit,
            Order::Round { .. } => MessageKind::Round,
            Order::Progress => MessageKind::Progress,
        },
        Message::Reply { reply, .. } => match reply {
            Reply::Agree { .. } => MessageKind::Agree,
            Reply::Promise(_) => MessageKind::Promise,
            Reply::Acknowledge { .. } => MessageKind::Acknowledge,
            Reply::Room { .. } => MessageKind::Room,
            Reply::Obey { .. } => MessageKind::Obey,
            Reply::Applied { .. } => MessageKind::Applied,
        },
        Message::Reject { .. } => MessageKind::Reject,
        Message::Ask { .. } => MessageKind::Ask,
        Message::Committed { .. } => MessageKind::Committed,
        Message::Compare { .. } => MessageKind::Compare,
        Message::Remind { .. } => MessageKind::Remind,
        Message::Forgot { .. } => MessageKind::Forgot,
        Message::Offer { .. } => MessageKind::Offer,
        Message::CommittedThrough { .. } => MessageKind::CommittedThrough,
        Message::AskReady { .. } => MessageKind::AskReady,
        Message::Ready { .. } => MessageKind::Ready,
        Message::NotReady { .. } => MessageKind::NotReady,
        Message::Submit { .. } => MessageKind::Submit,
        Message::Submitted { .. } => MessageKind::Submitted,
        Message::Read { .. } => MessageKind::Read,
        Message::ReadAt { .. } => MessageKind::ReadAt,
        Message::NotTaken { .. } => MessageKind::NotTaken,
        Message::Forward { .. } => MessageKind::Forward,
    }
}

/// The slots of `count` entries from `first` on, as indices in an array of slots.
pub(crate) fn places(first: crate::numbers::Slot, count: usize) -> core::ops::Range<usize> {
    let first = index(first);
    first..first.saturating_add(count)
}
