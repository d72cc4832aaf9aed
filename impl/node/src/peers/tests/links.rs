//! Messages on their way, and what stops them.

use std::time::Duration;

use synod_model::{Limits, Message, PrefixHash, ReplicaId, Run, Slot, To};
use synod_wire::frame;
use synod_wire::testing::entry;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::harness::{
    Node, Port, Setup, Wire, addresses, ask, identity, identity_with, test, until,
};
use crate::peers::answer_while_starting;
use crate::peers::envelope::Encoded;
use crate::peers::introduction::{HelloReply, Refusal};
use crate::peers::lane::Lane;
use crate::peers::limits::message_bytes_max;

pub(super) fn framed(message: &Message<crate::Value>) -> Vec<u8> {
    let encoded = Encoded::new(message, 1 << 24).expect("short enough");
    encoded.frames().flatten().copied().collect()
}

/// A message that takes about a mebibyte.
pub(super) fn large(seed: u8) -> Message<crate::Value> {
    Message::Committed {
        before: PrefixHash::default(),
        log_starts_at: Slot(1),
        first: Slot(u64::from(seed)),
        entries: vec![entry(seed, 1 << 20)],
        watermark: Slot(9),
    }
}

/// Three nodes that are connected with one another.
async fn three(ports: &[Port; 3]) -> Vec<Node> {
    let all = addresses(&ports.each_ref());
    let start = |(replica, port)| Setup::of_three(replica).formed().start(port, all.clone());
    let nodes: Vec<_> = (0..).zip(ports).map(start).collect();
    for (me, node) in (0..).zip(&nodes) {
        let others: Vec<_> = (0..3).filter(|it| *it != me).collect();
        node.until_connected(&others).await;
    }
    nodes
}

#[test]
fn messages_arrive_in_order_and_from_whom_they_are() {
    test(async {
        let ports = [Port::new(), Port::new(), Port::new()];
        let mut nodes = three(&ports).await;
        for count in 0..2_000 {
            nodes[0].peers.send(To::Others, &ask(count));
            nodes[1].ask(2, 10_000 + count);
            if count % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for count in 0..2_000 {
            assert_eq!(nodes[1].receive().await, (0, ask(count)));
        }
        let mut next = [0, 10_000];
        for _ in 0..4_000 {
            let (from, message) = nodes[2].receive().await;
            let next = &mut next[usize::from(from)];
            assert_eq!(message, ask(*next));
            *next += 1;
        }
        assert!(nodes[0].has_no_message());
        let dropped = nodes.iter().flat_map(|node| node.peers.status()).map(|it| it.dropped_frames);
        assert_eq!(dropped.sum::<u64>(), 0);
        // To nobody, and to itself.
        nodes[0].ask(7, 1);
        nodes[0].ask(0, 1);
        until(|| nodes[0].peers.status().iter().all(|it| it.queued_bytes == 0)).await;
    });
}

#[test]
fn large_messages_pass_whole() {
    test(async {
        let ports = [Port::new(), Port::new(), Port::new()];
        let mut nodes = three(&ports).await;
        for seed in 0..20 {
            nodes[0].peers.send(To::Others, &large(seed));
            for node in [1, 2] {
                assert_eq!(nodes[node].receive().await, (0, large(seed)));
            }
        }
    });
}

/// A replica 0 of two, and its connections to somebody that acts as replica 1.
pub(super) async fn zero_and_wires(setup: &Setup) -> (Node, TcpListener, [Wire; 2], Port) {
    let (port, other) = (Port::new(), Port::new());
    let listener = other.listener();
    let node = setup.start(&port, addresses(&[&port, &other]));
    let wires = Wire::answer_both(&listener, &welcome()).await;
    node.until_connected(&[1]).await;
    (node, listener, wires, port)
}

pub(super) fn zero() -> Setup {
    Setup::new(identity(0, 2, 10)).formed()
}

pub(super) fn welcome() -> HelloReply {
    HelloReply::Welcome(Setup::new(identity(1, 2, 11)).introduction())
}

#[test]
fn what_a_peer_sends_by_mistake_closes_its_connection_only() {
    test(async {
        let (mut node, _listener, [mut to_wire, _bulk], port) = zero_and_wires(&zero()).await;
        let hello = Setup::new(identity(1, 2, 11)).hello(0);
        let mut damaged = framed(&ask(1));
        damaged[9] ^= 1;
        let length_max = message_bytes_max(&Limits::default());
        let too_long = u32::try_from(length_max + 2).expect("some").to_le_bytes();
        // A message, and one byte more.
        let longer = [&framed(&ask(1))[frame::HEADER_BYTES..], &[1]].concat();
        let mut undecodable = Vec::new();
        let mut more = Vec::new();
        for (buffer, payload) in [(&mut undecodable, &[0, 99, 1][..]), (&mut more, &longer)] {
            let framed = frame::append(buffer, 100, |buffer, _| {
                buffer.extend_from_slice(payload);
                Ok::<_, ()>(())
            });
            framed.expect("it never fails");
        }
        for mistake in [&damaged[..], &too_long, &undecodable, &more] {
            let mut wire = Wire::welcomed(&port, &hello).await;
            wire.send(&framed(&ask(7))).await;
            wire.send(mistake).await;
            wire.send(&framed(&ask(8))).await;
            wire.until_closed().await;
            assert_eq!(node.receive().await, (1, ask(7)));
        }
        assert!(node.has_no_message());
        // The other direction was not affected.
        node.ask(1, 3);
        assert_eq!(to_wire.receive().await, ask(3));
    });
}

#[test]
fn an_acceptor_that_sends_is_disconnected() {
    test(async {
        let (node, listener, wires, _port) = zero_and_wires(&zero()).await;
        for mut wire in wires {
            wire.send(&framed(&ask(1))).await;
            wire.until_closed().await;
            let text = "sends something on a connection on which it should only receive";
            node.error_with(1, text).await;
        }
        let _wires = Wire::answer_both(&listener, &welcome()).await;
        node.until_connected(&[1]).await;
    });
}

#[test]
fn a_newer_connection_takes_the_place_of_the_older_one() {
    test(async {
        let (mut node, _listener, _to_wires, port) = zero_and_wires(&zero()).await;
        let mut setup = Setup::new(identity(1, 2, 11));
        let mut older = Wire::welcomed(&port, &setup.hello(0)).await;
        older.send(&framed(&ask(1))).await;
        assert_eq!(node.receive().await, (1, ask(1)));
        setup.run = 2;
        let mut newer = Wire::welcomed(&port, &setup.hello(0)).await;
        older.until_closed().await;
        newer.send(&framed(&ask(2))).await;
        assert_eq!(node.receive().await, (1, ask(2)));
        assert_eq!(node.status_of(1).run.map(|run| run.0), Some(2));
    });
}

/// Even if the older one waits for a busy replica.
#[test]
fn a_connection_that_waits_for_a_full_inbox_can_be_replaced() {
    test(async {
        let mut setup = zero();
        setup.inbox_messages_max = 1;
        let (mut node, _listener, _to_wires, port) = zero_and_wires(&setup).await;
        let hello = Setup::new(identity(1, 2, 11)).hello_on(Lane::Bulk, 0);
        let mut older = Wire::welcomed(&port, &hello).await;
        for count in 0..3 {
            older.send(&framed(&ask(count))).await;
        }
        until(|| node.bulk.len() == 1).await;
        let mut newer = Wire::welcomed(&port, &hello).await;
        older.until_closed().await;
        newer.send(&framed(&ask(7))).await;
        assert_eq!(node.receive().await, (1, ask(0)));
        // What waited is lost with its connection, as it can be in TCP.
        assert_eq!(node.receive().await, (1, ask(7)));
    });
}

/// Nothing is lost between a slow replica and a peer that waits for it, and nothing overtakes.
#[test]
fn a_full_inbox_delays_the_sender_and_nobody_else() {
    test(async {
        let ports = [Port::new(), Port::new()];
        let all = addresses(&[&ports[0], &ports[1]]);
        let mut setup = Setup::new(identity(1, 2, 11)).formed();
        setup.inbox_messages_max = 1;
        let mut slow = setup.start(&ports[1], all.clone());
        let mut node = zero().start(&ports[0], all);
        node.until_connected(&[1]).await;
        slow.until_connected(&[0]).await;
        // Until the system takes no more. A system that is only slow has less to hold back.
        let mut sent = 0;
        let mut is_held_up = false;
        while !is_held_up {
            node.peers.send(To::Others, &large(sent));
            sent += 1;
            let drained = until(|| node.status_of(1).queued_bytes == 0);
            is_held_up = timeout(Duration::from_millis(50), drained).await.is_err();
        }
        // The other way is open meanwhile.
        slow.ask(0, 3);
        assert_eq!(node.receive().await, (1, ask(3)));
        for seed in 0..sent {
            assert_eq!(slow.receive().await, (0, large(seed)));
        }
        assert_eq!(node.status_of(1).dropped_frames, 0);
    });
}

#[test]
fn a_peer_that_restarts_is_met_again() {
    test(async {
        let ports = [Port::new(), Port::new()];
        let all = addresses(&[&ports[0], &ports[1]]);
        let mut setup = Setup::new(identity(1, 2, 11)).formed();
        let mut node = zero().start(&ports[0], all.clone());
        for run in 1..6 {
            setup.run = run;
            let mut other = setup.start(&ports[1], all.clone());
            other.until_connected(&[0]).await;
            until(|| node.status_of(1).is_connected && node.status_of(1).is_heard).await;
            assert_eq!(node.status_of(1).run.map(|run| run.0), Some(run));
            for count in 0..100 {
                node.ask(1, count);
                other.ask(0, 1000 * run + count);
            }
            for count in 0..100 {
                assert_eq!(other.receive().await, (0, ask(count)));
                assert_eq!(node.receive().await, (1, ask(1000 * run + count)));
            }
            other.peers.stop().await;
            until(|| !node.status_of(1).is_connected && !node.status_of(1).is_heard).await;
            let dropped_frames = node.status_of(1).dropped_frames;
            node.ask(1, 1);
            assert_eq!(node.status_of(1).dropped_frames, dropped_frames + 1);
        }
    });
}

#[test]
fn stopping_ends_everything() {
    test(async {
        for by_dropping in [false, true] {
            let (node, _listener, [to_control, to_bulk], port) = zero_and_wires(&zero()).await;
            let from_wire = Wire::welcomed(&port, &Setup::new(identity(1, 2, 11)).hello(0)).await;
            let silent = Wire::dial(&port).await;
            let fatal = node.peers.fatal();
            let begin = Instant::now();
            if by_dropping {
                drop(node);
            } else {
                node.peers.stop().await;
                node.peers.stop().await;
                assert!(!node.status_of(1).is_connected && !node.status_of(1).is_heard);
            }
            assert!(begin.elapsed() < Duration::from_secs(2));
            tokio::join!(
                to_control.until_closed(),
                to_bulk.until_closed(),
                from_wire.until_closed()
            );
            // It may still wait to be accepted.
            drop(silent);
            let fatal = timeout(Duration::from_millis(20), fatal).await;
            assert!(fatal.is_err(), "it is no error to stop");
        }
    });
}

/// What the core may send under its limits fits in a frame, and two of the largest in a queue.
#[test]
fn the_largest_messages_fit() {
    test(async {
        let limits = Limits { frame_bytes_max: 3_000, value_bytes_max: 5_000, ..Limits::default() };
        let ports = [Port::new(), Port::new()];
        let all = addresses(&[&ports[0], &ports[1]]);
        let of = |replica| {
            let identity = identity_with(limits.clone(), replica, 2, 10 + u128::from(replica));
            Setup::new(identity).formed()
        };
        let node = of(0).start(&ports[0], all.clone());
        let mut other = of(1).start(&ports[1], all);
        node.until_connected(&[1]).await;
        for message in super::largest::messages(&limits) {
            let bytes = framed(&message).len();
            assert!(bytes - 8 <= message_bytes_max(&limits), "{bytes}");
            node.peers.send(To::One(ReplicaId(1)), &message);
            node.peers.send(To::One(ReplicaId(1)), &message);
            for _ in 0..2 {
                assert_eq!(other.receive().await, (0, message.clone()));
            }
        }
    });
}

/// A dialer can say what it waits for, and the log says it once.
#[test]
fn a_peer_that_reads_its_log_says_how_far_it_is() {
    test(async {
        let (port, other) = (Port::new(), Port::new());
        let listener = other.listener();
        let read = std::cell::Cell::new(41);
        let it = identity(1, 2, 11);
        let starting = answer_while_starting(&listener, &it, Run(7), || (read.get(), 97));
        let node = zero().start(&port, addresses(&[&port, &other]));
        let looks_on = async {
            node.error_with(1, "is starting, and reads its log: 41 of 97 segments").await;
            read.set(42);
            node.error_with(1, "is starting, and reads its log: 42 of 97 segments").await;
            // A caller of another cluster, or one that says nothing that is understood.
            let stranger = Setup::new(identity(0, 3, 10)).hello(1);
            let (wire, answer) = Wire::greet(&other, &stranger).await;
            assert!(matches!(answer, HelloReply::Refused(_, Refusal::OtherCluster)), "{answer:?}");
            wire.until_closed().await;
            let mut wire = Wire::dial(&other).await;
            wire.send(b"GET / HTTP/1.1\r\n\r\n").await;
            wire.until_closed().await;
        };
        tokio::select! {
            never = starting => match never {},
            () = looks_on => {}
        }
        // It has started.
        let _wires = Wire::answer_both(&listener, &welcome()).await;
        node.until_connected(&[1]).await;
    });
}
