//! What a command works on: a scenario of the table, or one with a user's own bounds.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::Args;
use synod_model::world::Scenario;

use crate::bounds::scenario::Contradiction;
use crate::bounds::{self, Bounds};
use crate::scenarios::{ScenarioRow, StateCount};

/// A scenario with a name.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The name in reports, in files and in the address of the explorer.
    pub name: String,
    /// What it shows.
    pub shows: String,
    /// The number of unique states, if it is known.
    pub states: StateCount,
    /// The bounds.
    pub scenario: Scenario,
    /// Whether the witnesses of the scenario must be reached. If not, the report says which ones are.
    pub demands_witnesses: bool,
    /// Whether it is a scenario of the table, so that its name alone says which bounds it has.
    pub is_of_table: bool,
    /// The arguments that name this scenario on the command line.
    pub arguments: String,
}

impl From<&ScenarioRow> for Subject {
    fn from(row: &ScenarioRow) -> Self {
        Self {
            name: row.name.to_owned(),
            shows: row.shows.to_owned(),
            states: row.states,
            scenario: (row.scenario)(),
            demands_witnesses: true,
            is_of_table: true,
            arguments: row.name.to_owned(),
        }
    }
}

impl Subject {
    /// The name in the address of the explorer. Other bounds have another one, so that a link never
    /// shows a state of another scenario.
    pub fn slug(&self) -> String {
        if self.is_of_table {
            return self.name.clone();
        }
        let bounds = Bounds::from(&self.scenario).table().to_string();
        format!("{}-{:08x}", self.name, digest(&bounds))
    }
}

/// The arguments for bounds of the user's own.
#[derive(Debug, Default, Args)]
pub struct OwnBounds {
    /// A file with the bounds of a scenario, in TOML; `synod-check list --toml NAME` prints one as a
    /// start
    #[arg(long = "scenario", value_name = "FILE", help_heading = "Bounds of your own")]
    pub file: Option<PathBuf>,
    /// Single bounds
    #[command(flatten)]
    pub bounds: Bounds,
}

impl OwnBounds {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && self.bounds.is_empty()
    }

    /// The scenario to work on: the row that is named, or a file, or nothing, each with the single
    /// bounds in place of its own.
    ///
    /// # Errors
    ///
    /// If there is nothing to work on, or the bounds are not allowed.
    pub fn subject(&self, row: Option<&ScenarioRow>) -> anyhow::Result<Subject> {
        let (name, shows, named, base) = match (row, &self.file) {
            (Some(row), Some(file)) => bail!(
                "scenario {} and the file {}: one of them is enough\n  single bounds, such as --slots 2, go with either",
                row.name,
                file.display()
            ),
            (Some(row), None) if self.bounds.is_empty() => return Ok(Subject::from(row)),
            (Some(row), None) => {
                let shows = format!("{}, within other bounds", row.name);
                let base = Bounds::from(&(row.scenario)());
                (format!("{}-changed", row.name), shows, row.name.to_owned(), base)
            }
            (None, Some(file)) => {
                let shows = format!("the bounds in {}", file.display());
                let named = format!("--scenario {}", file.display());
                (stem(file), shows, named, bounds::read(file)?)
            }
            (None, None) if self.bounds.is_empty() => bail!(
                "no scenario\n  name one, or give bounds: --scenario FILE, or flags such as --slots 2"
            ),
            (None, None) => {
                ("own-bounds".into(), "bounds of your own".into(), String::new(), Bounds::default())
            }
        };
        let bounds = base.with(&self.bounds);
        let scenario =
            bounds.scenario().map_err(|Contradiction { key, what }| anyhow!("--{key}: {what}"))?;
        Ok(Subject {
            name,
            shows,
            states: bounds.states.map_or(StateCount::Unknown, |it| StateCount::Counted(it.0)),
            scenario,
            demands_witnesses: bounds.reaches.is_some(),
            is_of_table: false,
            arguments: format!("{named} {}", self.bounds.flags()).trim().to_owned(),
        })
    }
}

/// A short digest of a text: FNV-1a. It is the same in every version, so that links last.
fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The name of a file without its ending, as a name that fits in an address.
fn stem(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |it: char| if it.is_ascii_alphanumeric() || "-_.".contains(it) { it } else { '-' };
    stem.chars().map(plain).collect()
}
