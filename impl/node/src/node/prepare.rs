//! From a data directory to a node that can read its log: everything that can be refused is refused here.
//!
//! A log may take minutes to read. So the data directory is locked, the members are checked, and the port
//! for peers is taken before that.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use fastrand::Rng;
use synod_model::{ReplicaId, Run};
use synod_wire::address::canonical;
use synod_wire::api::About;
use synod_wire::blocking;
use tokio::net::TcpListener;

use super::snapshots::SnapshotOptions;
use super::starting::{NodeBackend, Reading};
use super::{Node, NodeOpenError, open};
use crate::disk::RealDisk;
use crate::listen::{self, ListensFor};
use crate::shell::detector::Timing;
use crate::state_machine::StateMachine;
use crate::storage::DataDirectory;

/// What a node is opened with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory, made by [`make_data_directory`](crate::make_data_directory), or by
    /// `synod init`.
    pub data_dir: PathBuf,
    /// Where this replica listens for its peers, as `host:port`. Without it, where its peers look for
    /// it.
    pub listen_peer: Option<String>,
    /// The addresses of members, as `host:port`; this replica may be among them. Members that are not
    /// named keep the address that is stored.
    pub peers: BTreeMap<ReplicaId, String>,
    /// The timing of its failure detector.
    pub timing: Timing,
    /// When it takes snapshots, and how fast.
    pub snapshots: SnapshotOptions,
}

impl Config {
    /// The node of this data directory, with the defaults.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen_peer: None,
            peers: BTreeMap::new(),
            timing: Timing::default(),
            snapshots: SnapshotOptions::default(),
        }
    }
}

/// A node that has its data directory and its port for peers, and has not read its log. Made by
/// [`Node::prepare`].
#[derive(Debug)]
pub struct PreparedNode {
    pub(super) directory: DataDirectory,
    pub(super) members: BTreeMap<ReplicaId, String>,
    pub(super) listener: TcpListener,
    pub(super) timing: Timing,
    pub(super) snapshots: SnapshotOptions,
    pub(super) run: Run,
    pub(super) rng: Rng,
    pub(super) backend: Arc<NodeBackend>,
}

impl PreparedNode {
    pub(super) async fn new(config: Config) -> Result<Self, NodeOpenError> {
        let Config { data_dir, listen_peer, peers, timing, snapshots } = config;
        let prepare = move || prepare_directory(data_dir, &peers);
        let (directory, members) = blocking::run("opening", prepare).await??;
        let me = directory.identity().replica;
        let listen_peer = listen_peer.or_else(|| members.get(&me).cloned());
        let listen_peer = listen_peer.ok_or(NodeOpenError::NoAddress { replica: me })?;
        let listener = ListensFor::Peers.listen(&listen_peer).await?;
        listen::warn_if_ephemeral(members.values());

        let random = || getrandom::u64().map_err(NodeOpenError::Random);
        let (run, seed) = (Run(random()?), random()?);
        let identity = directory.identity();
        let limits = identity.constants.limits();
        let about = About {
            cluster_id: identity.cluster_id,
            replica: me,
            run,
            value_bytes_max: limits.value_bytes_max,
            session_requests_max: limits.session_requests_max,
        };
        let backend = Arc::new(NodeBackend::new(about));
        let rng = Rng::with_seed(seed);
        Ok(Self { directory, members, listener, timing, snapshots, run, rng, backend })
    }

    /// What the [client port](crate::client_port) can serve from now on. Before the log is read, a status
    /// says how far the reading has come, and all else is refused as "starting".
    #[must_use]
    pub fn backend(&self) -> Arc<NodeBackend> {
        Arc::clone(&self.backend)
    }

    /// Reads the log, and lets the node run. Every command that is committed in the log is applied to
    /// `machine` before this returns, from the slot on where the machine
    /// [says](StateMachine::applied) that it stopped.
    ///
    /// # Errors
    ///
    /// If the log is damaged, or a thread cannot be started.
    pub async fn open<M: StateMachine>(self, machine: M) -> Result<Node, NodeOpenError> {
        open::open(self, machine).await
    }

    /// How far the log is read.
    pub(super) fn reading(&self) -> Arc<Reading> {
        self.backend.reading()
    }
}

fn prepare_directory(
    data_dir: PathBuf,
    given: &BTreeMap<ReplicaId, String>,
) -> Result<(DataDirectory, BTreeMap<ReplicaId, String>), NodeOpenError> {
    let mut directory = DataDirectory::open(Arc::new(RealDisk::new(data_dir)))?;
    let members = addresses(&directory, given)?;
    directory.store_peers(members.clone())?;
    Ok((directory, members))
}

/// The addresses of all members: as stored, except for those that are given now.
fn addresses(
    directory: &DataDirectory,
    given: &BTreeMap<ReplicaId, String>,
) -> Result<BTreeMap<ReplicaId, String>, NodeOpenError> {
    let configuration = directory.identity().constants.first_configuration();
    if let Some(&replica) = given.keys().find(|replica| !configuration.contains(**replica)) {
        let members = configuration.members().to_vec();
        return Err(NodeOpenError::NoMember { replica, members });
    }
    let mut addresses = directory.peers().clone();
    addresses.extend(given.iter().map(|(replica, address)| (*replica, address.clone())));
    let me = directory.identity().replica;
    let missing =
        configuration.members().iter().find(|it| **it != me && !addresses.contains_key(it));
    if let Some(&replica) = missing {
        return Err(NodeOpenError::NoAddress { replica });
    }
    let mut places = BTreeMap::new();
    for (replica, address) in &addresses {
        if let Some(other) = places.insert(canonical(address), *replica) {
            let (replicas, address) = ([other, *replica], address.clone());
            return Err(NodeOpenError::SameAddress { replicas, address });
        }
    }
    Ok(addresses)
}
