//! The `synod` command; see `synod --help`.
//!
//! `args` says what can be asked. Each command has a module with a function that carries it out and
//! returns an [`Exit`]; what it could not do at all is an error, which is told here.

#![forbid(unsafe_code)]
// Whatever comes from outside has an error of its own; what must be true inside is asserted, with the
// reason. Tests may be short about both.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod args;
mod bench;
mod descriptors;
mod escape;
mod exit;
mod follow;
mod init;
mod inspect;
mod lines;
mod local;
mod members;
mod node;
mod output;
mod read;
mod status;
mod submit;
mod teller;

use std::fmt::Write as _;
use std::future::Future;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use owo_colors::OwoColorize as _;
use tokio::runtime::Builder;

use args::{Cli, Command};
use exit::{Exit, Nonsense};

/// Carries out what the command line asks for.
fn main() -> ExitCode {
    let done = run(Cli::parse().command);
    done.unwrap_or_else(|error| {
        // Whoever closed the pipe, such as `head`, has read enough.
        if !output::is_closed(&error) {
            anstream::eprint!("{}", text_of(&error));
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

/// What went wrong in one sentence, its causes behind, and below what to do about it.
fn text_of(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let (what, advice) = text.split_once('\n').unwrap_or((&text, ""));
    let mut told = format!("{} {what}", "error:".red().bold());
    for cause in error.chain().skip(1) {
        // That a string takes no more is not something that happens.
        let _ = write!(told, ": {cause}");
    }
    told.push('\n');
    if !advice.is_empty() {
        let _ = writeln!(told, "{advice}");
    }
    told
}
