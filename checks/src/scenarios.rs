//! The table of scenarios: what each one shows, its bounds, and its number of states.
//!
//! A scenario is data. What one scenario leaves out to stay small, another one has. The number of
//! unique states is a measurement. If it changes, the protocol or a reduction has changed; so a run
//! that counts another number fails.

mod bounds;

use synod_model::Limits;
use synod_model::world::{
    ASIDE, MessageKind, MessageKinds, Replicas, Scenario, ScenarioSubmission, Witness, small_limits,
};

use bounds::{
    AROUND_0, AROUND_1, CANVASS, NONE, READS, ROUNDS, end_opened, end_session, five, giving_up,
    in_session, open_session, request, two_values,
};

/// When a scenario is run, by how long it takes. The tiers do not include one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// All of these take a minute on two cores: run them at every change.
    Quick,
    /// All of these take about twenty minutes on two cores.
    Full,
    /// These take a big machine.
    Deep,
}

/// How many unique states a scenario has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateCount {
    /// Counted by a search that emptied its frontier.
    Counted(u64),
    /// Never counted; an estimate.
    Estimated(u64),
}

/// A row of the table.
#[derive(Debug)]
pub struct ScenarioRow {
    /// The name of the scenario, for the command line.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub shows: &'static str,
    /// When it is run.
    pub tier: Tier,
    /// The number of unique states.
    pub states: StateCount,
    /// Makes the scenario.
    pub scenario: fn() -> Scenario,
}

/// The scenario called `name`.
pub fn find(name: &str) -> Option<&'static ScenarioRow> {
    TABLE.iter().find(|row| row.name == name)
}

/// Every scenario, in the order in which they are run.
pub const TABLE: &[ScenarioRow] = &[
    ScenarioRow {
        name: "rivals",
        shows: "two coordinators compete for one slot",
        tier: Tier::Quick,
        states: StateCount::Counted(911_864),
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
    },
    ScenarioRow {
        name: "crashes",
        shows: "two crashes, unsynced writes lost",
        tier: Tier::Quick,
        states: StateCount::Counted(284_413),
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
    },
    ScenarioRow {
        name: "rejections",
        shows: "orders below the promise are rejected, and what that leads to",
        tier: Tier::Quick,
        states: StateCount::Counted(311_385),
        scenario: || Scenario {
            submissions: two_values(),
            loses: ASIDE.without(MessageKinds::of(&[MessageKind::Reject])),
            reaches: vec![Witness::CommittedEverywhere, Witness::OrderRejected],
            ..Scenario::new(3, 1, &[1, 2, 3])
        },
    },
    ScenarioRow {
        name: "gaps",
        shows: "two slots, one of them left empty by a dead coordinator",
        tier: Tier::Quick,
        states: StateCount::Counted(1_476_446),
        scenario: || Scenario {
            submissions: vec![request(1, &[0]), request(2, &[0, 1])],
            reaches: vec![
                Witness::CommittedEverywhere,
                Witness::NoOpFillsGap,
                Witness::FinishesAnothersValue,
            ],
            ..Scenario::new(3, 2, &[3, 4])
        },
    },
    ScenarioRow {
        name: "pipeline",
        shows: "three slots open at once when their coordinator fails",
        tier: Tier::Quick,
        states: StateCount::Counted(72_141),
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
    },
    ScenarioRow {
        name: "ranges",
        shows: "ranges of two slots, any number of writes synced at once",
        tier: Tier::Quick,
        states: StateCount::Counted(129_148),
        scenario: || Scenario {
            submissions: vec![request(1, &[0]), request(2, &[0])],
            submit_anywhere: true,
            sync_any: true,
            catch_up: Replicas::NONE,
            limits: Limits { frame_entries_max: 2, ..small_limits() },
            reaches: vec![Witness::CommittedEverywhere, Witness::FinishesAnothersValue],
            ..Scenario::new(3, 2, &[3, 4])
        },
    },
    ScenarioRow {
        name: "candidate",
        shows: "a candidate that must catch up, or learns of a commit while it collects",
        tier: Tier::Quick,
        states: StateCount::Counted(612_602),
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
    },
    ScenarioRow {
        name: "catch-up",
        shows: "a lagging follower catches up and crashes",
        tier: Tier::Quick,
        states: StateCount::Counted(107_304),
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
    },
    ScenarioRow {
        name: "tail",
        shows: "what is older than the tail is served from the disk",
        tier: Tier::Quick,
        states: StateCount::Counted(184_903),
        scenario: || Scenario {
            submissions: vec![request(1, &[1]), request(2, &[1])],
            limits: Limits { accepted_slots_max: 1, ..small_limits() },
            reaches: vec![Witness::CommittedEverywhere, Witness::LagsBehindTail],
            ..Scenario::new(3, 2, &[1, 2])
        },
    },
    ScenarioRow {
        name: "tail-bytes",
        shows: "room for the bytes of one entry: acceptors are full, tails are short",
        tier: Tier::Quick,
        states: StateCount::Counted(179_783),
        scenario: || Scenario {
            submissions: vec![request(1, &[1]), request(2, &[1])],
            limits: Limits { accepted_bytes_max: 30, ..small_limits() },
            reaches: vec![Witness::CommittedEverywhere, Witness::LagsBehindTail],
            ..Scenario::new(3, 2, &[1, 2])
        },
    },
    ScenarioRow {
        name: "application",
        shows: "an application that keeps what it has over a crash",
        tier: Tier::Quick,
        states: StateCount::Counted(63_258),
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
    },
    ScenarioRow {
        name: "retry",
        shows: "a request retried at another replica",
        tier: Tier::Quick,
        states: StateCount::Counted(665_444),
        scenario: || Scenario {
            submissions: vec![
                ScenarioSubmission { places: 2, ..request(1, &[1, 2]) },
                request(2, &[2]),
            ],
            hears: AROUND_0,
            reaches: vec![Witness::RequestInLogTwice, Witness::TwoCoordinate],
            ..Scenario::new(3, 2, &[1, 2, 3])
        },
    },
    ScenarioRow {
        name: "forwarding",
        shows: "submissions at a follower, forwarded and repeated",
        tier: Tier::Quick,
        states: StateCount::Counted(50_008),
        scenario: || Scenario {
            submissions: vec![ScenarioSubmission { places: 2, ..request(1, &[1, 2]) }],
            submit_anywhere: true,
            resend: true,
            rounds: 1,
            loses: ASIDE.without(MessageKinds::of(&[MessageKind::Submit])),
            reaches: vec![Witness::TwoCoordinate, Witness::SubmissionForwarded],
            ..Scenario::new(3, 2, &[3, 4])
        },
    },
    ScenarioRow {
        name: "overtaking",
        shows: "two requests of one session that overtake each other",
        tier: Tier::Quick,
        states: StateCount::Counted(357_568),
        scenario: || Scenario {
            submissions: vec![
                ScenarioSubmission { places: 2, ..request(1, &[0, 1]) },
                request(2, &[1]),
            ],
            reaches: vec![Witness::RequestOvertakes, Witness::CommittedEverywhere],
            ..Scenario::new(3, 2, &[3, 4])
        },
    },
    ScenarioRow {
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
    },
    ScenarioRow {
        name: "reads",
        shows: "linearizable reads across a change of coordinator",
        tier: Tier::Quick,
        states: StateCount::Counted(839_168),
        scenario: || Scenario {
            submissions: vec![request(1, &[1])],
            reads: vec![Replicas::of(&[1, 2])],
            loses: ASIDE.without(READS),
            reaches: vec![Witness::TwoCoordinate, Witness::ReadConfirmed],
            ..Scenario::new(3, 1, &[1, 2])
        },
    },
    ScenarioRow {
        name: "read-restart",
        shows: "a forwarded read whose origin restarts",
        tier: Tier::Quick,
        states: StateCount::Counted(514_381),
        scenario: || Scenario {
            submissions: vec![request(1, &[1])],
            reads: vec![Replicas::of(&[2]), Replicas::of(&[2])],
            crashes: 1,
            may_crash: Replicas::of(&[2]),
            hears: AROUND_1,
            rounds: 3,
            loses: ASIDE.without(READS),
            reaches: vec![Witness::ReadConfirmed, Witness::AllCrashesHappened],
            ..Scenario::new(3, 1, &[1])
        },
    },
    ScenarioRow {
        name: "read-lost",
        shows: "a read, and a coordinator that fails before it has finished its election",
        tier: Tier::Quick,
        states: StateCount::Counted(95_080),
        scenario: || Scenario {
            submissions: vec![request(1, &[1])],
            reads: vec![Replicas::of(&[2])],
            crashes: 1,
            may_crash: Replicas::of(&[0]),
            hears: AROUND_0,
            loses: ASIDE.without(READS),
            catch_up: Replicas::NONE,
            reaches: vec![
                Witness::ReadConfirmed,
                Witness::UnsyncedWriteLost,
                Witness::AllCrashesHappened,
            ],
            ..Scenario::new(3, 1, &[1, 3])
        },
    },
    ScenarioRow {
        name: "canvass",
        shows: "a replica returns from isolation and asks before it stands",
        tier: Tier::Quick,
        states: StateCount::Counted(183_284),
        scenario: || Scenario {
            submissions: two_values(),
            canvass: true,
            loses: ASIDE.without(CANVASS),
            reaches: vec![Witness::CommittedEverywhere, Witness::CanvassAgreedTo],
            ..Scenario::new(3, 1, &[1, 3])
        },
    },
    ScenarioRow {
        name: "step-down",
        shows: "a coordinator whose round goes unanswered steps down, and is asked again",
        tier: Tier::Quick,
        states: StateCount::Counted(71_605),
        scenario: || Scenario {
            submissions: vec![request(1, &[1])],
            canvass: true,
            loses: ASIDE
                .without(CANVASS.and(MessageKinds::of(&[MessageKind::Round, MessageKind::Obey]))),
            reaches: vec![Witness::CommittedEverywhere, Witness::CanvassAgreedTo],
            ..Scenario::new(3, 1, &[1])
        },
    },
    ScenarioRow {
        name: "window",
        shows: "an election that must finish more slots than the window has",
        tier: Tier::Quick,
        states: StateCount::Counted(3_524),
        scenario: || Scenario {
            submissions: vec![request(1, &[1]), request(2, &[1]), request(3, &[2])],
            crashes: 1,
            may_crash: Replicas::of(&[0]),
            hears: AROUND_0,
            catch_up: Replicas::NONE,
            limits: Limits { open_slots_max: 1, ..small_limits() },
            reaches: vec![Witness::ElectionExceedsWindow, Witness::FinishesAnothersValue],
            ..Scenario::new(3, 2, &[1, 2])
        },
    },
    ScenarioRow {
        name: "given-up",
        shows: "a request that its client gives up, and one too far ahead of what it has given up",
        tier: Tier::Quick,
        states: StateCount::Counted(107_988),
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
    },
    ScenarioRow {
        name: "restart-in-session",
        shows: "a session outlives the restart of a replica whose application keeps what it has",
        tier: Tier::Quick,
        states: StateCount::Counted(16_704),
        scenario: || Scenario {
            submissions: vec![open_session(&[0]), in_session(1, &[0])],
            crashes: 1,
            may_crash: Replicas::of(&[1]),
            durable_application: true,
            hears: AROUND_0,
            reaches: vec![Witness::CommittedEverywhere, Witness::AllCrashesHappened],
            ..Scenario::new(3, 2, &[3])
        },
    },
    ScenarioRow {
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
    },
    ScenarioRow {
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
            loses: ASIDE.without(ROUNDS).and(MessageKinds::of(&[MessageKind::Commit])),
            reaches: vec![Witness::TwoCoordinate, Witness::DeadMessageInFlight],
            ..Scenario::new(3, 1, &[1, 2])
        },
    },
    ScenarioRow {
        name: "late-read",
        shows: "an answer to a read comes late, when its origin has restarted and reads again",
        tier: Tier::Quick,
        states: StateCount::Counted(5_897),
        scenario: || Scenario {
            submissions: vec![request(1, &[1])],
            reads: vec![Replicas::of(&[2]), Replicas::of(&[2])],
            crashes: 1,
            may_crash: Replicas::of(&[2]),
            hears: [NONE, Replicas::of(&[2]), Replicas::of(&[1]), NONE, NONE],
            catch_up: Replicas::NONE,
            keeps_dead: true,
            loses: ASIDE.without(READS).and(MessageKinds::of(&[MessageKind::Commit])),
            reaches: vec![
                Witness::ReadConfirmed,
                Witness::DeadMessageInFlight,
                Witness::AllCrashesHappened,
            ],
            ..Scenario::new(3, 1, &[1])
        },
    },
    ScenarioRow {
        name: "late-submissions",
        shows: "forwarded copies come late, when what they submit is done and its session has ended",
        tier: Tier::Quick,
        states: StateCount::Counted(11_482),
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
    },
    ScenarioRow {
        name: "overtaken",
        shows: "five replicas: an old coordinator with an open slot hears of another's commit",
        tier: Tier::Quick,
        states: StateCount::Counted(2_360),
        scenario: || five(Replicas::of(&[1]), Replicas::NONE),
    },
    ScenarioRow {
        name: "overwritten",
        shows: "five replicas: an old accept reaches one that has caught up, and crashes",
        tier: Tier::Quick,
        states: StateCount::Counted(6_632),
        scenario: || five(Replicas::of(&[0, 1]), Replicas::of(&[0])),
    },
    ScenarioRow {
        name: "crashes-4",
        shows: "two crashes, anybody's, under four numbers",
        tier: Tier::Full,
        states: StateCount::Counted(63_150_645),
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
    },
    ScenarioRow {
        name: "crash-4",
        shows: "one crash, anybody's, under four numbers",
        tier: Tier::Full,
        states: StateCount::Counted(11_525_270),
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
    },
    ScenarioRow {
        name: "gaps-4",
        shows: "two slots under four numbers",
        tier: Tier::Full,
        states: StateCount::Counted(30_601_606),
        scenario: || Scenario {
            submissions: two_values(),
            reaches: vec![
                Witness::CommittedEverywhere,
                Witness::TwoCoordinate,
                Witness::FinishesAnothersValue,
            ],
            ..Scenario::new(3, 2, &[1, 2, 3, 4])
        },
    },
    ScenarioRow {
        name: "rejections-4",
        shows: "rejections under four numbers",
        tier: Tier::Full,
        states: StateCount::Counted(2_803_524),
        scenario: || Scenario {
            submissions: two_values(),
            loses: ASIDE.without(MessageKinds::of(&[MessageKind::Reject])),
            reaches: vec![Witness::CommittedEverywhere, Witness::OrderRejected],
            ..Scenario::new(3, 1, &[1, 2, 3, 4])
        },
    },
    ScenarioRow {
        name: "pipeline-all",
        shows: "three slots open at once when their coordinator fails, everybody hears everybody",
        tier: Tier::Full,
        states: StateCount::Counted(14_702_771),
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
    },
    ScenarioRow {
        name: "sessions-all",
        shows: "a session opened and ended, with a late copy in flight, everybody hears everybody",
        tier: Tier::Full,
        states: StateCount::Counted(1_244_475),
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
    },
    ScenarioRow {
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
    },
    ScenarioRow {
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
    },
    ScenarioRow {
        name: "five",
        shows: "five replicas, everybody hears everybody",
        tier: Tier::Deep,
        states: StateCount::Estimated(30_000_000),
        scenario: || Scenario {
            submissions: vec![request(1, &[0]), request(2, &[2])],
            reaches: vec![Witness::CommittedEverywhere, Witness::TwoCoordinate],
            ..Scenario::new(5, 1, &[5, 7])
        },
    },
    ScenarioRow {
        name: "five-deep",
        shows: "five replicas under three numbers",
        tier: Tier::Deep,
        states: StateCount::Estimated(2_000_000_000),
        scenario: || Scenario {
            submissions: vec![request(1, &[0]), request(2, &[2])],
            reaches: vec![Witness::CommittedEverywhere, Witness::TwoCoordinate],
            ..Scenario::new(5, 1, &[5, 6, 7])
        },
    },
];
