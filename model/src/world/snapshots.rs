//! Snapshots: handles, and what may happen with them.
//!
//! A handle is a function of the log. So the model keeps no handles in its states: it remembers up to which
//! slots snapshots were made, and computes the handle of a slot from the committed log. After each step it
//! compares the handle that the replica would give with that.
//!
//! A snapshot that was ever made may be installed by any replica at any time. That includes snapshots that
//! are older than what the replica has, and its own, of which a crash has taken the record.
//!
//! The file of a snapshot is durable before the core hears of it. So an application has what its disk has a
//! record of, and starts from that after a crash.

use std::sync::Arc;
use std::vec::Vec;

use dashmap::DashMap;
use rustc_hash::FxBuildHasher;

use super::actions::{Action, small};
use super::envelope::Envelope;
use super::intern::{Id, Interner};
use super::local::RoleKind;
use super::model::World;
use super::property::{Invariant, Witness};
use super::state::ClusterState;
use crate::message::{Message, Order};
use crate::numbers::Slot;
use crate::prefix::PrefixHash;
use crate::snapshot::SnapshotHandle;

/// The handles so far.
#[derive(Default)]
pub(super) struct Handles {
    interner: Interner<Arc<SnapshotHandle>, ()>,
    /// The handles by what they stand for.
    by_prefix: DashMap<(Slot, PrefixHash), Id, FxBuildHasher>,
}

impl Handles {
    /// The handle with this number.
    pub(super) fn get(&self, id: Id) -> &Arc<SnapshotHandle> {
        &self.interner.get(id).content
    }

    /// The handle of the log up to `slot` that has this hash, if it was ever needed.
    pub(super) fn find(&self, slot: Slot, hash: PrefixHash) -> Option<Id> {
        self.by_prefix.get(&(slot, hash)).map(|id| *id)
    }
}

/// The snapshots that were made on the way to a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SnapshotsMade {
    /// How many.
    pub(crate) count: u8,
    /// Up to which slots, one bit for each.
    slots: u16,
}

impl SnapshotsMade {
    pub(super) fn add(&mut self, slot: u8) {
        self.count += 1;
        self.slots |= 1 << slot;
    }

    /// The last slots of the snapshots, in ascending order.
    pub(crate) fn slots(self) -> impl Iterator<Item = u8> {
        (0..16_u8).filter(move |slot| self.slots & 1 << slot != 0)
    }
}

impl World {
    /// The handle of the committed log up to `slot`; `None` if a slot is not committed.
    pub(super) fn handle(&self, state: &ClusterState, slot: Slot) -> Option<Id> {
        let history = self.history(state);
        let mut handle = SnapshotHandle::clone(&self.first_base().snapshot);
        for slot in (1..=slot.0).map(Slot) {
            let entry = self.entry(history.commit(slot)?.entry)?;
            handle = handle.after(entry, self.constants.limits());
        }
        let prefix = (handle.slot, handle.hash());
        let id = self.handles.interner.intern(Arc::new(handle), |_, _| ());
        self.handles.by_prefix.insert(prefix, id);
        Some(id)
    }

    /// A snapshot that the application of `replica` has taken, now or before, and that is durable now; and
    /// snapshots of anybody, which `replica` hears of or has got.
    pub(super) fn list_snapshots(
        &self,
        replica: usize,
        state: &ClusterState,
        actions: &mut Vec<Action>,
    ) {
        let at = small(replica);
        let made = state.remaining.snapshots;
        let watermark = self.summary(state, replica).watermark;
        if made.count < self.scenario.snapshots && self.scenario.may_snapshot.contains(replica) {
            let slots = (1..=watermark.0).filter_map(|slot| u8::try_from(slot).ok());
            actions.extend(slots.map(|slot| Action::Snapshot { at, slot }));
        }
        if !self.scenario.may_install.contains(replica) {
            return;
        }
        let coordinates = self.summary(state, replica).role == RoleKind::Coordinator;
        for slot in made.slots() {
            actions.push(Action::Install { at, slot });
            if coordinates && !self.keeps_asks && u64::from(slot) > watermark.0 {
                actions.push(Action::Offer { to: at, slot });
            }
        }
    }

    /// Checks the handle that `replica` would give, and so what it would do with the next entries, against
    /// the committed log.
    pub(super) fn check_snapshot(&self, replica: usize, state: &mut ClusterState) {
        let replica = &self.local(state, replica).replica;
        let Some(given) = replica.snapshot_handle() else {
            return;
        };
        let right = self.handle(state, given.slot).map(|id| self.handles.get(id));
        if right != Some(&given) {
            state.broken.add(Invariant::SnapshotEqualsLog);
        }
    }
}

/// The witnesses of snapshots.
impl World {
    /// Whether `state` shows `witness`, which is one of these.
    pub(super) fn shows_of_snapshots(&self, witness: Witness, state: &ClusterState) -> bool {
        match witness {
            Witness::BehindCutLog => self.replicas().any(|it| self.is_behind_cut_log(state, it)),
            Witness::CandidateBehindCutLog => self.replicas().any(|it| {
                self.local(state, it).replica.lags_as_candidate()
                    && self.is_behind_cut_log(state, it)
            }),
            Witness::TwoSnapshots => self.replicas().any(|it| {
                let watermark = self.summary(state, it).watermark.0;
                let mut newer = state.remaining.snapshots.slots();
                newer.any(|slot| u64::from(slot) > watermark) && newer.next().is_some()
            }),
            Witness::SnapshotInstalled => {
                self.replicas().any(|it| self.installed(state, it).is_some())
            }
            Witness::InstalledNotDurable => self.replicas().any(|it| {
                let learner = &self.local(state, it).replica.common.learner;
                self.installed(state, it).is_some_and(|slot| learner.durable() < slot)
            }),
            Witness::LateAcceptBelowSnapshot => state.in_flight.iter().any(|id| {
                let Envelope { to, message, .. } = self.envelope(*id);
                let Message::Order { order: Order::Accept { first, .. }, s, .. } = message else {
                    return false;
                };
                let to = usize::from(to.0);
                *s >= self.local(state, to).replica.common.acceptor.promised()
                    && self.installed(state, to).is_some_and(|slot| *first <= slot)
            }),
            Witness::ReadWaitsForSnapshot => self.replicas().any(|it| {
                let watermark = self.summary(state, it).watermark.0;
                !self.local(state, it).replica.clients.reads.told_is_empty()
                    && state.remaining.snapshots.slots().any(|slot| u64::from(slot) > watermark)
            }),
            _ => false,
        }
    }

    /// Whether `replica` lacks committed slots that another one has in a snapshot only.
    fn is_behind_cut_log(&self, state: &ClusterState, replica: usize) -> bool {
        let next = self.summary(state, replica).watermark.next();
        let learner = |it: usize| &self.local(state, it).replica.common.learner;
        self.replicas().any(|it| next < learner(it).has_from())
    }

    /// The last slot of the snapshot that `replica` has installed, if its log begins after one of those. It
    /// has not committed that slot by itself.
    fn installed(&self, state: &ClusterState, replica: usize) -> Option<Slot> {
        let starts_at = self.local(state, replica).replica.common.learner.log_starts_at();
        let slot = Slot(starts_at.0.checked_sub(1)?);
        let commit = self.history(state).commit(slot)?;
        (!commit.by.contains(replica)).then_some(slot)
    }
}
