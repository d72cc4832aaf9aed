//! Members that come and go: changes of the configuration, with crashes.

use synod_model::world::{
    ASIDE, MessageKind, MessageKinds, Replicas, Scenario, ScenarioSubmission, Witness,
};

use super::bounds::{AROUND_0, NONE, READ_MESSAGES, request, short_tail};
use super::{ScenarioRow, StateCount, Tier};

/// Three members, and replicas that are none yet.
fn three_of(replicas: usize, slots: usize, numbers: &[u64]) -> Scenario {
    Scenario { members: Replicas::of(&[0, 1, 2]), ..Scenario::new(replicas, slots, numbers) }
}

/// A change of the first configuration to these voters, submitted at `at`.
fn change(bounds: &Scenario, number: u64, voters: &[u16], at: u16) -> ScenarioSubmission {
    bounds.change(number, voters, Replicas::of(&[at]))
}

pub(super) const GROW: ScenarioRow = ScenarioRow {
    name: "grow",
    shows: "one member becomes three; the new ones have nothing, and all may crash",
    tier: Tier::Quick,
    states: StateCount::Counted(199_855),
    scenario: || {
        let bounds = Scenario { members: Replicas::of(&[0]), ..Scenario::new(3, 2, &[3]) };
        Scenario {
            submissions: vec![change(&bounds, 1, &[0, 1, 2], 0), request(2, &[0])],
            crashes: 1,
            reaches: vec![
                Witness::CommittedEverywhere,
                Witness::ChangeFinished,
                Witness::NewMemberLearns,
                Witness::AllCrashesHappened,
            ],
            ..bounds
        }
    },
};

pub(super) const SHRINK: ScenarioRow = ScenarioRow {
    name: "shrink",
    shows: "three members become one, which is not the coordinator",
    tier: Tier::Quick,
    states: StateCount::Counted(11_151),
    scenario: || {
        let bounds = three_of(3, 1, &[3, 4]);
        Scenario {
            submissions: vec![change(&bounds, 1, &[1], 0), request(2, &[0, 1])],
            reaches: vec![
                Witness::ChangeFinished,
                Witness::FinishesAnothersValue,
                Witness::CoordinatorRemoved,
                Witness::RemovedDoesNotKnow,
                Witness::TwoConfigurationsElect,
            ],
            ..bounds
        }
    },
};

pub(super) const TWO_CHANGES: ScenarioRow = ScenarioRow {
    name: "two-changes",
    shows: "two changes compete, and their coordinators remove one another",
    tier: Tier::Quick,
    states: StateCount::Counted(50_682),
    scenario: || {
        let bounds = three_of(3, 2, &[3, 4]);
        let changes = vec![change(&bounds, 1, &[0, 1], 0), change(&bounds, 2, &[1, 2], 1)];
        Scenario {
            submissions: changes,
            reaches: vec![
                Witness::TwoCoordinate,
                Witness::ChangeFinished,
                Witness::ChangeRefused,
                Witness::RemovedDoesNotKnow,
            ],
            ..bounds
        }
    },
};

pub(super) const REPLACE: ScenarioRow = ScenarioRow {
    name: "replace",
    shows: "one of three members is replaced by a new replica, which has nothing",
    tier: Tier::Quick,
    states: StateCount::Counted(21_319),
    scenario: || {
        let bounds = three_of(4, 1, &[4]);
        Scenario {
            submissions: vec![change(&bounds, 1, &[0, 1, 3], 0), request(2, &[0])],
            reaches: vec![
                Witness::ChangeFinished,
                Witness::RemovedDoesNotKnow,
                Witness::NewMemberLearns,
            ],
            ..bounds
        }
    },
};

pub(super) const MOVE: ScenarioRow = ScenarioRow {
    name: "move",
    shows: "a cluster moves to other replicas altogether, and all may crash",
    tier: Tier::Quick,
    states: StateCount::Counted(1_831),
    scenario: || {
        let bounds = Scenario { members: Replicas::of(&[0]), ..Scenario::new(3, 2, &[1, 3]) };
        Scenario {
            submissions: vec![change(&bounds, 1, &[1, 2], 0), request(2, &[0, 1])],
            crashes: 1,
            reaches: vec![
                Witness::CommittedEverywhere,
                Witness::ChangeFinished,
                Witness::CoordinatorRemoved,
                Witness::NewMemberLearns,
                Witness::AllCrashesHappened,
            ],
            ..bounds
        }
    },
};

pub(super) const LEARNER: ScenarioRow = ScenarioRow {
    name: "learner",
    shows: "a learner receives everything, counts for nothing, and is promoted",
    tier: Tier::Quick,
    states: StateCount::Counted(31_305),
    scenario: || {
        let bounds = Scenario {
            members: Replicas::of(&[0, 1]),
            learners: Replicas::of(&[1]),
            ..Scenario::new(2, 2, &[2, 3])
        };
        Scenario {
            submissions: vec![change(&bounds, 1, &[0, 1], 0), request(2, &[0, 1])],
            crashes: 2,
            reaches: vec![
                Witness::CommittedEverywhere,
                Witness::ChangeFinished,
                Witness::AllCrashesHappened,
            ],
            ..bounds
        }
    },
};

pub(super) const CHANGE_IN_SNAPSHOT: ScenarioRow = ScenarioRow {
    name: "change-in-snapshot",
    shows: "a new member gets the change that makes it one in a snapshot, and crashes",
    tier: Tier::Quick,
    states: StateCount::Counted(2_953),
    scenario: || {
        let bounds = Scenario { members: Replicas::of(&[0, 1]), ..Scenario::new(3, 2, &[3]) };
        Scenario {
            submissions: vec![change(&bounds, 1, &[0, 2], 0), request(2, &[0])],
            limits: short_tail(),
            snapshots: 1,
            may_snapshot: Replicas::of(&[0]),
            may_install: Replicas::of(&[1, 2]),
            catch_up: Replicas::of(&[1]),
            crashes: 1,
            may_crash: Replicas::of(&[2]),
            reaches: vec![
                Witness::ChangeFinished,
                Witness::NewMemberLearns,
                Witness::SnapshotInstalled,
                Witness::InstalledNotDurable,
                Witness::AllCrashesHappened,
            ],
            ..bounds
        }
    },
};

pub(super) const READ_AND_CHANGE: ScenarioRow = ScenarioRow {
    name: "read-and-change",
    shows: "a read at a coordinator that others remove, while they commit more",
    tier: Tier::Quick,
    states: StateCount::Counted(26_889),
    scenario: || {
        let bounds = three_of(3, 1, &[3, 4]);
        Scenario {
            submissions: vec![change(&bounds, 1, &[1], 1)],
            reads: vec![Replicas::of(&[0])],
            loses: ASIDE.without(READ_MESSAGES),
            liveness: false,
            reaches: vec![
                Witness::TwoCoordinate,
                Witness::ReadConfirmed,
                Witness::ChangeFinished,
                Witness::RemovedDoesNotKnow,
            ],
            ..bounds
        }
    },
};

pub(super) const THREE_TO_FIVE: ScenarioRow = ScenarioRow {
    name: "three-to-five",
    shows: "three members become five, and a majority of the new ones needs a new one",
    tier: Tier::Quick,
    states: StateCount::Counted(791_552),
    scenario: || {
        let bounds = three_of(5, 1, &[5]);
        Scenario {
            submissions: vec![change(&bounds, 1, &[0, 1, 2, 3, 4], 0)],
            hears: AROUND_0,
            reaches: vec![Witness::ChangeFinished, Witness::NewMemberLearns],
            ..bounds
        }
    },
};

pub(super) const FIVE_TO_THREE: ScenarioRow = ScenarioRow {
    name: "five-to-three",
    shows: "five members become three, without the coordinator",
    tier: Tier::Quick,
    states: StateCount::Counted(8_255),
    scenario: || {
        let bounds = Scenario::new(5, 1, &[5, 6]);
        Scenario {
            submissions: vec![change(&bounds, 1, &[1, 2, 3], 0)],
            hears: [
                Replicas::of(&[1, 2, 4]),
                Replicas::of(&[0, 2]),
                Replicas::of(&[0, 1]),
                NONE,
                Replicas::of(&[0]),
            ],
            catch_up: Replicas::of(&[0, 1, 2]),
            reaches: vec![
                Witness::ChangeFinished,
                Witness::CoordinatorRemoved,
                Witness::RemovedDoesNotKnow,
            ],
            ..bounds
        }
    },
};

pub(super) const STALE_ACCEPT: ScenarioRow = ScenarioRow {
    name: "stale-accept",
    shows: "a learner holds an entry under a high number, above the change that makes it a voter",
    tier: Tier::Quick,
    states: StateCount::Counted(896_907),
    scenario: || {
        let bounds = Scenario {
            members: Replicas::of(&[0, 1]),
            learners: Replicas::of(&[1]),
            ..Scenario::new(4, 2, &[3, 4, 5, 8])
        };
        let change = change(&bounds, 1, &[1, 2, 3], 0);
        Scenario {
            submissions: vec![change, request(2, &[0]), request(3, &[0]), request(4, &[3])],
            crashes: 1,
            may_crash: Replicas::of(&[0]),
            hears: [NONE, Replicas::of(&[0, 2]), Replicas::of(&[1, 3]), Replicas::of(&[2]), NONE],
            catch_up: Replicas::of(&[1, 2, 3]),
            loses: ASIDE.and(MessageKinds::of(&[MessageKind::Commit])),
            liveness: false,
            reaches: vec![Witness::ChangeFinished, Witness::AcceptedAboveChange],
            ..bounds
        }
    },
};

pub(super) const NOT_READY: ScenarioRow = ScenarioRow {
    name: "not-ready",
    shows: "changes to a replica that never answers, and to one with another directory, are not opened",
    tier: Tier::Quick,
    states: StateCount::Counted(1_120),
    scenario: || {
        let bounds = Scenario { members: Replicas::of(&[0, 1]), ..Scenario::new(4, 1, &[4]) };
        Scenario {
            submissions: vec![
                change(&bounds, 1, &[0, 2], 0),
                change(&bounds, 2, &[0, 3], 0),
                request(3, &[0]),
            ],
            readiness: true,
            other_directories: Replicas::of(&[3]),
            resend: true,
            hears: [Replicas::of(&[1, 3]), Replicas::of(&[0]), NONE, Replicas::of(&[0]), NONE],
            loses: ASIDE.without(MessageKinds::of(&[MessageKind::NotReady])),
            liveness: false,
            reaches: vec![Witness::ChangeNotOpened],
            ..bounds
        }
    },
};

pub(super) const PROMOTION: ScenarioRow = ScenarioRow {
    name: "promotion",
    shows: "a learner is promoted only when it has nearly everything, and has said so",
    tier: Tier::Quick,
    states: StateCount::Counted(134_273),
    scenario: || {
        let bounds = Scenario {
            members: Replicas::of(&[0, 1]),
            learners: Replicas::of(&[1]),
            ..Scenario::new(2, 3, &[2])
        };
        Scenario {
            submissions: vec![request(1, &[0]), request(2, &[0]), change(&bounds, 3, &[0, 1], 0)],
            limits: short_tail(),
            readiness: true,
            resend: true,
            reaches: vec![Witness::CommittedEverywhere, Witness::ChangeFinished],
            ..bounds
        }
    },
};

pub(super) const SILENT_LEARNER: ScenarioRow = ScenarioRow {
    name: "silent-learner",
    shows: "a learner that never answers is not promoted, though a majority is ready without it",
    tier: Tier::Quick,
    states: StateCount::Counted(314),
    scenario: || {
        let bounds = Scenario { learners: Replicas::of(&[2]), ..Scenario::new(3, 1, &[3]) };
        Scenario {
            submissions: vec![change(&bounds, 1, &[0, 1, 2], 0), request(2, &[0])],
            readiness: true,
            resend: true,
            hears: [Replicas::of(&[1]), Replicas::of(&[0]), NONE, NONE, NONE],
            loses: ASIDE.without(MessageKinds::of(&[MessageKind::NotReady])),
            reaches: vec![Witness::ChangeNotOpened],
            ..bounds
        }
    },
};

pub(super) const OTHER_DIRECTORY: ScenarioRow = ScenarioRow {
    name: "other-directory",
    shows: "a directory that was made under an id for which another one is registered takes no part",
    tier: Tier::Quick,
    states: StateCount::Counted(805),
    scenario: || {
        let bounds = Scenario { members: Replicas::of(&[0]), ..Scenario::new(3, 2, &[3]) };
        Scenario {
            submissions: vec![change(&bounds, 1, &[0, 1, 2], 0), request(2, &[0])],
            readiness: true,
            other_directories: Replicas::of(&[2]),
            liveness: false,
            reaches: vec![
                Witness::ChangeFinished,
                Witness::NewMemberLearns,
                Witness::OtherDirectoryStops,
            ],
            ..bounds
        }
    },
};
