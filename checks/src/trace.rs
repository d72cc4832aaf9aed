//! `synod-check trace`: shows how a cluster gets to a state that reaches or violates a property.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::HumanCount;
use synod_model::world::{ModelProperty, PropertyKind, Scenario};

use crate::cli::{Exit, TraceArgs};
use crate::hunt::hunt;
use crate::interrupt::Interrupt;
use crate::memory::MemoryLimit;
use crate::paths;
use crate::progress::ProgressLine;
use crate::search::{SearchLimits, SearchProgress, StopReason};

/// How long the shortest path is looked for. After that, any path will do.
const SHORTEST: Duration = Duration::from_mins(2);

/// Finds a path to the property and prints it.
///
/// # Errors
///
/// If the scenario has no such property, or the picture cannot be written.
pub fn trace(args: &TraceArgs) -> anyhow::Result<Exit> {
    let subject = args.own.subject(args.scenario)?;
    let property = find(&subject.scenario, &args.property, &subject.name)?;
    // Liveness takes most of the time of a search, so it is checked only if it was asked for.
    let liveness = property.kind() == PropertyKind::Liveness;
    let scenario = Scenario { liveness, ..subject.scenario.clone() };
    let is_needed = subject.demands_witnesses && scenario.properties().contains(&property);

    let memory = MemoryLimit::new(args.resources.memory_max)?;
    let any = SearchLimits { interrupt: Interrupt::listen()?, memory, deadline: None };
    let shortest = SearchLimits { deadline: Some(Instant::now() + SHORTEST), ..any.clone() };
    let line = ProgressLine::begin(&subject);
    let show = |progress: &SearchProgress| line.show(progress);
    let threads = args.resources.threads();
    let hunted = hunt(&scenario, property, threads, &shortest, Some(&any), show);
    let searched = HumanCount(hunted.progress.unique_states);
    line.end(&hunted.progress, "");

    let is_sometimes = property.kind() == PropertyKind::Sometimes;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {}", subject.name, property)?;
    let Some(path) = &hunted.path else {
        let verdict = match (&hunted.stopped, is_sometimes) {
            (None, true) if !is_needed => {
                format!("never reached in any of {searched} states, nor must it be")
            }
            (None, true) => format!("never reached in any of {searched} states"),
            (None, false) => {
                format!("holds in all of {searched} states: there is nothing to trace")
            }
            (Some(StopReason::Panicked(said)), _) => {
                format!(
                    "not found: after {searched} states a thread of the checker panicked: {said}"
                )
            }
            (Some(StopReason::Memory), _) => {
                format!(
                    "not found in {searched} states: the memory limit was reached\n  --memory-max allows more"
                )
            }
            (Some(_), _) => {
                format!("not found in {searched} states: the search was stopped before its end")
            }
        };
        writeln!(out, "{verdict}")?;
        return Ok(match (hunted.stopped, is_sometimes) {
            (None, true) if is_needed => Exit::Violated,
            (None, _) => Exit::Holds,
            (Some(_), _) => Exit::Incomplete,
        });
    };
    writeln!(
        out,
        "{} after {} steps{}; {searched} states searched\n",
        if is_sometimes { "reached" } else { "violated" },
        path.steps(),
        if hunted.is_shortest {
            ", the fewest possible"
        } else {
            " (a shorter path may exist: the search for it grew too large)"
        },
    )?;
    let svg = args.svg.as_deref();
    let described = paths::described(&subject, property, path, svg)?;
    out.write_all(described.as_bytes())?;
    Ok(if is_sometimes { Exit::Holds } else { Exit::Violated })
}

/// The property with this name, or the only property whose name contains `name`.
fn find(scenario: &Scenario, name: &str, scenario_name: &str) -> anyhow::Result<ModelProperty> {
    // Any witness can be asked for, also one that the scenario need not reach.
    let of_scenario = scenario.properties();
    let is_asked =
        |it: &ModelProperty| it.kind() == PropertyKind::Sometimes || of_scenario.contains(it);
    let properties: Vec<_> = ModelProperty::all().filter(is_asked).collect();
    if let Some(property) = properties.iter().find(|property| property.name() == name) {
        return Ok(*property);
    }
    let part = name.to_lowercase();
    let matches = |property: &&ModelProperty| property.name().to_lowercase().contains(&part);
    let matching: Vec<_> = properties.iter().filter(matches).copied().collect();
    match matching.as_slice() {
        [property] => Ok(*property),
        [] => bail!(
            "scenario {scenario_name} has no property {name:?}\n  it has:{}",
            listed(&properties)
        ),
        _ => bail!(
            "scenario {scenario_name} has several properties with {name:?} in their names\n  these:{}",
            listed(&matching)
        ),
    }
}

/// Their names, one on each line.
fn listed(properties: &[ModelProperty]) -> String {
    properties.iter().flat_map(|property| ["\n    ", property.name()]).collect()
}
