//! Liveness: from every reachable state, a majority that is left in peace agrees.
//!
//! The paper promises that "if eventually a majority of the replicas run for long enough without
//! crashing and there are no failures, all running replicas are guaranteed to agree on one of the
//! values that was submitted". This module checks just that. From a state, and for every majority, a
//! fair schedule without failures runs, while all other replicas are silent. A round of it is:
//!
//! 1. All replicas of the majority sync and resend, and all messages are delivered.
//! 2. If none of them coordinates, all of them suspect, and the one with the lowest id is elected.
//!    One that refuses to stand leaves its turn to the next.
//!
//! Within a bounded number of rounds, the majority must agree: all watermarks are equal, no replica holds
//! an accepted entry above them, and every submission and read that its origin keeps is answered.
//!
//! Where members change, a set of replicas is a majority if it has a majority of every configuration from the
//! last finished one on, and of every one that a client wants. Replicas outside a configuration may be in the
//! set. Then they talk, and must not hold the others up: a replica that hears no coordinator stands. They
//! must come to know that they are not members. The members must agree, and finish every change that they
//! commit.
//!
//! Where disks roll back, two histories may come to be. Then those members must agree that share one, if
//! they are a majority. The others are not silent, and must not hold them up. A coordinator then counts only
//! if it is answered, and the members take turns to stand.
//!
//! The messages in flight are dropped at the start, since the network may lose all of them. So the run
//! depends only on the local states of the majority. Tuples of local states that end well are
//! remembered, and a run ends when it meets one. From a sample of the states a second run is made,
//! which delivers the messages in flight first.
//!
//! Where disks may hang, a replica whose disk hangs counts for no majority: the others must be one by
//! themselves. It may be silent, or it goes on talking, and only never syncs. The module [`hung`] says
//! what its failure detector does, and what those of slow replicas do.
//!
//! stateright's own `eventually` is not used: it overlooks cycles, and states that two paths lead to.

mod canvass;
mod forming;
mod hung;
mod membership;

use std::sync::atomic::Ordering;
use std::vec::Vec;

use forming::Formed;

use super::intern::Id;
use super::local::{LocalState, RoleKind, Summary};
use super::model::World;
use super::outcomes::EventKey;
use super::scenario::{REPLICAS_MAX, Replicas};
use super::state::ClusterState;
use crate::numbers::Slot;
use crate::replica::Replica;

/// A run that takes more rounds is stuck. Without failures, it needs an election or two, and catches up
/// at least one slot in each round.
const ROUNDS_MAX: usize = 64;

/// A round with more deliveries than this never ends: messages answer one another.
const MESSAGES_MAX: usize = 20_000;

/// From one state in this many, a second run delivers the messages in flight first.
const SAMPLE_EVERY: u128 = 256;

impl World {
    /// Whether every majority that is left in peace from `state` on agrees in the end.
    pub(super) fn is_live(&self, state: &ClusterState) -> bool {
        let is_sampled = state.digest.is_multiple_of(SAMPLE_EVERY);
        if is_sampled {
            self.checked.sampled.fetch_add(1, Ordering::Relaxed);
        }
        let works = |majority: &Replicas| {
            self.is_majority_of_all(*majority, state)
                && self.is_working_majority(*majority, &state.locals)
        };
        self.sets().filter(works).all(|majority| match self.formed(majority, state.locals) {
            Formed::Joined(locals) => {
                self.ends_well(majority, locals, Vec::new())
                    && (!is_sampled || self.ends_well(majority, locals, state.in_flight.to_vec()))
            }
            Formed::Apart => true,
            Formed::Stuck => false,
        })
    }

    /// The number of states from which a second run delivered the messages in flight first, and the
    /// number of tuples of local states that are remembered.
    #[must_use]
    pub fn liveness_effort(&self) -> (u64, usize) {
        (self.checked.sampled.load(Ordering::Relaxed), self.checked.ends_well.len())
    }

    /// Whether another replica stands in the next round. Where disks roll back or members change, the one that
    /// stands may never be elected.
    fn takes_turns(&self) -> bool {
        self.scenario.rollbacks > 0 || self.has_changes()
    }

    /// The sets of replicas that are not empty.
    fn sets(&self) -> impl Iterator<Item = Replicas> {
        (1..1_u8 << self.scenario.replicas).map(Replicas)
    }

    /// The majorities of all replicas, where members do not change.
    fn majorities(&self) -> impl Iterator<Item = Replicas> + '_ {
        self.sets().filter(|set| 2 * set.count() > self.scenario.replicas)
    }

    fn ends_well(
        &self,
        majority: Replicas,
        locals: [Id; REPLICAS_MAX],
        in_flight: Vec<Id>,
    ) -> bool {
        let mut run = FairRun { world: self, majority, locals, in_flight, rounds: 0 };
        // Nearly every tuple is known already.
        if run.in_flight.is_empty() && self.checked.ends_well.contains(&run.key()) {
            return true;
        }
        let mut passed = Vec::new();
        if !run.in_flight.is_empty() && !run.deliver_all() {
            return false;
        }
        for _ in 0..ROUNDS_MAX {
            let key = run.key();
            if self.checked.ends_well.contains(&key) || run.agrees() {
                passed.push(key);
                for key in passed {
                    self.checked.ends_well.insert(key);
                }
                return true;
            }
            if passed.contains(&key) && !self.takes_turns() {
                return false;
            }
            passed.push(key);
            if !run.round() {
                return false;
            }
            run.rounds += 1;
        }
        false
    }
}

/// A run of the fair schedule for one majority.
#[derive(Clone)]
struct FairRun<'a> {
    world: &'a World,
    majority: Replicas,
    locals: [Id; REPLICAS_MAX],
    in_flight: Vec<Id>,
    rounds: usize,
}

impl FairRun<'_> {
    fn members(&self) -> impl Iterator<Item = usize> + use<> {
        let majority = self.majority;
        (0..REPLICAS_MAX).filter(move |replica| majority.contains(*replica))
    }

    fn local(&self, replica: usize) -> &LocalState {
        &self.world.locals.get(self.locals[replica]).content
    }

    fn summary(&self, replica: usize) -> &Summary {
        &self.world.locals.get(self.locals[replica]).derived
    }

    /// A digest of the majority and its local states: the sum of their digests. Each local state
    /// contains its replica's id, so the order of the terms does not matter.
    fn key(&self) -> u128 {
        let digests = self.members().map(|it| self.world.locals.get(self.locals[it]).digest);
        digests.fold(0, u128::wrapping_add)
    }

    fn happen(&mut self, replica: usize, key: EventKey) {
        let outcome = self.world.outcome(self.locals[replica], key);
        self.locals[replica] = outcome.local;
        self.in_flight.extend(outcome.sent.iter());
        if let Some((from, slot)) = outcome.fetch {
            self.fetch(replica, from, slot);
        }
    }

    /// `replica` gets the snapshot of `from` up to `slot`, and installs it.
    fn fetch(&mut self, replica: usize, from: usize, slot: Slot) {
        let common = &self.local(from).replica.common;
        let hash = common.learner.hashes().at(slot, common.limits());
        if let Some(handle) = hash.and_then(|hash| self.world.handles.find(slot, hash)) {
            self.happen(replica, EventKey::Install(handle));
        }
    }

    fn sync_all(&mut self) {
        self.ring_slow();
        for replica in self.members() {
            let LocalState { unsynced, disk_hangs, .. } = self.local(replica);
            if !unsynced.is_empty() && !disk_hangs {
                self.happen(replica, EventKey::Sync(unsynced.len()));
            }
        }
    }

    /// Delivers the messages in flight within the majority, and those that are sent in answer. Returns
    /// false if that does not end.
    fn deliver_all(&mut self) -> bool {
        for _ in 0..MESSAGES_MAX {
            if self.in_flight.is_empty() {
                return true;
            }
            for id in std::mem::take(&mut self.in_flight) {
                let route = self.world.envelopes.get(id).derived;
                let is_admitted = self.local(route.to).admits(self.world.envelope(id));
                let is_among =
                    self.majority.contains(route.from) && self.majority.contains(route.to);
                if is_among && is_admitted {
                    self.happen(route.to, EventKey::Deliver(id));
                }
            }
            self.sync_all();
        }
        false
    }

    /// Runs one round of the schedule. Returns false if it does not end.
    fn round(&mut self) -> bool {
        self.sync_all();
        for replica in self.members() {
            self.happen(replica, EventKey::Resend);
        }
        if !self.deliver_all() {
            return false;
        }
        self.ring_hung();
        if !self.deliver_all() {
            return false;
        }
        if !self.stand_if_outside() {
            return false;
        }
        let rolls_back = self.world.scenario.rollbacks > 0;
        let coordinates = |it: usize| {
            let summary = self.summary(it);
            summary.role == RoleKind::Coordinator && (!rolls_back || summary.round_is_answered)
        };
        if !self.members().any(coordinates) {
            for replica in self.members() {
                self.happen(replica, EventKey::Suspect);
            }
            let canvass = self.world.scenario.canvass;
            let takes_turns = self.world.takes_turns();
            let turn = if takes_turns { self.rounds % self.majority.count() } else { 0 };
            let may_stand = self.members().filter(|it| !self.refuses_to_stand(*it));
            let may_stand: Vec<_> = may_stand.collect();
            if let Some(&stands) = may_stand.get(turn).or(may_stand.first()) {
                self.happen(stands, EventKey::Elect { canvass });
            }
            self.sync_all();
            return self.deliver_all();
        }
        true
    }

    /// Whether the majority agrees, and has answered everything.
    fn agrees(&self) -> bool {
        let Some(members) = self.with_one_history() else {
            return true;
        };
        let watermark = |it: usize| self.local(it).replica.common.learner.watermark();
        let highest = members.iter().copied().max_by_key(|it| watermark(*it));
        let Some(highest) = highest else {
            return true;
        };
        let learner = &self.local(highest).replica.common.learner;
        let newest = learner.configuration();
        let agrees = |it: usize| {
            let Replica { common, clients, .. } = &self.local(it).replica;
            let is_answered = clients.submissions().next().is_none() && clients.reads.is_empty();
            // What one holds that does not vote decides nothing.
            let is_settled = common.acceptor.accepted().is_empty() || !newest.is_voter(common.me);
            let is_outside = !newest.contains(common.me) && common.configuration() == newest;
            is_answered && is_settled && (is_outside || watermark(it) == watermark(highest))
        };
        !learner.is_change_unfinished() && members.iter().all(|it| agrees(*it))
    }

    /// The members that must agree. If disks have rolled back, these are as many as share one history, and
    /// have not stopped for a loss of their own; none if they are no majority. The others may talk, and must
    /// not stop them.
    fn with_one_history(&self) -> Option<Vec<usize>> {
        let shares = |one: usize, other: usize| !self.local(one).differs_from(self.local(other));
        let has_lost = |it: usize| {
            let common = &self.local(it).replica.common;
            common.forgotten.contains_key(&common.me)
        };
        let sharing = |one: usize| {
            let may_vote = self.members().filter(|it| !has_lost(*it));
            may_vote.filter(|it| shares(one, *it)).collect::<Vec<_>>()
        };
        if self.world.scenario.rollbacks == 0 {
            return Some(self.members().filter(|it| !self.local(*it).disk_hangs).collect());
        }
        let most = self.members().map(sharing).max_by_key(Vec::len)?;
        (2 * most.len() > self.world.scenario.replicas).then_some(most)
    }
}
