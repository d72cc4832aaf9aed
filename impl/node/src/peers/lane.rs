//! Which connection a message takes.
//!
//! There are two connections to each peer, so that what is small never waits behind what is large. A
//! heartbeat behind a megabyte on a slow link would come after its time, and be followed by an election.

use serde::{Deserialize, Serialize};
use synod_model::{Message, Order, Reply};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Lane {
    /// Messages without entries: who coordinates, what is committed, reads.
    Control,
    /// Messages that carry entries.
    Bulk,
}

/// The lane of a message.
pub(super) fn lane_of<V>(message: &Message<V>) -> Lane {
    // Every kind is named, so that a new one is not forgotten.
    match message {
        Message::Order { order: Order::Accept { .. }, .. }
        | Message::Reply { reply: Reply::Promise(_), .. }
        | Message::Submit { .. }
        | Message::Committed { .. } => Lane::Bulk,
        Message::Order {
            order:
                Order::Canvass | Order::Propose { .. } | Order::Commit { .. } | Order::Round { .. },
            ..
        }
        | Message::Reply {
            reply: Reply::Agree | Reply::Acknowledge { .. } | Reply::Obey { .. },
            ..
        }
        | Message::Reject { .. }
        | Message::Ask { .. }
        | Message::Submitted { .. }
        | Message::Read { .. }
        | Message::ReadAt { .. } => Lane::Control,
    }
}
