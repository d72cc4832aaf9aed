//! Resend: repeating what may be lost, so that a lost message does no lasting harm.
//!
//! Between two replicas a connection loses nothing. So what may be lost is known: the shell says when a
//! connection was made anew, and then this replica repeats what that peer has not answered. An
//! [`Input::Resend`](crate::Input::Resend) repeats everything to everybody. It is for what no shell
//! knows of, and the model gives it at any time.

use alloc::vec::Vec;

use super::common::Common;
use super::coordinator::Coordinator;
use super::{Replica, Role};
use crate::entry::{Entry, Value};
use crate::frames::FrameRoom;
use crate::io::Output;
use crate::limits::Limits;
use crate::message::{Message, Order};
use crate::numbers::{ReplicaId, Slot, SlotRange};

impl<V: Value> Replica<V> {
    /// Begins a round or repeats the newest, if this replica coordinates.
    pub(super) fn heartbeat(&mut self, out: &mut Output<V>) {
        if let Role::Coordinator(coordinator) = &mut self.role {
            coordinator.beat(&self.common, out);
        }
    }

    /// A connection with `peer` was made: reminds it of what it told, and repeats what it has not answered.
    ///
    /// A replica outside the configuration is told what is committed here. So one that joins, or that was
    /// removed while it was away, learns of the cluster from anyone that it connects with.
    pub(super) fn reconnected(&mut self, peer: ReplicaId, out: &mut Output<V>) {
        let common = &mut self.common;
        if peer == common.me {
            return;
        }
        common.full.remove(&peer);
        if !common.configuration().contains(peer) {
            out.send(peer, Message::CommittedThrough { prefix: common.prefix() });
            return;
        }
        // It may have started anew, with another data directory.
        if common.other_histories.remove(&peer).is_some() {
            out.send(peer, Message::Compare { prefix: common.prefix(), is_question: true });
        }
        common.remind(peer, out);
        if common.catch_up.as_ref().is_some_and(|catch_up| catch_up.from == peer) {
            common.forget_asks();
        }
        if common.forwards_to() == Some(peer) {
            // Its next order tells this replica that it can be reached, and what is missing here.
            common.asks_at_once = true;
            common.told_room = None;
            self.clients.forward_anew();
        }
        self.repeat_to(peer, out);
    }

    /// Repeats to `peer` what this replica has ordered under its number, and has no answer to.
    pub(super) fn repeat_to(&mut self, peer: ReplicaId, out: &mut Output<V>) {
        let common = &mut self.common;
        match &mut self.role {
            Role::Follower => {}
            Role::Canvassing(canvassing) => {
                out.send(peer, common.order(canvassing.s, Order::Canvass { run: common.run }));
            }
            Role::Candidate(candidate) => {
                if candidate.proposed {
                    if let Some(from) = candidate.missing_from(peer, common.watermark()) {
                        out.send(peer, common.order(candidate.s, Order::Propose { from }));
                    }
                    self.coordinate_when_elected(out);
                }
            }
            Role::Coordinator(coordinator) => {
                coordinator.push_after_round(peer, common);
                coordinator.rounds.send_to(peer, coordinator.s, common, out);
            }
        }
    }

    /// Much is on its way to `peer`.
    pub(super) fn full(&mut self, peer: ReplicaId) {
        if self.common.configuration().contains(peer) {
            self.common.full.insert(peer);
        }
    }

    /// Little is on its way to `peer` any more.
    pub(super) fn drained(&mut self, peer: ReplicaId, out: &mut Output<V>) {
        self.common.full.remove(&peer);
        if self.common.forwards_to() == Some(peer) {
            self.forward_held_back(out);
        }
    }

    /// Repeats whatever is unanswered.
    pub(super) fn resend(&mut self, out: &mut Output<V>) {
        self.common.doubt_asks();
        self.common.ask_for_histories(out);
        self.common.repeat_change(out);
        for peer in self.common.others() {
            self.common.remind(peer, out);
        }
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
        self.clients.try_without_room();
        let mut room = room_of_portion(self.common.limits());
        let submissions = self.clients.submissions();
        let submissions: Vec<Entry<V>> =
            submissions.take_while(|entry| room.take(entry.size_bytes())).cloned().collect();
        self.pass_on(submissions, out);
        let unanswered = self.clients.reads.unanswered();
        self.pass_on_reads(&unanswered, out);
    }
}

impl<V: Value> Coordinator<V> {
    /// Repeats the newest round, or begins a new one if the newest is answered. While its application
    /// hangs, it asks how far the others have come.
    fn beat(&mut self, common: &Common<V>, out: &mut Output<V>) {
        if self.rounds.are_answered(common.configuration()) {
            self.rounds.begin(self.s, common, out);
        } else {
            self.rounds.send(self.s, common, out);
        }
        self.ask_for_progress(common, out);
    }

    /// Repeats the accepts of slots that were open at the last resend already: entries that were opened
    /// later are on their way. Also repeats the newest round.
    ///
    /// A member from which entries are held back gets all of them: it may have room again, and the
    /// message that said so may be lost.
    fn resend(&mut self, common: &Common<V>, out: &mut Output<V>) {
        for member in common.others().filter(|member| !common.full.contains(member)) {
            let slots = SlotRange { first: common.watermark().next(), last: self.repeat_through };
            if self.held_back.contains_key(&member) {
                self.push_again(member, common);
            } else if slots.first <= slots.last {
                self.push_slots(member, slots, common, out);
            }
        }
        self.repeat_admission(common, out);
        self.repeat_through = Slot(self.next_slot(common.watermark()).0 - 1);
        self.beat(common, out);
    }
}

/// The room of a portion: what one resend repeats to a peer, one push sends, or one step takes up or
/// opens of what must be finished.
pub(super) fn room_of_portion(limits: &Limits) -> FrameRoom {
    FrameRoom::new(limits.open_slots_max, limits.resend_bytes_max)
}
