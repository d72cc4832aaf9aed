//! The `synod` command. There is no node to command yet; it says so, and fails.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("error: {NotBuiltYet}");
    ExitCode::FAILURE
}

/// The only thing that this command can answer so far.
#[derive(Debug)]
struct NotBuiltYet;

impl fmt::Display for NotBuiltYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the synod node is not built yet\n  \
             what is there is the core that it will run, and the checker of that core: \
             try `cargo run --release`",
        )
    }
}

impl Error for NotBuiltYet {}
