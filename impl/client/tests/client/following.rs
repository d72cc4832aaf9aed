//! Followers: what they receive, and that a slow one costs a node neither time nor memory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use synod_client::{ClientOptions, Connection, FollowFailed, Following};
use synod_model::{Entry, Opening, Request, SessionId, Slot};
use synod_wire::Value;
use synod_wire::api::{Delivery, NotDone};
use synod_wire::protocol::{Answer, Ask, Follow};

use super::fake::{Cluster, Manner, Running};
use super::{endpoints, in_time, options};

const EVERYTHING: Follow = Follow { from: Slot(1), until_caught_up: true, everything: true };

/// A log of `count` values, each sent twice, with a no-op now and then.
fn fill(cluster: &Cluster, count: u64, value_bytes: usize) {
    cluster.deliver(Entry::Open(Opening {
        origin: synod_model::ReplicaId(0),
        run: synod_model::Run(1),
        count: 1,
    }));
    for number in 1..=count {
        let byte = u8::try_from(number % 251).unwrap();
        let value = Value::from(vec![byte; value_bytes]);
        let session = SessionId(1);
        let request = Entry::Request(Request { session, number, answered: number, value });
        cluster.deliver(request.clone());
        cluster.deliver(request);
        if number % 10 == 0 {
            cluster.deliver(Entry::NoOp);
        }
    }
}

async fn gather(following: &mut Following) -> Result<Vec<Delivery>, FollowFailed> {
    let mut all = Vec::new();
    while let Some(some) = following.next().await? {
        all.extend(some);
    }
    Ok(all)
}

#[tokio::test]
async fn a_follower_is_told_everything_or_only_what_counts() {
    in_time(async {
        let cluster = Cluster::new();
        fill(&cluster, 100, 3);
        let replica = Running::start(&cluster, 0).await;
        let mut following = Following::new(endpoints(&[&replica]), options(), EVERYTHING).unwrap();
        assert_eq!(gather(&mut following).await.unwrap(), cluster.deliveries());
        assert_eq!(following.caught_up(), Some(Slot(211)));

        let only_values = Follow { from: Slot(100), everything: false, ..EVERYTHING };
        let mut following = Following::new(endpoints(&[&replica]), options(), only_values).unwrap();
        let told: Vec<_> = gather(&mut following).await.unwrap();
        let told: Vec<_> =
            told.into_iter().map(|it| (it.slot, it.first_value().unwrap().clone())).collect();
        let expected: Vec<_> =
            cluster.values().into_iter().filter(|(slot, _)| *slot >= Slot(100)).collect();
        assert_eq!(told, expected);
        assert_eq!(following.caught_up(), Some(Slot(211)), "though it ends with a no-op");
    })
    .await;
}

#[tokio::test]
async fn following_an_empty_log_or_beyond_its_end_until_caught_up_ends_at_once() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        for from in [Slot(0), Slot(1), Slot(1000)] {
            let follow = Follow { from, ..EVERYTHING };
            let mut following = Following::new(endpoints(&[&replica]), options(), follow).unwrap();
            assert_eq!(gather(&mut following).await.unwrap(), []);
            assert_eq!(following.caught_up(), Some(Slot(0)));
        }
    })
    .await;
}

#[tokio::test]
async fn a_follow_goes_on_at_the_next_endpoint_without_gap_or_repetition() {
    in_time(async {
        let cluster = Cluster::new();
        fill(&cluster, 50, 10);
        let (first, second) =
            (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
        let follow = Follow { until_caught_up: false, ..EVERYTHING };
        let ends = endpoints(&[&first, &second]);
        let mut following = Following::new(ends, options(), follow).unwrap();
        let mut told = following.next().await.unwrap().unwrap();
        first.die().await;
        fill(&cluster, 50, 10);
        while told.len() < cluster.deliveries().len() {
            told.extend(following.next().await.unwrap().unwrap());
        }
        assert_eq!(told, cluster.deliveries());
    })
    .await;
}

#[tokio::test]
async fn a_quiet_log_is_not_taken_for_a_dead_node_and_news_arrive_at_once() {
    in_time(async {
        let cluster = Cluster::new();
        let limits = synod_node::client_port::ServerLimits {
            quiet_max: Duration::from_millis(50),
            ..Default::default()
        };
        let replica = Running::with(&cluster, 0, limits).await;
        let follow = Follow { until_caught_up: false, ..EVERYTHING };
        let mut following = Following::new(endpoints(&[&replica]), options(), follow).unwrap();
        // Far longer than a client waits for a silent replica.
        let later = async {
            tokio::time::sleep(options().silent_max * 4).await;
            cluster.deliver(Entry::NoOp);
        };
        let (told, ()) = tokio::join!(following.next(), later);
        assert_eq!(told.unwrap().unwrap()[0].slot, Slot(1));
    })
    .await;
}

#[tokio::test]
async fn a_follow_fails_when_no_replica_is_left() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        replica.node.behave(Manner::Silent);
        let options =
            synod_client::ClientOptions { deadline: Duration::from_millis(600), ..options() };
        let mut following = Following::new(endpoints(&[&replica]), options, EVERYTHING).unwrap();
        let failed = following.next().await.unwrap_err();
        assert!(matches!(failed, FollowFailed::NoReplica { .. }), "{failed}");
    })
    .await;
}

#[tokio::test]
async fn a_follower_that_does_not_read_stops_the_reading_of_the_log_and_nothing_else() {
    in_time(async {
        let cluster = Cluster::new();
        // 100 MiB: far more than the sockets hold.
        fill(&cluster, 100, 1 << 20);
        let replica = Running::start(&cluster, 0).await;
        let mut slow =
            Connection::connect(&replica.endpoint, Duration::from_secs(1)).await.unwrap();
        slow.put(7, Ask::Follow(EVERYTHING)).unwrap();
        slow.answer().await.unwrap();
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let batches = replica.node.batches.load(Ordering::SeqCst);
            if batches == before {
                break;
            }
            before = batches;
        }
        // A batch has up to 16 entries, and 211 of them take 14 batches.
        assert!(before < 8, "{before} batches were read");
        let client = crate::client(&[&replica]);
        client.submit("others go on").await.unwrap();
        let mut through = Slot(0);
        loop {
            match slow.answer().await.unwrap().answer {
                Answer::Deliveries { through: to, .. } => through = to,
                Answer::FollowEnds(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(through, Slot(211));
    })
    .await;
}

#[tokio::test]
async fn a_follower_that_is_only_refused_gives_up() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        replica.node.behave(Manner::Refuse(NotDone::Stopping));
        let options = ClientOptions { deadline: Duration::from_millis(300), ..options() };
        let mut following = Following::new(endpoints(&[&replica]), options, EVERYTHING).unwrap();
        let failed = following.next().await.unwrap_err();
        assert!(matches!(failed, FollowFailed::NoReplica { .. }), "{failed}");
        assert!(failed.to_string().contains("the replica is stopping"), "{failed}");
    })
    .await;
}

#[tokio::test]
async fn a_follow_whose_slot_was_cut_goes_on_at_a_replica_that_still_has_it() {
    in_time(async {
        let cluster = Cluster::new();
        fill(&cluster, 50, 10);
        let [cut, other] = [Running::start(&cluster, 0).await, Running::start(&cluster, 1).await];
        cut.node.log_starts_at.store(50, Ordering::SeqCst);
        let both = endpoints(&[&cut, &other]);
        let mut following = Following::new(both.clone(), options(), EVERYTHING).unwrap();
        let mut told = Vec::new();
        while following.from() < Slot(50) {
            told.extend(following.next().await.unwrap().unwrap());
        }
        // It is cut while it is followed. What comes next is at the first one, if not on its way.
        other.node.log_starts_at.store(1000, Ordering::SeqCst);
        told.extend(gather(&mut following).await.unwrap());
        assert_eq!(told, cluster.deliveries());

        // Nobody has it, or who might have it cannot be asked: each is asked once.
        for _ in 0..2 {
            let mut following = Following::new(both.clone(), options(), EVERYTHING).unwrap();
            let since = std::time::Instant::now();
            let failed = following.next().await.unwrap_err();
            let (from, log_starts_at) = (Slot(1), Slot(50));
            assert_eq!(failed, FollowFailed::Gone { from, log_starts_at });
            assert!(since.elapsed() < options().deadline);
            other.node.behave(Manner::Refuse(NotDone::Stopping));
        }
    })
    .await;
}

#[tokio::test]
async fn a_follow_leaves_a_replica_that_is_out_of_touch_and_says_so() {
    in_time(async {
        let cluster = Cluster::new();
        let (cut_off, other) =
            (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
        fill(&cluster, 10, 3);
        cut_off.node.out_of_touch_ms.store(7_300, Ordering::SeqCst);
        let follow = Follow { until_caught_up: false, ..EVERYTHING };
        let both = endpoints(&[&cut_off, &other]);
        // Longer than the port lets a quiet follower wait for an empty delivery.
        let options = ClientOptions { silent_max: Duration::from_secs(2), ..options() };
        let mut following = Following::new(both, options, follow).unwrap();
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        following.on_leave(move |left| told.send(left.to_string()).unwrap());
        // What it has is taken first.
        let mut last = Slot(0);
        let new = Entry::NoOp;
        while last < Slot(22) {
            last = following.next().await.unwrap().unwrap().last().unwrap().slot;
        }
        let more = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            cluster.deliver(new);
        };
        let (next, ()) = tokio::join!(following.next(), more);
        assert_eq!(next.unwrap().unwrap()[0].slot, Slot(23));
        let told = hears.recv().await.unwrap();
        let (from, to) = (cut_off.endpoint.as_str(), other.endpoint.as_str());
        assert_eq!(
            told,
            format!("{from}: out of touch with any coordinator for 7 s; follows {to} now")
        );
    })
    .await;
}

#[tokio::test]
async fn a_follow_fails_if_every_replica_is_out_of_touch() {
    in_time(async {
        let cluster = Cluster::new();
        let replica = Running::start(&cluster, 0).await;
        replica.node.out_of_touch_ms.store(7_300, Ordering::SeqCst);
        let follow = Follow { until_caught_up: false, ..EVERYTHING };
        let (silent_max, deadline) = (Duration::from_secs(2), Duration::from_secs(2));
        let options = ClientOptions { silent_max, deadline, ..options() };
        let mut following = Following::new(endpoints(&[&replica]), options, follow).unwrap();
        let failed = following.next().await.unwrap_err();
        assert!(failed.to_string().contains("out of touch"), "{failed}");
    })
    .await;
}
