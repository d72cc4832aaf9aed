//! A cluster of replicas as a stateright model: everything that their world can do to them.
//!
//! The model runs the very functions that a deployed replica runs. Around them stands a world that
//! is as bad as it may be: messages are lost, delayed, repeated and reordered; a replica may stop
//! between any two steps, and then forgets whatever was not synced; anybody may stand for election
//! at any time. The checker tries all of it, within the bounds of a [`Scenario`].
//!
//! # The network is a set that only grows
//!
//! A message that was sent may be delivered at any time after, any number of times, or never. So
//! loss, delay, repetition and reordering need no actions of their own. A replica that is down is
//! one that nothing is delivered to, so crash and restart is one action.
//!
//! # Reductions
//!
//! They make the model small and fast, and each has its argument where it is made, and a test:
//! messages that can never be acted on again leave the set ([`dead`](self)); contents are interned;
//! steps of one replica are computed once; catch-up is served unasked, so that asks and their answers
//! need not be in flight; a disk goes once its replica cannot crash any more.

mod actions;
mod dead;
mod envelope;
mod explorer;
mod ghost;
#[cfg(test)]
mod ghost_tests;
mod intern;
mod liveness;
mod local;
mod picture;
mod properties;
#[cfg(test)]
mod reduction_tests;
mod scenario;
mod show;
mod state;
mod step;

use std::boxed::Box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::vec::Vec;

use dashmap::DashMap;
use rustc_hash::FxBuildHasher;

pub use actions::Action;
pub use explorer::{Explored, ExploredAction, ExploredState};
pub use properties::{Kind as PropertyKind, PropertyInfo};
pub use scenario::{
    ASIDE, Kind, Kinds, OPEN_SESSION, REPLICAS_MAX, Replicas, SLOTS_MAX, Scenario, Submission,
    small_limits,
};
pub use state::ClusterState;

use crate::configuration::{Cluster, Configuration};
use crate::entry::{Entry, Opening};
use crate::numbers::{ConfigurationId, ReplicaId, Run, Slot};
use crate::record::Base;
use crate::recovery::Recovery;
use dead::Side;
use envelope::{Envelope, Route};
use ghost::{Effects, Ghost};
use intern::{Id, Interner};
use local::{EntryId, Local, Summary};
use state::Left;
use step::Stepped;

/// The model of a cluster within the bounds of a scenario.
pub struct World {
    scenario: Scenario,
    cluster: Arc<Cluster>,
    /// The entries that a log can hold; an [`EntryId`] is an index into them, and the same in every
    /// run.
    entries: Vec<Entry<u8>>,
    locals: Interner<Local, Summary>,
    envelopes: Interner<Envelope, Route>,
    ghosts: Interner<Ghost, ()>,
    /// What came of an event at a local state, by both.
    steps: DashMap<u64, u32, FxBuildHasher>,
    outcomes: boxcar::Vec<Outcome>,
    /// Whether dead messages stay in the set: the plain model, to test the reduction against.
    keeps_dead: bool,
    /// Whether a replica keeps its disk when it cannot crash any more: likewise, and where slots are
    /// served from it.
    keeps_disks: bool,
    /// Whether asks and their answers are in flight, and nothing is served unasked: likewise.
    keeps_asks: bool,
    stop: AtomicBool,
    found: properties::Found,
    liveness: liveness::Liveness,
    undisturbed: liveness::Undisturbed,
}

/// What came of an event at a local state.
struct Outcome {
    local: Id,
    /// Everything that was sent; first what the network of this scenario keeps.
    sent: Box<[Id]>,
    /// How many of these it keeps.
    kept: usize,
    /// Most steps touch no history.
    effects: Option<Box<Effects>>,
}

impl Outcome {
    /// What was sent, and the network of this scenario keeps.
    fn kept(&self) -> &[Id] {
        &self.sent[..self.kept]
    }
}

/// Names an event at a replica in the table of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventKey {
    Deliver(Id),
    Submit(usize),
    Read,
    Suspect,
    Elect { canvass: bool },
    Resend,
    Sync(usize),
    Crash,
    Survive,
    Serve(EntryId, usize),
}

impl EventKey {
    /// The key in 32 bits: the kind in the upper four.
    fn bits(self) -> u32 {
        let of = |kind: u32, argument: u32| {
            debug_assert!(argument < 1 << 28, "an argument has 28 bits");
            kind << 28 | argument
        };
        let small = |argument: usize| u32::try_from(argument).unwrap_or(u32::MAX);
        match self {
            Self::Deliver(id) => of(0, id),
            Self::Submit(index) => of(1, small(index)),
            Self::Read => of(2, 0),
            Self::Suspect => of(3, 0),
            Self::Elect { canvass } => of(4, u32::from(canvass)),
            Self::Resend => of(5, 0),
            Self::Sync(count) => of(6, small(count)),
            Self::Crash => of(7, 0),
            Self::Survive => of(8, 0),
            Self::Serve(entry, from) => of(9, u32::from(entry) << 8 | small(from)),
        }
    }
}

impl World {
    /// The model of `scenario`.
    ///
    /// # Panics
    ///
    /// If the scenario is no scenario: too many replicas, slots or submissions.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        assert!((1..=REPLICAS_MAX).contains(&scenario.replicas), "1 to 5 replicas");
        assert!(scenario.slots <= SLOTS_MAX, "at most 8 slots");
        assert!(scenario.submissions.len() <= state::SUBMISSIONS_MAX, "at most 6 submissions");
        assert!(scenario.reads.len() <= 8, "at most 8 reads");
        let members = (0..scenario.replicas).filter_map(|id| u16::try_from(id).ok()).map(ReplicaId);
        let configuration = Configuration::new(ConfigurationId(1), members.collect());
        let configuration = configuration.unwrap_or_else(|error| panic!("{error}"));
        let stride = scenario.replicas as u64;
        let cluster = Cluster::new(stride, configuration, scenario.limits.clone());
        let cluster = Arc::new(cluster.unwrap_or_else(|error| panic!("{error}")));
        let entries = possible_entries(&scenario);
        let found = properties::Found::default();
        // What is older than the tail is served from the disk.
        let slots = scenario.slots as u64;
        let log_bytes = slots * entries.iter().map(Entry::size_bytes).max().unwrap_or(0);
        let keeps_disks = slots > scenario.limits.accepted_slots_max
            || log_bytes > scenario.limits.accepted_bytes_max;
        let keeps_dead = scenario.keeps_dead;
        Self {
            scenario,
            cluster,
            entries,
            locals: Interner::default(),
            envelopes: Interner::default(),
            ghosts: Interner::default(),
            steps: DashMap::with_hasher(FxBuildHasher),
            outcomes: boxcar::Vec::new(),
            keeps_dead,
            keeps_disks,
            keeps_asks: false,
            stop: AtomicBool::new(false),
            found,
            liveness: liveness::Liveness::default(),
            undisturbed: liveness::Undisturbed::default(),
        }
    }

    /// The bounds of this model.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// From now on no state has any action: a search that runs ends soon, and is not complete.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether [`stop`](Self::stop) was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn replicas(&self) -> core::ops::Range<usize> {
        0..self.scenario.replicas
    }

    fn entry_id(&self, entry: &Entry<u8>) -> EntryId {
        let known = self.entries.iter().position(|it| it == entry);
        known.and_then(|index| EntryId::try_from(index).ok()).unwrap_or(EntryId::MAX)
    }

    /// The entry with this id; none for what no client and no replica may put in a log.
    fn entry(&self, id: EntryId) -> Option<&Entry<u8>> {
        self.entries.get(usize::from(id))
    }

    fn intern_local(&self, local: Local) -> Id {
        self.locals.intern(local, |local, _| local.summary(|entry| self.entry_id(entry)))
    }

    fn intern_envelope(&self, envelope: Envelope) -> Id {
        self.envelopes.intern(envelope, Envelope::route)
    }

    /// The replica as it is before anything has happened.
    fn first_local(&self, me: usize) -> Local {
        let me = ReplicaId(u16::try_from(me).unwrap_or(u16::MAX));
        let mut base = Base::new(self.cluster.first_configuration().clone());
        // The session that is open from the start.
        let open = Entry::<u8>::Open(Opening { origin: ReplicaId(0), run: Run(0), count: 0 });
        base.table.deliver(Slot(OPEN_SESSION.0), &open, self.cluster.limits());
        let mut out = crate::io::Output::default();
        let cluster = Arc::clone(&self.cluster);
        let recovery = Recovery::new(cluster, me, Run(1), Slot::ZERO, base.clone(), &mut out);
        let replica = recovery.unwrap_or_else(|error| panic!("an empty disk: {error}")).finish();
        let keeps_disk =
            self.keeps_disks || self.may_crash(usize::from(me.0), self.scenario.crashes);
        Local { replica, disk: keeps_disk.then(|| Arc::new(base)), unsynced: Vec::new() }
    }

    fn may_crash(&self, replica: usize, crashes_left: u8) -> bool {
        crashes_left > 0 && self.scenario.may_crash.contains(replica)
    }

    /// What comes of an event at a local state; computed once.
    fn outcome(&self, local: Id, key: EventKey) -> &Outcome {
        let bits = u64::from(local) << 32 | u64::from(key.bits());
        if let Some(id) = self.steps.get(&bits) {
            return &self.outcomes[*id as usize];
        }
        let before = &self.locals.get(local).content;
        let event = self.event(before, key);
        let entry_id = |entry: &Entry<u8>| self.entry_id(entry);
        let Stepped { local, sent, effects } = step::step(&self.cluster, before, event, &entry_id);
        let local = self.intern_local(local);
        let (kept, lost): (Vec<_>, Vec<_>) = sent.into_iter().partition(|it| self.keeps(it));
        let kept_count = kept.len();
        let sent = kept.into_iter().chain(lost).map(|it| self.intern_envelope(it)).collect();
        let effects = (!effects.is_empty()).then(|| Box::new(effects));
        let index = self.outcomes.push(Outcome { local, sent, kept: kept_count, effects });
        let id = u32::try_from(index).unwrap_or_else(|_| panic!("more than 2^32 steps"));
        self.steps.insert(bits, id);
        &self.outcomes[index]
    }

    /// Whether the network of this scenario may deliver such a message.
    fn keeps(&self, envelope: &Envelope) -> bool {
        let (from, to) = (usize::from(envelope.from.0), usize::from(envelope.to.0));
        !self.scenario.loses.contains(envelope.kind())
            && (self.keeps_asks || !is_of_catch_up(envelope.kind()))
            && self.scenario.hears[to].contains(from)
    }

    fn side(&self, local: Id) -> Side<'_> {
        let interned = self.locals.get(local);
        Side { local: &interned.content, summary: &interned.derived }
    }

    fn is_dead(&self, envelope: Id, locals: &[Id; REPLICAS_MAX]) -> bool {
        let interned = self.envelopes.get(envelope);
        if self.keeps_asks && is_of_catch_up(interned.content.kind()) {
            return false;
        }
        let Route { from, to, .. } = interned.derived;
        let sender = self.side(locals[from]);
        let recipient = self.side(locals[to]);
        dead::is_dead(&self.scenario, &interned.content, sender, recipient)
    }

    fn summary(&self, local: Id) -> &Summary {
        &self.locals.get(local).derived
    }

    /// The state from which everything begins.
    fn first_state(&self) -> ClusterState {
        let mut state = ClusterState {
            locals: [0; REPLICAS_MAX],
            in_flight: smallvec::SmallVec::new(),
            ghost: self.ghosts.intern(Ghost::default(), |_, _| ()),
            left: Left { crashes: self.scenario.crashes, ..Left::default() },
            broken: ghost::Broken::default(),
            digest: 0,
        };
        for replica in self.replicas() {
            state.locals[replica] = self.intern_local(self.first_local(replica));
        }
        state.digest = self.digest(&state);
        state
    }

    /// The digest of a state is the sum of the digests of its contents: messages are a set, and
    /// local states know whose they are. So what changes in a step is all that a step has to add.
    fn digest(&self, state: &ClusterState) -> u128 {
        let locals = self.replicas().map(|it| self.locals.get(state.locals[it]).digest);
        let messages = state.in_flight.iter().map(|id| self.envelopes.get(*id).digest);
        let rest = [self.ghosts.get(state.ghost).digest, state.left.digest(state.broken)];
        locals.chain(messages).chain(rest).fold(0, u128::wrapping_add)
    }
}

/// Whether a message of this kind asks for committed slots, brings some, or makes one ask.
fn is_of_catch_up(kind: Kind) -> bool {
    matches!(kind, Kind::Ask | Kind::Committed | Kind::Submitted)
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

impl World {
    /// How much was computed: distinct local states, messages, histories, and steps of one replica.
    #[must_use]
    pub fn sizes(&self) -> alloc::string::String {
        std::format!(
            "{} local states, {} messages, {} histories, {} steps",
            self.locals.len(),
            self.envelopes.len(),
            self.ghosts.len(),
            self.outcomes.count()
        )
    }
}
