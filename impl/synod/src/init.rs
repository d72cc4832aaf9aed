//! `synod init`: makes the data directory of a replica, once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use owo_colors::OwoColorize as _;
use synod_client::{Client, ClientOptions, Endpoint};
use synod_model::ReplicaId;
use synod_node::{Identity, ephemeral_ports_of, join_data_directory, make_data_directory};
use synod_wire::blocking;

use super::exit::{Exit, UsageError};
use super::health;
use super::members::{Members, dialled};
use super::output::Output;

/// How long to wait until the cluster says who its members are: 10 s, as other commands do.
const ASK_MAX: Duration = Duration::from_secs(10);

/// Make the data directory of a new replica, once
///
/// Run it once for each member, with the same members and the same name: that makes them one cluster.
/// Ids are for good. An id is never used again, not even after its disk is lost. Addresses may change
/// later (`synod node --peers`).
///
/// Three or five members are usual, and 16 are the most. A cluster works while more than half of its
/// members run. So three members go on without one, and five without two. Four go on without one, no
/// more than three do. Two stop when either stops, so they are worse than one.
///
/// With --join, the replica is made for a cluster that runs already, which says what its name and its
/// members are. It may be started at once. It counts for nothing until `synod member add` names it; that
/// command is printed, with everything filled in.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// The directory to make; it must be empty, or must not exist
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The id of this replica, one of the members. With --join, an id that was never used [default with
    /// --join: the next free one]
    #[arg(long, value_name = "N", required_unless_present = "join")]
    id: Option<u16>,
    /// All members with this one, and where their peers look for them: usually three or five
    #[arg(
        long,
        value_name = "ID=HOST:PORT,...",
        required_unless_present = "join",
        conflicts_with = "join"
    )]
    peers: Option<Members>,
    /// The name of the cluster; each cluster needs a name of its own. The same name and the same
    /// members make the same cluster
    #[arg(long, value_name = "NAME", default_value = "synod", conflicts_with = "join")]
    cluster: String,
    /// Join the cluster whose replicas take clients here
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', requires = "address")]
    join: Vec<Endpoint>,
    /// With --join: where the other replicas look for this one
    #[arg(long, value_name = "HOST:PORT", requires = "join", value_parser = dialled)]
    address: Option<String>,
}

/// Makes the directory, and prints what was made.
///
/// # Errors
///
/// If the directory cannot be made, or exists already; or if the cluster cannot be asked.
pub(crate) async fn init(args: InitArgs) -> anyhow::Result<Exit> {
    let InitArgs { data_dir, id, peers, cluster, join, address } = args;
    match (id, peers, address) {
        (id, None, Some(address)) => self::join(&data_dir, id, join, address).await,
        (Some(id), Some(peers), None) => {
            blocking::run("command", move || found(&data_dir, id, &peers, &cluster)).await?
        }
        _ => Err(UsageError(
            "give --id and --peers to make a new cluster, or --join and --address to join one"
                .to_owned(),
        )
        .into()),
    }
}

/// Makes the directory of a member of a new cluster.
fn found(data_dir: &Path, id: u16, peers: &Members, cluster: &str) -> anyhow::Result<Exit> {
    let identity = make_data_directory(data_dir, cluster, ReplicaId(id), &peers.0)?;
    let mut output = Output::new();
    output.line(format_args!(
        "made {}: replica {id} of {} in cluster {cluster} ({})",
        data_dir.display(),
        peers.0.len(),
        identity.cluster_id,
    ))?;
    output.flush()?;
    warn_of_ports(peers);
    Ok(Exit::Done)
}

/// Makes the directory of a replica that joins a cluster, and says how it becomes a member.
async fn join(
    data_dir: &Path,
    id: Option<u16>,
    endpoints: Vec<Endpoint>,
    address: String,
) -> anyhow::Result<Exit> {
    let options = ClientOptions { deadline: ASK_MAX, ..ClientOptions::default() };
    let client = Client::new(endpoints.clone(), options)?;
    let members = match client.members().await {
        Ok(members) => members,
        Err(error) => {
            let error = anyhow::Error::new(error).context("the members could not be found out");
            return health::failed(&endpoints, error).await;
        }
    };
    let next = members.configuration.next_replica_id();
    let next = u16::try_from(next).map_err(|_| {
        UsageError("no id is free any more: all 65536 were used\n  make a new cluster".to_owned())
    })?;
    let me = ReplicaId(id.unwrap_or(next));
    let (directory, at) = (data_dir.to_owned(), address.clone());
    let make = move || join_data_directory(&directory, &members, me, &at);
    let identity = blocking::run("command", make).await??;
    let mut output = Output::new();
    output.line(how_to_go_on(data_dir, &identity, &address, &endpoints))?;
    output.flush()?;
    warn_of_port(&address);
    Ok(Exit::Done)
}

/// What was made, and the commands that make the replica a member.
fn how_to_go_on(
    data_dir: &Path,
    identity: &Identity,
    address: &str,
    endpoints: &[Endpoint],
) -> String {
    let Identity { cluster_name, cluster_id, replica, incarnation, .. } = identity;
    let endpoints: Vec<_> = endpoints.iter().map(Endpoint::as_str).collect();
    let endpoints = endpoints.join(",");
    let data_dir = data_dir.display();
    format!(
        "made {data_dir}: replica {replica} joins cluster {cluster_name} ({cluster_id})\n\n\
         start it, with a port for its clients:\n  \
         synod node --data-dir {data_dir} --listen-client HOST:PORT\n\
         and tell the cluster; until then it counts for nothing:\n  \
         synod member add {replica} --address {address} \\\n    \
         --incarnation {incarnation} \\\n    \
         --endpoints {endpoints}\n\
         with --learner it receives everything and does not vote, until\n  \
         synod member promote {replica} --endpoints {endpoints}"
    )
}

/// Warns of addresses at which a replica may find its port taken.
pub(crate) fn warn_of_ports(peers: &Members) {
    peers.0.values().for_each(|address| warn_of_port(address));
}

fn warn_of_port(address: &str) {
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
