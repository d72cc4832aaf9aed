//! Two connections to each peer: what is small never waits behind what is large.

use std::time::Duration;

use synod_model::{Message, ReplicaId};
use synod_wire::testing::entry;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::harness::{Node, Setup, Wire, ask, identity, test, until};
use super::links::{framed, large, zero, zero_and_wires};
use crate::peers::PeerEvent;
use crate::peers::lane::Lane;
use crate::peers::limits::{ALIVE_INTERVAL, FULL_AFTER, FULL_BYTES};

const ONE: ReplicaId = ReplicaId(1);

/// A message that somebody waits for, of about so many bytes.
fn submit(seed: u8, bytes: usize) -> Message<crate::Value> {
    Message::Submit { submissions: vec![entry(seed, bytes)] }
}

fn send(node: &Node, message: &Message<crate::Value>) {
    node.peers.send(synod_model::To::One(ONE), message);
}

/// Waits until nothing more is written, because the other end does not read.
async fn until_stuck(node: &Node) {
    let mut before = usize::MAX;
    loop {
        let now = node.status_of(1).queued_bytes;
        if now == before && now > 0 {
            return;
        }
        before = now;
        sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn control_passes_while_bulk_is_stuck_and_the_replica_is_told() {
    test(async {
        let (mut node, _listener, [mut control, mut bulk], _port) = zero_and_wires(&zero()).await;
        let count = 40;
        for seed in 0..count {
            send(&node, &submit(seed, 1 << 20));
        }
        node.until_told(PeerEvent::Full(ONE)).await;
        until_stuck(&node).await;
        assert!(node.status_of(1).queued_bytes > FULL_BYTES);
        node.ask(1, 7);
        assert_eq!(control.receive().await, ask(7));
        for seed in 0..count {
            assert_eq!(bulk.receive().await, submit(seed, 1 << 20));
        }
        node.until_told(PeerEvent::Drained(ONE)).await;
        assert_eq!(node.status_of(1).dropped_frames, 0);
    });
}

/// Little is sent, and it waits for long all the same.
#[test]
fn a_queue_is_full_when_its_oldest_message_waits_too_long() {
    test(async {
        let (mut node, _listener, [_control, mut bulk], _port) = zero_and_wires(&zero()).await;
        // As catch-up the same bytes would not count.
        let mut count = 0;
        while node.status_of(1).queued_bytes == 0 {
            send(&node, &large(count));
            count += 1;
            sleep(Duration::from_millis(5)).await;
        }
        until_stuck(&node).await;
        let begin = Instant::now();
        send(&node, &submit(1, 10));
        node.until_told(PeerEvent::Full(ONE)).await;
        assert!(begin.elapsed() >= FULL_AFTER, "{:?}", begin.elapsed());
        assert!(node.status_of(1).queued_bytes < FULL_BYTES);
        for _ in 0..=count {
            bulk.receive().await;
        }
        node.until_told(PeerEvent::Drained(ONE)).await;
    });
}

#[test]
fn a_message_that_somebody_waits_for_overtakes_catch_up() {
    test(async {
        let (node, _listener, [_control, mut bulk], _port) = zero_and_wires(&zero()).await;
        let count = 14;
        for seed in 0..count {
            send(&node, &large(seed));
        }
        until_stuck(&node).await;
        send(&node, &submit(99, 10));
        let mut received = Vec::new();
        while received.len() <= usize::from(count) {
            received.push(bulk.receive().await);
        }
        let place = received.iter().position(|it| *it == submit(99, 10)).expect("it came");
        assert!(place < usize::from(count), "it waited for all catch-up");
        received.remove(place);
        assert_eq!(received, (0..count).map(large).collect::<Vec<_>>());
    });
}

/// A replica reads control though its inbox for messages with entries is full.
#[test]
fn control_is_read_while_the_inbox_for_bulk_is_full() {
    test(async {
        let mut setup = zero();
        setup.inbox_messages_max = 1;
        let (mut node, _listener, _wires, port) = zero_and_wires(&setup).await;
        let peer = Setup::new(identity(1, 2, 11));
        let mut bulk = Wire::welcomed(&port, &peer.hello_on(Lane::Bulk, 0)).await;
        let mut control = Wire::welcomed(&port, &peer.hello(0)).await;
        for seed in 0..3 {
            bulk.send(&framed(&submit(seed, 10))).await;
        }
        until(|| node.bulk.len() == 1).await;
        control.send(&framed(&ask(7))).await;
        while node.control.recv().await.expect("it runs") != PeerEvent::Message(ONE, ask(7)) {}
        assert_eq!(node.receive().await, (1, submit(0, 10)));
    });
}

#[test]
fn bytes_of_an_unfinished_message_are_a_sign_of_life() {
    test(async {
        let (mut node, _listener, _wires, port) = zero_and_wires(&zero()).await;
        let hello = Setup::new(identity(1, 2, 11)).hello_on(Lane::Bulk, 0);
        let mut bulk = Wire::welcomed(&port, &hello).await;
        // One frame, and a message in pieces, whose frames are whole before it is.
        for message in [submit(3, 100_000), large(4)] {
            let bytes = framed(&message);
            let begin = Instant::now();
            let mut count = 0;
            for part in bytes.chunks(bytes.len() / 20 + 1) {
                bulk.out.write_all(part).await.expect("it reads");
                sleep(Duration::from_millis(10)).await;
                while let Ok(event) = node.control.try_recv() {
                    count += u32::from(event == PeerEvent::Alive(ONE));
                }
            }
            let count_max = begin.elapsed().as_millis() / ALIVE_INTERVAL.as_millis() + 1;
            assert!(count > 0 && u128::from(count) <= count_max, "{count} of {count_max}");
        }
        // Whole messages are signs enough.
        sleep(2 * ALIVE_INTERVAL).await;
        let mut all = vec![node.receive().await.1, node.receive().await.1];
        bulk.send(&framed(&ask(5))).await;
        all.push(node.receive().await.1);
        assert_eq!(all, [submit(3, 100_000), large(4), ask(5)]);
    });
}
