//! The command line: what can be asked, and what the exit code answers.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use bytesize::ByteSize;
use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::scenarios::{self, ScenarioRow, Tier};

/// Checks the Paxos model of Synod: exhaustively, within the bounds of each scenario.
///
/// Without a command it runs the scenarios of tier quick.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; without, `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  every search emptied its frontier, and everything holds
  1  something is wrong: a property is violated, what must be reached is not, or the number of
     states is not the one in the table of scenarios
  2  the command could not be carried out: an unknown scenario, an address in use, ...
  3  incomplete: stopped by Ctrl-C, by the memory limit or by a panic of the checker, and nothing
     wrong was found so far";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the scenarios: tier, states, and what each shows
    List,
    /// Check scenarios exhaustively; tier quick if none is named
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Walk through the states of a scenario in a browser
    Explore(ExploreArgs),
    /// Show a short path to a state: how a `sometimes` is reached, or an `always` violated
    #[command(after_help = EXIT_CODES)]
    Trace(TraceArgs),
    /// Measure the checker against stateright's own examples
    Bench(BenchArgs),
    /// One workload of `bench`, in a process of its own
    #[command(hide = true)]
    BenchWorkload(WorkloadArgs),
}

/// What `run` is told.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Only these scenarios
    #[arg(value_name = "SCENARIO", value_parser = scenario)]
    pub scenarios: Vec<&'static ScenarioRow>,
    /// The scenarios of this tier; with scenarios named, they must be in it [default: quick]
    #[arg(long, value_enum)]
    pub tier: Option<Tier>,
    /// What they may use
    #[command(flatten)]
    pub resources: Resources,
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
    /// Stop, as incomplete, before the process holds more, such as 6GiB [default: four fifths of
    /// what is available when the command starts]
    #[arg(long, value_name = "BYTES")]
    pub memory_max: Option<ByteSize>,
}

impl Resources {
    /// How many threads search.
    pub fn threads(&self) -> NonZeroUsize {
        let all = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(all)
    }
}

/// What `explore` is told.
#[derive(Debug, Args)]
pub struct ExploreArgs {
    /// The scenario
    #[arg(value_parser = scenario)]
    pub scenario: &'static ScenarioRow,
    /// Where to serve the page; with port 0, on any free port
    #[arg(long, default_value = DEFAULT_ADDRESS, value_parser = address)]
    pub address: SocketAddr,
}

/// Where the explorer is, unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:3000";

/// What `trace` is told.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The scenario
    #[arg(value_parser = scenario)]
    pub scenario: &'static ScenarioRow,
    /// The property: its name, or a part of it that no other property has
    pub property: String,
    /// Where to write the picture [default: in synod-check/ in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// What it may use
    #[command(flatten)]
    pub resources: Resources,
}

/// What `bench` is told.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Print one JSON document instead of the table
    #[arg(long)]
    pub json: bool,
    /// Threads that search, the same for all [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

/// What a process of `bench` is told.
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

/// What a tier is called.
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
        format!("there is no such scenario\n  there are: {}", all.join(", "))
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    // A name, such as localhost, is as good as the address that it stands for.
    let resolved = std::net::ToSocketAddrs::to_socket_addrs(text);
    resolved.ok().and_then(|mut all| all.next()).ok_or_else(|| {
        format!("that is no address\n  an address is host:port, such as {DEFAULT_ADDRESS}")
    })
}

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything is complete and holds.
    Holds,
    /// Something is wrong.
    Violated,
    /// It could not be done.
    Failed,
    /// Nothing is wrong so far, and not everything was looked at.
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
