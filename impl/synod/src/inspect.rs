//! `synod inspect`: shows what is in a data directory, sound or not.

use std::path::PathBuf;

use clap::Args;
use synod_node::disk::RealDisk;
use synod_node::storage::{Finding, inspect as tell};

use super::exit::Exit;
use super::output::Output;

/// Show what is in a data directory, and what of it is damaged
///
/// It shows who the replica is, every batch of its log with its offset, and what is damaged, and where.
/// It changes nothing, and needs no lock.
///
/// Exit status: 0 if a replica could start from it, 1 if not.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The data directory
    #[arg(value_name = "DATA_DIR")]
    data_dir: PathBuf,
}

/// Prints what is in the directory.
///
/// # Errors
///
/// If the directory cannot be read, or standard output cannot be written.
pub(crate) fn inspect(args: &InspectArgs) -> anyhow::Result<Exit> {
    let mut output = Output::new();
    let mut printed = Ok(());
    let (mut is_log_sound, mut are_others_sound) = (false, true);
    tell(&RealDisk::new(&args.data_dir), |finding| {
        match &finding {
            Finding::Verdict(verdict) => is_log_sound = verdict.is_ok(),
            // A start reads these files too. Without an identity there is no verdict.
            Finding::Incarnations(Err(_)) | Finding::Peers(Err(_)) => are_others_sound = false,
            _ => {}
        }
        if printed.is_ok() {
            printed = output.line(finding);
        }
    })?;
    match printed.and_then(|()| output.flush()) {
        // The reader has read enough. The exit code is known all the same.
        Err(error) if error.is_closed() => {}
        printed => printed?,
    }
    Ok(if is_log_sound && are_others_sound { Exit::Done } else { Exit::Failed })
}
