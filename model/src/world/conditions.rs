//! The condition of each property: whether it holds in a state.

use std::sync::atomic::Ordering;
use std::vec::Vec;

use super::directory::Directory;
use super::envelope::Envelope;
use super::history::Commit;
use super::local::{LocalState, RoleKind};
use super::membership::{governs, is_majority};
use super::model::World;
use super::property::{ChecksProperties, Invariant, ModelProperty, Witness};
use super::scenario::{MessageKind, Replicas, Scenario};
use super::state::ClusterState;
use crate::entry::{Entry, Request};
use crate::message::{Message, NotTakenReason, Order, Reply};
use crate::numbers::{SequenceNumber, Slot};
use crate::replica::Role;
use crate::sessions::{DeliveryRefused, Verdict};

impl ChecksProperties for World {
    fn condition(&self, property: ModelProperty, state: &ClusterState) -> bool {
        match property {
            ModelProperty::Witness(witness) => self.shows_first(witness, state),
            ModelProperty::Invariant(_) | ModelProperty::Liveness => self.holds(property, state),
        }
    }
}

impl World {
    /// Whether `property` holds in `state`.
    #[must_use]
    pub fn holds(&self, property: ModelProperty, state: &ClusterState) -> bool {
        match property {
            ModelProperty::Invariant(invariant) => self.satisfies(invariant, state),
            ModelProperty::Liveness => self.is_live(state),
            ModelProperty::Witness(witness) => self.shows(witness, state),
        }
    }

    /// Whether something that may happen in this scenario could violate `property`. If not, that it holds
    /// says nothing.
    #[must_use]
    pub fn can_fail(&self, property: ModelProperty) -> bool {
        let ModelProperty::Invariant(invariant) = property else {
            return true;
        };
        let Scenario { numbers, submissions, reads, canvass, crashes, .. } = &self.scenario;
        let may_crash = self.replicas().any(|it| self.may_crash(it, *crashes));
        let has_disks = self.keeps_disks || may_crash;
        let is_elected = !numbers.is_empty();
        match invariant {
            Invariant::CanvassOustsNobody => *canvass,
            Invariant::ReadCoversCommitted => is_elected && !reads.is_empty(),
            Invariant::EveryDiskRecovers => has_disks,
            Invariant::CommittedIsOnMajorityOfDisks => is_elected && has_disks,
            Invariant::OneSlotPerRequest
            | Invariant::FirstAtMostOnce
            | Invariant::VerdictFollowsFromLog
            | Invariant::CommittedWasSubmitted
            | Invariant::OneCommittedValue
            | Invariant::OneChosenValue
            | Invariant::CommittedIsChosen
            | Invariant::OneValuePerNumberAndSlot
            | Invariant::DeliveryInOrder
            | Invariant::NoPeerContradicts
            | Invariant::OnlyDurableIsServed
            | Invariant::DurableTailWithinLimits
            | Invariant::NothingAcceptedBelowPromise => is_elected && !submissions.is_empty(),
            Invariant::DurablePromiseNeverFalls => is_elected,
            Invariant::OnlyLossIsFound | Invariant::LossIsFound | Invariant::NoLostVoteCounts => {
                self.keeps_testimonies && is_elected
            }
            Invariant::SnapshotEqualsLog | Invariant::AllDurableCounts => {
                self.scenario.snapshots > 0 && is_elected
            }
            Invariant::FinishedChangeIsDurable => has_disks && self.has_changes() && is_elected,
            Invariant::OneConfigurationGoverns
            | Invariant::NumberOfOneConfiguration
            | Invariant::ChangeOpenedWhenReady
            | Invariant::OtherDirectoryIsSilent
            | Invariant::CommittedByGovernors => self.has_changes() && is_elected,
            Invariant::VotesShareAPrefix | Invariant::NothingDeliveredAgainstMajority => {
                self.scenario.rollbacks > 0 && is_elected && !submissions.is_empty()
            }
            Invariant::NoStepPanics
            | Invariant::OneDirectoryTakesPart
            | Invariant::FormedKnowOneAnother
            | Invariant::FormedStaysFormed => true,
        }
    }

    fn satisfies(&self, invariant: Invariant, state: &ClusterState) -> bool {
        match invariant {
            Invariant::CommittedIsOnMajorityOfDisks => self.is_on_a_majority_of_disks(state),
            Invariant::OneSlotPerRequest => {
                self.replicas().all(|it| !self.summary(state, it).opened_twice)
            }
            Invariant::CanvassOustsNobody => self.is_undisturbed(state),
            Invariant::FinishedChangeIsDurable => self.finished_changes_are_durable(state),
            Invariant::OneDirectoryTakesPart => self
                .directories(state)
                .all(|directory| directory.all().filter(|(_, it)| it.is_formed()).count() <= 1),
            Invariant::FormedKnowOneAnother => {
                let takes_part = |it: &&Directory| it.forming.is_formed();
                self.directories(state).filter(takes_part).all(|one| {
                    self.directories(state)
                        .filter(takes_part)
                        .all(|other| one == other || one.passes(other))
                })
            }
            Invariant::FormedStaysFormed => {
                let is_remembered =
                    |it: &Directory| it.is_formed_on_disk() || !it.forming.is_formed();
                self.directories(state).all(is_remembered)
            }
            // A step or history detects when one of these is broken, and all later states record it.
            Invariant::OneCommittedValue
            | Invariant::OneChosenValue
            | Invariant::CommittedIsChosen
            | Invariant::CommittedWasSubmitted
            | Invariant::DurablePromiseNeverFalls
            | Invariant::NothingAcceptedBelowPromise
            | Invariant::OneValuePerNumberAndSlot
            | Invariant::DeliveryInOrder
            | Invariant::FirstAtMostOnce
            | Invariant::VerdictFollowsFromLog
            | Invariant::ReadCoversCommitted
            | Invariant::NoStepPanics
            | Invariant::NoPeerContradicts
            | Invariant::EveryDiskRecovers
            | Invariant::OnlyDurableIsServed
            | Invariant::DurableTailWithinLimits
            | Invariant::AllDurableCounts
            | Invariant::VotesShareAPrefix
            | Invariant::NothingDeliveredAgainstMajority
            | Invariant::OnlyLossIsFound
            | Invariant::LossIsFound
            | Invariant::SnapshotEqualsLog
            | Invariant::OneConfigurationGoverns
            | Invariant::NumberOfOneConfiguration
            | Invariant::CommittedByGovernors
            | Invariant::ChangeOpenedWhenReady
            | Invariant::OtherDirectoryIsSilent
            | Invariant::NoLostVoteCounts => !state.broken.contains(invariant),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each witness")]
    fn shows(&self, witness: Witness, state: &ClusterState) -> bool {
        match witness {
            Witness::CommittedEverywhere => self.is_committed_everywhere(state),
            Witness::TwoCoordinate => {
                let coordinates = |it: &usize| self.role(state, *it) == RoleKind::Coordinator;
                self.replicas().filter(coordinates).count() >= 2
            }
            Witness::FinishesAnothersValue => self.finishes_anothers_value(state),
            Witness::NoOpFillsGap => self.has_a_filled_gap(state),
            Witness::UnsyncedWriteLost => self.has_lost_a_write(state),
            Witness::OrderRejected => self.has_in_flight(state, MessageKind::Reject),
            Witness::RequestInLogTwice => self.has_a_request_twice(state),
            Witness::ReadConfirmed => {
                let is_told =
                    |it: usize| !self.local(state, it).replica.clients.reads.told_is_empty();
                self.replicas().any(is_told) || self.has_in_flight(state, MessageKind::ReadAt)
            }
            Witness::CanvassAgreedTo => self.has_in_flight(state, MessageKind::Agree),
            Witness::CandidateLags => {
                self.replicas().any(|it| self.local(state, it).replica.lags_as_candidate())
            }
            Witness::AllCrashesHappened => {
                self.scenario.crashes > 0 && state.remaining.crashes == 0
            }
            Witness::SubmissionForwarded => self.has_in_flight(state, MessageKind::Submit),
            Witness::SubmissionNotTaken => state.in_flight.iter().any(|id| {
                let message = &self.envelope(*id).message;
                let no_room = NotTakenReason::NoRoom;
                matches!(message, Message::NotTaken { reason, .. } if *reason == no_room)
            }),
            Witness::RequestOvertakes => {
                let numbers = self.committed_entries(state).filter_map(|entry| match entry {
                    Entry::Request(Request { number, .. }) => Some(*number),
                    _ => None,
                });
                !numbers.is_sorted()
            }
            Witness::LagsBehindTail => self.has_one_behind_a_tail(state),
            Witness::DeadMessageInFlight => {
                state.in_flight.iter().any(|id| self.is_dead(*id, &state.locals))
            }
            Witness::AcceptHeldBack => self.replicas().any(|it| {
                matches!(&self.local(state, it).replica.role,
                    Role::Coordinator(coordinator) if coordinator.holds_back())
            }),
            Witness::HistoriesDiffer => self.replicas().any(|it| {
                let differs = |other| self.local(state, it).differs_from(self.local(state, other));
                self.replicas().any(differs)
            }),
            Witness::VoteOverAnotherHistory => self.has_a_vote_over_another_history(state),
            Witness::ReplicaStops => {
                self.replicas().any(|it| self.local(state, it).replica.common.is_stopped())
            }
            Witness::FinishesInPortions => self.finishing(state).next().is_some(),
            Witness::OvertakenWhileFinishing => self.finishing(state).any(|s| {
                self.replicas()
                    .map(|it| self.summary(state, it))
                    .any(|summary| summary.role == RoleKind::Coordinator && summary.own > s)
            }),
            Witness::RequestGivenUp => {
                let given_up = Verdict::Refused { reason: DeliveryRefused::GivenUp };
                let mut commits = self.history(state).committed.iter().flatten();
                commits.any(|commit| commit.verdict == Some(given_up))
            }
            Witness::LateCopyAfterSessionEnd => {
                let mut entries = self.committed_entries(state);
                entries.any(|entry| matches!(entry, Entry::End { .. }))
                    && entries.any(|entry| matches!(entry, Entry::Request(_) | Entry::Open(_)))
            }
            Witness::FormsWithRemadeDirectory => {
                self.directories(state).all(|it| it.forming.is_formed())
                    && self.directories(state).any(|it| !it.lost.is_empty())
            }
            Witness::DirectoryLostWhileForming => self.directories(state).any(|remade| {
                let mut others = self.directories(state);
                !remade.took_part() && others.any(|it| it.knows_as_lost(remade))
            }),
            Witness::DirectoryLostAfterForming => self.directories(state).any(Directory::took_part),
            Witness::RemadeDirectoryRefused => self.directories(state).any(|remade| {
                let mut others = self.directories(state);
                others.any(|it| it.forming.is_formed() && it.knows_as_lost(remade))
            }),
            Witness::LossFound => self.replicas().any(|it| {
                let common = &self.local(state, it).replica.common;
                common.forgotten.contains_key(&common.me)
            }),
            Witness::LostVoteTakenBack => {
                self.replicas().any(|it| self.has_taken_a_vote_back(state, it))
            }
            Witness::BehindCutLog
            | Witness::CandidateBehindCutLog
            | Witness::TwoSnapshots
            | Witness::SnapshotInstalled
            | Witness::InstalledNotDurable
            | Witness::LateAcceptBelowSnapshot
            | Witness::ReadWaitsForSnapshot => self.shows_of_snapshots(witness, state),
            Witness::ChangeFinished
            | Witness::TwoConfigurationsElect
            | Witness::CoordinatorRemoved
            | Witness::RemovedDoesNotKnow
            | Witness::ChangeRefused
            | Witness::AcceptedAboveChange
            | Witness::ChangeNotOpened
            | Witness::OtherDirectoryStops
            | Witness::NewMemberLearns => self.shows_of_membership(witness, state),
            Witness::HungCoordinatorGivesWay => {
                self.replicas().any(|it| self.local(state, it).has_given_way())
            }
        }
    }

    /// Whether `state` is the first one that shows `witness`. stateright's depth-first search would
    /// store a path for every further one.
    fn shows_first(&self, witness: Witness, state: &ClusterState) -> bool {
        let found = &self.checked.found[witness as usize];
        !found.load(Ordering::Relaxed)
            && self.shows(witness, state)
            && !found.swap(true, Ordering::Relaxed)
    }
}

/// The conditions that take more than a few lines.
impl World {
    fn role(&self, state: &ClusterState, replica: usize) -> RoleKind {
        self.summary(state, replica).role
    }

    /// Whether every committed entry is on the disks of a majority that governs its slot, in the log or in a
    /// snapshot. A replica that cannot crash any more has no disk in the model, and counts as holding the
    /// entry. So does a replica that took part and lost its data directory: no other directory votes in its
    /// place.
    fn is_on_a_majority_of_disks(&self, state: &ClusterState) -> bool {
        let history = self.history(state);
        let configurations = self.configurations(state);
        history.committed.iter().enumerate().all(|(place, commit)| {
            commit.is_none_or(|commit| {
                let holds = |it: &usize| {
                    let interned = self.locals.get(state.locals[*it]);
                    let LocalState { disk, directory, .. } = &interned.content;
                    disk.is_none()
                        || directory.as_ref().is_some_and(Directory::took_part)
                        || interned.derived.snapshot_on_disk.0 > place as u64
                        || interned.derived.on_disk.get(place + 1) == Some(&Some(commit.entry))
                };
                let holders = self.replicas().filter(holds).fold(0, |set, it| set | 1 << it);
                governs(&configurations, Slot(place as u64 + 1))
                    .is_some_and(|it| is_majority(it, Replicas(holders)))
            })
        })
    }

    /// The committed entries, slot by slot.
    fn committed_entries(&self, state: &ClusterState) -> impl Iterator<Item = &Entry<u8>> {
        let commits = self.history(state).committed.iter().flatten();
        commits.filter_map(|commit| self.entry(commit.entry))
    }

    /// Whether a no-op is committed in a slot, and another entry in the slot after it.
    fn has_a_filled_gap(&self, state: &ClusterState) -> bool {
        let committed = &self.history(state).committed;
        let is_noop = |commit: &Option<Commit>| {
            commit.map(|commit| self.entry(commit.entry) == Some(&Entry::NoOp))
        };
        committed
            .windows(2)
            .any(|pair| is_noop(&pair[0]) == Some(true) && is_noop(&pair[1]) == Some(false))
    }

    /// Whether a vote is in flight whose sender has another history than its recipient.
    fn has_a_vote_over_another_history(&self, state: &ClusterState) -> bool {
        state.in_flight.iter().any(|id| {
            let Envelope { to, message, .. } = self.envelope(*id);
            let Message::Reply { reply: Reply::Acknowledge { prefix, .. }, .. } = message else {
                return false;
            };
            let common = &self.local(state, usize::from(to.0)).replica.common;
            let mine = common.learner.hashes().at(prefix.through, common.limits());
            mine.is_some_and(|mine| mine != prefix.hash)
        })
    }

    /// Whether `replica` has a slot open that another replica accepted under its number and has lost.
    fn has_taken_a_vote_back(&self, state: &ClusterState, replica: usize) -> bool {
        let replica = &self.local(state, replica).replica;
        let Role::Coordinator(coordinator) = &replica.role else {
            return false;
        };
        let is_open = |slot: Slot| coordinator.open.contains_key(&slot);
        let mut forgotten = replica.common.forgotten.values();
        forgotten.any(|it| it.s == coordinator.s && it.slot.is_some_and(is_open))
    }

    fn has_a_request_twice(&self, state: &ClusterState) -> bool {
        let mut seen = Vec::new();
        self.committed_entries(state).filter_map(Entry::submission_id).any(|id| {
            let again = seen.contains(&id);
            seen.push(id);
            again
        })
    }

    fn has_one_behind_a_tail(&self, state: &ClusterState) -> bool {
        let learner = |it: usize| &self.local(state, it).replica.common.learner;
        self.replicas().any(|ahead| {
            let tail_starts_at = learner(ahead).tail_starts_at();
            self.replicas().any(|behind| learner(behind).watermark().next() < tail_starts_at)
        })
    }

    fn is_committed_everywhere(&self, state: &ClusterState) -> bool {
        let submitted = self.scenario.submissions.iter().zip(state.remaining.submitted);
        let slots = Slot(self.scenario.slots as u64);
        submitted.into_iter().all(|(_, places)| places != 0)
            && self.replicas().all(|it| self.summary(state, it).watermark >= slots)
    }

    /// Whether a coordinator has an open slot with a value that was submitted at other replicas only. So
    /// it took that value over from an earlier coordinator.
    fn finishes_anothers_value(&self, state: &ClusterState) -> bool {
        self.replicas().any(|it| {
            let replica = &self.local(state, it).replica;
            let Role::Coordinator(coordinator) = &replica.role else {
                return false;
            };
            coordinator
                .open
                .keys()
                .filter_map(|slot| replica.common.acceptor.accepted().get(slot))
                .any(|held| {
                    let mine = self.scenario.submissions.iter().zip(state.remaining.submitted);
                    let submitted_here = |entry: &Entry<u8>| {
                        mine.clone().any(|(submission, places)| {
                            submission.entry == *entry && places & (1 << it) != 0
                        })
                    };
                    held.entry != Entry::NoOp && !submitted_here(&held.entry)
                })
        })
    }

    /// The numbers of the coordinators that have not opened yet all that they must finish.
    fn finishing(&self, state: &ClusterState) -> impl Iterator<Item = SequenceNumber> {
        self.replicas().filter_map(move |it| match &self.local(state, it).replica.role {
            Role::Coordinator(coordinator) => coordinator.to_finish.as_ref().map(|_| coordinator.s),
            _ => None,
        })
    }

    /// Whether a replica has visibly lost an entry that it once held.
    ///
    /// An acceptor gives up an entry only for one with a higher number, or when the slot is committed.
    /// Suppose that a replica has neither, but once asked others to accept an entry in the slot, or once
    /// committed the slot. Then it had a record of an entry, and lost it before it was synced.
    fn has_lost_a_write(&self, state: &ClusterState) -> bool {
        let history = self.history(state);
        let lacks = |replica: usize, slot: Slot, s: SequenceNumber| {
            let replica = &self.local(state, replica).replica;
            let held = replica.common.acceptor.accepted().get(&slot);
            slot > replica.common.learner.watermark() && held.is_none_or(|held| held.s < s)
        };
        let lacks_what_it_ordered = state.in_flight.iter().any(|id| {
            let Envelope { from, message, .. } = self.envelope(*id);
            let Message::Order { s, order: Order::Accept { first, entries, .. }, .. } = message
            else {
                return false;
            };
            let mut slots = (first.0..).map(Slot).take(entries.len());
            slots.any(|slot| lacks(usize::from(from.0), slot, *s))
        });
        let slots = (1..=history.committed.len() as u64).map(Slot);
        let committed = slots.filter_map(|slot| Some((slot, history.commit(slot)?)));
        let lacks_what_it_committed = |(slot, commit): (Slot, &Commit)| {
            let lacks = |it: &usize| commit.by.contains(*it) && lacks(*it, slot, SequenceNumber(1));
            self.replicas().any(|it| lacks(&it))
        };
        lacks_what_it_ordered || committed.into_iter().any(lacks_what_it_committed)
    }
}
