//! What replicas tell one another.
//!
//! There are three kinds. *Orders* are given under a sequence number by its owner. *Replies* answer
//! orders, to the owner. Both name the configuration that they hold for. The rest does not depend on
//! who coordinates: rejections, committed slots, and submissions and reads on their way to the
//! coordinator and back.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::configuration::MemberSet;
use crate::entry::{Entry, SubmissionId};
use crate::forming::Incarnation;
use crate::numbers::{ConfigurationId, ReadId, RoundNumber, Run, SequenceNumber, Slot, SlotRange};
use crate::prefix::{Prefix, PrefixHash};
use crate::testimony::{Forgotten, Testimony};

/// A message between two replicas.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message<V> {
    /// From the owner of `s`, who coordinates or wants to.
    Order {
        /// The configuration that the order holds for.
        configuration: ConfigurationId,
        /// The number under which it is given.
        s: SequenceNumber,
        /// What is ordered.
        order: Order<V>,
    },
    /// To the owner of `s`.
    Reply {
        /// The configuration that the order named.
        configuration: ConfigurationId,
        /// The number of the order that this answers.
        s: SequenceNumber,
        /// What is answered.
        reply: Reply<V>,
    },
    /// Answers any order below the promise.
    Reject {
        /// The number to beat.
        promised: SequenceNumber,
    },
    /// Asks for the committed slots from `from` on.
    Ask {
        /// The first slot that the asker lacks, and that is not on its way to it.
        from: Slot,
        /// The last slot that the asker knows to be committed. If it is below `from`, the asker takes
        /// nothing of what it is being served, and that ends.
        through: Slot,
        /// What the asker has.
        prefix: Prefix,
    },
    /// Committed slots, in answer to an ask.
    Committed {
        /// The first slot that the sender's log still has: older ones are only in a snapshot.
        log_starts_at: Slot,
        /// The slot of the first entry.
        first: Slot,
        /// The hash of all entries before it.
        before: PrefixHash,
        /// The entries of consecutive slots.
        entries: Vec<Entry<V>>,
        /// The sender's watermark, so that the asker knows whether to ask for more.
        watermark: Slot,
    },
    /// What the sender has committed, so that the recipient compares it. Sent when there is a doubt.
    Compare {
        /// The prefix: all of it, or as much as is compared.
        prefix: Prefix,
        /// Whether the sender wants to know the recipient's prefix.
        is_question: bool,
    },
    /// Submissions of the sender's clients, for the coordinator.
    Submit {
        /// Requests, and openings and ends of sessions.
        submissions: Vec<Entry<V>>,
    },
    /// This submission of yours is in the log already.
    Submitted {
        /// Which submission.
        submission: SubmissionId,
        /// The slot at which it was delivered first.
        slot: Slot,
    },
    /// Reads of the sender's clients, for the coordinator.
    Read {
        /// The sender's run: an answer to a former run must not be taken for one to this.
        run: Run,
        /// Which reads.
        ids: Vec<ReadId>,
    },
    /// Answers reads: serve them when everything up to `slot` is applied.
    ReadAt {
        /// The run that asked.
        run: Run,
        /// Which reads.
        ids: Vec<ReadId>,
        /// The slot to read at.
        slot: Slot,
    },
    /// Answers what was forwarded to the owner of `s` and was not taken.
    NotTaken {
        /// The number of which the sender is the owner.
        s: SequenceNumber,
        /// Why.
        reason: NotTakenReason,
        /// The submissions that were not taken.
        submissions: Vec<SubmissionId>,
        /// Whether there were reads that were not taken.
        reads: bool,
    },
    /// "I have room again": what was not taken for want of room may be forwarded once more.
    Forward {
        /// The number under which the sender coordinates.
        s: SequenceNumber,
    },
    /// "You once told me this": sent when a connection is made.
    Remind {
        /// What the recipient has told the sender.
        testimony: Testimony,
    },
    /// "My disk has lost what I once told. I vote no more."
    Forgot {
        /// What it has lost.
        forgotten: Forgotten,
    },
    /// What the sender has committed, for a replica that is found to know of another configuration, or may
    /// not know of the newest. The one that lacks something gets it from the other.
    CommittedThrough {
        /// All that it has committed.
        prefix: Prefix,
    },
    /// "Could you vote after a change?" From a coordinator to those who would.
    AskReady {
        /// The number under which the sender coordinates.
        s: SequenceNumber,
        /// Counts the changes that were asked about under it.
        number: u64,
        /// What the sender has committed. Who lacks some of it asks for it.
        prefix: Prefix,
    },
    /// Answers that.
    Ready {
        /// The number in the question.
        s: SequenceNumber,
        /// Which question.
        number: u64,
        /// The data directory of the sender.
        incarnation: Option<Incarnation>,
        /// The sender has everything up to here on its disk.
        through: Slot,
    },
    /// A change is not opened: too few of those who would vote are ready.
    NotReady {
        /// The number under which the sender coordinates.
        s: SequenceNumber,
        /// The change.
        submission: SubmissionId,
        /// The members of its configuration that are ready.
        ready: MemberSet,
    },
    /// Answers an ask for slots that the log has no more: "they are in my snapshot".
    Offer {
        /// The last slot that the snapshot includes.
        slot: Slot,
    },
}

/// Why something that was forwarded is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NotTakenReason {
    /// The sender stands, and does not coordinate yet. If it is elected, its first order says so.
    Stands,
    /// The sender coordinates, and has no room. It says when it has: [`Message::Forward`].
    NoRoom,
}

impl<V> Message<V> {
    /// The watermark of the sender, if the message tells it. It serves people who ask how far a replica
    /// lags; the protocol reads the field itself.
    #[must_use]
    pub fn watermark(&self) -> Option<Slot> {
        match self {
            Self::Committed { watermark, .. } => Some(*watermark),
            _ => self.prefix().map(|prefix| prefix.through),
        }
    }

    /// What the sender has committed, if the message tells it.
    #[must_use]
    pub fn prefix(&self) -> Option<&Prefix> {
        match self {
            Self::Order { order, .. } => match order {
                Order::Accept { prefix, .. }
                | Order::Commit { prefix }
                | Order::Round { prefix, .. } => Some(prefix),
                Order::Canvass { .. } | Order::Propose { .. } | Order::Progress => None,
            },
            Self::Reply { reply, .. } => match reply {
                Reply::Acknowledge { prefix, .. } | Reply::Obey { prefix, .. } => Some(prefix),
                Reply::Promise(promise) => Some(&promise.prefix),
                Reply::Agree { .. } | Reply::Room { .. } | Reply::Applied { .. } => None,
            },
            Self::Ask { prefix, .. }
            | Self::Compare { prefix, .. }
            | Self::CommittedThrough { prefix }
            | Self::AskReady { prefix, .. } => Some(prefix),
            _ => None,
        }
    }
}

/// What the owner of a sequence number says under it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Order<V> {
    /// "Would you follow me?" Asked before a propose, without a write on either side.
    Canvass {
        /// The sender's run: an answer to a former run must not be taken for one to this.
        run: Run,
    },
    /// Phase 1: "I want to coordinate under s."
    Propose {
        /// Entries are wanted from this slot on.
        from: Slot,
    },
    /// Phase 2: "take these values in these slots under s."
    Accept {
        /// The slot of the first entry.
        first: Slot,
        /// The entries of consecutive slots; never empty.
        entries: Vec<Entry<V>>,
        /// What the coordinator has committed.
        prefix: Prefix,
    },
    /// Phase 3: "these slots are committed", when no accept is leaving to carry the watermark.
    Commit {
        /// What the coordinator has committed.
        prefix: Prefix,
    },
    /// "Do you still obey s?"
    Round {
        /// Which round.
        number: RoundNumber,
        /// What the coordinator has committed.
        prefix: Prefix,
    },
    /// "How far has your application come?" Asked by a coordinator whose own application hangs.
    Progress,
}

/// What a replica answers to the owner of a sequence number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reply<V> {
    /// "I would": answers a canvass.
    Agree {
        /// The run that asked.
        run: Run,
    },
    /// "I will obey nobody below s; here is what I have accepted."
    Promise(Promise<V>),
    /// "Durably taken" under s, in exactly these slots.
    Acknowledge {
        /// Ascending, and not adjacent; at most as many as a frame has entries.
        ranges: Vec<SlotRange>,
        /// What the follower has committed. The acknowledgement counts only where the coordinator has
        /// the same.
        prefix: Prefix,
    },
    /// "I have room for entries up to this slot": tells a coordinator that an accept went further, and
    /// later, that there is more room. A coordinator pushes nothing above.
    Room {
        /// The last slot in which an entry would be taken.
        through: Slot,
    },
    /// "I do": answers a round.
    Obey {
        /// Which round.
        number: RoundNumber,
        /// The last slot in which the follower has accepted anything; its watermark if there is
        /// none.
        last: Slot,
        /// What the follower has committed.
        prefix: Prefix,
    },
    /// "So far": answers a coordinator that asks for progress.
    Applied {
        /// The application of the follower has everything up to this slot.
        through: Slot,
    },
}

/// One frame of a promise. A promise with many entries takes several frames, and counts only when
/// the candidate has all slots up to `last`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Promise<V> {
    /// What the promiser has committed. These entries are to be had by catch-up.
    pub prefix: Prefix,
    /// The last slot above that in which the promiser has accepted anything; the watermark
    /// if there is none.
    pub last: Slot,
    /// This frame tells of the slots after `after` ...
    pub after: Slot,
    /// ... up to this one.
    pub through: Slot,
    /// What is accepted in those slots, ascending. A slot that is not here holds nothing.
    pub accepted: Vec<Accepted<V>>,
}

/// An accepted entry, as a promise reports it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Accepted<V> {
    /// The slot.
    pub slot: Slot,
    /// The number under which the entry was accepted last.
    pub s: SequenceNumber,
    /// The entry.
    pub entry: Entry<V>,
}
