//! SIGTERM: what was taken is answered, and the end comes soon, whatever else is under way.

use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use synod_client::{Client, ClientOptions, Connection, Endpoint};
use synod_model::{SessionId, Slot};
use synod_wire::api::{Applied, NotDone, Request, SubmitError};
use synod_wire::protocol::{Answer, Ask, Follow};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::command::synod;
use crate::wait::{SOON, until};

/// As many requests as one session may have in flight.
const REQUESTS: u64 = 1000;

/// A connection on which many requests are in flight.
struct InFlight {
    connection: Connection,
    runtime: Runtime,
}

impl InFlight {
    fn begin(endpoint: &str) -> Self {
        let endpoint: Endpoint = endpoint.parse().unwrap();
        let runtime = Runtime::new().unwrap();
        let connection = runtime.block_on(async {
            let mut connection = Connection::connect(&endpoint, SOON).await.unwrap();
            connection.put(0, Ask::OpenSession).unwrap();
            let Answer::Opened(session) = connection.answer().await.unwrap().answer else {
                panic!("no session");
            };
            for number in 1..=REQUESTS {
                connection.put(number, ask(session, number)).unwrap();
            }
            connection
        });
        Self { connection, runtime }
    }

    /// Waits for one answer. The others are under way then.
    fn first(&mut self) -> (u64, Answer) {
        let answer = self.runtime.block_on(self.connection.answer()).unwrap();
        (answer.id, answer.answer)
    }

    /// Waits for all answers but one.
    fn others(&mut self) -> Vec<(u64, Answer)> {
        let others = async {
            let mut answers = Vec::new();
            while answers.len() + 1 < usize::try_from(REQUESTS).unwrap() {
                let answer = self.connection.answer().await.unwrap();
                answers.push((answer.id, answer.answer));
            }
            answers
        };
        let others = async { tokio::time::timeout(SOON, others).await };
        self.runtime.block_on(others).expect("every request is answered")
    }
}

fn ask(session: SessionId, number: u64) -> Ask {
    let value = format!("request {number}").into_bytes().into();
    Ask::Request(Request { session, number, answered: 1, value })
}

#[test]
fn a_node_that_is_told_to_stop_answers_what_it_has_taken() {
    let (mut cluster, coordination) = Cluster::running(3);
    // First a replica that forwards its requests, and then the one that coordinates.
    for (round, id) in [(coordination.id + 1) % 3, coordination.id].into_iter().enumerate() {
        let mut in_flight = InFlight::begin(&cluster.endpoint(id));
        let first = in_flight.first();
        cluster.node(id).signal(Signal::TERM);
        let mut answers = in_flight.others();
        answers.push(first);
        let mut node = cluster.nodes.remove(&id).unwrap();
        assert_eq!(node.ended(), 0, "{}", node.told());
        assert_eq!(node.lines_with("stops"), 1, "{}", node.told());

        // What was answered with a slot is there, on all replicas. What was not taken is nowhere. Nothing
        // is unknown: a healthy cluster finishes before the stopping node loses patience.
        let log = cluster.values((id + 1) % 3);
        let mut done = 0;
        for (number, answer) in answers {
            let value = format!("request {number}");
            match answer {
                Answer::Done(Applied { slot: Slot(slot), .. }) => {
                    done += 1;
                    assert!(log.contains(&(slot, value)), "round {round}: {number} in slot {slot}");
                }
                Answer::NoSlot(SubmitError::NotDone(NotDone::Stopping)) => {
                    let copies = log.iter().filter(|it| it.1 == value).count();
                    assert_eq!(copies, round, "round {round}: {value} was not taken");
                }
                other => panic!("round {round}: {other:?}"),
            }
        }
        println!("{done} of {REQUESTS} were taken");
        cluster.start(id);
        cluster.settled();
    }
    cluster.same_everywhere();
}

#[test]
fn a_node_without_a_majority_stops_soon_and_says_that_the_rest_is_unknown() {
    let (mut cluster, coordination) = Cluster::running(3);
    let id = coordination.id;
    let mut in_flight = InFlight::begin(&cluster.endpoint(id));
    cluster.ids().filter(|other| *other != id).for_each(|other| cluster.kill(other));
    cluster.node(id).signal(Signal::TERM);
    assert_eq!(cluster.node(id).ended(), 0, "{}", cluster.node(id).told());
    // It is gone. A client without an answer sees that the connection is closed.
    let waiting = in_flight.runtime.block_on(async {
        let all = async { while in_flight.connection.answer().await.is_ok() {} };
        tokio::time::timeout(SOON, all).await
    });
    assert!(waiting.is_ok(), "the connection is still open");
    cluster.nodes.clear();
    cluster.start_all();
    cluster.settled();
    cluster.same_everywhere();
}

#[test]
fn a_node_stops_at_once_while_its_cluster_is_forming() {
    let mut cluster = Cluster::made(3);
    for signal in [Signal::TERM, Signal::INT] {
        cluster.start(0).tells("listens for clients");
        let mut node = cluster.nodes.remove(&0).unwrap();
        node.signal(signal);
        assert_eq!(node.ended(), 0, "{}", node.told());
    }
}

#[test]
fn a_node_stops_at_once_while_its_disk_does_not_answer() {
    let mut cluster = Cluster::made(3);
    let segment = cluster.data_dir(0).join("log/00000001.wal");
    std::fs::remove_file(&segment).unwrap();
    // A pipe without a writer: opening it waits, as for a disk that has gone away.
    mkfifoat(CWD, &segment, Mode::RUSR | Mode::WUSR).unwrap();
    let pid = cluster.start(0).pid();
    let lock = cluster.data_dir(0).join("LOCK");
    until("the replica has locked its data directory", || {
        let holder = std::fs::read_to_string(&lock).unwrap();
        (holder.trim() == pid.to_string()).then_some(())
    });
    cluster.stop(0);
}

#[test]
fn clients_that_only_listen_do_not_delay_a_stop() {
    let (mut cluster, coordination) = Cluster::running(3);
    let id = coordination.id;
    cluster.submit([id], &["something"]);
    let runtime = Runtime::new().unwrap();
    let endpoint: Endpoint = cluster.endpoint(id).parse().unwrap();
    let idle = runtime.block_on(Connection::connect(&endpoint, SOON)).unwrap();
    let follower = cluster.endpoint(id);
    let following =
        std::thread::spawn(move || synod(&["follow", "--endpoints", &follower, "--timeout", "1s"]));
    // A follower needs a connection, which takes less time than this.
    std::thread::sleep(Duration::from_millis(300));
    cluster.stop(id);
    drop(idle);
    let done = following.join().unwrap();
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("the log could not be followed"), "{done:?}");
}

/// A client of a replica that has asked for more than the buffers of a socket hold, and does not read
/// the answers.
struct Deaf {
    _connection: Connection,
    _runtime: Runtime,
}

impl Deaf {
    fn begin(cluster: &Cluster, id: u16) -> Self {
        const VALUES: usize = 160;
        let runtime = Runtime::new().unwrap();
        let endpoints = cluster.endpoints_from(id);
        let endpoint = endpoints[0].clone();
        let connection = runtime.block_on(async {
            let client = Client::new(endpoints, ClientOptions::default()).unwrap();
            let values = (0..VALUES).map(|_| client.submit(vec![b'x'; 100_000]));
            for outcome in futures_util::future::join_all(values).await {
                outcome.unwrap();
            }
            let mut deaf = Connection::connect(&endpoint, SOON).await.unwrap();
            let follow = Follow { from: Slot(1), until_caught_up: false, everything: true };
            deaf.put(1, Ask::Follow(follow)).unwrap();
            // It reads the first answer and none of the others.
            assert!(matches!(deaf.answer().await.unwrap().answer, Answer::Deliveries { .. }));
            // All buffers on the way have time to fill.
            tokio::time::sleep(Duration::from_millis(500)).await;
            deaf
        });
        Self { _connection: connection, _runtime: runtime }
    }
}

#[test]
fn a_client_that_does_not_read_does_not_delay_a_stop() {
    let (mut cluster, coordination) = Cluster::running(3);
    let _deaf = Deaf::begin(&cluster, coordination.id);
    cluster.stop(coordination.id);
}

/// A second Ctrl-C means that the user does not want to wait for further answers.
#[test]
fn a_node_that_is_told_twice_to_stop_ends_at_once() {
    let (mut cluster, coordination) = Cluster::running(3);
    // Without the second signal, the node would wait for this for some seconds.
    let _deaf = Deaf::begin(&cluster, coordination.id);
    let node = cluster.node(coordination.id);
    node.signal(Signal::TERM);
    node.tells("stops");
    node.signal(Signal::INT);
    node.fails_with(&["it was told to stop a second time"]);
}
