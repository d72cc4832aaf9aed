//! A canvass does not oust a working coordinator.
//!
//! The purpose of the canvass is that a replica which was cut off does no harm when it comes back. So
//! this is checked from every state and for each majority. The other replicas are silent, and one round
//! of the schedule of [`liveness`](super) runs. If one replica then coordinates and its round is
//! answered, the whole majority has heard it. Now any other replica is told to stand: one of the
//! majority, or one that comes back. After another round, the same replica must still coordinate under
//! the same number.
//!
//! The network may have delayed any agreement until then. So the replica that stands receives every
//! agreement that was in flight to it in the first state, besides the answers to its own canvass. Other
//! messages in flight are left out: the propose of a real election rightly ends a coordinator.
//!
//! A replica that comes back with a higher promise is left out: it rejects the coordinator's orders,
//! whether there is a canvass or not.

use std::vec::Vec;

use super::FairRun;
use crate::message::{Message, Reply};
use crate::world::intern::Id;
use crate::world::local::RoleKind;
use crate::world::model::World;
use crate::world::outcomes::EventKey;
use crate::world::scenario::Replicas;
use crate::world::state::ClusterState;

impl World {
    /// Whether no canvass ousts a coordinator that works after one round from `state`.
    pub(in crate::world) fn is_undisturbed(&self, state: &ClusterState) -> bool {
        if !self.scenario.canvass {
            return true;
        }
        let is_agreement = |id: &Id| {
            matches!(self.envelope(*id).message, Message::Reply { reply: Reply::Agree { .. }, .. })
        };
        let agreements: Vec<Id> = state.in_flight.iter().copied().filter(is_agreement).collect();
        let locals = self.replicas().map(|it| self.locals.get(state.locals[it]).digest);
        let late = agreements.iter().map(|id| self.envelopes.get(*id).digest);
        let key = locals.chain(late).fold(0, u128::wrapping_add);
        if self.checked.undisturbed.contains(&key) {
            return true;
        }
        let is_undisturbed = self.majorities().all(|majority| {
            let mut run = FairRun {
                world: self,
                majority,
                locals: state.locals,
                in_flight: Vec::new(),
                rounds: 0,
            };
            !run.round() || run.coordinator_stays(&agreements)
        });
        if is_undisturbed {
            self.checked.undisturbed.insert(key);
        }
        is_undisturbed
    }
}

impl FairRun<'_> {
    /// Whether the working coordinator, if there is one, still coordinates after any other replica was
    /// told to stand, and received the `agreements` to it that were delayed.
    fn coordinator_stays(&self, agreements: &[Id]) -> bool {
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
            let to_it = |id: &&Id| self.world.envelopes.get(**id).derived.to == stands;
            for &late in agreements.iter().filter(to_it) {
                run.happen(stands, EventKey::Deliver(late));
            }
            run.sync_all();
            run.deliver_all()
                && run.round()
                && works(&run, coordinator)
                && summary(&run, coordinator).own == s
        })
    }
}
