//! The network keeps all messages. It can deliver each of them any number of times, or never.

use synod_model::{Message, Order, ReplicaId, Reply};

use super::V;

/// All messages that were ever sent, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    pub(crate) sent: Vec<Envelope>,
}

/// A message that was sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    pub(crate) message: Message<V>,
    /// Neither delivered nor dropped yet.
    pub(crate) pending: bool,
}

impl Network {
    pub(crate) fn send(&mut self, from: ReplicaId, to: ReplicaId, message: Message<V>) {
        self.sent.push(Envelope { from, to, message, pending: true });
    }

    /// The messages that are neither delivered nor dropped, oldest first.
    pub(crate) fn pending(&self) -> Vec<usize> {
        (0..self.sent.len()).filter(|index| self.sent[*index].pending).collect()
    }
}

/// The number of message kinds.
pub(crate) const KINDS: usize = 29;

/// The name of a kind of message.
pub(crate) fn kind(message: &Message<V>) -> &'static str {
    match message {
        Message::Order { order, .. } => match order {
            Order::Canvass { .. } => "canvass",
            Order::Propose { .. } => "propose",
            Order::Accept { .. } => "accept",
            Order::Commit { .. } => "commit",
            Order::Round { .. } => "round",
            Order::Progress => "progress",
        },
        Message::Reply { reply, .. } => match reply {
            Reply::Agree { .. } => "agree",
            Reply::Promise(_) => "promise",
            Reply::Acknowledge { .. } => "acknowledge",
            Reply::Room { .. } => "room",
            Reply::Obey { .. } => "obey",
            Reply::Applied { .. } => "applied",
        },
        Message::Reject { .. } => "reject",
        Message::Ask { .. } => "ask",
        Message::Committed { .. } => "committed",
        Message::Compare { .. } => "compare",
        Message::Remind { .. } => "remind",
        Message::Forgot { .. } => "forgot",
        Message::Offer { .. } => "offer",
        Message::CommittedThrough { .. } => "committed_through",
        Message::AskReady { .. } => "ask_ready",
        Message::Ready { .. } => "ready",
        Message::NotReady { .. } => "not_ready",
        Message::Submit { .. } => "submit",
        Message::Submitted { .. } => "submitted",
        Message::Read { .. } => "read",
        Message::ReadAt { .. } => "read_at",
        Message::NotTaken { .. } => "not_taken",
        Message::Forward { .. } => "forward",
    }
}
