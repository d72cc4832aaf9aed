//! The outcomes that a client reports for changes of the members.

use std::sync::atomic::Ordering;
use std::time::Duration;

use synod_client::{ChangeFailed, Client, Configuration, NotDone};
use synod_model::{Entry, MemberSet, Registration, ReplicaId};
use synod_wire::api;

use super::fake::{Cluster, Manner, Running};
use super::{client, endpoints, in_time, options};

/// Long enough for a change that is made, and short enough to wait for one that is not.
const SOON: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(20);

/// The cluster's configuration, and a learner besides.
fn with_learner(cluster: &Cluster, id: u16) -> Configuration {
    let before = cluster.configuration();
    let voters: Vec<_> = before.voters().collect();
    let next = before.changed(&voters, &[ReplicaId(id)]).unwrap();
    next.with_all_registered(Registration::first_of).unwrap()
}

fn ends(cluster: &Cluster) -> usize {
    cluster.count(|entry| matches!(entry, Entry::End { .. }))
}

#[tokio::test]
async fn a_change_is_made_and_seen() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let client = client(&[&replica]);
        let before = client.members().await.unwrap();
        assert_eq!(before.configuration, cluster.configuration());

        let next = with_learner(&cluster, 2);
        let slot = client.change_within(next.clone(), LONG).await.unwrap();
        let members = client.members().await.unwrap();
        assert_eq!((members.configuration, members.changed_at), (next, slot));
    })
    .await;
}

#[tokio::test]
async fn a_change_is_asked_for_again_until_those_who_would_vote_are_ready() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        replica.node.not_ready.store(3, Ordering::SeqCst);
        let client = client(&[&replica]);
        let next = with_learner(&cluster, 2);
        assert!(client.change_within(next.clone(), LONG).await.is_ok());
        assert_eq!(replica.node.changes.load(Ordering::SeqCst), 4);
        assert_eq!(cluster.configuration(), next);
    })
    .await;
}

#[tokio::test]
async fn a_change_for_which_nobody_becomes_ready_is_taken_back() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        replica.node.not_ready.store(usize::MAX, Ordering::SeqCst);
        let client = client(&[&replica]);
        let failed = client.change_within(with_learner(&cluster, 2), SOON).await;
        assert_eq!(failed, Err(ChangeFailed::NotReady { ready: MemberSet::default() }));
        assert_eq!(ends(&cluster), 1, "no copy of it can be delivered any more");
        let asked = replica.node.changes.load(Ordering::SeqCst);
        assert!((2..=5).contains(&asked), "the pauses grow: asked {asked} times");

        // The client goes on in another session.
        replica.node.not_ready.store(0, Ordering::SeqCst);
        assert!(client.change_within(with_learner(&cluster, 2), LONG).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_change_without_an_answer_is_looked_for() {
    in_time(async {
        let cluster = Cluster::new();
        let (first, second) =
            (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
        let client = client(&[&first, &second]);
        client.submit("a session").await.unwrap();

        // It is made, and nobody says so until the deadline. Then one replica works again.
        first.node.behave(Manner::CommitAndSilent);
        second.node.behave(Manner::Silent);
        let next = with_learner(&cluster, 2);
        let change = client.change_within(next.clone(), SOON);
        let recovers = async {
            tokio::time::sleep(SOON * 2).await;
            second.node.behave(Manner::Serve(Duration::ZERO));
        };
        let (changed, ()) = tokio::join!(change, recovers);
        assert!(changed.is_ok(), "{changed:?}");
        assert_eq!(cluster.configuration(), next);
        assert!(ends(&cluster) >= 1, "the silent replica may have ended it, too");
    })
    .await;
}

#[tokio::test]
async fn a_change_that_nobody_has_made_is_taken_back_or_unknown() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let options = synod_client::ClientOptions { deadline: LONG, ..options() };
        let client = Client::new(endpoints(&[&replica]), options.clone()).unwrap();
        client.submit("a session").await.unwrap();
        replica.node.behave(Manner::Silent);
        let change = client.change_within(with_learner(&cluster, 2), SOON);
        let recovers = async {
            tokio::time::sleep(SOON * 2).await;
            replica.node.behave(Manner::Serve(Duration::ZERO));
        };
        let (failed, ()) = tokio::join!(change, recovers);
        assert!(matches!(failed, Err(ChangeFailed::TakenBack(_))), "{failed:?}");

        // Nobody can be asked any more.
        let options = synod_client::ClientOptions { deadline: SOON, ..options };
        let client = Client::new(endpoints(&[&replica]), options).unwrap();
        client.submit("a session").await.unwrap();
        replica.node.behave(Manner::Silent);
        let failed = client.change_within(with_learner(&cluster, 2), SOON).await;
        assert!(matches!(failed, Err(ChangeFailed::Unknown(_))), "{failed:?}");
    })
    .await;
}

#[tokio::test]
async fn a_change_that_comes_second_is_not_made() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let client = client(&[&replica]);
        let (one, other) = (with_learner(&cluster, 2), with_learner(&cluster, 3));
        client.change_within(one.clone(), LONG).await.unwrap();
        let failed = client.change_within(other, LONG).await;
        assert_eq!(failed, Err(ChangeFailed::OtherFirst));
        assert_eq!(cluster.configuration(), one);
    })
    .await;
}

#[tokio::test]
async fn a_replica_outside_the_cluster_is_left_for_a_member() {
    in_time(async {
        let cluster = Cluster::new();
        let (first, second) =
            (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
        first.node.is_outside.store(true, Ordering::SeqCst);
        let client = client(&[&first, &second]);
        assert!(client.members().await.is_ok());
        client.change_within(with_learner(&cluster, 2), LONG).await.unwrap();
        assert!(client.submit("a").await.is_ok());
        assert!(client.read().await.is_ok());

        let alone = Client::new(endpoints(&[&first]), options()).unwrap();
        let failed = alone.change_within(with_learner(&cluster, 3), SOON).await;
        assert!(matches!(failed, Err(ChangeFailed::NotDone(NotDone::NotReached { .. }))));
        first.node.is_outside.store(false, Ordering::SeqCst);
        first.node.behave(Manner::Refuse(api::NotDone::TooLarge));
        let failed = alone.change_within(with_learner(&cluster, 3), SOON).await;
        assert!(matches!(failed, Err(ChangeFailed::NotDone(_))), "{failed:?}");
    })
    .await;
}
