//! Callbacks, in the process of whoever uses the library: on a thread of their own, and where the
//! replica runs.

use std::convert::Infallible;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

use synod_model::{
    Content, Entry, Opening, Record, ReplicaId, Run, SequenceNumber, SessionId, Slot, Verdict,
};
use synod_node::disk::RealDisk;
use synod_node::storage::{self, DataDirectory, Preparation};
use synod_node::{Application, Config, Log, NoApplication, NodeError, NodeOpenError};
use synod_node::{Backend as _, Subscription as _};
use synod_wire::Value;
use synod_wire::api::{Delivery, NotDone, Request, SubmitError, Unknown};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::wait::SOON;

/// Tells of every value, and on which thread it came; of one it dies.
struct Fussy {
    is_immediate: bool,
    told: Sender<(Slot, ThreadId)>,
}

impl Application for Fussy {
    fn deliver(&mut self, delivery: Delivery) {
        let Some(value) = delivery.first_value() else {
            return;
        };
        assert!(value.0 != "bad", "the application does not like this");
        self.told.send((delivery.slot, std::thread::current().id())).expect("the test listens");
    }

    fn is_immediate(&self) -> bool {
        self.is_immediate
    }
}

/// A node whose application is dead is none: it must not go on to take what it will never answer.
#[test]
fn a_panic_of_the_application_ends_the_node_and_everybody_hears_of_it() {
    for is_immediate in [false, true] {
        let cluster = Cluster::made(1);
        let (told, _heard) = channel();
        let test = async {
            let application = Fussy { is_immediate, told };
            let log = Log::open(Config::new(cluster.data_dir(0)), application).await.unwrap();
            let good = log.submit("good").await.unwrap();
            let ended = log.ended();
            let (bad, ended) = tokio::join!(log.submit("bad"), ended);
            assert_eq!(bad, Err(SubmitError::Unknown(Unknown::Stopping)));
            let Err(NodeError::Application { slot }) = ended else {
                panic!("it ended otherwise: {ended:?}");
            };
            assert_eq!(slot, Slot(good.0 + 1));
            let late = log.submit("late").await;
            assert_eq!(late, Err(SubmitError::NotDone(NotDone::Stopping)));
            timeout(Duration::from_secs(5), log.stop()).await.expect("it has stopped").unwrap();
        };
        Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
    }
}

/// It is given all of the log again at a start, and what it did not like then it does not like now.
#[test]
fn a_panic_of_the_application_while_the_log_is_read_is_an_error_that_names_the_slot() {
    let cluster = Cluster::made(1);
    let test = async {
        let log = Log::open(Config::new(cluster.data_dir(0)), NoApplication).await.unwrap();
        let slot = log.submit("bad").await.unwrap();
        log.submit("good").await.unwrap();
        log.stop().await.unwrap();
        drop(log);
        let (told, _heard) = channel();
        let fussy = Fussy { is_immediate: false, told };
        let opened = Log::open(Config::new(cluster.data_dir(0)), fussy).await;
        let error = opened.expect_err("the application does not like it");
        assert!(matches!(error, NodeOpenError::Application { slot: it } if it == slot), "{error}");
        assert!(error.to_string().contains("mend the application"), "{error}");
        // Nothing is kept of it: without that application the node runs.
        let log = Log::open(Config::new(cluster.data_dir(0)), NoApplication).await.unwrap();
        log.stop().await.unwrap();
    };
    Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
}

/// Whoever submits, or reads, and then looks at the application, finds what it has to have.
#[test]
fn a_value_is_answered_when_the_application_has_it() {
    for is_immediate in [false, true] {
        let cluster = Cluster::made(1);
        let (told, heard) = channel();
        let test = async {
            let application = Fussy { is_immediate, told };
            let log = Log::open(Config::new(cluster.data_dir(0)), application).await.unwrap();
            let mut threads = Vec::new();
            for value in ["one", "two", "three"] {
                let slot = log.submit(value).await.unwrap();
                let (delivered, thread) = heard.try_recv().expect("it was delivered before");
                assert_eq!(delivered, slot);
                threads.push(thread);
                assert_eq!(log.read().await, Ok(slot));
                assert_eq!(log.status().applied, slot);
            }
            let of_its_own = !threads.contains(&std::thread::current().id());
            assert_eq!(of_its_own, !is_immediate, "on a runtime of one thread");
            log.stop().await.unwrap();
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async { timeout(SOON, test).await.expect("it ends") });
    }
}

/// An application that has kept what it has.
struct Persistent(Slot);

impl Application for Persistent {
    fn deliver(&mut self, delivery: Delivery) {
        self.0 = delivery.slot;
    }

    fn applied(&self) -> Slot {
        self.0
    }
}

/// The log holds a request twice. Whoever follows it is told so, also where the application has both.
#[test]
fn a_second_copy_is_known_as_one_wherever_the_application_begins() {
    for applied in [Slot(0), Slot(2), Slot(3)] {
        let cluster = Cluster::made(1);
        twice_in_the_log(&cluster.data_dir(0));
        let test = async {
            let config = Config::new(cluster.data_dir(0));
            let log = Log::open(config, Persistent(applied)).await.unwrap();
            let mut followed = log.subscribe(Slot(1)).unwrap();
            let deliveries = followed.next().await.unwrap();
            let verdicts: Vec<_> = deliveries.iter().take(3).map(|it| it.verdict).collect();
            let again = Some(Verdict::Duplicate { first_slot: Slot(2) });
            assert_eq!(verdicts, [Some(Verdict::First), Some(Verdict::First), again], "{applied}");
            log.stop().await.unwrap();
        };
        Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
    }
}

/// Writes what a replica has that was alone: a session, and a request that came twice.
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
    let records = [
        Record { watermark: Slot(0), content: Content::Promised(s) },
        Record { watermark: Slot(0), content: Content::Accepted { s, first: Slot(1), entries } },
        Record { watermark: Slot(3), content: Content::Promised(SequenceNumber(2 << 16)) },
    ];
    assert_eq!(log.append(&records).unwrap(), records.len());
}

/// Takes its time with every value: until the test lets it go on.
struct Slow {
    go_on: Receiver<()>,
    applied: Arc<AtomicU64>,
}

impl Application for Slow {
    fn deliver(&mut self, delivery: Delivery) {
        if delivery.first_value().is_some() {
            self.go_on.recv().expect("the test lets it go on");
        }
        self.applied.store(delivery.slot.0, Ordering::SeqCst);
    }
}

/// A retry, too, is answered only once the application has the value.
#[test]
fn a_retry_is_not_answered_before_the_application_has_the_value() {
    let cluster = Cluster::made(1);
    let applied = Arc::new(AtomicU64::new(0));
    let test = async {
        let (let_go, go_on) = channel();
        let application = Slow { go_on, applied: applied.clone() };
        let log = Log::open(Config::new(cluster.data_dir(0)), application).await.unwrap();
        let session = log.open_session().await.unwrap();
        let request = || Request { session, number: 1, answered: 1, value: "slow".into() };
        let mut first = pin!(log.request(request()));
        timeout(Duration::from_millis(300), &mut first).await.expect_err("it waits");
        let mut again = pin!(log.request(request()));
        timeout(Duration::from_millis(300), &mut again).await.expect_err("so does this");
        let_go.send(()).unwrap();
        let slot = first.await.unwrap();
        assert_eq!(again.await, Ok(slot));
        assert_eq!(applied.load(Ordering::SeqCst), slot.0);
        log.stop().await.unwrap();
    };
    Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
}
