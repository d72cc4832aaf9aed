//! A log that is cut: snapshots taken, offered and installed, with crashes between any two writes.

use synod_model::Limits;
use synod_model::world::{ASIDE, Replicas, Scenario, ScenarioSubmission, Witness, small_limits};

use super::bounds::{
    AROUND_0, AROUND_2, NONE, READ_MESSAGES, five, request, short_tail, two_values,
};
use super::{ScenarioRow, StateCount, Tier};

pub(super) const CUT_LOG: ScenarioRow = ScenarioRow {
    name: "cut-log",
    shows: "a follower behind a cut log gets the snapshot, and crashes",
    tier: Tier::Quick,
    states: StateCount::Counted(77_412),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[0])],
        limits: short_tail(),
        snapshots: 1,
        may_snapshot: Replicas::of(&[0]),
        may_install: Replicas::of(&[2]),
        catch_up: NONE,
        crashes: 1,
        may_crash: Replicas::of(&[2]),
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::BehindCutLog,
            Witness::SnapshotInstalled,
            Witness::InstalledNotDurable,
            Witness::UnsyncedWriteLost,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 2, &[3])
    },
};

pub(super) const CUT_CANDIDATE: ScenarioRow = ScenarioRow {
    name: "cut-candidate",
    shows: "a candidate behind a cut log gets the snapshot before it coordinates",
    tier: Tier::Quick,
    states: StateCount::Counted(473_802),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[0, 1])],
        limits: short_tail(),
        snapshots: 1,
        may_install: Replicas::of(&[1]),
        catch_up: NONE,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::TwoCoordinate,
            Witness::CandidateBehindCutLog,
            Witness::SnapshotInstalled,
        ],
        ..Scenario::new(3, 2, &[3, 4])
    },
};

pub(super) const TWO_SNAPSHOTS: ScenarioRow = ScenarioRow {
    name: "two-snapshots",
    shows: "two snapshots of different age, in any order, and a crash",
    tier: Tier::Quick,
    states: StateCount::Counted(782_467),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[0])],
        snapshots: 2,
        may_snapshot: Replicas::of(&[0]),
        may_install: Replicas::of(&[2]),
        catch_up: NONE,
        crashes: 1,
        may_crash: Replicas::of(&[0, 2]),
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::TwoSnapshots,
            Witness::SnapshotInstalled,
            Witness::InstalledNotDurable,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 2, &[3])
    },
};

pub(super) const LATE_ACCEPT: ScenarioRow = ScenarioRow {
    name: "late-accept",
    shows: "an accept of an old coordinator comes late, below an installed snapshot",
    tier: Tier::Quick,
    states: StateCount::Counted(23_857),
    scenario: || Scenario {
        submissions: two_values(),
        snapshots: 1,
        may_snapshot: Replicas::of(&[0]),
        may_install: Replicas::of(&[1, 2]),
        catch_up: NONE,
        crashes: 1,
        may_crash: Replicas::of(&[2]),
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::TwoCoordinate,
            Witness::SnapshotInstalled,
            Witness::LateAcceptBelowSnapshot,
        ],
        ..Scenario::new(3, 1, &[1, 3])
    },
};

pub(super) const INSTALLING: ScenarioRow = ScenarioRow {
    name: "installing",
    shows: "crashes at every step of an installation, below an accepted entry",
    tier: Tier::Quick,
    states: StateCount::Counted(208_776),
    scenario: || Scenario {
        submissions: vec![request(1, &[1]), request(2, &[1]), request(3, &[0])],
        snapshots: 1,
        may_snapshot: Replicas::of(&[1]),
        may_install: Replicas::of(&[0, 2]),
        catch_up: NONE,
        crashes: 2,
        may_crash: Replicas::of(&[2]),
        hears: AROUND_2,
        reaches: vec![
            Witness::SnapshotInstalled,
            Witness::InstalledNotDurable,
            Witness::FinishesAnothersValue,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 2, &[1, 3])
    },
};

pub(super) const SNAPSHOT_RETRY: ScenarioRow = ScenarioRow {
    name: "snapshot-retry",
    shows: "a request is retried where a snapshot that has it is installed",
    tier: Tier::Quick,
    states: StateCount::Counted(294_942),
    scenario: || Scenario {
        submissions: vec![
            ScenarioSubmission { places: 2, ..request(1, &[0, 2]) },
            request(2, &[2]),
        ],
        submit_anywhere: true,
        snapshots: 1,
        may_snapshot: Replicas::of(&[0]),
        may_install: Replicas::of(&[2]),
        catch_up: NONE,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::TwoCoordinate,
            Witness::SnapshotInstalled,
        ],
        ..Scenario::new(3, 2, &[3, 5])
    },
};

pub(super) const SNAPSHOT_READ: ScenarioRow = ScenarioRow {
    name: "snapshot-read",
    shows: "a read waits for slots that come as a snapshot",
    tier: Tier::Quick,
    states: StateCount::Counted(53_562),
    scenario: || Scenario {
        submissions: vec![request(1, &[0])],
        reads: vec![Replicas::of(&[2])],
        loses: ASIDE.without(READ_MESSAGES),
        snapshots: 1,
        may_snapshot: Replicas::of(&[0]),
        may_install: Replicas::of(&[2]),
        catch_up: NONE,
        hears: AROUND_0,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::ReadConfirmed,
            Witness::ReadWaitsForSnapshot,
            Witness::SnapshotInstalled,
        ],
        ..Scenario::new(3, 1, &[3])
    },
};

pub(super) const CUT_AND_CRASHED: ScenarioRow = ScenarioRow {
    name: "cut-and-crashed",
    shows: "replicas crash while they cut their logs, and start again from their snapshots",
    tier: Tier::Quick,
    states: StateCount::Counted(771_587),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[1])],
        snapshots: 1,
        may_snapshot: Replicas::of(&[0, 1]),
        may_install: NONE,
        crashes: 2,
        may_crash: Replicas::of(&[0, 1]),
        hears: AROUND_0,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::UnsyncedWriteLost,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 2, &[3, 4])
    },
};

pub(super) const SNAPSHOT_OVERTAKES: ScenarioRow = ScenarioRow {
    name: "snapshot-overtakes",
    shows: "five replicas: an old coordinator with an open slot gets a snapshot of another's commit",
    tier: Tier::Quick,
    states: StateCount::Counted(3_238),
    scenario: || {
        let scenario = five(NONE, NONE);
        Scenario {
            snapshots: 1,
            may_snapshot: Replicas::of(&[2]),
            may_install: Replicas::of(&[1]),
            reaches: vec![Witness::TwoCoordinate, Witness::SnapshotInstalled],
            ..scenario
        }
    },
};

pub(super) const ABOVE_SNAPSHOT: ScenarioRow = ScenarioRow {
    name: "above-snapshot",
    shows: "more is committed above an installed snapshot than the tail has room for",
    tier: Tier::Quick,
    states: StateCount::Counted(161_272),
    scenario: || Scenario {
        submissions: vec![
            request(1, &[0]),
            ScenarioSubmission { after: Some(0), ..request(2, &[0]) },
            ScenarioSubmission { after: Some(1), ..request(3, &[0]) },
        ],
        limits: Limits { value_bytes_max: 1, accepted_bytes_max: 33, ..small_limits() },
        snapshots: 1,
        may_snapshot: Replicas::of(&[0]),
        may_install: Replicas::of(&[2]),
        catch_up: NONE,
        hears: [Replicas::of(&[1]), Replicas::of(&[0]), Replicas::of(&[0]), NONE, NONE],
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::SnapshotInstalled,
            Witness::InstalledNotDurable,
        ],
        ..Scenario::new(3, 3, &[3])
    },
};
