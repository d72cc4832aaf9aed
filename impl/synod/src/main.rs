//! The `synod` command; see `synod --help`.
//!
//! `cli` lists the commands. Each command has a module with a function that carries it out and returns
//! an [`Exit`]. If the command cannot be carried out at all, the function returns an error, which is
//! printed here.

#![forbid(unsafe_code)]
// Input from outside has typed errors; what must hold inside is asserted, with the reason. Tests may
// be short about both.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod args;
mod bench;
mod cli;
mod descriptors;
mod escape;
mod exit;
mod follow;
mod health;
mod init;
mod input;
mod inspect;
mod local;
mod log_writer;
mod member;
mod members;
mod node;
mod output;
mod read;
mod recover_alone;
mod signals;
mod snapshot;
mod status;
mod submit;

use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use synod_wire::blocking;
use tokio::runtime::Builder;

use cli::{Cli, Command};
use exit::{Exit, UsageError, error_text};
use signals::Signals;

/// The threads that serve connections.
const WORKERS: usize = 2;

/// Carries out the command on the command line.
fn main() -> ExitCode {
    let done = run(Cli::parse().command);
    done.unwrap_or_else(|error| {
        // The reader of the output, such as `head`, has read enough and closed the pipe.
        if !output::is_closed(&error) {
            anstream::eprint!("{}", error_text(&error));
        }
        if error.is::<UsageError>() { UsageError::CODE.into() } else { Exit::Failed.into() }
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(args) => wait_for(ended_by_signals(init::init(args))),
        Command::Node(args) => node::node(&args).map(ExitCode::from),
        Command::Inspect(args) => {
            wait_for(ended_by_signals(on_thread(move || inspect::inspect(&args))))
        }
        Command::Submit(args) => wait_for(submit::submit(args)),
        Command::Read(args) => wait_for(ended_by_signals(read::read(args))),
        Command::Follow(args) => wait_for(ended_by_signals(follow::follow(args))),
        Command::Health(args) => wait_for(ended_by_signals(health::health(args))),
        Command::Status(args) => wait_for(ended_by_signals(status::status(args))),
        Command::Member(command) => wait_for(member::member(command)),
        Command::Snapshot(command) => wait_for(ended_by_signals(snapshot::snapshot(command))),
        Command::RecoverAlone(args) => {
            wait_for(ended_by_signals(on_thread(move || recover_alone::recover_alone(&args))))
        }
        Command::Local(args) => wait_for(local::local(args)),
        Command::Bench(args) => wait_for(bench::bench(args)),
        Command::BenchEcho => wait_for(bench::echo()),
        Command::BenchBare(args) => wait_on(Builder::new_current_thread(), bench::bare(args)),
    }
}

/// Runs a command that signals end.
async fn ended_by_signals(
    command: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    // The command may be waiting for the reader of standard output, and then it does not wait here.
    tokio::spawn(signals::insist(Signals::new()?, Duration::ZERO, || {}));
    tokio::select! {
        done = command => done,
        exit = signals.next() => Ok(exit),
    }
}

/// Runs a command that waits for the disk.
async fn on_thread(
    command: impl FnOnce() -> anyhow::Result<Exit> + Send + 'static,
) -> anyhow::Result<Exit> {
    blocking::run("command", command).await?
}

/// Runs a command that waits for other processes.
fn wait_for(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<ExitCode> {
    // Commands write to standard output on this thread, and may wait there for a slow reader. The other
    // threads serve connections meanwhile.
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(WORKERS);
    // The runtime panics if it cannot start them.
    threads_can_be_started(WORKERS).context("the threads of this program could not be started")?;
    wait_on(builder, command)
}

/// Whether so many threads can be started now.
fn threads_can_be_started(count: usize) -> io::Result<()> {
    let (end, ended) = mpsc::channel::<()>();
    let ended = Arc::new(Mutex::new(ended));
    let mut threads = Vec::new();
    let mut started = Ok(());
    for _ in 0..count {
        let ended = Arc::clone(&ended);
        let wait = move || drop(ended.lock().map(|ended| ended.recv()));
        match thread::Builder::new().spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => started = Err(error),
        }
    }
    drop(end);
    for thread in threads {
        let _ = thread.join();
    }
    started
}

fn wait_on(
    mut builder: Builder,
    command: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<ExitCode> {
    let runtime = builder.enable_all().build();
    let runtime = runtime.context("the threads of this program could not be started")?;
    let done = runtime.block_on(command);
    // A thread that reads standard input may never end, so nobody waits for it.
    runtime.shutdown_background();
    done.map(ExitCode::from)
}
