//! The outcomes that a client reports for its submissions when replicas fail.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use synod_client::{
    Client, ClientOptions, Consistency, NotDone, ReadFailed, SubmitFailed, Unknown,
};
use synod_model::{Entry, Limits, Slot};
use synod_wire::Value;
use synod_wire::api;
use tokio::net::TcpListener;

use super::fake::{Cluster, Manner, Running, VALUE_BYTES_MAX, applied};
use super::{client, endpoints, in_time, options};

#[tokio::test]
async fn a_value_is_delivered_and_the_session_ends_with_the_client() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let client = client(&[&replica]);
        assert_eq!(client.submit("a").await, Ok(applied(Slot(2))));
        assert_eq!(client.submit("b").await, Ok(applied(Slot(3))));
        assert_eq!(client.read().await, Ok(Slot(3)));
        client.close().await;
        assert_eq!(cluster.count(|entry| matches!(entry, Entry::End { .. })), 1);
    })
    .await;
}

#[tokio::test]
async fn thousands_are_in_flight_over_one_connection_and_each_is_delivered_once() {
    in_time(async {
        let limits = Limits { session_requests_max: 64, ..Limits::default() };
        let cluster = Cluster::with(1, limits);
        let replica = Running::start(&cluster, 0).await;
        // Slow enough that the window of the session is full all the time.
        replica.node.behave(Manner::Serve(Duration::from_millis(1)));
        let client = client(&[&replica]);
        let submit = |number: u32| client.submit(number.to_be_bytes().to_vec());
        let slots = join_all((0..3000).map(submit)).await;
        let slots: BTreeSet<_> = slots.into_iter().map(|it| it.unwrap().slot).collect();
        assert_eq!(slots.len(), 3000);
        assert_eq!(cluster.values().len(), 3000);
        assert_eq!(replica.node.requests.load(Ordering::SeqCst), 3000, "nothing was sent twice");
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_dies_amid_requests_is_left_for_the_next_and_nothing_is_delivered_twice() {
    in_time(async {
        let cluster = Cluster::new();
        let (first, second) =
            (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
        let client = client(&[&first, &second]);
        assert_eq!(client.submit("before").await, Ok(applied(Slot(2))));
        first.node.behave(Manner::CommitAndSilent);
        let values: Vec<_> =
            (0..100).map(|number| Value::from(format!("value {number}"))).collect();
        let all = async { join_all(values.iter().map(|value| client.submit(value.clone()))).await };
        let dies = async {
            first.node.has_requests(101).await;
            first.die().await;
        };
        let (slots, ()) = tokio::join!(all, dies);
        let seen = cluster.values();
        assert_eq!(seen.len(), 101);
        for (value, slot) in values.into_iter().zip(slots) {
            assert!(seen.contains(&(slot.unwrap().slot, value)));
        }
        let copies = cluster.count(|entry| matches!(entry, Entry::Request(_)));
        assert_eq!(copies, 201, "the log holds them twice, and they are delivered once");
    })
    .await;
}

#[tokio::test]
async fn a_silent_replica_is_left_for_the_next() {
    in_time(async {
        let cluster = Cluster::new();
        let (first, second) =
            (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
        first.node.behave(Manner::Silent);
        let client = client(&[&first, &second]);
        assert!(client.submit("a").await.is_ok());
        assert!(client.read().await.is_ok());
        assert_eq!(cluster.values().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_stops_is_left_for_the_next() {
    in_time(async {
        let cluster = Cluster::new();
        let (first, second) =
            (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
        let client = client(&[&first, &second]);
        client.submit("before").await.unwrap();
        first.node.behave(Manner::CommitAndStop);
        assert_eq!(client.submit("a").await, Ok(applied(Slot(3))), "the slot of the first copy");
        assert_eq!(cluster.values().len(), 2);
        first.stop().await;
        second.node.behave(Manner::Refuse(api::NotDone::Stopping));
        let refused = Client::new(endpoints(&[&second]), fast()).unwrap().submit("b").await;
        let expected = "no session could be opened: not done: the replica is stopping";
        match refused {
            Err(SubmitFailed::NotDone(NotDone::NotReached { trouble, .. })) => {
                assert!(trouble.contains(expected) || trouble.contains("stopping"), "{trouble}");
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_stops_is_heard_out_about_what_it_has_taken() {
    in_time(async {
        let cluster = Cluster::new();
        let (first, second) =
            (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
        // One that can go nowhere else, and one that can.
        for others in [vec![], vec![&second]] {
            let replicas: Vec<_> = [&first].into_iter().chain(others.iter().copied()).collect();
            first.node.behave(Manner::Serve(Duration::ZERO));
            let client = Client::new(endpoints(&replicas), fast()).unwrap();
            client.submit("before").await.unwrap();
            let before = first.node.requests.load(Ordering::SeqCst);

            first.node.behave(Manner::Serve(Duration::from_millis(100)));
            let taken = client.start("taken").await;
            first.node.has_requests(before + 1).await;
            first.node.behave(Manner::Refuse(api::NotDone::Stopping));
            let refused = client.submit("refused");
            let (taken, refused) = tokio::join!(taken, refused);
            assert!(taken.is_ok(), "{taken:?}");
            if others.is_empty() {
                let stopping = NotDone::Refused(api::NotDone::Stopping);
                assert_eq!(refused, Err(SubmitFailed::NotDone(stopping)));
            } else {
                assert!(refused.is_ok(), "{refused:?}");
            }
        }
        let copies = cluster.count(|entry| matches!(entry, Entry::Request(_)));
        assert_eq!(copies, cluster.values().len(), "nothing was sent twice");
    })
    .await;
}

#[tokio::test]
async fn not_done_is_said_where_nobody_is_there() {
    in_time(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = listener.local_addr().unwrap().to_string().parse().unwrap();
        drop(listener);
        let client = Client::new(vec![nobody], fast()).unwrap();
        let failed = client.submit("a").await.unwrap_err();
        assert!(matches!(failed, SubmitFailed::NotDone(NotDone::NotReached { .. })), "{failed}");
        assert!(failed.to_string().contains("refused"), "{failed}");
        assert!(matches!(client.read().await, Err(ReadFailed::NoAnswer { .. })));
    })
    .await;
}

#[tokio::test]
async fn not_done_is_said_where_all_refuse_at_once_and_unknown_where_one_may_have_taken_it() {
    in_time(async {
        let cluster = Cluster::new();
        let (first, second) =
            (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
        let client = Client::new(endpoints(&[&first, &second]), fast()).unwrap();
        client.submit("before").await.unwrap();

        first.node.behave(Manner::Refuse(api::NotDone::TooMany));
        second.node.behave(Manner::Refuse(api::NotDone::TooMany));
        let refused = SubmitFailed::NotDone(NotDone::Refused(api::NotDone::TooMany));
        assert_eq!(client.submit("refused").await, Err(refused));

        // The first takes it and says nothing; the second refuses it.
        first.node.behave(Manner::Silent);
        let failed = client.submit("taken").await.unwrap_err();
        assert!(matches!(failed, SubmitFailed::Unknown(Unknown::NoAnswer { .. })), "{failed}");
        assert_eq!(cluster.values().len(), 1);

        // A value that was given up does not hold back those after it.
        first.node.behave(Manner::Serve(Duration::ZERO));
        second.node.behave(Manner::Serve(Duration::ZERO));
        client.submit("after").await.unwrap();
        assert_eq!(cluster.values().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_that_passes_is_waited_out() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        replica.node.behave(Manner::Refuse(api::NotDone::Forming));
        let client = client(&[&replica]);
        let later = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            replica.node.behave(Manner::Serve(Duration::ZERO));
        };
        let (slot, ()) = tokio::join!(client.submit("a"), later);
        assert_eq!(slot, Ok(applied(Slot(2))));
    })
    .await;
}

#[tokio::test]
async fn an_evicted_session_leaves_the_outcome_unknown_and_the_next_value_gets_a_new_one() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let client = client(&[&replica]);
        client.submit("before").await.unwrap();
        cluster.evict_sessions();
        let failed = client.submit("a").await.unwrap_err();
        let refused =
            matches!(failed, SubmitFailed::Unknown(Unknown::Told(api::Unknown::Refused(_))));
        assert!(refused, "{failed}");
        client.submit("b").await.unwrap();
        assert_eq!(cluster.count(|entry| matches!(entry, Entry::Open(_))), 2);
        assert_eq!(cluster.values().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_value_of_the_largest_size_goes_through_and_a_larger_one_is_not_done() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let client = client(&[&replica]);
        let largest = usize::try_from(VALUE_BYTES_MAX).unwrap();
        assert!(client.submit(vec![0xff; largest]).await.is_ok());
        let failed = client.submit(vec![0xff; largest + 1]).await.unwrap_err();
        assert!(matches!(failed, SubmitFailed::NotDone(NotDone::TooLarge { .. })), "{failed}");
        assert!(client.submit("").await.is_ok());
        assert_eq!(cluster.values().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_replica_of_another_cluster_is_not_asked() {
    in_time(async {
        let (ours, theirs) = (Cluster::new(), Cluster::with(2, Limits::default()));
        let first = Running::start(&ours, 0).await;
        let other = Running::start(&theirs, 0).await;
        let client = Client::new(endpoints(&[&first, &other]), fast()).unwrap();
        client.submit("a").await.unwrap();
        first.die().await;
        // Not done, or unknown if it was sent before the end of the first was noticed.
        let failed = client.submit("b").await.unwrap_err();
        assert!(
            failed.to_string().contains("another cluster")
                || failed.to_string().contains("refused"),
            "{failed}"
        );
        assert_eq!(theirs.deliveries().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_closed_client_leaves_nobody_waiting() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        replica.node.behave(Manner::Silent);
        let client = Client::new(endpoints(&[&replica]), fast()).unwrap();
        let waiting = client.start("a").await;
        client.close().await;
        assert!(waiting.await.is_err());
    })
    .await;
}

/// Gives up soon.
fn fast() -> ClientOptions {
    ClientOptions { deadline: Duration::from_millis(700), ..options() }
}

/// The replica that took it is the reason, and not the one that was tried after it.
#[tokio::test]
async fn a_submission_without_an_answer_names_the_trouble_of_every_endpoint() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let other = Running::start(&cluster, 1).await;
        let dead = other.die().await;
        let (deadline, both) =
            (Duration::from_secs(1), vec![replica.endpoint.clone(), dead.clone()]);
        let client = Client::new(both, ClientOptions { deadline, ..options() }).unwrap();
        client.submit("first").await.unwrap();
        replica.node.behave(Manner::Silent);
        let failed = client.submit("second").await.unwrap_err().to_string();
        assert!(
            failed.contains(&format!("{}: the replica gave no answer", replica.endpoint)),
            "{failed}"
        );
        assert!(failed.contains(&format!("{dead}: no connection")), "{failed}");
    })
    .await;
}

#[tokio::test]
async fn each_ask_may_have_a_deadline_of_its_own() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let client = client(&[&replica]);
        client.submit("first").await.unwrap();
        replica.node.behave(Manner::Silent);
        let (soon, began) = (Duration::from_millis(300), std::time::Instant::now());
        let submitted = client.submit_within("second", soon);
        let queried = client.query_within("1", Consistency::Linearizable, soon);
        let (submitted, queried, read) = tokio::join!(submitted, queried, client.read_within(soon));
        assert!(matches!(submitted, Err(SubmitFailed::Unknown(_))), "{submitted:?}");
        assert!(queried.is_err() && read.is_err());
        assert!(began.elapsed() < options().deadline);
    })
    .await;
}

#[tokio::test]
async fn what_is_given_up_is_told_what_is_known_of_it() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        let client = client(&[&replica]);
        client.submit("first").await.unwrap();
        replica.node.behave(Manner::CommitAndSilent);
        let taken = client.start("taken").await;
        replica.node.has_requests(2).await;
        replica.node.behave(Manner::Refuse(api::NotDone::TooMany));
        let refused = client.start("refused").await;
        replica.node.has_requests(3).await;
        // The refusal is on its way. If it had not come, nobody could say that the value was not taken.
        tokio::time::sleep(Duration::from_millis(25)).await;
        client.give_up().await;
        assert!(matches!(taken.await, Err(SubmitFailed::Unknown(_))));
        assert!(matches!(refused.await, Err(SubmitFailed::NotDone(_))));
    })
    .await;
}
