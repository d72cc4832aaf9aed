//! Responses, after `kill -9`: a retry gets what its first copy was told, at any replica, before and
//! after a restart.
//!
//! `synod node` has no responses. So the processes here are the test once more, which then runs a node with a
//! counter as its state machine.

use std::env;
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use synod_client::protocol::{Answer, Ask, Query};
use synod_client::{Applied, Connection, Consistency, Endpoint, Response};
use synod_node::client_port::{ServerLimits, serve};
use synod_node::{Config, Node, Request, SessionId, Slot, StateMachine, Value};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;
use crate::process::Running;
use crate::wait::SOON;

const DATA_DIR: &str = "SYNOD_TEST_DATA_DIR";
const LISTEN_CLIENT: &str = "SYNOD_TEST_LISTEN_CLIENT";

/// Adds up all commands, and responds with the sum and with how many there were.
#[derive(Default)]
struct Counter {
    sum: u64,
    commands: u64,
}

impl Counter {
    fn text(&self) -> Value {
        format!("{} after {} commands", self.sum, self.commands).into()
    }
}

impl StateMachine for Counter {
    type Snapshot = ();

    fn apply(&mut self, _slot: Slot, command: &Value) -> Value {
        self.sum += str::from_utf8(&command.0).unwrap().parse::<u64>().unwrap();
        self.commands += 1;
        self.text()
    }

    fn query(&self, _request: &Value) -> Value {
        self.text()
    }

    fn snapshot(&self) {}

    fn restore(&mut self, _snapshot: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// The test below, as the harness names it.
const TEST: &str = "responses::a_retry_gets_the_first_response_elsewhere_and_after_a_restart";

/// Runs a node until this process is killed, if that is what the process was started for.
fn run_as_node() {
    let (Some(data_dir), Ok(listen_client)) = (env::var_os(DATA_DIR), env::var(LISTEN_CLIENT))
    else {
        return;
    };
    Runtime::new().unwrap().block_on(async {
        let node = Node::open(Config::new(data_dir), Counter::default()).await.unwrap();
        let listener = TcpListener::bind(&listen_client).await.unwrap();
        serve(listener, Arc::new(node), ServerLimits::default(), std::future::pending()).await;
    });
}

fn start(cluster: &Cluster, id: u16) -> Running {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]);
    command.env(DATA_DIR, cluster.data_dir(id)).env(LISTEN_CLIENT, cluster.endpoint(id));
    Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Asks one replica until it answers with what is wanted.
async fn ask<T>(cluster: &Cluster, id: u16, ask: Ask, wanted: impl Fn(Answer) -> Option<T>) -> T {
    let endpoint: Endpoint = cluster.endpoint(id).parse().unwrap();
    let asking = async {
        loop {
            if let Ok(mut connection) = Connection::connect(&endpoint, SOON).await {
                connection.put(1, ask.clone()).unwrap();
                if let Ok(answer) = connection.answer().await
                    && let Some(found) = wanted(answer.answer)
                {
                    return found;
                }
            }
            // It starts, or has not met the others yet.
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, asking).await.expect("it answers")
}

async fn applied(cluster: &Cluster, id: u16, request: Request) -> Applied {
    ask(cluster, id, Ask::Request(request), |answer| match answer {
        Answer::Done(applied) => Some(applied),
        _ => None,
    })
    .await
}

#[test]
fn a_retry_gets_the_first_response_elsewhere_and_after_a_restart() {
    const REQUESTS: u64 = 20;
    run_as_node();
    let cluster = Cluster::made(3);
    let mut processes: Vec<_> = cluster.ids().map(|id| start(&cluster, id)).collect();
    Runtime::new().unwrap().block_on(async {
        let opened = |answer| match answer {
            Answer::Opened(session) => Some(session),
            _ => None,
        };
        let session: SessionId = ask(&cluster, 0, Ask::OpenSession, opened).await;
        let request = |number: u64| {
            let value = Value::from(number.to_string());
            Request { session, number, answered: 1, value }
        };
        let mut told = Vec::new();
        for number in 1..=REQUESTS {
            told.push(applied(&cluster, 0, request(number)).await);
        }
        let text = |count: u64| format!("{} after {count} commands", count * (count + 1) / 2);
        for (count, applied) in (1..).zip(&told) {
            assert_eq!(applied.response, Response::Known(text(count).into()));
        }

        // One more is sent, and its replica is killed before anybody has read an answer.
        let endpoint: Endpoint = cluster.endpoint(0).parse().unwrap();
        let mut connection = Connection::connect(&endpoint, SOON).await.unwrap();
        connection.put(1, Ask::Request(request(REQUESTS + 1))).unwrap();
        let _ = timeout(Duration::from_millis(5), connection.exchange()).await;
        drop(processes.remove(0));
        told.push(applied(&cluster, 1, request(REQUESTS + 1)).await);
        assert_eq!(
            told.last().map(|it| &it.response),
            Some(&Response::Known(text(REQUESTS + 1).into()))
        );

        // Elsewhere, then at all of them after all were killed.
        for number in 1..=REQUESTS + 1 {
            let again = applied(&cluster, 2, request(number)).await;
            assert_eq!(again, told[usize::try_from(number - 1).unwrap()]);
        }
        drop(processes);
        let _processes: Vec<_> = cluster.ids().map(|id| start(&cluster, id)).collect();
        for id in cluster.ids() {
            for number in [1, 7, REQUESTS, REQUESTS + 1] {
                let again = applied(&cluster, id, request(number)).await;
                assert_eq!(again, told[usize::try_from(number - 1).unwrap()], "at replica {id}");
            }
            let (request, consistency) = (Value::default(), Consistency::Linearizable);
            let query = Ask::Query(Query { request, consistency });
            let answered = ask(&cluster, id, query, |answer| match answer {
                Answer::Answered(answered) => Some(answered),
                _ => None,
            });
            let expected = Response::Known(text(REQUESTS + 1).into());
            assert_eq!(answered.await.response, expected, "no retry had an effect");
        }
    });
}
