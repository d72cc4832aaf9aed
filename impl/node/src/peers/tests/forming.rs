//! A new cluster on real sockets, and replicas that were made anew.

use std::time::Duration;

use synod_model::{ReplicaId, To};
use tokio::time::{sleep, timeout};

use super::harness::{Node, Port, Setup, addresses, ask, identity, test, until};
use crate::peers::{PeerEvent, PeersError};

struct Cluster {
    ports: [Port; 3],
    setups: [Setup; 3],
}

impl Cluster {
    fn new() -> Self {
        Self {
            ports: [Port::new(), Port::new(), Port::new()],
            setups: [Setup::of_three(0), Setup::of_three(1), Setup::of_three(2)],
        }
    }

    fn start(&mut self, replica: usize) -> Node {
        self.setups[replica].run += 1;
        self.setups[replica].start(&self.ports[replica], addresses(&self.ports.each_ref()))
    }
}

#[test]
fn nothing_passes_until_the_last_member_has_come() {
    test(async {
        let mut cluster = Cluster::new();
        let mut zero = cluster.start(0);
        let mut one = cluster.start(1);
        zero.until_connected(&[1]).await;
        one.until_connected(&[0]).await;
        assert_eq!(zero.peers.missing(), [ReplicaId(2)]);
        zero.peers.send(To::Others, &ask(1));
        assert_eq!(zero.status_of(1).dropped_frames, 1);
        assert!(!*zero.peers.formed().borrow());
        assert!(!cluster.setups[0].store.is_formed());

        let mut two = cluster.start(2);
        for node in [&zero, &one, &two] {
            node.until_formed().await;
            assert!(node.peers.missing().is_empty());
        }
        assert!(cluster.setups.iter().all(|it| it.store.is_formed()));
        zero.until_connected(&[1, 2]).await;
        one.until_connected(&[2]).await;
        zero.peers.send(To::Others, &ask(2));
        assert_eq!(one.receive().await, (0, ask(2)));
        assert_eq!(two.receive().await, (0, ask(2)));
        one.ask(2, 3);
        assert_eq!(two.receive().await, (1, ask(3)));
        assert!(zero.has_no_message());
    });
}

/// A replica that is not formed yet drops the messages of others that are. These learn that messages
/// were lost, and when they pass.
#[test]
fn nothing_is_taken_in_before_this_replica_is_formed() {
    test(async {
        let mut cluster = Cluster::new();
        cluster.setups[0] = Setup::of_three(0).formed();
        let mut zero = cluster.start(0);
        let mut one = cluster.start(1);
        zero.until_connected(&[1]).await;
        zero.ask(1, 1);
        until(|| zero.status_of(1).queued_frames == 0).await;
        let two = cluster.start(2);
        one.until_formed().await;
        drop(two);
        let received = loop {
            tokio::select! {
                event = zero.event() => {
                    if event == PeerEvent::Reconnected(ReplicaId(1)) {
                        zero.ask(1, 2);
                    }
                }
                received = one.receive() => break received,
            }
        };
        assert_eq!(received, (0, ask(2)));
    });
}

#[test]
fn once_formed_a_majority_is_enough_to_start_again() {
    test(async {
        let mut cluster = Cluster::new();
        let nodes = [cluster.start(0), cluster.start(1), cluster.start(2)];
        for node in &nodes {
            node.until_formed().await;
        }
        for node in nodes {
            node.peers.stop().await;
        }
        let zero = cluster.start(0);
        assert!(*zero.peers.formed().borrow());
        let mut one = cluster.start(1);
        zero.until_connected(&[1]).await;
        zero.ask(1, 1);
        assert_eq!(one.receive().await, (0, ask(1)));
        assert!(!zero.status_of(2).is_connected);
    });
}

#[test]
fn a_replica_that_was_made_anew_is_refused_and_stops() {
    test(async {
        let mut cluster = Cluster::new();
        let (zero, mut one, two) = (cluster.start(0), cluster.start(1), cluster.start(2));
        for node in [&zero, &one, &two] {
            node.until_formed().await;
        }
        two.peers.stop().await;
        cluster.setups[2] = Setup::new(identity(2, 3, 66));
        cluster.setups[2].run = 100;
        let anew = cluster.start(2);
        let error = anew.peers.fatal().await;
        assert!(matches!(
            &error,
            PeersError::OtherDirectory { mine, known, .. } if (mine.0, known.0) == (66, 12)
        ));
        assert!(error.to_string().contains("so it must not take part: "), "{error}");
        zero.error_with(2, "has another data directory than the one this cluster knows").await;
        // It may have met the others, but no message passes.
        anew.peers.send(To::Others, &ask(1));
        assert!(!*anew.peers.formed().borrow() && !cluster.setups[2].store.is_formed());
        // The others go on.
        zero.until_connected(&[1]).await;
        zero.ask(1, 2);
        assert_eq!(one.receive().await, (0, ask(2)));
        let fatal = timeout(Duration::from_millis(20), zero.peers.fatal()).await;
        assert!(fatal.is_err());
    });
}

/// Only one member had met the first replica 2 when its disk was lost.
#[test]
fn a_replica_that_was_made_anew_while_the_cluster_formed_is_detected() {
    test(async {
        let mut cluster = Cluster::new();
        let (zero, two) = (cluster.start(0), cluster.start(2));
        zero.until_connected(&[2]).await;
        two.until_connected(&[0]).await;
        two.peers.stop().await;
        cluster.setups[2] = Setup::new(identity(2, 3, 66));
        let (one, anew) = (cluster.start(1), cluster.start(2));
        let error = anew.peers.fatal().await;
        assert!(matches!(error, PeersError::OtherDirectory { .. }), "{error}");
        zero.error_with(2, "has another data directory").await;
        zero.until_connected(&[1]).await;
        one.until_connected(&[0]).await;
        // These two may be formed: each has met a replica 2, and no replica 2 ever takes part.
        assert!(!*anew.peers.formed().borrow());
    });
}

#[test]
fn a_replica_that_cannot_store_stops() {
    test(async {
        let mut cluster = Cluster::new();
        cluster.setups[0].store.break_down();
        let (zero, one) = (cluster.start(0), cluster.start(1));
        let error = zero.peers.fatal().await;
        assert!(matches!(error, PeersError::Store(_)));
        assert!(error.to_string().ends_with("\n  the disk is full"), "{error}");
        // It was not welcomed, because it was not stored.
        sleep(Duration::from_millis(50)).await;
        assert_eq!(one.peers.missing(), [ReplicaId(0), ReplicaId(2)]);
    });
}
