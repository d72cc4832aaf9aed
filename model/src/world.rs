//! A cluster of replicas as a stateright model: everything that the world can do to them.
//!
//! The model runs the same functions as a deployed replica. The world around them is as bad as it may
//! be: messages are lost, delayed, repeated and reordered; a replica may stop between any two steps,
//! and then forgets what was not synced; any replica may stand for election at any time. The checker
//! explores all of this, within the bounds of a [`Scenario`].
//!
//! # The network is a set that only grows
//!
//! A message that was sent may be delivered at any later time, any number of times, or never. So loss,
//! delay, repetition and reordering need no actions of their own. A replica that is down simply
//! receives nothing. So a crash and the restart after it are one action.
//!
//! # The modules, in the order in which to read them
//!
//! The bounds, and what a state consists of:
//!
//! 1. [`scenario`]: the bounds of a search, as data.
//! 2. [`state`]: a state of the cluster. It is a few numbers, which name contents.
//! 3. [`intern`]: how contents are kept once and named by numbers.
//! 4. [`local`]: a content: one replica with its disk.
//! 5. [`directory`]: the data directory of a replica, where directories can be lost.
//! 6. [`envelope`]: a content: a message in flight.
//! 7. [`history`]: a content: what the properties must remember and no replica does.
//!
//! What happens:
//!
//! 8. [`step`]: one step of one replica with its disk.
//! 9. [`outcomes`]: the outcomes of such steps, each computed once.
//! 10. [`model`]: the [`World`], which is a scenario with all of these tables, and the first state.
//! 11. [`actions`]: what may happen in a state.
//! 12. [`transition`]: the state after an action.
//! 13. [`dead`]: which messages can never be acted on again. They leave the state.
//!
//! What must hold:
//!
//! 14. [`property`]: the properties and their names.
//! 15. [`conditions`]: the condition of each property.
//! 16. [`membership`]: which configuration governs which slot, where members change.
//! 17. [`liveness`]: the condition of the liveness property: a majority left in peace agrees. In it,
//!     `canvass` and `forming` say what is left in peace there.
//!
//! Some of this only makes the model smaller or faster: [`intern`], [`outcomes`] and [`dead`], catch-up
//! in [`actions`], and disks in [`local`]. `docs/model.md` argues why nothing is lost by it, and
//! `reduction_tests` compares it with the plain model.

mod actions;
mod conditions;
mod dead;
pub(crate) mod directory;
pub(crate) mod envelope;
mod history;
#[cfg(test)]
mod history_tests;
mod intern;
mod liveness;
pub(crate) mod local;
mod membership;
mod model;
mod outcomes;
mod property;
#[cfg(test)]
mod reduction_tests;
mod scenario;
pub(crate) mod snapshots;
mod state;
mod step;
mod transition;

use std::vec::Vec;

use stateright::{Model, Property};

pub use actions::Action;
pub use model::World;
pub use property::{ChecksProperties, Invariant, ModelProperty, PropertyKind, Witness};
pub use scenario::{
    ASIDE, MessageKind, MessageKinds, OPEN_SESSION, READS_MAX, REPLICAS_MAX, Replicas, SLOTS_MAX,
    SUBMISSIONS_MAX, Scenario, ScenarioSubmission, small_limits,
};
pub use state::ClusterState;

impl Model for World {
    type State = ClusterState;
    type Action = Action;

    fn init_states(&self) -> Vec<ClusterState> {
        Vec::from([self.first_state()])
    }

    fn actions(&self, state: &ClusterState, actions: &mut Vec<Action>) {
        self.list_actions(state, actions);
    }

    fn next_state(&self, state: &ClusterState, action: Action) -> Option<ClusterState> {
        self.act(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.scenario().properties().into_iter().map(ModelProperty::in_model).collect()
    }
}
