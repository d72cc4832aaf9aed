//! A replica that waits for a snapshot asks for nothing else. If none comes, it asks anew at once.

use std::sync::Arc;
use std::time::Duration;

use synod_model::{
    ConfigurationId, Entry, Incarnation, KnownMembers, Message, Order, Prefix, PrefixHash,
    ReplicaId, SequenceNumber, Slot, To,
};
use synod_wire::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use super::IN_TIME;
use crate::disk::RealDisk;
use crate::forming::kit::{identity, new_replica};
use crate::node::{Config, Node};
use crate::peers::tests::harness::{self, Port, Setup, addresses, until};
use crate::shell::detector::Timing;
use crate::state_machine::BareLog;
use crate::storage::{DataDirectory, LogLimits, NewReplica};

/// The node is replica 0 of two. The other one has no more than a transport, and says what the test wants.
struct Two {
    node: Node,
    other: harness::Node,
    setup: Setup,
    _folder: TempDir,
}

const OTHER: ReplicaId = ReplicaId(1);

impl Two {
    async fn new(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("r0");
        let of_other = Port::new();
        let address = |port: &str| format!("127.0.0.1:{port}");
        let new = NewReplica {
            peers: [(ReplicaId(0), address("1")), (OTHER, of_other.address().to_string())].into(),
            ..new_replica(identity(0, 2, 10), LogLimits::default())
        };
        let mut directory = DataDirectory::init(Arc::new(RealDisk::new(&data_dir)), &new).unwrap();
        let incarnations = [(OTHER, Incarnation(11))].into();
        directory.store_known_members(KnownMembers { incarnations, is_formed: true }).unwrap();
        drop(directory);
        // Nothing but what the test is about leads to an ask.
        let long = Duration::from_hours(1);
        let timing = Timing {
            suspect_after: long,
            suspect_after_max: long,
            resend_after: long,
            resend_after_max: long,
            ..Timing::default()
        };
        let listen_peer = Some(address("0"));
        let config = Config { listen_peer, timing, ..Config::new(&data_dir) };
        let prepared = Node::prepare(config).await.unwrap();
        let mut members = addresses(&[&of_other, &of_other]);
        members.insert(ReplicaId(0), prepared.listener.local_addr().unwrap().to_string());
        let other = setup.start(&of_other, members);
        let node = prepared.open(BareLog).await.unwrap();
        other.until_connected(&[0]).await;
        Self { node, other, setup, _folder: folder }
    }

    fn send(&self, message: &Message<Value>) {
        self.other.peers.send(To::One(ReplicaId(0)), message);
    }

    fn order(&self, order: Order<Value>) {
        let (configuration, s) = (ConfigurationId(1), SequenceNumber(u64::from(OTHER.0)));
        self.send(&Message::Order { configuration, s, order });
    }

    /// The coordinator tells that so much is committed, and opens the slot behind it, until it is asked for what
    /// is lacking before.
    async fn asked(&mut self, through: u64) -> (Slot, Slot) {
        let asked = async {
            loop {
                let (first, prefix) = (Slot(through + 1), prefix(through));
                self.order(Order::Accept { first, entries: vec![Entry::NoOp], prefix });
                let next = timeout(Duration::from_millis(20), self.other.receive()).await;
                if let Ok((_, Message::Ask { from, through, .. })) = next {
                    return (from, through);
                }
            }
        };
        timeout(IN_TIME, asked).await.expect("it asks anew")
    }
}

/// What is committed, if it is nothing but no-ops.
fn prefix(through: u64) -> Prefix {
    let none = PrefixHash::default();
    let hash = (0..through).fold(none, |hash, _| hash.after(&Entry::<Value>::NoOp));
    Prefix { through: Slot(through), hash, ..Prefix::default() }
}

#[tokio::test]
async fn if_nobody_has_it() {
    let mut two = Two::new(Setup::new(identity(1, 2, 11)).formed()).await;
    two.send(&Message::Offer { slot: Slot(60) });
    assert_eq!(two.asked(70).await, (Slot(1), Slot(70)));
    two.node.stop().await.unwrap();
}

#[tokio::test]
async fn if_commits_overtake_it() {
    let mut setup = Setup::new(identity(1, 2, 11)).formed();
    setup.snapshots.limits.sent_bytes_per_second = 1000;
    setup.snapshots.add(3, 1 << 20);
    let mut two = Two::new(setup).await;
    two.send(&Message::Offer { slot: Slot(3) });
    until(|| two.node.status().snapshots.receiving.is_some()).await;
    let entries = vec![Entry::NoOp; 3];
    two.order(Order::Accept { first: Slot(1), entries, prefix: prefix(0) });
    two.order(Order::Commit { prefix: prefix(3) });
    until(|| two.node.status().committed == Slot(3)).await;
    assert_eq!(two.asked(7).await, (Slot(4), Slot(7)));
    assert_eq!(two.node.status().snapshots.receiving, None);
    assert_eq!(two.setup.snapshots.state().stored.len(), 1);
    two.node.stop().await.unwrap();
}
