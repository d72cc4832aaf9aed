//! The `synod` command; see `synod --help`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    synod::cli::main()
}
