//! A report as a table, for people.

use std::fmt::Write as _;

use indicatif::HumanCount;

use super::columns::{Alignment, line_up};
use super::{PropertyVerdict, RunReport, ScenarioReport, ScenarioVerdict};
use crate::progress::rate;
use crate::scenarios::StateCount;
use crate::search::StopReason;

/// A note on each scenario that does not hold, then the table and the totals.
pub fn text(report: &RunReport) -> String {
    let mut rows = vec![
        ["scenario", "what it shows", "states", "transitions", "depth", "time", "verdict"]
            .map(str::to_owned),
    ];
    rows.extend(report.scenarios.iter().map(row));
    let sides = [
        Alignment::Left,
        Alignment::Left,
        Alignment::Right,
        Alignment::Right,
        Alignment::Right,
        Alignment::Right,
        Alignment::Left,
    ];
    let mut text = String::new();
    for scenario in &report.scenarios {
        notes(scenario, &mut text);
    }
    let text = if text.is_empty() { text } else { text.trim_start().to_owned() + "\n" };
    text + &line_up(sides, &rows) + &totals(report)
}

fn row(scenario: &ScenarioReport) -> [String; 7] {
    [
        scenario.name.clone(),
        scenario.shows.clone(),
        HumanCount(scenario.unique_states).to_string(),
        HumanCount(scenario.transitions).to_string(),
        scenario.max_depth.to_string(),
        format!("{:.1}s", scenario.seconds),
        verdict(scenario).to_owned(),
    ]
}

/// The verdict in one or two words.
pub fn verdict(scenario: &ScenarioReport) -> &'static str {
    let is_wrong = scenario.properties.iter().any(|property| property.verdict.is_wrong());
    match scenario.verdict {
        ScenarioVerdict::Holds => "holds",
        ScenarioVerdict::Violated if !is_wrong => "count differs",
        ScenarioVerdict::Violated => "violated",
        ScenarioVerdict::Incomplete => "incomplete",
    }
}

fn totals(report: &RunReport) -> String {
    let scenarios = &report.scenarios;
    let emptied = scenarios.iter().filter(|it| it.complete).count();
    let frontiers = if report.complete {
        "every frontier emptied".to_owned()
    } else {
        format!("INCOMPLETE: {emptied} of {} frontiers emptied", scenarios.len())
    };
    let states = scenarios.iter().map(|it| it.unique_states).sum();
    let transitions = scenarios.iter().map(|it| it.transitions).sum();
    let seconds: f64 = scenarios.iter().map(|it| it.seconds).sum();
    let elapsed = std::time::Duration::from_secs_f64(seconds);
    let mut text = format!(
        "{frontiers} · {} · {} states · {} transitions/s · {seconds:.1} s\n",
        counted(scenarios.len(), "scenario"),
        in_short(states),
        in_short(rate(transitions, elapsed)),
    );
    let _ = writeln!(
        text,
        "chance that a fingerprint collision hid a state: {:.0e}",
        report.collision_probability
    );
    let lively: Vec<_> = scenarios.iter().filter_map(|it| it.liveness).collect();
    if !lively.is_empty() {
        let sampled: u64 = lively.iter().map(|(sampled, _)| sampled).sum();
        let remembered: usize = lively.iter().map(|(_, remembered)| remembered).sum();
        let _ = writeln!(
            text,
            "liveness: checked from every state; from a sample of {}, also with messages\n  in flight delivered first; {} endings remembered",
            HumanCount(sampled),
            HumanCount(remembered as u64)
        );
    }
    text
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A number with about three digits and a unit: 24.8 M.
fn in_short(number: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", number / unit, number % unit * 10 / unit);
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{} k", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} M", tenths(1_000_000)),
        _ => format!("{} G", tenths(1_000_000_000)),
    }
}

/// Why a scenario does not hold.
fn notes(scenario: &ScenarioReport, text: &mut String) {
    let name = &scenario.name;
    for property in &scenario.properties {
        let what = property.property;
        let note = match property.verdict {
            PropertyVerdict::Violated => format!("violated: {what}"),
            PropertyVerdict::Unreached => format!("never reached: {what}"),
            _ => continue,
        };
        let _ = writeln!(text, "\n{name}: {note}");
    }
    watched(scenario, text);
    if scenario.is_miscounted()
        && let StateCount::Counted(expected) = scenario.expected
    {
        let _ = writeln!(
            text,
            "\n{name}: {} unique states, but {} in the table of scenarios\n  the protocol or a reduction has changed; if that was the intention, put {} in checks/src/scenarios/",
            HumanCount(scenario.unique_states),
            HumanCount(expected),
            grouped(scenario.unique_states)
        );
    }
    if !scenario.complete {
        let all = scenario.expected.number();
        let of = if all > 0 { format!(" of {}", HumanCount(all)) } else { String::new() };
        let why = match &scenario.stopped {
            Some(StopReason::Interrupted) => "stopped by Ctrl-C".to_owned(),
            Some(StopReason::Memory) => {
                "stopped at the memory limit\n  --memory-max allows more".to_owned()
            }
            Some(StopReason::Deadline) => "stopped at the time limit".to_owned(),
            Some(StopReason::Panicked(said)) => format!("a thread of the checker panicked: {said}"),
            None if scenario.verdict == ScenarioVerdict::Violated => {
                "stopped at the violation".to_owned()
            }
            None => "not begun".to_owned(),
        };
        let _ = writeln!(
            text,
            "\n{name}: incomplete after {}{of} states: {why}",
            HumanCount(scenario.unique_states)
        );
    }
}

/// Which witnesses were reached, where none must be.
fn watched(scenario: &ScenarioReport, text: &mut String) {
    let of = |verdict| {
        let properties = scenario.properties.iter().filter(move |it| it.verdict == verdict);
        properties.flat_map(|it| ["\n    ", it.property.name()]).collect::<String>()
    };
    let unneeded = of(PropertyVerdict::Unneeded);
    if !unneeded.is_empty() {
        let reached = of(PropertyVerdict::Reached);
        let name = &scenario.name;
        let _ = write!(text, "\n{name}: `reaches` demands nothing, so nothing must be reached");
        if !reached.is_empty() {
            let _ = write!(text, "\n  reached:{reached}");
        }
        let _ = writeln!(text, "\n  not reached:{unneeded}");
    }
}

/// A number as a literal of Rust: `1_234`.
fn grouped(number: u64) -> String {
    HumanCount(number).to_string().replace(',', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(in_short(999), "999");
        assert_eq!(in_short(24_849_999), "24.8 M");
        assert_eq!(in_short(1_000), "1.0 k");
        assert_eq!(grouped(76_210), "76_210");
    }
}
