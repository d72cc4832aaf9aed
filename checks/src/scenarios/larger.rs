//! The same questions within larger bounds: tiers `full` and `deep`.

use synod_model::world::{
    ASIDE, MessageKind, MessageKinds, Replicas, Scenario, ScenarioSubmission, Witness,
};

use super::bounds::{end_session, in_session, open_session, request, two_values};
use super::{ScenarioRow, StateCount, Tier};

pub(super) const CRASHES_4: ScenarioRow = ScenarioRow {
    name: "crashes-4",
    shows: "two crashes, anybody's, under four numbers",
    tier: Tier::Full,
    states: StateCount::Counted(50_610_068),
    scenario: || Scenario {
        submissions: two_values(),
        crashes: 2,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::TwoCoordinate,
            Witness::FinishesAnothersValue,
            Witness::UnsyncedWriteLost,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 1, &[1, 2, 3, 4])
    },
};

pub(super) const CRASH_4: ScenarioRow = ScenarioRow {
    name: "crash-4",
    shows: "one crash, anybody's, under four numbers",
    tier: Tier::Full,
    states: StateCount::Counted(9_446_526),
    scenario: || Scenario {
        submissions: two_values(),
        crashes: 1,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::TwoCoordinate,
            Witness::FinishesAnothersValue,
            Witness::UnsyncedWriteLost,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 1, &[1, 2, 3, 4])
    },
};

pub(super) const GAPS_4: ScenarioRow = ScenarioRow {
    name: "gaps-4",
    shows: "two slots under four numbers",
    tier: Tier::Full,
    states: StateCount::Counted(26_727_247),
    scenario: || Scenario {
        submissions: two_values(),
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::TwoCoordinate,
            Witness::FinishesAnothersValue,
        ],
        ..Scenario::new(3, 2, &[1, 2, 3, 4])
    },
};

pub(super) const REJECTIONS_4: ScenarioRow = ScenarioRow {
    name: "rejections-4",
    shows: "rejections under four numbers",
    tier: Tier::Full,
    states: StateCount::Counted(2_387_770),
    scenario: || Scenario {
        submissions: two_values(),
        loses: ASIDE.without(MessageKinds::of(&[MessageKind::Reject])),
        reaches: vec![Witness::CommittedEverywhere, Witness::OrderRejected],
        ..Scenario::new(3, 1, &[1, 2, 3, 4])
    },
};

pub(super) const PIPELINE_ALL: ScenarioRow = ScenarioRow {
    name: "pipeline-all",
    shows: "three slots open at once when their coordinator fails, everybody hears everybody",
    tier: Tier::Full,
    states: StateCount::Counted(12_151_415),
    scenario: || Scenario {
        submissions: vec![request(1, &[1]), request(2, &[1]), request(3, &[2])],
        catch_up: Replicas::of(&[2]),
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::NoOpFillsGap,
            Witness::FinishesAnothersValue,
        ],
        ..Scenario::new(3, 3, &[1, 2])
    },
};

pub(super) const SESSIONS_ALL: ScenarioRow = ScenarioRow {
    name: "sessions-all",
    shows: "a session opened and ended, with a late copy in flight, everybody hears everybody",
    tier: Tier::Full,
    states: StateCount::Counted(995_366),
    scenario: || Scenario {
        submissions: vec![
            ScenarioSubmission { places: 2, ..open_session(&[1]) },
            ScenarioSubmission { places: 2, ..in_session(1, &[1, 2]) },
            end_session(&[2]),
        ],
        catch_up: Replicas::of(&[2]),
        reaches: vec![Witness::TwoCoordinate, Witness::LateCopyAfterSessionEnd],
        ..Scenario::new(3, 4, &[1, 2])
    },
};

pub(super) const CRASHES_DEEP: ScenarioRow = ScenarioRow {
    name: "crashes-deep",
    shows: "three crashes under five numbers",
    tier: Tier::Deep,
    states: StateCount::Estimated(2_000_000_000),
    scenario: || Scenario {
        submissions: two_values(),
        crashes: 3,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::UnsyncedWriteLost,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 1, &[1, 2, 3, 4, 5])
    },
};

pub(super) const GAPS_DEEP: ScenarioRow = ScenarioRow {
    name: "gaps-deep",
    shows: "two slots under four numbers, with a crash",
    tier: Tier::Deep,
    states: StateCount::Estimated(1_000_000_000),
    scenario: || Scenario {
        submissions: two_values(),
        crashes: 1,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::UnsyncedWriteLost,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 2, &[1, 2, 3, 4])
    },
};

pub(super) const FIVE: ScenarioRow = ScenarioRow {
    name: "five",
    shows: "five replicas, everybody hears everybody",
    tier: Tier::Deep,
    states: StateCount::Estimated(30_000_000),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[2])],
        reaches: vec![Witness::CommittedEverywhere, Witness::TwoCoordinate],
        ..Scenario::new(5, 1, &[5, 7])
    },
};

pub(super) const FIVE_DEEP: ScenarioRow = ScenarioRow {
    name: "five-deep",
    shows: "five replicas under three numbers",
    tier: Tier::Deep,
    states: StateCount::Estimated(2_000_000_000),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[2])],
        reaches: vec![Witness::CommittedEverywhere, Witness::TwoCoordinate],
        ..Scenario::new(5, 1, &[5, 6, 7])
    },
};
