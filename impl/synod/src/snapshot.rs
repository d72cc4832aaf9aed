//! `synod snapshot`: the snapshots of replicas, and those that were saved.

pub(crate) mod bytes_bar;
mod restore;
mod save;
mod target;
mod verify;

use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use futures_util::future::join_all;
use serde::Serialize;
use synod_wire::api::SnapshotTaken;
use synod_wire::blocking;

use super::args::{AllEndpoints, duration};
use super::exit::{Exit, error_text};
use super::output::Output;
use restore::RESTORE_USAGE;
pub(crate) use restore::{RESTORE_ABOUT, RESTORE_CODES, RestoreArgs};
pub(crate) use save::{SAVE_ABOUT, SAVE_CODES, SaveArgs};
pub(crate) use verify::{VERIFY_ABOUT, VERIFY_CODES, VerifyArgs};

pub(crate) const TAKE_ABOUT: &str = "\
Have replicas take a snapshot now, and cut their logs behind it.

Each replica takes its own, and its line is printed when that is durable: the
last slot that the snapshot includes, its length and its file. Values up to that
slot can be followed no more. With --snapshot-after-log-bytes, `synod node`
takes snapshots by itself.";

pub(crate) const TAKE_CODES: &str = "\
Exit codes:
  0  each of the replicas has a snapshot
  1  one of them has taken none; the reason is on standard error
  2  the command line is invalid";

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Have replicas take a snapshot now, and cut their logs behind it
    #[command(long_about = TAKE_ABOUT, after_help = TAKE_CODES)]
    Take(TakeArgs),
    /// Save a snapshot of a running cluster in a file
    #[command(long_about = SAVE_ABOUT, after_help = SAVE_CODES)]
    Save(SaveArgs),
    /// Read a saved snapshot, and say what is wrong with it
    #[command(long_about = VERIFY_ABOUT, after_help = VERIFY_CODES)]
    Verify(VerifyArgs),
    /// Make the data directory of a replica of a new cluster from a saved snapshot
    #[command(
        long_about = RESTORE_ABOUT,
        after_help = RESTORE_CODES,
        override_usage = RESTORE_USAGE
    )]
    Restore(RestoreArgs),
}

/// The arguments of `snapshot take`.
#[derive(Debug, Args)]
pub(crate) struct TakeArgs {
    #[command(flatten)]
    endpoints: AllEndpoints,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// How long to wait for each snapshot, such as 2s or 5m; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    timeout: Duration,
}

/// The snapshot of one replica.
#[derive(Debug, Serialize)]
struct Taken {
    endpoint: String,
    #[serde(flatten)]
    snapshot: SnapshotTaken,
}

pub(crate) async fn snapshot(command: SnapshotCommand) -> anyhow::Result<Exit> {
    match command {
        SnapshotCommand::Take(args) => take(args).await,
        SnapshotCommand::Save(args) => save::save(args).await,
        SnapshotCommand::Verify(args) => on_thread(move || verify::verify(&args)).await,
        SnapshotCommand::Restore(args) => on_thread(move || restore::restore(&args)).await,
    }
}

/// Runs a command that waits for the disk.
async fn on_thread(
    command: impl FnOnce() -> anyhow::Result<Exit> + Send + 'static,
) -> anyhow::Result<Exit> {
    blocking::run("snapshot", command).await?
}

async fn take(args: TakeArgs) -> anyhow::Result<Exit> {
    let endpoints = args.endpoints.endpoints();
    let asked = join_all(endpoints.iter().map(async |endpoint| {
        let taken = synod_client::take_snapshot(endpoint, args.timeout).await?;
        let snapshot = taken.map_err(|error| anyhow::anyhow!("{endpoint}: {error}"))?;
        Ok(Taken { endpoint: endpoint.to_string(), snapshot })
    }));
    let (mut taken, mut exit) = (Vec::new(), Exit::Done);
    for outcome in asked.await {
        match outcome {
            Ok(it) => taken.push(it),
            Err(error) => {
                let error: anyhow::Error = error;
                anstream::eprint!("{}", error_text(&error));
                exit = Exit::Failed;
            }
        }
    }
    let mut output = Output::new();
    if args.json {
        output.line(serde_json::to_string_pretty(&taken)?)?;
    } else {
        for Taken { endpoint, snapshot: SnapshotTaken { slot, bytes, file } } in taken {
            output.line(format_args!("{endpoint}: slot {slot}, {}, {file}", ByteSize(bytes)))?;
        }
    }
    output.flush()?;
    Ok(exit)
}
