//! The coordinator: phase 2 of Paxos for many slots at once.
//!
//! The coordinator *opens* a slot: it accepts an entry in the slot, and asks all others to. When a
//! majority, itself included, has acknowledged the lowest open slot, that slot is committed. Its own
//! acknowledgement counts when its record is durable, like any other. The accept leaves before that,
//! so that all disks work in parallel, and a value costs one forced write a replica (Paxos Made Live,
//! 4.2).
//!
//! Submissions wait in a queue until the window, the disk and the acceptor have room, and until everything
//! is open that the election must finish ([`finish`](super::finish)). What the queue has no room for is
//! not taken: its origin is told, and told again when there is room.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::admission::Admission;
use super::clients::Clients;
use super::commit::commit_held;
use super::common::Common;
use super::finish::ToFinish;
use super::hung::Probe;
use super::push::HeldBack;
use super::reads::Reads;
use super::rounds::Rounds;
use crate::configuration::{Configuration, MemberSet};
use crate::counted::CountedQueue;
use crate::entry::{ENTRY_BYTES, Entry, SubmissionId, Value};
use crate::frames::{EntryRange, FrameRoom};
use crate::io::Output;
use crate::limits::Limits;
use crate::message::{Message, Order};
use crate::numbers::{ReadId, ReplicaId, RoundNumber, Run, SequenceNumber, Slot, SlotRange};
use crate::prefix::Prefix;

/// A replica that coordinates under `s`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Coordinator<V> {
    pub(crate) s: SequenceNumber,
    /// The members whose promises made this replica coordinator; itself is among them.
    pub(crate) promised_by: MemberSet,
    /// The last slot that the promises for this number reported. Everything that was committed under
    /// lower numbers is at or below it.
    pub(crate) last_promised: Slot,
    /// The members that have acknowledged each open slot. The entries are in the acceptor.
    pub(crate) open: BTreeMap<Slot, MemberSet>,
    /// What is to be opened before anything else. Most of the time that is nothing.
    pub(crate) to_finish: Option<Box<ToFinish<V>>>,
    /// Submissions that wait for the window.
    pub(crate) queue: CountedQueue<Entry<V>>,
    /// The change that waits until enough voters are ready.
    pub(crate) admission: Box<Admission>,
    /// How many copies of which submissions wait, or are in open slots. None of them may get
    /// another slot. An election may have to finish several copies of one.
    pub(super) known: BTreeMap<SubmissionId, u64>,
    /// The others were told that every slot up to here is committed.
    announced: Slot,
    /// A resend repeats open slots up to here: the last that was open at the resend before.
    pub(super) repeat_through: Slot,
    /// What is held back from followers. Most of the time that is nothing.
    pub(super) held_back: BTreeMap<ReplicaId, HeldBack>,
    pub(crate) rounds: Rounds,
    /// A replica forwarded something that there was no room for, and is to be told when there is.
    pub(super) has_refused: bool,
    /// What was opened to find out whether the others are further, while something hangs here.
    pub(crate) probe: Option<Probe>,
}

impl<V: Value> Coordinator<V> {
    /// Begins to coordinate under `s`, with phase 2: begins to finish what a former coordinator may have
    /// got through, and begins a round. What the clients of this replica wait for is taken up when
    /// there is room.
    pub(super) fn begin(
        s: SequenceNumber,
        promised_by: MemberSet,
        to_finish: ToFinish<V>,
        common: &mut Common<V>,
        clients: &mut Clients<V>,
        out: &mut Output<V>,
    ) -> Self {
        let mut coordinator = Self {
            s,
            promised_by,
            last_promised: to_finish.through,
            open: BTreeMap::new(),
            to_finish: Some(Box::new(to_finish)),
            queue: CountedQueue::default(),
            admission: Box::default(),
            known: BTreeMap::new(),
            announced: Slot::ZERO,
            repeat_through: Slot::ZERO,
            held_back: BTreeMap::new(),
            rounds: Rounds::default(),
            has_refused: false,
            probe: None,
        };
        common.suspects = false;
        out.election_advances = true;
        coordinator.open_portion(common, out);
        coordinator.rounds.begin(s, common, out);
        clients.forward_anew();
        let reads = clients.reads.take_unforwarded();
        coordinator.take_own_reads(&reads, common, &mut clients.reads);
        coordinator
    }

    /// What a coordinator does at the end of every step: commits what a majority has acknowledged,
    /// opens slots for what waits, answers reads, and tells of the watermark. Says whether it has committed
    /// a change: then it coordinates no more.
    #[must_use]
    pub(super) fn proceed(
        &mut self,
        common: &mut Common<V>,
        clients: &mut Clients<V>,
        out: &mut Output<V>,
    ) -> bool {
        if self.commit_acknowledged(common, clients, out) {
            return true;
        }
        self.proceed_with_admission(common, clients, out);
        self.open_next_portion(common, out);
        self.open_for_queue(common, out);
        self.confirm_reads(common, clients, out);
        if self.take_more(common, clients, out) {
            self.proceed_with_admission(common, clients, out);
            self.open_for_queue(common, out);
            self.confirm_reads(common, clients, out);
        }
        let watermark = common.watermark();
        if self.announced < watermark {
            self.announced = watermark;
            common.order_others(self.s, Order::Commit { prefix: common.prefix() }, out);
        }
        false
    }

    /// Tells reads at which slots they are served, once a round that began after them is answered.
    fn confirm_reads(&mut self, common: &Common<V>, clients: &mut Clients<V>, out: &mut Output<V>) {
        // A read may be told of a slot that the election must finish. Until that slot is committed it
        // may still be lost with this coordinator, and the read would wait for it for ever.
        if self.last_promised <= common.watermark() {
            self.rounds.confirm_reads(self.s, common, &mut clients.reads, out);
        }
    }

    /// The slot that is opened next.
    pub(crate) fn next_slot(&self, watermark: Slot) -> Slot {
        self.open.last_key_value().map_or(watermark, |(slot, _)| *slot).next()
    }

    /// Opens the slots of `range`, if there are any: accepts the entries here, and asks the others to.
    pub(super) fn open(
        &mut self,
        range: EntryRange<V>,
        common: &mut Common<V>,
        out: &mut Output<V>,
    ) {
        let watermark = common.watermark();
        for frame in range.in_frames(FrameRoom::of(common.limits())) {
            self.announced = watermark;
            self.push_new(&frame, common, out);
            let slots = (frame.first.0..frame.after().0).map(Slot);
            self.open.extend(slots.map(|slot| (slot, MemberSet::default())));
            common.hold(self.s, frame.first, frame.entries, out);
        }
    }

    /// Opens slots for what waits, as far as the window and the disk allow, if nothing else must be opened
    /// before. A change that may be opened goes first, and nothing is opened above it.
    fn open_for_queue(&mut self, common: &mut Common<V>, out: &mut Output<V>) {
        if self.to_finish.is_some() || self.has_open_change(common) {
            return;
        }
        let limits = common.limits();
        let watermark = common.watermark();
        let first = self.next_slot(watermark);
        let room = watermark.plus(limits.open_slots_max).next().above(first);
        let mut unsynced_bytes = common.unsynced.size_bytes();
        let mut accepted_bytes = common.acceptor.size_bytes();
        let mut entries = Vec::new();
        while (entries.len() as u64) < room
            && unsynced_bytes <= limits.unsynced_bytes_max
            && accepted_bytes <= limits.accepted_bytes_max / 2
            && let Some(entry) = self.next_to_open(common.configuration())
        {
            unsynced_bytes = unsynced_bytes.saturating_add(entry.size_bytes());
            accepted_bytes = accepted_bytes.saturating_add(entry.size_bytes());
            let is_change = matches!(entry, Entry::Change(_));
            entries.push(entry);
            if is_change {
                break;
            }
        }
        self.open(EntryRange { first, entries }, common, out);
    }

    /// Takes out what is opened next.
    fn next_to_open(&mut self, newest: &Configuration) -> Option<Entry<V>> {
        self.admission.take_admitted(newest).or_else(|| self.queue.pop_front())
    }

    /// Lets submissions wait for the window, and a change until enough voters are ready. It leaves out those that
    /// wait already, and those that are in an open slot. Returns those that there is no room for: all, while something
    /// must be finished first.
    pub(super) fn enqueue(
        &mut self,
        submissions: impl IntoIterator<Item = Entry<V>>,
        limits: &Limits,
    ) -> Vec<SubmissionId> {
        let mut no_room = Vec::new();
        for entry in submissions {
            let is_new =
                |id: &SubmissionId| entry.is_within(limits) && !self.known.contains_key(id);
            let Some(id) = entry.submission_id().filter(is_new) else {
                continue;
            };
            let is_change = matches!(entry, Entry::Change(_));
            if self.to_finish.is_some() || !(is_change || self.has_room_for(&entry, limits)) {
                no_room.push(id);
                continue;
            }
            self.known.insert(id, 1);
            match entry {
                // It takes the place of the change that waits, if one does.
                Entry::Change(change) => {
                    if let Some(before) = self.admission.wait(change) {
                        self.forget_copy(before);
                    }
                }
                entry => self.queue.push_back(entry),
            }
        }
        no_room
    }

    /// Whether the queue has room for one more.
    fn has_room_for(&self, entry: &Entry<V>, limits: &Limits) -> bool {
        let queue_bytes = self.queue.size_bytes().saturating_add(entry.size_bytes());
        self.queue.count() < limits.queued_submissions_max && queue_bytes <= limits.queued_bytes_max
    }

    /// When there is room again, tells the others, and takes a portion of what the clients of this
    /// replica wait for and there was no room for. False if there is nothing of that.
    fn take_more(
        &mut self,
        common: &Common<V>,
        clients: &mut Clients<V>,
        out: &mut Output<V>,
    ) -> bool {
        if !self.has_room_again(common.limits()) {
            return false;
        }
        if core::mem::take(&mut self.has_refused) {
            out.send_to_others(Message::Forward { s: self.s });
        }
        if !clients.has_unforwarded() {
            return false;
        }
        let no_room = self.enqueue(clients.take_portion(common.limits()), common.limits());
        clients.hold(no_room);
        let reads = clients.reads.take_unforwarded();
        self.take_own_reads(&reads, common, &mut clients.reads);
        true
    }

    /// Whether there is much room again for what is forwarded. If there were only a little, it would be
    /// used up before all others hear of it, and they would forward again and again. There is room for at
    /// least one submission, whatever its size.
    fn has_room_again(&self, limits: &Limits) -> bool {
        let largest = limits.value_bytes_max.saturating_add(ENTRY_BYTES);
        let free_bytes = limits.queued_bytes_max.saturating_sub(self.queue.size_bytes());
        self.to_finish.is_none()
            && self.queue.count() <= limits.queued_submissions_max / 2
            && free_bytes >= largest.max(limits.queued_bytes_max / 2)
            && self.rounds.reads() <= limits.reads_max / 2
    }

    /// The follower `replica`, which has committed `prefix`, has durably taken what was asked for in
    /// these slots. That counts only if what it has committed is what is committed here, or will be: a
    /// follower may know more, and then this coordinator has it open, or must finish it.
    pub(super) fn take_acknowledgement(
        &mut self,
        replica: ReplicaId,
        ranges: &[SlotRange],
        prefix: &Prefix,
        common: &Common<V>,
    ) {
        // A prefix that is not longer was compared when the message came, and exactly: a replica that has
        // taken an open slot is not so far behind that only a checkpoint is remembered.
        let mut known = (common.watermark(), common.learner.hashes().hash());
        let open = self.open.keys().filter_map(|slot| {
            common.acceptor.accepted().get(slot).map(|held| (*slot, held.digest))
        });
        let next = self.next_slot(common.watermark());
        let to_finish = self.to_finish.iter().flat_map(|it| it.digests(next, common));
        for (slot, digest) in open.chain(to_finish) {
            if known.0 >= prefix.through || slot != known.0.next() {
                break;
            }
            known = (slot, known.1.after_digest(digest));
        }
        if known.0 > prefix.through || known == (prefix.through, prefix.hash) {
            self.count_votes(replica, ranges, common.configuration());
        }
    }

    /// `replica` has accepted these slots durably, and its vote counts.
    ///
    /// Ranges ascend; the rest of a list that does not is forged.
    pub(super) fn count_votes(
        &mut self,
        replica: ReplicaId,
        ranges: &[SlotRange],
        configuration: &Configuration,
    ) {
        let mut after = Slot::ZERO;
        for range in ranges {
            if range.first <= after {
                return;
            }
            after = range.last;
            if range.first <= range.last {
                for (_, acknowledged) in self.open.range_mut(range.first..=range.last) {
                    configuration.insert(acknowledged, replica);
                }
            }
        }
    }

    /// Whether a majority has promised, without `replica`.
    pub(super) fn is_elected_without(
        &self,
        replica: ReplicaId,
        configuration: &Configuration,
    ) -> bool {
        let mut others = self.promised_by;
        configuration.remove(&mut others, replica);
        configuration.is_majority(others)
    }

    /// The votes of `replica` count no more.
    pub(super) fn forget_votes(&mut self, replica: ReplicaId, configuration: &Configuration) {
        for acknowledged in self.open.values_mut() {
            configuration.remove(acknowledged, replica);
        }
    }

    /// Commits the open slots that a majority has acknowledged (Paxos Made Live, 4.1, step 3), in order:
    /// a slot counts as committed once every slot below it does. Stops at a change, and then says so.
    fn commit_acknowledged(
        &mut self,
        common: &mut Common<V>,
        clients: &mut Clients<V>,
        out: &mut Output<V>,
    ) -> bool {
        loop {
            let slot = common.watermark().next();
            if !self.has_majority(slot, common.configuration()) {
                return false;
            }
            self.open.remove(&slot);
            let Some(held) = common.acceptor.take(slot) else {
                debug_assert!(false, "a coordinator holds what it opened");
                return false;
            };
            if let Some(submission) = held.entry.submission_id() {
                self.forget_copy(submission);
            }
            if commit_held(common, clients, held, out) {
                return true;
            }
        }
    }

    /// One copy of `submission` is committed.
    pub(super) fn forget_copy(&mut self, submission: SubmissionId) {
        if let Some(copies) = self.known.get_mut(&submission) {
            *copies -= 1;
            if *copies == 0 {
                self.known.remove(&submission);
            }
        }
    }

    /// Whether `slot` is open and a majority has acknowledged it.
    fn has_majority(&self, slot: Slot, configuration: &Configuration) -> bool {
        self.open.get(&slot).is_some_and(|acknowledged| configuration.is_majority(*acknowledged))
    }

    /// `replica` obeyed in round `number`, and has accepted nothing above `last`.
    pub(super) fn take_obey(
        &mut self,
        replica: ReplicaId,
        number: RoundNumber,
        last: Slot,
        common: &mut Common<V>,
        out: &mut Output<V>,
    ) {
        if self.rounds.take_obey(replica, number, common.configuration(), out) {
            self.fill_up_to(last, common, out);
        }
    }

    /// Takes in reads of the run `run` of `from`. False if there is no room for all of them.
    ///
    /// Everything that any replica has committed by now is at or below the larger of two slots. This
    /// replica's watermark covers what was committed under its own number. What was committed before
    /// was reported by the promises that made it coordinator.
    pub(super) fn take_reads(
        &mut self,
        from: ReplicaId,
        run: Run,
        ids: &[ReadId],
        common: &Common<V>,
    ) -> bool {
        let slot = common.watermark().max(self.last_promised);
        self.rounds.take_reads(from, run, ids, slot, common.limits().reads_max)
    }

    /// Takes in `ids`, of the `reads` of this replica's clients. If there is no room for all of them,
    /// they come again when there is.
    pub(super) fn take_own_reads(&mut self, ids: &[ReadId], common: &Common<V>, reads: &mut Reads) {
        if !self.take_reads(common.me, common.run, ids, common) {
            reads.forward_anew();
        }
    }
}
