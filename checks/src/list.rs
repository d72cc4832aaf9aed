//! `synod-check list`: the table of scenarios, and a scenario as a file.

use std::io::{self, Write};

use indicatif::HumanCount;
use serde::Serialize;

use crate::bounds::{self, Bounds};
use crate::cli::{Exit, ListArgs, tier_name};
use crate::report::columns::{Alignment, line_up};
use crate::scenarios::{ScenarioRow, StateCount, TABLE};

/// Prints the table of scenarios, or what was asked for in its place.
///
/// # Errors
///
/// If standard output cannot be written to.
pub fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let text = match args.toml {
        Some(row) => as_toml(row),
        None if args.json => as_json()?,
        None => table(),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Exit::Holds)
}

fn table() -> String {
    let mut rows = vec![["scenario", "tier", "states", "what it shows"].map(str::to_owned)];
    rows.extend(TABLE.iter().map(|row| {
        [row.name, tier_name(row.tier), &row.states.to_string(), row.shows].map(str::to_owned)
    }));
    let sides = [Alignment::Left, Alignment::Left, Alignment::Right, Alignment::Left];
    format!(
        "{}\n~ is an estimate. `synod-check run NAME` checks a scenario, `synod-check explore\n\
         NAME` opens it, `synod-check list --toml NAME` prints its bounds.\n",
        line_up(sides, &rows)
    )
}

/// The scenario as a file that can be changed and run.
pub fn as_toml(row: &ScenarioRow) -> String {
    let states = match row.states {
        StateCount::Counted(states) if states > 0 => {
            format!("{} unique states", HumanCount(states))
        }
        states => format!("unique states: {states}"),
    };
    let heading = format!(
        "{}: {}. It has {states}. Change it, and run it with `synod-check run --scenario FILE`.",
        row.name, row.shows
    );
    bounds::to_toml(&Bounds::from(&(row.scenario)()), &heading)
}

fn as_json() -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        shows: &'static str,
        tier: &'static str,
        /// The number that a run must count; `null` if there is none.
        states: Option<u64>,
        /// The number that is expected where nobody has counted.
        states_estimated: Option<u64>,
        /// The bounds, as in a file for `--scenario`.
        bounds: Bounds,
    }
    let rows = TABLE.iter().map(|row| Row {
        name: row.name,
        shows: row.shows,
        tier: tier_name(row.tier),
        states: match row.states {
            StateCount::Counted(states) if states > 0 => Some(states),
            _ => None,
        },
        states_estimated: match row.states {
            StateCount::Estimated(states) => Some(states),
            _ => None,
        },
        bounds: Bounds::from(&(row.scenario)()),
    });
    Ok(serde_json::to_string_pretty(&rows.collect::<Vec<_>>())? + "\n")
}
