//! What is lost is known at both ends, and connections that end are made again.

use std::time::Duration;

use synod_model::{ReplicaId, To};
use tokio::time::{Instant, sleep, timeout};

use super::harness::{Setup, Wire, ask, identity, test, until};
use super::links::{framed, large, welcome, zero, zero_and_wires};
use crate::peers::PeerEvent;
use crate::peers::envelope::Content;
use crate::peers::introduction::{HelloReply, Purpose};
use crate::peers::lane::Lane;
use crate::peers::limits::LinkTiming;

const RECONNECTED: PeerEvent = PeerEvent::Reconnected(ReplicaId(1));

#[test]
fn each_connection_that_is_made_is_told() {
    test(async {
        let (mut node, listener, [control, bulk], port) = zero_and_wires(&zero()).await;
        node.until_told(RECONNECTED).await;
        // Both lanes may have been told as one.
        sleep(Duration::from_millis(50)).await;
        while node.control.try_recv().is_ok() {}
        let welcome = HelloReply::Welcome(Setup::new(identity(1, 2, 11)).introduction());
        // Each lane to the peer.
        drop(bulk);
        let (_bulk, hello) = Wire::answer(&listener, &welcome).await;
        assert_eq!(hello.purpose, Purpose::Messages(Lane::Bulk));
        node.until_told(RECONNECTED).await;
        drop(control);
        let (mut control, hello) = Wire::answer(&listener, &welcome).await;
        assert_eq!(hello.purpose, Purpose::Messages(Lane::Control));
        node.until_told(RECONNECTED).await;
        // From when it is told on, messages pass.
        node.ask(1, 5);
        assert_eq!(control.receive().await, ask(5));
        // Each lane from it.
        let peer = Setup::new(identity(1, 2, 11));
        for lane in Lane::ALL {
            let mut wire = Wire::welcomed(&port, &peer.hello_on(lane, 0)).await;
            wire.open().await;
            node.until_told(RECONNECTED).await;
        }
    });
}

/// The acceptor is told when the dialer knows of the connection. If it were told sooner, what it sends then
/// could find the connection of the dialer closed still, and its answer would be dropped.
#[test]
fn the_acceptor_is_told_after_the_dialer() {
    test(async {
        let (mut node, _listener, _wires, port) = zero_and_wires(&zero()).await;
        node.until_told(RECONNECTED).await;
        sleep(Duration::from_millis(50)).await;
        while node.control.try_recv().is_ok() {}
        let peer = Setup::new(identity(1, 2, 11));
        let mut wire = Wire::welcomed(&port, &peer.hello(0)).await;
        wire.send(&framed(&ask(1))).await;
        assert_eq!(node.receive().await, (1, ask(1)));
        sleep(Duration::from_millis(100)).await;
        while let Ok(event) = node.control.try_recv() {
            assert_ne!(event, RECONNECTED);
        }
        wire.open().await;
        node.until_told(RECONNECTED).await;
    });
}

/// The dialer's replica is told before its peer is, however long that takes.
#[test]
fn the_peer_is_told_of_a_connection_after_this_replica() {
    test(async {
        let mut setup = zero();
        setup.inbox_messages_max = 1;
        let (mut node, _listener, [mut control, _bulk], _port) = zero_and_wires(&setup).await;
        // There is room for one event, and this is not the one.
        let said = timeout(Duration::from_millis(200), until_open(&mut control));
        assert!(said.await.is_err(), "the peer is told first");
        assert_eq!(node.event().await, PeerEvent::CatchUpLost(ReplicaId(1)));
        until_open(&mut control).await;
        assert_eq!(node.event().await, RECONNECTED);
    });
}

async fn until_open(wire: &mut Wire) {
    let is_open = |payload: &[u8]| Content::of(payload) == Some(Content::Open);
    while !is_open(wire.frames.next().await.expect("a frame").expect("a frame")) {}
}

/// A queue does not drop single messages: neither end would know.
#[test]
fn a_queue_that_overflows_closes_its_connection() {
    test(async {
        let (mut node, listener, [mut control, mut bulk], _port) = zero_and_wires(&zero()).await;
        let mut sent = 0;
        while node.status_of(1).dropped_frames == 0 {
            node.peers.send(To::Others, &large(sent));
            sent += 1;
            // Some is written meanwhile.
            tokio::task::yield_now().await;
        }
        let error = node.error_with(1, "takes what is sent to it too slowly: more than").await;
        assert!(error.ends_with(" bytes wait for it"), "{error}");
        until(|| !node.status_of(1).is_connected).await;
        let status = node.status_of(1);
        assert_eq!((status.queued_frames, status.queued_bytes), (0, 0));
        // The peer gets the beginning, and then the end of the connection.
        let mut count = 0;
        while let Ok(Some(_)) = bulk.frames.next().await {
            count += 1;
        }
        assert!(count > 0);
        // The other lane was not affected.
        node.ask(1, 5);
        assert_eq!(control.receive().await, ask(5));
        while node.control.try_recv().is_ok() {}
        let (mut bulk, _) = Wire::answer(&listener, &welcome()).await;
        node.until_told(RECONNECTED).await;
        node.peers.send(To::Others, &large(7));
        assert_eq!(bulk.receive().await, large(7));
    });
}

/// A peer that is stopped, swapped out, or behind half a link takes nothing more.
#[test]
fn a_connection_that_takes_nothing_is_closed() {
    test(async {
        let mut setup = zero();
        setup.timing.write_max = Duration::from_secs(1);
        let (node, listener, [_control, bulk], _port) = zero_and_wires(&setup).await;
        for seed in 0..14 {
            node.peers.send(To::Others, &large(seed));
        }
        // The limit of the system or that of the writer, whichever ends first.
        until(|| !node.status_of(1).is_connected).await;
        drop(bulk);
        let (mut bulk, _) = Wire::answer(&listener, &welcome()).await;
        node.until_connected(&[1]).await;
        node.peers.send(To::Others, &large(20));
        assert_eq!(bulk.receive().await, large(20));
    });
}

/// A dialer that waits for long, after many failures, learns from another connection that the peer is
/// there.
#[test]
fn a_greeting_ends_the_wait_of_the_dialers() {
    test(async {
        let mut setup = zero();
        setup.timing.backoff_min = Duration::from_millis(10);
        setup.timing.backoff_max = Duration::from_secs(4);
        let (_node, listener, [_control, bulk], port) = zero_and_wires(&setup).await;
        drop(bulk);
        for _ in 0..9 {
            drop(Wire::accept(&listener).await);
        }
        // The next wait is 1.3 to 2.6 seconds long.
        sleep(Duration::from_millis(50)).await;
        let begin = Instant::now();
        let _wire = Wire::welcomed(&port, &Setup::new(identity(1, 2, 11)).hello(0)).await;
        let (_bulk, _) = Wire::answer(&listener, &welcome()).await;
        assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
    });
}

/// A link whose connections are reset again and again carries messages all the same. Each of these
/// connections is progress, so the dialer does not wait longer and longer.
#[test]
fn a_connection_that_is_reset_after_it_carried_messages_is_soon_made_again() {
    test(async {
        let mut setup = zero();
        setup.timing = LinkTiming {
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(4),
            ..setup.timing
        };
        let (node, listener, [mut control, _bulk], _port) = zero_and_wires(&setup).await;
        let (resets, lives) = (9_u32, Duration::from_millis(100));
        let begin = Instant::now();
        for count in 0..resets {
            node.ask(1, count.into());
            assert_eq!(control.receive().await, ask(count.into()));
            sleep(lives).await;
            drop(control);
            control = Wire::answer(&listener, &welcome()).await.0;
            node.until_connected(&[1]).await;
        }
        let waited = begin.elapsed().saturating_sub(lives * resets);
        // Waits that double would be 20, 40, ... 4,000 ms, and half of that at the least.
        assert!(waited < Duration::from_secs(2), "{waited:?}");
    });
}
