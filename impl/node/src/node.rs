//! A running replica: the shell, driven by real time, real files and real sockets.
//!
//! ```text
//! peers <-> transport <-> inbox --> replica's task: Shell (the core inside) --> transport
//!                                     |     ^                  |
//!                              records v     | Synced           | deliveries
//!                                   appender thread             v
//!                             (append + fdatasync)     application thread --> who submitted
//! ```
//!
//! One task owns the replica ([`replica`]); threads of their own wait for the disk
//! ([`mod@disk`]) and run the callback ([`application`]). Each of them
//! can end with an error, and that ends the node: a replica that cannot write, or cannot tell its
//! application, is one that is down.

mod application;
mod asked;
mod disk;
mod log;
mod make;
mod met;
mod replica;
mod resident;
mod session;
mod shared;
mod verdicts;

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use synod_model::{Message, Position, ReplicaId, Run, Slot};
use synod_wire::Value;
use synod_wire::api::{ReadError, SubmitError};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::info;

pub use application::{Application, NoApplication};
pub use log::{Log, LogSubscription};
pub use make::{MakeError, make_data_directory};

use crate::disk::RealDisk;
use crate::listen::{ListenError, ListensFor};
use crate::peers::{LinkTiming, Peers, PeersConfig, PeersError};
use crate::shell::Shell;
use crate::shell::detector::Timing;
use crate::shell::waiting::Waiter;
use crate::start::{Committed, StartError, start};
use crate::storage::{
    AppendError, DataDirectory, OpenError, Preparation, ReadError as DiskReadError, SmallFileError,
};
use application::Deliverer;
use asked::{Asked, Asking};
use replica::{Sinks, Sources};
use shared::{Counters, Shared};
use verdicts::Verdicts;

/// How many messages of peers wait for the replica, before their connections have to. Default 128: the
/// largest have about 2 MiB, and what waits in TCP costs nothing here.
const INBOX_MESSAGES_MAX: usize = 128;
/// How many wishes of clients wait for the replica, before the clients have to. Default 4,096.
const WANTED_MAX: usize = 4096;

type SubmitReply = oneshot::Sender<Result<Slot, SubmitError>>;
type ReadReply = oneshot::Sender<Result<Slot, ReadError>>;

impl<T> Waiter for oneshot::Sender<T> {
    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

/// What a node is opened with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory, made by `synod init`.
    pub data_dir: PathBuf,
    /// Where it listens for its peers, as `host:port`. Without, where its peers look for it.
    pub listen_peer: Option<String>,
    /// Where the members are, as `host:port`, this replica among them. Those that are not named stay
    /// where they were.
    pub peers: BTreeMap<ReplicaId, String>,
    /// How its failure detector counts time.
    pub timing: Timing,
}

impl Config {
    /// The node of this data directory, with everything as it was made.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen_peer: None,
            peers: BTreeMap::new(),
            timing: Timing::default(),
        }
    }
}

/// What the threads of a node tell the task of the replica.
#[derive(Debug)]
enum Notice {
    Synced(Position),
    Applied(Slot),
    Fatal(NodeError),
}

/// Why a node cannot be opened.
#[derive(Debug, Error)]
pub enum NodeOpenError {
    /// The data directory cannot be opened.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// The addresses of the members cannot be stored.
    #[error(transparent)]
    Addresses(#[from] SmallFileError),
    /// The peers cannot be dialled.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// The log cannot be recovered.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An address is given for somebody who is no member.
    #[error(
        "{replica} is no member of this cluster, which has {members:?}\n  \
         the members are fixed by `synod init`; an address can be given only for one of them"
    )]
    NoMember {
        /// Whom the address is for.
        replica: ReplicaId,
        /// The members.
        members: Vec<ReplicaId>,
    },
    /// A member has no address.
    #[error(
        "nothing says where replica {replica} is\n  give its address: --peers {replica}=HOST:PORT"
    )]
    NoAddress {
        /// Which member.
        replica: ReplicaId,
    },
    /// Two members have the same address.
    #[error(
        "replicas {} and {} would have the same address, {address}\n  \
         each needs one of its own: --peers ID=HOST:PORT, for both if both have moved",
        replicas[0], replicas[1]
    )]
    SameAddress {
        /// Which members.
        replicas: [ReplicaId; 2],
        /// Where both are said to be.
        address: String,
    },
    /// The port for peers cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
    /// The callback has panicked.
    #[error(
        "the application panicked at slot {slot}, which it was given again at this start\n  \
         it is given the same at every start: mend the application first"
    )]
    Application {
        /// What it was given.
        slot: Slot,
    },
}

/// Why a node ended that was not told to.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The log cannot be appended to.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log cannot be read back.
    #[error(transparent)]
    Read(#[from] DiskReadError),
    /// The cluster cannot take this replica.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// The callback has panicked.
    #[error(
        "the application panicked at slot {slot}\n  \
         every replica is given the same, so others may end likewise: mend the application first"
    )]
    Application {
        /// What it was given.
        slot: Slot,
    },
    /// A thread of the node has panicked.
    #[error(
        "the thread `{thread}` of this node panicked, and said why above\n  \
         that is a fault of synod: please report it; nothing durable is lost"
    )]
    Panicked {
        /// Its name.
        thread: &'static str,
    },
}

/// Opens the node of a data directory, and lets it run.
pub(crate) async fn open<A: Application>(
    config: Config,
    application: A,
) -> Result<Log, NodeOpenError> {
    let opening = tokio::task::spawn_blocking(move || Opened::new(&config, application));
    let opened = opening.await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        // The runtime is shutting down, and starts nothing more.
        Err(cancelled) => Err(NodeOpenError::Thread(io::Error::other(cancelled))),
    });
    opened?.run().await
}

/// A node whose log is recovered, and which nobody can reach yet.
struct Opened<A> {
    directory: DataDirectory,
    replica: synod_model::Replica<Value>,
    log: crate::storage::Log,
    application: A,
    /// What the application was given while the log was read.
    applied: Slot,
    shared: Shared,
    members: BTreeMap<ReplicaId, String>,
    listen_peer: String,
    timing: Timing,
    run: Run,
    rng: Rng,
}

impl<A: Application> Opened<A> {
    fn new(config: &Config, mut application: A) -> Result<Self, NodeOpenError> {
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
        let from = application.applied();
        let mut applied = from;
        let mut verdicts = Verdicts::default();
        let mut is_in_callback = false;
        let committed = |committed| match committed {
            Committed::ToDeliver(delivered) => {
                delivered.verdict.iter().for_each(|it| verdicts.note(delivered.slot, *it));
                applied = delivered.slot;
                is_in_callback = true;
                application.deliver(application::to_delivery(delivered));
                is_in_callback = false;
            }
            Committed::HadAlready(slot, verdict) => verdicts.note(slot, verdict),
        };
        let start = || start(&directory, Preparation::InBackground, run, from, committed);
        let (replica, log) = match catch_unwind(AssertUnwindSafe(start)) {
            Ok(started) => started?,
            Err(_) if is_in_callback => return Err(NodeOpenError::Application { slot: applied }),
            Err(panic) => resume_unwind(panic),
        };
        let recovered = log.recovered();
        if let Some(interrupted) = recovered.interrupted {
            info!(from = %interrupted.from, to = %interrupted.to, "an interrupted write was cut off");
        }
        let status = replica.status();
        info!(%me, %run, records = recovered.records, committed = %status.watermark, "recovered");
        let counters = Counters::default();
        counters.note(&log);
        let shared = Shared::new(status, Arc::new(counters), verdicts);
        Ok(Self {
            directory,
            replica,
            log,
            application,
            applied,
            shared,
            members,
            listen_peer,
            timing: config.timing.clone(),
            run,
            rng: Rng::with_seed(seed),
        })
    }

    async fn run(self) -> Result<Log, NodeOpenError> {
        let Self { directory, replica, log, application, applied, shared, .. } = self;
        let Self { members, listen_peer, timing, run, mut rng, .. } = self;
        let identity = directory.identity().clone();
        let listener = ListensFor::Peers.listen(&listen_peer).await?;
        let shared = Arc::new(shared);
        let (inbox, from_peers) = mpsc::channel(INBOX_MESSAGES_MAX);
        let (wanted, from_clients) = mpsc::channel(WANTED_MAX);
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
            let limits = identity.cluster.limits();
            let (entries_max, bytes_max) = (limits.frame_entries_max, limits.frame_bytes_max);
            let reader = reader.clone();
            move |slots| reader.read(slots, entries_max, bytes_max)
        };
        let (records, to_append) = std::sync::mpsc::channel();
        let asked = Arc::new(Asked::default());
        let thread = NodeOpenError::Thread;
        let (application, application_thread) =
            Deliverer::start(application, notices.clone()).map_err(thread)?;
        let mut threads = Vec::from([
            disk::spawn_appender(log, to_append, notices.clone(), Arc::clone(&shared.counters))
                .map_err(thread)?,
            disk::spawn_server(read, send, Arc::clone(&asked), notices.clone()).map_err(thread)?,
        ]);
        threads.extend(application_thread);
        // The application may have it already, from the reading of the log.
        let _ = notices.send(Notice::Applied(applied));

        let sources = Sources {
            peers: from_peers,
            clients: from_clients,
            notices: from_threads,
            formed: peers.formed(),
            stop: stopping,
        };
        let sinks = Sinks {
            peers: Arc::clone(&peers),
            records,
            application,
            asked: Asking(asked),
            shared: Arc::clone(&shared),
        };
        let make_shell = move |now: Duration| Shell::new(replica, timing, rng, now);
        let task = tokio::spawn(supervise(make_shell, sources, sinks, threads));
        Ok(Log::new(log::Parts {
            shared,
            identity,
            run,
            reader,
            peers,
            wanted,
            notices,
            stop,
            task,
        }))
    }
}

/// Runs the replica to its end, and everything around it.
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
    // Their channels are closed. The appender ends when it has written what was given to it. The
    // application ends with the batch that it is at, for nobody hears of it any more: whoever waits
    // for what is queued behind hears that it is unknown, and the next start delivers it.
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            let _ = thread.join();
        }
    });
    let _ = joined.await;
    ended
}

/// Where all members are: as stored, but for what is given now.
fn addresses(
    directory: &DataDirectory,
    given: &BTreeMap<ReplicaId, String>,
) -> Result<BTreeMap<ReplicaId, String>, NodeOpenError> {
    let configuration = directory.identity().cluster.first_configuration();
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
