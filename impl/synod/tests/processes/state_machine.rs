//! State machines in the process that embeds the node: on a thread of their own, and in the replica's
//! task.

use std::convert::Infallible;
use std::io::{self, Read};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

use synod_model::{
    ConfigurationId, Content, Entry, Opening, PrefixHash, Record, ReplicaId, Run, SequenceNumber,
    SessionId, Slot, Verdict,
};
use synod_node::disk::RealDisk;
use synod_node::storage::{self, DataDirectory, Preparation};
use synod_node::{
    Applied, BareLog, Config, Consistency, Node, NodeError, NodeOpenError, QueryError, Response,
    StateMachine,
};
use synod_node::{Backend as _, Subscription as _};
use synod_wire::Value;
use synod_wire::api::{NotDone, Request, SubmitError, Unknown};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::wait::SOON;

/// Reports every command, and on which thread it came. It dies of `bad`, in commands and in queries.
struct Fussy {
    is_immediate: bool,
    told: Sender<(Slot, ThreadId)>,
}

impl StateMachine for Fussy {
    type Snapshot = ();

    fn apply(&mut self, slot: Slot, command: &Value) -> Value {
        assert!(command.0 != "bad", "the state machine does not like this");
        self.told.send((slot, std::thread::current().id())).expect("the test listens");
        command.clone()
    }

    fn query(&self, request: &Value) -> Value {
        assert!(request.0 != "bad", "the state machine does not like this");
        request.clone()
    }

    fn snapshot(&self) {}

    fn restore(&mut self, _snapshot: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }

    fn is_immediate(&self) -> bool {
        self.is_immediate
    }
}

/// A node ends when its state machine panics. Otherwise it would take commands that it never answers.
#[test]
fn a_panic_of_the_state_machine_ends_the_node_and_everybody_hears_of_it() {
    for is_immediate in [false, true] {
        let cluster = Cluster::made(1);
        let (told, _heard) = channel();
        let test = async {
            let machine = Fussy { is_immediate, told };
            let node = Node::open(Config::new(cluster.data_dir(0)), machine).await.unwrap();
            let good = node.submit("good").await.unwrap().slot;
            let ended = node.ended();
            let (bad, ended) = tokio::join!(node.submit("bad"), ended);
            assert_eq!(bad, Err(SubmitError::Unknown(Unknown::Stopping)));
            let Err(NodeError::StateMachine { slot }) = ended else {
                panic!("it ended otherwise: {ended:?}");
            };
            assert_eq!(slot, Slot(good.0 + 1));
            let late = node.submit("late").await;
            assert_eq!(late, Err(SubmitError::NotDone(NotDone::Stopping)));
            timeout(Duration::from_secs(5), node.stop()).await.expect("it has stopped").unwrap();
        };
        Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
    }
}

/// The state machine gets the whole log again at a start, and panics at the same command again.
#[test]
fn a_panic_of_the_state_machine_while_the_log_is_read_is_an_error_that_names_the_slot() {
    let cluster = Cluster::made(1);
    let test = async {
        let node = Node::open(Config::new(cluster.data_dir(0)), BareLog).await.unwrap();
        let slot = node.submit("bad").await.unwrap().slot;
        node.submit("good").await.unwrap();
        node.stop().await.unwrap();
        drop(node);
        let (told, _heard) = channel();
        let fussy = Fussy { is_immediate: false, told };
        let opened = Node::open(Config::new(cluster.data_dir(0)), fussy).await;
        let error = opened.expect_err("the state machine does not like it");
        assert!(matches!(error, NodeOpenError::StateMachine { slot: it } if it == slot), "{error}");
        assert!(error.to_string().contains("mend the state machine"), "{error}");
        // Nothing is kept of it: without that state machine the node runs.
        let node = Node::open(Config::new(cluster.data_dir(0)), BareLog).await.unwrap();
        node.stop().await.unwrap();
    };
    Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
}

/// A client that submits, or reads, and then looks at the state machine, finds its command applied.
#[test]
fn a_command_is_answered_when_the_state_machine_has_it() {
    for is_immediate in [false, true] {
        let cluster = Cluster::made(1);
        let (told, heard) = channel();
        let test = async {
            let machine = Fussy { is_immediate, told };
            let node = Node::open(Config::new(cluster.data_dir(0)), machine).await.unwrap();
            let mut threads = Vec::new();
            for value in ["one", "two", "three"] {
                let applied = node.submit(value).await.unwrap();
                let (slot, response) = (applied.slot, Response::Known(value.into()));
                assert_eq!(applied.response, response);
                let (delivered, thread) = heard.try_recv().expect("it was applied before");
                assert_eq!(delivered, slot);
                threads.push(thread);
                assert_eq!(node.read().await, Ok(slot));
                for consistency in [Consistency::Linearizable, Consistency::Stale] {
                    let answered = node.query(value, consistency).await.unwrap();
                    assert_eq!((answered.slot, &answered.response), (slot, &response));
                }
                assert_eq!(node.status().applied, slot);
            }
            let of_its_own = !threads.contains(&std::thread::current().id());
            assert_eq!(of_its_own, !is_immediate, "on a runtime of one thread");
            node.stop().await.unwrap();
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async { timeout(SOON, test).await.expect("it ends") });
    }
}

/// A state machine that stores its state.
struct Persistent(Slot);

impl StateMachine for Persistent {
    type Snapshot = ();

    fn apply(&mut self, slot: Slot, _command: &Value) -> Value {
        self.0 = slot;
        slot.to_string().into()
    }

    fn query(&self, _request: &Value) -> Value {
        Value::default()
    }

    fn snapshot(&self) {}

    fn restore(&mut self, _snapshot: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }

    fn applied(&self) -> Slot {
        self.0
    }
}

/// A command that the state machine has stored is not applied again, so its response is unknown. A
/// command that is applied again has its response.
#[test]
fn what_a_state_machine_had_stored_before_is_answered_without_its_response() {
    for (applied, response) in [
        (Slot(0), Response::Known("2".into())),
        (Slot(1), Response::Known("2".into())),
        (Slot(2), Response::NoLongerKnown),
        (Slot(3), Response::NoLongerKnown),
    ] {
        let cluster = Cluster::made(1);
        twice_in_the_log(&cluster.data_dir(0));
        let test = async {
            let config = Config::new(cluster.data_dir(0));
            let node = Node::open(config, Persistent(applied)).await.unwrap();
            let value = Value::from("once");
            let retry = Request { session: SessionId(1), number: 1, answered: 1, value };
            let expected = Applied { slot: Slot(2), response };
            assert_eq!(node.request(retry).await, Ok(expected), "{applied}");
            node.stop().await.unwrap();
        };
        Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
    }
}

/// The log holds a request twice. A follower is told so, also where the state machine has both.
#[test]
fn a_second_copy_is_known_as_one_wherever_the_state_machine_begins() {
    for applied in [Slot(0), Slot(2), Slot(3)] {
        let cluster = Cluster::made(1);
        twice_in_the_log(&cluster.data_dir(0));
        let test = async {
            let config = Config::new(cluster.data_dir(0));
            let node = Node::open(config, Persistent(applied)).await.unwrap();
            let mut followed = node.subscribe(Slot(1));
            let deliveries = followed.next().await.unwrap();
            let verdicts: Vec<_> = deliveries.iter().take(3).map(|it| it.verdict).collect();
            let again = Some(Verdict::Duplicate { first_slot: Slot(2) });
            assert_eq!(verdicts, [Some(Verdict::First), Some(Verdict::First), again], "{applied}");
            node.stop().await.unwrap();
        };
        Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
    }
}

/// Writes the log of a replica that was alone: a session, and a request that came twice.
fn twice_in_the_log(data_dir: &Path) {
    let disk = Arc::new(RealDisk::new(data_dir));
    let directory = DataDirectory::open(disk).unwrap();
    let nothing = |_| Ok::<_, Infallible>(());
    let mut log = storage::Log::recover(&directory, Preparation::InLine, nothing).unwrap();
    let s = SequenceNumber(1 << 16);
    let open = Entry::Open(Opening { origin: ReplicaId(0), run: Run(1), count: 1 });
    let request = Entry::Request(Request {
        session: SessionId(1),
        number: 1,
        answered: 1,
        value: Value::from("once"),
    });
    let entries = vec![open, request.clone(), request];
    let none = PrefixHash::default();
    let hash = entries.iter().fold(none, PrefixHash::after);
    let accepted =
        Content::Accepted { s, configuration: ConfigurationId(1), first: Slot(1), entries };
    let records = [
        Record { watermark: Slot(0), hash: none, content: Content::Promised(s) },
        Record { watermark: Slot(0), hash: none, content: accepted },
        Record { watermark: Slot(3), hash, content: Content::Promised(SequenceNumber(2 << 16)) },
    ];
    assert_eq!(log.append(&records).unwrap(), records.len());
}

/// Takes its time with every command: until the test lets it go on.
struct Slow {
    go_on: Receiver<()>,
    applied: Arc<AtomicU64>,
}

impl StateMachine for Slow {
    type Snapshot = ();

    fn apply(&mut self, slot: Slot, command: &Value) -> Value {
        self.go_on.recv().expect("the test lets it go on");
        self.applied.store(slot.0, Ordering::SeqCst);
        command.clone()
    }

    fn query(&self, _request: &Value) -> Value {
        self.applied.load(Ordering::SeqCst).to_string().into()
    }

    fn snapshot(&self) {}

    fn restore(&mut self, _snapshot: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// A retry is answered only when the state machine has applied the command. So is a query that must
/// see the command.
#[test]
fn a_retry_is_not_answered_before_the_state_machine_has_the_command() {
    let cluster = Cluster::made(1);
    let applied = Arc::new(AtomicU64::new(0));
    let test = async {
        let (let_go, go_on) = channel();
        let machine = Slow { go_on, applied: applied.clone() };
        let node = Node::open(Config::new(cluster.data_dir(0)), machine).await.unwrap();
        let session = node.open_session().await.unwrap();
        let request = || Request { session, number: 1, answered: 1, value: "slow".into() };
        let mut first = pin!(node.request(request()));
        timeout(Duration::from_millis(300), &mut first).await.expect_err("it waits");
        let mut again = pin!(node.request(request()));
        timeout(Duration::from_millis(300), &mut again).await.expect_err("so does this");
        let mut query = pin!(node.query("", Consistency::Linearizable));
        timeout(Duration::from_millis(300), &mut query).await.expect_err("and this");
        let_go.send(()).unwrap();
        let done = first.await.unwrap();
        assert_eq!(done.response, Response::Known("slow".into()));
        assert_eq!(again.await.as_ref(), Ok(&done));
        assert_eq!(applied.load(Ordering::SeqCst), done.slot.0);
        let answered = query.await.unwrap();
        assert_eq!(answered.response, Response::Known(done.slot.to_string().into()));
        node.stop().await.unwrap();
    };
    Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
}

/// A query changes nothing. But a state machine that panics in a query is broken, and the node ends.
#[test]
fn a_panic_in_a_query_ends_the_node_with_an_error_that_names_the_state() {
    for is_immediate in [false, true] {
        let cluster = Cluster::made(1);
        let (told, _heard) = channel();
        let test = async {
            let machine = Fussy { is_immediate, told };
            let node = Node::open(Config::new(cluster.data_dir(0)), machine).await.unwrap();
            let good = node.submit("good").await.unwrap().slot;
            let query = node.query("bad", Consistency::Stale);
            let (bad, ended) = tokio::join!(query, node.ended());
            assert_eq!(bad, Err(QueryError::Stopping));
            let ended = ended.unwrap_err();
            assert!(matches!(ended, NodeError::Query { slot } if slot == good), "{ended}");
        };
        Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
    }
}
