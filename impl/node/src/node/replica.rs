//! The task that owns the replica.
//!
//! Everything that happens comes to this task: messages of peers, calls of clients, news from the disk
//! and from the state machine, and time. The task takes in all that has arrived, and then acts on the
//! outcome. So under load many commands share one accept, one write and one message to each peer.

mod damage_log;
mod hang_log;

use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use synod_model::{ElectRefused, Record, Slot, Status};
use synod_wire::Value;
use synod_wire::api::Role;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::call::{Call, Query, ReadReply, SubmitReply};
use super::catch_up_queue::ClosesWhenDropped;
use super::machine::{Batch, MachineRunner};
use super::shared::{Governing, PublishedSilence, Shared};
use super::snapshots::{SnapshotOrder, Taking};
use super::{NodeError, Notice};
use crate::peers::{PeerEvent, Peers};
use crate::shell::{Shell, ShellEvent, Silence, Unanswered};
use crate::storage::SnapshotFolder;
use damage_log::DamageLog;
use hang_log::tell_hangs;

/// How many events are taken in before their outcome is acted on. Default 1,024: enough to merge what a
/// busy network brings within one sync, and few enough that nothing waits for long.
const EVENTS_MAX: usize = 1024;

/// How long a replica that does nothing any more waits for peers that are to be told so. Default 2 s: time to
/// make a connection.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// How often such a replica looks whether they have been told.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Where events come from.
pub(super) struct Sources {
    pub(super) control: mpsc::Receiver<PeerEvent>,
    pub(super) bulk: mpsc::Receiver<PeerEvent>,
    pub(super) clients: mpsc::Receiver<Call>,
    pub(super) notices: mpsc::UnboundedReceiver<Notice>,
    pub(super) formed: watch::Receiver<bool>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Where the effects go.
pub(super) struct Sinks {
    pub(super) peers: Arc<Peers>,
    pub(super) records: Sender<Vec<Record<Value>>>,
    pub(super) machine: MachineRunner,
    pub(super) catch_up: ClosesWhenDropped,
    pub(super) shared: Arc<Shared>,
    pub(super) snapshots: Snapshots,
}

/// The snapshots of the replica, as its task sees them.
pub(super) struct Snapshots {
    pub(super) folder: SnapshotFolder,
    pub(super) taking: Taking,
    /// How many bytes the log had behind the record of its newest snapshot when this run began.
    pub(super) log_bytes_before: u64,
    /// A peer's snapshot that includes this slot is needed.
    pub(super) wanted: Option<Slot>,
}

impl Snapshots {
    fn log_bytes(&self, shared: &Shared) -> u64 {
        self.log_bytes_before.saturating_add(shared.counters.get().bytes_written)
    }
}

/// Runs the replica until it is told to stop, or cannot go on. `make_shell` makes the shell once the
/// cluster is formed. Until then no message of the protocol passes, and no time is counted.
pub(super) async fn run(
    make_shell: impl FnOnce(Duration) -> Shell<SubmitReply, ReadReply>,
    mut sources: Sources,
    mut sinks: Sinks,
) -> Result<(), NodeError> {
    let start = Instant::now();
    let Some(Formed { call }) = wait_until_formed(&mut sources).await? else {
        return Ok(());
    };
    let mut shell = make_shell(start.elapsed());
    let mut seen = shell.status().clone();
    let mut damage_log = DamageLog::default();
    // These go to the machine with the next batch.
    let mut queries = Vec::new();
    let event = call.and_then(|it| event_of_call(it, &mut queries, &mut sinks.snapshots));
    if let Some(event) = event {
        shell.handle(event, start.elapsed());
    }
    // When this replica ends, which does nothing any more.
    let mut ends_at = None;
    let ended = loop {
        let alarm = start + shell.next_alarm();
        let alarm = if ends_at.is_some() { alarm.min(Instant::now() + LOOK_AGAIN) } else { alarm };
        let of_snapshots = sinks.snapshots.taking.next_alarm(Instant::now());
        let alarm = of_snapshots.map_or(alarm, |it| alarm.min(it));
        let first = tokio::select! {
            biased;
            _ = sources.stop.changed() => break Ok(()),
            Some(notice) = sources.notices.recv() => {
                event_of(notice, &mut sinks.snapshots, &sinks.peers)
            }
            () = sinks.peers.not_fetched() => Ok(None),
            Some(event) = sources.control.recv() => Ok(event_of_peer(event, &sinks)),
            Some(event) = sources.bulk.recv() => Ok(event_of_peer(event, &sinks)),
            Some(call) = sources.clients.recv() => {
                Ok(event_of_call(call, &mut queries, &mut sinks.snapshots))
            }
            () = sleep_until(alarm) => Ok(None),
        };
        // Before anything that may have the core fetch one anew.
        if sinks.peers.take_not_fetched() {
            shell.handle(ShellEvent::NotFetched, start.elapsed());
        }
        match first {
            Ok(Some(event)) => shell.handle(event, start.elapsed()),
            Ok(None) => {}
            Err(error) => break Err(error),
        }
        if let Err(error) = take_in(&mut shell, &mut sources, &mut sinks, &mut queries, start) {
            break Err(error);
        }
        cut_log(&mut shell, &mut sinks, start);
        shell.flush(start.elapsed());
        let notices = &mut sources.notices;
        if let Err(error) = act(&mut shell, notices, &mut sinks, &mut queries, start).await {
            break Err(error);
        }
        if let Err(error) = begin_snapshot(&mut shell, notices, &mut sinks, start).await {
            break Err(error);
        }
        let out = &mut shell.effects().out;
        damage_log.tell_histories(&mut out.other_histories);
        damage_log.tell_forgotten(&mut out.forgotten);
        let status = shell.status().clone();
        tell_change(&seen, &status);
        if sinks.snapshots.wanted.take_if(|slot| *slot <= status.watermark).is_some() {
            sinks.peers.note_committed(status.watermark);
        }
        publish(&shell, &sinks.shared, start);
        if status.is_stopped {
            let ends_at = *ends_at.get_or_insert_with(|| Instant::now() + LAST_WORDS_MAX);
            if ends_at <= Instant::now() || sinks.peers.have_been_told() {
                // The core takes nothing in any more, so those who wait would wait for ever.
                break Err(why_it_stopped(status));
            }
        }
        seen = status;
    };
    shell.stop();
    answer(&mut shell, &mut queries);
    ended
}

/// Why a replica does nothing any more.
fn why_it_stopped(status: Status) -> NodeError {
    let replica = status.me;
    if let Some(registered) = status.other_directory {
        return NodeError::OtherDirectory { replica, registered };
    }
    match status.forgotten.iter().find(|it| it.replica == replica) {
        Some(forgotten) => NodeError::Forgotten(*forgotten),
        None => NodeError::OtherHistories { others: status.other_histories },
    }
}

/// Publishes how the replica is.
fn publish(shell: &Shell<SubmitReply, ReadReply>, shared: &Shared, start: Instant) {
    let silence = shell.silence().map(|Silence { since, counts_from }| PublishedSilence {
        since: start + since,
        counts_from: start + counts_from,
    });
    let hanging = shell.hanging().map(|(resource, since)| (resource, start + since));
    shared.publish(shell.replica(), shell.status(), shell.known_watermark(), silence, hanging);
}

/// Logs a change of role, or of the replica that this one follows.
fn tell_change(before: &Status, now: &Status) {
    let (role, s) = Role::of(now.role);
    if (role, s) == Role::of(before.role) && now.coordinator == before.coordinator {
        return;
    }
    let committed = now.watermark;
    match (role, now.coordinator) {
        (Role::Follower, Some(coordinator)) if coordinator != now.me => {
            info!(%coordinator, promised = %now.promised, %committed, "follows");
        }
        (Role::Follower, _) => info!(promised = %now.promised, %committed, "follows nobody"),
        (Role::Canvassing, _) => info!(%s, %committed, "asks who would follow"),
        (Role::Candidate, _) => info!(%s, %committed, "stands for election"),
        (Role::Coordinator, _) => info!(%s, %committed, "coordinates"),
    }
}

/// The cluster is formed.
struct Formed {
    /// A client of this process saw that first, and has asked already.
    call: Option<Call>,
}

/// Waits until the cluster is formed. `None` if the replica must stop before.
async fn wait_until_formed(sources: &mut Sources) -> Result<Option<Formed>, NodeError> {
    loop {
        if *sources.formed.borrow_and_update() {
            return Ok(Some(Formed { call: None }));
        }
        tokio::select! {
            biased;
            _ = sources.stop.changed() => return Ok(None),
            changed = sources.formed.changed() => {
                if changed.is_err() {
                    return Ok(None);
                }
            }
            Some(notice) = sources.notices.recv() => {
                if let Notice::Fatal(error) = notice {
                    return Err(error);
                }
            }
            // A peer may have met all others before.
            Some(_) = sources.control.recv() => {}
            Some(_) = sources.bulk.recv() => {}
            Some(call) = sources.clients.recv() => {
                // The client may have seen it before this task.
                if *sources.formed.borrow() {
                    return Ok(Some(Formed { call: Some(call) }));
                }
                call.refuse_while_forming();
            }
        }
    }
}

type ClientEvent = ShellEvent<SubmitReply, ReadReply>;

fn event_of(
    notice: Notice,
    snapshots: &mut Snapshots,
    peers: &Peers,
) -> Result<Option<ClientEvent>, NodeError> {
    Ok(match notice {
        Notice::Synced(position) => Some(ShellEvent::Synced(position)),
        Notice::Applied(slot) => Some(ShellEvent::Applied(slot)),
        Notice::NotServed(peer) => Some(ShellEvent::NotServed(peer)),
        Notice::SnapshotWritten(written) => {
            let folder = &snapshots.folder;
            let path = |slot| folder.path(slot).display().to_string();
            snapshots.taking.written(written, path, Instant::now());
            None
        }
        Notice::SnapshotFetched { from, handle } => {
            snapshots.taking.fetched(handle.slot);
            peers.note_snapshot_given();
            Some(ShellEvent::Install(from, handle))
        }
        Notice::Fatal(error) => return Err(error),
    })
}

/// The message that a peer has sent.
fn event_of_peer(event: PeerEvent, sinks: &Sinks) -> Option<ClientEvent> {
    match event {
        PeerEvent::Message(from, message) => Some(ShellEvent::Peer(from, message)),
        PeerEvent::Alive(from) => Some(ShellEvent::Alive(from)),
        PeerEvent::Restarted(peer) => Some(ShellEvent::Restarted(peer)),
        PeerEvent::Reconnected(peer) => Some(ShellEvent::Reconnected(peer)),
        PeerEvent::CatchUpLost(peer) => {
            sinks.catch_up.0.forget(peer);
            Some(ShellEvent::NotServed(peer))
        }
        PeerEvent::Full(peer) => Some(ShellEvent::Full(peer)),
        PeerEvent::Drained(peer) => Some(ShellEvent::Drained(peer)),
        PeerEvent::CatchUpLeft(peer) if sinks.catch_up.0.go_on(peer) => None,
        PeerEvent::CatchUpLeft(peer) => Some(ShellEvent::Served(peer)),
        PeerEvent::RoundTrip(peer, round_trip) => Some(ShellEvent::RoundTrip(peer, round_trip)),
    }
}

/// Turns a call into an event. A stale query is none: it goes to the machine. Neither is the order of a
/// snapshot.
fn event_of_call(
    call: Call,
    queries: &mut Vec<Query>,
    snapshots: &mut Snapshots,
) -> Option<ClientEvent> {
    match call {
        Call::Submit(submission, reply) => Some(ShellEvent::Submit(submission, reply)),
        Call::Read(reply) => Some(ShellEvent::Read(reply)),
        Call::QueryStale(query) => {
            queries.push(query);
            None
        }
        Call::TakeSnapshot(reply) => {
            snapshots.taking.order(reply);
            None
        }
        Call::SaveSnapshot(reply) => {
            snapshots.taking.order_to_save(reply);
            None
        }
    }
}

/// Takes in what else has arrived, a little from each source in turn.
fn take_in(
    shell: &mut Shell<SubmitReply, ReadReply>,
    sources: &mut Sources,
    sinks: &mut Sinks,
    queries: &mut Vec<Query>,
    start: Instant,
) -> Result<(), NodeError> {
    let now = start.elapsed();
    for _ in 0..EVENTS_MAX {
        let mut is_empty = true;
        if let Ok(notice) = sources.notices.try_recv() {
            is_empty = false;
            if let Some(event) = event_of(notice, &mut sinks.snapshots, &sinks.peers)? {
                shell.handle(event, now);
            }
        }
        // Control goes first.
        if let Ok(event) = sources.control.try_recv().or_else(|_| sources.bulk.try_recv()) {
            is_empty = false;
            if let Some(event) = event_of_peer(event, sinks) {
                shell.handle(event, now);
            }
        }
        if let Ok(call) = sources.clients.try_recv() {
            is_empty = false;
            if let Some(event) = event_of_call(call, queries, &mut sinks.snapshots) {
                shell.handle(event, now);
            }
        }
        if is_empty {
            break;
        }
    }
    Ok(())
}

/// Does what the shell wants done.
///
/// Records go first, because the disk takes longest. Then clients of this replica are answered, and
/// then the peers get their messages.
async fn act(
    shell: &mut Shell<SubmitReply, ReadReply>,
    notices: &mut mpsc::UnboundedReceiver<Notice>,
    sinks: &mut Sinks,
    queries: &mut Vec<Query>,
    start: Instant,
) -> Result<(), NodeError> {
    while do_here(shell, notices, sinks, queries, start).await? {}
    let effects = shell.effects();
    tell_hangs(&mut effects.hang_news);
    if let Some(Unanswered { limit, round_trip }) = effects.unanswered.take() {
        warn!(
            ?limit,
            longest_round_trip = ?round_trip,
            "ceases to coordinate: a majority has not answered within the limit"
        );
    }
    let replica = shell.replica();
    sinks.peers.govern(replica.configuration(), replica.former_configuration());
    let out = &mut shell.effects().out;
    for outgoing in out.messages.drain(..) {
        sinks.peers.send(outgoing.to, &outgoing.message);
    }
    for serve in out.serve.drain(..) {
        sinks.catch_up.0.push(serve);
    }
    let fetch = out.fetch.take();
    if let Some((from, slot)) = fetch {
        sinks.snapshots.wanted = Some(slot);
        sinks.peers.note_committed(shell.status().watermark);
        sinks.peers.fetch_snapshot(from, slot);
    }
    let out = &mut shell.effects().out;
    // A coordinator of a cluster of one hears nobody, so its detector wakes it for nothing. Neither does a replica
    // that does not vote mean to stand. Of what hangs, people were told when it began.
    let is_known = |reason: &ElectRefused| {
        matches!(
            reason,
            ElectRefused::Coordinates | ElectRefused::NotAVoter | ElectRefused::Hangs { .. }
        )
    };
    if let Some(reason) = out.elect_refused.take().filter(|it| !is_known(it)) {
        warn!(?reason, "does not stand for election");
    }
    for contradiction in out.contradictions.drain(..) {
        error!(
            ?contradiction,
            "a peer contradicts what is committed: one of the two disks or programs is wrong"
        );
    }
    Ok(())
}

/// Writes, applies and answers. Returns true if the machine has applied something at once, which may
/// have further effects.
async fn do_here(
    shell: &mut Shell<SubmitReply, ReadReply>,
    notices: &mut mpsc::UnboundedReceiver<Notice>,
    sinks: &mut Sinks,
    queries: &mut Vec<Query>,
    start: Instant,
) -> Result<bool, NodeError> {
    answer(shell, queries);
    let effects = shell.effects();
    let out = &mut effects.out;
    if !out.writes.is_empty() {
        // The appender ends only after an error, which it has reported.
        let _ = sinks.records.send(std::mem::take(&mut out.writes));
    }
    sinks.shared.note_verdicts(&out.delivered, &out.had_already);
    out.had_already.clear();
    if out.delivered.is_empty()
        && effects.on_delivery.is_empty()
        && effects.restores.is_empty()
        && queries.is_empty()
    {
        return Ok(false);
    }
    let batches = Batch::in_order(
        std::mem::take(&mut effects.restores),
        std::mem::take(&mut out.delivered),
        std::mem::take(&mut effects.on_delivery),
        std::mem::take(queries),
    );
    let mut has_applied = false;
    for batch in batches {
        sinks.shared.recent.publish(&batch.delivered);
        let applied = give_to_machine(shell, notices, sinks, batch, start).await?;
        if let Some(through) = applied {
            shell.handle(ShellEvent::Applied(through), start.elapsed());
        }
        has_applied |= applied.is_some();
    }
    Ok(has_applied)
}

/// Has the core cut the log behind a snapshot of this replica that is durable, unless a peer is being sent an older
/// one.
fn cut_log(shell: &mut Shell<SubmitReply, ReadReply>, sinks: &mut Sinks, start: Instant) {
    let log_bytes = sinks.snapshots.log_bytes(&sinks.shared);
    let peers = &sinks.peers;
    if let Some(handle) = sinks.snapshots.taking.release(|| peers.sending(), log_bytes) {
        shell.handle(ShellEvent::SnapshotTaken(handle), start.elapsed());
    }
}

/// Begins a snapshot, if one is due. Everything that was delivered is with the machine, so what it is given now comes
/// right behind the slot of the handle.
async fn begin_snapshot(
    shell: &mut Shell<SubmitReply, ReadReply>,
    notices: &mut mpsc::UnboundedReceiver<Notice>,
    sinks: &mut Sinks,
    start: Instant,
) -> Result<(), NodeError> {
    let log_bytes = sinks.snapshots.log_bytes(&sinks.shared);
    let Snapshots { taking, folder, .. } = &mut sinks.snapshots;
    if !taking.begins(log_bytes, Instant::now()) {
        return Ok(());
    }
    let Some(handle) = shell.snapshot_handle() else {
        return Ok(());
    };
    let file = |slot| Some((folder.file(slot)?, folder.path(slot).display().to_string()));
    if !taking.begin(&handle, file, log_bytes) {
        return Ok(());
    }
    let superseded = taking.superseded(handle.slot);
    let batch = Batch { snapshot: Some(SnapshotOrder { handle, superseded }), ..Batch::default() };
    give_to_machine(shell, notices, sinks, batch, start).await.map(drop)
}

/// Gives the machine a batch, once it has room. It may be the machine that hangs: while the replica waits
/// for it, people are told.
async fn give_to_machine(
    shell: &mut Shell<SubmitReply, ReadReply>,
    notices: &mut mpsc::UnboundedReceiver<Notice>,
    sinks: &mut Sinks,
    batch: Batch,
    start: Instant,
) -> Result<Option<Slot>, NodeError> {
    let Sinks { machine, snapshots, shared, peers, .. } = sinks;
    let mut taken = pin!(machine.take(batch));
    loop {
        let hang_at = shell.next_hang().map(|at| start + at);
        tokio::select! {
            biased;
            taken = &mut taken => return taken,
            // What the machine has applied shows that it goes on.
            Some(notice) = notices.recv() => {
                if let Some(event) = event_of(notice, snapshots, peers)? {
                    shell.handle(event, start.elapsed());
                }
            }
            () = sleep_until(hang_at.unwrap_or(start)), if hang_at.is_some() => {
                shell.tell_hangs(start.elapsed());
            }
        }
        tell_hangs(&mut shell.effects().hang_news);
        publish(shell, shared, start);
    }
}

/// Answers the clients that can be answered at once. A linearizable query whose read is answered goes
/// to the machine, which has applied what the query must see. Clients may have gone.
fn answer(shell: &mut Shell<SubmitReply, ReadReply>, queries: &mut Vec<Query>) {
    let effects = shell.effects();
    for (reply, error) in effects.failed.drain(..) {
        let _ = reply.send(Err(error));
    }
    for (reply, outcome) in std::mem::take(&mut effects.read) {
        match (reply, outcome) {
            (ReadReply::Barrier(reply), outcome) => {
                let _ = reply.send(outcome);
            }
            (ReadReply::Query(query), Ok(_)) => queries.push(query),
            // What the replica knows now covers everything that was committed before the read.
            (ReadReply::Members(reply), Ok(_)) => {
                let _ = reply.send(Ok(Governing::of(shell.replica())));
            }
            (reply, Err(error)) => reply.fail(error),
        }
    }
}
