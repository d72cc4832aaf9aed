//! What is checked of every state, and what must be reached at least once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::vec::Vec;

use stateright::{Model, Property};

use super::envelope::Envelope;
use super::ghost::{Broken, Commit};
use super::local::RoleKind;
use super::scenario::Kind as MessageKind;
use super::state::ClusterState;
use super::{Action, World};
use crate::entry::{Entry, Request};
use crate::message::{Message, Order};
use crate::numbers::{SequenceNumber, Slot};
use crate::replica::Role;
use crate::sessions::{DeliveryRefused, Verdict};

/// What a property claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It holds in every reachable state.
    Always,
    /// It holds in some reachable state: the scenario is not vacuous.
    Sometimes,
    /// From every reachable state the cluster, left in peace, gets there.
    Liveness,
}

/// A property of the model.
pub struct PropertyInfo {
    /// Its name.
    pub name: &'static str,
    /// What it claims.
    pub kind: Kind,
    condition: fn(&World, &ClusterState) -> bool,
}

/// The name of the liveness property.
const LIVE: &str = "a majority left in peace agrees";

macro_rules! always {
    ($name:literal, $broken:ident) => {
        PropertyInfo {
            name: $name,
            kind: Kind::Always,
            condition: |_, state| !state.broken.has(Broken::$broken),
        }
    };
}

macro_rules! sometimes {
    ($index:literal, $name:literal, $condition:expr) => {
        PropertyInfo {
            name: $name,
            kind: Kind::Sometimes,
            condition: |world, state| world.is_first($index, state, $condition),
        }
    };
}

/// Every property, whichever scenario asks for it.
pub(super) const PROPERTIES: &[PropertyInfo] = &[
    always!("no two replicas commit different values in a slot", TWO_COMMITTED),
    always!("no two values are chosen in a slot", TWO_CHOSEN),
    always!("what is committed is chosen", COMMITTED_NOT_CHOSEN),
    PropertyInfo {
        name: "a committed value is on a majority of disks",
        kind: Kind::Always,
        condition: World::is_on_a_majority_of_disks,
    },
    always!("only what was submitted is committed", NOT_SUBMITTED),
    always!("a durable promise never goes down", PROMISE_FELL),
    always!("nothing is accepted below a durable promise", BELOW_PROMISE),
    always!("one value per sequence number and slot", TWO_UNDER_ONE_NUMBER),
    always!("delivery is in order, without gaps", OUT_OF_ORDER),
    always!("a request is first at most once", FIRST_TWICE),
    always!("every verdict follows from the log", WRONG_VERDICT),
    PropertyInfo {
        name: "a coordinator opens one slot for a request",
        kind: Kind::Always,
        condition: |world, state| {
            world.replicas().all(|it| !world.summary(state.locals[it]).opened_twice)
        },
    },
    always!("a read covers what was committed when it was asked", STALE_READ),
    always!("no step panics", PANIC),
    always!("no peer contradicts what is committed", CONTRADICTION),
    always!("every disk can be recovered from", RECOVERY_DIFFERS),
    always!("only what is durable is served from the disk", SERVED_UNSYNCED),
    always!("what is durable is in memory within the limits", LONG_TAIL),
    PropertyInfo {
        name: "a canvass does not oust a working coordinator",
        kind: Kind::Always,
        condition: World::is_undisturbed,
    },
    PropertyInfo { name: LIVE, kind: Kind::Liveness, condition: World::is_live },
    sometimes!(0, "everything is committed everywhere", World::is_committed_everywhere),
    sometimes!(1, "two replicas coordinate at once", |world, state| {
        let coordinates = |it: &usize| world.role(state, *it) == RoleKind::Coordinator;
        world.replicas().filter(coordinates).count() >= 2
    }),
    sometimes!(2, "a coordinator finishes another's value", World::finishes_anothers_value),
    sometimes!(3, "a no-op fills a gap", |world, state| {
        let ghost = &world.ghosts.get(state.ghost).content;
        let is_noop = |at: usize| {
            let commit = ghost.committed.get(at).copied().flatten();
            commit.map(|commit| world.entry(commit.entry) == Some(&Entry::NoOp))
        };
        (0..ghost.committed.len())
            .any(|at| is_noop(at) == Some(true) && is_noop(at + 1) == Some(false))
    }),
    sometimes!(4, "a crash has lost what was not synced", World::has_lost_a_write),
    sometimes!(5, "an order is rejected", |world, state| {
        world.in_flight(state, MessageKind::Reject)
    }),
    sometimes!(6, "a request is in the log twice", |world, state| {
        let ghost = &world.ghosts.get(state.ghost).content;
        let mut seen = Vec::new();
        ghost.committed.iter().flatten().any(|commit| {
            let id = world.entry(commit.entry).and_then(Entry::submission_id);
            let again = id.is_some() && seen.contains(&id);
            seen.push(id);
            again
        })
    }),
    sometimes!(7, "a read is confirmed by a round", |world, state| {
        world
            .replicas()
            .any(|it| !world.locals.get(state.locals[it]).content.replica.reads.told_is_empty())
            || world.in_flight(state, MessageKind::ReadAt)
    }),
    sometimes!(8, "a canvass is agreed to", |world, state| {
        world.in_flight(state, MessageKind::Agree)
    }),
    sometimes!(9, "a candidate lacks what a promiser knows", |world, state| {
        world.replicas().any(|it| {
            let local = &world.locals.get(state.locals[it]).content;
            local.replica.lags_as_candidate()
        })
    }),
    sometimes!(10, "all crashes have happened", |world, state| {
        world.scenario.crashes > 0 && state.left.crashes == 0
    }),
    sometimes!(11, "a submission is forwarded", |world, state| {
        world.in_flight(state, MessageKind::Submit)
    }),
    sometimes!(13, "a request overtakes an earlier one", |world, state| {
        let ghost = &world.ghosts.get(state.ghost).content;
        let numbers =
            ghost.committed.iter().flatten().filter_map(|commit| match world.entry(commit.entry) {
                Some(Entry::Request(Request { number, .. })) => Some(*number),
                _ => None,
            });
        !numbers.is_sorted()
    }),
    sometimes!(14, "a replica lags behind another's tail", |world, state| {
        let learner = |it: usize| &world.locals.get(state.locals[it]).content.replica.learner;
        world.replicas().any(|ahead| {
            let tail_starts_at = learner(ahead).tail_starts_at();
            world.replicas().any(|behind| learner(behind).watermark().next() < tail_starts_at)
        })
    }),
    sometimes!(15, "a dead message is in flight", |world, state| {
        state.in_flight.iter().any(|id| world.is_dead(*id, &state.locals))
    }),
    sometimes!(16, "an election finishes more slots than the window has", |world, state| {
        let open = |it: usize| match &world.locals.get(state.locals[it]).content.replica.role {
            Role::Coordinator(coordinator) => coordinator.open.len() as u64,
            _ => 0,
        };
        world.replicas().any(|it| open(it) > world.scenario.limits.open_slots_max)
    }),
    sometimes!(17, "a request is given up before it is delivered", |world, state| {
        let ghost = &world.ghosts.get(state.ghost).content;
        ghost.committed.iter().flatten().any(|commit| {
            let reason = DeliveryRefused::GivenUp;
            commit.verdict == Some(Verdict::Refused { reason })
        })
    }),
    sometimes!(12, "a session ends and a late copy follows", |world, state| {
        let ghost = &world.ghosts.get(state.ghost).content;
        let mut entries =
            ghost.committed.iter().flatten().filter_map(|commit| world.entry(commit.entry));
        entries.any(|entry| matches!(entry, Entry::End { .. }))
            && entries.any(|entry| matches!(entry, Entry::Request(_) | Entry::Open(_)))
    }),
];

/// Which `sometimes` were found already. stateright's depth-first search would store a path for
/// every further state in which they hold.
#[derive(Default)]
pub(crate) struct Found([AtomicBool; 24]);

impl World {
    /// Whether `condition` holds in `state`, and was not found to hold before.
    fn is_first(
        &self,
        index: usize,
        state: &ClusterState,
        condition: fn(&Self, &ClusterState) -> bool,
    ) -> bool {
        let found = &self.found.0[index];
        !found.load(Ordering::Relaxed)
            && condition(self, state)
            && !found.swap(true, Ordering::Relaxed)
    }

    fn role(&self, state: &ClusterState, replica: usize) -> RoleKind {
        self.summary(state.locals[replica]).role
    }

    /// Whether each committed slot that can still be looked up is on a majority of disks. The disk of
    /// a replica that cannot crash any more is not kept, and counts as holding it.
    fn is_on_a_majority_of_disks(&self, state: &ClusterState) -> bool {
        let ghost = &self.ghosts.get(state.ghost).content;
        ghost.committed.iter().enumerate().all(|(place, commit)| {
            commit.is_none_or(|commit| {
                let holders = self.replicas().filter(|it| {
                    let interned = self.locals.get(state.locals[*it]);
                    interned.content.disk.is_none()
                        || interned.derived.on_disk.get(place + 1) == Some(&Some(commit.entry))
                });
                2 * holders.count() > self.scenario.replicas
            })
        })
    }

    fn is_committed_everywhere(&self, state: &ClusterState) -> bool {
        let submitted = self.scenario.submissions.iter().zip(state.left.submitted);
        let slots = Slot(self.scenario.slots as u64);
        submitted.into_iter().all(|(_, places)| places != 0)
            && self.replicas().all(|it| self.summary(state.locals[it]).watermark >= slots)
    }

    /// Whether somebody coordinates with an open slot whose value was taken first under another's
    /// number, and that other does not coordinate any more.
    fn finishes_anothers_value(&self, state: &ClusterState) -> bool {
        self.replicas().any(|it| {
            let replica = &self.locals.get(state.locals[it]).content.replica;
            let Role::Coordinator(coordinator) = &replica.role else {
                return false;
            };
            coordinator.open.keys().filter_map(|slot| replica.acceptor.accepted().get(slot)).any(
                |held| {
                    let mine = self.scenario.submissions.iter().zip(state.left.submitted);
                    let submitted_here = |entry: &Entry<u8>| {
                        mine.clone().any(|(submission, places)| {
                            submission.entry == *entry && places & (1 << it) != 0
                        })
                    };
                    held.entry != Entry::NoOp && !submitted_here(&held.entry)
                },
            )
        })
    }

    /// Whether it shows that a replica once held an entry that it holds no longer.
    ///
    /// An acceptor lets go of an entry only for one of a higher number, or when the slot is
    /// committed. So whoever has neither, and asked others to accept an entry under its own number or
    /// has once committed the slot, had a record of it, and lost that before it was synced.
    fn has_lost_a_write(&self, state: &ClusterState) -> bool {
        let ghost = &self.ghosts.get(state.ghost).content;
        let lacks = |replica: usize, slot: Slot, s: SequenceNumber| {
            let replica = &self.locals.get(state.locals[replica]).content.replica;
            let held = replica.acceptor.accepted().get(&slot);
            slot > replica.learner.watermark() && held.is_none_or(|held| held.s < s)
        };
        let lacks_what_it_ordered = state.in_flight.iter().any(|id| {
            let Envelope { from, message, .. } = &self.envelopes.get(*id).content;
            let Message::Order { s, order: Order::Accept { first, entries, .. }, .. } = message
            else {
                return false;
            };
            let mut slots = (first.0..).map(Slot).take(entries.len());
            slots.any(|slot| lacks(usize::from(from.0), slot, *s))
        });
        let slots = (1..=ghost.committed.len() as u64).map(Slot);
        let committed = slots.filter_map(|slot| Some((slot, ghost.commit(slot)?)));
        let lacks_what_it_committed = |(slot, commit): (Slot, &Commit)| {
            let lacks = |it: &usize| commit.by.contains(*it) && lacks(*it, slot, SequenceNumber(1));
            self.replicas().any(|it| lacks(&it))
        };
        lacks_what_it_ordered || committed.into_iter().any(lacks_what_it_committed)
    }

    /// The properties of this model: all the scenario can break, and what it must reach.
    #[must_use]
    pub fn property_infos(&self) -> Vec<&'static PropertyInfo> {
        let reaches = &self.scenario.reaches;
        let checks_liveness = self.scenario.liveness;
        PROPERTIES
            .iter()
            .filter(|it| match it.kind {
                Kind::Always => true,
                Kind::Liveness => checks_liveness,
                Kind::Sometimes => reaches.contains(&it.name),
            })
            .collect()
    }
}

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
        let property = |it: &&PropertyInfo| match it.kind {
            Kind::Always | Kind::Liveness => Property::always(it.name, it.condition),
            Kind::Sometimes => Property::sometimes(it.name, it.condition),
        };
        self.property_infos().iter().map(property).collect()
    }
}
