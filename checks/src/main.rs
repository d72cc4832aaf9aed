//! The program `synod-check`. Its parts are in the library of this crate.

#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use synod_checks::cli::{Cli, Command, Exit, RunArgs};
use synod_checks::{bench, explore, list, run, trace};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        None => run::run(&RunArgs::default()),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::List(args)) => list::list(&args),
        Some(Command::Explore(args)) => explore::explore(&args),
        Some(Command::Trace(args)) => trace::trace(&args),
        Some(Command::Bench(args)) => bench::bench(&args),
        Some(Command::BenchWorkload(args)) => bench::workload(&args),
    };
    let exit = done.unwrap_or_else(|error| {
        // A reader that closes the pipe, such as `head`, has read enough.
        let is_closed_pipe = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
        if !error.root_cause().downcast_ref().is_some_and(is_closed_pipe) {
            tell(&error);
        }
        Exit::Failed
    });
    exit.into()
}

/// Prints an error: one line with what went wrong and its causes, then what to do about it.
fn tell(error: &anyhow::Error) {
    let text = error.to_string();
    let (what, advice) = text.split_once('\n').unwrap_or((&text, ""));
    eprint!("error: {what}");
    for cause in error.chain().skip(1) {
        eprint!(": {cause}");
    }
    eprintln!();
    if !advice.is_empty() {
        eprintln!("{advice}");
    }
}
