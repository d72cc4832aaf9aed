//! How a cluster forms, and what becomes of a replica whose data directory is lost.

use synod_model::world::{Replicas, Scenario, Witness};

use super::bounds::two_values;
use super::{ScenarioRow, StateCount, Tier};

pub(super) const FORMING: ScenarioRow = ScenarioRow {
    name: "forming",
    shows: "a data directory is lost, and replicas restart, while a cluster forms",
    tier: Tier::Quick,
    states: StateCount::Counted(134_470),
    scenario: || Scenario {
        forming: true,
        losses: 1,
        crashes: 2,
        reaches: vec![
            Witness::FormsWithRemadeDirectory,
            Witness::DirectoryLostWhileForming,
            Witness::DirectoryLostAfterForming,
            Witness::RemadeDirectoryRefused,
        ],
        ..Scenario::new(3, 1, &[])
    },
};

pub(super) const FORMING_LOSSES: ScenarioRow = ScenarioRow {
    name: "forming-losses",
    shows: "two data directories are lost while a cluster forms",
    tier: Tier::Quick,
    states: StateCount::Counted(210_247),
    scenario: || Scenario {
        forming: true,
        losses: 2,
        reaches: vec![
            Witness::FormsWithRemadeDirectory,
            Witness::DirectoryLostWhileForming,
            Witness::DirectoryLostAfterForming,
            Witness::RemadeDirectoryRefused,
        ],
        ..Scenario::new(3, 1, &[])
    },
};

pub(super) const LOST_DIRECTORY: ScenarioRow = ScenarioRow {
    name: "lost-directory",
    shows: "a data directory is lost before, while or after its cluster forms, and made anew",
    tier: Tier::Quick,
    states: StateCount::Counted(140_651),
    scenario: || Scenario {
        submissions: two_values(),
        forming: true,
        losses: 1,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::TwoCoordinate,
            Witness::FinishesAnothersValue,
            Witness::FormsWithRemadeDirectory,
            Witness::DirectoryLostWhileForming,
            Witness::DirectoryLostAfterForming,
            Witness::RemadeDirectoryRefused,
        ],
        ..Scenario::new(3, 1, &[1, 3])
    },
};

pub(super) const LOST_AND_CRASHED: ScenarioRow = ScenarioRow {
    name: "lost-and-crashed",
    shows: "a replica loses its data directory, and it or its successor crashes",
    tier: Tier::Quick,
    states: StateCount::Counted(146_856),
    scenario: || Scenario {
        submissions: two_values(),
        forming: true,
        losses: 1,
        may_lose: Replicas::of(&[2]),
        crashes: 1,
        may_crash: Replicas::of(&[2]),
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::UnsyncedWriteLost,
            Witness::AllCrashesHappened,
            Witness::DirectoryLostAfterForming,
            Witness::RemadeDirectoryRefused,
        ],
        ..Scenario::new(3, 1, &[1, 3])
    },
};

pub(super) const LOST_DIRECTORIES: ScenarioRow = ScenarioRow {
    name: "lost-directories",
    shows: "two data directories are lost, of one replica or of two",
    tier: Tier::Full,
    states: StateCount::Counted(2_465_939),
    scenario: || Scenario {
        submissions: two_values(),
        forming: true,
        losses: 2,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::TwoCoordinate,
            Witness::DirectoryLostAfterForming,
            Witness::RemadeDirectoryRefused,
        ],
        ..Scenario::new(3, 1, &[1, 3])
    },
};
