//! Catch-up: how a replica that missed something gets the committed slots.
//!
//! The replica asks a peer that is known to have them. The peer serves one frame: from its memory, or,
//! by way of the shell, from its disk. Then the replica asks for the next frame.

use alloc::vec::Vec;

use super::commit::commit;
use super::common::Common;
use super::{Replica, Role};
use crate::entry::{Entry, Value};
use crate::frames::FrameRoom;
use crate::io::{Contradiction, Output, Serve};
use crate::learner::Compared;
use crate::message::Message;
use crate::numbers::{ReplicaId, SequenceNumber, Slot, SlotRange};
use crate::record::Content;

impl<V: Value> Common<V> {
    /// Asks `peer`, which is known to have them, for the committed slots above the watermark. It asks
    /// once until something is committed or until a resend.
    pub(super) fn ask(&mut self, peer: ReplicaId, out: &mut Output<V>) {
        if !self.asked {
            self.asked = true;
            out.send(peer, Message::Ask { from: self.watermark().next() });
        }
    }

    /// Sends `peer` one frame of committed slots from `from` on. If the first of them is older than the
    /// tail, the shell reads them from the disk. The peer asks for more when it has these.
    pub(super) fn serve(&self, peer: ReplicaId, from: Slot, out: &mut Output<V>) {
        let watermark = self.watermark();
        let log_starts_at = self.learner.log_starts_at();
        let first = from.max(log_starts_at);
        if from == Slot::ZERO || first > watermark {
            return;
        }
        let tail_starts_at = self.learner.tail_starts_at();
        if first < tail_starts_at {
            // What is older than the tail is durable: the tail keeps what is not.
            let frame = first.plus(self.limits().frame_entries_max.saturating_sub(1));
            let slots = SlotRange { first, last: Slot(tail_starts_at.0 - 1).min(frame) };
            out.serve.push(Serve { to: peer, slots, log_starts_at, watermark });
            return;
        }
        let mut room = FrameRoom::of(self.limits());
        let tail = self.learner.tail_from(first).map(|(_, entry)| entry);
        let entries = tail.take_while(|entry| room.take(entry.size_bytes())).cloned().collect();
        out.send(peer, Message::Committed { log_starts_at, first, entries, watermark });
    }

    /// The first of `entries`, which `from` says are committed from slot `first` on, that differs from
    /// what is committed here.
    fn contradiction(
        &self,
        from: ReplicaId,
        first: Slot,
        entries: &[Entry<V>],
    ) -> Option<Contradiction> {
        let mut known = (first.0..=self.watermark().0).map(Slot).zip(entries);
        let (slot, _) =
            known.find(|(slot, entry)| self.learner.compare(*slot, entry) == Compared::Other)?;
        Some(Contradiction { slot, from, s: SequenceNumber::NONE })
    }
}

impl<V: Value> Replica<V> {
    /// Takes in committed slots.
    ///
    /// They are written as committed, not under a number. Under the sender's number, a chosen value
    /// could be hidden from a later election. If nothing were written, a restart could deliver a stale
    /// value.
    pub(super) fn take_committed(
        &mut self,
        from: ReplicaId,
        log_starts_at: Slot,
        first: Slot,
        entries: Vec<Entry<V>>,
        theirs: Slot,
        out: &mut Output<V>,
    ) {
        let common = &mut self.common;
        let next = common.watermark().next();
        let is_possible = common.is_possible(first, &entries) && theirs <= Slot::MAX;
        let starts_in_reach = first <= next && log_starts_at <= first;
        if !is_possible || !starts_in_reach {
            return;
        }
        if let Some(contradiction) = common.contradiction(from, first, &entries) {
            out.contradictions.push(contradiction);
            return;
        }
        let known = usize::try_from(next.above(first)).unwrap_or(usize::MAX);
        let news: Vec<_> = entries.into_iter().skip(known).collect();
        if news.is_empty() || common.disk_is_stalled() {
            return;
        }
        // A coordinator whose watermark moves by anything but its own acknowledgements has been
        // overtaken. Followers would take its watermark for a verdict on its own values.
        if matches!(self.role, Role::Coordinator(_)) {
            self.role = Role::Follower;
        }
        for entry in &news {
            common.acceptor.take(common.watermark().next());
            let waits_for = Some(SequenceNumber::NONE);
            commit(common, &mut self.clients, entry.clone(), waits_for, out);
        }
        common.write(Content::Committed { first: next, entries: news }, out);
        if theirs > common.watermark() {
            common.ask(from, out);
        }
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.forget_committed(common.watermark());
        }
        self.coordinate_when_elected(out);
    }
}
