//! `synod init`: makes the data directory of a replica, once.

use std::path::PathBuf;

use clap::Args;
use owo_colors::OwoColorize as _;
use synod_model::ReplicaId;
use synod_node::{ephemeral_ports_of, make_data_directory};

use super::exit::Exit;
use super::members::Members;
use super::output::Output;

/// Make the data directory of a new replica, once
///
/// Run it once for each member, with the same members and the same name: that makes them one cluster.
/// Ids are for good. An id is never used again, not even after its disk is lost. Addresses may change
/// later (`synod node --peers`).
///
/// Three or five members are usual, and 16 are the most. A cluster works while more than half of its
/// members run. So three members go on without one, and five without two. Four go on without one, no
/// more than three do. Two stop when either stops, so they are worse than one.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// The directory to make; it must be empty, or must not exist
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The id of this replica, one of the members
    #[arg(long, value_name = "N")]
    id: u16,
    /// All members with this one, and where their peers look for them: usually three or five
    #[arg(long, value_name = "ID=HOST:PORT,...")]
    peers: Members,
    /// The name of the cluster; each cluster needs a name of its own. The same name and the same
    /// members make the same cluster
    #[arg(long, value_name = "NAME", default_value = "synod")]
    cluster: String,
}

/// Makes the directory, and prints what was made.
///
/// # Errors
///
/// If the directory cannot be made, or exists already.
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
    warn_of_ports(&args.peers);
    Ok(Exit::Done)
}

/// Warns of addresses at which a replica may find its port taken.
pub(crate) fn warn_of_ports(peers: &Members) {
    for address in peers.0.values() {
        if let Some(ports) = ephemeral_ports_of(address) {
            anstream::eprintln!(
                "{} the system may give the port of {address} to any caller\n  \
                 while a caller has it, the replica there cannot start: choose a port\n  \
                 outside {} to {}, or reserve it (net.ipv4.ip_local_reserved_ports)",
                "warning:".yellow().bold(),
                ports.start(),
                ports.end(),
            );
        }
    }
}
