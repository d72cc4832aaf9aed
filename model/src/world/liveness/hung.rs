//! What the fair schedule does where disks hang, or are slow.
//!
//! - A replica whose disk hangs never syncs. In every round, if it has written something, it is told that
//!   its disk hangs, after the others have synced and answered. So what the others can do without it is
//!   done by then. A coordinator that holds on to its office in spite of that is found out when it may
//!   write no more.
//! - A replica whose disk works may be as slow as all others. So whenever all sync, a coordinator that
//!   has written something is first told that its disk hangs. Nobody is further than it, so it must go
//!   on. One that gives way is found out, because the next one is told the same.
//!
//! A candidate that is slow is not told. It would rightly give up, and the limit of its failure detector
//! would double until it does not.

use super::FairRun;
use crate::world::intern::Id;
use crate::world::local::RoleKind;
use crate::world::model::World;
use crate::world::outcomes::EventKey;
use crate::world::scenario::{REPLICAS_MAX, Replicas};

impl World {
    /// Whether the members of `majority` whose disks work are a majority by themselves.
    pub(super) fn is_working_majority(
        &self,
        majority: Replicas,
        locals: &[Id; REPLICAS_MAX],
    ) -> bool {
        let works = |it: &usize| !self.locals.get(locals[*it]).content.disk_hangs;
        let working = self.replicas().filter(|it| majority.contains(*it)).filter(works);
        self.scenario.hangs == 0 || 2 * working.count() > self.scenario.replicas
    }
}

impl FairRun<'_> {
    /// Tells the coordinators whose disks work, and have something to do, that they hang.
    pub(super) fn ring_slow(&mut self) {
        if self.world.scenario.hangs > 0 {
            for replica in self.members() {
                let coordinates = self.summary(replica).role == RoleKind::Coordinator;
                let local = self.local(replica);
                if coordinates && !local.disk_hangs && !local.unsynced.is_empty() {
                    self.happen(replica, EventKey::DiskHung);
                }
            }
        }
    }

    /// Tells the replicas whose disks hang, and have something to do, that they do.
    pub(super) fn ring_hung(&mut self) {
        for replica in self.members() {
            let local = self.local(replica);
            if local.disk_hangs && !local.unsynced.is_empty() {
                self.happen(replica, EventKey::DiskHung);
            }
        }
    }

    /// Whether this replica refuses to stand for election. It does not change by being asked.
    pub(super) fn refuses_to_stand(&self, replica: usize) -> bool {
        let canvass = self.world.scenario.canvass;
        let before = self.locals[replica];
        let local = self.local(replica);
        let votes = local.replica.common.configuration().is_voter(local.me());
        let may_refuse = local.disk_hangs || !votes;
        may_refuse && self.world.outcome(before, EventKey::Elect { canvass }).local == before
    }
}
