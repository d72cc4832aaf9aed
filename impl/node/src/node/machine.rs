//! Where the state machine runs.
//!
//! A machine may take its time, so it has a thread of its own. The replica goes on meanwhile: it
//! promises, acknowledges and commits, until [`WAITING_BATCHES_MAX`] batches or [`WAITING_BYTES_MAX`]
//! bytes wait for the machine. Then the replica waits too, and the other replicas go on without it. A
//! machine that is [immediate](StateMachine::is_immediate) runs in the replica's task, which saves two
//! changes of thread for each batch.
//!
//! A client of this replica is answered after the machine has applied its command here. So a client that
//! submits, and then queries the same replica, sees the effect. Queries travel in the same batches as
//! commands, so each sees at least the state that was committed when it came to its turn.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use synod_model::{Delivered, Slot, Value as _};
use synod_wire::Value;
use synod_wire::api::{Answered, Applied, QueryError, Response, SubmitError};
use synod_wire::blocking::{self, NotRun};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::call::{Query, SubmitReply};
use super::disk::Watch;
use super::snapshots::{SnapshotJob, SnapshotOrder};
use super::{NodeError, Notice};
use crate::shell::Restore;
use crate::state_machine::{Responder, Snapshot as _, StateMachine};
use crate::storage::SnapshotFolder;

/// How many batches wait for the machine. A batch is what one round of events has led to.
const WAITING_BATCHES_MAX: usize = 64;

/// How many batches may wait where queries are still taken. Half of them: slow queries are refused
/// before they hold up the replica.
const WAITING_BEFORE_QUERIES_MAX: usize = WAITING_BATCHES_MAX / 2;

/// How many bytes of entries and queries wait for the machine, or are with it. Default 64 MiB, as much
/// as the core holds of what is not committed. A batch with more bytes waits alone.
const WAITING_BYTES_MAX: u32 = 64 << 20;

/// How many bytes may wait where a query is still taken, with those of the query. Half of them, for the
/// same reason. A query with more bytes is taken when nothing waits.
const WAITING_BYTES_BEFORE_QUERIES_MAX: u64 = WAITING_BYTES_MAX as u64 / 2;

/// Committed entries, and the clients that wait for the machine to have them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The machine is restored from the snapshot of this slot first.
    pub(super) restore: Option<Slot>,
    pub(super) delivered: Arc<Vec<Delivered<Value>>>,
    /// Each is answered when the machine has applied the slot that stands before it, and nothing above.
    /// Those slots ascend. An outcome names the slot of the first copy.
    pub(super) answers: Vec<(Slot, SubmitReply, Result<Slot, SubmitError>)>,
    /// These see the state after the last entry of the batch.
    pub(super) queries: Vec<Query>,
    /// A snapshot of the state after the last entry of the batch is wanted.
    pub(super) snapshot: Option<SnapshotOrder>,
}

impl Batch {
    /// What the machine is to do, in order: a restoration begins a batch of its own. Each answer stands where the
    /// state is that answers it.
    pub(super) fn in_order(
        restores: Vec<Restore>,
        mut delivered: Vec<Delivered<Value>>,
        mut answers: Vec<(Slot, SubmitReply, Result<Slot, SubmitError>)>,
        queries: Vec<Query>,
    ) -> Vec<Self> {
        let mut batches = Vec::new();
        let (mut restore, mut given) = (None, 0);
        for next in restores {
            let delivered_later = delivered.split_off(next.after_entries - given);
            let first_later = answers.partition_point(|(slot, ..)| *slot < next.slot);
            let answers_later = answers.split_off(first_later);
            let before = std::mem::replace(&mut delivered, delivered_later);
            let answers = std::mem::replace(&mut answers, answers_later);
            let delivered = Arc::new(before);
            let batch = Self { restore, delivered, answers, ..Self::default() };
            if !batch.is_empty() {
                batches.push(batch);
            }
            (restore, given) = (Some(next.slot), next.after_entries);
        }
        let delivered = Arc::new(delivered);
        batches.push(Self { restore, delivered, answers, queries, snapshot: None });
        batches
    }

    fn is_empty(&self) -> bool {
        self.restore.is_none()
            && self.delivered.is_empty()
            && self.answers.is_empty()
            && self.queries.is_empty()
            && self.snapshot.is_none()
    }

    /// How many bytes its entries and queries have in memory.
    fn size_bytes(&self) -> u64 {
        let entries = self.delivered.iter().map(|it| it.entry.size_bytes());
        entries.chain(self.queries.iter().map(|it| it.request.size_bytes())).sum()
    }

    /// Refuses the queries for which there is no room behind so much that waits.
    fn refuse_queries(&mut self, waiting_batches: usize, waiting_bytes: u64) {
        let mut bytes = waiting_bytes;
        let is_refused = |query: &mut Query| {
            let with_it = bytes.saturating_add(query.request.size_bytes());
            if waiting_batches > WAITING_BEFORE_QUERIES_MAX
                || (bytes > 0 && with_it > WAITING_BYTES_BEFORE_QUERIES_MAX)
            {
                return true;
            }
            bytes = with_it;
            false
        };
        for query in self.queries.extract_if(.., is_refused) {
            query.fail(QueryError::TooMany);
        }
    }
}

/// A [`Responder`], whatever its snapshots are.
pub(crate) trait Machine: Send {
    fn applied(&self) -> Slot;
    fn apply(&mut self, delivered: &Delivered<Value>) -> Response;
    fn response_of(&self, slot: Slot) -> Response;
    fn query(&self, request: &Value) -> Answered;
    fn snapshot(&self) -> WritesSnapshot;
    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()>;
}

/// Writes a snapshot out, on another thread than that of the machine.
pub(crate) type WritesSnapshot = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

impl<M: StateMachine> Machine for Responder<M> {
    fn applied(&self) -> Slot {
        self.applied()
    }

    fn apply(&mut self, delivered: &Delivered<Value>) -> Response {
        self.apply(delivered)
    }

    fn response_of(&self, slot: Slot) -> Response {
        self.response_of(slot)
    }

    fn query(&self, request: &Value) -> Answered {
        self.query(request)
    }

    fn snapshot(&self) -> WritesSnapshot {
        let snapshot = self.snapshot();
        Box::new(move |out| snapshot.write_to(out))
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        self.restore(snapshot)
    }
}

/// Where batches go.
pub(super) enum MachineRunner {
    /// Nobody else has the machine while the replica's task runs it.
    Immediate(Arc<Mutex<dyn Machine>>, MachineSnapshots),
    Thread(MachineQueue),
}

/// Where the machine's snapshots go, and where it is restored from.
#[derive(Clone, Debug)]
pub(super) struct MachineSnapshots {
    pub(super) folder: SnapshotFolder,
    pub(super) jobs: std::sync::mpsc::Sender<SnapshotJob>,
}

/// The batches that wait for the machine's thread.
pub(super) struct MachineQueue {
    batches: mpsc::Sender<(Batch, Room)>,
    /// A permit is a byte.
    room: Arc<Semaphore>,
}

/// The bytes of a batch in the queue. Dropping it returns them.
type Room = OwnedSemaphorePermit;

impl MachineQueue {
    fn new() -> (Self, mpsc::Receiver<(Batch, Room)>) {
        let (batches, to_run) = mpsc::channel(WAITING_BATCHES_MAX);
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX as usize));
        (Self { batches, room }, to_run)
    }

    /// Adds a batch, once there is room for it.
    async fn push(&self, mut batch: Batch) {
        if !batch.queries.is_empty() {
            let waiting_bytes = WAITING_BYTES_MAX as usize - self.room.available_permits();
            let waiting_batches = self.batches.max_capacity() - self.batches.capacity();
            batch.refuse_queries(waiting_batches, waiting_bytes as u64);
            if batch.is_empty() {
                return;
            }
        }
        let bytes = u32::try_from(batch.size_bytes()).unwrap_or(u32::MAX).min(WAITING_BYTES_MAX);
        // The semaphore is never closed.
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await {
            // If the thread has ended, it has said why, and at which slot, before it let go of the
            // channel. That notice ends the node, and the clients of this batch hear nothing.
            let _ = self.batches.send((batch, room)).await;
        }
    }
}

impl MachineRunner {
    /// Starts the thread of the machine, if it is to have one.
    pub(super) fn start<M: StateMachine>(
        machine: Responder<M>,
        snapshots: MachineSnapshots,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> io::Result<(Self, Option<JoinHandle<()>>)> {
        if machine.machine().is_immediate() {
            return Ok((Self::Immediate(Arc::new(Mutex::new(machine)), snapshots), None));
        }
        let (queue, to_run) = MachineQueue::new();
        let thread = spawn(machine, snapshots, to_run, notices)?;
        Ok((Self::Thread(queue), Some(thread)))
    }

    /// Has the machine take a batch. Says up to which slot it has applied everything, if it has done so
    /// now; the thread says so later.
    pub(super) async fn take(&mut self, mut batch: Batch) -> Result<Option<Slot>, NodeError> {
        match self {
            Self::Immediate(machine, snapshots) => {
                let restored = match batch.restore.take() {
                    Some(slot) => Some(restore_on_thread(machine, snapshots, slot).await?),
                    None => None,
                };
                let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(run(&mut *machine, batch, snapshots)?.or(restored))
            }
            Self::Thread(queue) => {
                queue.push(batch).await;
                Ok(None)
            }
        }
    }
}

/// Restores an immediate machine. A snapshot may be long, so the replica's task does not do it.
async fn restore_on_thread(
    machine: &Arc<Mutex<dyn Machine>>,
    snapshots: &MachineSnapshots,
    slot: Slot,
) -> Result<Slot, NodeError> {
    let (on_thread, folder) = (Arc::clone(machine), snapshots.folder.clone());
    let work = move || {
        let mut machine = on_thread.lock().unwrap_or_else(PoisonError::into_inner);
        restore(&mut *machine, &folder, slot)
    };
    match blocking::run("restore", work).await {
        Ok(restored) => restored,
        // `restore` catches what panics in the machine.
        Err(NotRun::Panicked(_)) => Err(NodeError::Panicked { thread: "restore" }),
        Err(NotRun::NoThread(_)) => {
            let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
            restore(&mut *machine, &snapshots.folder, slot)
        }
    }
}

/// Replaces the state of the machine by that of a snapshot. Returns its slot.
pub(crate) fn restore<M: Machine + ?Sized>(
    machine: &mut M,
    folder: &SnapshotFolder,
    slot: Slot,
) -> Result<Slot, NodeError> {
    let failed = |error: String| NodeError::Restore { slot, error };
    let (_, mut reader) = folder.open(slot).map_err(|error| failed(error.to_string()))?;
    let restored = catch_unwind(AssertUnwindSafe(|| machine.restore(&mut reader)));
    let restored = restored.map_err(|_| failed("the state machine panicked".to_owned()))?;
    restored.map_err(|error| failed(error.to_string()))?;
    // A machine may stop reading before the end.
    reader.check_to_end().map_err(|error| failed(error.to_string()))?;
    let applied = machine.applied();
    if applied == slot {
        Ok(slot)
    } else {
        Err(failed(format!("it is the state of slot {applied}")))
    }
}

/// Applies a batch and answers its clients. Returns the last slot, if there was one.
fn run<M: Machine + ?Sized>(
    machine: &mut M,
    batch: Batch,
    snapshots: &MachineSnapshots,
) -> Result<Option<Slot>, NodeError> {
    let Batch { restore: newest, delivered, answers, queries, snapshot } = batch;
    let restored = newest.map(|slot| restore(machine, &snapshots.folder, slot)).transpose()?;
    let last = apply(machine, &delivered, answers, |reply: SubmitReply, outcome| {
        // The client may have gone.
        let _ = reply.send(outcome);
    })?;
    for Query { request, reply } in queries {
        // Its client has gone, and would have no use for the answer.
        if reply.is_closed() {
            continue;
        }
        let ask = || machine.query(&request);
        let answered = catch_unwind(AssertUnwindSafe(ask))
            .map_err(|_| NodeError::Query { slot: machine.applied() })?;
        let _ = reply.send(Ok(answered));
    }
    if let Some(order) = snapshot {
        let slot = order.handle.slot;
        let snapshot = catch_unwind(AssertUnwindSafe(|| machine.snapshot()));
        let write = snapshot.map_err(|_| NodeError::Snapshot { slot })?;
        // If the thread has ended, that ends the node.
        let _ = snapshots.jobs.send(SnapshotJob { order, write });
    }
    Ok(last.or(restored))
}

/// Applies committed entries, and answers each client at its slot. Returns the last slot, if there was
/// one.
pub(crate) fn apply<M: Machine + ?Sized, S>(
    machine: &mut M,
    delivered: &[Delivered<Value>],
    answers: Vec<(Slot, S, Result<Slot, SubmitError>)>,
    mut answer: impl FnMut(S, Result<Applied, SubmitError>),
) -> Result<Option<Slot>, NodeError> {
    let look_up = |machine: &M, outcome: Result<Slot, SubmitError>| {
        outcome.map(|slot| Applied { slot, response: machine.response_of(slot) })
    };
    let mut answers = answers.into_iter().peekable();
    let mut last = None;
    for delivered in delivered {
        let slot = delivered.slot;
        // The next command may let go of a response that is wanted here.
        while let Some((_, reply, outcome)) = answers.next_if(|it| it.0 < slot) {
            answer(reply, look_up(machine, outcome));
        }
        let apply = || machine.apply(delivered);
        let response =
            catch_unwind(AssertUnwindSafe(apply)).map_err(|_| NodeError::StateMachine { slot })?;
        last = Some(slot);
        while let Some((_, reply, outcome)) = answers.next_if(|it| it.0 == slot) {
            if outcome == Ok(slot) {
                answer(reply, Ok(Applied { slot, response: response.clone() }));
            } else {
                answer(reply, look_up(machine, outcome));
            }
        }
    }
    // These were applied before this batch.
    for (_, reply, outcome) in answers {
        answer(reply, look_up(machine, outcome));
    }
    Ok(last)
}

/// Runs the machine until nobody sends batches any more, or until it panics. Why it ends is said before
/// `batches` is dropped.
fn spawn<M: StateMachine>(
    mut machine: Responder<M>,
    snapshots: MachineSnapshots,
    mut batches: mpsc::Receiver<(Batch, Room)>,
    notices: mpsc::UnboundedSender<Notice>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("state-machine".to_owned()).spawn(move || {
        // For a panic outside of the machine.
        let _watch = Watch { thread: "state-machine", notices: notices.clone() };
        // The bytes of a batch are returned when it is done, or when the thread ends.
        while let Some((batch, _room)) = batches.blocking_recv() {
            let (notice, goes_on) = match run(&mut machine, batch, &snapshots) {
                Ok(None) if notices.is_closed() => return,
                Ok(None) => continue,
                Ok(Some(last)) => (Notice::Applied(last), true),
                Err(error) => (Notice::Fatal(error), false),
            };
            if notices.send(notice).is_err() || !goes_on {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests;
