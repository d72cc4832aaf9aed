//! A node, and a peer that says what a test wants.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use synod_model::{
    ConfigurationId, Incarnation, KnownMembers, Message, Order, ReplicaId, SequenceNumber, To,
};
use synod_wire::Value;
use tempfile::TempDir;

use crate::disk::RealDisk;
use crate::forming::kit::{identity, new_replica};
use crate::node::{Config, Node};
use crate::peers::tests::harness::{self, Port, Setup, addresses};
use crate::shell::detector::Timing;
use crate::state_machine::BareLog;
use crate::storage::{DataDirectory, LogLimits, NewReplica};

/// The node is replica 0 of two. The other one has no more than a transport, and says what the test wants.
pub(super) struct Two {
    pub(super) node: Node,
    pub(super) other: harness::Node,
    pub(super) setup: Setup,
    folder: TempDir,
}

pub(super) const OTHER: ReplicaId = ReplicaId(1);

impl Two {
    pub(super) async fn new(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = data_dir_in(&folder);
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
        Self { node, other, setup, folder }
    }

    /// What the node is opened with again.
    pub(super) fn config(&self) -> Config {
        let listen_peer = Some("127.0.0.1:0".to_owned());
        Config { listen_peer, ..Config::new(data_dir_in(&self.folder)) }
    }

    pub(super) fn send(&self, message: &Message<Value>) {
        self.other.peers.send(To::One(ReplicaId(0)), message);
    }

    pub(super) fn order(&self, order: Order<Value>) {
        let (configuration, s) = (ConfigurationId(1), SequenceNumber(u64::from(OTHER.0)));
        self.send(&Message::Order { configuration, s, order });
    }
}

fn data_dir_in(folder: &TempDir) -> PathBuf {
    folder.path().join("r0")
}
