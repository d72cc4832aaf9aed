//! The table of scenarios: what each one shows, its bounds, and its number of states.
//!
//! A scenario is data. What one scenario leaves out to stay small, another one has. The number of
//! unique states is a measurement. If it changes, the protocol or a reduction has changed; so a run
//! that counts another number fails.

mod agreement;
mod bounds;
mod clients;
mod elections;
mod finishing;
mod forming;
mod histories;
mod larger;
mod membership;
mod reads;
mod snapshots;

use std::fmt;

use indicatif::HumanCount;
use synod_model::world::Scenario;

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
    /// Nobody knows: the bounds are a user's own.
    Unknown,
}

impl StateCount {
    /// The number, counted or estimated; 0 if nobody knows it.
    pub fn number(self) -> u64 {
        match self {
            Self::Counted(states) | Self::Estimated(states) => states,
            Self::Unknown => 0,
        }
    }
}

impl fmt::Display for StateCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counted(0) | Self::Unknown => f.write_str("not counted"),
            Self::Counted(states) => HumanCount(*states).fmt(f),
            Self::Estimated(states) => write!(f, "~{}", HumanCount(*states)),
        }
    }
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

/// The names that are most like `name`, if any is like it.
pub fn similar(name: &str) -> Vec<&'static str> {
    // Half of the letters and more agree, in about the same order.
    const LIKE: f64 = 0.8;
    let likeness = |row: &ScenarioRow| strsim::jaro_winkler(&name.to_lowercase(), row.name);
    let mut like: Vec<_> =
        TABLE.iter().map(|row| (likeness(row), row.name)).filter(|(it, _)| *it >= LIKE).collect();
    like.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    like.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Every scenario, in the order in which they are run.
pub const TABLE: &[ScenarioRow] = &[
    agreement::RIVALS,
    agreement::CRASHES,
    agreement::REJECTIONS,
    agreement::GAPS,
    agreement::PIPELINE,
    agreement::RANGES,
    agreement::CANDIDATE,
    agreement::CATCH_UP,
    agreement::TAIL,
    agreement::TAIL_BYTES,
    agreement::ROOM,
    snapshots::CUT_LOG,
    snapshots::CUT_CANDIDATE,
    snapshots::TWO_SNAPSHOTS,
    snapshots::LATE_ACCEPT,
    snapshots::INSTALLING,
    snapshots::SNAPSHOT_RETRY,
    snapshots::SNAPSHOT_READ,
    snapshots::CUT_AND_CRASHED,
    snapshots::SNAPSHOT_OVERTAKES,
    snapshots::ABOVE_SNAPSHOT,
    membership::GROW,
    membership::SHRINK,
    membership::TWO_CHANGES,
    membership::REPLACE,
    membership::MOVE,
    membership::LEARNER,
    membership::CHANGE_IN_SNAPSHOT,
    membership::READ_AND_CHANGE,
    membership::THREE_TO_FIVE,
    membership::FIVE_TO_THREE,
    membership::STALE_ACCEPT,
    membership::NOT_READY,
    membership::PROMOTION,
    membership::SILENT_LEARNER,
    membership::OTHER_DIRECTORY,
    clients::APPLICATION,
    clients::RETRY,
    clients::FORWARDING,
    clients::FULL_QUEUE,
    clients::OVERTAKING,
    clients::SESSIONS,
    reads::READS,
    reads::READ_RESTART,
    reads::READ_LOST,
    elections::CANVASS,
    elections::LATE_AGREEMENT,
    elections::STEP_DOWN,
    elections::HUNG_DISK,
    elections::HUNG_AND_REPLACED,
    elections::WINDOW,
    finishing::PORTIONS,
    finishing::PORTIONS_AND_RETRY,
    finishing::PORTIONS_AND_HUNG_DISK,
    clients::GIVEN_UP,
    clients::RESTART_IN_SESSION,
    elections::LATE_REPLIES,
    elections::LATE_ANSWERS,
    reads::LATE_READ,
    clients::LATE_SUBMISSIONS,
    agreement::OVERTAKEN,
    agreement::OVERWRITTEN,
    forming::FORMING,
    forming::FORMING_LOSSES,
    forming::LOST_DIRECTORY,
    forming::LOST_AND_CRASHED,
    histories::TWO_HISTORIES,
    histories::DIVIDED_VOTES,
    histories::LOST_VOTE,
    histories::LOST_PROMISE,
    histories::REMINDED,
    larger::CRASHES_4,
    larger::CRASH_4,
    larger::GAPS_4,
    larger::REJECTIONS_4,
    larger::PIPELINE_ALL,
    larger::SESSIONS_ALL,
    forming::LOST_DIRECTORIES,
    histories::DIVIDED_CATCH_UP,
    larger::CRASHES_DEEP,
    larger::GAPS_DEEP,
    larger::FIVE,
    larger::FIVE_DEEP,
];
