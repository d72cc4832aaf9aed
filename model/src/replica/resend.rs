//! Resend: repeating what is unanswered, so that a lost message does no lasting harm.
//!
//! Each role repeats what it waits for: a canvass, a propose, accepts, a round. Every replica repeats
//! what its clients wait for, and may ask for committed slots again.

use alloc::vec::Vec;

use super::common::Common;
use super::coordinator::Coordinator;
use super::{Replica, Role};
use crate::entry::{Entry, Value};
use crate::frames::{EntryRange, EntryRanges, FrameRoom};
use crate::io::Output;
use crate::limits::Limits;
use crate::message::Order;
use crate::numbers::{ReplicaId, Slot};

impl<V: Value> Replica<V> {
    /// Repeats whatever is unanswered.
    pub(super) fn resend(&mut self, out: &mut Output<V>) {
        self.common.asked = false;
        self.resend_for_clients(out);
        let common = &self.common;
        match &mut self.role {
            Role::Follower => {}
            Role::Canvassing(canvassing) => {
                common.order_others(canvassing.s, Order::Canvass { run: common.run }, out);
            }
            Role::Candidate(candidate) => {
                if candidate.proposed {
                    for member in common.others() {
                        if let Some(from) = candidate.missing_from(member, common.watermark()) {
                            out.send(member, common.order(candidate.s, Order::Propose { from }));
                        }
                    }
                    self.coordinate_when_elected(out);
                }
            }
            Role::Coordinator(coordinator) => coordinator.resend(common, out),
        }
    }

    /// Answers the submissions that the log has answered meanwhile, and repeats the rest to the
    /// coordinator.
    fn resend_for_clients(&mut self, out: &mut Output<V>) {
        self.clients.answer_all_known(self.common.learner.table(), out);
        let mut room = room_of_resend(self.common.limits());
        let submissions = self.clients.submissions();
        let submissions: Vec<Entry<V>> =
            submissions.take_while(|entry| room.take(entry.size_bytes())).cloned().collect();
        self.pass_on(submissions, out);
        let unanswered = self.clients.reads.unanswered();
        self.pass_on_reads(&unanswered, out);
    }
}

impl<V: Value> Coordinator<V> {
    /// Repeats the accepts of slots that were open at the last resend already. Repeats the newest round,
    /// or begins a new one if the newest is answered.
    fn resend(&mut self, common: &Common<V>, out: &mut Output<V>) {
        for member in common.others() {
            self.resend_accepts(member, common, out);
        }
        self.repeat_through = Slot(self.next_slot(common.watermark()).0 - 1);
        if self.rounds.are_answered(&common.configuration) {
            self.rounds.begin(self.s, common, out);
        } else {
            self.rounds.send(self.s, common, out);
        }
    }

    /// Sends `member` the entries that were open at the last resend and that it has not acknowledged:
    /// as many as the limit allows, and at least one. Entries that were opened later are on their way.
    fn resend_accepts(&self, member: ReplicaId, common: &Common<V>, out: &mut Output<V>) {
        let mut room = room_of_resend(common.limits());
        let mut unacknowledged = EntryRanges::new();
        for (&slot, &acknowledged) in self.open.range(..=self.repeat_through) {
            if common.configuration.is_in(acknowledged, member) {
                continue;
            }
            if let Some(held) = common.acceptor.accepted().get(&slot) {
                if !room.take(held.entry.size_bytes()) {
                    break;
                }
                unacknowledged.push(slot, held.entry.clone());
            }
        }
        let (watermark, frame) = (common.watermark(), FrameRoom::of(common.limits()));
        let frames = unacknowledged.into_iter().flat_map(|range| range.in_frames(frame));
        for EntryRange { first, entries } in frames {
            let accept = Order::Accept { first, entries, watermark };
            out.send(member, common.order(self.s, accept));
        }
    }
}

/// How much one resend repeats.
fn room_of_resend(limits: &Limits) -> FrameRoom {
    FrameRoom::new(u64::MAX, limits.resend_bytes_max)
}
