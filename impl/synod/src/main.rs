//! The `synod` command; see `synod --help`.
//!
//! `cli` says what can be asked. Each command has a module with a function that carries it out and
//! returns an [`Exit`]; what it could not do at all is an error, which is told here.

#![forbid(unsafe_code)]
// Whatever comes from outside has an error of its own; what must be true inside is asserted, with the
// reason. Tests may be short about both.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod args;
mod bench;
mod cli;
mod descriptors;
mod escape;
mod exit;
mod follow;
mod init;
mod input;
mod inspect;
mod local;
mod log_writer;
mod members;
mod node;
mod output;
mod read;
mod status;
mod submit;

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tokio::runtime::Builder;

use cli::{Cli, Command};
use exit::{Exit, Nonsense, error_text};

/// Carries out what the command line asks for.
fn main() -> ExitCode {
    let done = run(Cli::parse().command);
    done.unwrap_or_else(|error| {
        // Whoever closed the pipe, such as `head`, has read enough.
        if !output::is_closed(&error) {
            anstream::eprint!("{}", error_text(&error));
        }
        if error.is::<Nonsense>() { Nonsense::CODE.into() } else { Exit::Failed.into() }
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(args) => init::init(&args).map(ExitCode::from),
        Command::Node(args) => node::node(&args).map(ExitCode::from),
        Command::Inspect(args) => inspect::inspect(&args).map(ExitCode::from),
        Command::Submit(args) => wait_for(submit::submit(args)),
        Command::Read(args) => wait_for(read::read(args)),
        Command::Follow(args) => wait_for(follow::follow(args)),
        Command::Status(args) => wait_for(status::status(args)),
        Command::Local(args) => wait_for(local::local(args)),
        Command::Bench(args) => wait_for(bench::bench(args)),
        Command::BenchEcho => wait_for(bench::echo()),
        Command::BenchBare(args) => wait_on(Builder::new_current_thread(), bench::bare(args)),
    }
}

/// Carries out a command that waits for others.
fn wait_for(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<ExitCode> {
    // Commands write to standard output from the thread that is here, and may wait there for a slow
    // reader; connections are served by the others meanwhile.
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2);
    wait_on(builder, command)
}

fn wait_on(
    mut builder: Builder,
    command: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<ExitCode> {
    let runtime = builder.enable_all().build();
    let runtime = runtime.context("the threads of this program could not be started")?;
    let done = runtime.block_on(command);
    // Nobody waits for a thread that waits for standard input.
    runtime.shutdown_background();
    done.map(ExitCode::from)
}
