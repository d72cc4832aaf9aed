//! The table of scenarios: what is checked, within which bounds, and how many states that is.
//!
//! A scenario is data. What one leaves out to stay small, another carries. The number of unique
//! states is a measurement: when it changes, the protocol or a reduction did, so a run whose count
//! differs fails.

use synod_model::world::{ASIDE, Kind, Kinds, Replicas, Scenario, Submission};

/// How long a scenario takes, and so when it is run. A tier includes none of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Altogether a minute on two cores: what everybody runs.
    Quick,
    /// Altogether some twenty minutes on two cores.
    Full,
    /// For a big machine.
    Deep,
}

/// How many unique states a scenario has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum States {
    /// Counted by a search that emptied its frontier.
    Counted(u64),
    /// Never counted; about so many.
    Estimated(u64),
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub shows: &'static str,
    /// When it is run.
    pub tier: Tier,
    /// How many unique states it has.
    pub states: States,
    /// Makes its bounds.
    pub scenario: fn() -> Scenario,
}

/// The scenario called `name`.
pub fn find(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

/// Every scenario, in the order in which they are run.
pub const TABLE: &[Row] = &[
    Row {
        name: "rivals",
        shows: "two coordinators compete for one slot",
        tier: Tier::Quick,
        states: States::Counted(878_175),
        scenario: || Scenario {
            submissions: two_values(),
            reaches: vec![COMMITTED_EVERYWHERE, TWO_COORDINATE, FINISHES],
            ..Scenario::new(3, 1, &[1, 2, 3, 4])
        },
    },
    Row {
        name: "crashes",
        shows: "two crashes, unsynced writes lost",
        tier: Tier::Quick,
        states: States::Counted(326_713),
        scenario: || Scenario {
            submissions: two_values(),
            crashes: 2,
            reaches: vec![COMMITTED_EVERYWHERE, TWO_COORDINATE, FINISHES, LOSES, ALL_CRASHED],
            ..Scenario::new(3, 1, &[1, 3])
        },
    },
    Row {
        name: "rejections",
        shows: "orders below the promise are rejected",
        tier: Tier::Quick,
        states: States::Counted(0),
        scenario: || Scenario {
            submissions: two_values(),
            loses: ASIDE.without(Kinds::of(&[Kind::Reject])),
            reaches: vec![COMMITTED_EVERYWHERE, REJECTED],
            ..Scenario::new(3, 1, &[1, 2, 3])
        },
    },
];

const COMMITTED_EVERYWHERE: &str = "everything is committed everywhere";
const TWO_COORDINATE: &str = "two replicas coordinate at once";
const FINISHES: &str = "a coordinator finishes another's value";
const LOSES: &str = "a crash can lose what is not synced";
const REJECTED: &str = "an order is rejected";
const ALL_CRASHED: &str = "all crashes have happened";

/// Value `a` of replicas 0 and 2, and value `b` of replica 1.
fn two_values() -> Vec<Submission> {
    vec![request(1, &[0, 2]), request(2, &[1])]
}

/// Request `number`, whose value is a letter, at one of these replicas.
fn request(number: u8, at: &[u16]) -> Submission {
    Submission::request(u64::from(number), b'a' + number - 1, Replicas::of(at))
}
