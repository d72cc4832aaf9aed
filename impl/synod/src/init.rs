//! `synod init`: makes the data directory of a replica, once.

use std::path::PathBuf;

use clap::Args;
use synod_model::ReplicaId;
use synod_node::make_data_directory;

use super::exit::Exit;
use super::members::Members;
use super::output::Output;

/// Make the data directory of a new replica, once
///
/// Run it once for each member, with the same members and the same name: that makes them one cluster.
/// The ids are for good, and an id is never used again, not even after its disk is lost. Addresses may
/// change later (`synod node --peers`).
///
/// Three or five members are usual, and 16 are the most. A cluster works while more than half of its
/// members run: three go on without one of them, and five without two. Four go on without one, no
/// more than three do; and two stop when either stops, so they are worse than a single one.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// The directory to make; it must be empty, or not there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Which of the members this replica is
    #[arg(long, value_name = "N")]
    id: u16,
    /// All members, this one too, and where their peers look for them: three or five, as a rule
    #[arg(long, value_name = "ID=HOST:PORT,...")]
    peers: Members,
    /// The name of the cluster, one of its own for each; with the same members it makes the same
    /// cluster
    #[arg(long, value_name = "NAME", default_value = "synod")]
    cluster: String,
}

/// Makes the directory, and says what was made.
///
/// # Errors
///
/// If it cannot be made, or is there already.
pub(crate) fn init(args: &InitArgs) -> anyhow::Result<Exit> {
    let me = ReplicaId(args.id);
    let identity = make_data_directory(&args.data_dir, &args.cluster, me, &args.peers.0)?;
    let count = args.peers.0.len();
    let mut output = Output::new();
    output.line(format_args!(
        "made {}: replica {} of {count} in cluster {} ({})",
        args.data_dir.display(),
        args.id,
        args.cluster,
        identity.cluster_id,
    ))?;
    output.flush()?;
    Ok(Exit::Done)
}
