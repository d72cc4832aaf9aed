//! A follower that gives up waiting, again and again, while the disk is slow.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use synod_model::{ClusterConstants, Configuration, ConfigurationId, Limits, ReplicaId, Slot};
use synod_wire::Incarnation;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Log;
use crate::backend::{Backend as _, Subscription as _};
use crate::disk::RealDisk;
use crate::node::{Config, NoApplication};
use crate::storage::{DataDirectory, LogLimits, NewReplica};

const SECOND: Duration = Duration::from_secs(1);

/// A cluster of one.
async fn alone(data_dir: &Path) -> Log {
    let me = ReplicaId(0);
    let first = Configuration::new(ConfigurationId(1), vec![me]).unwrap();
    let new = NewReplica {
        cluster_name: "alone".into(),
        cluster: ClusterConstants::new(65_536, first, Limits::default()).unwrap(),
        replica: me,
        incarnation: Incarnation(1),
        log: LogLimits::default(),
        peers: [(me, "127.0.0.1:1".into())].into(),
    };
    drop(DataDirectory::init(Arc::new(RealDisk::new(data_dir)), &new).unwrap());
    let listen_peer = Some("127.0.0.1:0".into());
    let config = Config { listen_peer, ..Config::new(data_dir) };
    Log::open(config, NoApplication).await.unwrap()
}

/// The only thread that may read is busy until what this returns is dropped.
fn busy() -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (until, wait) = mpsc::channel::<()>();
    let (begins, has_begun) = mpsc::channel();
    spawn_blocking(move || {
        let _ = begins.send(());
        let _ = wait.recv();
    });
    (until, has_begun)
}

#[test]
fn a_read_that_outlasts_its_wait_is_gone_on_with() {
    let data_dir = tempfile::tempdir().unwrap();
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    runtime.unwrap().block_on(async {
        let log = alone(&data_dir.path().join("r0")).await;
        log.submit("a").await.unwrap();
        let mut subscription = log.subscribe(Slot(1)).unwrap();

        // The wait for a read that takes long is given up: its read stands first in the queue.
        let (slow, _) = busy();
        let given_up = timeout(Duration::from_millis(20), subscription.next()).await;
        assert!(given_up.is_err());
        // Then the disk is busy for ever: a second read would never be made.
        let (slow_again, has_begun) = busy();
        drop(slow);
        has_begun.recv_timeout(SECOND).unwrap();

        let deliveries = timeout(SECOND, subscription.next()).await.expect("it is read").unwrap();
        assert_eq!(deliveries.first().map(|it| it.slot), Some(Slot(1)));
        drop((slow_again, subscription));
        log.stop().await.unwrap();
    });
}
