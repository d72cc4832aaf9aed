//! The arguments of `synod bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use synod_client::Endpoint;
use synod_model::Limits;

use super::links::{self, LinksArgs};
use crate::args::duration;

pub(crate) const ABOUT: &str = "\
Measure how fast a cluster is, and how fast this machine could be at best.

Each client has a session and one request in flight. Without --endpoints, it
starts three replicas on this machine, with real disks, and stops them at the
end. Without --clients and --connections, it measures two loads: one client, and
256 clients on 256 connections.

It measures floors in the same run: one fdatasync of a 4 KiB batch in the data
directory, one round trip on loopback, a bare replication (one value through
three processes that only pass it on and sync it, without a protocol), and an
echo server (the requests of the same clients, answered by a process that does
nothing else). Times are medians.";

pub(crate) const CODES: &str = "\
Exit codes:
  0  everything was measured
  1  it could not be measured
  2  the command line is invalid";

/// The arguments of `bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    /// The replicas to measure, where they take clients; give all that run, because each counts its
    /// own fdatasyncs. It writes to their log, and what it writes stays there
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub(crate) endpoints: Vec<Endpoint>,
    /// How many clients [default: as many as connections]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) clients: Option<usize>,
    /// How many connections they share, at most one for each [default: one for each client]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) connections: Option<usize>,
    /// Spread the connections over all replicas; otherwise all go to the coordinator
    #[arg(long)]
    pub(crate) spread: bool,
    /// How many bytes each value has
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = value_bytes)]
    pub(crate) value_bytes: usize,
    /// How long each run is measured, after a second of warming up
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = duration)]
    pub(crate) seconds: Duration,
    /// Where to keep the replicas' data during the run, and to measure fdatasync [default: the directory
    /// for temporary files, or this one if that is in memory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print one JSON document instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is measured instead.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Measure how much of a slow or far link a cluster uses
    #[command(long_about = links::ABOUT, after_help = CODES)]
    Links(LinksArgs),
}

/// A number up to 16,384: the system has no more ports for connections to one address.
fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=16_384).contains(count));
    count.ok_or_else(|| "that is not a number from 1 to 16,384".to_owned())
}

/// A number up to the length of the longest value: every cluster is made with the same limits.
fn value_bytes(text: &str) -> Result<usize, String> {
    let most = Limits::default().value_bytes_max;
    let bytes = text.parse().ok().filter(|bytes| u64::try_from(*bytes).is_ok_and(|it| it <= most));
    bytes.ok_or_else(|| format!("that is not a number from 0 to {most}, the most that a value has"))
}
