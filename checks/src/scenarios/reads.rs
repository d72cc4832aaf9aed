//! Linearizable reads.

use synod_model::world::{ASIDE, MessageKind, MessageKinds, Replicas, Scenario, Witness};

use super::bounds::{AROUND_0, AROUND_1, NONE, READ_MESSAGES, request};
use super::{ScenarioRow, StateCount, Tier};

pub(super) const READS: ScenarioRow = ScenarioRow {
    name: "reads",
    shows: "linearizable reads across a change of coordinator",
    tier: Tier::Quick,
    states: StateCount::Counted(676_502),
    scenario: || Scenario {
        submissions: vec![request(1, &[1])],
        reads: vec![Replicas::of(&[1, 2])],
        loses: ASIDE.without(READ_MESSAGES),
        reaches: vec![Witness::TwoCoordinate, Witness::ReadConfirmed],
        ..Scenario::new(3, 1, &[1, 2])
    },
};

pub(super) const READ_RESTART: ScenarioRow = ScenarioRow {
    name: "read-restart",
    shows: "a forwarded read whose origin restarts",
    tier: Tier::Quick,
    states: StateCount::Counted(381_277),
    scenario: || Scenario {
        submissions: vec![request(1, &[1])],
        reads: vec![Replicas::of(&[2]), Replicas::of(&[2])],
        crashes: 1,
        may_crash: Replicas::of(&[2]),
        hears: AROUND_1,
        rounds: 3,
        loses: ASIDE.without(READ_MESSAGES),
        reaches: vec![Witness::ReadConfirmed, Witness::AllCrashesHappened],
        ..Scenario::new(3, 1, &[1])
    },
};

pub(super) const READ_LOST: ScenarioRow = ScenarioRow {
    name: "read-lost",
    shows: "a read, and a coordinator that fails before it has finished its election",
    tier: Tier::Quick,
    states: StateCount::Counted(67_864),
    scenario: || Scenario {
        submissions: vec![request(1, &[1])],
        reads: vec![Replicas::of(&[2])],
        crashes: 1,
        may_crash: Replicas::of(&[0]),
        hears: AROUND_0,
        loses: ASIDE.without(READ_MESSAGES),
        catch_up: Replicas::NONE,
        reaches: vec![
            Witness::ReadConfirmed,
            Witness::UnsyncedWriteLost,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 1, &[1, 3])
    },
};

pub(super) const LATE_READ: ScenarioRow = ScenarioRow {
    name: "late-read",
    shows: "an answer to a read comes late, when its origin has restarted and reads again",
    tier: Tier::Quick,
    states: StateCount::Counted(5_037),
    scenario: || Scenario {
        submissions: vec![request(1, &[1])],
        reads: vec![Replicas::of(&[2]), Replicas::of(&[2])],
        crashes: 1,
        may_crash: Replicas::of(&[2]),
        hears: [NONE, Replicas::of(&[2]), Replicas::of(&[1]), NONE, NONE],
        catch_up: Replicas::NONE,
        keeps_dead: true,
        loses: ASIDE.without(READ_MESSAGES).and(MessageKinds::of(&[MessageKind::Commit])),
        reaches: vec![
            Witness::ReadConfirmed,
            Witness::DeadMessageInFlight,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 1, &[1])
    },
};
