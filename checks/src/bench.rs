//! How fast the checker searches Synod's model, compared with two models that everybody can run.
//!
//! A rate by itself says little: it depends on the machine and on the size of a state. So
//! [`BenchReport`] puts three searches side by side. They run on the same machine, with the same
//! checker and the same number of threads:
//!
//! - The largest scenario of tier quick. This is the figure in question.
//! - [`paxos_example`]: Paxos for one decision, as a first version with stateright's actors would be.
//!   It is the same protocol without our reductions, so it shows what they gain.
//! - [`two_phase_commit`]: a model that does hardly any work itself. It shows the cost of the
//!   framework, which no model can undercut.
//!
//! The two [`Baseline`]s are our own versions of examples that come with stateright. They explore the
//! same states and represent a state in the same way. [`Baseline::run`] checks that they reach exactly
//! as many states: a baseline that differs is an error, not a new figure.
//!
//! # What is measured
//!
//! [`measure`] searches a model depth first until no state is left. It takes wall time, processor time
//! and the growth of resident memory. That growth is meaningful only in a new process: an old one
//! would use memory again that an earlier search has freed. So [`process::run_apart`] starts this
//! program again for every workload.

mod error;
mod paxos_example;
pub(crate) mod process;
mod report;
mod two_phase_commit;

use std::hash::Hash;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use stateright::{Checker, Expectation, Model};
use synod_model::world::{Scenario, World};

use crate::cli::{BenchArgs, Exit, Resources, WorkloadArgs};
use crate::scenarios::{self, ScenarioRow, StateCount, TABLE, Tier};
use error::BenchError;
use report::BenchReport;

/// Searches the scenario and the baselines, each in a process of its own, and prints the figures.
///
/// # Errors
///
/// If one of them cannot be measured.
pub fn bench(args: &BenchArgs) -> anyhow::Result<Exit> {
    let threads = Resources { threads: args.threads, memory_max: None }.threads();
    let largest = largest().context(
        "no scenario of tier quick has a counted number of states, so none is the largest\n  `synod-check run` counts them: put the numbers in checks/src/scenarios/",
    )?;
    let measured = |name: &str| {
        // Standard output is for the figures.
        eprintln!("searching {name} ...");
        process::run_apart(name, threads)
    };
    let report = BenchReport::new(
        measured(largest.name)?,
        measured(Baseline::PaxosExample.name())?,
        measured(Baseline::TwoPhaseCommit.name())?,
    );
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(Exit::Holds)
}

/// Searches one workload in this process, and prints the measurement as one line of JSON.
///
/// # Errors
///
/// If there is no such workload, or it does not reach the states that it must.
pub fn workload(args: &WorkloadArgs) -> anyhow::Result<Exit> {
    let name = args.workload.as_str();
    let measurement = match (Baseline::from_name(name), scenarios::find(name)) {
        (Some(baseline), _) => baseline.run(args.threads)?,
        (None, Some(row)) => {
            // What liveness remembers would add to the memory that a state costs.
            let scenario = Scenario { liveness: false, ..(row.scenario)() };
            measure(name, World::new(scenario), args.threads)?
        }
        (None, None) => bail!("there is no workload {name}"),
    };
    writeln!(io::stdout(), "{}", measurement.to_json())?;
    Ok(Exit::Holds)
}

/// The scenario of tier quick with the most states, among those that were counted.
fn largest() -> Option<&'static ScenarioRow> {
    let quick = TABLE.iter().filter(|row| row.tier == Tier::Quick);
    let counted = quick.filter_map(|row| match row.states {
        StateCount::Counted(states) if states > 0 => Some((states, row)),
        _ => None,
    });
    counted.max_by_key(|(states, _)| *states).map(|(_, row)| row)
}

/// The cost of one exhaustive search. The process of a workload passes it to its parent as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The name of the scenario or [`Baseline`].
    pub(crate) scenario: String,
    /// How many threads searched.
    pub(crate) threads: NonZeroUsize,
    /// The number of unique states.
    pub(crate) unique_states: usize,
    /// The number of states that were generated: new ones, known ones and the initial ones.
    pub(crate) transitions: usize,
    /// Wall time of the search.
    pub(crate) seconds: f64,
    /// Processor time of all threads of the search, in user and kernel mode.
    pub(crate) cpu_seconds: f64,
    /// The growth of resident memory, from before the search to its peak.
    pub(crate) peak_memory_growth_bytes: u64,
}

impl Measurement {
    /// The rate that a person at the terminal sees.
    pub(crate) fn transitions_per_second(&self) -> f64 {
        approximate(self.transitions) / self.seconds
    }

    /// The rate independent of the number of threads and of other load on the machine.
    pub(crate) fn transitions_per_cpu_second(&self) -> f64 {
        approximate(self.transitions) / self.cpu_seconds
    }

    /// The memory that a state costs. It limits the largest search that a machine can hold.
    pub(crate) fn peak_bytes_per_unique_state(&self) -> f64 {
        let bytes = usize::try_from(self.peak_memory_growth_bytes).unwrap_or(usize::MAX);
        approximate(bytes) / approximate(self.unique_states)
    }

    /// One line of JSON, which [`process::run_apart`] reads from the standard output of a workload.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names and numbers can be written as JSON")
    }
}

/// Searches `model` depth first with `threads` threads, until no state is left.
///
/// The figures count only if the search was complete and every property is as it must be. So a
/// property that is violated, or a `sometimes` property that is not reached, is an error. The search
/// is then complete: stateright ends a search early only after a discovery for *every* property, and
/// an `always` property that holds has no discovery.
///
/// The memory figure is meaningful only in a process that has done nothing else.
///
/// # Panics
///
/// If the model has only `sometimes` properties: then a search that ended early could not be told
/// from a complete one.
pub(crate) fn measure<M>(
    scenario: &str,
    model: M,
    threads: NonZeroUsize,
) -> Result<Measurement, BenchError>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + PartialEq,
{
    assert!(
        model.properties().iter().any(|p| p.expectation != Expectation::Sometimes),
        "{scenario} needs a property that always holds, or its search may end early"
    );
    let resident_before = process::resident_bytes()?;
    let cpu_before = process::cpu_time();
    let started = Instant::now();

    let checker = model.checker().threads(threads.get()).spawn_dfs().join();

    let elapsed = started.elapsed();
    let cpu = process::cpu_time().saturating_sub(cpu_before);
    let peak = process::peak_resident_bytes()?;

    // Not before the measurement ends: this replays whole paths.
    let discoveries = checker.discoveries();
    for property in checker.model().properties() {
        let should_be_found = property.expectation == Expectation::Sometimes;
        if discoveries.contains_key(property.name) != should_be_found {
            return Err(BenchError::Property {
                scenario: scenario.to_owned(),
                property: property.name,
                expectation: property.expectation,
            });
        }
    }

    Ok(Measurement {
        scenario: scenario.to_owned(),
        threads,
        unique_states: checker.unique_state_count(),
        transitions: checker.state_count(),
        seconds: elapsed.as_secs_f64(),
        cpu_seconds: cpu.as_secs_f64(),
        peak_memory_growth_bytes: peak.saturating_sub(resident_before),
    })
}

/// A model that the scenario is compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Baseline {
    /// Paxos for one decision, with three clients: [`paxos_example`].
    PaxosExample,
    /// Two-phase commit with eight resource managers: [`two_phase_commit`].
    TwoPhaseCommit,
}

impl Baseline {
    /// The baseline with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::PaxosExample, Self::TwoPhaseCommit]
            .into_iter()
            .find(|baseline| baseline.name() == name)
    }

    /// Its name on the command line and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PaxosExample => "paxos_example",
            Self::TwoPhaseCommit => "two_phase_commit",
        }
    }

    /// The unique and the generated states of stateright's own example. The work is the same only if
    /// both numbers are.
    pub(crate) fn expected_states(self) -> (usize, usize) {
        match self {
            Self::PaxosExample => (1_194_428, 2_420_477),
            Self::TwoPhaseCommit => (1_745_408, 18_507_778),
        }
    }

    /// Searches the baseline in this process, and checks its numbers of states.
    pub(crate) fn run(self, threads: NonZeroUsize) -> Result<Measurement, BenchError> {
        let measurement = match self {
            Self::PaxosExample => measure(self.name(), paxos_example::model(3), threads),
            Self::TwoPhaseCommit => measure(self.name(), two_phase_commit::model(8), threads),
        }?;
        let found = (measurement.unique_states, measurement.transitions);
        if found != self.expected_states() {
            return Err(BenchError::States {
                scenario: self.name(),
                expected: self.expected_states(),
                found,
            });
        }
        Ok(measurement)
    }
}

/// A count as a float. It is exact up to 2^53, far more states than any search has.
#[expect(clippy::cast_precision_loss, reason = "a rate is not known to 53 bits anyway")]
fn approximate(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use stateright::Property;

    use super::*;

    /// Counts up to `limit`. Its properties: it stays below `bound`, and it reaches `goal`.
    struct Count {
        limit: u32,
        bound: u32,
        goal: u32,
    }

    impl Model for Count {
        type State = u32;
        type Action = ();

        fn init_states(&self) -> Vec<u32> {
            vec![0]
        }

        fn actions(&self, state: &u32, actions: &mut Vec<()>) {
            actions.extend((*state < self.limit).then_some(()));
        }

        fn next_state(&self, state: &u32, (): ()) -> Option<u32> {
            Some(state + 1)
        }

        fn properties(&self) -> Vec<Property<Self>> {
            vec![
                Property::always("below the bound", |model: &Self, state| *state < model.bound),
                Property::sometimes("at the goal", |model: &Self, state| *state == model.goal),
            ]
        }
    }

    fn count(limit: u32, bound: u32, goal: u32) -> Result<Measurement, BenchError> {
        measure("count", Count { limit, bound, goal }, NonZeroUsize::MIN)
    }

    #[test]
    fn a_measurement_counts_states_and_transitions() {
        let measurement = count(9, 10, 5).expect("it holds");
        assert_eq!(measurement.unique_states, 10);
        assert_eq!(measurement.transitions, 10);
        assert!(measurement.seconds > 0.0);
    }

    #[test]
    fn a_search_that_proves_nothing_is_no_measurement() {
        let violated = count(9, 5, 5).expect_err("it reaches the bound");
        assert!(violated.to_string().contains("below the bound"));
        let unreached = count(9, 10, 11).expect_err("it stops before the goal");
        assert!(unreached.to_string().contains("at the goal"));
    }

    #[test]
    fn a_measurement_survives_the_way_to_the_parent() {
        let measurement = count(3, 4, 3).expect("it holds");
        let read: Measurement = serde_json::from_str(&measurement.to_json()).expect("as written");
        assert_eq!(read, measurement);
    }

    #[test]
    fn every_peer_is_found_by_its_name() {
        for baseline in [Baseline::PaxosExample, Baseline::TwoPhaseCommit] {
            assert_eq!(Baseline::from_name(baseline.name()), Some(baseline));
        }
        assert_eq!(Baseline::from_name("rivals"), None);
    }
}
