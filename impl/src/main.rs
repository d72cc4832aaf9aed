//! `synod`, the command that will run a replica.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("error: the Synod node is not built yet; this version has the checked core only");
    eprintln!("  `cargo run --release` checks the protocol that the node will run");
    ExitCode::FAILURE
}
