//! What may happen next, and what comes of it.

use super::envelope::Route;
use super::ghost::{Around, Effects, Ghost};
use super::intern::Id;
use super::local::{RoleKind, Summary};
use super::scenario::{Kind, REPLICAS_MAX};
use super::state::ClusterState;
use super::step::Event;
use super::{EventKey, Local, World};
use crate::entry::{Entry, Opening};
use crate::io::Input;
use crate::message::Message;
use crate::numbers::{ReadId, ReplicaId, Slot};
use std::vec::Vec;

/// Something that can happen to a cluster. Replicas, submissions and reads are named by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message in flight arrives.
    Deliver {
        /// Its recipient.
        to: u8,
        /// The number of the message.
        envelope: u32,
    },
    /// The oldest records that are not durable become so.
    Sync {
        /// Whose.
        at: u8,
        /// How many.
        count: u8,
    },
    /// A client submits.
    Submit {
        /// Where.
        at: u8,
        /// What.
        submission: u8,
    },
    /// A client reads.
    Read {
        /// Where.
        at: u8,
        /// Which read.
        read: u8,
    },
    /// Catch-up brings the next committed slot.
    Serve {
        /// To whom.
        to: u8,
    },
    /// The failure detector believes that nobody coordinates.
    Suspect {
        /// Whose.
        at: u8,
    },
    /// A replica stands for election.
    Elect {
        /// Who.
        at: u8,
    },
    /// A replica repeats what is unanswered.
    Resend {
        /// Who.
        at: u8,
    },
    /// A replica stops, loses what it has not synced, and starts again.
    Crash {
        /// Who.
        at: u8,
    },
}

impl World {
    /// The event that a key names, at `local`.
    pub(super) fn event(&self, local: &Local, key: EventKey) -> Event {
        match key {
            EventKey::Deliver(id) => {
                let envelope = &self.envelopes.get(id).content;
                let message = envelope.message.clone();
                Event::Input(Input::Receive { from: envelope.from, message })
            }
            EventKey::Submit(index) => {
                let mut entry = self.scenario.submissions[index].entry.clone();
                if let Entry::Open(Opening { origin, run, .. }) = &mut entry {
                    (*origin, *run) = (local.me(), local.replica.run);
                }
                Event::Input(Input::Submit(Vec::from([entry])))
            }
            EventKey::Read => Event::Input(Input::Read(Vec::from([READ]))),
            EventKey::Suspect => Event::Input(Input::Suspect),
            EventKey::Elect { canvass } => Event::Input(Input::Elect { canvass }),
            EventKey::Resend => Event::Input(Input::Resend),
            EventKey::Sync(count) => Event::Sync(count),
            EventKey::Crash => {
                Event::Crash { durable_application: self.scenario.durable_application }
            }
            EventKey::Survive => Event::Survive,
            EventKey::Serve(entry, from) => {
                let first = local.replica.learner.watermark().next();
                let message = Message::Committed {
                    log_starts_at: Slot(1),
                    first,
                    entries: self.entry(entry).cloned().into_iter().collect(),
                    watermark: first,
                };
                let from = ReplicaId(u16::try_from(from).unwrap_or(u16::MAX));
                Event::Input(Input::Receive { from, message })
            }
        }
    }

    /// Everything that may happen in `state`, in an order that depends on contents alone.
    pub(super) fn list_actions(&self, state: &ClusterState, actions: &mut Vec<Action>) {
        if self.is_stopped() {
            return;
        }
        for &envelope in &state.in_flight {
            let interned = self.envelopes.get(envelope);
            let to = interned.derived.to;
            let summary = self.summary(state.locals[to]);
            let is_within = match interned.content.message {
                Message::Submit { .. } => self.has_room(summary),
                Message::Read { .. } => self.may_begin_round(summary),
                _ => true,
            };
            if is_within {
                actions.push(Action::Deliver { to: small(to), envelope });
            }
        }
        let ghost = &self.ghosts.get(state.ghost).content;
        for replica in self.replicas() {
            let summary = self.summary(state.locals[replica]);
            self.list_syncs(replica, summary, actions);
            self.list_submits(replica, summary, state, ghost, actions);
            self.list_reads(replica, summary, state, actions);
            if self.server_of(replica, summary, ghost).is_some() {
                actions.push(Action::Serve { to: small(replica) });
            }
            self.list_elections(replica, summary, actions);
            let begins_round = summary.round_is_answered;
            if self.scenario.resend && (!begins_round || self.may_begin_round(summary)) {
                actions.push(Action::Resend { at: small(replica) });
            }
            if self.may_crash(replica, state.left.crashes) {
                actions.push(Action::Crash { at: small(replica) });
            }
        }
    }

    fn list_syncs(&self, replica: usize, summary: &Summary, actions: &mut Vec<Action>) {
        let most = if self.scenario.sync_any { summary.unsynced } else { summary.unsynced.min(1) };
        for count in 1..=most {
            actions.push(Action::Sync { at: small(replica), count: small(count) });
        }
    }

    /// Whether a coordinator that is given a submission opens no slot beyond the bound.
    fn has_room(&self, summary: &Summary) -> bool {
        summary.role != RoleKind::Coordinator || summary.next_slot <= self.scenario.slots as u64
    }

    fn list_submits(
        &self,
        replica: usize,
        summary: &Summary,
        state: &ClusterState,
        ghost: &Ghost,
        actions: &mut Vec<Action>,
    ) {
        let coordinates = summary.role == RoleKind::Coordinator;
        if !(coordinates || self.scenario.submit_anywhere) || !self.has_room(summary) {
            return;
        }
        for (index, submission) in self.scenario.submissions.iter().enumerate() {
            let submitted = state.left.submitted[index];
            let is_committed = |before: usize| {
                let id = self.scenario.submissions[before].entry.submission_id();
                let commits = ghost.committed.iter().flatten();
                let opens = |entry: &Entry<u8>| matches!(entry, Entry::Open(_));
                commits.filter_map(|commit| self.entry(commit.entry)).any(|entry| {
                    entry.submission_id() == id
                        || (opens(entry) && opens(&self.scenario.submissions[before].entry))
                })
            };
            if submission.at.contains(replica)
                && submitted & (1 << replica) == 0
                && submitted.count_ones() < submission.places
                && submission.after.is_none_or(is_committed)
            {
                actions.push(Action::Submit { at: small(replica), submission: small(index) });
            }
        }
    }

    /// Whether a coordinator that is given a read begins no round beyond the bound.
    fn may_begin_round(&self, summary: &Summary) -> bool {
        summary.role != RoleKind::Coordinator || summary.round < self.scenario.rounds
    }

    fn list_reads(
        &self,
        replica: usize,
        summary: &Summary,
        state: &ClusterState,
        actions: &mut Vec<Action>,
    ) {
        if !self.may_begin_round(summary) {
            return;
        }
        for (index, at) in self.scenario.reads.iter().enumerate() {
            let run = index as u64 + 1;
            let is_asked = state.left.read & (1 << index) != 0;
            if at.contains(replica) && !is_asked && summary.run.0 == run {
                actions.push(Action::Read { at: small(replica), read: small(index) });
            }
        }
    }

    fn list_elections(&self, replica: usize, summary: &Summary, actions: &mut Vec<Action>) {
        let at = small(replica);
        if self.scenario.canvass {
            actions.push(Action::Suspect { at });
        }
        let may_stand = summary.next_number.is_some_and(|s| self.scenario.numbers.contains(&s));
        if may_stand && summary.role != RoleKind::Coordinator {
            actions.push(Action::Elect { at });
        }
    }

    /// Who can bring `replica` the slot after its watermark: whoever has ever committed it, for the
    /// answer may have been on its way since.
    fn server_of(&self, replica: usize, summary: &Summary, ghost: &Ghost) -> Option<(u8, usize)> {
        if self.keeps_asks || !self.scenario.catch_up.contains(replica) {
            return None;
        }
        let commit = ghost.commit(summary.watermark.next())?;
        let heard = self.scenario.hears[replica];
        let mut servers = self.replicas().filter(|server| *server != replica);
        let server = servers.find(|it| commit.by.contains(*it) && heard.contains(*it))?;
        Some((commit.entry, server))
    }

    /// The state after `action`; none if nothing changes.
    pub(super) fn act(&self, before: &ClusterState, action: Action) -> Option<ClusterState> {
        let mut left = before.left;
        let mut begins_read = None;
        let (at, key) = match action {
            Action::Deliver { to, envelope } => (to, EventKey::Deliver(envelope)),
            Action::Sync { at, count } => (at, EventKey::Sync(usize::from(count))),
            Action::Submit { at, submission } => {
                left.submitted[usize::from(submission)] |= 1 << at;
                (at, EventKey::Submit(usize::from(submission)))
            }
            Action::Read { at, read } => {
                left.read |= 1 << read;
                begins_read = Some(READ);
                (at, EventKey::Read)
            }
            Action::Serve { to } => {
                let summary = self.summary(before.locals[usize::from(to)]);
                let ghost = &self.ghosts.get(before.ghost).content;
                let (entry, server) = self.server_of(usize::from(to), summary, ghost)?;
                (to, EventKey::Serve(entry, server))
            }
            Action::Suspect { at } => (at, EventKey::Suspect),
            Action::Elect { at } => (at, EventKey::Elect { canvass: self.scenario.canvass }),
            Action::Resend { at } => (at, EventKey::Resend),
            Action::Crash { at } => {
                left.crashes -= 1;
                (at, EventKey::Crash)
            }
        };
        let at = usize::from(at);
        let outcome = self.outcome(before.locals[at], key);
        let touches_history = begins_read.is_some() || outcome.effects.is_some();
        if outcome.local == before.locals[at]
            && outcome.kept().is_empty()
            && left == before.left
            && !touches_history
        {
            return None;
        }
        let mut state = before.clone();
        self.replace(&mut state, at, outcome.local);
        state.left = left;
        let nobody_crashes_now = left.crashes == 0 && before.left.crashes > 0 && !self.keeps_disks;
        if nobody_crashes_now {
            for replica in self.replicas() {
                let local = state.locals[replica];
                if self.locals.get(local).content.disk.is_some() {
                    let survivor = self.outcome(local, EventKey::Survive).local;
                    self.replace(&mut state, replica, survivor);
                }
            }
        }
        for &id in outcome.kept() {
            self.insert(&mut state, id);
        }
        if touches_history {
            self.add_to_history(at, &mut state, outcome, begins_read);
        }
        if !self.keeps_dead {
            self.remove_dead(&mut state, if nobody_crashes_now { None } else { Some(at) });
        }
        if (state.left, state.broken) != (before.left, before.broken) {
            state.digest = state
                .digest
                .wrapping_sub(before.left.digest(before.broken))
                .wrapping_add(state.left.digest(state.broken));
        }
        debug_assert_eq!(state.digest, self.digest(&state), "what changes is what is added");
        (state != *before).then_some(state)
    }

    /// Gives `replica` another local state.
    fn replace(&self, state: &mut ClusterState, replica: usize, local: Id) {
        let old = std::mem::replace(&mut state.locals[replica], local);
        if old != local {
            state.digest = state
                .digest
                .wrapping_sub(self.locals.get(old).digest)
                .wrapping_add(self.locals.get(local).digest);
        }
    }

    /// Adds a message to those in flight, in its place.
    fn insert(&self, state: &mut ClusterState, id: Id) {
        let order = |id: Id| (self.envelopes.get(id).derived.order, self.envelopes.get(id).digest);
        let wanted = order(id);
        let place = state.in_flight.partition_point(|there| order(*there) < wanted);
        if state.in_flight.get(place) != Some(&id) {
            state.in_flight.insert(place, id);
            state.digest = state.digest.wrapping_add(wanted.1);
        }
    }

    /// Removes the messages that have died: of those from and to `changed`, if nobody else's local
    /// state has changed, for a message's death depends on these two alone.
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
        outcome: &super::Outcome,
        begins_read: Option<ReadId>,
    ) {
        let mut ghost = self.ghosts.get(state.ghost).content.clone();
        if let Some(id) = begins_read {
            ghost.begin_read(id, at);
        }
        let mut summaries = [None; REPLICAS_MAX];
        for replica in self.replicas() {
            summaries[replica] = Some(self.summary(state.locals[replica]));
        }
        let entry = |id| self.entry(id);
        let submitted = state.left.submitted;
        let may_be_in_log = |id| self.may_be_in_log(id, &submitted);
        let around = Around {
            replicas: self.scenario.replicas,
            summaries,
            entry: &entry,
            session_requests_max: self.scenario.limits.session_requests_max,
            may_be_in_log: &may_be_in_log,
        };
        let none = Effects::default();
        let broken = ghost.take(at, outcome.effects.as_deref().unwrap_or(&none), &around);
        state.broken.add(broken);
        let before = std::mem::replace(&mut state.ghost, self.ghosts.intern(ghost, |_, _| ()));
        state.digest = state
            .digest
            .wrapping_sub(self.ghosts.get(before).digest)
            .wrapping_add(self.ghosts.get(state.ghost).digest);
    }

    /// Whether an entry is a no-op, or was submitted.
    fn may_be_in_log(&self, id: super::EntryId, submitted: &[u8]) -> bool {
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

    /// Whether a message in flight has this kind; for `sometimes` properties.
    pub(super) fn in_flight(&self, state: &ClusterState, kind: Kind) -> bool {
        state.in_flight.iter().any(|id| self.envelopes.get(*id).content.kind() == kind)
    }
}

/// The reads of all runs have the same id: so it is with a shell that counts anew in every run.
const READ: ReadId = ReadId(0);

/// An index as a byte; models have few of anything.
fn small(index: usize) -> u8 {
    debug_assert!(index < 256, "models are small");
    u8::try_from(index).unwrap_or(u8::MAX)
}
