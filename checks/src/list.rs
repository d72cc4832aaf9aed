//! `synod-check list`: the table of scenarios.

use std::io::{self, Write};

use indicatif::HumanCount;

use crate::cli::{Exit, tier_name};
use crate::report::columns::{Alignment, line_up};
use crate::scenarios::{StateCount, TABLE};

/// Prints the table of scenarios.
///
/// # Errors
///
/// If standard output cannot be written to.
pub fn list() -> anyhow::Result<Exit> {
    let mut rows = vec![["scenario", "tier", "states", "what it shows"].map(str::to_owned)];
    rows.extend(TABLE.iter().map(|row| {
        let states = match row.states {
            StateCount::Counted(0) => "not counted".to_owned(),
            StateCount::Counted(states) => HumanCount(states).to_string(),
            StateCount::Estimated(states) => format!("~{}", HumanCount(states)),
        };
        [row.name.to_owned(), tier_name(row.tier).to_owned(), states, row.shows.to_owned()]
    }));
    let text =
        line_up([Alignment::Left, Alignment::Left, Alignment::Right, Alignment::Left], &rows);
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    writeln!(
        out,
        "\n~ is an estimate. `synod-check run NAME` checks a scenario, `synod-check explore NAME` opens it."
    )?;
    Ok(Exit::Holds)
}
