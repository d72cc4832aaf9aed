//! Two histories: a disk loses the end of its durable log. No protocol agrees then. The damage must be
//! seen, and go no further.

use synod_model::world::{ASIDE, MessageKind, MessageKinds, Replicas, Scenario, Witness};

use super::bounds::request;
use super::{ScenarioRow, StateCount, Tier};

pub(super) const TWO_HISTORIES: ScenarioRow = ScenarioRow {
    name: "two-histories",
    shows: "a disk forgets an accept, two values are committed, and a replica stops",
    tier: Tier::Quick,
    states: StateCount::Counted(277_669),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[1])],
        rollbacks: 1,
        may_roll_back: Replicas::of(&[2]),
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::HistoriesDiffer,
            Witness::ReplicaStops,
        ],
        ..Scenario::new(3, 1, &[3, 4])
    },
};

pub(super) const DIVIDED_VOTES: ScenarioRow = ScenarioRow {
    name: "divided-votes",
    shows: "votes from two histories meet in the slot after the one that differs",
    tier: Tier::Quick,
    states: StateCount::Counted(1_360_977),
    scenario: || Scenario { catch_up: Replicas::NONE, ..divided() },
};

pub(super) const DIVIDED_CATCH_UP: ScenarioRow = ScenarioRow {
    name: "divided-catch-up",
    shows: "votes from two histories, and catch-up from one to the other",
    tier: Tier::Full,
    states: StateCount::Counted(3_410_231),
    scenario: || Scenario { catch_up: Replicas::of(&[0]), ..divided() },
};

/// Replica 1 has a slot more than replica 0, whose vote it may get.
fn divided() -> Scenario {
    Scenario {
        submissions: vec![request(1, &[0]), request(2, &[1]), request(3, &[1])],
        rollbacks: 1,
        may_roll_back: Replicas::of(&[2]),
        loses: ASIDE.and(MessageKinds::of(&[MessageKind::Commit, MessageKind::Compare])),
        reaches: vec![Witness::HistoriesDiffer, Witness::VoteOverAnotherHistory],
        ..Scenario::new(3, 2, &[3, 4])
    }
}
