//! One value for each slot, whatever is lost: rivals, crashes, gaps, catch-up.

use synod_model::Limits;
use synod_model::world::{
    ASIDE, MessageKind, MessageKinds, Replicas, Scenario, Witness, small_limits,
};

use super::bounds::{AROUND_0, five, request, two_values};
use super::{ScenarioRow, StateCount, Tier};

pub(super) const RIVALS: ScenarioRow = ScenarioRow {
    name: "rivals",
    shows: "two coordinators compete for one slot",
    tier: Tier::Quick,
    states: StateCount::Counted(772_608),
    scenario: || Scenario {
        submissions: two_values(),
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::TwoCoordinate,
            Witness::FinishesAnothersValue,
            Witness::CandidateLags,
        ],
        ..Scenario::new(3, 1, &[1, 2, 3, 4])
    },
};

pub(super) const CRASHES: ScenarioRow = ScenarioRow {
    name: "crashes",
    shows: "two crashes, unsynced writes lost",
    tier: Tier::Quick,
    states: StateCount::Counted(233_976),
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
        ..Scenario::new(3, 1, &[1, 3])
    },
};

pub(super) const REJECTIONS: ScenarioRow = ScenarioRow {
    name: "rejections",
    shows: "orders below the promise are rejected, and what that leads to",
    tier: Tier::Quick,
    states: StateCount::Counted(265_664),
    scenario: || Scenario {
        submissions: two_values(),
        loses: ASIDE.without(MessageKinds::of(&[MessageKind::Reject])),
        reaches: vec![Witness::CommittedEverywhere, Witness::OrderRejected],
        ..Scenario::new(3, 1, &[1, 2, 3])
    },
};

pub(super) const GAPS: ScenarioRow = ScenarioRow {
    name: "gaps",
    shows: "two slots, one of them left empty by a dead coordinator",
    tier: Tier::Quick,
    states: StateCount::Counted(1_264_807),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[0, 1])],
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::NoOpFillsGap,
            Witness::FinishesAnothersValue,
        ],
        ..Scenario::new(3, 2, &[3, 4])
    },
};

pub(super) const PIPELINE: ScenarioRow = ScenarioRow {
    name: "pipeline",
    shows: "three slots open at once when their coordinator fails",
    tier: Tier::Quick,
    states: StateCount::Counted(72_075),
    scenario: || Scenario {
        submissions: vec![request(1, &[1]), request(2, &[1]), request(3, &[2])],
        hears: AROUND_0,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::NoOpFillsGap,
            Witness::FinishesAnothersValue,
        ],
        ..Scenario::new(3, 3, &[1, 2])
    },
};

pub(super) const RANGES: ScenarioRow = ScenarioRow {
    name: "ranges",
    shows: "ranges of two slots, any number of writes synced at once",
    tier: Tier::Quick,
    states: StateCount::Counted(107_036),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[0])],
        submit_anywhere: true,
        sync_any: true,
        catch_up: Replicas::NONE,
        limits: Limits { frame_entries_max: 2, ..small_limits() },
        reaches: vec![Witness::CommittedEverywhere, Witness::FinishesAnothersValue],
        ..Scenario::new(3, 2, &[3, 4])
    },
};

pub(super) const CANDIDATE: ScenarioRow = ScenarioRow {
    name: "candidate",
    shows: "a candidate that must catch up, or learns of a commit while it collects",
    tier: Tier::Quick,
    states: StateCount::Counted(529_476),
    scenario: || Scenario {
        submissions: vec![request(1, &[1]), request(2, &[0])],
        crashes: 1,
        may_crash: Replicas::of(&[0]),
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::CandidateLags,
            Witness::UnsyncedWriteLost,
        ],
        ..Scenario::new(3, 2, &[1, 3])
    },
};

pub(super) const CATCH_UP: ScenarioRow = ScenarioRow {
    name: "catch-up",
    shows: "a lagging follower catches up and crashes",
    tier: Tier::Quick,
    states: StateCount::Counted(91_998),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[0])],
        crashes: 1,
        may_crash: Replicas::of(&[2]),
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::UnsyncedWriteLost,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 2, &[3])
    },
};

pub(super) const TAIL: ScenarioRow = ScenarioRow {
    name: "tail",
    shows: "what is older than the tail is served from the disk",
    tier: Tier::Quick,
    states: StateCount::Counted(199_111),
    scenario: || Scenario {
        submissions: vec![request(1, &[1]), request(2, &[1])],
        limits: Limits { open_slots_max: 1, accepted_slots_max: 1, ..small_limits() },
        reaches: vec![Witness::CommittedEverywhere, Witness::LagsBehindTail],
        ..Scenario::new(3, 2, &[1, 2])
    },
};

pub(super) const TAIL_BYTES: ScenarioRow = ScenarioRow {
    name: "tail-bytes",
    shows: "room for the bytes of one entry: acceptors are full, tails are short",
    tier: Tier::Quick,
    states: StateCount::Counted(389_143),
    scenario: || Scenario {
        submissions: vec![request(1, &[1]), request(2, &[1])],
        limits: Limits { value_bytes_max: 1, accepted_bytes_max: 33, ..small_limits() },
        reaches: vec![Witness::CommittedEverywhere, Witness::LagsBehindTail],
        ..Scenario::new(3, 2, &[1, 2])
    },
};

pub(super) const ROOM: ScenarioRow = ScenarioRow {
    name: "room",
    shows: "a follower says how far it has room, and accepts beyond are held back from it",
    tier: Tier::Quick,
    states: StateCount::Counted(348_826),
    scenario: || Scenario {
        submissions: vec![request(1, &[1]), request(2, &[1])],
        limits: Limits { open_slots_max: 1, accepted_slots_max: 1, ..small_limits() },
        loses: ASIDE.without(MessageKinds::of(&[MessageKind::Room])),
        resend: true,
        reaches: vec![Witness::CommittedEverywhere, Witness::AcceptHeldBack],
        ..Scenario::new(3, 2, &[1])
    },
};

pub(super) const OVERTAKEN: ScenarioRow = ScenarioRow {
    name: "overtaken",
    shows: "five replicas: an old coordinator with an open slot hears of another's commit",
    tier: Tier::Quick,
    states: StateCount::Counted(2_360),
    scenario: || five(Replicas::of(&[1]), Replicas::NONE),
};

pub(super) const OVERWRITTEN: ScenarioRow = ScenarioRow {
    name: "overwritten",
    shows: "five replicas: an old accept reaches one that has caught up, and crashes",
    tier: Tier::Quick,
    states: StateCount::Counted(6_632),
    scenario: || five(Replicas::of(&[0, 1]), Replicas::of(&[0])),
};
