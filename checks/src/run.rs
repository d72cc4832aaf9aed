//! `synod-check run`: checks scenarios, one after another.
//!
//! A search ends when its frontier is empty, or when something stops it: a violation, after which a
//! count of the states would say nothing more; Ctrl-C; the memory limit; a panic. A search that was
//! stopped is never reported as complete.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::bail;
use stateright::{Checker, HasDiscoveries, Model};
use synod_model::world::{ModelProperty, PropertyKind, World};

use crate::cli::{Exit, RunArgs, tier_name};
use crate::hunt::{Indices, hunt};
use crate::interrupt::Interrupt;
use crate::memory::MemoryLimit;
use crate::paths;
use crate::progress::ProgressLine;
use crate::report::{PropertyReport, PropertyVerdict, RunReport, ScenarioReport, ScenarioVerdict};
use crate::report::{json, table};
use crate::scenarios::{ScenarioRow, TABLE, Tier};
use crate::search::{SearchEnd, SearchLimits, SearchProgress, watch};
use crate::subject::Subject;

/// How long a run looks for the shortest path to a violation.
const HUNT: Duration = Duration::from_secs(20);

/// Checks the scenarios that were asked for, and prints the report.
///
/// # Errors
///
/// If the arguments contradict one another, or the report cannot be written.
pub fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    let (tier, subjects) = chosen(args)?;
    let memory = MemoryLimit::new(args.resources.memory_max)?;
    let limits = SearchLimits { interrupt: Interrupt::listen()?, memory, deadline: None };
    let threads = args.resources.threads();
    let mut traces = String::new();
    let mut scenarios = Vec::new();
    for subject in &subjects {
        let (scenario, trace) = check(subject, threads, &limits);
        scenarios.push(scenario);
        traces.push_str(&trace);
    }
    let report = RunReport::new(tier, scenarios);
    let mut out = io::stdout().lock();
    if args.json {
        io::stderr().write_all(traces.as_bytes())?;
        json::print(&report, &mut out)?;
    } else {
        // The table comes last, where people look first.
        out.write_all(traces.as_bytes())?;
        out.write_all(table::text(&report).as_bytes())?;
    }
    out.flush()?;
    Ok(report.exit())
}

/// The scenarios that were asked for, and their tier if all of them belong to one.
fn chosen(args: &RunArgs) -> anyhow::Result<(Option<Tier>, Vec<Subject>)> {
    if !args.own.is_empty() {
        if let Some(tier) = args.tier {
            bail!(
                "tier {}, and bounds of your own\n  bounds go with one scenario, or with none",
                tier_name(tier)
            );
        }
        return match args.scenarios.as_slice() {
            [] => Ok((None, vec![args.own.subject(None)?])),
            [row] => Ok((None, vec![args.own.subject(Some(row))?])),
            several => bail!(
                "{} scenarios, and bounds of your own\n  bounds go with one scenario, or with none",
                several.len()
            ),
        };
    }
    let (tier, rows) = chosen_rows(args)?;
    Ok((tier, rows.into_iter().map(Subject::from).collect()))
}

fn chosen_rows(args: &RunArgs) -> anyhow::Result<(Option<Tier>, Vec<&'static ScenarioRow>)> {
    if args.scenarios.is_empty() {
        let tier = args.tier.unwrap_or(Tier::Quick);
        let rows: Vec<_> = TABLE.iter().filter(|row| row.tier == tier).collect();
        if rows.is_empty() {
            bail!("tier {} has no scenarios\n  `synod-check list` shows them all", tier_name(tier));
        }
        return Ok((Some(tier), rows));
    }
    let mut rows: Vec<&'static ScenarioRow> = Vec::new();
    for &row in &args.scenarios {
        if let Some(tier) = args.tier
            && row.tier != tier
        {
            let (is, asked) = (tier_name(row.tier), tier_name(tier));
            bail!(
                "scenario {} is in tier {is}, not in {asked}\n  leave out --tier: a scenario that is named is run, whatever its tier",
                row.name
            );
        }
        if !rows.iter().any(|known| known.name == row.name) {
            rows.push(row);
        }
    }
    let first = rows[0].tier;
    let tier = rows.iter().all(|row| row.tier == first).then_some(first);
    Ok((tier, rows))
}

/// Checks one scenario. Returns its report, and the traces of the properties that are violated.
pub fn check(
    subject: &Subject,
    threads: NonZeroUsize,
    limits: &SearchLimits,
) -> (ScenarioReport, String) {
    if limits.interrupt.is_set() {
        return (not_begun(subject), String::new());
    }
    let line = ProgressLine::begin(subject);
    let (mut report, paths) = search(subject, threads, limits, |progress| line.show(progress));
    let progress = SearchProgress {
        unique_states: report.unique_states,
        transitions: report.transitions,
        max_depth: report.max_depth,
        elapsed: Duration::from_secs_f64(report.seconds),
        held: report.peak_memory_bytes,
    };
    line.end(&progress, table::verdict(&report));
    let traces = traces(subject, &mut report.properties, &paths, limits);
    (report, traces)
}

/// A trace for each violation. One state may violate several properties: they share a trace.
fn traces(
    subject: &Subject,
    reports: &mut [PropertyReport],
    paths: &HashMap<ModelProperty, Indices>,
    limits: &SearchLimits,
) -> String {
    let violated = reports.iter().filter(|it| it.verdict == PropertyVerdict::Violated);
    let mut left: Vec<_> = violated.map(|it| it.property).collect();
    let mut traces = String::new();
    while let Some(&property) = left.first() {
        let Some(path) = paths.get(&property) else {
            left.remove(0);
            continue;
        };
        let (path, is_shortest) = shortest(subject, property, path, limits);
        let mut shown = paths::violated_at_end(subject, &path, &left);
        if !shown.contains(&property) {
            shown.insert(0, property);
        }
        left.retain(|it| !shown.contains(it));
        for report in reports.iter_mut().filter(|it| shown.contains(&it.property)) {
            report.steps = Some(path.steps());
        }
        traces.push_str(&trace(subject, &shown, &path, is_shortest));
    }
    traces
}

/// Searches one scenario. Returns its report, and a path to each property that was found.
pub fn search(
    subject: &Subject,
    threads: NonZeroUsize,
    limits: &SearchLimits,
    show: impl FnMut(&SearchProgress),
) -> (ScenarioReport, HashMap<ModelProperty, Indices>) {
    let scenario = &subject.scenario;
    let world = World::new(scenario.clone());
    let checker = world.checker().threads(threads.get()).finish_when(HasDiscoveries::AnyFailures);
    let mut checker = checker.spawn_dfs();
    // A world that was stopped has no actions, so the paths are read before that.
    let before_stop = RefCell::new(None);
    let SearchEnd { stopped, progress, peak } = watch(
        &mut checker,
        limits,
        |checker| {
            before_stop.replace(Some(paths_found(checker)));
            checker.model().stop();
        },
        show,
    );
    let paths = before_stop.into_inner().unwrap_or_else(|| paths_found(&checker));
    let world = checker.model();
    let is_violated = paths.keys().any(|it| it.kind() != PropertyKind::Sometimes);
    let complete = stopped.is_none() && !world.is_stopped() && !is_violated;
    let properties = scenario.properties().into_iter().map(|property| {
        let path = paths.get(&property);
        PropertyReport {
            property,
            verdict: verdict(subject, property, path.is_some(), complete),
            steps: path.map(Indices::steps),
        }
    });
    let mut report = ScenarioReport {
        verdict: ScenarioVerdict::Incomplete,
        complete,
        unique_states: progress.unique_states,
        transitions: progress.transitions,
        max_depth: progress.max_depth,
        seconds: progress.elapsed.as_secs_f64(),
        peak_memory_bytes: peak,
        properties: properties.collect(),
        stopped,
        liveness: scenario.liveness.then(|| world.liveness_effort()),
        ..not_begun(subject)
    };
    report.judge();
    (report, paths)
}

/// The verdict on a property. `is_found` says whether a state was found that reaches or violates it,
/// `is_complete` whether every state was checked.
fn verdict(
    subject: &Subject,
    property: ModelProperty,
    is_found: bool,
    is_complete: bool,
) -> PropertyVerdict {
    match PropertyVerdict::new(property.kind(), is_found, is_complete) {
        PropertyVerdict::Unreached if !subject.demands_witnesses => PropertyVerdict::Unneeded,
        verdict => verdict,
    }
}

/// A path to each property that was found.
fn paths_found(checker: &impl Checker<World>) -> HashMap<ModelProperty, Indices> {
    let discoveries = checker.discoveries().into_iter();
    let found = discoveries.filter_map(|(name, path)| {
        let property = ModelProperty::from_name(name)?;
        Some((property, Indices::decode(&path.encode(checker.model()))))
    });
    found.collect()
}

/// The report of a scenario whose search has not begun.
fn not_begun(subject: &Subject) -> ScenarioReport {
    let properties = subject.scenario.properties().into_iter().map(|property| PropertyReport {
        property,
        verdict: PropertyVerdict::Incomplete,
        steps: None,
    });
    ScenarioReport {
        name: subject.name.clone(),
        shows: subject.shows.clone(),
        verdict: ScenarioVerdict::Incomplete,
        complete: false,
        unique_states: 0,
        transitions: 0,
        max_depth: 0,
        seconds: 0.0,
        peak_memory_bytes: None,
        properties: properties.collect(),
        expected: subject.states,
        stopped: None,
        liveness: None,
    }
}

/// The shortest path to a violation if it is found in time, else `path`, and which of the two it is.
fn shortest(
    subject: &Subject,
    property: ModelProperty,
    path: &Indices,
    limits: &SearchLimits,
) -> (Indices, bool) {
    let limits = SearchLimits { deadline: Some(Instant::now() + HUNT), ..limits.clone() };
    let line = ProgressLine::with_length("a short trace", 0);
    let show = |progress: &SearchProgress| line.show(progress);
    let hunted = hunt(&subject.scenario, property, NonZeroUsize::MIN, &limits, None, show);
    line.end(&hunted.progress, if hunted.path.is_some() { "found" } else { "not found" });
    match hunted.path {
        Some(path) => (path, true),
        None => (path.clone(), false),
    }
}

/// The trace of a violation, along `path`.
fn trace(
    subject: &Subject,
    violated: &[ModelProperty],
    path: &Indices,
    is_shortest: bool,
) -> String {
    let [property, others @ ..] = violated else {
        return String::new();
    };
    let others: String = others.iter().flat_map(|it| ["  and: ", it.name(), "\n"]).collect();
    let fewest = if is_shortest { ", the fewest possible" } else { "" };
    let heading = format!(
        "{}: {property}\n{others}violated after {} steps{fewest}\n\n",
        subject.name,
        path.steps()
    );
    let described = paths::described(subject, *property, path, None);
    // A picture that cannot be written must not cost the report.
    heading + &described.unwrap_or_else(|error| format!("not shown: {error:#}\n")) + "\n"
}

#[cfg(test)]
mod tests {
    use synod_model::world::Invariant;

    use super::*;

    /// No property is violated here. So the test says that two are.
    #[test]
    fn properties_that_one_state_violates_share_a_trace() {
        let subject = Subject::from(&TABLE[0]);
        let violated = [Invariant::OneCommittedValue, Invariant::CommittedIsChosen];
        let path = Indices(vec![0, 0]);
        let text = trace(&subject, &violated.map(ModelProperty::from), &path, true);
        let start = "rivals: no two replicas commit different values in a slot\n  \
                     and: what is committed is chosen\n\
                     violated after 1 steps, the fewest possible\n\nin the last state\n  r0  ";
        assert!(text.starts_with(start), "{text}");
        assert_eq!(text.matches("picture   ").count(), 1, "{text}");
    }
}
