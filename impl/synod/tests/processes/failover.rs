//! A coordinator that dies is replaced. A replica that was only stopped for a while replaces nobody.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::command::synod;
use crate::wait::until;

/// Longer than a replica takes to suspect that there is no coordinator, and to stand.
const LONG: Duration = Duration::from_millis(2500);

#[test]
fn another_coordinates_soon_after_the_coordinator_is_killed() {
    let (mut cluster, before) = Cluster::running(3);
    cluster.submit([before.id], &["before"]);
    let others: Vec<_> = cluster.ids().filter(|id| *id != before.id).collect();
    cluster.kill(before.id);
    let killed = Instant::now();
    // If the command waits longer than ten seconds, it gives up, and the test fails.
    cluster.submit(others.clone(), &["after"]);
    println!("answered {} ms after the coordinator was killed", killed.elapsed().as_millis());

    let after = cluster.settled();
    assert!(after.number > before.number && after.id != before.id, "{before:?}, {after:?}");
    cluster.start(before.id);
    assert!(cluster.settled().number >= after.number);
    cluster.submit([before.id], &["again"]);
    let values: Vec<_> = cluster.same_everywhere().into_iter().map(|it| it.1).collect();
    assert_eq!(values, ["before", "after", "again"]);
}

#[test]
fn a_client_is_answered_while_the_replica_that_it_asked_first_is_stopped() {
    let (mut cluster, coordination) = Cluster::running(3);
    let stopped = (coordination.id + 1) % 3;
    cluster.node(stopped).signal(Signal::STOP);
    let order = [stopped, coordination.id, (coordination.id + 2) % 3];
    cluster.submit(order, &["through another"]);
    cluster.node(stopped).signal(Signal::CONT);
    assert_eq!(cluster.same_everywhere().len(), 1, "once, though it was sent twice");
}

#[test]
fn a_follower_that_was_stopped_for_a_while_disturbs_nobody() {
    let (mut cluster, before) = Cluster::running_calmly(3);
    let stopped = (before.id + 1) % 3;
    let others = [before.id, (before.id + 2) % 3];
    cluster.node(stopped).signal(Signal::STOP);
    cluster.submit(others, &["meanwhile"]);
    sleep(LONG);
    cluster.node(stopped).signal(Signal::CONT);
    assert_eq!(cluster.settled(), before);
    sleep(LONG);
    assert_eq!(cluster.settled(), before, "not at once, and not later");
    cluster.submit([stopped], &["afterwards"]);
    let values: Vec<_> = cluster.same_everywhere().into_iter().map(|it| it.1).collect();
    assert_eq!(values, ["meanwhile", "afterwards"]);
}

#[test]
fn a_coordinator_that_was_stopped_for_a_while_follows_the_one_after_it() {
    let (mut cluster, before) = Cluster::running_calmly(3);
    let others = [(before.id + 1) % 3, (before.id + 2) % 3];
    cluster.node(before.id).signal(Signal::STOP);
    cluster.submit(others, &["meanwhile"]);
    let after = cluster.settled_among(&others);
    assert!(after.number > before.number, "{before:?}, {after:?}");
    cluster.node(before.id).signal(Signal::CONT);
    assert_eq!(cluster.settled(), after);
    sleep(LONG);
    assert_eq!(cluster.settled(), after, "not at once, and not later");
    cluster.submit([before.id], &["afterwards"]);
    let values: Vec<_> = cluster.same_everywhere().into_iter().map(|it| it.1).collect();
    assert_eq!(values, ["meanwhile", "afterwards"]);
}

#[test]
fn a_lost_majority_is_named_by_every_command() {
    let (mut cluster, coordination) = Cluster::running(3);
    let endpoints = cluster.endpoints(cluster.ids());
    let done = synod(&["health", "--all", "--endpoints", &endpoints]);
    assert_eq!(done.code, 0, "{done:?}");
    let works = format!("the cluster works: r{} coordinates; 3 of 3 members", coordination.id);
    assert!(done.stdout.starts_with(&works), "{done:?}");

    let survivor = (coordination.id + 1) % 3;
    let others: Vec<_> = cluster.ids().filter(|id| *id != survivor).collect();
    cluster.kill(others[0]);
    cluster.settled_among(&[survivor, others[1]]);
    assert_eq!(synod(&["health", "--endpoints", &endpoints]).code, 0, "two are enough");
    let done = synod(&["health", "--all", "--endpoints", &endpoints]);
    assert_eq!(done.code, 4, "{done:?}");
    assert!(done.stdout.contains(&format!("missing: r{}", others[0])), "{done:?}");

    cluster.kill(others[1]);
    let alone = cluster.endpoint(survivor);
    let missing =
        format!("no majority: 1 of 3 members are there; missing: r{}, r{}", others[0], others[1]);
    until("the survivor knows that it is alone", || {
        let done = synod(&["health", "--endpoints", &alone]);
        (done.code == 3 && done.stdout.contains(&missing)).then_some(())
    });
    for endpoints in [&alone, &endpoints] {
        let done = synod(&["status", "--endpoints", endpoints]);
        assert_eq!(done.code, 3, "{done:?}");
        assert!(done.stdout.contains(&missing), "{done:?}");
    }
    until("the survivor says that it cannot know how far it lags", || {
        cluster.status([survivor])[0]["lag_slots"].is_null().then_some(())
    });
    let done = synod(&["submit", "--timeout", "1s", "--endpoints", &endpoints, "x"]);
    assert!([3, 4].contains(&done.code), "{done:?}");
    assert!(done.stderr.contains(&missing), "{done:?}");
    synod(&["read", "--timeout", "1s", "--endpoints", &alone]).failed_with(&[&missing]);
    assert_eq!(synod(&["health", "--endpoints", &cluster.endpoint(others[0])]).code, 1);
}
