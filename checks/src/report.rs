//! What a run found out, as data; [`table`] and [`json`] print it.

pub mod columns;
pub mod json;
pub mod table;

use serde::Serialize;
use synod_model::world::{ModelProperty, PropertyKind};

use crate::cli::Exit;
use crate::scenarios::{StateCount, Tier};
use crate::search::StopReason;

/// A whole run. Its fields are the fields of its JSON document.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// The tier of all its scenarios, if it is one.
    #[serde(serialize_with = "json::tier")]
    pub tier: Option<Tier>,
    /// Whether every search emptied its frontier.
    pub complete: bool,
    /// The chance that two states shared a fingerprint, so that one hid the other.
    pub collision_probability: f64,
    /// One element a scenario, in the order of the table.
    pub scenarios: Vec<ScenarioReport>,
}

/// What was found out about a scenario.
#[derive(Debug, Serialize)]
pub struct ScenarioReport {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    #[serde(skip)]
    pub shows: &'static str,
    /// Whether it holds.
    pub verdict: ScenarioVerdict,
    /// Whether the search emptied its frontier.
    pub complete: bool,
    /// How many unique states it met.
    pub unique_states: u64,
    /// How many transitions it took.
    pub transitions: u64,
    /// The length, in states, of the longest path that it took.
    pub max_depth: u64,
    /// How long it took.
    pub seconds: f64,
    /// The most memory that the process held meanwhile; none if the system does not say.
    pub peak_memory_bytes: Option<u64>,
    /// One element a property.
    pub properties: Vec<PropertyReport>,
    /// How many states the table says it has.
    #[serde(skip)]
    pub expected: StateCount,
    /// Why it is incomplete, if that was not for want of time to begin.
    #[serde(skip)]
    pub stopped: Option<StopReason>,
    /// If liveness was checked: from how many states also with messages in flight, and how many
    /// endings are remembered.
    #[serde(skip)]
    pub liveness: Option<(u64, usize)>,
}

/// What was found out about a property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PropertyReport {
    /// The property; in JSON, its name and what it claims.
    #[serde(flatten, serialize_with = "json::property")]
    pub property: ModelProperty,
    /// Whether it holds.
    pub verdict: PropertyVerdict,
    /// The number of steps to the state that shows it; none where there is no path.
    pub steps: Option<usize>,
}

/// Whether a scenario holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScenarioVerdict {
    /// Everything was looked at, and is as it must be.
    Holds,
    /// Something is not as it must be.
    Violated,
    /// Nothing is wrong so far, but not everything was looked at.
    Incomplete,
}

/// Whether a property holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PropertyVerdict {
    /// In every state.
    Holds,
    /// Not in some state.
    Violated,
    /// In some state, as it must.
    Reached,
    /// In no state, and it must in one.
    Unreached,
    /// Not everything was looked at.
    Incomplete,
}

impl PropertyVerdict {
    /// The verdict on a property of this kind: whether a state was found that shows or breaks it,
    /// and whether all were looked at.
    pub fn new(kind: PropertyKind, is_found: bool, is_complete: bool) -> Self {
        match (kind, is_found, is_complete) {
            (PropertyKind::Sometimes, true, _) => Self::Reached,
            (PropertyKind::Sometimes, false, true) => Self::Unreached,
            (PropertyKind::Always | PropertyKind::Liveness, true, _) => Self::Violated,
            (PropertyKind::Always | PropertyKind::Liveness, false, true) => Self::Holds,
            (_, false, false) => Self::Incomplete,
        }
    }

    /// Whether the scenario is not as it must be.
    pub fn is_wrong(self) -> bool {
        matches!(self, Self::Violated | Self::Unreached)
    }
}

impl ScenarioReport {
    /// Whether the number of states is the one that the table says. Only of a complete search is
    /// that known.
    pub fn is_miscounted(&self) -> bool {
        self.complete
            && matches!(self.expected, StateCount::Counted(states) if states != self.unique_states)
    }

    /// The verdict, from everything else.
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

    /// What to tell the caller.
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

/// Of n states with fingerprints of 64 bits, n²/2 pairs may each collide with probability 2⁻⁶⁴.
fn collision_probability(scenario: &ScenarioReport) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let states = scenario.unique_states as f64;
    states * states / 2_f64.powi(65)
}
