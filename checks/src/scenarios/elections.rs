//! Who coordinates: the canvass, step-down, and answers that come late.

use synod_model::Limits;
use synod_model::world::{
    ASIDE, MessageKind, MessageKinds, Replicas, Scenario, Witness, small_limits,
};

use super::bounds::{AROUND_0, CANVASS_MESSAGES, ROUND_MESSAGES, request, two_values};
use super::{ScenarioRow, StateCount, Tier};

pub(super) const CANVASS: ScenarioRow = ScenarioRow {
    name: "canvass",
    shows: "a replica returns from isolation and asks before it stands",
    tier: Tier::Quick,
    states: StateCount::Counted(128_302),
    scenario: || Scenario {
        submissions: two_values(),
        canvass: true,
        loses: ASIDE.without(CANVASS_MESSAGES),
        reaches: vec![Witness::CommittedEverywhere, Witness::CanvassAgreedTo],
        ..Scenario::new(3, 1, &[1, 3])
    },
};

pub(super) const LATE_AGREEMENT: ScenarioRow = ScenarioRow {
    name: "late-agreement",
    shows: "an agreement to a canvass comes late, when its replica has restarted and asks again",
    tier: Tier::Quick,
    states: StateCount::Counted(17_487),
    scenario: || Scenario {
        canvass: true,
        crashes: 1,
        may_crash: Replicas::of(&[1]),
        loses: ASIDE.without(CANVASS_MESSAGES),
        reaches: vec![Witness::CanvassAgreedTo, Witness::AllCrashesHappened],
        ..Scenario::new(3, 1, &[3, 4])
    },
};

pub(super) const STEP_DOWN: ScenarioRow = ScenarioRow {
    name: "step-down",
    shows: "a coordinator whose round goes unanswered steps down, and is asked again",
    tier: Tier::Quick,
    states: StateCount::Counted(63_589),
    scenario: || Scenario {
        submissions: vec![request(1, &[1])],
        canvass: true,
        loses: ASIDE.without(
            CANVASS_MESSAGES.and(MessageKinds::of(&[MessageKind::Round, MessageKind::Obey])),
        ),
        reaches: vec![Witness::CommittedEverywhere, Witness::CanvassAgreedTo],
        ..Scenario::new(3, 1, &[1])
    },
};

pub(super) const HUNG_DISK: ScenarioRow = ScenarioRow {
    name: "hung-disk",
    shows: "a coordinator's disk hangs: it gives way, and the others go on",
    tier: Tier::Quick,
    states: StateCount::Counted(20_404),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[1])],
        submit_anywhere: true,
        // One value and the probe are more than may be unsynced.
        limits: Limits { value_bytes_max: 1, unsynced_bytes_max: 33, ..small_limits() },
        hangs: 1,
        may_hang: Replicas::of(&[0]),
        catch_up: Replicas::NONE,
        reaches: vec![Witness::HungCoordinatorGivesWay, Witness::CommittedEverywhere],
        ..Scenario::new(3, 2, &[3])
    },
};

pub(super) const HUNG_AND_REPLACED: ScenarioRow = ScenarioRow {
    name: "hung-and-replaced",
    shows: "a coordinator's disk hangs, and another one finishes what it began",
    tier: Tier::Quick,
    states: StateCount::Counted(470_276),
    scenario: || Scenario {
        submissions: vec![request(1, &[0])],
        limits: Limits { value_bytes_max: 1, unsynced_bytes_max: 33, ..small_limits() },
        hangs: 1,
        may_hang: Replicas::of(&[0]),
        catch_up: Replicas::NONE,
        reaches: vec![
            Witness::HungCoordinatorGivesWay,
            Witness::FinishesAnothersValue,
            Witness::CommittedEverywhere,
        ],
        ..Scenario::new(3, 2, &[3, 4])
    },
};

pub(super) const WINDOW: ScenarioRow = ScenarioRow {
    name: "window",
    shows: "an election that must finish more slots than the window has",
    tier: Tier::Quick,
    states: StateCount::Counted(3_054),
    scenario: || Scenario {
        submissions: vec![request(1, &[1]), request(2, &[1]), request(3, &[2])],
        crashes: 1,
        may_crash: Replicas::of(&[0]),
        hears: AROUND_0,
        catch_up: Replicas::NONE,
        limits: Limits { open_slots_max: 1, ..small_limits() },
        reaches: vec![Witness::FinishesInPortions, Witness::FinishesAnothersValue],
        ..Scenario::new(3, 2, &[1, 2])
    },
};

pub(super) const LATE_REPLIES: ScenarioRow = ScenarioRow {
    name: "late-replies",
    shows: "replies to a number come late, when their coordinator has restarted and stands again",
    tier: Tier::Quick,
    states: StateCount::Counted(92_490),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[0])],
        crashes: 1,
        may_crash: Replicas::of(&[0]),
        hears: AROUND_0,
        catch_up: Replicas::NONE,
        keeps_dead: true,
        loses: ASIDE.and(MessageKinds::of(&[MessageKind::Commit])),
        reaches: vec![
            Witness::DeadMessageInFlight,
            Witness::AllCrashesHappened,
            Witness::UnsyncedWriteLost,
        ],
        ..Scenario::new(3, 1, &[3, 6])
    },
};

pub(super) const LATE_ANSWERS: ScenarioRow = ScenarioRow {
    name: "late-answers",
    shows: "answers to an older round come again, after the coordinator was overtaken",
    tier: Tier::Quick,
    states: StateCount::Counted(12_770),
    scenario: || Scenario {
        submissions: vec![request(1, &[1])],
        reads: vec![Replicas::of(&[1])],
        hears: AROUND_0,
        catch_up: Replicas::NONE,
        keeps_dead: true,
        loses: ASIDE.without(ROUND_MESSAGES).and(MessageKinds::of(&[MessageKind::Commit])),
        reaches: vec![Witness::TwoCoordinate, Witness::DeadMessageInFlight],
        ..Scenario::new(3, 1, &[1, 2])
    },
};
