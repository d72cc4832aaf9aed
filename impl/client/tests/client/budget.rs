//! What all clients together may have in flight.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use synod_client::{Client, ClientOptions};
use synod_node::client_port::ServerLimits;
use synod_wire::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fake::{Cluster, Manner, Running};
use super::serving::hello;
use super::{endpoints, in_time, options};

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
