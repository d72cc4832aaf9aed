//! The three measurements side by side: as JSON for programs, as a table for people.

use std::fmt;

use serde::Serialize;

use super::Measurement;

/// The measurements of a scenario of Synod's model and of the two baselines.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BenchReport {
    synod: Figures,
    paxos_example: Figures,
    two_phase_commit: Figures,
}

/// A measurement with the rates that follow from it.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    measurement: Measurement,
    transitions_per_second: f64,
    transitions_per_cpu_second: f64,
    peak_bytes_per_unique_state: f64,
}

/// A goal for a ratio or a size.
struct Goal {
    what: &'static str,
    found: f64,
    wanted: f64,
    /// More is better for a rate, less for memory.
    more_is_better: bool,
}

impl BenchReport {
    /// Compares the scenario with its baselines.
    pub(crate) fn new(
        synod: Measurement,
        paxos_example: Measurement,
        two_phase_commit: Measurement,
    ) -> Self {
        Self {
            synod: Figures::new(synod),
            paxos_example: Figures::new(paxos_example),
            two_phase_commit: Figures::new(two_phase_commit),
        }
    }

    /// One document, as `bench --json` prints it.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names and numbers can be written as JSON")
    }

    /// The goals for this model, with `always` and `sometimes` properties on and liveness off.
    fn goals(&self) -> [Goal; 3] {
        let (synod, paxos, commit) = (&self.synod, &self.paxos_example, &self.two_phase_commit);
        [
            Goal {
                what: "times the Paxos example's transitions per second",
                found: synod.transitions_per_second / paxos.transitions_per_second,
                wanted: 10.0,
                more_is_better: true,
            },
            Goal {
                what: "of two-phase commit's transitions per CPU-second",
                found: synod.transitions_per_cpu_second / commit.transitions_per_cpu_second,
                wanted: 0.2,
                more_is_better: true,
            },
            Goal {
                what: "bytes for each unique state",
                found: synod.peak_bytes_per_unique_state,
                wanted: 32.0,
                more_is_better: false,
            },
        ]
    }
}

impl Figures {
    fn new(measurement: Measurement) -> Self {
        Self {
            transitions_per_second: measurement.transitions_per_second(),
            transitions_per_cpu_second: measurement.transitions_per_cpu_second(),
            peak_bytes_per_unique_state: measurement.peak_bytes_per_unique_state(),
            measurement,
        }
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [&self.synod, &self.paxos_example, &self.two_phase_commit];
        let name_width = rows.map(|row| row.measurement.scenario.len());
        let name_width = name_width.into_iter().fold("workload".len(), usize::max);
        writeln!(
            f,
            "{:name_width$}{:>13}{:>14}{:>8}{:>16}{:>14}{:>14}",
            "workload",
            "states",
            "transitions",
            "time",
            "transitions/s",
            "/CPU-second",
            "bytes/state"
        )?;
        for row in rows {
            writeln!(
                f,
                "{:name_width$}{:>13}{:>14}{:>7.1}s{:>16}{:>14}{:>14.1}",
                row.measurement.scenario,
                grouped(row.measurement.unique_states.to_string()),
                grouped(row.measurement.transitions.to_string()),
                row.measurement.seconds,
                grouped(format!("{:.0}", row.transitions_per_second)),
                grouped(format!("{:.0}", row.transitions_per_cpu_second)),
                row.peak_bytes_per_unique_state,
            )?;
        }
        writeln!(f)?;
        for goal in self.goals() {
            writeln!(f, "{goal}")?;
        }
        write!(f, "threads: {}", self.synod.measurement.threads)
    }
}

impl Goal {
    fn is_met(&self) -> bool {
        if self.more_is_better { self.found >= self.wanted } else { self.found <= self.wanted }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = if self.more_is_better { "least" } else { "most" };
        let verdict = if self.is_met() { "met" } else { "missed" };
        write!(f, "{:.2} {} (goal: at {bound} {}): {verdict}", self.found, self.what, self.wanted)
    }
}

/// Puts commas between thousands: 18,507,778.
fn grouped(digits: impl AsRef<str>) -> String {
    let digits = digits.as_ref();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn measurement(scenario: &str, transitions: usize) -> Measurement {
        Measurement {
            scenario: scenario.to_owned(),
            threads: NonZeroUsize::MIN,
            unique_states: 1_000,
            transitions,
            seconds: 2.0,
            cpu_seconds: 4.0,
            peak_memory_growth_bytes: 40_000,
        }
    }

    fn report() -> BenchReport {
        BenchReport::new(
            measurement("rivals", 1_000_000),
            measurement("paxos_example", 80_000),
            measurement("two_phase_commit", 10_000_000),
        )
    }

    #[test]
    fn json_names_each_workload_and_its_rates() {
        let json: serde_json::Value = serde_json::from_str(&report().to_json()).expect("JSON");
        assert_eq!(json["synod"]["scenario"], "rivals");
        assert_eq!(json["synod"]["transitions_per_second"], 500_000.0);
        assert_eq!(json["synod"]["transitions_per_cpu_second"], 250_000.0);
        assert_eq!(json["synod"]["peak_bytes_per_unique_state"], 40.0);
        assert_eq!(json["paxos_example"]["transitions"], 80_000);
        assert_eq!(json["two_phase_commit"]["unique_states"], 1_000);
    }

    #[test]
    fn the_table_says_which_goals_are_met() {
        let text = report().to_string();
        let verdicts: Vec<_> = text.lines().filter(|line| line.contains("goal")).collect();
        assert_eq!(
            verdicts,
            [
                "12.50 times the Paxos example's transitions per second (goal: at least 10): met",
                "0.10 of two-phase commit's transitions per CPU-second (goal: at least 0.2): missed",
                "40.00 bytes for each unique state (goal: at most 32): missed",
            ]
        );
        assert!(text.contains("10,000,000"), "{text}");
    }

    #[test]
    fn thousands_are_set_apart() {
        let numbers = ["7", "123", "1234", "18507778"].map(grouped);
        assert_eq!(numbers, ["7", "123", "1,234", "18,507,778"]);
    }
}
