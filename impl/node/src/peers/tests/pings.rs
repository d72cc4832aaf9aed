//! Round trips are measured, and nonsense is ignored.

use std::time::Duration;

use synod_model::ReplicaId;
use tokio::time::{Instant, sleep, timeout};

use super::harness::{Port, Setup, Wire, addresses, ask, identity, test};
use super::links::{zero, zero_and_wires};
use crate::peers::PeerEvent;
use crate::peers::envelope::{Content, ping, pong};
use crate::peers::lane::Lane;
use crate::peers::limits::PING_INTERVAL;

async fn next_ping(wire: &mut Wire) -> u64 {
    loop {
        let payload = wire.frames.next().await.expect("a frame").expect("a frame");
        match Content::of(payload) {
            Some(Content::Ping(number)) => return number,
            Some(Content::Open) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn replicas_measure_the_way_to_each_other() {
    test(async {
        let ports = [Port::new(), Port::new()];
        let all = addresses(&[&ports[0], &ports[1]]);
        let mut node = zero().start(&ports[0], all.clone());
        let _other = Setup::new(identity(1, 2, 11)).formed().start(&ports[1], all);
        let round_trip = loop {
            if let PeerEvent::RoundTrip(peer, round_trip) = node.event().await {
                assert_eq!(peer, ReplicaId(1));
                break round_trip;
            }
        };
        assert_eq!(node.status_of(1).round_trip, Some(round_trip));
    });
}

#[test]
fn a_ping_leaves_at_once_and_then_one_in_a_second() {
    test(async {
        let (mut node, _listener, [mut control, _bulk], _port) = zero_and_wires(&zero()).await;
        let first = next_ping(&mut control).await;
        let begin = Instant::now();
        assert_eq!(node.status_of(1).round_trip, None);
        sleep(Duration::from_millis(100)).await;
        // Answers to what was never asked.
        control.send(&pong(first + 1).expect("short")).await;
        control.send(&pong(0).expect("short")).await;
        sleep(Duration::from_millis(50)).await;
        for _ in 0..3 {
            control.send(&pong(first).expect("short")).await;
        }
        let round_trip = loop {
            if let PeerEvent::RoundTrip(_, round_trip) = node.event().await {
                break round_trip;
            }
        };
        assert!(round_trip >= Duration::from_millis(150), "{round_trip:?}");
        let second = next_ping(&mut control).await;
        assert_ne!(first, second);
        assert!(begin.elapsed() + Duration::from_millis(50) >= PING_INTERVAL);
        // While that one is not answered, there is no other.
        let more = timeout(2 * PING_INTERVAL, control.frames.next()).await;
        assert!(more.is_err(), "{more:?}");
        assert!(node.status_of(1).is_connected);
        while let Ok(event) = node.control.try_recv() {
            assert!(!matches!(event, PeerEvent::RoundTrip(..)), "it was answered once");
        }
    });
}

#[test]
fn an_acceptor_answers_few_pings_and_on_the_control_lane_only() {
    test(async {
        let (mut node, _listener, _wires, port) = zero_and_wires(&zero()).await;
        let peer = Setup::new(identity(1, 2, 11));
        for (lane, answers) in [(Lane::Control, 1), (Lane::Bulk, 0)] {
            let mut wire = Wire::welcomed(&port, &peer.hello_on(lane, 0)).await;
            // All in one packet, so that no time passes between them.
            let pings: Vec<u8> = (7..20).flat_map(|it| ping(it).expect("short")).collect();
            wire.send(&pings).await;
            // A pong answers nothing here.
            wire.send(&pong(3).expect("short")).await;
            wire.send(&super::links::framed(&ask(1))).await;
            assert_eq!(node.receive().await, (1, ask(1)));
            for _ in 0..answers {
                let payload = wire.frames.next().await.expect("a frame").expect("a pong");
                assert_eq!(Content::of(payload), Some(Content::Pong(7)));
            }
            let more = timeout(Duration::from_millis(50), wire.frames.next()).await;
            assert!(more.is_err(), "{more:?}");
        }
    });
}
