//! Replicas whose links are slow or far. Bounds are generous: the machine may be busy. Each test prints
//! its numbers.

use std::time::{Duration, Instant};

use synod_link::Line;
use tokio::runtime::Runtime;

use crate::cluster::{Cluster, Coordination};
use crate::load::{self, Outcome};
use crate::proxy::Network;
use crate::wait::SOON;

const MB: u64 = 1_000_000;

fn line(round_trip_ms: u64, bytes_per_second: Option<u64>) -> Line {
    Line { delay: Duration::from_millis(round_trip_ms / 2), bytes_per_second }
}

/// A cluster whose members have found each other, on links that then become like this.
fn running_over(line: Line) -> (Cluster, Network, Coordination) {
    let mut cluster = Cluster::made(3);
    let network = Network::between(&mut cluster);
    cluster.start_all();
    let coordination = cluster.settled();
    network.set_lines(line);
    (cluster, network, coordination)
}

/// Submits values over slow links. They are committed in this time, without an election, and cost at
/// most half more than each of them once to each follower.
fn commits_over(line: Line, values: usize, value_bytes: usize, limit: Duration) {
    let (cluster, network, before) = running_over(line);
    let carried = network.carried_bytes();
    let endpoints = cluster.endpoints_from(before.id);
    let Outcome { committed, took } = load::submit(endpoints, values, value_bytes, limit);
    let carried = network.carried_bytes() - carried;
    let needed = 2 * (values * value_bytes) as u64;
    let numbers = format!(
        "{committed} of {values} values after {} ms; {carried} bytes on the wire, {needed} needed",
        took.as_millis(),
    );
    println!("{numbers}");
    assert_eq!(committed, values, "{numbers}");
    assert_eq!(cluster.settled(), before, "no election; {numbers}");
    assert!(carried <= needed * 3 / 2 + MB / 2, "{numbers}");
}

#[test]
fn one_value_of_a_megabyte_passes_at_3_mb_a_second() {
    commits_over(line(0, Some(3 * MB)), 1, 1_000_000, Duration::from_secs(5));
}

/// At the rate of the link this takes 2 s.
#[test]
fn twenty_values_of_a_megabyte_pass_at_10_mb_a_second() {
    commits_over(line(0, Some(10 * MB)), 20, 1_000_000, Duration::from_secs(12));
}

/// At the rate of the link this takes 0.7 s.
#[test]
fn two_thousand_small_values_pass_at_3_mb_a_second() {
    commits_over(line(0, Some(3 * MB)), 2_000, 1_000, Duration::from_secs(8));
}

/// With defaults, and from the start: the replicas find each other, elect one of them, and keep it.
#[test]
fn a_cluster_works_at_a_round_trip_of_300_ms() {
    const VALUES: usize = 10;
    let mut cluster = Cluster::made(3);
    let _network = Network::with_lines(&mut cluster, line(300, None));
    cluster.start_all();
    let before = cluster.settled();
    let mut took: Vec<_> = (0..VALUES)
        .map(|_| {
            let outcome = load::submit(cluster.endpoints_from(before.id), 1, 100, SOON);
            assert_eq!(outcome.committed, 1, "{outcome:?}");
            outcome.took
        })
        .collect();
    took.sort();
    println!("{took:?}");
    // A client opens a session first, so each value takes two round trips.
    assert!(took[VALUES / 2] < Duration::from_secs(2), "{took:?}");
    assert_eq!(cluster.settled(), before, "no election");
}

/// It lacks 20 MB, which its link carries in 2 s. The others commit a megabyte a second meanwhile.
#[test]
fn a_far_replica_catches_up_while_the_others_commit() {
    const LACKED: usize = 20_000;
    const EVERY: Duration = Duration::from_millis(50);
    const AT_ONCE: usize = 50;
    const LIMIT: Duration = Duration::from_secs(15);
    let (mut cluster, network, coordination) = running_over(Line::default());
    let far = (coordination.id + 1) % 3;
    cluster.kill(far);
    let endpoints = cluster.endpoints_from(coordination.id);
    let outcome = load::submit(endpoints.clone(), LACKED, 1_000, SOON);
    assert_eq!(outcome.committed, LACKED, "{outcome:?}");
    network.set_lines_of(far, line(100, Some(10 * MB)));
    cluster.start(far);
    let began = Instant::now();
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(async { load::client(endpoints, SOON) });
    let mut progress = Vec::new();
    let caught_up = loop {
        let next = Instant::now() + EVERY;
        runtime.block_on(async {
            let values = (0..AT_ONCE).map(|_| client.submit(vec![b'y'; 1_000]));
            for outcome in futures_util::future::join_all(values).await {
                outcome.unwrap();
            }
        });
        let committed = cluster.status([coordination.id, far]);
        let committed: Vec<_> = committed.iter().map(|it| it["committed"].as_u64()).collect();
        if let [Some(of_coordinator), Some(of_far)] = committed[..] {
            progress.push((began.elapsed().as_millis(), of_far));
            // As much as is committed in a round trip and until the next status.
            if of_far + 20 * AT_ONCE as u64 >= of_coordinator {
                break true;
            }
        }
        if began.elapsed() > LIMIT {
            break false;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    };
    let sampled: Vec<_> = progress.iter().step_by(progress.len() / 20 + 1).collect();
    println!("caught up after {} ms; ms and slots: {sampled:?}", began.elapsed().as_millis());
    assert!(caught_up, "in {LIMIT:?}; ms and slots: {sampled:?}");
}
