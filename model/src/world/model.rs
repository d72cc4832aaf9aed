//! The model itself: a scenario, with everything that was computed for it so far.
//!
//! A [`World`] interns local states, messages and histories, looks up the outcomes of steps, and makes
//! the first state. Other modules add to it: `actions` lists what may happen, `transition` computes the
//! next state, and `conditions` checks the properties.

use std::string::String;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::vec::Vec;

use super::dead::{self, Side};
use super::directory::Directory;
use super::envelope::{Envelope, Route};
use super::history::History;
use super::intern::{DigestSet, Id, Interner};
use super::local::{EntryId, LocalState, Rollback, Summary};
use super::outcomes::{EventKey, Outcome, Outcomes};
use super::property::{Broken, Witness};
use super::scenario::{
    MessageKind, OPEN_SESSION, READ, READS_MAX, REPLICAS_MAX, SLOTS_MAX, SUBMISSIONS_MAX, Scenario,
};
use super::snapshots::Handles;
use super::state::{ClusterState, Remaining};
use super::step::{ReplicaEvent, Stepped, step};
use crate::configuration::MemberSet;
use crate::constants::ClusterConstants;
use crate::entry::{Entry, Opening};
use crate::forming::{Greeting, Incarnation};
use crate::io::{Input, Output};
use crate::message::Message;
use crate::numbers::{ReplicaId, Run, Slot};
use crate::prefix::PrefixHash;
use crate::record::Base;
use crate::recovery::Recovery;
use crate::replica::{Resource, Role};

/// The model of a cluster within the bounds of a scenario.
#[expect(clippy::struct_excessive_bools, reason = "each reduction is turned off by itself")]
pub struct World {
    pub(super) scenario: Scenario,
    pub(super) constants: Arc<ClusterConstants>,
    /// The entries that a log can hold. An [`EntryId`] is an index into them, so it is the same in every
    /// run.
    entries: Vec<Entry<u8>>,
    pub(super) locals: Interner<LocalState, Summary>,
    pub(super) envelopes: Interner<Envelope, Route>,
    pub(super) histories: Interner<History, ()>,
    outcomes: Outcomes,
    pub(super) handles: Handles,
    /// Whether dead messages stay in flight: the plain model, with which tests compare the reduction.
    pub(super) keeps_dead: bool,
    /// Whether a replica keeps its disk when it cannot crash any more: in the plain model, and in
    /// scenarios where slots are served from the disk.
    pub(super) keeps_disks: bool,
    /// Whether asks and their answers are in flight, and catch-up serves nothing unasked: in the plain
    /// model.
    pub(super) keeps_asks: bool,
    /// Whether replies tell what their sender has committed: where disks roll back, and in the plain
    /// model.
    pub(super) keeps_prefixes: bool,
    /// Whether replicas remember what they were told that was durable: where they remind one another.
    pub(super) keeps_testimonies: bool,
    is_stopped: AtomicBool,
    pub(super) checked: Checked,
}

/// What the conditions remember from the states that were checked so far.
pub(super) struct Checked {
    /// The witnesses that were found already.
    pub(super) found: [AtomicBool; Witness::ALL.len()],
    /// Digests of majorities and their local states. Runs without failures from there end well.
    pub(super) ends_well: DigestSet,
    /// The number of states from which such a run was also made with messages in flight.
    pub(super) sampled: AtomicU64,
    /// Digests of local states from which no canvass ousts a coordinator.
    pub(super) undisturbed: DigestSet,
}

impl Default for Checked {
    fn default() -> Self {
        Self {
            found: std::array::from_fn(|_| AtomicBool::new(false)),
            ends_well: DigestSet::default(),
            sampled: AtomicU64::new(0),
            undisturbed: DigestSet::default(),
        }
    }
}

impl World {
    /// The model of `scenario`.
    ///
    /// # Panics
    ///
    /// If the scenario has too many replicas, slots, submissions or reads, or bounds that do not go
    /// together.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        assert!((1..=REPLICAS_MAX).contains(&scenario.replicas), "1 to 5 replicas");
        assert!(scenario.slots <= SLOTS_MAX, "at most 8 slots");
        assert!(scenario.submissions.len() <= SUBMISSIONS_MAX, "at most 6 submissions");
        assert!(scenario.reads.len() <= READS_MAX, "at most 8 reads");
        assert!(scenario.forming || scenario.losses == 0, "what is lost must form first");
        assert!(
            scenario.snapshots == 0 || scenario.rollbacks == 0,
            "no snapshot of another history"
        );
        assert!(!(scenario.forming && scenario.canvass), "no canvass where a cluster forms");
        let configuration = scenario.first_configuration();
        let stride = scenario.replicas as u64;
        let constants = ClusterConstants::new(stride, configuration, scenario.limits.clone());
        let constants = Arc::new(constants.unwrap_or_else(|error| panic!("{error}")));
        let entries = possible_entries(&scenario);
        // Slots that are older than the tail are served from the disk. And a disk may roll back when no
        // replica can crash any more.
        let slots = scenario.slots as u64;
        let log_bytes = slots * entries.iter().map(Entry::size_bytes).max().unwrap_or(0);
        let keeps_disks = (scenario.rollbacks > 0 && scenario.crashes > 0)
            || slots > scenario.limits.accepted_slots_max
            || log_bytes > scenario.limits.accepted_bytes_max;
        let keeps_dead = scenario.keeps_dead;
        let keeps_prefixes = scenario.rollbacks > 0;
        let keeps_testimonies = scenario.reminds();
        Self {
            scenario,
            constants,
            entries,
            locals: Interner::default(),
            envelopes: Interner::default(),
            histories: Interner::default(),
            outcomes: Outcomes::default(),
            handles: Handles::default(),
            keeps_dead,
            keeps_disks,
            keeps_asks: false,
            keeps_prefixes,
            keeps_testimonies,
            is_stopped: AtomicBool::new(false),
            checked: Checked::default(),
        }
    }

    /// The bounds of this model.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Stops every search: from now on no state has an action. Such a search is not complete.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Whether [`stop`](Self::stop) was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// How much was computed, as text: distinct local states, messages, histories, and steps.
    #[must_use]
    pub fn sizes(&self) -> String {
        std::format!(
            "{} local states, {} messages, {} histories, {} steps",
            self.locals.len(),
            self.envelopes.len(),
            self.histories.len(),
            self.outcomes.len()
        )
    }
}

/// The contents behind the numbers of a state.
impl World {
    /// The id of a replica.
    pub(super) fn id(&self, replica: usize) -> ReplicaId {
        debug_assert!(replica < self.scenario.replicas, "a replica of this model");
        ReplicaId(u16::try_from(replica).unwrap_or(u16::MAX))
    }

    pub(crate) fn replicas(&self) -> core::ops::Range<usize> {
        0..self.scenario.replicas
    }

    /// The replica with this id and its disk.
    pub(crate) fn local(&self, state: &ClusterState, replica: usize) -> &LocalState {
        &self.locals.get(state.locals[replica]).content
    }

    /// The summary of that replica and its disk.
    pub(crate) fn summary(&self, state: &ClusterState, replica: usize) -> &Summary {
        &self.locals.get(state.locals[replica]).derived
    }

    /// The data directories of all replicas, in a scenario with forming. There are none in others.
    pub(super) fn directories<'a>(
        &'a self,
        state: &'a ClusterState,
    ) -> impl Iterator<Item = &'a Directory> {
        self.replicas().filter_map(|it| self.local(state, it).directory.as_ref())
    }

    /// A message in flight.
    pub(crate) fn envelope(&self, id: Id) -> &Envelope {
        &self.envelopes.get(id).content
    }

    /// Whether a message of this kind is in flight.
    pub(crate) fn has_in_flight(&self, state: &ClusterState, kind: MessageKind) -> bool {
        state.in_flight.iter().any(|id| self.envelope(*id).kind() == kind)
    }

    /// Whether a message in flight can never be acted on again.
    pub(crate) fn is_dead(&self, envelope: Id, locals: &[Id; REPLICAS_MAX]) -> bool {
        let interned = self.envelopes.get(envelope);
        if self.keeps_asks && is_of_catch_up(interned.content.kind()) {
            return false;
        }
        let Route { from, to, .. } = interned.derived;
        let side = |replica: usize| {
            let interned = self.locals.get(locals[replica]);
            Side { local: &interned.content, summary: &interned.derived }
        };
        dead::is_dead(&self.scenario, &interned.content, side(from), side(to))
    }

    /// The history of a state.
    pub(crate) fn history(&self, state: &ClusterState) -> &History {
        &self.histories.get(state.history).content
    }

    /// The entry with this id; `None` for an entry that no log of this scenario may hold.
    pub(crate) fn entry(&self, id: EntryId) -> Option<&Entry<u8>> {
        self.entries.get(usize::from(id))
    }

    pub(super) fn entry_id(&self, entry: &Entry<u8>) -> EntryId {
        let known = self.entries.iter().position(|it| it == entry);
        known.and_then(|index| EntryId::try_from(index).ok()).unwrap_or(EntryId::MAX)
    }

    pub(super) fn may_crash(&self, replica: usize, crashes_left: u8) -> bool {
        crashes_left > 0 && self.scenario.may_crash.contains(replica)
    }
}

/// The first state.
impl World {
    /// The first state: nothing has happened.
    pub(super) fn first_state(&self) -> ClusterState {
        let mut state = ClusterState {
            locals: [0; REPLICAS_MAX],
            in_flight: smallvec::SmallVec::new(),
            history: self.histories.intern(History::default(), |_, _| ()),
            remaining: Remaining {
                crashes: self.scenario.crashes,
                rollbacks: self.scenario.rollbacks,
                ..Remaining::default()
            },
            broken: Broken::default(),
            digest: 0,
        };
        for replica in self.replicas() {
            state.locals[replica] = self.intern_local(self.first_local(replica));
        }
        state.digest = self.digest(&state);
        state
    }

    /// The disk of a replica that has never written anything.
    pub(super) fn first_base(&self) -> Base<u8> {
        let configuration = self.constants.first_configuration();
        let mut base = Base::new(configuration.clone());
        // The session that is open from the start.
        let open = Entry::<u8>::Open(Opening { origin: ReplicaId(0), run: Run(0), count: 0 });
        let table = &mut Arc::make_mut(&mut base.snapshot).table;
        let limits = self.constants.limits();
        Arc::make_mut(table).deliver(Slot(OPEN_SESSION.0), &open, configuration, limits);
        base
    }

    /// The first local state of a replica.
    pub(super) fn first_local(&self, me: usize) -> LocalState {
        let me = ReplicaId(u16::try_from(me).unwrap_or(u16::MAX));
        let base = self.first_base();
        let mut out = Output::default();
        let constants = Arc::clone(&self.constants);
        let recovery = Recovery::new(constants, me, Run(1), Slot::ZERO, base.clone(), &mut out);
        let is_other = self.scenario.other_directories.contains(usize::from(me.0));
        let incarnation = Incarnation(Incarnation::first_of(me).0 + u128::from(is_other));
        let recovery = recovery.map(|it| it.of_directory(incarnation));
        let replica = recovery.and_then(Recovery::finish);
        let replica = replica.unwrap_or_else(|error| panic!("an empty disk: {error}"));
        let index = usize::from(me.0);
        let may_roll_back =
            self.scenario.rollbacks > 0 && self.scenario.may_roll_back.contains(index);
        let keeps_disk =
            self.keeps_disks || may_roll_back || self.may_crash(index, self.scenario.crashes);
        let members = self.constants.first_configuration();
        LocalState {
            replica,
            disk: keeps_disk.then(|| Arc::new(base)),
            unsynced: Vec::new(),
            disk_hangs: false,
            directory: self.scenario.forming.then(|| Directory::new(me, members)),
            rollback: (self.scenario.rollbacks > 0)
                .then_some(Rollback { may_happen: may_roll_back, ..Rollback::default() }),
        }
    }

    /// The digest of a state: the sum of the digests of its contents. The order of the terms does not
    /// matter, since messages are a set and each local state contains its replica's id. So a step
    /// updates the digest with what it changes.
    pub(super) fn digest(&self, state: &ClusterState) -> u128 {
        let locals = self.replicas().map(|it| self.locals.get(state.locals[it]).digest);
        let messages = state.in_flight.iter().map(|id| self.envelopes.get(*id).digest);
        let rest = [self.histories.get(state.history).digest, state.remaining.digest(state.broken)];
        locals.chain(messages).chain(rest).fold(0, u128::wrapping_add)
    }
}

/// The steps of one replica.
impl World {
    /// The outcome of an event at a local state.
    pub(super) fn outcome(&self, local: Id, key: EventKey) -> &Outcome {
        self.outcomes.get(local, key, || {
            let before = &self.locals.get(local).content;
            let event = self.event(before, key);
            let entry_id = |entry: &Entry<u8>| self.entry_id(entry);
            let Stepped { mut local, mut sent, mut effects, fetch } =
                step(&self.constants, self.scenario.readiness, before, event, &entry_id);
            if !self.has_changes() {
                effects.stands = None;
            }
            if !self.keeps_asks {
                // It matters only to asks, and the world serves unasked.
                local.replica.common.forget_asks();
            }
            // What is owed would be sent as well if the accept, which stays in flight, came again. But to an
            // accept of a slot in an installed snapshot the answer is an offer.
            let tail_starts_at = local.replica.common.learner.tail_starts_at();
            local.replica.common.owed.retain(|slot, _| *slot < tail_starts_at);
            if !self.keeps_testimonies {
                local.replica.common.testimonies.clear();
                if let Role::Coordinator(coordinator) = &mut local.replica.role {
                    coordinator.promised_by = MemberSet::default();
                }
                if let Some(rollback) = &mut local.rollback {
                    rollback.lost = None;
                }
            }
            if !self.keeps_prefixes {
                sent.iter_mut().for_each(Envelope::tell_no_prefix);
            }
            let local = self.intern_local(local);
            let (kept, lost): (Vec<_>, Vec<_>) = sent.into_iter().partition(|it| self.keeps(it));
            let kept_count = kept.len();
            let sent = kept.into_iter().chain(lost);
            let sent = sent.map(|it| self.envelopes.intern(it, Envelope::route)).collect();
            let effects = (!effects.is_empty()).then(|| effects.into());
            Outcome { local, sent, kept: kept_count, fetch, effects }
        })
    }

    /// The event at `local` that a key names.
    fn event(&self, local: &LocalState, key: EventKey) -> ReplicaEvent {
        match key {
            EventKey::Deliver(id) => {
                let envelope = self.envelope(id);
                let message = envelope.message.clone();
                ReplicaEvent::Input(Input::Receive { from: envelope.from, message })
            }
            EventKey::Submit(index) => {
                let mut entry = self.scenario.submissions[index].entry.clone();
                if let Entry::Open(Opening { origin, run, .. }) = &mut entry {
                    (*origin, *run) = (local.me(), local.replica.common.run);
                }
                ReplicaEvent::Input(Input::Submit(Vec::from([entry])))
            }
            EventKey::Read => ReplicaEvent::Input(Input::Read(Vec::from([READ]))),
            EventKey::Suspect => ReplicaEvent::Input(Input::Suspect),
            EventKey::Elect { canvass } => ReplicaEvent::Input(Input::Elect { canvass }),
            EventKey::Resend => ReplicaEvent::Input(Input::Resend),
            EventKey::HangDisk => ReplicaEvent::HangDisk,
            EventKey::DiskHung => ReplicaEvent::Input(Input::Hung { resource: Resource::Disk }),
            EventKey::Sync(count) => ReplicaEvent::Sync(count),
            EventKey::Crash => {
                ReplicaEvent::Crash { durable_application: self.scenario.durable_application }
            }
            EventKey::Survive => ReplicaEvent::Survive,
            EventKey::Greet { from, is_welcome } => {
                let greeting = if is_welcome { Greeting::Welcome } else { Greeting::Hello };
                ReplicaEvent::Greet(from, greeting)
            }
            EventKey::Lose => {
                ReplicaEvent::Lose(self.first_local(usize::from(local.me().0)).into())
            }
            EventKey::RollBack => ReplicaEvent::RollBack,
            EventKey::Snapshot(id) => {
                let handle = Arc::clone(self.handles.get(id));
                ReplicaEvent::Input(Input::SnapshotTaken { handle })
            }
            EventKey::Install(id) => {
                let handle = Arc::clone(self.handles.get(id));
                ReplicaEvent::Input(Input::Install { from: other_than(local.me()), handle })
            }
            EventKey::Offer(slot) => {
                let (from, message) = (other_than(local.me()), Message::Offer { slot });
                ReplicaEvent::Input(Input::Receive { from, message })
            }
            EventKey::Serve { entry, from, shares_prefix } => {
                let first = local.replica.common.learner.watermark().next();
                let mine = local.replica.common.learner.hashes().hash();
                let before = if shares_prefix { mine } else { PrefixHash(!mine.0) };
                let message = Message::Committed {
                    log_starts_at: Slot(1),
                    first,
                    before,
                    entries: self.entry(entry).cloned().into_iter().collect(),
                    watermark: first,
                };
                let from = ReplicaId(u16::try_from(from).unwrap_or(u16::MAX));
                ReplicaEvent::Input(Input::Receive { from, message })
            }
        }
    }

    /// Whether the network of this scenario keeps such a message.
    fn keeps(&self, envelope: &Envelope) -> bool {
        let (from, to) = (usize::from(envelope.from.0), usize::from(envelope.to.0));
        !self.scenario.loses.contains(envelope.kind())
            && (self.keeps_asks || !is_of_catch_up(envelope.kind()))
            && self.scenario.hears[to].contains(from)
    }

    fn intern_local(&self, local: LocalState) -> Id {
        self.locals.intern(local, |local, _| local.summary(|entry| self.entry_id(entry)))
    }
}

/// Some other replica. (Which one does not matter: all of them have the same history.)
fn other_than(me: ReplicaId) -> ReplicaId {
    ReplicaId(u16::from(me.0 == 0))
}

/// Whether a message of this kind asks for committed slots, brings them, or makes its recipient ask.
fn is_of_catch_up(kind: MessageKind) -> bool {
    matches!(
        kind,
        MessageKind::Ask
            | MessageKind::Offer
            | MessageKind::Committed
            | MessageKind::CommittedThrough
            | MessageKind::Submitted
    )
}

/// Every entry that a log of this scenario can hold.
fn possible_entries(scenario: &Scenario) -> Vec<Entry<u8>> {
    let mut entries = Vec::from([Entry::NoOp]);
    for submission in &scenario.submissions {
        match submission.entry {
            Entry::Open(Opening { count, .. }) => {
                for origin in (0..scenario.replicas).filter_map(|id| u16::try_from(id).ok()) {
                    for run in 1..=u64::from(scenario.crashes) + 1 {
                        entries.push(Entry::Open(Opening {
                            origin: ReplicaId(origin),
                            run: Run(run),
                            count,
                        }));
                    }
                }
            }
            ref entry if !entries.contains(entry) => entries.push(entry.clone()),
            _ => {}
        }
    }
    assert!(entries.len() < usize::from(EntryId::MAX), "models are small");
    entries
}
