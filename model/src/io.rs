//! What goes into [`Replica::step`](crate::Replica::step), and what comes out.
//!
//! Together with the records these are the contract about the disk, between the core and its shell:
//!
//! 1. Records are appended to the disk in order, and [`Input::Synced`] names a position only when
//!    everything before it is durable.
//! 2. The core itself holds back every message that depends on a write, and releases it in the step
//!    that learns of the sync. The shell sends what it is given, and decides nothing.
//! 3. After a crash, [`Recovery`](crate::Recovery) is given the newest base and a prefix of what was
//!    written after it, which includes everything that was reported synced, and which has itself
//!    been made durable before.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::configuration::{Configuration, MemberSet};
use crate::entry::{Entry, SubmissionId, Value};
use crate::message::Message;
use crate::numbers::{Position, ReadId, ReplicaId, SequenceNumber, Slot, SlotRange};
use crate::prefix::PrefixHash;
use crate::record::Record;
use crate::replica::Resource;
use crate::sessions::Verdict;
use crate::snapshot::SnapshotHandle;
use crate::testimony::Forgotten;

/// What a replica is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input<V> {
    /// Clients of this replica want these in the log. Openings of sessions name this replica and
    /// run.
    Submit(Vec<Entry<V>>),
    /// Clients of this replica want to read what the log holds now.
    Read(Vec<ReadId>),
    /// A peer's message arrived.
    Receive {
        /// The peer.
        from: ReplicaId,
        /// What it said.
        message: Message<V>,
    },
    /// Everything written up to this position is durable.
    Synced {
        /// The position of the last durable record.
        through: Position,
    },
    /// The application has everything up to this slot.
    Applied {
        /// The last slot that was applied.
        through: Slot,
    },
    /// The failure detector says "there seems to be no coordinator"; at a coordinator, "your round
    /// goes unanswered".
    Suspect,
    /// The failure detector says "and I should stand".
    Elect {
        /// Whether to ask first who would follow. Without, it is an operator's forced election.
        canvass: bool,
    },
    /// Ask whether this replica is still obeyed, if it coordinates. The time between two of these is
    /// the heartbeat of the cluster.
    Heartbeat,
    /// This peer has begun another run since it was met last. Comes before the
    /// [`Reconnected`](Self::Reconnected) of its first connection.
    Restarted {
        /// The peer.
        peer: ReplicaId,
    },
    /// A connection with this peer was made. What either has sent the other before may be lost.
    Reconnected {
        /// The peer.
        peer: ReplicaId,
    },
    /// Much waits on its way to this peer. No more entries are to be sent to it for now, or they would
    /// wait behind the others. The core may still send some.
    Full {
        /// The peer.
        peer: ReplicaId,
    },
    /// Little waits on its way to this peer any more.
    Drained {
        /// The peer.
        peer: ReplicaId,
    },
    /// What was [served](Output::serve) to this peer, or sent to it as [`Message::Committed`], has
    /// left. More may follow.
    Served {
        /// The peer.
        peer: ReplicaId,
    },
    /// What was [served](Output::serve) to this peer, or sent to it as [`Message::Committed`], and has not
    /// left, is lost: the connection has ended. The peer learns that, too, and asks anew.
    ///
    /// Or the log does not have what was to be served any more, because it was cut meanwhile. The peer does not
    /// learn that. It asks anew at a resend, and is offered the snapshot.
    ///
    /// If the connection has ended, this input comes when the next connection to the peer is made, and before
    /// the peer learns of that. So it never takes back what the peer asks for anew.
    NotServed {
        /// The peer.
        peer: ReplicaId,
    },
    /// Repeat everything that is unanswered. A shell that says what may be lost
    /// ([`Reconnected`](Self::Reconnected)) needs this seldom: it is for the loss that nobody knows of.
    Resend,
    /// This resource has made no progress for its limit of time, while there was work for it: records
    /// that were not synced, or entries that were not applied. That ends with the next
    /// [`Synced`](Self::Synced) or [`Applied`](Self::Applied) that says something new.
    Hung {
        /// What hangs.
        resource: Resource,
    },
    /// The application's snapshot is durable, for which the handle was given out in this run
    /// ([`Replica::snapshot_handle`](crate::Replica::snapshot_handle)): the log may be cut behind it.
    SnapshotTaken {
        /// The handle.
        handle: Arc<SnapshotHandle>,
    },
    /// The snapshot that was to be fetched ([`Output::fetch`]) does not come: nobody who has it can be
    /// reached. The core asks anew.
    NotFetched,
    /// A peer's snapshot has come, and is durable here. It may be any that this peer ever had.
    Install {
        /// The peer.
        from: ReplicaId,
        /// The handle of the snapshot.
        handle: Arc<SnapshotHandle>,
    },
}

/// What a replica wants done. The caller keeps one `Output`, so that its buffers are reused, and clears it
/// between steps, or the order of what is restored and delivered is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output<V> {
    /// Records to append to the disk, in order. The first has the position after the last one
    /// written before.
    pub writes: Vec<Record<V>>,
    /// Messages that may leave at once.
    pub messages: Vec<Outgoing<V>>,
    /// Entries for the application, in slot order, without gaps.
    pub delivered: Vec<Delivered<V>>,
    /// Committed slots that the application had already, with their verdicts, for the followers of the
    /// log. Slots without a verdict are left out.
    pub had_already: Vec<(Slot, Verdict)>,
    /// Committed slots that a peer asked for and that are no longer in memory: the shell reads them
    /// from the disk and sends them as [`Message::Committed`]. If the log was cut meanwhile, they may be gone:
    /// [`Input::NotServed`].
    pub serve: Vec<Serve>,
    /// Reads with their slot, and submissions that are answered without a delivery.
    pub answers: Vec<ClientAnswer>,
    /// There is a coordinator, or a candidate that may become one: this replica obeyed an order, or,
    /// at the coordinator, a majority answered its round. The failure detector starts its time anew.
    pub coordinator_heard: bool,
    /// An election has come further: this replica has agreed to a canvass, or promises, or stands, or
    /// begins to coordinate. The failure detector gives the election more time, and counts it as no success.
    pub election_advances: bool,
    /// An [`Input::Elect`] was not obeyed.
    pub elect_refused: Option<ElectRefused>,
    /// This replica has ceased to coordinate, to stand or to canvass, because this resource hangs.
    pub gave_way: Option<Resource>,
    /// What no correct peer can have sent.
    pub contradictions: Vec<Contradiction>,
    /// Peers that are found to have another history than this replica. One side is wrong, and nobody
    /// knows which.
    pub other_histories: Vec<OtherHistory>,
    /// What is found to be lost on the disk of this replica, or of a peer.
    pub forgotten: Vec<Forgotten>,
    /// The snapshot up to this slot, or a later one, is to be fetched from this peer, or from another one.
    /// When it is durable here, the core is to be told: [`Input::Install`]; or [`Input::NotFetched`], if
    /// that is given up. A snapshot that is on its way already and makes progress will do as well.
    pub fetch: Option<(ReplicaId, Slot)>,
    /// The application is to be given the snapshot up to this slot: after all that was delivered in steps
    /// before, and ahead of what is delivered in this one. It has applied everything up to there then
    /// ([`Input::Applied`]).
    pub restore: Option<Slot>,
}

impl<V> Default for Output<V> {
    fn default() -> Self {
        Self {
            writes: Vec::new(),
            messages: Vec::new(),
            delivered: Vec::new(),
            serve: Vec::new(),
            had_already: Vec::new(),
            answers: Vec::new(),
            coordinator_heard: false,
            election_advances: false,
            elect_refused: None,
            gave_way: None,
            contradictions: Vec::new(),
            other_histories: Vec::new(),
            forgotten: Vec::new(),
            fetch: None,
            restore: None,
        }
    }
}

impl<V> Output<V> {
    /// Empties every list and keeps its buffer.
    pub fn clear(&mut self) {
        self.writes.clear();
        self.messages.clear();
        self.delivered.clear();
        self.had_already.clear();
        self.serve.clear();
        self.answers.clear();
        self.coordinator_heard = false;
        self.election_advances = false;
        self.elect_refused = None;
        self.gave_way = None;
        self.contradictions.clear();
        self.other_histories.clear();
        self.forgotten.clear();
        self.fetch = None;
        self.restore = None;
    }

    pub(crate) fn send(&mut self, to: ReplicaId, message: Message<V>) {
        self.messages.push(Outgoing { to: To::One(to), message });
    }

    /// From now on, the others are those of another configuration. What was sent to the others in this step
    /// is for those of `before`.
    pub(crate) fn address_others(&mut self, before: &Configuration, me: ReplicaId)
    where
        V: Clone,
    {
        if !self.messages.iter().any(|it| it.to == To::Others) {
            return;
        }
        for outgoing in core::mem::take(&mut self.messages) {
            match outgoing.to {
                To::One(_) => self.messages.push(outgoing),
                To::Others => {
                    for to in before.members().iter().copied().filter(|it| *it != me) {
                        self.send(to, outgoing.message.clone());
                    }
                }
            }
        }
    }

    pub(crate) fn send_to_others(&mut self, message: Message<V>) {
        self.messages.push(Outgoing { to: To::Others, message });
    }
}

/// A message and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing<V> {
    /// The recipients.
    pub to: To,
    /// The message; one for all its recipients, so that it is encoded once.
    pub message: Message<V>,
}

/// Recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// One replica.
    One(ReplicaId),
    /// Every member of the sender's configuration, as it is after the step, but the sender.
    Others,
}

/// An entry that is committed, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivered<V> {
    /// The slot.
    pub slot: Slot,
    /// The entry.
    pub entry: Entry<V>,
    /// Whether it is the first copy of its submission. No-ops and configurations have no verdict.
    pub verdict: Option<Verdict>,
}

/// Committed slots to be read from the disk and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// Who asked.
    pub to: ReplicaId,
    /// What to send, in order, in as many messages as it takes. All of it is durable. [`Serve::reads`]
    /// says which slots are read for that, and [`Serve::take`] makes the messages of them. If several
    /// records name one slot, the last one counts:
    /// [`Content::put_into`](crate::Content::put_into) decides that. Then the core is to be told
    /// [`Input::Served`].
    pub slots: SlotRange,
    /// A slot before the first one, and the running hash up to there. What is sent names the hash of all
    /// that comes before it, so the entries between are read too.
    pub checkpoint: (Slot, PrefixHash),
    /// The first slot that the log still has, to send along.
    pub log_starts_at: Slot,
    /// The watermark to send along.
    pub watermark: Slot,
}

impl Serve {
    /// The slots to be read from the disk: those that are sent, and those that only the hash needs.
    #[must_use]
    pub fn reads(&self) -> SlotRange {
        SlotRange { first: self.checkpoint.0.next(), last: self.slots.last }
    }

    /// Takes the entries of the first of these slots, one or more. Returns the message for the peer, if
    /// they are so many that there is one, and what remains to be read.
    #[must_use]
    pub fn take<V: Value>(self, entries: Vec<Entry<V>>) -> (Option<Message<V>>, Option<Self>) {
        let Self { to, slots, checkpoint: (mut known, mut before), log_starts_at, watermark } =
            self;
        let mut entries = entries.into_iter().peekable();
        while known.next() < slots.first
            && let Some(entry) = entries.next()
        {
            (known, before) = (known.next(), before.after(&entry));
        }
        let first = known.next();
        let entries: Vec<_> = entries.collect();
        let (mut through, mut hash) = (known, before);
        for entry in &entries {
            (through, hash) = (through.next(), hash.after(entry));
        }
        let rest = SlotRange { first: slots.first.max(through.next()), last: slots.last };
        let rest = (rest.first <= rest.last).then_some(Self {
            to,
            slots: rest,
            checkpoint: (through, hash),
            log_starts_at,
            watermark,
        });
        let message = Message::Committed { log_starts_at, first, before, entries, watermark };
        (Some(message).filter(|_| through > known), rest)
    }
}

/// An answer to a client of this replica that is not a delivery.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientAnswer {
    /// The application has everything that the read must see: serve it now.
    Read {
        /// Which read.
        id: ReadId,
        /// The slot it was to be served at; the application may be further.
        slot: Slot,
    },
    /// The read was not taken, or is not answered any more.
    ReadRefused {
        /// Which read.
        id: ReadId,
        /// Why.
        reason: ReadRefused,
    },
    /// The submission was delivered before, at this slot.
    Done {
        /// Which submission.
        submission: SubmissionId,
        /// The slot at which it was delivered first.
        slot: Slot,
    },
    /// The client has given the submission up: its session has told a later `answered`. It is no
    /// longer known whether the submission was delivered.
    GivenUp {
        /// Which submission.
        submission: SubmissionId,
    },
    /// Nobody knows what became of the submission: a snapshot took the place of the slots in which it may
    /// be, and its session has ended or was evicted since.
    Unknown {
        /// Which submission.
        submission: SubmissionId,
    },
    /// This replica was removed from the cluster, and learns no more what becomes of the submission. A member
    /// knows.
    Removed {
        /// Which submission.
        submission: SubmissionId,
    },
    /// The coordinator does not open the change now: too few of those who would vote after it have said that they
    /// are there and have nearly everything. An earlier coordinator may have opened it. The client may ask again.
    NotReady {
        /// Which submission.
        submission: SubmissionId,
        /// Which members of the change's configuration are ready.
        ready: MemberSet,
    },
    /// The submission was not taken. Nothing was written or sent.
    Refused {
        /// Which submission; none if the entry was not a submission at all.
        submission: Option<SubmissionId>,
        /// Why.
        reason: SubmitRefused,
    },
}

/// Why a submission was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubmitRefused {
    /// As many submissions as the limit allows wait already: try again later.
    TooMany,
    /// The value has more bytes than the limit allows.
    TooLarge,
    /// It is no request, opening or end of a session; or it is an opening that names another replica
    /// or run.
    NotASubmission,
    /// This replica is no member of the newest configuration that it knows. A member will take it.
    NotAMember,
    /// The change names a replica id that is too large.
    IdTooLarge,
}

/// Why a read was not taken, or is not answered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadRefused {
    /// As many reads as the limit allows wait already.
    TooMany,
    /// This replica is no member of the newest configuration that it knows. A member will take it.
    NotAMember,
}

/// Why a replica does not stand for election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectRefused {
    /// It coordinates already.
    Coordinates,
    /// It does not vote in the newest configuration that it knows.
    NotAVoter,
    /// There is no larger sequence number.
    NoLargerNumber,
    /// Its disk or its application hangs.
    Hangs {
        /// Which of them.
        resource: Resource,
    },
}

/// A peer wants another entry accepted in a slot, under a number that has one there. One of the two disks
/// or programs is wrong. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The slot.
    pub slot: Slot,
    /// Who said so.
    pub from: ReplicaId,
    /// The number under which it was said.
    pub s: SequenceNumber,
}

/// A peer has committed other entries than this replica.
///
/// A disk or an operator has broken the promise that what is durable stays: an old copy of a data directory
/// was put in place, or a disk has lost what it had synced. Either side may be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OtherHistory {
    /// The peer.
    pub peer: ReplicaId,
    /// The entries up to this slot differ.
    pub slot: Slot,
}
