//! The follower: how a replica answers the owner of a sequence number.
//!
//! An order below the promise is rejected. Every other order except a canvass makes this replica a
//! follower of the sender, whatever its role was before. It promises the number and obeys.

use alloc::vec::Vec;

use super::commit::commit_held;
use super::common::Common;
use super::{Replica, Role};
use crate::acceptor::Taken;
use crate::entry::{ENTRY_BYTES, Entry, Value};
use crate::frames::{EntryRange, EntryRanges};
use crate::io::{Contradiction, Output};
use crate::learner::Compared;
use crate::message::{Message, Order, Reply};
use crate::numbers::{RangeBuilder, ReplicaId, Run, SequenceNumber, Slot, SlotRange};
use crate::prefix::Prefix;
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
        let promised = self.common.acceptor.promised();
        if s < promised {
            out.send(from, Message::Reject { promised });
            return;
        }
        if !matches!(order, Order::Canvass { .. }) {
            self.follow(s, out);
            if s > promised {
                // The owner of `s` has received nothing that clients of this replica wait for.
                self.clients.forward_anew();
            }
        }
        match order {
            Order::Canvass { run } => self.common.answer_canvass(s, run, out),
            Order::Propose { from: slot } => self.common.obey_propose(s, slot, out),
            Order::Accept { first, entries, prefix } => {
                // A forged accept is ignored, and so is its prefix.
                if self.common.is_possible(first, &entries) {
                    self.common.obey_accept(from, s, first, entries, out);
                    self.follow_prefix(from, s, prefix, Some(first), out);
                    self.common.follows_accepts_again(s, first, out);
                }
            }
            Order::Commit { prefix } => {
                self.common.promise(s, out);
                self.follow_prefix(from, s, prefix, None, out);
            }
            Order::Round { number, prefix } => {
                self.common.promise(s, out);
                let last = self.common.acceptor.last(self.common.watermark());
                let obeyed = Reply::Obey { number, last, prefix: self.common.prefix() };
                self.common.reply(s, obeyed, out);
                self.follow_prefix(from, s, prefix, None, out);
            }
            Order::Progress => {
                self.common.promise(s, out);
                let through = self.common.learner.applied();
                self.common.reply(s, Reply::Applied { through }, out);
            }
        }
    }

    /// Another replica coordinates under `s`, or wants to, and `s` is not below the promise:
    /// [`obey`](Self::obey) has rejected lower numbers.
    ///
    /// This replica has promised the number under which it stands or coordinates, and it does not own
    /// `s`. So `s` is above its number, and it has lost.
    fn follow(&mut self, s: SequenceNumber, out: &mut Output<V>) {
        self.role = Role::Follower;
        self.common.heard = self.common.heard.max(s);
        self.common.suspects = false;
        out.coordinator_heard = true;
    }

    /// Phase 3: the coordinator of `s` says that everything in `prefix` is committed.
    ///
    /// That commits an entry *here* only if it was accepted under `s`: this replica may hold another
    /// entry in the slot. An entry that it lacks may be on its way, behind this order. So this replica
    /// remembers the prefix, and asks only if it knows better: nothing can be on its way, or the order is
    /// an accept of later slots, `accepted_from` on. Accepts come in order, as long as nothing is lost.
    fn follow_prefix(
        &mut self,
        from: ReplicaId,
        s: SequenceNumber,
        prefix: Prefix,
        accepted_from: Option<Slot>,
        out: &mut Output<V>,
    ) {
        if prefix.through > Slot::MAX {
            return;
        }
        let told = self.common.told.filter(|told| told.through > prefix.through);
        for told in [Some(prefix), told].into_iter().flatten() {
            if !self.commit_told(from, s, &told, out) {
                return;
            }
        }
        let common = &mut self.common;
        let watermark = common.watermark();
        common.told = Some(told.unwrap_or(prefix)).filter(|told| told.through > watermark);
        if let Some(told) = common.told {
            let is_lost = accepted_from.is_some_and(|first| common.first_lacking(s) < first);
            // While it has told how far it has room, the coordinator pushes nothing above.
            let is_not_pushed = common.told_room.is_some();
            if is_lost || is_not_pushed || common.asks_at_once {
                // What follows on the accept may be on its way behind it.
                let before = accepted_from.map_or(Slot::MAX, |first| Slot(first.0 - 1));
                common.ask(from, told.through.min(before), out);
            }
        }
        // A round says nothing of what is on its way. An accept shows that accepts arrive again.
        let waits_for_disk = common.told.is_some() && common.disk_is_stalled();
        if (common.told.is_some() || accepted_from.is_some()) && !waits_for_disk {
            common.asks_at_once = false;
        }
        self.forward_held_back(out);
    }

    /// Commits everything that `from`, the coordinator of `s`, has told, if all that is lacking of it is
    /// held under `s`. Returns false if `from` has another history, and then commits nothing.
    ///
    /// The hashes are compared before. If some entry is lacking, that cannot be done. Then nothing is
    /// committed yet: an accept tells what was committed when it left, so that is reached soon.
    pub(super) fn commit_told(
        &mut self,
        from: ReplicaId,
        s: SequenceNumber,
        told: &Prefix,
        out: &mut Output<V>,
    ) -> bool {
        let common = &mut self.common;
        let (mut through, mut hash) = (common.watermark(), common.learner.hashes().hash());
        if told.through <= through || !common.acceptor.holds_under(told.through, s) {
            return true;
        }
        for (slot, held) in common.acceptor.accepted() {
            if through == told.through || *slot != through.next() || held.s != s {
                break;
            }
            (through, hash) = (*slot, hash.after_digest(held.digest));
        }
        if through < told.through {
            return true;
        }
        if hash != told.hash {
            common.note_other_history(from, through, out);
            return false;
        }
        while common.watermark() < through
            && let Some(held) = common.acceptor.take(common.watermark().next())
        {
            if commit_held(common, &mut self.clients, held, out) {
                self.end_role_after_change(out);
                return true;
            }
        }
        true
    }
}

/// What is to be done about the entries of one accept.
struct Judged<V> {
    /// They are new: to be accepted and written.
    to_write: EntryRanges<V>,
    /// They are in place, durably: to be acknowledged at once.
    in_place: RangeBuilder,
    /// They are committed, and not durable yet: to be acknowledged when they are.
    to_owe: Vec<Slot>,
    /// The first slot in which another entry is committed, or one that is no longer in memory.
    overtaken: Option<Slot>,
    /// There was no room for all of them.
    beyond_limit: bool,
}

impl<V: Value> Common<V> {
    /// Agrees to follow if this replica, too, believes that nobody coordinates. A coordinator does not
    /// believe that. Nothing is promised. A replica whose disk or application hangs does not agree: it
    /// could not do its part.
    fn answer_canvass(&self, s: SequenceNumber, run: Run, out: &mut Output<V>) {
        if self.suspects && self.hung.any().is_none() && s > self.acceptor.promised() {
            self.reply(s, Reply::Agree { run }, out);
            out.election_advances = true;
        }
    }

    /// Phase 1: promises to obey nobody below `s`, and owes the entries from `slot` on.
    ///
    /// An equal number is promised again: the first promise may have been lost.
    fn obey_propose(&mut self, s: SequenceNumber, slot: Slot, out: &mut Output<V>) {
        self.promise(s, out);
        out.election_advances = true;
        self.acceptor.owe_promise(slot);
        self.give_owed_promise(out);
    }

    /// Gives the promise that is owed if its record is durable.
    pub(super) fn give_owed_promise(&mut self, out: &mut Output<V>) {
        if let Some(slot) = self.acceptor.take_owed_promise() {
            let s = self.acceptor.promised();
            for frame in self.acceptor.promise(slot, self.prefix(), self.limits()) {
                self.reply(s, Reply::Promise(frame), out);
            }
        }
    }

    /// Phase 2: takes `entries` under `s` in the slots from `first` on.
    fn obey_accept(
        &mut self,
        from: ReplicaId,
        s: SequenceNumber,
        first: Slot,
        entries: Vec<Entry<V>>,
        out: &mut Output<V>,
    ) {
        let is_new_number = self.raise_promise(s);
        let slots = (first.0..).map(Slot);
        let Judged { to_write, in_place, to_owe, overtaken, beyond_limit } =
            self.judge_all(from, s, slots.zip(entries), out);
        self.owed.extend(to_owe.into_iter().map(|slot| (slot, s)));
        if to_write.is_empty() && is_new_number {
            self.write(Content::Promised(s), out);
        }
        for EntryRange { first, entries } in to_write {
            self.hold(s, first, entries, out);
        }
        let ranges = in_place.finish();
        if !ranges.is_empty() {
            self.acknowledge(s, ranges, out);
        }
        if beyond_limit {
            self.refuse_beyond_room(s, out);
        }
        // Another value is committed there, or the slot is no longer in memory. The committed slots are
        // the answer.
        if let Some(first) = overtaken {
            let last = first.plus(self.limits().frame_entries_max.saturating_sub(1));
            self.serve(from, SlotRange { first, last }, out);
        }
    }

    /// Judges the entries of an accept under `s`, which is promised.
    fn judge_all(
        &self,
        from: ReplicaId,
        s: SequenceNumber,
        entries: impl Iterator<Item = (Slot, Entry<V>)>,
        out: &mut Output<V>,
    ) -> Judged<V> {
        let mut to_write = EntryRanges::new();
        let mut in_place = RangeBuilder::default();
        let mut to_owe = Vec::new();
        let mut overtaken = None;
        let mut beyond_limit = false;
        let mut accepted_bytes = self.acceptor.size_bytes();
        for (slot, entry) in entries {
            match self.learner.compare(slot, &entry) {
                Compared::Open => {}
                Compared::Same => {
                    in_place.push(slot);
                    continue;
                }
                Compared::SameNotDurable => {
                    to_owe.push(slot);
                    continue;
                }
                Compared::Other | Compared::Unknown => {
                    overtaken = overtaken.or(Some(slot));
                    continue;
                }
            }
            match self.acceptor.judge(slot, s, &entry) {
                Taken::Durable => in_place.push(slot),
                Taken::Waits => {}
                Taken::Contradicts => out.contradictions.push(Contradiction { slot, from, s }),
                Taken::Write => {
                    let overwritten = self.acceptor.accepted().get(&slot);
                    accepted_bytes = accepted_bytes
                        .saturating_sub(overwritten.map_or(0, |held| held.entry.size_bytes()))
                        .saturating_add(entry.size_bytes());
                    if !self.has_room(slot, accepted_bytes) {
                        beyond_limit = true;
                        break;
                    }
                    to_write.push(slot, entry);
                }
            }
        }
        Judged { to_write, in_place, to_owe, overtaken, beyond_limit }
    }

    /// Whether there is room for an entry in `slot` with which the acceptor would hold
    /// `accepted_bytes`.
    fn has_room(&self, slot: Slot, accepted_bytes: u64) -> bool {
        let limits = self.limits();
        let ahead = slot.above(self.watermark());
        // The lowest slot is always taken, or nothing might ever be committed again.
        let has_bytes = ahead <= 1 || accepted_bytes <= limits.accepted_bytes_max;
        !self.disk_is_stalled() && ahead <= limits.accepted_slots_max && has_bytes
    }

    /// Every entry in a slot up to this one would be taken, or is held already under the promised number.
    fn room_through(&self) -> Slot {
        let (limits, watermark) = (self.limits(), self.watermark());
        let largest = limits.value_bytes_max.saturating_add(ENTRY_BYTES);
        let has_bytes =
            self.acceptor.size_bytes().saturating_add(largest) <= limits.accepted_bytes_max;
        if has_bytes && !self.disk_is_stalled() {
            return watermark.plus(limits.accepted_slots_max);
        }
        let lowest = if self.disk_is_stalled() { watermark } else { watermark.next() };
        let promised = self.acceptor.promised();
        let held = self.acceptor.accepted().range(lowest.next()..);
        let held = held.take_while(|(_, held)| held.s == promised).map(|(slot, _)| *slot);
        held.zip(lowest.next().0..)
            .take_while(|(slot, next)| slot.0 == *next)
            .last()
            .map_or(lowest, |(slot, _)| slot)
    }

    /// An accept went further than there is room. The coordinator is told, and pushes no more. What is
    /// committed meanwhile has to be asked for.
    ///
    /// It is told each time, also if it was told the same before: meanwhile it may have opened slots that
    /// go further.
    fn refuse_beyond_room(&mut self, s: SequenceNumber, out: &mut Output<V>) {
        let through = self.room_through();
        self.told_room = Some(through);
        self.reply(s, Reply::Room { through }, out);
    }

    /// An accept of slots from `first` on was taken. If nothing is lacking before it, this replica keeps
    /// up again: the coordinator may push everything.
    fn follows_accepts_again(&mut self, s: SequenceNumber, first: Slot, out: &mut Output<V>) {
        if self.told_room.is_some_and(|told| first <= told)
            && first < self.first_lacking(s)
            && self.has_all_room()
        {
            self.told_room = None;
            self.reply(s, Reply::Room { through: Slot::MAX }, out);
        }
    }

    /// The first slot above the watermark that holds nothing under `s`.
    pub(super) fn first_lacking(&self, s: SequenceNumber) -> Slot {
        let mut next = self.watermark().next();
        for (slot, held) in self.acceptor.accepted() {
            if *slot != next || held.s != s {
                break;
            }
            next = next.next();
        }
        next
    }

    /// Whether there is room for entries in as many slots as the limit says.
    fn has_all_room(&self) -> bool {
        self.room_through() >= self.watermark().plus(self.limits().accepted_slots_max)
    }

    /// Tells the coordinator when there is much more room than it was told of; or any, if it was told of
    /// none above the watermark. Then it may wait for this replica to commit anything.
    pub(super) fn tell_room(&mut self, out: &mut Output<V>) {
        if let Some(told) = self.told_room {
            let through = self.room_through();
            let is_much = through.above(told) >= self.limits().accepted_slots_max.div_ceil(4);
            if is_much || (told <= self.watermark() && self.watermark() < through) {
                self.told_room = Some(through);
                self.reply(self.acceptor.promised(), Reply::Room { through }, out);
            }
        }
    }
}
