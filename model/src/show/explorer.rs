//! The model for stateright's explorer. Its states and actions can be read.
//!
//! The explorer prints a state without the model, and takes two states for the same if their texts are.
//! So a state here carries its [`World`], which knows what the numbers mean, and its text is complete.
//! An action carries the state in which it happens, because its effect depends on that state.
//!
//! The page of the explorer is stateright's. A model can add to it only through its texts and pictures.
//! So the picture of a path carries our layout of the page, `explorer.css`.
//!
//! Nothing else differs from the model that is checked. The states have the same fingerprints, the actions
//! the same order, and the properties are the same. So a path of one model is a path of the other.

use core::fmt;
use std::format;
use std::hash::{Hash, Hasher};
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;

use stateright::{Model, Path, Property};

use super::details::details;
use super::picture::path_svg;
use super::sentence::sentence;
use super::text::state_text;
use crate::world::{Action, ChecksProperties, ClusterState, ModelProperty, World};

/// The layout of the explorer's page.
const LAYOUT: &str = include_str!("explorer.css");

/// The model of a cluster for people who explore it.
pub struct Explored {
    world: Arc<World>,
}

/// A state that can be printed.
#[derive(Clone)]
pub struct ExploredState {
    world: Arc<World>,
    /// The state of the model that is checked.
    pub state: ClusterState,
}

/// An action that can be printed.
#[derive(Clone)]
pub struct ExploredAction {
    before: ExploredState,
    /// The action of the model that is checked.
    pub action: Action,
}

impl Explored {
    /// The model `world`, for the explorer.
    ///
    /// The world should be new: a world reports each witness only once.
    #[must_use]
    pub fn new(world: Arc<World>) -> Self {
        Self { world }
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
        let picture = path_svg(&self.world, &plain.collect::<Vec<_>>(), None);
        Some(format!("{picture}<style>{LAYOUT}</style>"))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let properties = self.world.scenario().properties().into_iter();
        properties.map(ModelProperty::in_model).collect()
    }

    fn within_boundary(&self, state: &ExploredState) -> bool {
        self.world.within_boundary(&state.state)
    }
}

impl ChecksProperties for Explored {
    fn condition(&self, property: ModelProperty, state: &ExploredState) -> bool {
        self.world.condition(property, &state.state)
    }
}

/// First the text for people, then everything.
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

/// The sentence as well: the explorer uses this text to show how far its search is.
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
