//! `synod snapshot restore`: makes the data directory of a replica of a new cluster from a saved snapshot.

use std::path::PathBuf;

use clap::Args;
use owo_colors::OwoColorize as _;
use synod_model::ReplicaId;
use synod_node::{RestoreProgress, restore_data_directory, state_bytes};

use super::bytes_bar::BytesBar;
use crate::exit::Exit;
use crate::init::warn_of_ports;
use crate::members::Members;
use crate::output::Output;

pub(crate) const RESTORE_ABOUT: &str = "\
Make the data directory of a replica of a new cluster from a saved snapshot.

Run it once for each member, as `synod init`, with the same snapshot, the same
members and the same name: that makes them one cluster. Its id differs from
that of the old cluster, so the two never talk. Its members may be others, and
more or fewer. It goes on behind the last slot of the snapshot; what the old
cluster did later is not in it.

The snapshot is checked before anything is made. A directory that holds anything
is never changed, but for what an interrupted restore has left.";

/// The one that clap makes is longer than a line.
pub(super) const RESTORE_USAGE: &str = "\
synod snapshot restore <FILE> --data-dir <DIR> --id <N>
                              --peers <ID=HOST:PORT,...> --cluster <NAME>";

pub(crate) const RESTORE_CODES: &str = "\
Exit codes:
  0  the data directory is made
  1  it is not; the reason is on standard error
  2  the command line is invalid";

/// The arguments of `snapshot restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The saved snapshot
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory to make; it must be empty, or must not exist
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The id of this replica, one of the members
    #[arg(long, value_name = "N")]
    id: u16,
    /// All members of the new cluster with this one, and where their peers look for them
    #[arg(long, value_name = "ID=HOST:PORT,...")]
    peers: Members,
    /// The name of the new cluster; each restore needs a name of its own
    #[arg(long, value_name = "NAME")]
    cluster: String,
}

/// Makes the directory, and prints what was made.
///
/// # Errors
///
/// If the snapshot is damaged, or the directory cannot be made, or exists already.
pub(super) fn restore(args: &RestoreArgs) -> anyhow::Result<Exit> {
    let RestoreArgs { file, data_dir, id, peers, cluster } = args;
    let bar = BytesBar::new();
    let progress = |it| match it {
        RestoreProgress::Checks { bytes, of } => bar.tell("checking", bytes, of),
        RestoreProgress::Writes { bytes, of } => bar.tell("writing", bytes, of),
    };
    let me = ReplicaId(*id);
    let (identity, from) = restore_data_directory(file, data_dir, cluster, me, &peers.0, progress)?;
    drop(bar);
    let mut output = Output::new();
    output.line(format_args!(
        "made {}: replica {id} of {} in cluster {cluster} ({}), restored up to slot {} of cluster {} ({})",
        data_dir.display(),
        peers.0.len(),
        identity.cluster_id,
        from.file.slot,
        from.cluster_name,
        from.cluster_id,
    ))?;
    output.flush()?;
    warn_of_ports(peers);
    if state_bytes(file, &from)? == 0 {
        anstream::eprintln!(
            "{} the state machine has no state in this snapshot\n  \
             the values of a bare log are in no snapshot: the new cluster goes on behind slot {},\n  \
             and has none of the values before",
            "warning:".yellow().bold(),
            from.file.slot,
        );
    }
    Ok(Exit::Done)
}
