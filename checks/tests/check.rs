//! The report on a scenario: it tells what stopped a search, and what differs from the table.

use std::num::NonZeroUsize;
use std::time::Instant;

use synod_checks::cli::Exit;
use synod_checks::interrupt::Interrupt;
use synod_checks::memory::MemoryLimit;
use synod_checks::report::{
    PropertyVerdict, RunReport, ScenarioReport, ScenarioVerdict, json, table,
};
use synod_checks::run::check;
use synod_checks::scenarios::{ScenarioRow, StateCount, Tier};
use synod_checks::search::{SearchLimits, StopReason};
use synod_checks::subject::Subject;
use synod_model::world::{PropertyKind, Replicas, Scenario, ScenarioSubmission, Witness};

/// One coordinator, one value: a few hundred states.
const TINY: ScenarioRow = ScenarioRow {
    name: "tiny",
    shows: "one coordinator has one value accepted",
    tier: Tier::Quick,
    states: StateCount::Estimated(1000),
    scenario: || Scenario {
        submissions: vec![ScenarioSubmission::request(1, b'a', Replicas::of(&[0]))],
        reaches: vec![Witness::CommittedEverywhere],
        ..Scenario::new(3, 1, &[3])
    },
};

fn limits() -> SearchLimits {
    let memory = MemoryLimit::new(None).expect("a machine with memory");
    SearchLimits { interrupt: Interrupt::default(), memory, deadline: None }
}

fn checked(row: &ScenarioRow, limits: &SearchLimits) -> ScenarioReport {
    let threads = NonZeroUsize::new(2).expect("two");
    let (report, traces) = check(&Subject::from(row), threads, limits);
    assert_eq!(traces, "", "nothing is violated");
    report
}

fn report(scenario: ScenarioReport) -> RunReport {
    RunReport::new(Some(Tier::Quick), vec![scenario])
}

#[test]
fn what_is_as_it_must_be_holds() {
    let scenario = checked(&TINY, &limits());
    assert_eq!((scenario.verdict, scenario.complete), (ScenarioVerdict::Holds, true));
    assert!(scenario.unique_states > 100 && scenario.transitions > scenario.unique_states);
    assert!(scenario.peak_memory_bytes.is_some());
    for property in &scenario.properties {
        let (verdict, has_path) = match property.property.kind() {
            PropertyKind::Sometimes => (PropertyVerdict::Reached, true),
            _ => (PropertyVerdict::Holds, false),
        };
        let found = (property.verdict, property.steps.is_some());
        assert_eq!(found, (verdict, has_path), "{}", property.property);
    }
    let report = report(scenario);
    assert!(report.collision_probability > 0.0 && report.collision_probability < 1e-12);
    assert_eq!(report.exit(), Exit::Holds);
    let text = table::text(&report);
    assert!(text.contains("every frontier emptied · 1 scenario · "), "{text}");
}

#[test]
fn the_same_states_are_counted_every_time() {
    let once = checked(&TINY, &limits());
    let again = ScenarioRow { states: StateCount::Counted(once.unique_states), ..TINY };
    let again = checked(&again, &limits());
    assert_eq!(again.verdict, ScenarioVerdict::Holds);
    assert_eq!(again.transitions, once.transitions);
}

#[test]
fn another_number_of_states_than_the_table_says_fails() {
    for expected in [0, 7] {
        let scenario =
            checked(&ScenarioRow { states: StateCount::Counted(expected), ..TINY }, &limits());
        assert_eq!((scenario.verdict, scenario.complete), (ScenarioVerdict::Violated, true));
        let counted = scenario.unique_states;
        let report = report(scenario);
        assert_eq!(report.exit(), Exit::Violated);
        let text = table::text(&report);
        let note = format!("tiny: {counted} unique states, but {expected} in the table");
        assert!(text.contains(&note) && text.contains("count differs"), "{text}");
    }
}

#[test]
fn what_is_never_reached_fails() {
    let scenario = || {
        let mut scenario = (TINY.scenario)();
        scenario.reaches = vec![Witness::TwoCoordinate];
        scenario
    };
    let scenario = checked(&ScenarioRow { scenario, ..TINY }, &limits());
    assert_eq!((scenario.verdict, scenario.complete), (ScenarioVerdict::Violated, true));
    let property = scenario.properties.last().expect("a property");
    assert_eq!((property.verdict, property.steps), (PropertyVerdict::Unreached, None));
    let report = report(scenario);
    assert_eq!(report.exit(), Exit::Violated);
    assert!(table::text(&report).contains("tiny: never reached: two replicas coordinate at once"));
}

#[test]
fn a_search_that_was_stopped_is_incomplete_and_says_how_far_it_came() {
    // The scenario is so large that the search cannot end before it is stopped.
    let scenario = || {
        let submissions = vec![ScenarioSubmission::request(1, b'a', Replicas::ALL)];
        Scenario { submissions, crashes: 3, ..Scenario::new(3, 2, &[1, 2, 3, 4, 5]) }
    };
    let row = ScenarioRow { scenario, states: StateCount::Counted(1), ..TINY };
    let deadline = Some(Instant::now() + std::time::Duration::from_millis(300));
    let scenario = checked(&row, &SearchLimits { deadline, ..limits() });
    assert_eq!((scenario.verdict, scenario.complete), (ScenarioVerdict::Incomplete, false));
    assert_eq!(scenario.stopped, Some(StopReason::Deadline));
    assert!(scenario.unique_states > 1);
    assert!(scenario.properties.iter().all(|property| {
        matches!(property.verdict, PropertyVerdict::Incomplete | PropertyVerdict::Reached)
    }));
    let report = report(scenario);
    assert_eq!((report.complete, report.exit()), (false, Exit::Incomplete));
    let text = table::text(&report);
    assert!(text.contains("INCOMPLETE: 0 of 1 frontiers emptied"), "{text}");
    assert!(text.contains("tiny: incomplete after "), "{text}");
}

#[test]
fn a_scenario_that_nobody_came_to_is_incomplete() {
    let limits = limits();
    limits.interrupt.set();
    let report = report(checked(&TINY, &limits));
    assert_eq!((report.complete, report.exit()), (false, Exit::Incomplete));
    assert!(table::text(&report).contains("tiny: incomplete after 0 of 1,000 states: not begun"));
}

#[test]
fn the_json_document_is_the_one_that_was_promised() {
    let report = report(checked(&TINY, &limits()));
    let mut text = Vec::new();
    json::print(&report, &mut text).expect("memory takes everything");
    let document: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let keys = |value: &serde_json::Value| {
        let mut keys: Vec<_> = value.as_object().expect("an object").keys().cloned().collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(keys(&document), "collision_probability complete scenarios tier");
    assert_eq!(document["tier"], "quick");
    assert_eq!(document["complete"], true);
    let scenario = &document["scenarios"][0];
    assert_eq!(
        keys(scenario),
        "complete max_depth name peak_memory_bytes properties seconds transitions unique_states \
         verdict"
    );
    assert_eq!(scenario["verdict"], "holds");
    let properties = scenario["properties"].as_array().expect("an array");
    for property in properties {
        assert_eq!(keys(property), "kind name steps verdict");
        let is_sometimes = property["kind"] == "sometimes";
        assert_eq!(property["verdict"], if is_sometimes { "reached" } else { "holds" });
        assert_eq!(property["steps"].is_u64(), is_sometimes);
        assert_eq!(property["steps"].is_null(), !is_sometimes);
    }
    let kinds: Vec<_> = properties.iter().map(|it| it["kind"].as_str().expect("text")).collect();
    for kind in ["always", "sometimes", "liveness"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}
