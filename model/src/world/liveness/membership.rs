//! What the fair schedule does where members change: a replica that no coordinator counts as a member hears
//! none. So its failure detector tells it to stand, and that must do no harm.

use super::FairRun;
use crate::world::local::RoleKind;
use crate::world::outcomes::EventKey;

impl FairRun<'_> {
    /// Lets the replicas stand that believe to be members, and that no coordinator gives orders. Returns false if
    /// the messages that follow do not end.
    pub(super) fn stand_if_outside(&mut self) -> bool {
        if !self.world.has_changes() {
            return true;
        }
        let coordinators =
            self.members().filter(|it| self.summary(*it).role == RoleKind::Coordinator);
        let newest = coordinators.max_by_key(|it| self.summary(*it).configuration);
        let Some(newest) = newest else {
            return true;
        };
        let members = self.local(newest).replica.common.configuration().clone();
        for replica in self.members() {
            let common = &self.local(replica).replica.common;
            if members.contains(common.me) || !common.configuration().contains(common.me) {
                continue;
            }
            let canvass = self.world.scenario.canvass;
            self.happen(replica, EventKey::Suspect);
            self.happen(replica, EventKey::Elect { canvass });
        }
        self.sync_all();
        self.deliver_all()
    }
}
