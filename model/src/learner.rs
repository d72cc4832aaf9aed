//! The learner: what is committed, in order, and handed to the application.
//!
//! Commit is by prefix: the *watermark* says that every slot up to it is committed, and moves one
//! slot at a time. The newest committed entries stay in memory, in the *tail*: lagging peers ask for
//! them, and a late accept for a committed slot is compared with them. Older ones are only on the
//! disk.
//!
//! The tail is as long, in slots and in bytes, as what an acceptor accepts ahead. The reason: a
//! coordinator may be elected without the replica that knew most. It then sends that replica accepts
//! for slots that are committed there. If such a slot is in the tail, the accept is acknowledged. If it
//! is older, the committed slots are the answer, and the coordinator has to stand for election again.

use alloc::sync::Arc;

use crate::configuration::Configuration;
use crate::counted::{CountedQueue, SizeBytes};
use crate::entry::{Entry, Value};
use crate::io::{Delivered, Output};
use crate::limits::Limits;
use crate::numbers::{SequenceNumber, Slot};
use crate::prefix::{EntryDigest, PrefixHash, PrefixHashes};
use crate::sessions::{RequestTable, Verdict};
use crate::snapshot::SnapshotHandle;

/// The committed part of one replica's log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Learner<V> {
    /// The configuration that governs the slots above the watermark.
    configuration: Configuration,
    /// The slot of the change that made it; [`Slot::ZERO`] for the first one.
    changed_at: Slot,
    /// The configuration before, until one more slot is committed.
    former: Option<Configuration>,
    /// The last slot that the log on disk does not have any more, and the running hash up to there.
    cut_at: (Slot, PrefixHash),
    watermark: Slot,
    /// The running hash up to there, and before.
    hashes: PrefixHashes,
    /// Every slot up to here is committed, and durable on this replica.
    durable: Slot,
    /// The entries of the last slots up to the watermark, oldest first.
    tail: CountedQueue<Learned<V>>,
    /// Shared with copies of this replica until one of them delivers.
    table: Arc<RequestTable>,
    /// The application was given, or had already, everything up to this slot.
    delivered: Slot,
    /// The application has everything up to this slot.
    applied: Slot,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Learned<V> {
    entry: Entry<V>,
    /// The number under which the record is written that the entry still waits for, if it waits.
    waits_for: Option<SequenceNumber>,
}

impl<V: Value> SizeBytes for Learned<V> {
    fn size_bytes(&self) -> u64 {
        self.entry.size_bytes()
    }
}

/// How an entry that is offered for a slot compares with what is committed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// The slot is above the watermark.
    Open,
    /// It is the committed entry, and durable here.
    Same,
    /// It is the committed entry, and its record is not durable yet.
    SameNotDurable,
    /// Another entry is committed.
    Other,
    /// The slot is older than the tail.
    Unknown,
}

impl<V: Value> Learner<V> {
    /// A learner that has nothing yet but what a snapshot holds. The application has everything up to
    /// `applied`. If that is less, it is given the snapshot.
    pub(crate) fn new(snapshot: &SnapshotHandle, applied: Slot) -> Self {
        let SnapshotHandle { slot, hashes, table, configuration, changed_at } = snapshot;
        Self {
            configuration: configuration.clone(),
            changed_at: *changed_at,
            former: None,
            cut_at: (*slot, snapshot.hash()),
            watermark: *slot,
            hashes: hashes.clone(),
            durable: *slot,
            tail: CountedQueue::default(),
            table: Arc::clone(table),
            delivered: applied.max(*slot),
            applied,
        }
    }

    pub(crate) fn watermark(&self) -> Slot {
        self.watermark
    }

    /// The running hash of what is committed.
    pub(crate) fn hashes(&self) -> &PrefixHashes {
        &self.hashes
    }

    /// The configuration that governs the slots above the watermark.
    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The configuration before that one, until one more slot is committed. A replica that starts anew does not
    /// know it: a snapshot may have taken its place.
    pub(crate) fn former(&self) -> Option<&Configuration> {
        self.former.as_ref()
    }

    /// Forgets the configuration before: a start from a snapshot would not know it either.
    pub(crate) fn forget_former(&mut self) {
        self.former = None;
    }

    /// The slot of the change that made the newest configuration; zero for the first one.
    pub(crate) fn changed_at(&self) -> Slot {
        self.changed_at
    }

    /// Whether no slot after the change that made the newest configuration is known to be committed. For the
    /// first configuration there is no change.
    pub(crate) fn is_change_unfinished(&self) -> bool {
        self.changed_at == self.watermark && self.changed_at > Slot::ZERO
    }

    pub(crate) fn durable(&self) -> Slot {
        self.durable
    }

    pub(crate) fn delivered(&self) -> Slot {
        self.delivered
    }

    pub(crate) fn applied(&self) -> Slot {
        self.applied
    }

    /// The first slot that the log on disk still has.
    pub(crate) fn log_starts_at(&self) -> Slot {
        self.cut_at.0.next()
    }

    /// The first slot that this replica still has, in memory or on the disk.
    pub(crate) fn has_from(&self) -> Slot {
        self.log_starts_at().min(self.tail_starts_at())
    }

    pub(crate) fn table(&self) -> &RequestTable {
        &self.table
    }

    /// The first slot of the tail; the slot after the watermark if the tail is empty.
    pub(crate) fn tail_starts_at(&self) -> Slot {
        Slot(self.watermark.0 + 1 - self.tail.count())
    }

    /// The committed entries from `from` on that are in the tail.
    pub(crate) fn tail_from(&self, from: Slot) -> impl Iterator<Item = (Slot, &Entry<V>)> {
        let start = self.tail_starts_at();
        let skip = usize::try_from(from.0.saturating_sub(start.0)).unwrap_or(usize::MAX);
        let slots = (start.0..).map(Slot);
        slots.zip(self.tail.iter()).skip(skip).map(|(slot, learned)| (slot, &learned.entry))
    }

    /// The place of `slot` in the tail, or past its end.
    fn place(&self, slot: Slot) -> Option<usize> {
        usize::try_from(slot.0.checked_sub(self.tail_starts_at().0)?).ok()
    }

    fn learned(&self, slot: Slot) -> Option<&Learned<V>> {
        self.tail.get(self.place(slot)?)
    }

    /// Compares `entry`, offered for `slot`, with what is committed.
    pub(crate) fn compare(&self, slot: Slot, entry: &Entry<V>) -> Compared {
        if slot > self.watermark {
            return Compared::Open;
        }
        match self.learned(slot) {
            None => Compared::Unknown,
            Some(learned) if learned.entry != *entry => Compared::Other,
            Some(Learned { waits_for: Some(_), .. }) => Compared::SameNotDurable,
            Some(_) => Compared::Same,
        }
    }

    /// Commits the next slot and hands its entry to the application. Says whether another configuration
    /// governs the slots after it.
    ///
    /// `waits_for` is the number of the entry's record if that is not durable yet.
    pub(crate) fn commit(
        &mut self,
        entry: Entry<V>,
        digest: EntryDigest,
        waits_for: Option<SequenceNumber>,
        limits: &Limits,
        out: &mut Output<V>,
    ) -> bool {
        let slot = self.watermark.next();
        self.watermark = slot;
        self.hashes.push(digest, limits);
        let table = Arc::make_mut(&mut self.table);
        let verdict = table.deliver(slot, &entry, &self.configuration, limits);
        self.former = None;
        let is_changed = match &entry {
            Entry::Change(change) if verdict == Some(Verdict::First) => {
                let after = change.configuration.clone();
                self.former = Some(core::mem::replace(&mut self.configuration, after));
                self.changed_at = slot;
                true
            }
            _ => false,
        };
        if slot > self.delivered {
            self.delivered = slot;
            out.delivered.push(Delivered { slot, entry: entry.clone(), verdict });
        } else if let Some(verdict) = verdict {
            out.had_already.push((slot, verdict));
        }
        self.tail.push_back(Learned { entry, waits_for });
        self.trim(limits);
        // As far back as an acceptor accepts ahead: nobody else votes. And as far as the tail is served.
        self.hashes.keep(limits.accepted_slots_max.max(self.tail.count()));
        is_changed
    }

    /// Moves `durable` up over the entries that wait for no record any more.
    fn count_durable(&mut self) {
        while self.durable < self.watermark
            && self.learned(self.durable.next()).is_some_and(|it| it.waits_for.is_none())
        {
            self.durable = self.durable.next();
        }
    }

    /// Forgets the oldest entries that the tail has no room for, if they count as durable. Peers are served
    /// these from the disk.
    ///
    /// An entry above an installed snapshot may wait for no record, and not count yet, because the record of
    /// the snapshot is not durable. It is kept until it counts.
    fn trim(&mut self, limits: &Limits) {
        self.count_durable();
        while (self.tail.count() > limits.accepted_slots_max
            || self.tail.size_bytes() > limits.accepted_bytes_max)
            && self.tail_starts_at() <= self.durable
        {
            self.tail.pop_front();
        }
    }

    /// Whether the tail is within its limits, or begins with what does not count as durable.
    #[cfg(feature = "stateright")]
    pub(crate) fn tail_is_within(&self, limits: &Limits) -> bool {
        let size_bytes: u64 = self.tail.iter().map(|it| it.entry.size_bytes()).sum();
        self.tail_starts_at() > self.durable
            || (self.tail.count() <= limits.accepted_slots_max
                && size_bytes <= limits.accepted_bytes_max)
    }

    /// The record that holds `slot` under `s` is durable. False if the slot does not rest on that
    /// record.
    pub(crate) fn is_durable(&mut self, slot: Slot, s: SequenceNumber, limits: &Limits) -> bool {
        let Some(learned) = self.place(slot).and_then(|place| self.tail.get_mut(place)) else {
            return false;
        };
        let rests_on_it = learned.waits_for == Some(s);
        if rests_on_it {
            learned.waits_for = None;
            self.trim(limits);
        }
        rests_on_it
    }

    /// The handle of a snapshot that the application takes now; none if it has more than this log knows to
    /// be committed.
    pub(crate) fn handle(&self, limits: &Limits) -> Option<SnapshotHandle> {
        if self.watermark != self.delivered {
            return None;
        }
        let mut hashes = self.hashes.clone();
        // The tail may reach further back for a while, at one replica and not at another.
        hashes.keep(limits.accepted_slots_max);
        let (slot, table) = (self.watermark, Arc::clone(&self.table));
        let (configuration, changed_at) = (self.configuration.clone(), self.changed_at);
        Some(SnapshotHandle { slot, configuration, changed_at, hashes, table })
    }

    /// The log on disk has nothing any more of what is in this snapshot, and committed here.
    pub(crate) fn cut(&mut self, snapshot: &SnapshotHandle) {
        self.cut_at = (snapshot.slot, snapshot.hash());
    }

    /// The last slot up to `slot` whose hash is remembered, and up to which nothing has to be read from the
    /// disk to compute the hashes after it. The log has all slots behind it.
    pub(crate) fn checkpoint(&self, slot: Slot, limits: &Limits) -> (Slot, PrefixHash) {
        self.hashes.checkpoint(slot, limits).max(self.cut_at)
    }

    /// Forgets what is in memory up to `slot`, as after a start from that snapshot.
    pub(crate) fn forget_through(&mut self, slot: Slot) {
        while self.tail_starts_at() <= slot && self.tail.pop_front().is_some() {}
    }

    /// Puts a snapshot, which goes further than the watermark, in the place of everything up to its slot.
    /// Says whether the application is to be given it; the application may have more.
    pub(crate) fn install(&mut self, snapshot: &SnapshotHandle) -> bool {
        let (durable, applied, delivered) = (self.durable, self.applied, self.delivered);
        let delivered_now = delivered.max(snapshot.slot);
        let new = Self::new(snapshot, applied);
        let is_changed = self.configuration != new.configuration;
        let former = is_changed.then(|| self.configuration.clone());
        *self = Self { durable, delivered: delivered_now, former, ..new };
        delivered < snapshot.slot
    }

    /// The record of the snapshot up to `slot` is durable.
    pub(crate) fn snapshot_is_durable(&mut self, slot: Slot, limits: &Limits) {
        self.durable = self.durable.max(slot);
        self.trim(limits);
    }

    /// The application has everything up to `through`.
    pub(crate) fn apply(&mut self, through: Slot) {
        self.applied = self.applied.max(through.min(self.delivered));
    }
}
