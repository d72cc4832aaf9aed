//! The coordinator: phase 2 of Paxos for many slots at once.
//!
//! It *opens* a slot by accepting an entry in it itself and asking all others to. When a majority,
//! itself included, has acknowledged the lowest open slot, that slot is committed. Its own
//! acknowledgement counts like any other: when its record is durable. The accept leaves before that,
//! so that all disks work in parallel, and a value costs one forced write a replica (Paxos Made
//! Live, 4.2).
//!
//! *Rounds* ask all others whether they still obey. They are the heartbeat, they repeat the
//! watermark, and an answered round that began after a read arrived proves that nobody coordinated
//! with a higher number when it did.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::configuration::{Configuration, MemberSet};
use crate::entry::{Entry, SubmissionId, Value};
use crate::limits::Limits;
use crate::numbers::{ReadId, ReplicaId, RoundNumber, Run, SequenceNumber, Slot, SlotRange};

/// A replica that coordinates under `s`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Coordinator<V> {
    pub(crate) s: SequenceNumber,
    /// The last slot that the promises which made this coordinator reported: whatever was committed
    /// before lies at or below it.
    pub(crate) last_promised: Slot,
    /// Who has acknowledged each open slot. The entries are in the acceptor.
    pub(crate) open: BTreeMap<Slot, MemberSet>,
    /// Submissions that wait for the window, and how many bytes they have.
    pub(crate) queue: VecDeque<Entry<V>>,
    queue_bytes: u64,
    /// The submissions in the queue and in open slots, none of which is to get a second slot.
    pub(crate) known: BTreeSet<SubmissionId>,
    /// The others were told that every slot up to here is committed.
    pub(crate) announced: Slot,
    /// A resend repeats open slots up to here: the last that was open at the resend before.
    pub(crate) repeat_through: Slot,
    round: Round,
    /// Reads that the newest round confirms once it is answered, each with the slot to read at.
    confirmed_by_round: BTreeMap<WaitingRead, Slot>,
    /// Reads that arrived after the newest round began.
    confirmed_by_next_round: BTreeMap<WaitingRead, Slot>,
}

/// The newest round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Round {
    number: RoundNumber,
    obeyed: MemberSet,
}

/// A read that waits for the answers to a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaitingRead {
    pub(crate) from: ReplicaId,
    pub(crate) run: Run,
    pub(crate) id: ReadId,
}

impl<V: Value> Coordinator<V> {
    pub(crate) fn new(s: SequenceNumber, last_promised: Slot) -> Self {
        Self {
            s,
            last_promised,
            open: BTreeMap::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            known: BTreeSet::new(),
            announced: Slot::ZERO,
            repeat_through: Slot::ZERO,
            round: Round { number: RoundNumber(0), obeyed: MemberSet::default() },
            confirmed_by_round: BTreeMap::new(),
            confirmed_by_next_round: BTreeMap::new(),
        }
    }

    /// The slot that is opened next.
    pub(crate) fn next_slot(&self, watermark: Slot) -> Slot {
        self.open.last_key_value().map_or(watermark, |(slot, _)| *slot).next()
    }

    /// Lets a submission wait for the window, unless it waits or is in an open slot already, or too
    /// much waits.
    pub(crate) fn enqueue(&mut self, id: SubmissionId, entry: Entry<V>, limits: &Limits) {
        let queue_bytes = self.queue_bytes.saturating_add(entry.size_bytes());
        if (self.queue.len() as u64) < limits.queued_submissions_max
            && queue_bytes <= limits.queued_bytes_max
            && self.known.insert(id)
        {
            self.queue_bytes = queue_bytes;
            self.queue.push_back(entry);
        }
    }

    /// Takes the submission that has waited longest.
    pub(crate) fn dequeue(&mut self) -> Option<Entry<V>> {
        let entry = self.queue.pop_front()?;
        self.queue_bytes = self.queue_bytes.saturating_sub(entry.size_bytes());
        Some(entry)
    }

    /// How many submissions wait for the window.
    pub(crate) fn queued(&self) -> u64 {
        self.queue.len() as u64
    }

    /// `replica` has durably taken what was asked for in these slots.
    pub(crate) fn acknowledge(
        &mut self,
        replica: ReplicaId,
        range: SlotRange,
        configuration: &Configuration,
    ) {
        if range.first <= range.last {
            for (_, acknowledged) in self.open.range_mut(range.first..=range.last) {
                configuration.insert(acknowledged, replica);
            }
        }
    }

    /// Whether `slot` is open and a majority has acknowledged it.
    pub(crate) fn has_majority(&self, slot: Slot, configuration: &Configuration) -> bool {
        self.open.get(&slot).is_some_and(|set| configuration.is_majority(*set))
    }

    /// The number of the newest round.
    pub(crate) fn round(&self) -> RoundNumber {
        self.round.number
    }

    /// Whether the newest round is answered by a majority.
    pub(crate) fn round_is_answered(&self, configuration: &Configuration) -> bool {
        configuration.is_majority(self.round.obeyed)
    }

    /// Begins a round. The coordinator itself obeys.
    pub(crate) fn begin_round(&mut self, me: ReplicaId, configuration: &Configuration) {
        self.round.number.0 = self.round.number.0.saturating_add(1);
        self.round.obeyed = MemberSet::default();
        configuration.insert(&mut self.round.obeyed, me);
        self.confirmed_by_round.append(&mut self.confirmed_by_next_round);
    }

    /// `replica` obeyed in a round; says whether that is news. An answer to another round than the
    /// newest is none.
    pub(crate) fn obeyed(
        &mut self,
        replica: ReplicaId,
        number: RoundNumber,
        configuration: &Configuration,
    ) -> bool {
        number == self.round.number && configuration.insert(&mut self.round.obeyed, replica)
    }

    /// Whether `replica` has answered the newest round.
    #[cfg(feature = "stateright")]
    pub(crate) fn has_obeyed(&self, replica: ReplicaId, configuration: &Configuration) -> bool {
        configuration.is_in(self.round.obeyed, replica)
    }

    /// Takes in a read that arrives now, to be read at `slot`, unless it waits already.
    pub(crate) fn add_read(&mut self, read: WaitingRead, slot: Slot) {
        if !self.confirmed_by_round.contains_key(&read) {
            self.confirmed_by_next_round.entry(read).or_insert(slot);
        }
    }

    /// How many reads wait.
    pub(crate) fn reads_waiting(&self) -> u64 {
        (self.confirmed_by_round.len() + self.confirmed_by_next_round.len()) as u64
    }

    /// Whether a read waits for a round that has not begun.
    pub(crate) fn wants_round(&self) -> bool {
        !self.confirmed_by_next_round.is_empty()
    }

    /// Takes out the reads that the newest round, which is answered, confirms.
    pub(crate) fn take_confirmed(&mut self) -> BTreeMap<WaitingRead, Slot> {
        core::mem::take(&mut self.confirmed_by_round)
    }
}
