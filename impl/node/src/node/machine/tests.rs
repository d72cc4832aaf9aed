//! Batches, without a replica.

use std::io;

use futures_util::FutureExt as _;
use synod_model::{
    Configuration, ConfigurationId, Entry, ReplicaId, Request, SessionId, SnapshotHandle, Verdict,
};
use tokio::sync::oneshot;

use super::*;
use crate::disk::SimulatedDisk;
use crate::forming::kit::{identity, new_replica};
use crate::storage::{DataDirectory, LogLimits};

/// Responds with how many commands it has applied. It does not like `bad`.
#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Snapshot = Vec<u8>;

    fn apply(&mut self, _slot: Slot, command: &Value) -> Value {
        assert!(command.0 != "bad", "as its fault would");
        self.0 += 1;
        self.0.to_string().into()
    }

    fn query(&self, request: &Value) -> Value {
        assert!(request.0 != "bad", "as its fault would");
        self.0.to_string().into()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().into()
    }

    fn restore(&mut self, snapshot: &mut dyn io::Read) -> io::Result<()> {
        let mut count = [0; 8];
        snapshot.read_exact(&mut count)?;
        self.0 = u64::from_le_bytes(count);
        Ok(())
    }
}

/// A session with one request in each slot from 2 on.
fn request(slot: u64, answered: u64, value: &'static str) -> Delivered<Value> {
    let session = SessionId(1);
    let entry = Entry::Request(Request { session, number: slot, answered, value: value.into() });
    Delivered { slot: Slot(slot), entry, verdict: Some(Verdict::First) }
}

fn batch(delivered: impl IntoIterator<Item = Delivered<Value>>) -> Batch {
    Batch { delivered: Arc::new(delivered.into_iter().collect()), ..Batch::default() }
}

/// Snapshots on a disk in memory, and what is ordered to be written there.
fn snapshots() -> (MachineSnapshots, std::sync::mpsc::Receiver<SnapshotJob>) {
    let log = LogLimits { segment_bytes: 8 << 20, batch_bytes_max: 4 << 20 };
    let new = new_replica(identity(0, 1, 1), log);
    let directory = DataDirectory::init(Arc::new(SimulatedDisk::new(1)), &new).expect("made");
    let (jobs, ordered) = std::sync::mpsc::channel();
    (MachineSnapshots { folder: directory.snapshots().clone(), jobs }, ordered)
}

/// Without snapshots.
fn run_one(machine: &mut Responder<Counter>, batch: Batch) -> Result<Option<Slot>, NodeError> {
    run(machine, batch, &snapshots().0)
}

fn order(slot: u64) -> SnapshotOrder {
    SnapshotOrder { handle: handle(slot), superseded: (Slot::ZERO, Slot::ZERO) }
}

fn handle(slot: u64) -> Arc<SnapshotHandle> {
    let first = Configuration::new(ConfigurationId(1), vec![ReplicaId(0)]).expect("a member");
    Arc::new(SnapshotHandle { slot: Slot(slot), ..SnapshotHandle::empty(first) })
}

fn known(response: &'static str) -> Response {
    Response::Known(response.into())
}

#[test]
fn the_slot_at_which_a_machine_panicked_is_told_whatever_it_was_to_be_given_then() {
    let (notices, mut told) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let machine = Responder::new(Counter::default());
    let (mut runner, thread) =
        MachineRunner::start(machine, snapshots().0, notices).expect("a thread");
    let mut take = |batch| runtime.block_on(runner.take(batch)).expect("the notice tells");
    let all = [request(1, 1, "a"), request(2, 1, "b"), request(3, 1, "bad"), request(4, 1, "c")];
    assert_eq!(take(batch(all)), None);
    thread.expect("it has one").join().expect("it ends");
    // There is no thread that this could be given to.
    assert_eq!(take(batch([request(5, 1, "d")])), None);
    let notice = told.try_recv();
    let is_told = matches!(notice, Ok(Notice::Fatal(NodeError::StateMachine { slot: Slot(3) })));
    assert!(is_told, "{notice:?}");
}

#[test]
fn a_query_whose_client_has_gone_is_not_run() {
    let mut machine = Responder::new(Counter::default());
    let (reply, _) = oneshot::channel();
    let queries = vec![Query { request: "bad".into(), reply }];
    assert!(run_one(&mut machine, Batch { queries, ..Batch::default() }).is_ok());
}

#[test]
fn a_query_that_panics_ends_the_node_and_names_the_state() {
    let mut machine = Responder::new(Counter::default());
    let (reply, answer) = oneshot::channel();
    let queries = vec![Query { request: "bad".into(), reply }];
    let ended = run_one(&mut machine, Batch { queries, ..batch([request(1, 1, "a")]) });
    assert!(matches!(ended, Err(NodeError::Query { slot: Slot(1) })), "{ended:?}");
    assert!(answer.blocking_recv().is_err());
}

/// A retry that the core has found in its table is answered before the batch goes on: the next request
/// says that the client has its answer.
#[test]
fn a_response_is_looked_up_before_the_next_command_lets_go_of_it() {
    let mut machine = Responder::new(Counter::default());
    run_one(&mut machine, batch([request(1, 1, "a"), request(2, 1, "b")])).unwrap();
    let [(retry, retried), (third, told), (late, none)] = [(); 3].map(|()| oneshot::channel());
    let answers = vec![
        (Slot(2), retry, Ok(Slot(1))),
        (Slot(3), third, Ok(Slot(3))),
        // As if its number were not below what its session has answers to.
        (Slot(3), late, Ok(Slot(1))),
    ];
    run_one(&mut machine, Batch { answers, ..batch([request(3, 3, "c")]) }).unwrap();
    let response = |outcome: oneshot::Receiver<Result<Applied, SubmitError>>| {
        outcome.blocking_recv().unwrap().unwrap().response
    };
    assert_eq!(response(retried), known("1"));
    assert_eq!(response(told), known("3"));
    assert_eq!(response(none), known(""), "nobody may ask for it any more");
}

#[test]
fn a_query_sees_the_batch_that_it_came_with_and_says_so() {
    let mut machine = Responder::new(Counter::default());
    let (reply, answer) = oneshot::channel();
    let queries = vec![Query { request: Value::default(), reply }];
    run_one(&mut machine, Batch { queries, ..batch([request(1, 1, "a"), request(2, 1, "b")]) })
        .unwrap();
    let answered = answer.blocking_recv().unwrap().unwrap();
    assert_eq!(answered, Answered { slot: Slot(2), response: known("2") });
}

/// The state is that of the marker, and not of what was applied since.
#[test]
fn a_snapshot_is_the_state_at_its_marker_and_restores_a_machine() {
    let (to, ordered) = snapshots();
    let mut machine = Responder::new(Counter::default());
    let all = [request(1, 1, "a"), request(2, 1, "b")];
    run(&mut machine, Batch { snapshot: Some(order(2)), ..batch(all) }, &to).unwrap();
    run(&mut machine, batch([request(3, 1, "c")]), &to).unwrap();
    let SnapshotJob { order: SnapshotOrder { handle, .. }, write } =
        ordered.try_recv().expect("it is ordered");
    let mut writer = to.folder.create(&handle).expect("a disk");
    write(&mut writer).expect("a disk");
    writer.finish().expect("a disk");

    let mut other = Responder::new(Counter(77));
    let (reply, answer) = oneshot::channel();
    let answers = vec![(Slot(2), reply, Ok(Slot(1)))];
    let restored = Batch { restore: Some(Slot(2)), answers, ..Batch::default() };
    assert_eq!(run(&mut other, restored, &to).unwrap(), Some(Slot(2)));
    assert_eq!(answer.blocking_recv().unwrap().unwrap().response, known("1"), "it was kept");
    assert_eq!(other.query(&Value::default()), Answered { slot: Slot(2), response: known("2") });
    assert_eq!(run(&mut other, batch([request(3, 1, "c")]), &to).unwrap(), Some(Slot(3)));
    assert_eq!(other.query(&Value::default()), machine.query(&Value::default()));
    let missing = run(&mut other, Batch { restore: Some(Slot(9)), ..Batch::default() }, &to);
    assert!(matches!(missing, Err(NodeError::Restore { slot: Slot(9), .. })), "{missing:?}");
}

/// An immediate machine is restored by another thread, in order.
#[test]
fn an_immediate_machine_is_restored_before_what_comes_after() {
    let (to, ordered) = snapshots();
    let mut machine = Responder::new(Counter(5));
    run(&mut machine, Batch { snapshot: Some(order(2)), ..batch([request(2, 1, "b")]) }, &to)
        .unwrap();
    let SnapshotJob { order: SnapshotOrder { handle, .. }, write } =
        ordered.try_recv().expect("it is ordered");
    let mut writer = to.folder.create(&handle).expect("a disk");
    write(&mut writer).expect("a disk");
    writer.finish().expect("a disk");
    let other = Arc::new(Mutex::new(Responder::new(Counter::default())));
    let mut runner = MachineRunner::Immediate(other.clone(), to);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let batch = Batch { restore: Some(Slot(2)), ..batch([request(3, 1, "c")]) };
    assert_eq!(runtime.block_on(runner.take(batch)).unwrap(), Some(Slot(3)));
    let other = other.lock().unwrap();
    assert_eq!(other.query(&Value::default()), Answered { slot: Slot(3), response: known("7") });
}

#[test]
fn a_restoration_stands_between_what_was_delivered_before_and_after() {
    let answer = |slot| {
        let (reply, outcome) = oneshot::channel();
        drop(outcome);
        (Slot(slot), reply, Ok(Slot(slot)))
    };
    let delivered = [1, 2, 8, 9].map(|slot| request(slot, 1, "v")).into();
    let restores = vec![
        Restore { after_entries: 2, slot: Slot(5) },
        Restore { after_entries: 2, slot: Slot(7) },
    ];
    let answers = [1, 2, 5, 7, 9].map(answer).into();
    let batches = Batch::in_order(restores, delivered, answers, Vec::new());
    let told: Vec<_> = batches
        .iter()
        .map(|batch| {
            let delivered: Vec<_> = batch.delivered.iter().map(|it| it.slot.0).collect();
            let answers: Vec<_> = batch.answers.iter().map(|it| it.0.0).collect();
            (batch.restore.map(|slot| slot.0), delivered, answers)
        })
        .collect();
    let expected = [
        (None, vec![1, 2], vec![1, 2]),
        (Some(5), vec![], vec![5]),
        (Some(7), vec![8, 9], vec![7, 9]),
    ];
    assert_eq!(told, expected);
    let first = Batch::in_order(
        vec![Restore { after_entries: 0, slot: Slot(5) }],
        Vec::new(),
        Vec::new(),
        Vec::new(),
    );
    assert_eq!(first.len(), 1, "nothing came before");
}

/// Half of the places in the queue are for commands.
#[test]
fn queries_are_refused_before_they_hold_up_the_replica() {
    let (queue, mut to_run) = MachineQueue::new();
    let mut runner = MachineRunner::Thread(queue);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut outcomes = Vec::new();
    for _ in 0..WAITING_BATCHES_MAX {
        let (reply, outcome) = oneshot::channel();
        let queries = vec![Query { request: Value::default(), reply }];
        runtime.block_on(runner.take(Batch { queries, ..Batch::default() })).unwrap();
        outcomes.push(outcome);
    }
    let refused = outcomes.iter_mut().filter_map(|it| it.try_recv().ok());
    assert!(refused.map(Result::unwrap_err).all(|error| error == QueryError::TooMany));
    assert_eq!(to_run.len(), WAITING_BEFORE_QUERIES_MAX + 1);
    runtime.block_on(runner.take(batch([request(1, 1, "a")]))).unwrap();
    assert!(to_run.try_recv().is_ok());
}

/// A batch with commands goes on without its queries.
#[test]
fn a_query_is_refused_in_any_company() {
    let (queue, mut to_run) = MachineQueue::new();
    let mut runner = MachineRunner::Thread(queue);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut refused = 0;
    for slot in 1..=WAITING_BATCHES_MAX as u64 {
        let (reply, mut outcome) = oneshot::channel();
        let queries = vec![Query { request: Value::default(), reply }];
        let batch = Batch { queries, ..batch([request(slot, 1, "a")]) };
        runtime.block_on(runner.take(batch)).unwrap();
        refused += usize::from(outcome.try_recv() == Ok(Err(QueryError::TooMany)));
    }
    assert_eq!(refused, WAITING_BATCHES_MAX - WAITING_BEFORE_QUERIES_MAX - 1);
    let batches: Vec<_> = std::iter::from_fn(|| to_run.try_recv().ok()).collect();
    assert!(batches.iter().all(|(batch, _)| !batch.delivered.is_empty()));
    assert_eq!(batches.len(), WAITING_BATCHES_MAX);
}

const MIB: usize = 1 << 20;

fn large(slot: u64, bytes: usize) -> Delivered<Value> {
    let request =
        Request { session: SessionId(1), number: slot, answered: 1, value: vec![0; bytes].into() };
    let entry = Entry::Request(request);
    Delivered { slot: Slot(slot), entry, verdict: Some(Verdict::First) }
}

#[test]
fn the_bytes_that_wait_are_limited() {
    let (queue, mut to_run) = MachineQueue::new();
    for slot in 1..=7 {
        assert_eq!(queue.push(batch([large(slot, 9 * MIB)])).now_or_never(), Some(()));
    }
    let mut eighth = Box::pin(queue.push(batch([large(8, 9 * MIB)])));
    assert_eq!(eighth.as_mut().now_or_never(), None);
    let in_work = to_run.try_recv().expect("the first waits");
    assert_eq!(eighth.as_mut().now_or_never(), None, "the machine has not applied the first");
    drop(in_work);
    assert_eq!(eighth.as_mut().now_or_never(), Some(()));
    while to_run.try_recv().is_ok() {}
    let more_than_all = batch((9..=16).map(|slot| large(slot, 9 * MIB)));
    assert_eq!(queue.push(more_than_all).now_or_never(), Some(()), "it fits alone");
    let mut next = Box::pin(queue.push(batch([large(17, MIB)])));
    assert_eq!(next.as_mut().now_or_never(), None);
    // The thread has ended.
    drop(to_run);
    assert_eq!(next.as_mut().now_or_never(), Some(()));
}

/// Half of the bytes are for commands, too.
#[test]
fn queries_with_too_many_bytes_are_refused() {
    let (queue, mut to_run) = MachineQueue::new();
    let request = Value::from(vec![0; MIB]);
    let (queries, mut outcomes): (Vec<_>, Vec<_>) = (0..40)
        .map(|_| {
            let (reply, outcome) = oneshot::channel();
            (Query { request: request.clone(), reply }, outcome)
        })
        .unzip();
    assert_eq!(queue.push(Batch { queries, ..Batch::default() }).now_or_never(), Some(()));
    let refused = outcomes.iter_mut().filter_map(|it| it.try_recv().ok());
    assert!(refused.map(Result::unwrap_err).eq([QueryError::TooMany; 8]));
    assert_eq!(to_run.try_recv().map(|(batch, _)| batch.queries.len()), Ok(32));
}
