//! Taking orders: how a replica answers whoever owns a sequence number.

use alloc::vec::Vec;

use super::{Replica, Role};
use crate::acceptor::Taken;
use crate::entry::{Entry, Value};
use crate::io::{Contradiction, Output};
use crate::learner::Compared;
use crate::message::{Message, Order, Reply};
use crate::numbers::{RangeBuilder, ReplicaId, SequenceNumber, Slot, SlotRange};
use crate::record::Content;

impl<V: Value> Replica<V> {
    /// Obeys an order of `from`, who owns `s`, or rejects it.
    ///
    /// Paxos Made Live, 4.1: a replica rejects messages from coordinators below the one that it has
    /// promised, which keeps these from disrupting a consensus that was reached.
    pub(super) fn obey(
        &mut self,
        from: ReplicaId,
        s: SequenceNumber,
        order: Order<V>,
        out: &mut Output<V>,
    ) {
        let promised = self.acceptor.promised();
        if s < promised {
            out.send(from, Message::Reject { promised });
            return;
        }
        if !matches!(order, Order::Canvass) {
            self.heard = self.heard.max(s);
        }
        match order {
            Order::Canvass => self.on_canvass(from, s, out),
            Order::Propose { from: slot } => self.on_propose(s, slot, out),
            Order::Accept { first, entries, watermark } => {
                self.heed(s, out);
                if self.on_accept(from, s, first, entries, out) {
                    self.follow_watermark(from, s, watermark, out);
                }
            }
            Order::Commit { watermark } => {
                self.heed(s, out);
                self.promise(s, out);
                self.follow_watermark(from, s, watermark, out);
            }
            Order::Round { number, watermark } => {
                self.heed(s, out);
                self.promise(s, out);
                let last = self.acceptor.last(self.learner.watermark());
                self.reply(s, Reply::Obey { number, last }, out);
                self.follow_watermark(from, s, watermark, out);
            }
        }
    }

    /// Somebody coordinates under `s`, or wants to, which is at or above the promise.
    fn heed(&mut self, s: SequenceNumber, out: &mut Output<V>) {
        self.step_down_below(s);
        if matches!(self.role, Role::Canvassing(_)) {
            self.role = Role::Follower;
        }
        self.suspects = false;
        out.coordinator_heard = true;
    }

    /// Whoever obeys an order promises its number, and so knows by its promise whom to follow. An
    /// accept does it with its own record.
    fn promise(&mut self, s: SequenceNumber, out: &mut Output<V>) {
        if self.acceptor.raise_promise(s) {
            self.write(Content::Promised(s), out);
        }
    }

    pub(super) fn reply(&self, s: SequenceNumber, reply: Reply<V>, out: &mut Output<V>) {
        if let Some(owner) = self.cluster.owner(s) {
            let configuration = self.configuration.id();
            out.send(owner, Message::Reply { configuration, s, reply });
        }
    }

    /// Agrees to follow if it, too, believes that nobody coordinates, which a coordinator does not.
    /// Nothing is promised.
    fn on_canvass(&mut self, from: ReplicaId, s: SequenceNumber, out: &mut Output<V>) {
        if self.suspects && s > self.acceptor.promised() {
            let configuration = self.configuration.id();
            out.send(from, Message::Reply { configuration, s, reply: Reply::Agree });
        }
    }

    /// Phase 1: promises to obey nobody below `s`, and owes the entries from `slot` on.
    ///
    /// An equal number is promised again: the first promise may have been lost.
    fn on_propose(&mut self, s: SequenceNumber, slot: Slot, out: &mut Output<V>) {
        self.heed(s, out);
        self.promise(s, out);
        self.acceptor.owe_promise(slot);
        self.give_owed_promise(out);
    }

    /// Gives the promise that is owed if its record is durable.
    pub(super) fn give_owed_promise(&mut self, out: &mut Output<V>) {
        if let Some(slot) = self.acceptor.take_owed_promise() {
            let s = self.acceptor.promised();
            let watermark = self.learner.watermark();
            for frame in self.acceptor.promise(slot, watermark, self.limits()) {
                self.reply(s, Reply::Promise(frame), out);
            }
        }
    }

    /// Phase 2: takes `entries` under `s` in the slots from `first` on. False if the order is forged
    /// and was ignored.
    fn on_accept(
        &mut self,
        from: ReplicaId,
        s: SequenceNumber,
        first: Slot,
        entries: Vec<Entry<V>>,
        out: &mut Output<V>,
    ) -> bool {
        if !self.is_possible(first, &entries) {
            return false;
        }
        let raised = self.acceptor.raise_promise(s);
        let watermark = self.learner.watermark();
        let mut to_write: Vec<(Slot, Vec<Entry<V>>)> = Vec::new();
        let mut in_place = RangeBuilder::default();
        let mut beyond_limit = false;
        let mut overtaken: Option<Slot> = None;
        let mut size_bytes = self.acceptor.size_bytes();
        let is_stalled = self.unsynced.size_bytes() > self.limits().unsynced_bytes_max;
        for (slot, entry) in (first.0..).map(Slot).zip(entries) {
            match self.learner.compare(slot, &entry) {
                Compared::Open => {}
                Compared::Same => {
                    in_place.push(slot);
                    continue;
                }
                // It is acknowledged when the accept is repeated.
                Compared::SameNotDurable => continue,
                Compared::Other | Compared::Unknown => {
                    overtaken = overtaken.or(Some(slot));
                    continue;
                }
            }
            match self.acceptor.judge(slot, s, &entry) {
                Taken::Write => {
                    let overwritten = self.acceptor.accepted().get(&slot);
                    size_bytes = size_bytes
                        .saturating_sub(overwritten.map_or(0, |held| held.entry.size_bytes()))
                        .saturating_add(entry.size_bytes());
                    // The lowest slot is always taken, or nothing might ever be committed again.
                    let ahead = slot.above(watermark);
                    if is_stalled
                        || ahead > self.limits().accepted_slots_max
                        || (ahead > 1 && size_bytes > self.limits().accepted_bytes_max)
                    {
                        beyond_limit = true;
                        break;
                    }
                    match to_write.last_mut() {
                        Some((start, run)) if start.plus(run.len() as u64) == slot => {
                            run.push(entry);
                        }
                        _ => to_write.push((slot, alloc::vec![entry])),
                    }
                }
                Taken::Durable => in_place.push(slot),
                Taken::Waits => {}
                Taken::Contradicts => out.contradictions.push(Contradiction { slot, from, s }),
            }
        }
        if to_write.is_empty() && raised {
            self.write(Content::Promised(s), out);
        }
        for (start, run) in to_write {
            self.accept_locally(s, start, run, out);
        }
        let ranges = in_place.finish();
        if !ranges.is_empty() {
            self.reply(s, Reply::Acknowledge { ranges }, out);
        }
        if beyond_limit {
            self.ask(from, out);
        }
        // A value that differs from the committed one is an old coordinator's, and what is committed
        // is its answer.
        if let Some(slot) = overtaken {
            self.serve(from, slot, out);
        }
        true
    }

    /// Whether a right peer could have sent these entries for the slots from `first` on.
    pub(super) fn is_possible(&self, first: Slot, entries: &[Entry<V>]) -> bool {
        let count = entries.len() as u64;
        first > Slot::ZERO
            && (1..=self.limits().frame_entries_max).contains(&count)
            && first.plus(count) <= Slot::MAX
            && entries.iter().all(|entry| entry.is_within(self.limits()))
    }

    /// Takes `entries` under `s`, which is promised, and writes them.
    pub(super) fn accept_locally(
        &mut self,
        s: SequenceNumber,
        first: Slot,
        entries: Vec<Entry<V>>,
        out: &mut Output<V>,
    ) {
        for (slot, entry) in (first.0..).map(Slot).zip(&entries) {
            self.acceptor.hold(slot, s, entry.clone());
        }
        self.write(Content::Accepted { s, first, entries }, out);
    }

    /// Tells the owners of their numbers which slots are durably taken; given in ascending order.
    pub(super) fn acknowledge_all(
        &mut self,
        taken: impl Iterator<Item = (SequenceNumber, Slot)>,
        out: &mut Output<V>,
    ) {
        let mut taken = taken.peekable();
        while let Some((s, slot)) = taken.next() {
            let mut ranges = RangeBuilder::default();
            ranges.push(slot);
            while let Some((_, slot)) = taken.next_if(|(next, _)| *next == s) {
                ranges.push(slot);
            }
            self.acknowledge(s, ranges.finish(), out);
        }
    }

    fn acknowledge(&mut self, s: SequenceNumber, ranges: Vec<SlotRange>, out: &mut Output<V>) {
        if !self.cluster.owns(self.me, s) {
            self.reply(s, Reply::Acknowledge { ranges }, out);
        } else if let Role::Coordinator(coordinator) = &mut self.role
            && coordinator.s == s
        {
            for range in ranges {
                coordinator.acknowledge(self.me, range, &self.configuration);
            }
        }
    }

    /// Phase 3: the coordinator of `s` says that everything up to `watermark` is committed.
    ///
    /// That makes an entry committed *here* only if it was accepted under `s`: another may stand in
    /// the slot. The rest is fetched.
    fn follow_watermark(
        &mut self,
        from: ReplicaId,
        s: SequenceNumber,
        watermark: Slot,
        out: &mut Output<V>,
    ) {
        if watermark > Slot::MAX {
            return;
        }
        while self.learner.watermark() < watermark {
            let next = self.learner.watermark().next();
            let accepted_under_s = self.acceptor.accepted().get(&next).is_some_and(|it| it.s == s);
            if !accepted_under_s || !self.commit_accepted(out) {
                self.ask(from, out);
                return;
            }
        }
    }
}
