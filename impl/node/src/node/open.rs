//! From a data directory to a running node.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use synod_model::{Message, ReplicaId, Run};
use synod_wire::Value;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::call::{ReadReply, SubmitReply};
use super::catch_up_queue::{CatchUpQueue, ClosesWhenDropped};
use super::machine::MachineRunner;
use super::replica::{self, Sinks, Sources};
use super::shared::{Counters, Shared};
use super::verdict_history::VerdictHistory;
use super::{Node, NodeError, NodeOpenError, Notice, Parts, disk};
use crate::disk::RealDisk;
use crate::listen::ListensFor;
use crate::peers::{Inbox, LinkTiming, Peers, PeersConfig};
use crate::shell::Shell;
use crate::shell::detector::Timing;
use crate::start::{Committed, start};
use crate::state_machine::{Responder, StateMachine};
use crate::storage::{DataDirectory, Preparation};

/// How many messages of peers that carry entries wait for the replica before their connections wait. Default 128: the
/// largest have about 2 MiB, and what waits in TCP costs nothing here.
const BULK_MESSAGES_MAX: usize = 128;
/// How many other events of peers wait for the replica before the connections wait. Default 1,024: they
/// are small, and as many are taken in at once.
const CONTROL_EVENTS_MAX: usize = 1024;
/// How many calls of clients wait for the replica before the clients wait. Default 4,096.
const CALLS_MAX: usize = 4096;

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
}

impl Config {
    /// The node of this data directory, with the defaults.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen_peer: None,
            peers: BTreeMap::new(),
            timing: Timing::default(),
        }
    }
}

/// Opens the node of a data directory, and lets it run.
pub(super) async fn open<M: StateMachine>(
    config: Config,
    machine: M,
) -> Result<Node, NodeOpenError> {
    let opening = tokio::task::spawn_blocking(move || Opened::new(&config, machine));
    let opened = opening.await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        // The runtime is shutting down, and starts nothing more.
        Err(cancelled) => Err(NodeOpenError::Thread(io::Error::other(cancelled))),
    });
    opened?.run().await
}

/// A node whose log is recovered. It listens to nobody yet.
struct Opened<M> {
    directory: DataDirectory,
    replica: synod_model::Replica<Value>,
    log: crate::storage::Log,
    machine: Responder<M>,
    shared: Shared,
    members: BTreeMap<ReplicaId, String>,
    listen_peer: String,
    timing: Timing,
    run: Run,
    rng: Rng,
}

impl<M: StateMachine> Opened<M> {
    fn new(config: &Config, machine: M) -> Result<Self, NodeOpenError> {
        let disk = Arc::new(RealDisk::new(&config.data_dir));
        let mut directory = DataDirectory::open(disk)?;
        let me = directory.identity().replica;
        let members = addresses(&directory, &config.peers)?;
        directory.store_peers(members.clone())?;
        let listen_peer = config.listen_peer.clone();
        let listen_peer = listen_peer.or_else(|| members.get(&me).cloned());
        let listen_peer = listen_peer.ok_or(NodeOpenError::NoAddress { replica: me })?;

        let random = || getrandom::u64().map_err(NodeOpenError::Random);
        let (run, seed) = (Run(random()?), random()?);
        let mut machine = Responder::new(machine);
        let had_already = machine.applied();
        let mut verdicts = VerdictHistory::default();
        let mut in_machine = None;
        let committed = |committed| match committed {
            Committed::ToDeliver(delivered) => {
                delivered.verdict.iter().for_each(|it| verdicts.note(delivered.slot, *it));
                in_machine = Some(delivered.slot);
                machine.apply(&delivered);
                in_machine = None;
            }
            Committed::HadAlready(slot, verdict) => verdicts.note(slot, verdict),
        };
        let start = || start(&directory, Preparation::InBackground, run, had_already, committed);
        let (replica, log) = match catch_unwind(AssertUnwindSafe(start)) {
            Ok(started) => started?,
            Err(panic) => match in_machine {
                Some(slot) => return Err(NodeOpenError::StateMachine { slot }),
                None => resume_unwind(panic),
            },
        };
        let recovered = log.recovered();
        if let Some(interrupted) = recovered.interrupted {
            info!(from = %interrupted.from, to = %interrupted.to, "an interrupted write was cut off");
        }
        let status = replica.status();
        info!(%me, %run, records = recovered.records, committed = %status.watermark, "recovered");
        if had_already > status.watermark {
            // No error: a command is applied when it is committed, and the disk may learn that later.
            warn!(
                applied = %had_already,
                committed = %status.watermark,
                "the state machine has applied more than the log knows to be committed. This is normal \
                 after a crash. Otherwise its store does not belong to this data directory"
            );
        }
        let counters = Counters::default();
        counters.note(&log);
        let shared = Shared::new(status, Arc::new(counters), verdicts);
        Ok(Self {
            directory,
            replica,
            log,
            machine,
            shared,
            members,
            listen_peer,
            timing: config.timing.clone(),
            run,
            rng: Rng::with_seed(seed),
        })
    }

    async fn run(self) -> Result<Node, NodeOpenError> {
        let Self { directory, replica, log, machine, shared, .. } = self;
        let Self { members, listen_peer, timing, run, mut rng, .. } = self;
        let identity = directory.identity().clone();
        let listener = ListensFor::Peers.listen(&listen_peer).await?;
        let shared = Arc::new(shared);
        let (control, from_control) = mpsc::channel(CONTROL_EVENTS_MAX);
        let (bulk, from_bulk) = mpsc::channel(BULK_MESSAGES_MAX);
        let inbox = Inbox { control, bulk };
        let (calls, from_clients) = mpsc::channel(CALLS_MAX);
        let (notices, from_threads) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let peers = PeersConfig {
            identity: identity.clone(),
            run,
            listener,
            members,
            timing: LinkTiming::default(),
            seed: rng.u64(..),
        };
        let peers = Arc::new(Peers::start(peers, directory, inbox)?);

        let to_peers = Arc::clone(&peers);
        let send = move |to, message: &Message<Value>| to_peers.send(to, message);
        let reader = log.reader();
        let read = {
            let limits = identity.constants.limits();
            let (entries_max, bytes_max) = (limits.frame_entries_max, limits.frame_bytes_max);
            let reader = reader.clone();
            move |slots| reader.read(slots, entries_max, bytes_max)
        };
        let (records, to_append) = std::sync::mpsc::channel();
        let catch_up = Arc::new(CatchUpQueue::default());
        let thread = NodeOpenError::Thread;
        // The machine has applied this while the log was read.
        let _ = notices.send(Notice::Applied(machine.applied()));
        let (machine, machine_thread) =
            MachineRunner::start(machine, notices.clone()).map_err(thread)?;
        let mut threads = Vec::from([
            disk::spawn_appender(log, to_append, notices.clone(), Arc::clone(&shared.counters))
                .map_err(thread)?,
            disk::spawn_server(read, send, Arc::clone(&catch_up), notices.clone())
                .map_err(thread)?,
        ]);
        threads.extend(machine_thread);

        let sources = Sources {
            control: from_control,
            bulk: from_bulk,
            clients: from_clients,
            notices: from_threads,
            formed: peers.formed(),
            stop: stopping,
        };
        let sinks = Sinks {
            peers: Arc::clone(&peers),
            records,
            machine,
            catch_up: ClosesWhenDropped(catch_up),
            shared: Arc::clone(&shared),
        };
        let make_shell = move |now: Duration| Shell::new(replica, timing, rng, now);
        let task = tokio::spawn(supervise(make_shell, sources, sinks, threads));
        let parts = Parts { shared, identity, run, reader, peers, calls, notices, stop };
        Ok(Node::new(parts, task))
    }
}

/// Runs the replica to its end, and then stops everything around it.
async fn supervise(
    make_shell: impl FnOnce(Duration) -> Shell<SubmitReply, ReadReply>,
    sources: Sources,
    sinks: Sinks,
    threads: Vec<JoinHandle<()>>,
) -> Result<(), NodeError> {
    let peers = Arc::clone(&sinks.peers);
    let shared = Arc::clone(&sinks.shared);
    let ended = tokio::select! {
        ended = replica::run(make_shell, sources, sinks) => ended,
        fatal = peers.fatal() => Err(NodeError::Peers(fatal)),
    };
    shared.end();
    peers.stop().await;
    // The channels of the threads are closed. The appender ends when it has written what it was given.
    // The machine ends with the batch that it is at, for nobody hears of it any more. The clients of
    // the batches behind it hear that the outcome is unknown, and the next start applies those batches.
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            let _ = thread.join();
        }
    });
    let _ = joined.await;
    ended
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
        if let Some(other) = places.insert(address, *replica) {
            let (replicas, address) = ([other, *replica], address.clone());
            return Err(NodeOpenError::SameAddress { replicas, address });
        }
    }
    Ok(addresses)
}
