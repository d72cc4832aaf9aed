//! The results of a run, as data. [`table`] and [`json`] print them.

pub mod columns;
pub mod json;
pub mod table;

use serde::Serialize;
use synod_model::world::{ModelProperty, PropertyKind};

use crate::cli::Exit;
use crate::scenarios::{StateCount, Tier};
use crate::search::StopReason;

/// The results of a run. Its fields are the fields of the JSON document.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// The tier, if all scenarios belong to one.
    #[serde(serialize_with = "json::tier")]
    pub tier: Option<Tier>,
    /// Whether every search emptied its frontier.
    pub complete: bool,
    /// The probability that two states had the same fingerprint, so that one hid the other.
    pub collision_probability: f64,
    /// The scenarios, in the order in which they were run.
    pub scenarios: Vec<ScenarioReport>,
}

/// The results of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioReport {
    /// Its name.
    pub name: String,
    /// What it shows.
    #[serde(skip)]
    pub shows: String,
    /// Whether it holds.
    pub verdict: ScenarioVerdict,
    /// Whether the search emptied its frontier.
    pub complete: bool,
    /// The number of unique states.
    pub unique_states: u64,
    /// The number of transitions.
    pub transitions: u64,
    /// The length of the longest path of the search, in states.
    pub max_depth: u64,
    /// How long the search took.
    pub seconds: f64,
    /// The most memory that the process held during the search; `None` if the system does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// The properties, in the order of [`Scenario::properties`](synod_model::world::Scenario::properties).
    pub properties: Vec<PropertyReport>,
    /// The number of states in the table of scenarios, if it is there.
    #[serde(skip)]
    pub expected: StateCount,
    /// What stopped the search, if something did.
    #[serde(skip)]
    pub stopped: Option<StopReason>,
    /// If liveness was checked: the number of states from which it was also checked with messages in
    /// flight, and the number of endings that are remembered.
    #[serde(skip)]
    pub liveness: Option<(u64, usize)>,
}

/// The results for one property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PropertyReport {
    /// The property; in JSON, its name and what it claims.
    #[serde(flatten, serialize_with = "json::property")]
    pub property: ModelProperty,
    /// Whether it holds.
    pub verdict: PropertyVerdict,
    /// The number of steps to the state that reaches or violates it; `None` if none was found.
    pub steps: Option<usize>,
}

/// Whether a scenario holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScenarioVerdict {
    /// Every state was checked, and everything is as it must be.
    Holds,
    /// A property or the number of states is not as it must be.
    Violated,
    /// Nothing wrong was found, but not every state was checked.
    Incomplete,
}

/// Whether a property holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PropertyVerdict {
    /// It holds in every state.
    Holds,
    /// A state violates it.
    Violated,
    /// A state reaches it, as one must.
    Reached,
    /// No state reaches it, but one must.
    Unreached,
    /// No state reaches it, and none must.
    Unneeded,
    /// Not every state was checked.
    Incomplete,
}

impl PropertyVerdict {
    /// The verdict on a property of this kind. `is_found` says whether a state was found that reaches
    /// or violates it, `is_complete` whether every state was checked.
    pub fn new(kind: PropertyKind, is_found: bool, is_complete: bool) -> Self {
        match (kind, is_found, is_complete) {
            (PropertyKind::Sometimes, true, _) => Self::Reached,
            (PropertyKind::Sometimes, false, true) => Self::Unreached,
            (PropertyKind::Always | PropertyKind::Liveness, true, _) => Self::Violated,
            (PropertyKind::Always | PropertyKind::Liveness, false, true) => Self::Holds,
            (_, false, false) => Self::Incomplete,
        }
    }

    /// Whether this verdict fails the scenario.
    pub fn is_wrong(self) -> bool {
        matches!(self, Self::Violated | Self::Unreached)
    }
}

impl ScenarioReport {
    /// Whether the number of states differs from the table. Only a complete search can tell.
    pub fn is_miscounted(&self) -> bool {
        self.complete
            && matches!(self.expected, StateCount::Counted(states) if states != self.unique_states)
    }

    /// Sets the verdict, from everything else.
    pub fn judge(&mut self) {
        let is_wrong = self.properties.iter().any(|property| property.verdict.is_wrong());
        self.verdict = if is_wrong || self.is_miscounted() {
            ScenarioVerdict::Violated
        } else if self.complete {
            ScenarioVerdict::Holds
        } else {
            ScenarioVerdict::Incomplete
        };
    }
}

impl RunReport {
    /// The report of a run of these scenarios.
    pub fn new(tier: Option<Tier>, scenarios: Vec<ScenarioReport>) -> Self {
        Self {
            tier,
            complete: scenarios.iter().all(|scenario| scenario.complete),
            collision_probability: scenarios.iter().map(collision_probability).sum(),
            scenarios,
        }
    }

    /// The exit code for this report.
    pub fn exit(&self) -> Exit {
        let is_any = |verdict| self.scenarios.iter().any(|it| it.verdict == verdict);
        if is_any(ScenarioVerdict::Violated) {
            Exit::Violated
        } else if !self.complete || is_any(ScenarioVerdict::Incomplete) || self.scenarios.is_empty()
        {
            Exit::Incomplete
        } else {
            Exit::Holds
        }
    }
}

/// Among n states there are about n²/2 pairs. Each pair shares a fingerprint of 64 bits with
/// probability 2⁻⁶⁴.
fn collision_probability(scenario: &ScenarioReport) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let states = scenario.unique_states as f64;
    states * states / 2_f64.powi(65)
}
