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
use crate::identity::Identity;
use crate::listen::{self, ListensFor};
use crate::peers::Addresses;
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
    /// The addresses of replicas, as `host:port`; this replica may be among them. Each goes before the address that
    /// is registered with the members, and is stored. Replicas that are not named are looked for where they are
    /// registered, or at the address that is stored.
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
    pub(super) addresses: Addresses,
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
        let prepare = move || prepare_directory(data_dir, peers);
        let (directory, addresses) = blocking::run("opening", prepare).await??;
        let me = directory.identity().replica;
        let listen_peer = listen_peer.or_else(|| addresses.stored.get(&me).cloned());
        let listen_peer = listen_peer.ok_or(NodeOpenError::NoAddress { replica: me })?;
        let listener = ListensFor::Peers.listen(&listen_peer).await?;
        listen::warn_if_ephemeral(addresses.stored.values());

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
        Ok(Self { directory, addresses, listener, timing, snapshots, run, rng, backend })
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
    given: BTreeMap<ReplicaId, String>,
) -> Result<(DataDirectory, Addresses), NodeOpenError> {
    let mut directory = DataDirectory::open(Arc::new(RealDisk::new(data_dir)))?;
    let stored = to_store(directory.identity(), directory.peers(), &given)?;
    directory.store_peers(stored.clone())?;
    Ok((directory, Addresses { given, stored }))
}

/// The addresses to store: as they are, except for those that are given now. Who is a member is in the log, which is
/// not read yet.
fn to_store(
    identity: &Identity,
    stored: &BTreeMap<ReplicaId, String>,
    given: &BTreeMap<ReplicaId, String>,
) -> Result<BTreeMap<ReplicaId, String>, NodeOpenError> {
    let Identity { replica: me, constants, .. } = identity;
    let stride = constants.stride();
    if let Some(&replica) = given.keys().find(|replica| u64::from(replica.0) >= stride) {
        return Err(NodeOpenError::IdTooLarge { replica, stride });
    }
    let mut addresses = stored.clone();
    addresses.extend(given.iter().map(|(replica, address)| (*replica, address.clone())));
    let first = constants.first_configuration();
    let mut places = BTreeMap::new();
    let mut taken_over = Vec::new();
    for (replica, address) in &addresses {
        let Some(other) = places.insert(canonical(address), *replica) else {
            continue;
        };
        let replicas = [other, *replica];
        // A replica that came later may have taken the place of a member that was removed.
        let replaced = replicas.iter().find(|it| *it != me && !given.contains_key(it));
        match replaced {
            Some(replaced) if !replicas.iter().all(|it| first.contains(*it)) => {
                taken_over.push(*replaced);
            }
            _ => return Err(NodeOpenError::SameAddress { replicas, address: address.clone() }),
        }
    }
    addresses.retain(|replica, _| !taken_over.contains(replica));
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forming::kit::identity;

    fn addresses(of: &[(u16, &str)]) -> BTreeMap<ReplicaId, String> {
        of.iter().map(|(replica, address)| (ReplicaId(*replica), (*address).to_owned())).collect()
    }

    #[test]
    fn a_replica_that_came_later_may_have_the_address_of_one_that_went() {
        let stored = addresses(&[(0, "a:1"), (1, "b:1"), (2, "c:1")]);
        let store =
            |given: &[(u16, &str)]| to_store(&identity(0, 3, 10), &stored, &addresses(given));
        let expected = addresses(&[(0, "a:1"), (1, "b:1"), (7, "c:1")]);
        assert_eq!(store(&[(7, "C:01")]).expect("r2 was removed")[&ReplicaId(7)], "C:01");
        assert_eq!(store(&[(7, "c:1")]).expect("r2 was removed"), expected);
        let same = |given: &[(u16, &str)]| match store(given) {
            Err(NodeOpenError::SameAddress { replicas, .. }) => replicas.map(|it| it.0),
            other => panic!("{other:?}"),
        };
        assert_eq!(same(&[(1, "c:1")]), [1, 2], "both are first members: a slip of the operator");
        assert_eq!(same(&[(7, "a:1")]), [0, 7], "this replica is there itself");
        assert_eq!(same(&[(7, "d:1"), (8, "d:1")]), [7, 8]);
    }
}
