//! The model for stateright's explorer, whose states can be read.
//!
//! The explorer prints a state by itself, without the model, and takes two states for the same if
//! their texts are. So a state here carries the [`World`] along that knows what its numbers mean,
//! and its text is complete. An action carries the state that it happens in, for what it comes to
//! depends on it.
//!
//! The page is stateright's too, and only through the model can anything of it be ours: the picture
//! of a path brings the layout of the page along that shows it, `explorer.css`.
//!
//! Nothing else differs from the model that is checked: the same states with the same fingerprints,
//! the same actions in the same order, so that a path of one is a path of the other, and the same
//! properties.

use core::fmt;
use std::format;
use std::hash::{Hash, Hasher};
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;

use stateright::{Expectation, Model, Path, Property};

use super::details::details;
use super::picture::path_svg;
use super::sentence::sentence;
use super::text::state_text;
use crate::world::{Action, ClusterState, World};

/// How the explorer's page is laid out, where the picture stands in it.
const LAYOUT: &str = include_str!("explorer.css");

/// The model of a cluster, to be explored by people.
pub struct Explored {
    world: Arc<World>,
    properties: Vec<Property<World>>,
}

/// A state that can be printed.
#[derive(Clone)]
pub struct ExploredState {
    world: Arc<World>,
    /// The state as it is checked.
    pub state: ClusterState,
}

/// An action that can be printed.
#[derive(Clone)]
pub struct ExploredAction {
    before: ExploredState,
    /// The action as it is checked.
    pub action: Action,
}

impl Explored {
    /// The model `world`, to be explored.
    ///
    /// The world should be a new one: a `sometimes` property is found once in the life of a world,
    /// and not again.
    ///
    /// # Panics
    ///
    /// If the world has more than 32 properties.
    #[must_use]
    pub fn new(world: Arc<World>) -> Self {
        let properties = world.properties();
        assert!(properties.len() <= PROPERTIES_MAX, "at most {PROPERTIES_MAX} properties");
        Self { world, properties }
    }

    /// The model that is explored.
    #[must_use]
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    fn explored(&self, state: ClusterState) -> ExploredState {
        ExploredState { world: Arc::clone(&self.world), state }
    }
}

impl Model for Explored {
    type State = ExploredState;
    type Action = ExploredAction;

    fn init_states(&self) -> Vec<ExploredState> {
        self.world.init_states().into_iter().map(|state| self.explored(state)).collect()
    }

    fn actions(&self, state: &ExploredState, actions: &mut Vec<ExploredAction>) {
        let mut plain = Vec::new();
        self.world.actions(&state.state, &mut plain);
        let before = || state.clone();
        actions.extend(plain.into_iter().map(|action| ExploredAction { before: before(), action }));
    }

    fn next_state(&self, before: &ExploredState, action: ExploredAction) -> Option<ExploredState> {
        let state = self.world.next_state(&before.state, action.action)?;
        Some(self.explored(state))
    }

    fn format_action(&self, action: &ExploredAction) -> String {
        action.to_string()
    }

    fn format_step(&self, before: &ExploredState, action: ExploredAction) -> Option<String> {
        let after = self.world.next_state(&before.state, action.action)?;
        Some(state_text(&self.world, &after, Some(&before.state)))
    }

    fn as_svg(&self, path: Path<ExploredState, ExploredAction>) -> Option<String> {
        let steps = path.into_vec().into_iter();
        let plain = steps.map(|(state, action)| (state.state, action.map(|action| action.action)));
        let picture = path_svg(&self.world, &plain.collect::<Vec<_>>());
        Some(format!("{picture}<style>{LAYOUT}</style>"))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut conditions = CONDITIONS.iter();
        let explored = |property: &Property<World>| {
            let condition = *conditions.next()?;
            Some(match property.expectation {
                Expectation::Always => Property::always(property.name, condition),
                Expectation::Eventually => Property::eventually(property.name, condition),
                Expectation::Sometimes => Property::sometimes(property.name, condition),
            })
        };
        self.properties.iter().filter_map(explored).collect()
    }

    fn within_boundary(&self, state: &ExploredState) -> bool {
        self.world.within_boundary(&state.state)
    }
}

/// The most properties that a world can have and be explored.
const PROPERTIES_MAX: usize = 32;

/// A condition of a property.
type Condition = fn(&Explored, &ExploredState) -> bool;

/// The conditions of the first, the second, ... property. A property holds a plain function, which
/// carries nothing along, so there has to be one for each.
const CONDITIONS: [Condition; PROPERTIES_MAX] = {
    macro_rules! conditions {
        ($($index:literal)*) => { [$(holds::<$index>),*] };
    }
    conditions!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30
        31)
};

fn holds<const INDEX: usize>(model: &Explored, state: &ExploredState) -> bool {
    (model.properties[INDEX].condition)(&model.world, &state.state)
}

/// For people first, then complete.
impl fmt::Debug for ExploredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = state_text(&self.world, &self.state, None);
        write!(f, "{text}\nAll of it:\n\n{}", details(&self.world, &self.state))
    }
}

impl PartialEq for ExploredState {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state
    }
}

impl Eq for ExploredState {}

impl Hash for ExploredState {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.state.hash(hasher);
    }
}

impl fmt::Display for ExploredAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sentence(&self.before.world, &self.before.state, self.action))
    }
}

/// The sentence too: the explorer shows where its search is by this.
impl fmt::Debug for ExploredAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for ExploredAction {
    fn eq(&self, other: &Self) -> bool {
        self.action == other.action
    }
}

impl Eq for ExploredAction {}
