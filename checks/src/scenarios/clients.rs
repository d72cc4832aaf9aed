//! What clients see: each request once, in order, through retries, sessions and restarts.

use synod_model::Limits;
use synod_model::world::{
    ASIDE, MessageKind, MessageKinds, Replicas, Scenario, ScenarioSubmission, Witness, small_limits,
};

use super::bounds::{
    AROUND_0, NONE, end_opened, end_session, giving_up, in_session, open_session, request,
    two_values,
};
use super::{ScenarioRow, StateCount, Tier};

pub(super) const APPLICATION: ScenarioRow = ScenarioRow {
    name: "application",
    shows: "an application that keeps what it has over a crash",
    tier: Tier::Quick,
    states: StateCount::Counted(53_180),
    scenario: || Scenario {
        submissions: two_values(),
        crashes: 1,
        durable_application: true,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::UnsyncedWriteLost,
            Witness::AllCrashesHappened,
        ],
        ..Scenario::new(3, 1, &[3, 4])
    },
};

pub(super) const RETRY: ScenarioRow = ScenarioRow {
    name: "retry",
    shows: "a request retried at another replica",
    tier: Tier::Quick,
    states: StateCount::Counted(613_897),
    scenario: || Scenario {
        submissions: vec![
            ScenarioSubmission { places: 2, ..request(1, &[1, 2]) },
            request(2, &[2]),
        ],
        hears: AROUND_0,
        reaches: vec![Witness::RequestInLogTwice, Witness::TwoCoordinate],
        ..Scenario::new(3, 2, &[1, 2, 3])
    },
};

pub(super) const FORWARDING: ScenarioRow = ScenarioRow {
    name: "forwarding",
    shows: "submissions at a follower, forwarded and repeated",
    tier: Tier::Quick,
    states: StateCount::Counted(43_621),
    scenario: || Scenario {
        submissions: vec![ScenarioSubmission { places: 2, ..request(1, &[1, 2]) }],
        submit_anywhere: true,
        resend: true,
        rounds: 1,
        loses: ASIDE.without(MessageKinds::of(&[MessageKind::Submit])),
        reaches: vec![Witness::TwoCoordinate, Witness::SubmissionForwarded],
        ..Scenario::new(3, 2, &[3, 4])
    },
};

pub(super) const FULL_QUEUE: ScenarioRow = ScenarioRow {
    name: "full-queue",
    shows: "a coordinator has no room for what is forwarded, and says when it has",
    tier: Tier::Quick,
    states: StateCount::Counted(19_755),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), request(2, &[1]), request(3, &[1])],
        submit_anywhere: true,
        limits: Limits { open_slots_max: 1, queued_submissions_max: 1, ..small_limits() },
        hears: [Replicas::of(&[1]), Replicas::of(&[0]), NONE, NONE, NONE],
        catch_up: Replicas::NONE,
        loses: ASIDE.without(MessageKinds::of(&[
            MessageKind::Submit,
            MessageKind::NotTaken,
            MessageKind::Forward,
        ])),
        reaches: vec![Witness::SubmissionNotTaken],
        ..Scenario::new(3, 3, &[3, 4])
    },
};

pub(super) const OVERTAKING: ScenarioRow = ScenarioRow {
    name: "overtaking",
    shows: "two requests of one session that overtake each other",
    tier: Tier::Quick,
    states: StateCount::Counted(308_017),
    scenario: || Scenario {
        submissions: vec![
            ScenarioSubmission { places: 2, ..request(1, &[0, 1]) },
            request(2, &[1]),
        ],
        reaches: vec![Witness::RequestOvertakes, Witness::CommittedEverywhere],
        ..Scenario::new(3, 2, &[3, 4])
    },
};

pub(super) const SESSIONS: ScenarioRow = ScenarioRow {
    name: "sessions",
    shows: "a session opened and ended, with a late copy in flight",
    tier: Tier::Quick,
    states: StateCount::Counted(4_758),
    scenario: || Scenario {
        submissions: vec![
            ScenarioSubmission { places: 2, ..open_session(&[1]) },
            ScenarioSubmission { places: 2, ..in_session(1, &[1, 2]) },
            end_session(&[2]),
        ],
        hears: AROUND_0,
        reaches: vec![Witness::TwoCoordinate, Witness::LateCopyAfterSessionEnd],
        ..Scenario::new(3, 4, &[1, 2])
    },
};

pub(super) const GIVEN_UP: ScenarioRow = ScenarioRow {
    name: "given-up",
    shows: "a request that its client gives up, and one too far ahead of what it has given up",
    tier: Tier::Quick,
    states: StateCount::Counted(93_556),
    scenario: || Scenario {
        submissions: vec![request(1, &[0]), giving_up(request(5, &[0])), request(6, &[0])],
        hears: AROUND_0,
        reaches: vec![
            Witness::CommittedEverywhere,
            Witness::RequestOvertakes,
            Witness::RequestGivenUp,
        ],
        ..Scenario::new(3, 2, &[3])
    },
};

pub(super) const RESTART_IN_SESSION: ScenarioRow = ScenarioRow {
    name: "restart-in-session",
    shows: "a session outlives the restart of a replica whose application keeps what it has",
    tier: Tier::Quick,
    states: StateCount::Counted(13_745),
    scenario: || Scenario {
        submissions: vec![open_session(&[0]), in_session(1, &[0])],
        crashes: 1,
        may_crash: Replicas::of(&[1]),
        durable_application: true,
        hears: AROUND_0,
        reaches: vec![Witness::CommittedEverywhere, Witness::AllCrashesHappened],
        ..Scenario::new(3, 2, &[3])
    },
};

pub(super) const LATE_SUBMISSIONS: ScenarioRow = ScenarioRow {
    name: "late-submissions",
    shows: "forwarded copies come late, when what they submit is done and its session has ended",
    tier: Tier::Quick,
    states: StateCount::Counted(6_066),
    scenario: || Scenario {
        submissions: vec![open_session(&[1]), end_opened(&[0])],
        submit_anywhere: true,
        hears: AROUND_0,
        catch_up: Replicas::NONE,
        keeps_dead: true,
        loses: ASIDE
            .without(MessageKinds::of(&[MessageKind::Submit]))
            .and(MessageKinds::of(&[MessageKind::Commit])),
        reaches: vec![Witness::SubmissionForwarded, Witness::DeadMessageInFlight],
        ..Scenario::new(3, 3, &[3])
    },
};
