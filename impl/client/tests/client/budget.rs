//! The limit for requests in flight of all clients together, and for answers that wait to be read.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use synod_client::protocol::{Answer, Ask, Query};
use synod_client::{Client, ClientOptions, Connection, Consistency};
use synod_node::client_port::ServerLimits;
use synod_wire::Value;
use synod_wire::api::QueryError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fake::{Cluster, Manner, Running};
use super::serving::{hello, messages};
use super::{client, endpoints, in_time, options};

const SECOND: Duration = Duration::from_secs(1);
const LARGE: usize = 200 << 10;
/// What each connection may have besides.
const FREE: u64 = 16 << 10;

/// A client that waits for its turn for as long as it takes.
fn patient(replica: &Running) -> Client {
    let long = Duration::from_secs(15);
    let options = ClientOptions { silent_max: long, deadline: long, ..options() };
    Client::new(endpoints(&[replica]), options).unwrap()
}

fn large() -> Value {
    Value::from(vec![7; LARGE])
}

fn small() -> Value {
    Value::from(vec![8; 1 << 10])
}

#[tokio::test]
async fn many_clients_with_large_values_stay_within_the_budget_and_all_are_served() {
    const CLIENTS: u64 = 16;
    in_time(async {
        let cluster = Cluster::new();
        let limits = ServerLimits { values_bytes_max: 1 << 20, ..Default::default() };
        let replica = Running::with(&cluster, 0, limits).await;
        replica.node.behave(Manner::Serve(Duration::from_millis(5)));
        let clients: Vec<_> = (0..CLIENTS).map(|_| patient(&replica)).collect();
        let values = || (0..104).map(|at| if at % 26 == 0 { large() } else { small() });
        let all = clients.iter().flat_map(|client| values().map(|value| client.submit(value)));
        for outcome in join_all(all).await {
            outcome.unwrap();
        }
        let most = replica.node.bytes_most.load(Ordering::SeqCst);
        assert!(most <= (1 << 20) + CLIENTS * FREE, "{most} bytes were in flight at once");
        assert!(most >= 1 << 19, "the budget is there to be used: {most}");
    })
    .await;
}

#[tokio::test]
async fn a_message_that_stalls_gives_its_part_back_and_small_values_do_not_wait_for_it() {
    const MESSAGE_MAX: Duration = Duration::from_secs(2);
    in_time(async {
        let cluster = Cluster::new();
        let values_bytes_max = LARGE as u64 * 3 / 2;
        let limits =
            ServerLimits { values_bytes_max, message_max: MESSAGE_MAX, ..Default::default() };
        let replica = Running::with(&cluster, 0, limits).await;

        // Somebody announces a large message and sends a half of it.
        let began = Instant::now();
        let mut stalled = TcpStream::connect(replica.endpoint.as_str()).await.unwrap();
        stalled.write_all(&hello().await).await.unwrap();
        stalled.write_all(&u32::try_from(LARGE).unwrap().to_le_bytes()).await.unwrap();
        stalled.write_all(&vec![7; LARGE / 2]).await.unwrap();

        // There is no room for another large one, and a small one needs none.
        let (small, other) = (patient(&replica), patient(&replica));
        small.submit("small").await.unwrap();
        let at_once = began.elapsed();
        other.submit(large()).await.unwrap();
        assert!(began.elapsed() >= MESSAGE_MAX, "the other one was not held up");
        assert!(at_once < MESSAGE_MAX, "the small one was held up");
        let _ = stalled.read_to_end(&mut Vec::new()).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_amid_a_message_gives_its_part_back() {
    in_time(async {
        let cluster = Cluster::new();
        let limits = ServerLimits { values_bytes_max: LARGE as u64, ..Default::default() };
        let replica = Running::with(&cluster, 0, limits).await;
        for _ in 0..10 {
            let mut leaves = TcpStream::connect(replica.endpoint.as_str()).await.unwrap();
            leaves.write_all(&hello().await).await.unwrap();
            leaves.write_all(&u32::try_from(LARGE).unwrap().to_le_bytes()).await.unwrap();
            leaves.write_all(&vec![7; LARGE / 2]).await.unwrap();
        }
        patient(&replica).submit(large()).await.unwrap();
    })
    .await;
}

/// A query for a response of so many bytes.
fn query(response_bytes: usize) -> Ask {
    let request = response_bytes.to_string().into();
    Ask::Query(Query { request, consistency: Consistency::Stale })
}

/// Most responses find no room while the client reads nothing, and those queries are refused. Others are
/// served meanwhile.
#[tokio::test]
async fn responses_that_are_not_read_stay_within_the_limit() {
    const QUERIES: u64 = 256;
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let mut lazy = Connection::connect(&replica.endpoint, SECOND).await.unwrap();
        for id in 0..QUERIES {
            lazy.put(id, query(1 << 20)).unwrap();
        }
        // Sends all of them, and reads little more than the first response.
        lazy.answer().await.unwrap();
        replica.node.has_queries(64).await;
        client(&[&replica]).submit("another's").await.unwrap();

        let (mut answered, mut refused) = (1, 0);
        for _ in 1..QUERIES {
            match lazy.answer().await.unwrap().answer {
                Answer::Answered(_) => answered += 1,
                Answer::NotAnswered(QueryError::TooMany) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        println!("{answered} answered, {refused} refused");
        assert!(refused > 0 && answered >= 8, "{answered} answered, {refused} refused");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_not_kept_while_responses_wait_for_it() {
    in_time(async {
        let cluster = Cluster::new();
        let message_max = Duration::from_millis(200);
        let limits = ServerLimits { message_max, ..Default::default() };
        let replica = Running::with(&cluster, 0, limits).await;
        let mut socket = TcpStream::connect(replica.endpoint.as_str()).await.unwrap();
        let mut said = hello().await;
        said.extend(messages((0..32).map(|id| (id, query(1 << 20)))));
        socket.write_all(&said).await.unwrap();
        tokio::time::sleep(20 * message_max).await;
        let mut heard = Vec::new();
        // Whatever had left before arrives; then the connection is over, and not all was answered.
        let _ = socket.read_to_end(&mut heard).await;
        assert!(heard.len() < 32 << 20, "{} bytes came", heard.len());
    })
    .await;
}

/// The client library asks again what was refused, and the node takes no more at once than there is room
/// for.
#[tokio::test]
async fn a_client_that_reads_gets_every_large_response() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let client = patient(&replica);
        let bytes = 256 << 10;
        let all = (0..200).map(|_| client.query(bytes.to_string(), Consistency::Linearizable));
        for answered in join_all(all).await {
            assert_eq!(answered.unwrap().response.size_bytes(), bytes);
        }
        let queries = replica.node.queries.load(Ordering::SeqCst);
        println!("200 queries were asked {queries} times");
    })
    .await;
}
