//! The state after an action.
//!
//! An action is an event at one replica. The new state has the new local state of that replica, the
//! messages that it sent, and a longer history; and dead messages leave it.

use super::actions::Action;
use super::directory::DirectoryName;
use super::envelope::Route;
use super::history::{CommitSeen, Effects, HistoryContext};
use super::intern::Id;
use super::local::{EntryId, RoleKind};
use super::model::World;
use super::outcomes::{EventKey, Outcome};
use super::property::Invariant;
use super::scenario::{READ, REPLICAS_MAX};
use super::state::{ClusterState, Remaining};
use crate::entry::{Entry, Opening};
use crate::numbers::{ReadId, ReplicaId, Slot};

/// An action as an event at one replica.
struct Cause {
    at: usize,
    key: EventKey,
    /// What may still happen after it.
    remaining: Remaining,
    /// The read that begins with it.
    begins_read: Option<ReadId>,
}

impl World {
    /// The state after `action`; `None` if nothing changes.
    pub(super) fn act(&self, before: &ClusterState, action: Action) -> Option<ClusterState> {
        let Cause { at, key, remaining, begins_read } = self.cause(before, action)?;
        let outcome = self.outcome(before.locals[at], key);
        let touches_history = begins_read.is_some() || outcome.effects.is_some();
        if outcome.local == before.locals[at]
            && outcome.kept().is_empty()
            && remaining == before.remaining
            && !touches_history
        {
            return None;
        }
        let mut state = before.clone();
        self.replace(&mut state, at, outcome.local);
        state.remaining = remaining;
        let nobody_crashes_now =
            remaining.crashes == 0 && before.remaining.crashes > 0 && !self.keeps_disks;
        if nobody_crashes_now {
            self.remove_disks(&mut state);
        }
        for &id in outcome.kept() {
            self.insert(&mut state, id);
        }
        if touches_history {
            self.add_to_history(at, &mut state, outcome, begins_read);
        }
        if self.keeps_testimonies && !matches!(key, EventKey::Serve { .. }) {
            self.check_votes(at, &mut state, outcome);
        }
        let watermark = |state: &ClusterState| self.summary(state, at).watermark;
        if self.scenario.snapshots > 0
            && (watermark(&state) != watermark(before) || matches!(key, EventKey::Crash))
        {
            self.check_snapshot(at, &mut state);
        }
        if self.has_changes() {
            self.check_configuration(at, &mut state);
            self.check_admission(at, before, &mut state);
            self.check_silence(at, before, &mut state);
        }
        if !self.keeps_dead {
            self.remove_dead(&mut state, if nobody_crashes_now { None } else { Some(at) });
        }
        if (state.remaining, state.broken) != (before.remaining, before.broken) {
            state.digest = state
                .digest
                .wrapping_sub(before.remaining.digest(before.broken))
                .wrapping_add(state.remaining.digest(state.broken));
        }
        debug_assert_eq!(state.digest, self.digest(&state), "what changes is what is added");
        (state != *before).then_some(state)
    }

    /// The event of `action` in `before`; `None` if `action` is not possible there.
    fn cause(&self, before: &ClusterState, action: Action) -> Option<Cause> {
        let mut remaining = before.remaining;
        let mut begins_read = None;
        let key = match action {
            Action::Deliver { envelope, .. } => EventKey::Deliver(envelope),
            Action::Sync { count, .. } => EventKey::Sync(usize::from(count)),
            Action::Submit { at, submission } => {
                remaining.submitted[usize::from(submission)] |= 1 << at;
                EventKey::Submit(usize::from(submission))
            }
            Action::Read { read, .. } => {
                remaining.read |= 1 << read;
                begins_read = Some(READ);
                EventKey::Read
            }
            Action::Serve { to, from } => {
                let (to, from) = (usize::from(to), usize::from(from));
                let servers = self.servers(before, to);
                let (from, entry) = servers.into_iter().find(|(it, _)| *it == from)?;
                let differs = self.scenario.rollbacks > 0
                    && self.local(before, to).differs_from(self.local(before, from));
                EventKey::Serve { entry, from, shares_prefix: !differs }
            }
            Action::Suspect { .. } => EventKey::Suspect,
            Action::Elect { .. } => EventKey::Elect { canvass: self.scenario.canvass },
            Action::Resend { .. } => EventKey::Resend,
            Action::Crash { .. } => {
                remaining.crashes -= 1;
                EventKey::Crash
            }
            Action::Greet { from, lost_before, is_welcome, .. } => {
                let (replica, lost_before) = (ReplicaId(from.into()), lost_before.into());
                EventKey::Greet { from: DirectoryName { replica, lost_before }, is_welcome }
            }
            Action::Lose { .. } => EventKey::Lose,
            Action::RollBack { .. } => {
                remaining.rollbacks -= 1;
                EventKey::RollBack
            }
            Action::Snapshot { slot, .. } => {
                remaining.snapshots.add(slot);
                EventKey::Snapshot(self.handle(before, Slot(slot.into()))?)
            }
            Action::Install { slot, .. } => {
                EventKey::Install(self.handle(before, Slot(slot.into()))?)
            }
            Action::Offer { slot, .. } => EventKey::Offer(Slot(slot.into())),
            Action::HangDisk { .. } => EventKey::HangDisk,
            Action::DiskHung { .. } => EventKey::DiskHung,
        };
        Some(Cause { at: action.at(), key, remaining, begins_read })
    }

    /// Removes all disks. This happens when no replica can crash any more.
    fn remove_disks(&self, state: &mut ClusterState) {
        for replica in self.replicas() {
            if self.local(state, replica).disk.is_some() {
                let survivor = self.outcome(state.locals[replica], EventKey::Survive).local;
                self.replace(state, replica, survivor);
            }
        }
    }

    /// Replaces the local state of `replica`.
    fn replace(&self, state: &mut ClusterState, replica: usize, local: Id) {
        let old = std::mem::replace(&mut state.locals[replica], local);
        if old != local {
            state.digest = state
                .digest
                .wrapping_sub(self.locals.get(old).digest)
                .wrapping_add(self.locals.get(local).digest);
        }
    }

    /// Adds a message to those in flight, at its place in their order.
    fn insert(&self, state: &mut ClusterState, id: Id) {
        let order = |id: Id| (self.envelopes.get(id).derived.order, self.envelopes.get(id).digest);
        let wanted = order(id);
        let place = state.in_flight.partition_point(|there| order(*there) < wanted);
        if state.in_flight.get(place) != Some(&id) {
            state.in_flight.insert(place, id);
            state.digest = state.digest.wrapping_add(wanted.1);
        }
    }

    /// Removes dead messages. Whether a message is dead depends on its sender and its recipient. So if
    /// only the local state of `changed` has changed, only messages from and to it are looked at.
    fn remove_dead(&self, state: &mut ClusterState, changed: Option<usize>) {
        let ClusterState { locals, in_flight, digest, .. } = state;
        in_flight.retain(|id| {
            let interned = self.envelopes.get(*id);
            let Route { from, to, .. } = interned.derived;
            let is_dead =
                changed.is_none_or(|at| from == at || to == at) && self.is_dead(*id, locals);
            if is_dead {
                *digest = digest.wrapping_sub(interned.digest);
            }
            !is_dead
        });
    }

    fn add_to_history(
        &self,
        at: usize,
        state: &mut ClusterState,
        outcome: &Outcome,
        begins_read: Option<ReadId>,
    ) {
        let mut history = self.histories.get(state.history).content.clone();
        if let Some(id) = begins_read {
            history.begin_read(id, at);
        }
        let mut summaries = [None; REPLICAS_MAX];
        for replica in self.replicas() {
            summaries[replica] = Some(self.summary(state, replica));
        }
        let entry = |id| self.entry(id);
        let submitted = state.remaining.submitted;
        let may_be_in_log = |id| self.may_be_in_log(id, &submitted);
        let context = HistoryContext {
            replicas: self.scenario.replicas,
            first_configuration: self.constants.first_configuration(),
            summaries,
            entry: &entry,
            session_requests_max: self.scenario.limits.session_requests_max,
            rolls_back: self.scenario.rollbacks > 0,
            may_be_in_log: &may_be_in_log,
        };
        let none = Effects::default();
        let broken = history.take(at, outcome.effects.as_deref().unwrap_or(&none), &context);
        state.broken.add_all(broken);
        let before =
            std::mem::replace(&mut state.history, self.histories.intern(history, |_, _| ()));
        state.digest = state
            .digest
            .wrapping_sub(self.histories.get(before).digest)
            .wrapping_add(self.histories.get(state.history).digest);
    }

    /// Checks what a coordinator has committed, that it was not served: other disks hold it than those of
    /// which it knows that they have lost something, and they are a majority.
    fn check_votes(&self, at: usize, state: &mut ClusterState, outcome: &Outcome) {
        let commons = |it: usize| &self.local(state, it).replica.common;
        let known_to_lack = &commons(at).forgotten;
        let s = self.summary(state, at).own;
        let committed = outcome.effects.iter().flat_map(|effects| &effects.committed);
        let coordinates = self.summary(state, at).role == RoleKind::Coordinator;
        let holders = |commit: &CommitSeen| {
            let counts = |it: &usize| {
                let common = commons(*it);
                let held = common.acceptor.accepted().get(&commit.slot);
                // What is held under a higher number may have been durable under this one.
                let is_accepted = held.is_some_and(|it| it.s > s || (it.s == s && it.durable));
                let is_committed = commit.slot <= common.learner.durable();
                !known_to_lack.contains_key(&common.me) && (is_accepted || is_committed)
            };
            self.replicas().filter(counts).count()
        };
        let is_lost = |commit: &CommitSeen| 2 * holders(commit) <= self.scenario.replicas;
        if coordinates && !known_to_lack.is_empty() && committed.clone().any(is_lost) {
            state.broken.add(Invariant::NoLostVoteCounts);
        }
    }

    /// Whether an entry is a no-op or was submitted.
    fn may_be_in_log(&self, id: EntryId, submitted: &[u8]) -> bool {
        let Some(entry) = self.entry(id) else {
            return false;
        };
        let was_submitted = |index: usize, it: &Entry<u8>| {
            let places = submitted[index];
            match (entry, it) {
                (Entry::Open(Opening { origin, .. }), Entry::Open(_)) => {
                    places & (1 << origin.0) != 0
                }
                _ => places != 0 && entry == it,
            }
        };
        let mut submissions = self.scenario.submissions.iter().enumerate();
        *entry == Entry::NoOp || submissions.any(|(index, it)| was_submitted(index, &it.entry))
    }
}
