//! The bounds of a scenario, as people write them: as flags, and as a file in TOML.
//!
//! [`Bounds`] is the one description. Its fields are the flags of the command line and, without the
//! dashes, the keys of a file; its docstrings are the help of the flags and the comments in a file. Each
//! row of the table of scenarios can be written as `Bounds`, so any scenario is a start for another one.
//!
//! A value is checked where it is read ([`values`]), so an error names its line. What concerns several
//! bounds is checked when the scenario is made ([`mod@scenario`]).

mod file;
pub mod scenario;
pub mod submission;
pub mod values;

use clap::Args;
use serde::{Deserialize, Serialize};

pub use file::{read, to_toml};
use submission::Submission;
use values::{Count, Hears, LimitName, MessageName, Number, Numbers, ReplicaSet, WitnessName};

/// The bounds of a scenario. A bound that is `None` keeps its default.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[command(next_help_heading = "Bounds of your own")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bounds {
    /// How many replicas there are, 1 to 5 [default: 3]
    #[arg(long, value_name = "N")]
    pub replicas: Option<Count<1, 5>>,
    /// The replicas that are members from the start: all, or such as 0,1,2 [default: all]
    #[arg(long, value_name = "REPLICAS")]
    pub members: Option<ReplicaSet>,
    /// Those among them that only learn: none, or such as 3 [default: none]
    #[arg(long, value_name = "REPLICAS")]
    pub learners: Option<ReplicaSet>,
    /// The highest slot that a submission may open, 1 to 8 [default: 1]
    #[arg(long, value_name = "N")]
    pub slots: Option<Count<1, 8>>,
    /// The sequence numbers under which replicas may stand, such as 1,3 or 1..5, which is 1 to 5; or none.
    /// Number s belongs to replica s modulo the number of replicas [default: 1 to that number]
    #[arg(long, value_name = "NUMBERS")]
    pub numbers: Option<Numbers>,
    /// A submission, such as a@0,2: value a, once, at replica 0 or 2. Also open@1, end@2, none, and
    /// members(0,1,3)@0, a change of the members. Then, if needed, after spaces: places=2 (retried at so many),
    /// after=1 (once submission 1 is committed), session=1, answered=5; for members number=2 (of the request),
    /// configuration=3, next=5 (the next free id) [default: values a, b, ... at the even or the odd replicas]
    #[arg(long, value_name = "SUBMISSION")]
    pub submissions: Option<Vec<Submission>>,
    /// Clients may submit at replicas that do not coordinate
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub submit_anywhere: Option<bool>,
    /// The replicas where a read may be asked; give it again for another read
    #[arg(long, value_name = "REPLICAS")]
    pub reads: Option<Vec<ReplicaSet>>,
    /// How many crashes may happen [default: 0]
    #[arg(long, value_name = "N")]
    pub crashes: Option<Count<0, 100>>,
    /// The replicas that may crash: all, none, or such as 0,2 [default: all]
    #[arg(long, value_name = "REPLICAS")]
    pub may_crash: Option<ReplicaSet>,
    /// A coordinator asks, message by message, who is ready for a change; otherwise all are
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub readiness: Option<bool>,
    /// The replicas whose data directories are not those that changes register [default: none]
    #[arg(long, value_name = "REPLICAS")]
    pub other_directories: Option<ReplicaSet>,
    /// Replicas must greet one another before they take part
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub forming: Option<bool>,
    /// How many data directories may be lost; needs `forming` [default: 0]
    #[arg(long, value_name = "N")]
    pub losses: Option<Count<0, 100>>,
    /// The replicas that may lose their data directory [default: all]
    #[arg(long, value_name = "REPLICAS")]
    pub may_lose: Option<ReplicaSet>,
    /// How often a disk loses the end of its durable log [default: 0]
    #[arg(long, value_name = "N")]
    pub rollbacks: Option<Count<0, 100>>,
    /// The replicas whose disks may do that [default: all]
    #[arg(long, value_name = "REPLICAS")]
    pub may_roll_back: Option<ReplicaSet>,
    /// How many snapshots may be made in all [default: 0]
    #[arg(long, value_name = "N")]
    pub snapshots: Option<Count<0, 100>>,
    /// The replicas that may make them [default: all]
    #[arg(long, value_name = "REPLICAS")]
    pub may_snapshot: Option<ReplicaSet>,
    /// The replicas that may install snapshots [default: all]
    #[arg(long, value_name = "REPLICAS")]
    pub may_install: Option<ReplicaSet>,
    /// How many disks may stop answering for good [default: 0]
    #[arg(long, value_name = "N")]
    pub hangs: Option<Count<0, 5>>,
    /// The replicas whose disks may [default: all]
    #[arg(long, value_name = "REPLICAS")]
    pub may_hang: Option<ReplicaSet>,
    /// Replicas ask before they stand, and may suspect the coordinator
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub canvass: Option<bool>,
    /// The application keeps its state over a crash
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub durable_application: Option<bool>,
    /// One sync may cover several records, not only the oldest
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub sync_any: Option<bool>,
    /// Replicas may repeat what is unanswered
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub resend: Option<bool>,
    /// The highest round that a read or a resend may begin [default: 2]
    #[arg(long, value_name = "N")]
    pub rounds: Option<Count<0, 100>>,
    /// The replicas to which catch-up may bring committed slots [default: all]
    #[arg(long, value_name = "REPLICAS")]
    pub catch_up: Option<ReplicaSet>,
    /// Whom a replica hears, such as 1=0,2; give it again for another replica [default: everybody
    /// hears everybody]
    #[arg(long, value_name = "REPLICA=REPLICAS")]
    pub hears: Option<Vec<Hears>>,
    /// A kind of message that the network loses, or none; may be given again [default: those that
    /// only failure detectors, reads and clients at followers need, unless a bound turns these on]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub loses: Option<Vec<MessageName>>,
    /// Dead messages stay in flight
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub keeps_dead: Option<bool>,
    /// Check that a majority left in peace agrees [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub liveness: Option<bool>,
    /// A limit of the replicas, such as `open_slots_max=1`; may be given again
    #[arg(long, value_name = "LIMIT=N")]
    pub limits: Option<Vec<LimitName>>,
    /// A `sometimes` property that some state must reach, or none; may be given again [default: none must, and
    /// the report says which ones are reached]
    #[arg(long, value_name = "PROPERTY")]
    pub reaches: Option<Vec<WitnessName>>,
    /// The number of unique states, if you know it: a run that counts another number fails
    #[arg(long, value_name = "N")]
    pub states: Option<Number>,
}

impl Bounds {
    /// Whether no bound is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These bounds, with those that `over` sets in their place.
    #[must_use]
    pub fn with(self, over: &Self) -> Self {
        // A field that `over` sets wins. The table has one key for each field that is set.
        let mut table = self.table();
        table.extend(over.table());
        // What was read from valid bounds is valid.
        let mut bounds: Self = table.try_into().unwrap_or_default();
        if over.loses.is_none() {
            bounds.keep_what_is_needed(over);
        }
        if bounds.states.is_some() && over.states.is_none() && !over.is_empty() {
            // Nobody has counted the states within changed bounds.
            bounds.states = None;
        }
        bounds
    }

    /// The fields that are set, as a table.
    pub fn table(&self) -> toml::Table {
        toml::Table::try_from(self).unwrap_or_default()
    }

    /// The flags that say the same.
    pub fn flags(&self) -> String {
        let mut flags = Vec::new();
        for (key, value) in self.table() {
            match value {
                toml::Value::Boolean(true) => flags.push(format!("--{key}")),
                toml::Value::Array(all)
                    if all.is_empty() && HAVE_DEFAULTS.contains(&key.as_str()) =>
                {
                    flags.push(format!("--{key} none"));
                }
                toml::Value::Array(all)
                    if all.is_empty() || all.iter().any(|it| !it.is_integer()) =>
                {
                    flags.extend(all.iter().map(|it| format!("--{key} {}", word(it))));
                }
                toml::Value::Boolean(false) => flags.push(format!("--{key}=false")),
                value => flags.push(format!("--{key} {}", word(&value))),
            }
        }
        flags.join(" ")
    }
}

/// The lists that are not empty by default.
const HAVE_DEFAULTS: [&str; 4] = ["numbers", "submissions", "loses", "reaches"];

/// A value as one word of a command line.
fn word(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) if text.contains(' ') => format!("\"{text}\""),
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(all) => all.iter().map(word).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
