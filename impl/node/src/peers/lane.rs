//! Which connection a message takes, and which messages it waits for there.
//!
//! There are two connections to each peer, so that what is small never waits behind what is large. A
//! heartbeat behind a megabyte on a slow link would come too late, and an election would follow. On
//! the connection for large messages, catch-up waits for all others: whoever catches up can wait, and
//! the clients of the coordinator cannot.

use std::fmt;

use serde::{Deserialize, Serialize};
use synod_model::{Message, Order, Reply};

/// What the messages of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Lane {
    /// Messages without entries: who coordinates, what is committed, reads.
    Control,
    /// Messages that carry entries.
    Bulk,
}

impl Lane {
    pub(super) const ALL: [Self; 2] = [Self::Control, Self::Bulk];
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
        })
    }
}

/// What kind of traffic a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// A message without entries.
    Control,
    /// A message with entries that somebody waits for.
    Bulk,
    /// Committed entries for a peer that lags. They leave when no other entries wait.
    CatchUp,
}

impl Traffic {
    /// The traffic that a message is.
    pub(super) fn of<V>(message: &Message<V>) -> Self {
        // Every kind is named, so that a new one is not forgotten.
        match message {
            Message::Order { order: Order::Accept { .. }, .. }
            | Message::Reply { reply: Reply::Promise(_), .. }
            | Message::Submit { .. } => Self::Bulk,
            Message::Committed { .. } => Self::CatchUp,
            Message::Order {
                order:
                    Order::Canvass { .. }
                    | Order::Propose { .. }
                    | Order::Commit { .. }
                    | Order::Round { .. }
                    | Order::Progress,
                ..
            }
            | Message::Reply {
                reply:
                    Reply::Agree { .. }
                    | Reply::Acknowledge { .. }
                    | Reply::Room { .. }
                    | Reply::Obey { .. }
                    | Reply::Applied { .. },
                ..
            }
            | Message::Reject { .. }
            | Message::Ask { .. }
            | Message::Offer { .. }
            | Message::Compare { .. }
            | Message::CommittedThrough { .. }
            | Message::Remind { .. }
            | Message::Forgot { .. }
            | Message::Submitted { .. }
            | Message::Read { .. }
            | Message::ReadAt { .. }
            | Message::NotTaken { .. }
            | Message::AskReady { .. }
            | Message::Ready { .. }
            | Message::NotReady { .. }
            | Message::Forward { .. } => Self::Control,
        }
    }

    /// The connection that it takes.
    pub(super) fn lane(self) -> Lane {
        match self {
            Self::Control => Lane::Control,
            Self::Bulk | Self::CatchUp => Lane::Bulk,
        }
    }
}

#[cfg(test)]
mod tests {
    use synod_model::{
        ConfigurationId, Forgotten, MemberSet, NotTakenReason, Prefix, Promise, ReadId, ReplicaId,
        RoundNumber, Run, SequenceNumber, SessionId, Slot, SubmissionId, Testimony,
    };
    use synod_wire::Value;

    use super::*;

    /// One of each kind of message, with its traffic.
    fn all() -> Vec<(Message<Value>, Traffic)> {
        let (slot, s, configuration, run) =
            (Slot(1), SequenceNumber(1), ConfigurationId(1), Run(1));
        let order = |order| Message::Order { configuration, s, order };
        let reply = |reply| Message::Reply { configuration, s, reply };
        let (number, prefix, last) = (RoundNumber(1), Prefix::default(), slot);
        let entries = || vec![synod_wire::testing::entry(1, 10)];
        let promise = Promise { prefix, last, after: slot, through: slot, accepted: Vec::new() };
        let testimony = Testimony { promised: s, accepted: None };
        let (replica, told_to) = (ReplicaId(1), ReplicaId(2));
        let forgotten = Forgotten { replica, told_to, s, slot: Some(slot) };
        let submission = SubmissionId::Request { session: SessionId(1), number: 1 };
        let accept = Order::Accept { first: slot, entries: entries(), prefix };
        let committed = Message::Committed {
            log_starts_at: slot,
            first: slot,
            before: prefix.hash,
            entries: entries(),
            watermark: slot,
        };
        let control = vec![
            order(Order::Canvass { run }),
            order(Order::Propose { from: slot }),
            order(Order::Commit { prefix }),
            order(Order::Round { number, prefix }),
            reply(Reply::Agree { run }),
            reply(Reply::Room { through: slot }),
            reply(Reply::Acknowledge { ranges: Vec::new(), prefix }),
            reply(Reply::Obey { number, last, prefix }),
            order(Order::Progress),
            reply(Reply::Applied { through: slot }),
            Message::Reject { promised: s },
            Message::Ask { from: slot, through: slot, prefix },
            Message::Compare { prefix, is_question: true },
            Message::Remind { testimony },
            Message::Forgot { forgotten },
            Message::Submitted { submission, slot },
            Message::Read { run, ids: vec![ReadId(1)] },
            Message::ReadAt { run, ids: vec![ReadId(1)], slot },
            Message::NotTaken {
                s,
                reason: NotTakenReason::NoRoom,
                submissions: vec![submission],
                reads: true,
            },
            Message::Forward { s },
            Message::Offer { slot },
            Message::AskReady { s, number: 1, prefix },
            Message::Ready { s, number: 1, incarnation: None, through: slot },
            Message::NotReady { s, submission, ready: MemberSet::default() },
        ];
        let bulk = vec![
            order(accept),
            reply(Reply::Promise(promise)),
            Message::Submit { submissions: entries() },
        ];
        let with = |traffic| move |message| (message, traffic);
        let control = control.into_iter().map(with(Traffic::Control));
        let bulk = bulk.into_iter().map(with(Traffic::Bulk));
        control.chain(bulk).chain([(committed, Traffic::CatchUp)]).collect()
    }

    #[test]
    fn each_kind_of_message_has_its_lane() {
        for (message, traffic) in all() {
            assert_eq!(Traffic::of(&message), traffic, "{message:?}");
            let lane = if traffic == Traffic::Control { Lane::Control } else { Lane::Bulk };
            assert_eq!(traffic.lane(), lane, "{message:?}");
        }
    }
}
