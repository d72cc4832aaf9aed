//! A safety monitor: it sees every step of a cluster and checks the promises of Paxos.
//!
//! The monitor keeps a history that no replica has. It knows what every disk has ever held, so it
//! finds a violation that no replica notices.

use std::collections::{BTreeMap, BTreeSet};

use synod_model::{
    Configuration, ConfigurationId, Content, Contradiction, Delivered, Entry, Forgotten, Limits,
    MemberSet, Message, Order, OtherHistory, PrefixHash, ReadId, Record, ReplicaId, Reply,
    RequestTable, Run, SequenceNumber, Slot, SnapshotHandle, Status, SubmissionId, Verdict,
};

use super::V;
use super::disk::Disk;

/// The history of a cluster, as far as a promise of Paxos depends on it.
#[derive(Debug)]
pub(crate) struct SafetyMonitor {
    first: Configuration,
    /// Whether every replica follows the protocol. Paxos promises nothing if one lies.
    pub(crate) honest: bool,
    /// The highest watermark of any replica so far.
    pub(crate) committed: Slot,
    /// Each delivered slot, as the first replica delivered it.
    pub(crate) log: BTreeMap<Slot, (Entry<V>, Option<Verdict>)>,
    firsts: BTreeMap<SubmissionId, Slot>,
    proposed: BTreeMap<(SequenceNumber, Slot), Entry<V>>,
    /// The replicas that have ever had the value of a number and slot on disk.
    holders: BTreeMap<(SequenceNumber, Slot), BTreeSet<ReplicaId>>,
    /// The values that a majority of a configuration has ever held on its disks under one number, noticed or
    /// not.
    chosen: BTreeMap<(Slot, ConfigurationId), Entry<V>>,
    /// The configuration of each number that was used.
    numbers: BTreeMap<SequenceNumber, ConfigurationId>,
    /// The highest number that each replica has promised in a message.
    promised: BTreeMap<ReplicaId, SequenceNumber>,
    /// The last committed slot at the time when a read arrived.
    reads: BTreeMap<(ReplicaId, Run, ReadId), Slot>,
}

impl SafetyMonitor {
    pub(crate) fn new(first: Configuration) -> Self {
        Self {
            first,
            numbers: BTreeMap::new(),
            honest: true,
            committed: Slot::ZERO,
            log: BTreeMap::new(),
            firsts: BTreeMap::new(),
            proposed: BTreeMap::new(),
            holders: BTreeMap::new(),
            chosen: BTreeMap::new(),
            promised: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }
}

impl SafetyMonitor {
    /// The configurations that govern the log, each with the slot of its change.
    fn configurations(&self) -> impl DoubleEndedIterator<Item = (Slot, &Configuration)> {
        let changes = self.log.iter().filter_map(|(slot, (entry, verdict))| match entry {
            Entry::Change(change) if *verdict == Some(Verdict::First) => {
                Some((*slot, &change.configuration))
            }
            _ => None,
        });
        std::iter::once((Slot::ZERO, &self.first)).chain(changes)
    }

    /// The configuration with this id. Nobody accepts in it before the change is committed.
    fn configuration(&self, id: ConfigurationId) -> &Configuration {
        let mut all = self.configurations().map(|(_, it)| it);
        all.find(|it| it.id() == id).expect("it governs")
    }

    /// The configuration that governs `slot`.
    pub(crate) fn governs(&self, slot: Slot) -> &Configuration {
        let mut before = self.configurations().rev();
        before.find(|(at, _)| *at < slot).expect("the first one").1
    }

    /// The monitor of a new cluster that is restored from a snapshot of the cluster that `old` has seen: the log up to
    /// `slot` is the same, and nothing was proposed or promised.
    pub(crate) fn of_restored(old: &Self, first: Configuration, slot: Slot) -> Self {
        let log = old.log.range(..=slot).map(|(slot, it)| (*slot, it.clone())).collect();
        let firsts = old.firsts.iter().filter(|(_, first)| **first <= slot);
        let firsts = firsts.map(|(submission, first)| (*submission, *first)).collect();
        Self { committed: slot, log, firsts, ..Self::new(first) }
    }

    /// Checks that all replicas deliver the same, and that a submission is first at most once. (An
    /// opening may be first again after its session was evicted.)
    pub(crate) fn delivered(&mut self, delivered: &Delivered<V>, limits: &Limits) {
        let Delivered { slot, ref entry, verdict } = *delivered;
        if !self.honest {
            return;
        }
        let before = self.log.entry(slot).or_insert_with(|| (entry.clone(), verdict));
        assert_eq!(*before, (entry.clone(), verdict), "agreement in slot {slot}");
        let opens = self.log.values().filter(|(entry, _)| matches!(entry, Entry::Open(_)));
        let may_evict = opens.count() as u64 >= limits.sessions_max;
        let forgotten = may_evict && matches!(entry, Entry::Open(_));
        if let (Some(Verdict::First), Some(submission)) = (verdict, entry.submission_id())
            && !forgotten
        {
            let first = *self.firsts.entry(submission).or_insert(slot);
            assert_eq!(first, slot, "{submission:?} is delivered as first once");
        }
    }

    /// Checks that the disks of a majority that governs it hold everything up to the watermark of a replica,
    /// and that a chosen value is committed.
    pub(crate) fn committed<'a>(
        &mut self,
        watermark: Slot,
        disks: &(impl Iterator<Item = (ReplicaId, &'a Disk)> + Clone),
    ) {
        while self.honest && self.committed < watermark {
            let slot = self.committed.next();
            let (entry, _) = &self.log[&slot];
            let governing = self.governs(slot);
            let mut holders = MemberSet::default();
            for (id, _) in disks.clone().filter(|(_, disk)| disk.has(slot, entry)) {
                governing.insert(&mut holders, id);
            }
            assert!(governing.is_majority(holders), "slot {slot} is committed on {holders:?} only");
            let chosen = self.chosen.get(&(slot, governing.id()));
            assert_eq!(chosen, Some(entry), "what is committed in slot {slot} is chosen");
            self.committed = slot;
        }
    }

    /// Checks that a snapshot equals the log up to its slot. `table` is the one that every log begins with.
    pub(crate) fn snapshot(
        &self,
        handle: &SnapshotHandle,
        mut table: RequestTable,
        limits: &Limits,
    ) {
        let mut hash = PrefixHash::default();
        for (slot, (entry, _)) in self.log.range(..=handle.slot) {
            table.deliver(*slot, entry, self.governs(*slot), limits);
            hash = hash.after(entry);
        }
        assert_eq!((hash, &table), (handle.hash(), &*handle.table), "slot {}", handle.slot);
        assert_eq!(handle.configuration, *self.governs(handle.slot.next()));
    }

    /// Checks that a slot has one value under one number.
    pub(crate) fn wrote(&mut self, record: &Record<V>) {
        if let Content::Accepted { s, configuration, first, entries } = &record.content {
            self.proposed(*s, *first, entries);
            let its = *self.numbers.entry(*s).or_insert(*configuration);
            assert!(its == *configuration || !self.honest, "{s} belongs to one configuration");
        }
    }

    /// Checks that one value is chosen for a slot, and that only a chosen value is committed.
    pub(crate) fn synced(&mut self, me: ReplicaId, records: &[Record<V>]) {
        if !self.honest {
            return;
        }
        for record in records {
            match &record.content {
                Content::Promised(_) | Content::Forgotten(_) | Content::Snapshot { .. } => {}
                Content::Accepted { s, configuration, first, entries } => {
                    let its = self.configuration(*configuration).clone();
                    for (slot, entry) in (first.0..).map(Slot).zip(entries) {
                        let holders = self.holders.entry((*s, slot)).or_default();
                        holders.insert(me);
                        let mut set = MemberSet::default();
                        for holder in holders.iter() {
                            its.insert(&mut set, *holder);
                        }
                        if its.is_majority(set) {
                            self.is_chosen(slot, *configuration, entry);
                        }
                    }
                }
                Content::Committed { first, entries } => {
                    for (slot, entry) in (first.0..).map(Slot).zip(entries) {
                        let governing = self.governs(slot).id();
                        self.is_chosen(slot, governing, entry);
                    }
                }
            }
        }
    }

    fn is_chosen(&mut self, slot: Slot, configuration: ConfigurationId, entry: &Entry<V>) {
        let chosen = self.chosen.entry((slot, configuration)).or_insert_with(|| entry.clone());
        assert_eq!(chosen, entry, "one value is chosen for slot {slot}");
    }

    fn proposed(&mut self, s: SequenceNumber, first: Slot, entries: &[Entry<V>]) {
        for (slot, entry) in (first.0..).map(Slot).zip(entries) {
            let before = self.proposed.entry((s, slot)).or_insert_with(|| entry.clone());
            assert!(*before == *entry || !self.honest, "one value for slot {slot} under {s}");
        }
    }

    /// Checks that a message keeps the limits, and remembers what it promises.
    pub(crate) fn sent(&mut self, me: ReplicaId, message: &Message<V>, limits: &Limits) {
        let in_frame = |entries: &mut dyn Iterator<Item = &Entry<V>>| {
            let sizes: Vec<u64> = entries.map(Entry::size_bytes).collect();
            assert!(sizes.len() as u64 <= limits.frame_entries_max, "too many: {message:?}");
            let fits = sizes.len() <= 1 || sizes.iter().sum::<u64>() <= limits.frame_bytes_max;
            assert!(fits, "too large: {message:?}");
        };
        match message {
            Message::Order { s, order: Order::Accept { first, entries, .. }, .. } => {
                assert!(!entries.is_empty(), "an accept accepts something");
                in_frame(&mut entries.iter());
                self.proposed(*s, *first, entries);
            }
            Message::Committed { entries, .. } => in_frame(&mut entries.iter()),
            Message::Submit { submissions } => in_frame(&mut submissions.iter()),
            Message::Reply { s, reply, .. } => match reply {
                Reply::Promise(promise) => {
                    in_frame(&mut promise.accepted.iter().map(|it| &it.entry));
                    let promised = self.promised.entry(me).or_default();
                    *promised = (*promised).max(*s);
                }
                Reply::Acknowledge { ranges, .. } => {
                    let sorted = ranges.is_sorted_by(|a, b| a.last.next() < b.first);
                    assert!(sorted && !ranges.is_empty(), "ranges ascend, and are not adjacent");
                }
                Reply::Agree { .. }
                | Reply::Room { .. }
                | Reply::Obey { .. }
                | Reply::Applied { .. } => {}
            },
            _ => {}
        }
    }

    /// Checks that a promise that was sent survives a crash.
    pub(crate) fn recovered(&self, me: ReplicaId, status: &Status) {
        let sent = self.promised.get(&me).copied().unwrap_or_default();
        assert!(
            sent <= status.promised || !self.honest,
            "r{me} sent a promise of {sent} and has forgotten it"
        );
    }

    pub(crate) fn read_arrived(&mut self, me: ReplicaId, run: Run, ids: &[ReadId]) {
        for &id in ids {
            self.reads.entry((me, run, id)).or_insert(self.committed);
        }
    }

    /// Checks that a read covers everything that was committed when it arrived.
    pub(crate) fn read_answered(&self, me: ReplicaId, run: Run, id: ReadId, slot: Slot) {
        let must_see = self.reads[&(me, run, id)];
        assert!(slot >= must_see || !self.honest, "read {id} of r{me} misses slot {must_see}");
    }

    pub(crate) fn forgotten(&self, me: ReplicaId, it: Forgotten) {
        assert!(!self.honest, "r{me} finds, and no disk lost anything: {it}");
    }

    pub(crate) fn other_history(&self, me: ReplicaId, it: OtherHistory) {
        assert!(!self.honest, "r{me} takes r{} for one with another history", it.peer);
    }

    pub(crate) fn contradicted(&self, me: ReplicaId, contradiction: Contradiction) {
        assert!(!self.honest, "r{me} is contradicted: {contradiction:?}");
    }
}
