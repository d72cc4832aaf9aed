//! Catch-up: how a replica that missed something gets the committed slots.

use alloc::vec::Vec;

use super::{Replica, Role};
use crate::entry::{Entry, Value};
use crate::io::{Contradiction, Output, Serve};
use crate::learner::Compared;
use crate::message::Message;
use crate::numbers::{ReplicaId, SequenceNumber, Slot, SlotRange};
use crate::record::Content;

impl<V: Value> Replica<V> {
    /// Asks `peer`, who is known to have it, for what is committed above the watermark; once until
    /// there is an answer or a resend.
    pub(super) fn ask(&mut self, peer: ReplicaId, out: &mut Output<V>) {
        if !self.asked {
            self.asked = true;
            out.send(peer, Message::Ask { from: self.learner.watermark().next() });
        }
    }

    /// Sends `peer` committed slots from `from` on: one frame of what is in the tail, or has the
    /// shell read what is older. The peer asks on when it has that.
    pub(super) fn serve(&mut self, peer: ReplicaId, from: Slot, out: &mut Output<V>) {
        let watermark = self.learner.watermark();
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
        let mut entries = Vec::new();
        let mut size_bytes: u64 = 0;
        for (_, entry) in self.learner.tail_from(first) {
            size_bytes = size_bytes.saturating_add(entry.size_bytes());
            let full = entries.len() as u64 >= self.limits().frame_entries_max
                || size_bytes > self.limits().frame_bytes_max;
            if full && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        out.send(peer, Message::Committed { log_starts_at, first, entries, watermark });
    }

    /// Takes in committed slots.
    ///
    /// They are written as committed, not under anybody's number: under the sender's number a chosen
    /// value could be hidden from a later election, and if nothing were written a restart could
    /// deliver a stale one.
    pub(super) fn catch_up(
        &mut self,
        from: ReplicaId,
        log_starts_at: Slot,
        first: Slot,
        entries: Vec<Entry<V>>,
        theirs: Slot,
        out: &mut Output<V>,
    ) {
        let watermark = self.learner.watermark();
        let starts_in_reach = first <= watermark.next() && log_starts_at <= first;
        let is_stalled = self.unsynced.size_bytes() > self.limits().unsynced_bytes_max;
        let is_possible = self.is_possible(first, &entries) && theirs <= Slot::MAX;
        if !is_possible || !starts_in_reach {
            return;
        }
        for (slot, entry) in (first.0..=watermark.0).map(Slot).zip(&entries) {
            if self.learner.compare(slot, entry) == Compared::Other {
                out.contradictions.push(Contradiction { slot, from, s: SequenceNumber::NONE });
                return;
            }
        }
        let known = usize::try_from(watermark.next().above(first)).unwrap_or(usize::MAX);
        let news: Vec<_> = entries.into_iter().skip(known).collect();
        if news.is_empty() || is_stalled {
            return;
        }
        // A coordinator whose watermark moves in any way but by its own acknowledgements has been
        // overtaken, and followers would take its watermark for a verdict on its own values.
        if matches!(self.role, Role::Coordinator(_)) {
            self.role = Role::Follower;
        }
        for entry in &news {
            self.acceptor.take(self.learner.watermark().next());
            self.commit(entry.clone(), Some(SequenceNumber::NONE), out);
        }
        self.write(Content::Committed { first: watermark.next(), entries: news }, out);
        if theirs > self.learner.watermark() {
            self.ask(from, out);
        }
        self.coordinate_when_elected(out);
    }
}
