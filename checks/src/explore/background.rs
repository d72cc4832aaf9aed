//! The search of all states, beside the page: the search of `run`, with the same limits. Then each
//! property that was found gets a short path.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use synod_model::world::{ModelProperty, PropertyKind, World};

use crate::hunt::{Indices, hunt};
use crate::interrupt::Interrupt;
use crate::memory::MemoryLimit;
use crate::report::{PropertyVerdict, ScenarioReport};
use crate::run;
use crate::search::{SearchLimits, SearchProgress, StopReason};
use crate::subject::Subject;

/// How long a short path to one property is looked for.
const HUNT: Duration = Duration::from_secs(5);

/// The search, and what it has found so far.
#[derive(Clone, Debug)]
pub struct Background {
    subject: Subject,
    threads: NonZeroUsize,
    memory: MemoryLimit,
    found: Arc<Mutex<Found>>,
}

/// What a search has found so far.
#[derive(Clone, Debug, Default)]
struct Found {
    phase: Phase,
    progress: SearchProgress,
    report: Option<ScenarioReport>,
    paths: Vec<(ModelProperty, Indices)>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nobody has asked for it.
    #[default]
    Idle,
    /// It visits states.
    Searching,
    /// It looks for short paths.
    Shortening,
    /// It has ended.
    Ended,
}

/// The search and the properties, as the page gets them.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    scenario: String,
    shows: String,
    command: String,
    phase: Phase,
    unique_states: u64,
    expected_states: u64,
    states_per_second: u64,
    seconds: f64,
    /// Why the search is not complete, if it has ended.
    stopped: Option<String>,
    /// Whether the number of states differs from the one in the table.
    is_miscounted: bool,
    /// The properties: what is wrong first, what cannot fail last.
    properties: Vec<PropertyStatus>,
}

/// A property, as the page gets it.
#[derive(Clone, Debug, Serialize)]
pub struct PropertyStatus {
    name: &'static str,
    kind: &'static str,
    verdict: ShownVerdict,
    /// The path to a state that reaches or violates it.
    path: Option<String>,
}

/// What the page says of a property, in the order of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShownVerdict {
    /// A state violates it.
    Violated,
    /// No state reaches it, but one must.
    Unreached,
    /// Not every state was checked.
    Open,
    /// A state reaches it.
    Reached,
    /// It holds in every state, or from every state.
    Holds,
    /// No state reaches it, and none must.
    Unneeded,
    /// Nothing in this scenario can violate it.
    Vacuous,
}

impl Background {
    /// A search that has not begun.
    pub fn new(subject: Subject, threads: NonZeroUsize, memory: MemoryLimit) -> Self {
        Self { subject, threads, memory, found: Arc::default() }
    }

    /// The name of the scenario.
    pub fn scenario(&self) -> &str {
        &self.subject.name
    }

    /// Begins the search, unless it has begun.
    pub fn begin(&self) {
        {
            let mut found = self.found();
            if found.phase != Phase::Idle {
                return;
            }
            found.phase = Phase::Searching;
        }
        let search = self.clone();
        thread::spawn(move || search.search());
    }

    fn search(&self) {
        let interrupt = Interrupt::default();
        let limits = SearchLimits { interrupt, memory: self.memory, deadline: None };
        let show = |progress: &SearchProgress| self.found().progress = *progress;
        let (report, paths) = run::search(&self.subject, self.threads, &limits, show);
        let mut paths: Vec<_> = paths.into_iter().collect();
        // Violations first: they are what people wait for.
        paths.sort_by_key(|(property, _)| property.kind() == PropertyKind::Sometimes);
        {
            let mut found = self.found();
            found.report = Some(report);
            found.paths.clone_from(&paths);
            found.phase = Phase::Shortening;
        }
        for (index, (property, _)) in paths.iter().enumerate() {
            let limits = SearchLimits { deadline: Some(Instant::now() + HUNT), ..limits.clone() };
            let scenario = &self.subject.scenario;
            let hunted = hunt(scenario, *property, NonZeroUsize::MIN, &limits, None, |_| ());
            if let Some(path) = hunted.path {
                self.found().paths[index].1 = path;
            }
        }
        self.found().phase = Phase::Ended;
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The search and the properties now.
    pub fn status(&self, world: &World) -> Status {
        let Found { phase, progress, report, paths } = self.found().clone();
        let mut properties: Vec<_> = self
            .subject
            .scenario
            .properties()
            .into_iter()
            .map(|property| {
                let path = paths.iter().find(|(found, _)| *found == property);
                PropertyStatus {
                    name: property.name(),
                    kind: match property.kind() {
                        PropertyKind::Always => "always",
                        PropertyKind::Sometimes => "sometimes",
                        PropertyKind::Liveness => "liveness",
                    },
                    verdict: verdict(world, report.as_ref(), property),
                    path: path.map(|(_, path)| path.encode()),
                }
            })
            .collect();
        properties.sort_by_key(|it| it.verdict);
        Status {
            scenario: self.subject.name.clone(),
            shows: self.subject.shows.clone(),
            command: format!("synod-check explore {}", self.subject.arguments),
            phase,
            unique_states: progress.unique_states,
            expected_states: self.subject.states.number(),
            states_per_second: crate::progress::rate(progress.unique_states, progress.elapsed),
            seconds: progress.elapsed.as_secs_f64(),
            stopped: report.as_ref().and_then(why_stopped),
            is_miscounted: report.as_ref().is_some_and(ScenarioReport::is_miscounted),
            properties,
        }
    }
}

fn verdict(
    world: &World,
    report: Option<&ScenarioReport>,
    property: ModelProperty,
) -> ShownVerdict {
    let reports = report.into_iter().flat_map(|report| &report.properties);
    let report = reports.filter(|it| it.property == property).map(|it| it.verdict).next();
    match report.unwrap_or(PropertyVerdict::Incomplete) {
        PropertyVerdict::Violated => ShownVerdict::Violated,
        PropertyVerdict::Unreached => ShownVerdict::Unreached,
        PropertyVerdict::Reached => ShownVerdict::Reached,
        PropertyVerdict::Unneeded => ShownVerdict::Unneeded,
        _ if !world.can_fail(property) => ShownVerdict::Vacuous,
        PropertyVerdict::Holds => ShownVerdict::Holds,
        PropertyVerdict::Incomplete => ShownVerdict::Open,
    }
}

/// Why a search that has ended is not complete.
fn why_stopped(report: &ScenarioReport) -> Option<String> {
    match &report.stopped {
        _ if report.complete => None,
        Some(StopReason::Memory) => Some("the memory limit; --memory-max allows more".to_owned()),
        Some(StopReason::Panicked(said)) => {
            Some(format!("a thread of the checker panicked: {said}"))
        }
        Some(_) => Some("it was stopped".to_owned()),
        None => Some("the first violation".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{PropertyReport, ScenarioVerdict};
    use crate::scenarios::{StateCount, find};

    #[test]
    fn what_is_wrong_comes_first_and_what_cannot_fail_last() {
        let subject = Subject::from(find("rivals").expect("a scenario"));
        let world = World::new(subject.scenario.clone());
        let memory = MemoryLimit::new(None).expect("memory");
        let background = Background::new(subject.clone(), NonZeroUsize::MIN, memory);
        let properties = subject.scenario.properties();
        let (last_always, last) = (properties[17], properties[properties.len() - 1]);
        let verdict = |property: ModelProperty| match property.kind() {
            _ if property == last_always => PropertyVerdict::Violated,
            _ if property == last => PropertyVerdict::Unreached,
            PropertyKind::Sometimes => PropertyVerdict::Reached,
            _ => PropertyVerdict::Holds,
        };
        let reports = properties.iter().map(|&property| PropertyReport {
            property,
            verdict: verdict(property),
            steps: None,
        });
        background.found().report = Some(ScenarioReport {
            name: subject.name.clone(),
            shows: String::new(),
            verdict: ScenarioVerdict::Violated,
            complete: true,
            unique_states: 1,
            transitions: 1,
            max_depth: 1,
            seconds: 0.0,
            peak_memory_bytes: None,
            properties: reports.collect(),
            expected: StateCount::Unknown,
            stopped: None,
            liveness: None,
        });
        let status = background.status(&world);
        let named =
            |index: usize| (status.properties[index].name, status.properties[index].verdict);
        assert_eq!(named(0), (last_always.name(), ShownVerdict::Violated));
        assert_eq!(named(1), (last.name(), ShownVerdict::Unreached));
        let end = status.properties.last().map(|it| it.verdict);
        assert_eq!(end, Some(ShownVerdict::Vacuous), "rivals has neither reads nor canvass");
    }
}
