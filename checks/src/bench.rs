//! How fast Synod's model is checked, beside two models that anybody can check the figure against.
//!
//! A rate alone says little: it depends on the machine, and on what a state of the model holds. So
//! [`BenchReport`] puts three searches side by side, made on the same machine, by the same checker,
//! with the same number of threads:
//!
//! - the largest scenario of the quick tier, which is what is really asked about;
//! - [`paxos_example`]: Paxos for one decision, as one would first write it with stateright's
//!   actors. It is the same protocol without our reductions, so it tells what they bring;
//! - [`two_phase_commit`]: a model with hardly any work of its own. It tells what the framework
//!   costs, which no model can get below.
//!
//! The two [`Baseline`]s are our own renderings of examples that come with stateright, kept equal
//! to them in what they explore and in how a state is represented. [`Baseline::run`] holds them to the
//! exact number of states that those reach: a workload that drifts is an error, not a new figure.
//!
//! # What is measured
//!
//! [`measure`] searches a model depth first until nothing is left to visit, and takes wall time,
//! processor time, and how far the resident memory rose. The last of these is only true in a
//! process that has done nothing else: memory that an earlier search has freed would be used again,
//! and no growth be seen. Hence [`process::run_apart`], which starts this same program anew for
//! every workload.

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

/// Searches the scenario and its peers, each in a process of its own, and prints the figures.
///
/// # Errors
///
/// If one of them cannot be measured.
pub fn bench(args: &BenchArgs) -> anyhow::Result<Exit> {
    let threads = Resources { threads: args.threads, memory_max: None }.threads();
    let largest = largest().context(
        "no scenario of tier quick has its states counted, so none is the largest\n  `synod-check run` counts them: put the numbers in checks/src/scenarios.rs",
    )?;
    let measured = |name: &str| {
        // On standard error, for it is only to say that something goes on.
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

/// Searches one workload in this process, and prints the measurement as a line of JSON.
///
/// # Errors
///
/// If there is no such workload, or it is not what it should be.
pub fn workload(args: &WorkloadArgs) -> anyhow::Result<Exit> {
    let name = args.workload.as_str();
    let measurement = match (Baseline::from_name(name), scenarios::find(name)) {
        (Some(baseline), _) => baseline.run(args.threads)?,
        (None, Some(row)) => {
            // What liveness remembers is not what a state costs.
            let scenario = Scenario { liveness: false, ..(row.scenario)() };
            measure(name, World::new(scenario), args.threads)?
        }
        (None, None) => bail!("there is no workload {name}"),
    };
    writeln!(io::stdout(), "{}", measurement.to_json())?;
    Ok(Exit::Holds)
}

/// The scenario of tier quick that has the most states, of those that were counted.
fn largest() -> Option<&'static ScenarioRow> {
    let quick = TABLE.iter().filter(|row| row.tier == Tier::Quick);
    let counted = quick.filter_map(|row| match row.states {
        StateCount::Counted(states) if states > 0 => Some((states, row)),
        _ => None,
    });
    counted.max_by_key(|(states, _)| *states).map(|(_, row)| row)
}

/// What one exhaustive search cost. As JSON, it is what a workload's process tells its parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The name of what was searched: a scenario, or a [`Baseline`].
    pub(crate) scenario: String,
    /// How many threads searched.
    pub(crate) threads: NonZeroUsize,
    /// States that differ.
    pub(crate) unique_states: usize,
    /// States that were generated, met before or not, the initial ones among them.
    pub(crate) transitions: usize,
    /// Wall time of the search.
    pub(crate) seconds: f64,
    /// Processor time of the search, of all threads together, in user and kernel mode.
    pub(crate) cpu_seconds: f64,
    /// How far resident memory at its peak stood above where it was before the search.
    pub(crate) peak_memory_growth_bytes: u64,
}

impl Measurement {
    /// The rate that the person at the terminal sees.
    pub(crate) fn transitions_per_second(&self) -> f64 {
        approximate(self.transitions) / self.seconds
    }

    /// The rate that does not depend on how many threads there were, nor on who else was at work.
    pub(crate) fn transitions_per_cpu_second(&self) -> f64 {
        approximate(self.transitions) / self.cpu_seconds
    }

    /// What a state costs in memory. It bounds the largest search that fits in a machine.
    pub(crate) fn peak_bytes_per_unique_state(&self) -> f64 {
        let bytes = usize::try_from(self.peak_memory_growth_bytes).unwrap_or(usize::MAX);
        approximate(bytes) / approximate(self.unique_states)
    }

    /// One line of JSON, as [`process::run_apart`] expects it on a workload's standard output.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names and numbers can be written as JSON")
    }
}

/// Searches `model` depth first, with that many threads, until no state is left to visit.
///
/// The figures count only if the search was complete and proved something, so it is an error if a
/// property does not hold, or if a state that is promised to be reachable was not reached. That no
/// state was left out follows: nothing bounds the search but its frontier, and stateright ends
/// early only once it has found something for *all* properties, and for one that always holds there
/// is nothing to find.
///
/// Call it in a process of its own, or the memory figure means nothing.
///
/// # Panics
///
/// If the model has only sometimes-properties: its search might end early, and nobody could tell.
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

    // Only now: finding out replays whole paths.
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

/// A model that is not ours to make faster, and that the scenario is compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Baseline {
    /// Paxos for one decision, with three clients: [`paxos_example`].
    PaxosExample,
    /// Two-phase commit with eight resource managers: [`two_phase_commit`].
    TwoPhaseCommit,
}

impl Baseline {
    /// The peer of that name, if there is one.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::PaxosExample, Self::TwoPhaseCommit]
            .into_iter()
            .find(|baseline| baseline.name() == name)
    }

    /// What it is called on the command line and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PaxosExample => "paxos_example",
            Self::TwoPhaseCommit => "two_phase_commit",
        }
    }

    /// The unique and the generated states of stateright's own example. It is the same work only if
    /// both are reached exactly.
    pub(crate) fn expected_states(self) -> (usize, usize) {
        match self {
            Self::PaxosExample => (1_194_428, 2_420_477),
            Self::TwoPhaseCommit => (1_745_408, 18_507_778),
        }
    }

    /// Searches it in this process, and checks that it is still what it is to be compared with.
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

/// The number for a quotient: exact up to 2^53, which no search comes near.
#[expect(clippy::cast_precision_loss, reason = "a rate is not known to 53 bits anyway")]
fn approximate(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use stateright::Property;

    use super::*;

    /// Counts up to a limit, and claims that it stays below a bound and that it gets to a goal.
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
