//! Giving orders: how a replica gets elected, chooses values, opens slots and commits them.

use alloc::vec::Vec;

use super::{Replica, Role};
use crate::configuration::MemberSet;
use crate::coordinator::Coordinator;
use crate::election::{Candidate, Canvassing, Standing};
use crate::entry::{Entry, Value};
use crate::io::{ElectRefused, Output};
use crate::message::{Message, Order, Reply};
use crate::numbers::{ReplicaId, SequenceNumber, Slot};
use crate::record::Content;

impl<V: Value> Replica<V> {
    /// The failure detector believes that nobody coordinates. A coordinator whose round goes
    /// unanswered believes it too, and steps down; the detector counts how long, the core does not.
    pub(super) fn suspect(&mut self) {
        if let Role::Coordinator(coordinator) = &self.role {
            if coordinator.round_is_answered(&self.configuration) {
                return;
            }
            self.role = Role::Follower;
        }
        self.suspects = true;
    }

    /// Stands for election, with or without asking first.
    ///
    /// A candidate that waits gives up its number and begins again.
    pub(super) fn elect(&mut self, canvass: bool, out: &mut Output<V>) {
        let refused = if matches!(self.role, Role::Coordinator(_)) {
            Some(ElectRefused::Coordinates)
        } else if !self.configuration.contains(self.me) {
            Some(ElectRefused::NotAMember)
        } else {
            None
        };
        if refused.is_some() {
            out.elect_refused = refused;
            return;
        }
        if canvass {
            self.canvass(out);
        } else {
            self.stand(out);
        }
    }

    /// Asks the others whether they would follow, under the number that a candidacy would have.
    fn canvass(&mut self, out: &mut Output<V>) {
        let Some(s) = self.next_number() else {
            out.elect_refused = Some(ElectRefused::NoLargerNumber);
            return;
        };
        self.suspects = true;
        let mut agreed = MemberSet::default();
        self.configuration.insert(&mut agreed, self.me);
        self.role = Role::Canvassing(Canvassing { s, agreed });
        self.order_others(s, Order::Canvass, out);
        self.stand_when_agreed(out);
    }

    fn stand_when_agreed(&mut self, out: &mut Output<V>) {
        if let Role::Canvassing(canvassing) = &self.role
            && self.configuration.is_majority(canvassing.agreed)
        {
            self.stand(out);
        }
    }

    /// Becomes a candidate under the next number of its own (Paxos Made Live, 4.1, footnote 1).
    fn stand(&mut self, out: &mut Output<V>) {
        let Some(s) = self.next_number() else {
            out.elect_refused = Some(ElectRefused::NoLargerNumber);
            return;
        };
        self.heard = s;
        self.suspects = false;
        self.role = Role::Candidate(Candidate::new(s));
        self.acceptor.raise_promise(s);
        self.write(Content::Promised(s), out);
    }

    /// Proposes once this replica's own promise is durable: after a restart it would otherwise pick
    /// the same number again.
    pub(super) fn propose_when_durable(&mut self, out: &mut Output<V>) {
        if let Role::Candidate(candidate) = &self.role
            && !candidate.proposed
            && self.acceptor.durable_promise() == candidate.s
        {
            let s = candidate.s;
            let from = self.learner.watermark().next();
            self.order_others(s, Order::Propose { from }, out);
            if let Role::Candidate(candidate) = &mut self.role {
                candidate.proposed = true;
            }
            self.coordinate_when_elected(out);
        }
    }

    fn order(&self, s: SequenceNumber, order: Order<V>) -> Message<V> {
        Message::Order { configuration: self.configuration.id(), s, order }
    }

    fn order_others(&self, s: SequenceNumber, order: Order<V>, out: &mut Output<V>) {
        out.send_to_others(self.order(s, order));
    }

    /// Somebody has promised a number above the one that this replica used.
    pub(super) fn rejected(&mut self, promised: SequenceNumber) {
        self.heard = self.heard.max(promised);
        self.step_down_below(promised);
        if matches!(&self.role, Role::Canvassing(canvassing) if canvassing.s <= promised) {
            self.role = Role::Follower;
        }
    }

    /// Takes an answer to an order that this replica gave under `s`.
    pub(super) fn take_reply(
        &mut self,
        from: ReplicaId,
        s: SequenceNumber,
        reply: Reply<V>,
        out: &mut Output<V>,
    ) {
        let watermark = self.learner.watermark();
        match (&mut self.role, reply) {
            (Role::Canvassing(canvassing), Reply::Agree) if canvassing.s == s => {
                self.configuration.insert(&mut canvassing.agreed, from);
                self.stand_when_agreed(out);
            }
            (Role::Candidate(candidate), Reply::Promise(frame))
                if candidate.s == s && candidate.proposed =>
            {
                candidate.take(from, frame, watermark, self.cluster.limits());
                self.coordinate_when_elected(out);
            }
            (Role::Coordinator(coordinator), Reply::Acknowledge { ranges })
                if coordinator.s == s =>
            {
                // Ranges ascend; the rest of a list that does not is forged.
                let mut after = Slot::ZERO;
                for range in ranges {
                    if range.first <= after {
                        break;
                    }
                    after = range.last;
                    coordinator.acknowledge(from, range, &self.configuration);
                }
            }
            (Role::Coordinator(coordinator), Reply::Obey { number, last })
                if coordinator.s == s =>
            {
                let was_answered = coordinator.round_is_answered(&self.configuration);
                if !coordinator.obeyed(from, number, &self.configuration) {
                    return;
                }
                // That a majority obeys is how a coordinator hears of itself.
                if !was_answered && coordinator.round_is_answered(&self.configuration) {
                    out.coordinator_heard = true;
                }
                self.fill_up_to(last, out);
            }
            _ => {}
        }
    }

    /// Coordinates once a majority has promised and this replica has caught up with what they know.
    pub(super) fn coordinate_when_elected(&mut self, out: &mut Output<V>) {
        let Role::Candidate(candidate) = &self.role else {
            return;
        };
        if !candidate.proposed {
            return;
        }
        match candidate.standing(self.me, self.learner.watermark(), &self.configuration) {
            Standing::Waits => {}
            Standing::Lags { behind } => self.ask(behind, out),
            Standing::Elected => self.begin_to_coordinate(out),
        }
    }

    /// Whether a majority has promised, and this candidate must catch up before it coordinates.
    #[cfg(feature = "stateright")]
    pub(crate) fn lags_as_candidate(&self) -> bool {
        let Role::Candidate(candidate) = &self.role else {
            return false;
        };
        let standing = candidate.standing(self.me, self.learner.watermark(), &self.configuration);
        candidate.proposed && matches!(standing, Standing::Lags { .. })
    }

    /// Phase 2 begins: chooses the values that a former coordinator may have got through.
    ///
    /// In every slot above its own watermark, as that stands now, the value accepted under the
    /// highest number must be finished: it may have been chosen (Paxos Made Live, 4.1, the second
    /// mechanism). A slot that nobody reported below one that somebody did gets a no-op.
    fn begin_to_coordinate(&mut self, out: &mut Output<V>) {
        let Role::Candidate(candidate) = core::mem::replace(&mut self.role, Role::Follower) else {
            return;
        };
        let mut candidate = candidate;
        let s = candidate.s;
        let watermark = self.learner.watermark();
        let last = self.acceptor.last(watermark).max(candidate.last_reported(watermark));
        let mut entries = Vec::new();
        let mut slot = watermark.next();
        while slot <= last {
            let own = self.acceptor.accepted().get(&slot);
            let entry = match (candidate.take_best(slot), own) {
                (Some((theirs, _)), Some(own)) if own.s > theirs => own.entry.clone(),
                (Some((_, entry)), _) => entry,
                (None, Some(own)) => own.entry.clone(),
                (None, None) => Entry::NoOp,
            };
            entries.push(entry);
            slot = slot.next();
        }
        self.suspects = false;
        let mut coordinator = Coordinator::new(s, last);
        coordinator.known.extend(entries.iter().filter_map(Entry::submission_id));
        self.role = Role::Coordinator(coordinator);
        self.open(watermark.next(), entries, out);
        self.begin_round(out);
        let own: Vec<_> = self.submissions.values().cloned().collect();
        for entry in own {
            self.enqueue(entry);
        }
        let unanswered = self.reads.unanswered();
        self.read_for(self.me, self.run, &unanswered);
    }

    /// Opens the slots from `first` on with `entries`: accepts them here, and asks the others to.
    fn open(&mut self, first: Slot, entries: Vec<Entry<V>>, out: &mut Output<V>) {
        let Role::Coordinator(coordinator) = &self.role else {
            return;
        };
        let s = coordinator.s;
        let watermark = self.learner.watermark();
        let mut first = first;
        for entries in self.in_frames(entries) {
            let after = first.plus(entries.len() as u64);
            if let Role::Coordinator(coordinator) = &mut self.role {
                for slot in (first.0..after.0).map(Slot) {
                    coordinator.open.insert(slot, MemberSet::default());
                }
                coordinator.announced = watermark;
            }
            let accept = Order::Accept { first, entries: entries.clone(), watermark };
            self.order_others(s, accept, out);
            self.accept_locally(s, first, entries, out);
            first = after;
        }
    }

    /// What a coordinator does at the end of every step: commits what a majority has acknowledged,
    /// opens slots for what waits, answers reads, and tells of the watermark.
    pub(super) fn coordinate(&mut self, out: &mut Output<V>) {
        if !matches!(self.role, Role::Coordinator(_)) {
            return;
        }
        self.commit_acknowledged(out);
        self.open_for_queue(out);
        self.confirm_reads(out);
        let watermark = self.learner.watermark();
        if let Role::Coordinator(coordinator) = &mut self.role
            && coordinator.announced < watermark
        {
            coordinator.announced = watermark;
            let s = coordinator.s;
            self.order_others(s, Order::Commit { watermark }, out);
        }
    }

    /// Consensus is reached once a majority has acknowledged (Paxos Made Live, 4.1, step 3), and
    /// counts as committed once every slot below is.
    fn commit_acknowledged(&mut self, out: &mut Output<V>) {
        loop {
            let next = self.learner.watermark().next();
            match &mut self.role {
                Role::Coordinator(coordinator)
                    if coordinator.has_majority(next, &self.configuration) =>
                {
                    coordinator.open.remove(&next);
                }
                _ => return,
            }
            let committed = self.commit_accepted(out);
            debug_assert!(committed, "a coordinator holds what it opened");
        }
    }

    /// Opens slots for what waits, as far as the window and the disk allow.
    fn open_for_queue(&mut self, out: &mut Output<V>) {
        let limits = self.cluster.limits();
        let watermark = self.learner.watermark();
        let Role::Coordinator(coordinator) = &mut self.role else {
            return;
        };
        let first = coordinator.next_slot(watermark);
        let window_ends = watermark.plus(limits.open_slots_max.min(limits.accepted_slots_max));
        let room = window_ends.next().above(first);
        let mut unsynced_bytes = self.unsynced.size_bytes();
        let mut accepted_bytes = self.acceptor.size_bytes();
        let mut entries = Vec::new();
        while (entries.len() as u64) < room
            && unsynced_bytes <= limits.unsynced_bytes_max
            && accepted_bytes <= limits.accepted_bytes_max / 2
            && let Some(entry) = coordinator.dequeue()
        {
            unsynced_bytes = unsynced_bytes.saturating_add(entry.size_bytes());
            accepted_bytes = accepted_bytes.saturating_add(entry.size_bytes());
            entries.push(entry);
        }
        if entries.is_empty() {
            return;
        }
        self.open(first, entries, out);
    }

    /// A follower holds an entry in slot `last`, above everything that this coordinator has opened:
    /// left over from an older one, and not chosen, or this election had heard of it. No-ops in the
    /// slots up to there let go of it.
    fn fill_up_to(&mut self, last: Slot, out: &mut Output<V>) {
        let watermark = self.learner.watermark();
        let Role::Coordinator(coordinator) = &self.role else {
            return;
        };
        let first = coordinator.next_slot(watermark);
        let last = last.min(watermark.plus(self.limits().open_slots_max));
        let count = usize::try_from(last.next().above(first)).unwrap_or(0);
        if count > 0 {
            self.open(first, alloc::vec![Entry::NoOp; count], out);
        }
    }

    fn begin_round(&mut self, out: &mut Output<V>) {
        if let Role::Coordinator(coordinator) = &mut self.role {
            coordinator.begin_round(self.me, &self.configuration);
            self.send_round(out);
        }
    }

    fn send_round(&mut self, out: &mut Output<V>) {
        let watermark = self.learner.watermark();
        if let Role::Coordinator(coordinator) = &self.role {
            let round = Order::Round { number: coordinator.round(), watermark };
            self.order_others(coordinator.s, round, out);
        }
    }

    /// Tells the reads that the newest round confirms their slot, and begins a round for those that
    /// arrived after it began.
    fn confirm_reads(&mut self, out: &mut Output<V>) {
        let watermark = self.learner.watermark();
        // A read may be told of a slot that an election must finish. Until that is committed it may
        // still be lost with this coordinator, and the read would wait for it for ever.
        while let Role::Coordinator(coordinator) = &mut self.role
            && coordinator.round_is_answered(&self.configuration)
            && coordinator.last_promised <= watermark
        {
            let confirmed = coordinator.take_confirmed();
            let wants_round = coordinator.wants_round();
            let mut confirmed = confirmed.into_iter().peekable();
            while let Some((read, slot)) = confirmed.next() {
                if read.from == self.me {
                    self.reads.tell(read.id, slot);
                    continue;
                }
                let mut ids = alloc::vec![read.id];
                while let Some((next, _)) = confirmed.next_if(|(next, at)| {
                    (next.from, next.run) == (read.from, read.run) && *at == slot
                }) {
                    ids.push(next.id);
                }
                out.send(read.from, Message::ReadAt { run: read.run, ids, slot });
            }
            if !wants_round {
                return;
            }
            self.begin_round(out);
        }
    }

    /// Repeats whatever is unanswered, so that any lost message is made good.
    pub(super) fn resend(&mut self, out: &mut Output<V>) {
        self.asked = false;
        self.resend_clients(out);
        match &self.role {
            Role::Follower => {}
            Role::Canvassing(canvassing) => {
                let s = canvassing.s;
                self.order_others(s, Order::Canvass, out);
            }
            Role::Candidate(candidate) => {
                if candidate.proposed {
                    let watermark = self.learner.watermark();
                    for &member in self.configuration.members() {
                        if member != self.me
                            && let Some(from) = candidate.missing_from(member, watermark)
                        {
                            let propose = self.order(candidate.s, Order::Propose { from });
                            out.send(member, propose);
                        }
                    }
                    self.coordinate_when_elected(out);
                }
            }
            Role::Coordinator(coordinator) => {
                let answered = coordinator.round_is_answered(&self.configuration);
                self.resend_accepts(out);
                let watermark = self.learner.watermark();
                if let Role::Coordinator(coordinator) = &mut self.role {
                    coordinator.repeat_through = Slot(coordinator.next_slot(watermark).0 - 1);
                }
                if answered {
                    self.begin_round(out);
                } else {
                    self.send_round(out);
                }
            }
        }
    }

    /// Sends each other replica the open entries that it has not acknowledged since before the last
    /// resend, as many as the limit allows and at least one. What was opened later is on its way.
    fn resend_accepts(&self, out: &mut Output<V>) {
        let Role::Coordinator(coordinator) = &self.role else {
            return;
        };
        let watermark = self.learner.watermark();
        for &member in self.configuration.members() {
            if member == self.me {
                continue;
            }
            let mut size_bytes: u64 = 0;
            let mut runs: Vec<(Slot, Vec<Entry<V>>)> = Vec::new();
            for (&slot, &acknowledged) in coordinator.open.range(..=coordinator.repeat_through) {
                let Some(held) = self.acceptor.accepted().get(&slot) else {
                    continue;
                };
                if self.configuration.is_in(acknowledged, member) {
                    continue;
                }
                size_bytes = size_bytes.saturating_add(held.entry.size_bytes());
                if size_bytes > self.limits().resend_bytes_max && !runs.is_empty() {
                    break;
                }
                match runs.last_mut() {
                    Some((first, run)) if first.plus(run.len() as u64) == slot => {
                        run.push(held.entry.clone());
                    }
                    _ => runs.push((slot, alloc::vec![held.entry.clone()])),
                }
            }
            for (first, run) in runs {
                let mut first = first;
                for entries in self.in_frames(run) {
                    let after = first.plus(entries.len() as u64);
                    let accept = Order::Accept { first, entries, watermark };
                    out.send(member, self.order(coordinator.s, accept));
                    first = after;
                }
            }
        }
    }
}
