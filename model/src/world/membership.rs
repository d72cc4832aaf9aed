//! Membership: which configuration governs which slot, and what must hold across a change.
//!
//! The properties derive configurations from the committed log in [`History`], and never ask a replica. After
//! each step, the configuration of the replica is compared with that.

use std::vec::Vec;

use super::history::History;
use super::local::RoleKind;
use super::model::World;
use super::property::{Invariant, Witness};
use super::scenario::Replicas;
use super::state::ClusterState;
use crate::configuration::Configuration;
use crate::entry::{Change, Entry};
use crate::message::Message;
use crate::numbers::{ConfigurationId, Slot};
use crate::replica::Role;
use crate::sessions::Verdict;

/// A configuration, and the slot of the change that made it.
#[derive(Clone, Debug)]
pub(super) struct Governing {
    pub(super) configuration: Configuration,
    pub(super) changed_at: Slot,
}

/// Whether `set` holds more than half of the voters of `configuration`.
pub(super) fn is_majority(configuration: &Configuration, set: Replicas) -> bool {
    let voters = configuration.voters().count();
    let counted = configuration.voters().filter(|voter| set.contains(usize::from(voter.0)));
    2 * counted.count() > voters
}

impl History {
    /// The configurations that govern the committed log and what comes after it, from `first` on.
    pub(super) fn configurations(
        &self,
        first: &Configuration,
        entry: &dyn Fn(u8) -> Option<Entry<u8>>,
    ) -> Vec<Governing> {
        let first = Governing { configuration: first.clone(), changed_at: Slot::ZERO };
        let mut all = Vec::from([first]);
        for (slot, commit) in (1..).map(Slot).zip(&self.committed) {
            if let Some(commit) = commit.filter(|it| it.verdict == Some(Verdict::First))
                && let Some(Entry::Change(Change { configuration, .. })) = entry(commit.entry)
            {
                all.push(Governing { configuration, changed_at: slot });
            }
        }
        all
    }
}

/// The configuration that governs `slot`.
pub(super) fn governs(configurations: &[Governing], slot: Slot) -> Option<&Configuration> {
    let before = configurations.iter().rev().find(|it| it.changed_at < slot);
    before.map(|it| &it.configuration)
}

impl World {
    /// Whether the members may change in this scenario.
    pub(super) fn has_changes(&self) -> bool {
        self.changes().next().is_some()
    }

    /// The changes that clients may submit, with their places among the submissions.
    fn changes(&self) -> impl Iterator<Item = (usize, &Configuration)> {
        let submissions = self.scenario.submissions.iter().enumerate();
        submissions.filter_map(|(index, it)| match &it.entry {
            Entry::Change(change) => Some((index, &change.configuration)),
            _ => None,
        })
    }

    /// The configurations that govern the log of a state.
    pub(super) fn configurations(&self, state: &ClusterState) -> Vec<Governing> {
        let first = self.constants.first_configuration();
        self.history(state).configurations(first, &|id| self.entry(id).cloned())
    }

    /// Checks the configuration of `replica` against the committed log.
    pub(super) fn check_configuration(&self, replica: usize, state: &mut ClusterState) {
        let configurations = self.configurations(state);
        let common = &self.local(state, replica).replica.common;
        if governs(&configurations, common.watermark().next()) != Some(common.configuration()) {
            state.broken.add(Invariant::OneConfigurationGoverns);
        }
    }

    /// Checks a change that `replica` has opened in this step, and that no election had to finish.
    ///
    /// A voter can be ready if it and the coordinator hear each other, its data directory is the one that is
    /// registered, and it is near enough.
    pub(super) fn check_admission(
        &self,
        replica: usize,
        before: &ClusterState,
        state: &mut ClusterState,
    ) {
        let before = &self.local(before, replica).replica;
        let after = &self.local(state, replica).replica;
        let (Role::Coordinator(was), Role::Coordinator(is)) = (&before.role, &after.role) else {
            return;
        };
        let slot = Slot(is.next_slot(after.common.watermark()).0 - 1);
        let Some(Entry::Change(change)) =
            after.common.acceptor.accepted().get(&slot).map(|held| &held.entry)
        else {
            return;
        };
        let next = &change.configuration;
        let is_old = was.s != is.s || was.to_finish.is_some() || was.open.contains_key(&slot);
        if !self.scenario.readiness || is_old || !next.follows(before.common.configuration()) {
            return;
        }
        let can_be_ready = |voter: &usize| {
            let hears = |one: usize, other: usize| self.scenario.hears[one].contains(other);
            let durable = self.local(state, *voter).replica.common.learner.durable();
            let room = self.scenario.limits.accepted_slots_max;
            !self.scenario.other_directories.contains(*voter)
                && (*voter == replica
                    || (hears(*voter, replica)
                        && hears(replica, *voter)
                        && durable.plus(room) >= before.common.watermark()))
        };
        let ready = Replicas(self.replicas().filter(can_be_ready).fold(0, |set, it| set | 1 << it));
        let promoted = before.common.configuration().learners().iter();
        let mut promoted = promoted.filter(|it| next.is_voter(**it));
        if !is_majority(next, ready) || promoted.any(|it| !ready.contains(usize::from(it.0))) {
            state.broken.add(Invariant::ChangeOpenedWhenReady);
        }
    }

    /// Checks that a replica which has found another data directory registered under its id says nothing more.
    pub(super) fn check_silence(
        &self,
        replica: usize,
        before: &ClusterState,
        state: &mut ClusterState,
    ) {
        let was = &self.local(before, replica).replica;
        let has_acted = self.local(state, replica).replica.role.number().is_some()
            || state.in_flight.iter().any(|id| {
                self.envelopes.get(*id).content.from == was.common.me
                    && !before.in_flight.contains(id)
            });
        if was.common.other_directory().is_some() && has_acted {
            state.broken.add(Invariant::OtherDirectoryIsSilent);
        }
    }

    /// Whether every change behind which a slot is committed is on the disks of a majority of the new voters,
    /// with all that comes before it. A replica without a disk cannot crash any more.
    pub(super) fn finished_changes_are_durable(&self, state: &ClusterState) -> bool {
        let history = self.history(state);
        self.configurations(state).iter().all(|it| {
            let Governing { configuration, changed_at } = it;
            let has = |it: &usize| self.summary(state, *it).watermark_floor >= *changed_at;
            let holders = self.replicas().filter(has).fold(0, |set, it| set | 1 << it);
            *changed_at == Slot::ZERO
                || history.commit(changed_at.next()).is_none()
                || is_majority(configuration, Replicas(holders))
        })
    }

    /// Whether `set` holds a majority of every configuration from the last finished one on: of those that
    /// govern a slot, and of those that a client wants and that may come.
    pub(super) fn is_majority_of_all(&self, set: Replicas, state: &ClusterState) -> bool {
        if !self.has_changes() {
            return 2 * set.count() > self.scenario.replicas;
        }
        let history = self.history(state);
        let configurations = self.configurations(state);
        let is_finished = |it: &Governing| {
            it.changed_at == Slot::ZERO || history.commit(it.changed_at.next()).is_some()
        };
        let finished = configurations.iter().rposition(is_finished).unwrap_or(0);
        let newest =
            configurations.last().map_or(ConfigurationId::NONE, |it| it.configuration.id());
        let wanted = self.changes().filter(|(index, change)| {
            change.id() > newest && state.remaining.submitted[*index] != 0
        });
        let governing = configurations[finished..].iter().map(|it| &it.configuration);
        governing.chain(wanted.map(|(_, it)| it)).all(|it| is_majority(it, set))
    }

    /// Whether `state` shows `witness`, which is one of membership.
    pub(super) fn shows_of_membership(&self, witness: Witness, state: &ClusterState) -> bool {
        let configurations = self.configurations(state);
        let newest = configurations.last().map(|it| &it.configuration);
        let history = self.history(state);
        match witness {
            Witness::ChangeFinished => configurations.iter().any(|it| {
                it.changed_at > Slot::ZERO && history.commit(it.changed_at.next()).is_some()
            }),
            Witness::TwoConfigurationsElect => {
                let stands = |it: &usize| {
                    let role = self.summary(state, *it).role;
                    matches!(role, RoleKind::Candidate | RoleKind::Coordinator)
                };
                let ids = self.replicas().filter(stands);
                let mut ids = ids.map(|it| self.summary(state, it).configuration);
                ids.next().is_some_and(|first| ids.any(|id| id != first))
            }
            Witness::CoordinatorRemoved => self.replicas().any(|it| {
                let common = &self.local(state, it).replica.common;
                let removed = !common.configuration().contains(common.me);
                removed && common.constants.owns(common.me, common.acceptor.promised())
            }),
            Witness::RemovedDoesNotKnow => self.replicas().any(|it| {
                let common = &self.local(state, it).replica.common;
                common.configuration().contains(common.me)
                    && newest.is_some_and(|newest| !newest.contains(common.me))
            }),
            Witness::ChangeRefused => {
                let mut commits = history.committed.iter().flatten();
                commits.any(|commit| {
                    matches!(commit.verdict, Some(Verdict::Refused { .. }))
                        && matches!(self.entry(commit.entry), Some(Entry::Change(_)))
                })
            }
            Witness::AcceptedAboveChange => self.replicas().any(|it| {
                let common = &self.local(state, it).replica.common;
                let unknown = |governing: &&Governing| {
                    governing.configuration.id() > common.configuration().id()
                };
                configurations.iter().find(unknown).is_some_and(|next| {
                    common.acceptor.accepted().keys().any(|slot| *slot > next.changed_at)
                })
            }),
            Witness::ChangeNotOpened => state
                .in_flight
                .iter()
                .any(|id| matches!(self.envelope(*id).message, Message::NotReady { .. })),
            Witness::OtherDirectoryStops => self
                .replicas()
                .any(|it| self.local(state, it).replica.common.other_directory().is_some()),
            Witness::NewMemberLearns => self.replicas().any(|it| {
                let is_new = !self.constants.first_configuration().contains(self.id(it));
                let common = &self.local(state, it).replica.common;
                is_new && common.configuration().contains(common.me)
            }),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::history::Commit;
    use crate::world::property::ModelProperty;
    use crate::world::scenario::Scenario;

    /// No replica has anything on its disk here. So a change must not be finished.
    #[test]
    fn a_finished_change_that_is_on_no_disk_is_found() {
        let bounds = Scenario { members: Replicas::of(&[0]), ..Scenario::new(3, 2, &[3]) };
        let change = bounds.change(1, &[0, 1, 2], Replicas::of(&[0]));
        let submissions = Vec::from([change.clone()]);
        let world = World::new(Scenario { submissions, crashes: 1, ..bounds });
        let commit = |entry: &Entry<u8>, verdict| {
            let entry = world.entry_id(entry);
            Some(Commit { entry, verdict, by: Replicas::of(&[0]) })
        };
        let log = [commit(&change.entry, Some(Verdict::First)), commit(&Entry::NoOp, None)];
        for (slots, is_finished) in [(1, false), (2, true)] {
            let mut history = History::default();
            history.committed = log[..slots].to_vec();
            let mut state = world.first_state();
            state.history = world.histories.intern(history, |_, _| ());
            let property = ModelProperty::from(Invariant::FinishedChangeIsDurable);
            assert_eq!(world.holds(property, &state), !is_finished, "{slots} slots");
        }
    }
}
