//! A canvass does not oust a working coordinator.
//!
//! The canvass is there so that a replica that was cut off, and comes back, does no harm. So from every
//! state, and for each majority: the others are silent, and one round of the schedule of
//! [`liveness`](super) runs. If somebody then coordinates, and its round is answered, the
//! whole majority has heard it. Now any other replica is told to stand, whether it is one of the
//! majority or comes back from outside. Another round later the same one must still coordinate, under
//! the same number.
//!
//! One who comes back with a higher promise, given before, is left out: it rejects the coordinator's
//! orders, canvass or not.

use std::vec::Vec;

use super::FairRun;
use crate::world::local::RoleKind;
use crate::world::model::World;
use crate::world::outcomes::EventKey;
use crate::world::scenario::Replicas;
use crate::world::state::ClusterState;

impl World {
    /// Whether no canvass ousts whoever comes to work from `state` on.
    pub(in crate::world) fn is_undisturbed(&self, state: &ClusterState) -> bool {
        if !self.scenario.canvass {
            return true;
        }
        let digests = self.replicas().map(|it| self.locals.get(state.locals[it]).digest);
        let key = digests.fold(0, u128::wrapping_add);
        if self.checked.undisturbed.contains(&key) {
            return true;
        }
        let is_undisturbed = self.majorities().all(|majority| {
            let mut run =
                FairRun { world: self, majority, locals: state.locals, in_flight: Vec::new() };
            !run.round() || run.coordinator_stays()
        });
        if is_undisturbed {
            self.checked.undisturbed.insert(key);
        }
        is_undisturbed
    }
}

impl FairRun<'_> {
    /// Whether the working coordinator, if there is one, is still there after any other replica has
    /// been told to stand.
    fn coordinator_stays(&self) -> bool {
        let summary = |run: &Self, it: usize| run.summary(it).clone();
        let works = |run: &Self, it: usize| {
            let summary = summary(run, it);
            summary.role == RoleKind::Coordinator && summary.round_is_answered
        };
        let Some(coordinator) = self.members().find(|it| works(self, *it)) else {
            return true;
        };
        let s = summary(self, coordinator).own;
        self.world.replicas().filter(|it| *it != coordinator).all(|stands| {
            let promised = self.local(stands).replica.common.acceptor.promised();
            if promised > s {
                return true;
            }
            let mut run = self.clone();
            run.majority = Replicas(self.majority.0 | 1 << stands);
            run.happen(stands, EventKey::Elect { canvass: true });
            run.sync_all();
            run.deliver_all()
                && run.round()
                && works(&run, coordinator)
                && summary(&run, coordinator).own == s
        })
    }
}
