//! The node's end: strangers, limits, stopping.

use std::sync::atomic::Ordering;
use std::time::Duration;

use synod_client::{ConnectTrouble, Connection, status};
use synod_node::client_port::ServerLimits;
use synod_wire::api::{Role, SubmitError};
use synod_wire::protocol::{Answer, Ask, Follow, ToClient, ToNode};
use synod_wire::{codec, frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::fake::{Cluster, Manner, Running};
use super::{client, in_time};
use synod_model::Slot;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn garbage_closes_its_connection_and_harms_nobody() {
    in_time(async {
        let cluster = Cluster::new();
        let limits =
            ServerLimits { handshake_max: Duration::from_millis(200), ..Default::default() };
        let replica = Running::with(&cluster, 0, limits).await;
        let client = client(&[&replica]);
        client.submit("before").await.unwrap();
        let garbage: [&[u8]; 5] =
            [b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", &[0; 4096], &[0xff; 4096], b"\x01", b""];
        for bytes in garbage {
            let mut stranger = TcpStream::connect(replica.endpoint.as_str()).await.unwrap();
            stranger.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            // Closed or reset, but over.
            let _ = stranger.read_to_end(&mut answer).await;
            assert_eq!(answer, b"");
        }
        client.submit("after").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn garbage_after_the_handshake_closes_the_connection() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let mut stranger = TcpStream::connect(replica.endpoint.as_str()).await.unwrap();
        stranger.write_all(&hello().await).await.unwrap();
        stranger.write_all(&[77; 100]).await.unwrap();
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer).await;
        assert!(!answer.is_empty(), "it was welcome until then");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_node_is_told_from_one() {
    in_time(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
        let web = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ =
                socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        };
        let (connected, ()) = tokio::join!(Connection::connect(&endpoint, SECOND), web);
        let trouble = connected.unwrap_err().trouble;
        assert!(matches!(trouble, ConnectTrouble::NotANode(_)), "{trouble}");
    })
    .await;
}

#[tokio::test]
async fn more_connections_than_the_limit_are_turned_away_with_the_reason() {
    in_time(async {
        let cluster = Cluster::new();
        let limits = ServerLimits { connections_max: 2, ..Default::default() };
        let replica = Running::with(&cluster, 0, limits).await;
        let first = Connection::connect(&replica.endpoint, SECOND).await.unwrap();
        let _second = Connection::connect(&replica.endpoint, SECOND).await.unwrap();
        let trouble = Connection::connect(&replica.endpoint, SECOND).await.unwrap_err();
        // The reason can be lost on its way, when the socket is closed; that it is closed is not.
        assert!(!trouble.to_string().contains("no answer within"), "{trouble}");
        drop(first);
        loop {
            match Connection::connect(&replica.endpoint, SECOND).await {
                Ok(_) => break,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await;
}

#[tokio::test]
async fn hundreds_of_connections_are_served_at_once() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let clients: Vec<_> = (0..256).map(|_| client(&[&replica])).collect();
        let all = clients.iter().flat_map(|client| (0..10).map(|_| client.submit("a")));
        for slot in futures_util::future::join_all(all).await {
            slot.unwrap();
        }
        assert_eq!(cluster.values().len(), 2560);
        assert_eq!(status(&replica.endpoint, SECOND).await.unwrap().role, Role::Coordinator);
    })
    .await;
}

#[tokio::test]
async fn no_more_asks_are_taken_than_the_limit_and_none_is_lost() {
    in_time(async {
        let cluster = Cluster::new();
        let limits = ServerLimits { asks_in_flight_max: 8, ..Default::default() };
        let replica = Running::with(&cluster, 0, limits).await;
        replica.node.behave(Manner::Serve(Duration::from_millis(5)));
        let client = client(&[&replica]);
        let all = (0..100).map(|_| client.submit("a"));
        for slot in futures_util::future::join_all(all).await {
            slot.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_that_stops_answers_what_it_has_taken_and_refuses_the_rest() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        replica.node.behave(Manner::Serve(Duration::from_millis(300)));
        let endpoint = replica.endpoint.clone();
        let mut connection = Connection::connect(&endpoint, SECOND).await.unwrap();
        connection.put(1, Ask::OpenSession).unwrap();
        let mut idle = Connection::connect(&endpoint, SECOND).await.unwrap();
        let asks = async {
            let opened = connection.answer();
            let opened = tokio::time::timeout(Duration::from_millis(100), opened).await;
            assert!(opened.is_err(), "it is not there yet");
            connection.put(2, Ask::OpenSession).unwrap();
            let refused = connection.answer().await.unwrap();
            let not_done = Answer::NoSlot(SubmitError::NotDone(synod_wire::api::NotDone::Stopping));
            assert_eq!((refused.id, refused.answer), (2, not_done));
            let opened = connection.answer().await.unwrap();
            assert!(matches!(opened.answer, Answer::Opened(_)), "{opened:?}");
            assert!(connection.answer().await.is_err(), "and then it closes");
            assert!(idle.answer().await.is_err(), "an idle connection is closed, too");
        };
        let stops = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            replica.stop().await;
        };
        tokio::join!(asks, stops);
        assert!(Connection::connect(&endpoint, SECOND).await.is_err());
    })
    .await;
}

/// All tasks of this test share one thread, as in `synod node`.
#[tokio::test]
async fn a_client_that_asks_without_end_leaves_others_their_turn() {
    const ASKS: u64 = 5000;
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let mut greedy = Connection::connect(&replica.endpoint, SECOND).await.unwrap();
        for id in 0..ASKS {
            greedy.put(id, Ask::Status).unwrap();
        }
        let asks = async {
            for _ in 0..ASKS {
                greedy.answer().await.unwrap();
            }
        };
        // How many answers there are from one turn of this task to the next.
        let turns = async {
            let (mut answered, mut longest) = (0, 0);
            while answered < usize::try_from(ASKS).unwrap() {
                tokio::task::yield_now().await;
                let now = replica.node.statuses.load(Ordering::SeqCst);
                longest = longest.max(now - answered);
                answered = now;
            }
            longest
        };
        let ((), longest) = tokio::join!(asks, turns);
        assert!(longest <= 256, "{longest} asks were answered while all others waited");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_says_no_more_gets_the_answers_to_what_it_has_said() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        replica.node.behave(Manner::Serve(Duration::from_millis(100)));
        let mut socket = TcpStream::connect(replica.endpoint.as_str()).await.unwrap();
        let mut said = hello().await;
        said.extend(messages([(1, Ask::OpenSession), (2, Ask::Status), (3, Ask::OpenSession)]));
        socket.write_all(&said).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).await.unwrap();
        assert_eq!(answered(&heard), [2, 1, 3]);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_says_no_more_is_not_kept_for_ever() {
    in_time(async {
        let cluster = Cluster::new();
        let limits = ServerLimits { drain_max: Duration::from_millis(50), ..Default::default() };
        let replica = Running::with(&cluster, 0, limits).await;
        replica.node.behave(Manner::Silent);
        let mut socket = TcpStream::connect(replica.endpoint.as_str()).await.unwrap();
        let endless = Follow { from: Slot(1), until_caught_up: false, everything: true };
        let mut said = hello().await;
        said.extend(messages([(1, Ask::OpenSession), (2, Ask::Follow(endless))]));
        socket.write_all(&said).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).await.unwrap();
        assert!(answered(&heard).is_empty());
    })
    .await;
}

pub(crate) fn messages(asks: impl IntoIterator<Item = (u64, Ask)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, ask) in asks {
        frame::append(&mut bytes, 1 << 20, |buffer, max| {
            codec::encode(&ToNode { id, ask }, buffer, max)
        })
        .unwrap();
    }
    bytes
}

/// The ids of the answers that follow the welcome.
fn answered(mut heard: &[u8]) -> Vec<u64> {
    let welcome = frame::split(heard, 256).unwrap().unwrap();
    heard = &heard[welcome.whole_bytes..];
    let mut ids = Vec::new();
    while let Some(frame) = frame::split(heard, 1 << 20).unwrap() {
        ids.push(codec::decode::<ToClient>(frame.payload).unwrap().0.id);
        heard = &heard[frame.whole_bytes..];
    }
    assert_eq!(heard, b"");
    ids
}

/// The first message of a client.
pub(crate) async fn hello() -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
    let listen = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut hello = vec![0; 1024];
        let bytes = socket.read(&mut hello).await.unwrap();
        hello.truncate(bytes);
        hello
    };
    tokio::join!(Connection::connect(&endpoint, SECOND), listen).1
}
