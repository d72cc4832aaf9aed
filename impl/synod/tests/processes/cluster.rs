//! A cluster of processes, with a folder and a loopback address of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value as Json;
use synod_client::Endpoint;
use synod_model::{
    ClusterConstants, Configuration, ConfigurationId, Incarnation, Limits, ReplicaId,
};
use synod_node::disk::RealDisk;
use synod_node::storage::{DataDirectory, LogLimits, NewReplica};
use tempfile::TempDir;

use crate::command::synod;
use crate::process::Node;
use crate::wait::until;

/// About the smallest sizes that the limits of the cluster allow. A segment fills after at most 512
/// batches, and making a data directory takes no time.
pub(crate) const SMALL_LOG: LogLimits =
    LogLimits { segment_bytes: 2 << 20, batch_bytes_max: 5 << 18 };

/// Waits for a coordinator five times as long as by default, for tests that rely on no coordinator being
/// suspected only because the machine is busy.
const CALM: &str = "[timing]\nsuspect_after_ms = 1000\nstand_spread_ms = 300\n";

/// The coordinator, and its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coordination {
    pub(crate) id: u16,
    pub(crate) number: u64,
}

/// The data directories of a cluster, and its running nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) size: u16,
    pub(crate) nodes: BTreeMap<u16, Node>,
    /// Further arguments of every node.
    pub(crate) more_args: BTreeMap<u16, Vec<String>>,
    /// Further environment variables of every node.
    pub(crate) environment: BTreeMap<&'static str, String>,
    /// Data directories that are in other places.
    pub(crate) elsewhere: BTreeMap<u16, PathBuf>,
    folder: TempDir,
    host: Ipv4Addr,
    first_port: u16,
}

/// A loopback address that no other process uses, and ports that no other cluster of this process uses.
/// The ports lie below those that the system gives to callers, so no caller takes one of them.
fn place() -> (Ipv4Addr, u16) {
    static CLUSTERS: AtomicU16 = AtomicU16::new(0);
    let [_, high, mid, low] = std::process::id().to_be_bytes();
    let count = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    (Ipv4Addr::new(127, 64 | high, mid, low), 10_000 + 20 * count)
}

impl Cluster {
    /// A cluster without any data directory.
    pub(crate) fn new(size: u16) -> Self {
        let (host, first_port) = place();
        Self {
            name: "processes".to_owned(),
            size,
            nodes: BTreeMap::new(),
            more_args: BTreeMap::new(),
            environment: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            folder: TempDir::with_prefix("synod-processes-").unwrap(),
            host,
            first_port,
        }
    }

    /// A cluster with its data directories.
    pub(crate) fn made(size: u16) -> Self {
        let cluster = Self::new(size);
        cluster.ids().for_each(|id| cluster.make(id));
        cluster
    }

    /// A cluster that runs and has a coordinator.
    pub(crate) fn running(size: u16) -> (Self, Coordination) {
        let mut cluster = Self::made(size);
        cluster.start_all();
        let coordination = cluster.settled();
        (cluster, coordination)
    }

    /// Like [`running`](Self::running), with a patient failure detector.
    pub(crate) fn running_calmly(size: u16) -> (Self, Coordination) {
        let mut cluster = Self::made(size);
        cluster.calm();
        cluster.start_all();
        let coordination = cluster.settled();
        (cluster, coordination)
    }

    /// Makes the failure detectors patient.
    pub(crate) fn calm(&mut self) {
        let file = self.file("calm.toml", CALM);
        for id in self.ids() {
            self.more_args.entry(id).or_default().extend(["--config".to_owned(), file.clone()]);
        }
    }

    /// Makes a data directory, as `synod init` does, but with short segments.
    pub(crate) fn make(&self, id: u16) {
        let members = self.ids().map(ReplicaId).collect();
        let first = Configuration::new(ConfigurationId(1), members).unwrap();
        let peers = self.ids().map(|id| (ReplicaId(id), self.peer_address(id)));
        let replica = NewReplica {
            cluster_name: self.name.clone(),
            constants: ClusterConstants::new(1 << 16, first, Limits::default()).unwrap(),
            replica: ReplicaId(id),
            // As `synod init` does: no two data directories have the same.
            incarnation: Incarnation(u128::from(fastrand::u64(..))),
            log: SMALL_LOG,
            peers: peers.collect(),
        };
        let disk = Arc::new(RealDisk::new(self.data_dir(id)));
        drop(DataDirectory::init(disk, &replica).unwrap());
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u16> + use<> {
        0..self.size
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a file, and returns its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn data_dir(&self, id: u16) -> PathBuf {
        let usual = || self.path().join(format!("r{id}"));
        self.elsewhere.get(&id).cloned().unwrap_or_else(usual)
    }

    /// A copy of the data directory of a replica, which is down.
    pub(crate) fn copy_data_dir(&self, id: u16) -> PathBuf {
        let copy = self.path().join(format!("copy of r{id}"));
        let copied = Command::new("cp").arg("-a").arg(self.data_dir(id)).arg(&copy).status();
        assert!(copied.unwrap().success());
        copy
    }

    /// Puts another data directory in the place of that of a replica, which is down. Returns where the
    /// replaced one is.
    pub(crate) fn replace_data_dir(&self, id: u16, other: &Path) -> PathBuf {
        let replaced = self.path().join(format!("replaced r{id}"));
        fs::rename(self.data_dir(id), &replaced).unwrap();
        fs::rename(other, self.data_dir(id)).unwrap();
        replaced
    }

    /// The address where a replica listens for its peers.
    pub(crate) fn peer_address(&self, id: u16) -> String {
        format!("{}:{}", self.host, self.first_port + id)
    }

    /// The address where a replica listens for clients.
    pub(crate) fn endpoint(&self, id: u16) -> String {
        format!("{}:{}", self.host, self.first_port + 10 + id)
    }

    pub(crate) fn endpoints(&self, ids: impl IntoIterator<Item = u16>) -> String {
        let endpoints: Vec<_> = ids.into_iter().map(|id| self.endpoint(id)).collect();
        endpoints.join(",")
    }

    /// All endpoints for the client library, this one first.
    pub(crate) fn endpoints_from(&self, first: u16) -> Vec<Endpoint> {
        let turned = self.ids().map(|id| (id + first) % self.size);
        turned.map(|id| self.endpoint(id).parse().unwrap()).collect()
    }

    /// All members, in the form of `synod init --peers`.
    pub(crate) fn peers(&self) -> String {
        let peers: Vec<_> =
            self.ids().map(|id| format!("{id}={}", self.peer_address(id))).collect();
        peers.join(",")
    }

    /// The arguments of `synod node` for a replica.
    pub(crate) fn node_args(&self, id: u16) -> Vec<String> {
        let data_dir = self.data_dir(id).to_str().unwrap().to_owned();
        let mut args = vec!["--data-dir".to_owned(), data_dir];
        args.extend(["--listen-client".to_owned(), self.endpoint(id)]);
        args.extend(self.more_args.get(&id).into_iter().flatten().cloned());
        args
    }

    pub(crate) fn log(&self, id: u16) -> PathBuf {
        self.path().join(format!("r{id}.log"))
    }

    pub(crate) fn start(&mut self, id: u16) -> &mut Node {
        let node = Node::start(&self.node_args(id), &self.environment, &self.log(id));
        assert!(self.nodes.insert(id, node).is_none(), "replica {id} ran already");
        self.node(id)
    }

    pub(crate) fn start_all(&mut self) {
        for id in self.ids() {
            if !self.nodes.contains_key(&id) {
                self.start(id);
            }
        }
    }

    pub(crate) fn node(&mut self, id: u16) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("replica {id} does not run"))
    }

    /// `kill -9`. The process is gone when this returns.
    pub(crate) fn kill(&mut self, id: u16) {
        self.nodes.remove(&id).unwrap_or_else(|| panic!("replica {id} does not run")).kill();
    }

    /// SIGTERM, and waiting for the end.
    pub(crate) fn stop(&mut self, id: u16) {
        let mut node =
            self.nodes.remove(&id).unwrap_or_else(|| panic!("replica {id} does not run"));
        node.signal(rustix::process::Signal::TERM);
        assert_eq!(node.ended(), 0, "{}", node.told());
    }

    /// The status of these replicas, from `synod status --json`.
    pub(crate) fn status(&self, ids: impl IntoIterator<Item = u16>) -> Vec<Json> {
        let done = synod(&["status", "--json", "--endpoints", &self.endpoints(ids)]);
        let Json::Array(reports) = serde_json::from_str(&done.stdout).unwrap() else {
            panic!("no array: {done:?}");
        };
        reports
    }

    /// Waits until all running nodes follow one coordinator.
    pub(crate) fn settled(&self) -> Coordination {
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        self.settled_among(&ids)
    }

    /// Waits until these nodes follow one coordinator, which is one of them.
    pub(crate) fn settled_among(&self, ids: &[u16]) -> Coordination {
        until(
            &format!("replicas {ids:?} of {} follow one coordinator", self.path().display()),
            || {
                for id in ids {
                    let node = &self.nodes[id];
                    assert_eq!(node.lines_with("error: "), 0, "it has ended:\n{}", node.told());
                }
                coordination(&self.status(ids.iter().copied()))
            },
        )
    }

    /// Submits values, and returns their slots.
    pub(crate) fn submit(&self, ids: impl IntoIterator<Item = u16>, values: &[&str]) -> Vec<u64> {
        let endpoints = self.endpoints(ids);
        let mut args = vec!["submit", "--endpoints", &endpoints];
        args.extend(values);
        let lines = lines(&synod(&args).stdout());
        assert!(lines.iter().map(|it| &it.1).eq(values), "{lines:?}");
        lines.into_iter().map(|it| it.0).collect()
    }

    /// The slot where the log ends, by a read at these replicas.
    pub(crate) fn read(&self, ids: impl IntoIterator<Item = u16>) -> u64 {
        let stdout = synod(&["read", "--endpoints", &self.endpoints(ids)]).stdout();
        stdout.trim().parse().unwrap()
    }

    /// The values in the log of a replica, with their slots.
    pub(crate) fn values(&self, id: u16) -> Vec<(u64, String)> {
        let endpoint = self.endpoint(id);
        let args = ["follow", "--from", "1", "--until-caught-up", "--endpoints", &endpoint];
        lines(&synod(&args).stdout())
    }

    /// All entries in the log of a replica, with their slots.
    pub(crate) fn everything(&self, id: u16) -> Vec<(u64, String)> {
        let endpoint = self.endpoint(id);
        let args = ["follow", "--until-caught-up", "--everything", "--endpoints", &endpoint];
        lines(&synod(&args).stdout())
    }

    /// Checks that all replicas have the same in every slot. Returns the values.
    pub(crate) fn same_everywhere(&self) -> Vec<(u64, String)> {
        let end = self.read(self.ids());
        let up_to_end = |mut lines: Vec<(u64, String)>| {
            // Later entries may have come while the other replicas were asked.
            lines.retain(|it| it.0 <= end);
            lines
        };
        let (values, all) = (up_to_end(self.values(0)), up_to_end(self.everything(0)));
        assert!(all.iter().map(|it| it.0).eq(1..=end), "slots are missing: {all:?}");
        for id in 1..self.size {
            assert_same(0, &values, id, &up_to_end(self.values(id)));
            assert_same(0, &all, id, &up_to_end(self.everything(id)));
        }
        values
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        const LINES_MAX: usize = 40;
        if !std::thread::panicking() {
            return;
        }
        for id in self.ids() {
            let told = fs::read_to_string(self.log(id)).unwrap_or_default();
            let lines: Vec<_> = told.lines().collect();
            let lines = &lines[lines.len().saturating_sub(LINES_MAX)..];
            println!("--- what replica {id} told last:\n{}", lines.join("\n"));
        }
    }
}

/// The coordinator, if all reports are there and agree on it.
fn coordination(reports: &[Json]) -> Option<Coordination> {
    let coordinator = reports.iter().find(|it| it["role"] == "coordinator")?;
    let id = &coordinator["replica"];
    reports.iter().all(|it| it["coordinator"] == *id).then_some(())?;
    let id = u16::try_from(id.as_u64()?).ok()?;
    Some(Coordination { id, number: coordinator["sequence_number"].as_u64()? })
}

/// Splits a line into the slot, a tab, and the rest.
fn lines(text: &str) -> Vec<(u64, String)> {
    let line = |line: &str| {
        let (slot, rest) = line.split_once('\t').unwrap();
        (slot.parse().unwrap(), rest.to_owned())
    };
    text.lines().map(line).collect()
}

fn assert_same(left_id: u16, left: &[(u64, String)], right_id: u16, right: &[(u64, String)]) {
    let differing = left.iter().zip(right).find(|(left, right)| left != right);
    assert!(
        differing.is_none() && left.len() == right.len(),
        "replica {left_id} has {} and replica {right_id} has {}; they differ first in {differing:?}",
        left.len(),
        right.len(),
    );
}
