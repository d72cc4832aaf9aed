//! Catch-up: how a replica that missed something gets the committed slots.
//!
//! The replica asks a peer that is known to have them for all that it lacks, and never for what is on
//! its way already. The peer *serves* it in portions: from its memory, or, by way of the shell, from its
//! disk. The next portion follows when the shell says that the last one has left. So the link is never
//! idle, and little waits in front of it. Each portion tells how far the peer has come meanwhile, and
//! the replica asks for that too.

use alloc::vec::Vec;

use super::commit::commit;
use super::common::Common;
use super::{Replica, Role};
use crate::entry::{Entry, Value};
use crate::frames::FrameRoom;
use crate::io::{Output, Serve};
use crate::message::Message;
use crate::numbers::{ReplicaId, SequenceNumber, Slot, SlotRange};
use crate::prefix::{EntryDigest, Prefix, PrefixHash, checkpoint_slots};
use crate::record::Content;

/// The committed slots that are on their way to a replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CatchUp {
    /// Who was asked for them.
    pub(super) from: ReplicaId,
    /// They go up to this slot.
    pub(super) through: Slot,
    /// The watermark here when it was last asked whether they are lost.
    pub(super) doubted_at: Slot,
    /// Whether they come as a snapshot. Until it is there, nothing more is asked for.
    pub(super) is_snapshot: bool,
}

/// What a [`Message::Committed`] says.
pub(super) struct Served<V> {
    pub(super) log_starts_at: Slot,
    pub(super) first: Slot,
    pub(super) before: PrefixHash,
    pub(super) entries: Vec<Entry<V>>,
    pub(super) watermark: Slot,
}

impl<V: Value> Common<V> {
    /// Asks `peer` for the committed slots up to `through`, which it is known to have. Leaves out those
    /// that are on their way from it.
    pub(super) fn ask(&mut self, peer: ReplicaId, through: Slot, out: &mut Output<V>) {
        if self.waits_for_snapshot() {
            return;
        }
        let on_its_way = self.catch_up.as_ref().filter(|catch_up| catch_up.from == peer);
        let asked = on_its_way.map_or(Slot::ZERO, |catch_up| catch_up.through);
        let doubted_at = on_its_way.map_or(self.watermark(), |catch_up| catch_up.doubted_at);
        let mut slots = SlotRange { first: self.watermark().max(asked).next(), last: through };
        // What is held under the number of a coordinator is committed with what it serves.
        if self.forwards_to() == Some(peer) {
            slots = self.acceptor.without_held_at_ends(slots, self.acceptor.promised());
        }
        let SlotRange { first: from, last: through } = slots;
        if from > through {
            return;
        }
        if self.disk_is_stalled() {
            // It asks again when the disk has room.
            self.forget_asks();
            return;
        }
        self.catch_up = Some(CatchUp { from: peer, through, doubted_at, is_snapshot: false });
        out.send(peer, Message::Ask { from, through, prefix: self.prefix() });
    }

    /// Nothing of what `peer` serves can be taken: the disk is stalled, or something is missing before. Asks
    /// it to stop.
    fn ask_for_nothing(&mut self, peer: ReplicaId, out: &mut Output<V>) {
        if self.catch_up.as_ref().is_some_and(|catch_up| catch_up.from == peer) {
            let through = self.watermark();
            let prefix = self.prefix();
            out.send(peer, Message::Ask { from: through.next(), through, prefix });
        }
        self.forget_asks();
    }

    /// What was asked for is not on its way any more, for all that is known.
    pub(crate) fn forget_asks(&mut self) {
        self.catch_up = None;
        self.asks_at_once = true;
    }

    /// Everything is to be repeated. If some of what was asked for has come since this was called last,
    /// the rest is on its way.
    pub(super) fn doubt_asks(&mut self) {
        let watermark = self.watermark();
        match &mut self.catch_up {
            Some(catch_up) if catch_up.doubted_at < watermark => catch_up.doubted_at = watermark,
            _ => self.forget_asks(),
        }
    }

    /// `peer` gets the committed slots in `slots`, as far as this replica has them. They join those that
    /// it is being served, with all that lies between; or they replace them, if they begin before.
    pub(super) fn serve(&mut self, peer: ReplicaId, slots: SlotRange, out: &mut Output<V>) {
        if slots.last < slots.first {
            self.serving.remove(&peer);
        }
        let first = slots.first;
        let last = slots.last.min(self.watermark());
        if first == Slot::ZERO || first > last {
            return;
        }
        if first < self.learner.has_from() {
            return self.offer(peer, out);
        }
        match self.serving.get_mut(&peer) {
            // The portion before has not left yet.
            Some(rest) if rest.first <= first => rest.last = rest.last.max(last),
            _ => {
                self.serving.insert(peer, SlotRange { first, last });
                self.serve_next(peer, out);
            }
        }
    }

    /// Sends `peer` one more portion of what it is being served. If the first slot is older than the
    /// tail, the shell reads the portion from the disk.
    pub(super) fn serve_next(&mut self, peer: ReplicaId, out: &mut Output<V>) {
        let Some(SlotRange { first, last }) = self.serving.remove(&peer) else {
            return;
        };
        if first > last {
            return;
        }
        let (watermark, log_starts_at) = (self.watermark(), self.learner.has_from());
        if first < log_starts_at {
            // The log was cut meanwhile.
            return self.offer(peer, out);
        }
        let tail_starts_at = self.learner.tail_starts_at();
        let through = if first < tail_starts_at {
            // What is older than the tail is durable: the tail keeps what is not.
            // The next portion begins at a checkpoint, so that nothing has to be read twice.
            let checkpoint = self.learner.checkpoint(Slot(first.0 - 1), self.limits());
            let every = checkpoint_slots(self.limits());
            let most = checkpoint.0.plus(every - checkpoint.0.0 % every);
            let slots = SlotRange { first, last: last.min(most).min(Slot(tail_starts_at.0 - 1)) };
            out.serve.push(Serve { to: peer, slots, checkpoint, log_starts_at, watermark });
            slots.last
        } else {
            // The hashes are remembered as far back as the tail reaches.
            let Some(before) = self.learner.hashes().at(Slot(first.0 - 1), self.limits()) else {
                return;
            };
            let mut room = FrameRoom::of(self.limits());
            let tail = self.learner.tail_from(first).take_while(|(slot, _)| *slot <= last);
            let entries = tail.map(|(_, entry)| entry);
            let entries: Vec<_> =
                entries.take_while(|entry| room.take(entry.size_bytes())).cloned().collect();
            let after = first.plus(entries.len() as u64);
            let served = Message::Committed { log_starts_at, first, before, entries, watermark };
            out.send(peer, served);
            Slot(after.0 - 1)
        };
        // It stays, even if nothing is left, until the portion has left: more may be asked for meanwhile.
        self.serving.insert(peer, SlotRange { first: through.next(), last });
    }

    /// The first slot in which what `served` says is committed is known to differ from what is committed
    /// here, or from what came before it.
    fn difference(&self, served: &Served<V>) -> Option<Slot> {
        let hashes = self.learner.hashes();
        let known = self.watermark().next().above(served.first);
        let mut theirs = (Slot(served.first.0 - 1), served.before);
        let differs = |(slot, hash): (Slot, PrefixHash)| {
            hashes.at(slot, self.limits()).is_some_and(|mine| mine != hash).then_some(slot)
        };
        differs(theirs).or_else(|| {
            served.entries.iter().zip(0..known).find_map(|(entry, _)| {
                theirs = (theirs.0.next(), theirs.1.after(entry));
                differs(theirs)
            })
        })
    }
}

impl<V: Value> Replica<V> {
    /// The disk has room again: asks for what could not be asked for.
    pub(super) fn ask_after_a_stall(&mut self, out: &mut Output<V>) {
        let common = &mut self.common;
        if common.asks_at_once
            && let (Some(coordinator), Some(told)) = (common.forwards_to(), common.told)
        {
            common.asks_at_once = false;
            common.ask(coordinator, told.through, out);
        }
        self.coordinate_when_elected(out);
    }

    /// Takes in committed slots.
    ///
    /// They are written as committed, not under a number. Under the sender's number, a chosen value
    /// could be hidden from a later election. If nothing were written, a restart could deliver a stale
    /// value.
    pub(super) fn take_committed(
        &mut self,
        from: ReplicaId,
        served: Served<V>,
        out: &mut Output<V>,
    ) {
        let Served { log_starts_at, first, before, watermark: theirs, .. } = served;
        let is_possible = self.common.is_possible(first, &served.entries) && theirs <= Slot::MAX;
        if !is_possible || log_starts_at > first {
            return;
        }
        // If it is the coordinator, all before the first slot may be held here already.
        if self.common.forwards_to() == Some(from) {
            let s = self.common.acceptor.promised();
            let told = Prefix { through: Slot(first.0 - 1), hash: before, ..Prefix::default() };
            if !self.commit_told(from, s, &told, out) {
                return;
            }
        }
        let common = &mut self.common;
        let next = common.watermark().next();
        if first > next {
            // What comes before it was lost, or comes later, or as a snapshot. What follows is of no use.
            let is_lost = |it: &CatchUp| it.from == from && !it.is_snapshot;
            if common.catch_up.as_ref().is_some_and(is_lost) {
                common.ask_for_nothing(from, out);
            }
            return;
        }
        if let Some(slot) = common.difference(&served) {
            common.note_other_history(from, slot, out);
            return;
        }
        let known = usize::try_from(next.above(first)).unwrap_or(usize::MAX);
        let news: Vec<_> = served.entries.into_iter().skip(known).collect();
        if common.disk_is_stalled() {
            common.ask_for_nothing(from, out);
            return;
        }
        if news.is_empty() {
            return;
        }
        out.coordinator_heard |= common.forwards_to() == Some(from);
        // A coordinator whose watermark moves by anything but its own acknowledgements has been
        // overtaken. Followers would take its watermark for a verdict on its own values.
        if matches!(self.role, Role::Coordinator(_)) {
            self.role = Role::Follower;
        }
        let mut has_change = false;
        let promised = common.acceptor.promised();
        for entry in &news {
            let slot = common.watermark().next();
            // The record of what is taken in replaces the one that the coordinator waits for.
            if let Some(held) = common.acceptor.take(slot)
                && held.is_awaited_under(promised)
                && held.entry == *entry
            {
                common.owed.insert(slot, promised);
            }
            let (digest, waits_for) = (EntryDigest::of(entry), Some(SequenceNumber::NONE));
            has_change |= commit(common, &mut self.clients, entry.clone(), digest, waits_for, out);
        }
        common.write(Content::Committed { first: next, entries: news }, out);
        let watermark = common.watermark();
        common.catch_up = common.catch_up.take().filter(|catch_up| catch_up.through > watermark);
        // What another peer serves is not asked for here, too.
        if common.catch_up.as_ref().is_none_or(|catch_up| catch_up.from == from) {
            common.ask(from, theirs, out);
        }
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.forget_committed(common.watermark());
        }
        if has_change {
            self.end_role_after_change(out);
        }
        self.coordinate_when_elected(out);
    }
}
