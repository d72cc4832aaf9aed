//! From a prepared node to a running one: the log is read, and everything is started.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use futures_util::FutureExt as _;
use synod_model::{Message, Run, Slot};
use synod_wire::Value;
use synod_wire::blocking::{self, NotRun};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{info, warn};

use super::call::{ReadReply, SubmitReply};
use super::catch_up_queue::{CatchUpQueue, ClosesWhenDropped};
use super::machine::{MachineRunner, MachineSnapshots};
use super::replica::{self, Sinks, Snapshots, Sources};
use super::shared::{Counters, Shared};
use super::snapshots::{self, FolderSink, FolderSource, SnapshotOptions, Taking};
use super::starting::Reading;
use super::verdict_history::VerdictHistory;
use super::{Node, NodeError, NodeOpenError, Notice, Parts, PreparedNode, disk};
use crate::peers::snapshots::SnapshotLimits;
use crate::peers::{
    Addresses, Inbox, LinkTiming, Peers, PeersConfig, SnapshotStore, answer_while_starting,
};
use crate::shell::Shell;
use crate::shell::detector::Timing;
use crate::start::{Committed, restore, start};
use crate::state_machine::{Responder, StateMachine};
use crate::storage::{DataDirectory, Preparation};

/// How many messages of peers that carry entries wait for the replica before their connections wait.
/// Default 128: the largest have about 2 MiB, and what waits in TCP costs nothing here.
const BULK_MESSAGES_MAX: usize = 128;
/// How many other events of peers wait for the replica before the connections wait. Default 1,024: they
/// are small, and as many are taken in at once.
const CONTROL_EVENTS_MAX: usize = 1024;
/// How many calls of clients wait for the replica before the clients wait. Default 4,096.
const CALLS_MAX: usize = 4096;
/// How often a node that stops looks whether its threads have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Reads the log of a prepared node, and lets the node run.
pub(super) async fn open<M: StateMachine>(
    prepared: PreparedNode,
    machine: M,
) -> Result<Node, NodeOpenError> {
    let reading = prepared.reading();
    let PreparedNode { directory, addresses, listener, timing, snapshots, run, rng, backend } =
        prepared;
    let identity = directory.identity().clone();
    let read = {
        let reading = Arc::clone(&reading);
        move || Recovered::read(directory, machine, run, &reading)
    };
    let recovered = tokio::select! {
        recovered = blocking::run("recovery", read) => recovered??,
        never = answer_while_starting(&listener, &identity, run, || reading.get()) => match never {},
    };
    let opened = Opened { recovered, addresses, listener, timing, snapshots, run, rng };
    let node = opened.run()?;
    backend.opened(node.clone());
    Ok(node)
}

/// What is known once the log is read.
struct Recovered<M> {
    directory: DataDirectory,
    replica: synod_model::Replica<Value>,
    log: crate::storage::Log,
    machine: Responder<M>,
    shared: Shared,
}

/// A node that has read its log, and does not run yet.
struct Opened<M> {
    recovered: Recovered<M>,
    addresses: Addresses,
    listener: TcpListener,
    timing: Timing,
    snapshots: SnapshotOptions,
    run: Run,
    rng: Rng,
}

impl<M: StateMachine> Recovered<M> {
    fn read(
        directory: DataDirectory,
        machine: M,
        run: Run,
        reading: &Reading,
    ) -> Result<Self, NodeOpenError> {
        let me = directory.identity().replica;
        let mut machine = Responder::new(machine);
        let had_already = machine.applied();
        let mut verdicts = VerdictHistory::default();
        let mut in_machine = None;
        let committed = |committed| {
            match committed {
                Committed::Restore(slot) => {
                    in_machine = Some(slot);
                    restore(&mut machine, directory.snapshots(), slot)?;
                    in_machine = None;
                }
                Committed::ToDeliver(delivered) => {
                    delivered.verdict.iter().for_each(|it| verdicts.note(delivered.slot, *it));
                    in_machine = Some(delivered.slot);
                    machine.apply(&delivered);
                    in_machine = None;
                }
                Committed::HadAlready(slot, verdict) => verdicts.note(slot, verdict),
            }
            Ok(())
        };
        let start = || {
            start(
                &directory,
                Preparation::InBackground,
                run,
                had_already,
                |segments_read, segments| reading.tell(segments_read, segments),
                committed,
            )
        };
        let (replica, log) = match catch_unwind(AssertUnwindSafe(start)) {
            Ok(started) => started?,
            Err(panic) => match in_machine {
                Some(slot) => return Err(NodeOpenError::StateMachine { slot }),
                None => resume_unwind(panic),
            },
        };
        let recovered = log.recovered();
        if let Some(interrupted) = recovered.interrupted {
            warn!(
                bytes = interrupted.span_bytes(),
                first_byte = %interrupted.from,
                last_byte = %interrupted.to,
                "the end of the log was cut off: it holds no whole batch. A crash in the middle of a \
                 write leaves that, and does no harm: nobody was told that it was durable. But if \
                 nothing crashed, the disk had confirmed it as durable and has lost acknowledged \
                 entries: see docs/operating.md#a-disk-that-forgets"
            );
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
        if let Some(forgotten) = status.forgotten.iter().find(|it| it.replica == me) {
            return Err(NodeOpenError::Forgotten(*forgotten));
        }
        if let Some(registered) = status.other_directory {
            return Err(NodeOpenError::OtherDirectory { replica: me, registered });
        }
        // A part of an older snapshot is of no use any more.
        if let Err(error) = directory.snapshots().remove_parts_through(status.watermark) {
            warn!("{error}");
        }
        let counters = Counters::default();
        counters.note(&log);
        let shared = Shared::new(&replica, Arc::new(counters), verdicts);
        Ok(Self { directory, replica, log, machine, shared })
    }
}

impl<M: StateMachine> Opened<M> {
    fn run(self) -> Result<Node, NodeOpenError> {
        let Self { recovered, addresses, listener, timing, snapshots: options, run, mut rng } =
            self;
        let Recovered { directory, replica, log, machine, shared } = recovered;
        let identity = directory.identity().clone();
        let address = addresses.stored.get(&identity.replica).cloned();
        let shared = Arc::new(shared);
        let (control, from_control) = mpsc::channel(CONTROL_EVENTS_MAX);
        let (bulk, from_bulk) = mpsc::channel(BULK_MESSAGES_MAX);
        let inbox = Inbox { control, bulk };
        let (calls, from_clients) = mpsc::channel(CALLS_MAX);
        let (notices, from_threads) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let folder = directory.snapshots().clone();
        let newest = folder.newest().map_or(Slot::ZERO, |file| file.slot);
        let peers = PeersConfig {
            identity: identity.clone(),
            run,
            listener,
            configuration: replica.configuration().clone(),
            addresses,
            timing: LinkTiming::default(),
            snapshots: SnapshotStore {
                source: Arc::new(FolderSource(folder.for_reading())),
                sink: Box::new(FolderSink::new(folder.clone(), notices.clone())),
                limits: SnapshotLimits {
                    sent_bytes_per_second: options.sent_bytes_per_second,
                    ..SnapshotLimits::default()
                },
            },
            seed: rng.u64(..),
        };
        let peers = Arc::new(Peers::start(peers, directory, inbox));

        let to_peers = Arc::clone(&peers);
        let send = move |to, message: &Message<Value>| to_peers.send(to, message);
        let reader = log.reader();
        let read = {
            let limits = identity.constants.limits();
            let (entries_max, bytes_max) = (limits.frame_entries_max, limits.frame_bytes_max);
            let reader = reader.clone();
            move |slots| reader.read(slots, entries_max, bytes_max)
        };
        let log_bytes_before = log.size().bytes_since_snapshot;
        let (records, to_append) = std::sync::mpsc::channel();
        let catch_up = Arc::new(CatchUpQueue::default());
        let thread = |error| NodeOpenError::from(NotRun::NoThread(error));
        // The machine has applied this while the log was read.
        let _ = notices.send(Notice::Applied(machine.applied()));
        let (jobs, ordered) = std::sync::mpsc::channel();
        let of_machine = MachineSnapshots { folder: folder.clone(), jobs };
        let (machine, machine_thread) =
            MachineRunner::start(machine, of_machine, notices.clone()).map_err(thread)?;
        let mut threads = Vec::from([
            snapshots::spawn_writer(
                folder.clone(),
                ordered,
                options.written_bytes_per_second,
                Arc::clone(&shared.snapshot_progress),
                notices.clone(),
            )
            .map_err(thread)?,
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
            snapshots: Snapshots {
                folder: folder.clone(),
                taking: Taking::new(options, newest),
                log_bytes_before,
                wanted: None,
            },
        };
        let make_shell = move |now: Duration| Shell::new(replica, timing, rng, now);
        let task = tokio::spawn(supervise(make_shell, sources, sinks, threads));
        let folder = folder.for_reading();
        let parts =
            Parts { shared, identity, address, run, reader, folder, peers, calls, notices, stop };
        Ok(Node::new(parts, task, options.sent_bytes_per_second))
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
    // Whatever happens to its task, those around it hear that it has ended.
    let running = AssertUnwindSafe(replica::run(make_shell, sources, sinks)).catch_unwind();
    let ended = tokio::select! {
        ended = running => ended.unwrap_or(Err(NodeError::Panicked { thread: "replica" })),
        fatal = peers.fatal() => Err(NodeError::Peers(fatal)),
    };
    shared.end();
    shared.snapshot_progress.stop();
    peers.stop().await;
    // The channels of the threads are closed. The appender ends when it has written what it was given.
    // The machine ends with the batch that it is at, for nobody hears of it any more. The clients of
    // the batches behind it hear that the outcome is unknown, and the next start applies those batches.
    for thread in threads {
        // Another thread to wait on might not be started now.
        while !thread.is_finished() {
            sleep(LOOK_AGAIN).await;
        }
        let _ = thread.join();
    }
    ended
}
