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

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use synod_model::{Delivered, Slot, Value as _};
use synod_wire::Value;
use synod_wire::api::{Answered, Applied, QueryError, Response, SubmitError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::call::{Query, SubmitReply};
use super::disk::Watch;
use super::{NodeError, Notice};
use crate::state_machine::{Responder, StateMachine};

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
    pub(super) delivered: Arc<Vec<Delivered<Value>>>,
    /// Each is answered when the machine has applied the slot that stands before it, and nothing above.
    /// Those slots ascend. An outcome names the slot of the first copy.
    pub(super) answers: Vec<(Slot, SubmitReply, Result<Slot, SubmitError>)>,
    /// These see the state after the last entry of the batch.
    pub(super) queries: Vec<Query>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.delivered.is_empty() && self.answers.is_empty() && self.queries.is_empty()
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
}

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
}

/// Where batches go.
pub(super) enum MachineRunner {
    Immediate(Box<dyn Machine>),
    Thread(MachineQueue),
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
        notices: mpsc::UnboundedSender<Notice>,
    ) -> std::io::Result<(Self, Option<JoinHandle<()>>)> {
        if machine.machine().is_immediate() {
            return Ok((Self::Immediate(Box::new(machine)), None));
        }
        let (queue, to_run) = MachineQueue::new();
        let thread = spawn(machine, to_run, notices)?;
        Ok((Self::Thread(queue), Some(thread)))
    }

    /// Has the machine take a batch. Says up to which slot it has applied everything, if it has done so
    /// now; the thread says so later.
    pub(super) async fn take(&mut self, batch: Batch) -> Result<Option<Slot>, NodeError> {
        match self {
            Self::Immediate(machine) => run(machine.as_mut(), batch),
            Self::Thread(queue) => {
                queue.push(batch).await;
                Ok(None)
            }
        }
    }
}

/// Applies a batch and answers its clients. Returns the last slot, if there was one.
fn run<M: Machine + ?Sized>(machine: &mut M, batch: Batch) -> Result<Option<Slot>, NodeError> {
    let Batch { delivered, answers, queries } = batch;
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
    Ok(last)
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
    mut batches: mpsc::Receiver<(Batch, Room)>,
    notices: mpsc::UnboundedSender<Notice>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("state-machine".to_owned()).spawn(move || {
        // For a panic outside of the machine.
        let _watch = Watch { thread: "state-machine", notices: notices.clone() };
        // The bytes of a batch are returned when it is done, or when the thread ends.
        while let Some((batch, _room)) = batches.blocking_recv() {
            let (notice, goes_on) = match run(&mut machine, batch) {
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
