//! Snapshots that are fetched: resumed, limited, refused, and sent by a peer that errs.

use std::time::Duration;

use synod_model::{ReplicaId, Slot};
use synod_wire::frame;
use tokio::time::{Instant, sleep};

use super::harness::{Node, Port, Setup, Wire, addresses, identity, test, until};
use super::memory_snapshots::{content, id_of};
use crate::peers::introduction::{Hello, HelloReply, Purpose};
use crate::peers::snapshots::protocol::{Answer, Ask, from_payload, to_frame};
use crate::peers::snapshots::{CHUNK_BYTES, PartialSnapshot, Receiving};

const MEGABYTE: usize = 1 << 20;

/// Replicas of a formed cluster of three, with their ports.
struct Three {
    setups: [Setup; 3],
    ports: [Port; 3],
}

impl Three {
    fn new() -> Self {
        let setups = [0, 1, 2].map(|replica| Setup::of_three(replica).formed());
        Self { setups, ports: [Port::new(), Port::new(), Port::new()] }
    }

    fn start(&self, replica: usize) -> Node {
        let ports = [&self.ports[0], &self.ports[1], &self.ports[2]];
        self.setups[replica].start(&self.ports[replica], addresses(&ports))
    }

    /// Replica 0 fetches a snapshot of slot 70 from replica 1, which goes away in the middle. Returns those that
    /// remain: replica 0 and replica 2.
    async fn lose_the_sender(&mut self) -> [Node; 2] {
        self.send_slowly(1, 2 * MEGABYTE);
        self.setups[1].snapshots.add(70, 2 * MEGABYTE);
        let [lagging, first, second] = [0, 1, 2].map(|replica| self.start(replica));
        fetch(&lagging, 1, 60);
        let snapshots = &self.setups[0].snapshots;
        until(|| snapshots.received_bytes() > MEGABYTE / 2).await;
        first.peers.stop().await;
        [lagging, second]
    }

    /// Slows down what this replica sends.
    fn send_slowly(&mut self, replica: usize, bytes_per_second: usize) {
        self.setups[replica].snapshots.limits.sent_bytes_per_second = bytes_per_second as u64;
    }
}

fn fetch(node: &Node, from: u16, slot: u64) {
    node.peers.fetch_snapshot(ReplicaId(from), Slot(slot));
}

/// As a replica does that needs it: whenever it is told that none comes, it wants it anew.
async fn keep_fetching(node: &Node, from: u16, slot: u64) {
    loop {
        fetch(node, from, slot);
        not_fetched(node).await;
    }
}

/// Waits until the replica is told that no snapshot comes, and that once.
async fn not_fetched(node: &Node) {
    node.peers.not_fetched().await;
    assert!(node.peers.take_not_fetched());
    assert!(!node.peers.take_not_fetched(), "it was told");
}

#[test]
fn a_snapshot_comes_whole_and_messages_pass_meanwhile() {
    test(async {
        let mut three = Three::new();
        three.send_slowly(1, 4 * MEGABYTE);
        let id = three.setups[1].snapshots.add(70, 3 * MEGABYTE + 17);
        let (lagging, mut sender) = (three.start(0), three.start(1));
        lagging.until_connected(&[1]).await;
        sender.until_connected(&[0]).await;
        fetch(&lagging, 1, 60);
        let snapshots = &three.setups[0].snapshots;
        until(|| snapshots.received_bytes() > MEGABYTE).await;
        let Receiving { from, slot, received_bytes, bytes } =
            lagging.peers.receiving().expect("it is on its way");
        assert_eq!((from, slot, bytes), (ReplicaId(1), Slot(70), id.bytes));
        assert!((1..bytes).contains(&received_bytes));
        let sending = sender.peers.sending();
        assert!(sending[0].is_connected && sending[0].to == ReplicaId(0), "{sending:?}");
        lagging.ask(1, 7);
        assert_eq!(sender.receive().await.0, 0);
        assert!(snapshots.finished().is_empty(), "the message did not wait for the snapshot");
        until(|| !snapshots.finished().is_empty()).await;
        assert_eq!(snapshots.finished(), [(1, 70)]);
        assert_eq!(*snapshots.state().stored[0].1, content(70, 3 * MEGABYTE + 17));
        until(|| lagging.peers.receiving().is_none()).await;
        until(|| !sender.peers.sending()[0].is_connected).await;
        assert_eq!(sender.peers.sending()[0].sent_bytes, id.bytes, "it counts for a while");
    });
}

#[test]
fn after_a_lost_sender_another_one_with_the_same_snapshot_goes_on_at_the_offset() {
    test(async {
        let mut three = Three::new();
        three.setups[2].snapshots.add(70, 2 * MEGABYTE);
        // It could begin a newer one anew.
        three.setups[2].snapshots.add(90, 2 * MEGABYTE);
        let _remaining = three.lose_the_sender().await;
        let snapshots = &three.setups[0].snapshots;
        until(|| !snapshots.finished().is_empty()).await;
        assert_eq!((snapshots.finished(), snapshots.state().begun), (vec![(2, 70)], 1));
    });
}

#[test]
fn a_part_that_nobody_can_complete_gives_way_to_a_newer_snapshot() {
    test(async {
        let mut three = Three::new();
        three.setups[2].snapshots.add(90, 2 * MEGABYTE);
        let _remaining = three.lose_the_sender().await;
        let snapshots = &three.setups[0].snapshots;
        until(|| !snapshots.finished().is_empty()).await;
        assert_eq!((snapshots.finished(), snapshots.state().begun), (vec![(2, 90)], 2));
    });
}

#[test]
fn a_receiver_that_starts_anew_goes_on_where_it_was() {
    test(async {
        let mut three = Three::new();
        three.send_slowly(1, 2 * MEGABYTE);
        three.setups[1].snapshots.add(70, 2 * MEGABYTE);
        let _sender = three.start(1);
        let lagging = three.start(0);
        fetch(&lagging, 1, 60);
        let snapshots = three.setups[0].snapshots.clone();
        until(|| snapshots.received_bytes() > MEGABYTE / 2).await;
        lagging.peers.stop().await;
        drop(lagging);
        let lagging = three.start(0);
        // It asks somebody who is not there first.
        fetch(&lagging, 2, 60);
        until(|| !snapshots.finished().is_empty()).await;
        assert_eq!((snapshots.finished(), snapshots.state().begun), (vec![(1, 70)], 1));
    });
}

#[test]
fn a_sender_serves_so_many_at_once_and_the_others_come_again() {
    test(async {
        let mut three = Three::new();
        three.send_slowly(2, 2 * MEGABYTE);
        for (replica, receivers_max) in [(0, 0), (1, 0), (2, 1)] {
            three.setups[replica].snapshots.limits.receivers_max = receivers_max;
        }
        three.setups[2].snapshots.add(70, MEGABYTE);
        let (first, second, sender) = (three.start(0), three.start(1), three.start(2));
        let begin = Instant::now();
        let [a, b] = [0, 1].map(|it| three.setups[it].snapshots.clone());
        let mut served_max = 0;
        let both_have_it = until(|| {
            let served = sender.peers.sending().iter().filter(|it| it.is_connected).count();
            served_max = served.max(served_max);
            !a.finished().is_empty() && !b.finished().is_empty()
        });
        tokio::select! {
            () = both_have_it => {}
            () = keep_fetching(&first, 2, 60) => {}
            () = keep_fetching(&second, 2, 60) => {}
        }
        assert_eq!(served_max, 1);
        // Two megabytes at two megabytes a second.
        assert!(begin.elapsed() > Duration::from_millis(900), "{:?}", begin.elapsed());
    });
}

#[test]
fn a_transfer_that_is_not_needed_any_more_ends() {
    test(async {
        let mut three = Three::new();
        three.send_slowly(1, MEGABYTE);
        three.setups[1].snapshots.add(70, 10 * MEGABYTE);
        let (lagging, sender) = (three.start(0), three.start(1));
        fetch(&lagging, 1, 60);
        until(|| sender.peers.sending().iter().any(|it| it.is_connected)).await;
        until(|| lagging.peers.receiving().is_some()).await;
        lagging.peers.note_committed(Slot(59));
        fetch(&lagging, 1, 59);
        assert!(lagging.peers.receiving().is_some() && !lagging.peers.take_not_fetched());
        lagging.peers.note_committed(Slot(60));
        not_fetched(&lagging).await;
        assert_eq!(lagging.peers.receiving(), None);
        until(|| !sender.peers.sending()[0].is_connected).await;
    });
}

#[test]
fn when_nobody_has_it_the_replica_is_told_once_and_may_want_it_anew() {
    test(async {
        let three = Three::new();
        three.setups[1].snapshots.add(50, MEGABYTE);
        let [lagging, _sender, _other] = [0, 1, 2].map(|replica| three.start(replica));
        fetch(&lagging, 1, 60);
        not_fetched(&lagging).await;
        fetch(&lagging, 1, 60);
        not_fetched(&lagging).await;
        three.setups[1].snapshots.add(70, MEGABYTE);
        fetch(&lagging, 1, 60);
        let snapshots = &three.setups[0].snapshots;
        until(|| !snapshots.finished().is_empty()).await;
        assert!(!lagging.peers.take_not_fetched(), "it has come");
    });
}

#[test]
fn what_has_come_is_not_fetched_anew_before_the_replica_is_given_it() {
    test(async {
        let three = Three::new();
        three.setups[1].snapshots.add(70, MEGABYTE);
        let (lagging, sender) = (three.start(0), three.start(1));
        fetch(&lagging, 1, 60);
        let snapshots = &three.setups[0].snapshots;
        until(|| !snapshots.finished().is_empty()).await;
        until(|| !sender.peers.sending()[0].is_connected).await;
        fetch(&lagging, 1, 60);
        sleep(Duration::from_millis(50)).await;
        assert_eq!((snapshots.finished().len(), lagging.peers.take_not_fetched()), (1, false));
        // The replica has no use for it.
        lagging.peers.note_snapshot_given();
        fetch(&lagging, 1, 60);
        until(|| snapshots.finished().len() == 2).await;
    });
}

#[test]
fn who_has_stopped_reads_and_writes_no_more() {
    test(async {
        let three = Three::new();
        three.setups[1].snapshots.add(70, 10 * MEGABYTE);
        let (lagging, sender) = (three.start(0), three.start(1));
        for replica in [0, 1] {
            three.setups[replica].snapshots.state().call_takes = Duration::from_millis(200);
        }
        fetch(&lagging, 1, 60);
        let works = |replica: usize| three.setups[replica].snapshots.state().at_work > 0;
        until(|| works(0) && works(1)).await;
        tokio::join!(sender.peers.stop(), lagging.peers.stop());
        assert!(!works(0) && !works(1));
        assert!(three.setups[0].snapshots.finished().is_empty());
    });
}

#[test]
fn a_full_disk_is_tried_again_and_loses_nothing_that_has_come() {
    test(async {
        let three = Three::new();
        three.setups[1].snapshots.add(70, MEGABYTE);
        let snapshots = three.setups[0].snapshots.clone();
        snapshots.state().room = Some(MEGABYTE / 2);
        let [lagging, _sender, _other] = [0, 1, 2].map(|replica| three.start(replica));
        fetch(&lagging, 1, 60);
        until(|| snapshots.state().room < Some(CHUNK_BYTES)).await;
        not_fetched(&lagging).await;
        assert_eq!((snapshots.received_bytes(), lagging.peers.receiving()), (MEGABYTE / 2, None));
        snapshots.state().room = None;
        fetch(&lagging, 1, 60);
        until(|| !snapshots.finished().is_empty()).await;
        assert_eq!(snapshots.state().begun, 1);
    });
}

/// The second of two replicas, which answers by hand.
struct ByHand {
    setup: Setup,
    listener: tokio::net::TcpListener,
    _port: Port,
    lagging: Node,
}

impl ByHand {
    /// The other one lacks everything up to slot 60.
    fn new(lagging: &Setup) -> Self {
        let (port, of_lagging) = (Port::new(), Port::new());
        let lagging = lagging.start(&of_lagging, addresses(&[&of_lagging, &port]));
        fetch(&lagging, 1, 60);
        let setup = Setup::new(identity(1, 2, 11));
        Self { setup, listener: port.listener(), _port: port, lagging }
    }

    /// Waits until it is asked for a snapshot. The other one wants it anew when none comes.
    async fn asked(&self) -> (Wire, Ask) {
        let welcome = HelloReply::Welcome(self.setup.introduction());
        loop {
            let (mut wire, hello): (Wire, Hello) = tokio::select! {
                answered = Wire::answer(&self.listener, &welcome) => answered,
                () = keep_fetching(&self.lagging, 1, 60) => continue,
            };
            if hello.purpose == Purpose::Snapshots {
                let ask = wire.frames.next().await.expect("a frame").expect("an ask");
                let ask = from_payload(ask).expect("an ask");
                return (wire, ask);
            }
        }
    }
}

fn of_two() -> Setup {
    Setup::new(identity(0, 2, 10)).formed()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::new();
    frame::append(&mut buffer, usize::MAX, |buffer, _| {
        buffer.extend_from_slice(bytes);
        Ok::<_, std::convert::Infallible>(())
    })
    .expect("it fits");
    buffer
}

#[test]
fn whatever_a_sender_says_does_no_harm() {
    test(async {
        let lagging = of_two();
        let by_hand = ByHand::new(&lagging);
        let bytes = content(70, 10_000);
        let id = id_of(70, &bytes);
        let sends = |id, offset| to_frame(&Answer::Sends { id, offset }).expect("short");
        let mut too_old = id;
        too_old.slot = Slot(59);
        let mut flipped = chunk(&bytes[..100]);
        flipped[50] ^= 1;
        let longer = id_of(71, &vec![7; 2 * CHUNK_BYTES]);
        let wrong: [Vec<Vec<u8>>; 11] = [
            vec![b"something else".to_vec()],
            vec![chunk(b"something else")],
            vec![chunk(&[0; 1000])],
            vec![to_frame(&Answer::Busy).expect("short")],
            vec![to_frame(&Answer::HasNone { newest: Some(Slot(8)) }).expect("short")],
            vec![sends(too_old, 0)],
            vec![sends(id, 5)],
            vec![sends(id, 0), chunk(&[])],
            vec![sends(id, 0), flipped],
            vec![sends(id, 0), chunk(&[7; 10_001])],
            vec![sends(longer, 0), chunk(&[7; CHUNK_BYTES + 1])],
        ];
        for said in wrong {
            let (mut wire, ask) = by_hand.asked().await;
            assert_eq!(ask, Ask { rest_of: None, or_newest_from: Some(Slot(60)) });
            for said in said {
                wire.send(&said).await;
            }
            wire.until_closed().await;
            lagging.snapshots.state().partial = None;
        }
        assert!(lagging.snapshots.finished().is_empty());
    });
}

#[test]
fn a_snapshot_that_fails_its_check_is_fetched_anew() {
    test(async {
        let lagging = of_two();
        let by_hand = ByHand::new(&lagging);
        let bytes = content(70, 100_000);
        let id = id_of(70, &bytes);
        let sends = to_frame(&Answer::Sends { id, offset: 0 }).expect("short");
        for first in [bytes[0] ^ 1, bytes[0]] {
            let (mut wire, ask) = by_hand.asked().await;
            assert_eq!(ask.rest_of, None);
            wire.send(&sends).await;
            wire.send(&chunk(&[first])).await;
            wire.send(&chunk(&bytes[1..CHUNK_BYTES])).await;
            wire.send(&chunk(&bytes[CHUNK_BYTES..])).await;
            wire.until_closed().await;
            if first != bytes[0] {
                not_fetched(&by_hand.lagging).await;
            }
        }
        until(|| lagging.snapshots.finished() == [(1, 70)]).await;
    });
}

#[test]
fn a_sender_that_falls_silent_is_given_up_and_asked_for_the_rest() {
    test(async {
        let lagging = of_two();
        let by_hand = ByHand::new(&lagging);
        let bytes = content(70, 100_000);
        let id = id_of(70, &bytes);
        let (mut wire, _) = by_hand.asked().await;
        wire.send(&to_frame(&Answer::Sends { id, offset: 0 }).expect("short")).await;
        wire.send(&chunk(&bytes[..1000])).await;
        let since = Instant::now();
        wire.until_closed().await;
        assert!(since.elapsed() > lagging.snapshots.limits.no_progress_max / 2);
        let rest_of = Some(PartialSnapshot { id, received_bytes: 1000 });
        let (_wire, ask) = by_hand.asked().await;
        assert_eq!(ask, Ask { rest_of, or_newest_from: None });
        let (_wire, ask) = by_hand.asked().await;
        assert_eq!(ask, Ask { rest_of, or_newest_from: Some(Slot(60)) });
    });
}

#[test]
fn whatever_a_receiver_says_does_no_harm() {
    test(async {
        let setup = of_two();
        let id = setup.snapshots.add(70, MEGABYTE);
        let (port, of_peer) = (Port::new(), Port::new());
        let node = setup.start(&port, addresses(&[&port, &of_peer]));
        let hello =
            Hello { purpose: Purpose::Snapshots, ..Setup::new(identity(1, 2, 11)).hello(0) };
        let rest = |id, received_bytes| Some(PartialSnapshot { id, received_bytes });
        let mut other = id;
        other.checksum += 1;
        for (ask, is_served) in [
            (Ask { rest_of: None, or_newest_from: Some(Slot(71)) }, false),
            (Ask { rest_of: None, or_newest_from: None }, false),
            (Ask { rest_of: rest(id, id.bytes + 1), or_newest_from: None }, false),
            (Ask { rest_of: rest(other, 1), or_newest_from: None }, false),
            (Ask { rest_of: rest(id, id.bytes), or_newest_from: None }, true),
            (Ask { rest_of: rest(other, u64::MAX), or_newest_from: Some(Slot(70)) }, true),
        ] {
            let mut wire = Wire::welcomed(&port, &hello).await;
            wire.send(&to_frame(&ask).expect("short")).await;
            let answer = wire.frames.next().await.expect("a frame").expect("an answer");
            let answer = from_payload(answer).expect("an answer");
            let is_sent = matches!(answer, Answer::Sends { .. });
            let has_none = answer == Answer::HasNone { newest: Some(Slot(70)) };
            assert!(if is_served { is_sent } else { has_none }, "{ask:?}: {answer:?}");
        }
        // Garbage, a long ask, and one who speaks on.
        for said in [b"nonsense, and much of it".to_vec(), chunk(&[1; 1000]), chunk(&[9; 100])] {
            let mut wire = Wire::welcomed(&port, &hello).await;
            wire.send(&said).await;
            wire.until_closed().await;
        }
        let mut wire = Wire::welcomed(&port, &hello).await;
        let ask = Ask { rest_of: None, or_newest_from: Some(Slot(1)) };
        wire.send(&to_frame(&ask).expect("short")).await;
        wire.send(&chunk(b"more")).await;
        while let Ok(Some(_)) = wire.frames.next().await {}
        until(|| node.peers.sending().iter().all(|it| !it.is_connected)).await;
    });
}

#[test]
fn a_receiver_that_calls_again_replaces_its_older_call() {
    test(async {
        let mut setup = of_two();
        setup.snapshots.limits.sent_bytes_per_second = 1 << 20;
        setup.snapshots.add(70, 10 * MEGABYTE);
        let (port, of_peer) = (Port::new(), Port::new());
        let _node = setup.start(&port, addresses(&[&port, &of_peer]));
        let hello =
            Hello { purpose: Purpose::Snapshots, ..Setup::new(identity(1, 2, 11)).hello(0) };
        let ask = Ask { rest_of: None, or_newest_from: Some(Slot(1)) };
        let ask = to_frame(&ask).expect("short");
        let mut older = Wire::welcomed(&port, &hello).await;
        older.send(&ask).await;
        older.frames.next().await.expect("a frame").expect("an answer");
        let mut newer = Wire::welcomed(&port, &hello).await;
        newer.send(&ask).await;
        newer.frames.next().await.expect("a frame").expect("an answer");
        while let Ok(Some(_)) = older.frames.next().await {}
        newer.frames.next().await.expect("a frame").expect("a chunk");
    });
}
