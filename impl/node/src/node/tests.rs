//! Followers of the log: those that keep up, those that are behind, and one that gives up waiting while
//! the disk is slow. What else is tested of a node has a module of its own.

mod members;
mod not_fetched;
mod other_directory;
mod two;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use synod_model::{
    ClusterConstants, Configuration, ConfigurationId, Incarnation, Limits, ReplicaId, Slot,
};
use synod_wire::api::{
    Consistency, NotDone, QueryError, ReadError, SubmitError, SubscribeError, Unknown,
};
use tokio::time::timeout;

use super::{FOLLOWER_READS_MAX, Node, NodeSubscription};
use crate::backend::Subscription as _;
use crate::disk::RealDisk;
use crate::node::Config;
use crate::peers::tests::harness::until;
use crate::state_machine::BareLog;
use crate::storage::{DataDirectory, LogLimits, NewReplica};

/// Far longer than anything here takes, also on a busy machine.
const IN_TIME: Duration = Duration::from_secs(10);

/// A cluster of one.
async fn alone(data_dir: &Path) -> Node {
    one_of(data_dir, 1).await
}

/// The first of so many members. The others do not run.
async fn one_of(data_dir: &Path, members: u16) -> Node {
    let me = ReplicaId(0);
    let all: Vec<_> = (0..members).map(ReplicaId).collect();
    let peers = all.iter().map(|id| (*id, format!("127.0.0.1:{}", id.0 + 1))).collect();
    let first = Configuration::new(ConfigurationId(1), all).unwrap();
    let new = NewReplica {
        cluster_name: "alone".into(),
        constants: ClusterConstants::new(65_536, first, Limits::default()).unwrap(),
        replica: me,
        incarnation: Incarnation(1),
        log: LogLimits::default(),
        peers,
    };
    drop(DataDirectory::init(Arc::new(RealDisk::new(data_dir)), &new).unwrap());
    let listen_peer = Some("127.0.0.1:0".into());
    let config = Config { listen_peer, ..Config::new(data_dir) };
    Node::open(config, BareLog).await.unwrap()
}

/// Takes what the log has, up to this slot.
async fn follow(subscription: &mut NodeSubscription, through: Slot) -> Vec<Slot> {
    let mut slots = Vec::new();
    while slots.last().is_none_or(|last| *last < through) {
        let deliveries = timeout(IN_TIME, subscription.next()).await.expect("in time").unwrap();
        slots.extend(deliveries.iter().map(|it| it.slot));
    }
    slots
}

fn all(first: u64, last: Slot) -> Vec<Slot> {
    (first..=last.0).map(Slot).collect()
}

#[tokio::test]
async fn a_thousand_followers_that_keep_up_cost_no_read_of_the_disk() {
    let data_dir = tempfile::tempdir().unwrap();
    let node = alone(&data_dir.path().join("r0")).await;
    let head = node.submit("before").await.unwrap().slot;
    let followers: Vec<_> = (0..1000).map(|_| node.subscribe(head.next())).collect();
    let mut last = head;
    for _ in 0..20 {
        last = node.submit("a").await.unwrap().slot;
    }
    let following = followers.into_iter().map(|mut follower| async move {
        assert_eq!(follow(&mut follower, last).await, all(head.0 + 1, last));
    });
    futures_util::future::join_all(following).await;
    assert_eq!(node.inner.parts.shared.counters.follower_reads(), 0);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_follower_that_has_fallen_behind_reads_the_disk_until_it_has_caught_up() {
    let data_dir = tempfile::tempdir().unwrap();
    let node = alone(&data_dir.path().join("r0")).await;
    let reads = || node.inner.parts.shared.counters.follower_reads();
    let mut slow = node.subscribe(Slot(1));
    let mut last = Slot::ZERO;
    // More than is kept in memory.
    for _ in 0..20 {
        last = node.submit(vec![7; 1 << 20]).await.unwrap().slot;
    }
    assert_eq!(follow(&mut slow, last).await, all(1, last));
    let made = reads();
    assert!((1..last.0).contains(&made), "the last of it came from memory: {made} reads");
    for _ in 0..20 {
        let next = node.submit("a").await.unwrap().slot;
        assert_eq!(follow(&mut slow, next).await, all(last.0 + 1, next));
        last = next;
    }
    assert_eq!(reads(), made, "it keeps up now");
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_follower_whose_slot_was_cut_is_told_where_the_log_begins() {
    let data_dir = tempfile::tempdir().unwrap();
    let node = alone(&data_dir.path().join("r0")).await;
    let last = node.submit("a").await.unwrap().slot;
    let mut early = node.subscribe(Slot(1));
    assert_eq!(node.take_snapshot().await.unwrap().slot, last);
    let log_starts_at = last.next();
    until(|| node.status().snapshots.log_starts_at == log_starts_at).await;
    for follower in [&mut early, &mut node.subscribe(last)] {
        let gone = timeout(IN_TIME, follower.next()).await.expect("in time");
        assert_eq!(gone, Err(SubscribeError::Gone { log_starts_at }));
    }
    let next = node.submit("b").await.unwrap().slot;
    assert_eq!(follow(&mut node.subscribe(log_starts_at), next).await, [next]);
    node.stop().await.unwrap();
}

/// More than may read at once, and all of them at the beginning.
#[tokio::test]
async fn followers_that_are_behind_wait_for_their_turn_and_are_not_refused() {
    let data_dir = tempfile::tempdir().unwrap();
    let node = alone(&data_dir.path().join("r0")).await;
    let mut last = Slot::ZERO;
    for _ in 0..20 {
        last = node.submit("a").await.unwrap().slot;
    }
    let followers = (0..200).map(|_| node.subscribe(Slot(1)));
    let following = followers.map(|mut follower| async move {
        assert_eq!(follow(&mut follower, last).await, all(1, last));
    });
    futures_util::future::join_all(following).await;
    assert_eq!(node.inner.disk_reads.available_permits(), FOLLOWER_READS_MAX);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_read_that_outlasts_its_wait_is_gone_on_with() {
    let data_dir = tempfile::tempdir().unwrap();
    let node = alone(&data_dir.path().join("r0")).await;
    node.submit("a").await.unwrap();
    let mut subscription = node.subscribe(Slot(1));
    let turns = || {
        let all = u32::try_from(FOLLOWER_READS_MAX).unwrap();
        Arc::clone(&node.inner.disk_reads).acquire_many_owned(all)
    };

    // The wait for a read that takes long is given up: its read stands first in the queue.
    let slow = turns().await.unwrap();
    let given_up = timeout(Duration::from_millis(20), subscription.next()).await;
    assert!(given_up.is_err());
    // Behind it the disk is busy for ever: a second read would never be made.
    let slow_again = tokio::spawn(turns());
    tokio::task::yield_now().await;
    drop(slow);
    let slow_again = timeout(IN_TIME, slow_again).await.expect("the read is made").unwrap();

    let deliveries = timeout(IN_TIME, subscription.next()).await.expect("it is read").unwrap();
    assert_eq!(deliveries.first().map(|it| it.slot), Some(Slot(1)));
    drop((slow_again, subscription));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn what_needs_a_majority_ends_at_its_deadline_without_one() {
    let data_dir = tempfile::tempdir().unwrap();
    let node = one_of(&data_dir.path().join("r0"), 3).await;
    let soon = Duration::from_millis(100);
    // It has not met the others. It refuses at once.
    let refused = node.submit_within("a", soon).await;
    assert_eq!(refused, Err(SubmitError::NotDone(NotDone::Forming)));
    node.stop().await.unwrap();

    let node = alone(&data_dir.path().join("r1")).await;
    node.submit("a").await.unwrap();
    assert_eq!(node.submit_within("b", IN_TIME).await.unwrap().slot, Slot(3));
    let stopping = node.inner.parts.calls.clone();
    // No call is taken any more: the queue is full.
    let _full = stopping.reserve_many(stopping.max_capacity()).await.unwrap();
    assert_eq!(node.submit_within("c", soon).await, Err(SubmitError::Unknown(Unknown::Deadline)));
    assert_eq!(node.read_within(soon).await, Err(ReadError::Deadline));
    let query = node.query_within("", Consistency::Linearizable, soon).await;
    assert_eq!(query, Err(QueryError::Deadline));
}
