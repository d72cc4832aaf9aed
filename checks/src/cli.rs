//! The command line, and the exit codes.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use bytesize::ByteSize;
use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::scenarios::{self, ScenarioRow, Tier};
use crate::subject::OwnBounds;

/// Checks the Paxos model of Synod exhaustively, within the bounds of scenarios.
///
/// Without a command, it runs the scenarios of tier quick.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 80)]
pub struct Cli {
    /// The command; `run` if there is none.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  every search emptied its frontier, and every property holds
  1  something is wrong: a property is violated, a state that must be reached
     was not, or the number of states differs from the table of scenarios
  2  the command could not be carried out: an unknown scenario, an address in
     use, ...
  3  incomplete: Ctrl-C, the memory limit or a panic of the checker stopped a
     search, and nothing wrong was found before";

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the scenarios: their tier, their number of states, and what they show
    List(ListArgs),
    /// Check scenarios exhaustively: those that are named, or all of tier quick
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Walk through the states of a scenario in a browser
    Explore(ExploreArgs),
    /// Show a short path to a state that reaches a `sometimes` property or violates another one
    #[command(after_help = EXIT_CODES)]
    Trace(TraceArgs),
    /// Measure the checker against stateright's own examples
    Bench(BenchArgs),
    /// Measure one workload of `bench` in this process
    #[command(hide = true)]
    BenchWorkload(WorkloadArgs),
}

/// The arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print the bounds of this scenario instead, as a file for --scenario
    #[arg(long, value_name = "SCENARIO", value_parser = scenario)]
    pub toml: Option<&'static ScenarioRow>,
    /// Print one JSON document instead of the table
    #[arg(long, conflicts_with = "toml")]
    pub json: bool,
}

/// The arguments of `run`.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// The scenarios to check
    #[arg(value_name = "SCENARIO", value_parser = scenario)]
    pub scenarios: Vec<&'static ScenarioRow>,
    /// Check all scenarios of this tier; scenarios that are named must belong to it [default: quick]
    #[arg(long, value_enum)]
    pub tier: Option<Tier>,
    /// What the searches may use
    #[command(flatten)]
    pub resources: Resources,
    /// Bounds of the user's own
    #[command(flatten)]
    pub own: OwnBounds,
    /// Print one JSON document instead of the table
    #[arg(long)]
    pub json: bool,
}

/// What a search may use of the machine.
#[derive(Debug, Default, Args)]
pub struct Resources {
    /// Threads that search [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// The most memory that the process may hold, such as 6GiB; a search that would need more is
    /// stopped as incomplete [default: four fifths of what is available at the start]
    #[arg(long, value_name = "BYTES")]
    pub memory_max: Option<ByteSize>,
}

impl Resources {
    /// How many threads search: as asked for, or one for each core.
    pub fn threads(&self) -> NonZeroUsize {
        let all = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(all)
    }
}

/// The arguments of `explore`.
#[derive(Debug, Args)]
pub struct ExploreArgs {
    /// The scenario
    #[arg(value_parser = scenario)]
    pub scenario: Option<&'static ScenarioRow>,
    /// What the search may use
    #[command(flatten)]
    pub resources: Resources,
    /// Bounds of the user's own
    #[command(flatten)]
    pub own: OwnBounds,
    /// The address to serve the page at; port 0 takes any free port
    #[arg(long, default_value = DEFAULT_ADDRESS, value_parser = address)]
    pub address: SocketAddr,
}

/// The default address of the explorer.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:3000";

/// The arguments of `trace`.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct TraceArgs {
    /// The scenario
    #[arg(value_parser = scenario)]
    pub scenario: Option<&'static ScenarioRow>,
    /// The property: its name, or a part of its name that no other property has
    #[arg(required = true)]
    pub property: String,
    /// The file to write the picture to [default: a file in synod-check/ in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// What the search may use
    #[command(flatten)]
    pub resources: Resources,
    /// Bounds of the user's own
    #[command(flatten)]
    pub own: OwnBounds,
}

/// The arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Print one JSON document instead of the table
    #[arg(long)]
    pub json: bool,
    /// Threads that search, in every workload [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

/// The arguments of a process of `bench`.
#[derive(Debug, Args)]
pub struct WorkloadArgs {
    /// The workload
    pub workload: String,
    /// Threads that search
    #[arg(long, value_name = "N")]
    pub threads: NonZeroUsize,
}

impl ValueEnum for Tier {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Quick, Self::Full, Self::Deep]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(tier_name(*self)))
    }
}

/// The name of a tier.
pub fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Quick => "quick",
        Tier::Full => "full",
        Tier::Deep => "deep",
    }
}

fn scenario(name: &str) -> Result<&'static ScenarioRow, String> {
    scenarios::find(name).ok_or_else(|| {
        let all: Vec<_> = scenarios::TABLE.iter().map(|row| row.name).collect();
        let similar = scenarios::similar(name);
        let hint = match similar.as_slice() {
            [] => String::new(),
            similar => format!("; did you mean {}?", similar.join(" or ")),
        };
        let all = textwrapped(&all.join(", "), "    ");
        format!("there is no such scenario{hint}\n  there are:\n{all}")
    })
}

/// Text in lines of at most 78 columns, each after `indentation`.
fn textwrapped(text: &str, indentation: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= 78 => *line = format!("{line} {word}"),
            _ => lines.push(format!("{indentation}{word}")),
        }
    }
    lines.join("\n")
}

fn address(text: &str) -> Result<SocketAddr, String> {
    // A host name, such as localhost, is resolved.
    let resolved = std::net::ToSocketAddrs::to_socket_addrs(text);
    resolved.ok().and_then(|mut all| all.next()).ok_or_else(|| {
        format!("that is not an address\n  an address is host:port, such as {DEFAULT_ADDRESS}")
    })
}

/// What the exit code tells the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every search is complete, and every property holds.
    Holds,
    /// Something is wrong.
    Violated,
    /// The command could not be carried out.
    Failed,
    /// Nothing wrong was found, but not every state was checked.
    Incomplete,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Holds => 0,
            Exit::Violated => 1,
            Exit::Failed => 2,
            Exit::Incomplete => 3,
        })
    }
}
