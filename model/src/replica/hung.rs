//! A disk, or an application, that hangs.
//!
//! Rounds need no disk, and the others commit without the coordinator's vote. So a coordinator whose disk
//! hangs looks alive, until so much is unsynced that it opens no more slots. One whose application hangs
//! looks alive for ever. The shell measures for how long a resource has made no progress while there was
//! work for it, and says so ([`Input::Hung`](crate::Input::Hung)). What follows is decided here:
//!
//! - While a resource hangs, a replica does not canvass, stand or agree. It obeys, as far as it can.
//!   That ends with the first progress of the resource.
//! - A coordinator gives way once a majority of the others has done what it cannot do. To find that
//!   out, it opens a no-op: the *probe*. The probe passes through every resource that the work needs,
//!   whether clients submit anything or not. For the disk, the others are further if the probe is
//!   committed; for the application, if a majority of them reports that it has applied the probe.
//!
//! **The others alone have committed the probe.** Its record is behind the one that the disk hangs at,
//! and records become durable in order. So this replica has not voted for it, or the disk would have
//! made progress, and that would have ended the hang.
//!
//! **Replicas that are equally slow do not depose each other.** The probe is opened after the disk has
//! made no progress for a while. The others must begin and finish a write for it, while this replica
//! must only finish one that has begun. So if its disk is no slower than theirs, the hang ends first.
//! That the watermark has passed what is durable here would not be enough: between equal disks under
//! load, it always has.

use alloc::vec::Vec;

use super::common::Common;
use super::coordinator::Coordinator;
use super::{Replica, Role};
use crate::configuration::MemberSet;
use crate::entry::{Entry, Value};
use crate::frames::EntryRange;
use crate::io::Output;
use crate::message::Order;
use crate::numbers::{ReplicaId, Slot};

/// Something besides the network that a replica needs for its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// What its records are written to.
    Disk,
    /// What the committed entries are applied to.
    Application,
}

/// The resources of a replica that hang.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hung {
    /// Whether its disk does.
    pub disk: bool,
    /// Whether its application does.
    pub application: bool,
}

impl Hung {
    /// One that hangs, if any does: the disk before the application.
    #[must_use]
    pub fn any(self) -> Option<Resource> {
        if self.disk {
            Some(Resource::Disk)
        } else {
            self.application.then_some(Resource::Application)
        }
    }

    fn add(&mut self, resource: Resource) {
        match resource {
            Resource::Disk => self.disk = true,
            Resource::Application => self.application = true,
        }
    }
}

/// How a coordinator finds out whether the others can do what it cannot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Probe {
    /// It was opened in this slot.
    slot: Slot,
    /// The others whose applications have applied it.
    applied: MemberSet,
}

impl<V: Value> Replica<V> {
    /// The shell says that `resource` has made no progress for its limit. If that is no longer so, it
    /// means nothing.
    pub(super) fn hung(&mut self, resource: Resource, out: &mut Output<V>) {
        let common = &mut self.common;
        let has_work = match resource {
            Resource::Disk => common.unsynced.synced() < common.unsynced.written(),
            Resource::Application => common.learner.applied() < common.learner.delivered(),
        };
        if !has_work {
            return;
        }
        let before = common.hung;
        common.hung.add(resource);
        match &mut self.role {
            Role::Follower => {}
            Role::Canvassing(_) | Role::Candidate(_) => self.give_way(resource, out),
            Role::Coordinator(coordinator) => {
                if common.hung != before {
                    coordinator.probe = None;
                }
                coordinator.open_probe(common, out);
            }
        }
    }

    /// A coordinator gives way if something hangs, and a majority of the others is further. If nothing
    /// hangs any more, it forgets its probe.
    pub(super) fn give_way_if_others_are_further(&mut self, out: &mut Output<V>) {
        let Role::Coordinator(coordinator) = &mut self.role else {
            return;
        };
        let common = &self.common;
        let Some(resource) = common.hung.any() else {
            coordinator.probe = None;
            return;
        };
        let are_further = coordinator.probe.as_ref().is_some_and(|probe| {
            (common.hung.disk && probe.slot <= common.watermark())
                || (common.hung.application && common.configuration().is_majority(probe.applied))
        });
        if are_further {
            self.give_way(resource, out);
        }
    }

    /// Ceases to coordinate, to stand or to canvass. The others hear of no coordinator any more, and
    /// elect one of themselves.
    fn give_way(&mut self, resource: Resource, out: &mut Output<V>) {
        self.role = Role::Follower;
        self.common.suspects = true;
        out.gave_way = Some(resource);
    }
}

impl<V: Value> Coordinator<V> {
    /// Opens the probe, if there is none yet, everything is open that must be finished, no change is open, and
    /// the window has room. It waits for nothing else. (When the change is committed, this replica does not
    /// stand again.)
    fn open_probe(&mut self, common: &mut Common<V>, out: &mut Output<V>) {
        let (slot, watermark) = (self.next_slot(common.watermark()), common.watermark());
        if self.probe.is_none()
            && self.to_finish.is_none()
            && !self.has_open_change(common)
            && slot.above(watermark) <= common.limits().open_slots_max
        {
            self.probe = Some(Probe { slot, applied: MemberSet::default() });
            let entries = Vec::from([Entry::NoOp]);
            self.open(EntryRange { first: slot, entries }, common, out);
        }
    }

    /// While the application hangs, asks the others how far theirs have come.
    pub(super) fn ask_for_progress(&self, common: &Common<V>, out: &mut Output<V>) {
        if common.hung.application && self.probe.is_some() {
            common.order_others(self.s, Order::Progress, out);
        }
    }

    /// The application of `replica` has everything up to `through`.
    pub(super) fn take_applied(&mut self, replica: ReplicaId, through: Slot, common: &Common<V>) {
        if let Some(probe) = &mut self.probe
            && probe.slot <= through
        {
            common.configuration().insert(&mut probe.applied, replica);
        }
    }
}
