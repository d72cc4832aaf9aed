//! What an election must finish is opened in portions: what may happen between two of them.

use synod_model::Limits;
use synod_model::world::{
    ASIDE, MessageKind, MessageKinds, Replicas, Scenario, ScenarioSubmission, Witness, small_limits,
};

use super::bounds::{AROUND_0, request};
use super::{ScenarioRow, StateCount, Tier};

/// A portion has room for one entry.
fn one_at_a_time() -> Limits {
    Limits { resend_bytes_max: 1, ..small_limits() }
}

pub(super) const PORTIONS: ScenarioRow = ScenarioRow {
    name: "portions",
    shows: "a coordinator that crashes, or is overtaken, before it has opened all that it must finish",
    tier: Tier::Quick,
    states: StateCount::Counted(662_643),
    scenario: || Scenario {
        submissions: vec![request(1, &[1]), request(2, &[1])],
        crashes: 1,
        may_crash: Replicas::of(&[2]),
        hears: AROUND_0,
        catch_up: Replicas::NONE,
        loses: ASIDE.and(MessageKinds::of(&[MessageKind::Commit])),
        limits: one_at_a_time(),
        reaches: vec![
            Witness::FinishesInPortions,
            Witness::OvertakenWhileFinishing,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 2, &[1, 2, 3])
    },
};

pub(super) const PORTIONS_AND_RETRY: ScenarioRow = ScenarioRow {
    name: "portions-and-retry",
    shows: "a client retries what a coordinator must finish and has not opened yet",
    tier: Tier::Quick,
    states: StateCount::Counted(23_121),
    scenario: || Scenario {
        submissions: vec![
            request(1, &[1]),
            ScenarioSubmission { places: 2, ..request(2, &[1, 2]) },
        ],
        crashes: 1,
        may_crash: Replicas::of(&[2]),
        hears: AROUND_0,
        catch_up: Replicas::NONE,
        limits: one_at_a_time(),
        reaches: vec![Witness::FinishesInPortions, Witness::AllCrashesHappened],
        ..Scenario::new(3, 3, &[1, 2])
    },
};

pub(super) const PORTIONS_AND_HUNG_DISK: ScenarioRow = ScenarioRow {
    name: "portions-hung-disk",
    shows: "a coordinator's disk hangs before it has opened all that it must finish",
    tier: Tier::Quick,
    states: StateCount::Counted(94_322),
    scenario: || Scenario {
        submissions: vec![request(1, &[1]), request(2, &[1])],
        hangs: 1,
        may_hang: Replicas::of(&[2]),
        hears: AROUND_0,
        catch_up: Replicas::NONE,
        limits: Limits { value_bytes_max: 1, unsynced_bytes_max: 33, ..one_at_a_time() },
        reaches: vec![Witness::FinishesInPortions],
        ..Scenario::new(3, 3, &[1, 2])
    },
};
