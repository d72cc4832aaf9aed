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

pub(super) const LOST_VOTE: ScenarioRow = ScenarioRow {
    name: "lost-vote",
    shows: "a disk forgets a vote, its replica is reminded, and the vote counts no more",
    tier: Tier::Quick,
    states: StateCount::Counted(50_186),
    scenario: || {
        const OF_0: Replicas = Replicas::of(&[0]);
        Scenario {
            submissions: vec![request(1, &[0])],
            rollbacks: 1,
            may_roll_back: Replicas::of(&[2]),
            resend: true,
            catch_up: Replicas::NONE,
            hears: [Replicas::ALL, OF_0, OF_0, Replicas::NONE, Replicas::NONE],
            loses: ASIDE.without(REMINDERS),
            reaches: vec![Witness::LossFound, Witness::LostVoteTakenBack],
            ..Scenario::new(3, 1, &[3])
        }
    },
};

pub(super) const LOST_PROMISE: ScenarioRow = ScenarioRow {
    name: "lost-promise",
    shows: "a disk forgets a promise between two coordinators, and its replica is reminded",
    tier: Tier::Quick,
    states: StateCount::Counted(23_081),
    scenario: || Scenario {
        rollbacks: 1,
        may_roll_back: Replicas::of(&[2]),
        reaches: vec![Witness::FinishesAnothersValue, Witness::LossFound],
        ..one_after_the_other()
    },
};

/// Replica 2 coordinates, and then replica 0, which finishes what replica 2 has committed. Replica 2 may
/// acknowledge that again, and forget in a crash that it is committed.
pub(super) const REMINDED: ScenarioRow = ScenarioRow {
    name: "reminded",
    shows: "crashes lose what was not told, and no reminder stops a replica",
    tier: Tier::Quick,
    states: StateCount::Counted(99_002),
    scenario: || Scenario {
        submissions: vec![request(1, &[2])],
        crashes: 1,
        may_crash: Replicas::of(&[2]),
        // Where none may, nobody is reminded.
        rollbacks: 1,
        may_roll_back: Replicas::NONE,
        resend: true,
        catch_up: Replicas::NONE,
        loses: ASIDE.without(REMINDERS).and(MessageKinds::of(&[MessageKind::Commit])),
        reaches: vec![Witness::FinishesAnothersValue, Witness::UnsyncedWriteLost],
        ..Scenario::new(3, 1, &[2, 3])
    },
};

/// Replica 1 may coordinate, and then replica 0. Both hear replica 2 only.
fn one_after_the_other() -> Scenario {
    const OF_2: Replicas = Replicas::of(&[2]);
    Scenario {
        submissions: vec![request(1, &[1])],
        resend: true,
        hears: [OF_2, OF_2, Replicas::ALL, Replicas::NONE, Replicas::NONE],
        loses: ASIDE.without(REMINDERS),
        ..Scenario::new(3, 1, &[1, 3])
    }
}

const REMINDERS: MessageKinds = MessageKinds::of(&[MessageKind::Remind, MessageKind::Forgot]);

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
