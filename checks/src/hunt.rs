//! A hunt: the search for a short path to a state that reaches or violates one property.
//!
//! A breadth-first search visits states in the order of their distance, so no state is nearer than
//! the first that it finds. Three traits of stateright would spoil that. So the search runs on a
//! model of its own: [`Hunt`], which is the world with a single property.
//!
//! - Several threads do not keep the order, so the search has one thread.
//! - A later discovery replaces the first one, and may be farther away. `Hunt` reports the first
//!   only.
//! - A search checks only now and then whether it has found every property. With a single property,
//!   it returns where it finds it.
//!
//! The search keeps a path for every pending state, about 200 bytes each. If that grows too large, a
//! depth-first search takes over. Its path is valid, but may be much longer than necessary.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

use stateright::{Checker, Model, Property};
use synod_model::world::{Action, ClusterState, ModelProperty, PropertyKind, Scenario, World};

use crate::search::{SearchEnd, SearchLimits, SearchProgress, StopReason, watch};

/// A path as the explorer names it: the index of the first state, then of an action at each state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indices(pub Vec<usize>);

impl Indices {
    /// Reads a path that was written by [`stateright::Path::encode`].
    pub fn decode(encoded: &str) -> Self {
        Self(encoded.split('/').filter_map(|index| index.parse().ok()).collect())
    }

    /// The number of steps.
    pub fn steps(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// The page that shows the last state of the path, in the explorer at `address`. `slug` names the
    /// scenario there.
    pub fn page(&self, address: impl std::fmt::Display, slug: &str) -> String {
        format!("http://{address}/{slug}/#/steps/{}", self.encode())
    }

    /// The path as text, as in the address of a page.
    pub fn encode(&self) -> String {
        let indices: Vec<_> = self.0.iter().map(usize::to_string).collect();
        indices.join("/")
    }
}

/// How a hunt ended.
#[derive(Debug)]
pub struct Hunted {
    /// The path, if there is one.
    pub path: Option<Indices>,
    /// Whether no other path is shorter.
    pub is_shortest: bool,
    /// Why the search ended early, if it did.
    pub stopped: Option<StopReason>,
    /// How far the search came.
    pub progress: SearchProgress,
}

/// Looks for a path to a state that reaches `property`, if it is a witness, or violates it.
///
/// The first search looks for the shortest path, within `limits`. If it exceeds the limit of memory
/// or time, a second one looks for any path, within `limits_of_any`.
pub fn hunt(
    scenario: &Scenario,
    property: ModelProperty,
    threads: NonZeroUsize,
    limits: &SearchLimits,
    limits_of_any: Option<&SearchLimits>,
    show: impl Fn(&SearchProgress),
) -> Hunted {
    let shortest = finish(Hunt::new(scenario, property).checker().spawn_bfs(), limits, true, &show);
    let too_large = matches!(shortest.stopped, Some(StopReason::Memory | StopReason::Deadline));
    match limits_of_any {
        Some(limits) if too_large && shortest.path.is_none() => {
            let checker = Hunt::new(scenario, property).checker().threads(threads.get());
            finish(checker.spawn_dfs(), limits, false, &show)
        }
        _ => shortest,
    }
}

fn finish<C: Checker<Hunt>>(
    mut checker: C,
    limits: &SearchLimits,
    is_shortest: bool,
    show: &impl Fn(&SearchProgress),
) -> Hunted {
    let stop = |checker: &C| checker.model().is_stopped.store(true, Ordering::Relaxed);
    let SearchEnd { stopped, progress, .. } = watch(&mut checker, limits, stop, show);
    // A model that is stopped has no actions, so the path could not be replayed.
    checker.model().is_stopped.store(false, Ordering::Relaxed);
    let path = checker.discovery(ASKED).map(|path| Indices::decode(&path.encode(checker.model())));
    Hunted { path, is_shortest, stopped, progress }
}

/// The one property of a [`Hunt`].
const ASKED: &str = "what is asked for";

/// The world with a single property: the state that is asked for is reached.
struct Hunt {
    world: World,
    property: ModelProperty,
    is_found: AtomicBool,
    is_stopped: AtomicBool,
}

impl Hunt {
    fn new(scenario: &Scenario, property: ModelProperty) -> Self {
        Self {
            world: World::new(scenario.clone()),
            property,
            is_found: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Whether `state` is the first one that is asked for.
    fn is_first(&self, state: &ClusterState) -> bool {
        // A witness is asked for where it is reached, any other property where it is violated.
        let asked = self.property.kind() == PropertyKind::Sometimes;
        !self.is_found.load(Ordering::Relaxed)
            && self.world.holds(self.property, state) == asked
            && !self.is_found.swap(true, Ordering::Relaxed)
    }
}

impl Model for Hunt {
    type State = ClusterState;
    type Action = Action;

    fn init_states(&self) -> Vec<ClusterState> {
        self.world.init_states()
    }

    fn actions(&self, state: &ClusterState, actions: &mut Vec<Action>) {
        if !self.is_stopped.load(Ordering::Relaxed) {
            self.world.actions(state, actions);
        }
    }

    fn next_state(&self, state: &ClusterState, action: Action) -> Option<ClusterState> {
        self.world.next_state(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::sometimes(ASKED, Self::is_first)]
    }
}
