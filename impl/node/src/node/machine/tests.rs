//! Batches, without a replica.

use std::io;

use synod_model::{Entry, Request, SessionId, Verdict};
use tokio::sync::oneshot;

use super::*;

/// Responds with how many commands it has applied. It does not like `bad`.
#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Snapshot = ();

    fn apply(&mut self, _slot: Slot, command: &Value) -> Value {
        assert!(command.0 != "bad", "as its fault would");
        self.0 += 1;
        self.0.to_string().into()
    }

    fn query(&self, request: &Value) -> Value {
        assert!(request.0 != "bad", "as its fault would");
        self.0.to_string().into()
    }

    fn snapshot(&self) {}

    fn restore(&mut self, _snapshot: &mut dyn io::Read) -> io::Result<()> {
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

fn known(response: &'static str) -> Response {
    Response::Known(response.into())
}

#[test]
fn the_slot_at_which_a_machine_panicked_is_told_whatever_it_was_to_be_given_then() {
    let (notices, mut told) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let machine = Responder::new(Counter::default());
    let (mut runner, thread) = MachineRunner::start(machine, notices).expect("a thread");
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
    assert!(run(&mut machine, Batch { queries, ..Batch::default() }).is_ok());
}

#[test]
fn a_query_that_panics_ends_the_node_and_names_the_state() {
    let mut machine = Responder::new(Counter::default());
    let (reply, answer) = oneshot::channel();
    let queries = vec![Query { request: "bad".into(), reply }];
    let ended = run(&mut machine, Batch { queries, ..batch([request(1, 1, "a")]) });
    assert!(matches!(ended, Err(NodeError::Query { slot: Slot(1) })), "{ended:?}");
    assert!(answer.blocking_recv().is_err());
}

/// A retry that the core has found in its table is answered before the batch goes on: the next request
/// says that the client has its answer.
#[test]
fn a_response_is_looked_up_before_the_next_command_lets_go_of_it() {
    let mut machine = Responder::new(Counter::default());
    run(&mut machine, batch([request(1, 1, "a"), request(2, 1, "b")])).unwrap();
    let [(retry, retried), (third, told), (late, none)] = [(); 3].map(|()| oneshot::channel());
    let answers = vec![
        (Slot(2), retry, Ok(Slot(1))),
        (Slot(3), third, Ok(Slot(3))),
        // As if its number were not below what its session has answers to.
        (Slot(3), late, Ok(Slot(1))),
    ];
    run(&mut machine, Batch { answers, ..batch([request(3, 3, "c")]) }).unwrap();
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
    run(&mut machine, Batch { queries, ..batch([request(1, 1, "a"), request(2, 1, "b")]) })
        .unwrap();
    let answered = answer.blocking_recv().unwrap().unwrap();
    assert_eq!(answered, Answered { slot: Slot(2), response: known("2") });
}

/// Half of the places in the queue are for commands.
#[test]
fn queries_are_refused_before_they_hold_up_the_replica() {
    let (batches, mut to_run) = mpsc::channel(WAITING_BATCHES_MAX);
    let mut runner = MachineRunner::Thread(batches);
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
    let (batches, mut to_run) = mpsc::channel(WAITING_BATCHES_MAX);
    let mut runner = MachineRunner::Thread(batches);
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
    assert!(batches.iter().all(|batch| !batch.delivered.is_empty()));
    assert_eq!(batches.len(), WAITING_BATCHES_MAX);
}
