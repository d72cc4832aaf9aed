//! Replicas whose links are lost for a while, broken again and again, or cut one way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use synod_link::Line;

use crate::cluster::{Cluster, Coordination};
use crate::load;
use crate::proxy::Network;
use crate::wait::SOON;

/// Half of a round trip of 20 ms.
const NEAR: Line = Line { delay: Duration::from_millis(10), bytes_per_second: None };

fn running() -> (Cluster, Network, Coordination) {
    let mut cluster = Cluster::made(3);
    let network = Network::with_lines(&mut cluster, NEAR);
    cluster.start_all();
    let coordination = cluster.settled();
    (cluster, network, coordination)
}

#[test]
fn a_value_is_committed_soon_after_lost_links_come_back() {
    const LOST: Duration = Duration::from_secs(4);
    const LIMIT: Duration = Duration::from_secs(2);
    let (cluster, network, coordination) = running();
    cluster.submit([coordination.id], &["before"]);
    cluster.ids().for_each(|id| network.isolate(id));
    let waits = thread::scope(|scope| {
        let endpoints = cluster.endpoints_from(coordination.id);
        let submitted = scope.spawn(|| load::submit(endpoints, 1, 100, SOON));
        sleep(LOST);
        assert!(!submitted.is_finished(), "it was committed without a majority");
        cluster.ids().for_each(|id| network.mend(id));
        let mended = Instant::now();
        assert_eq!(submitted.join().unwrap().committed, 1);
        mended.elapsed()
    });
    println!("committed {} ms after the links came back", waits.as_millis());
    assert!(waits < LIMIT, "committed {} ms after the links came back", waits.as_millis());
}

#[test]
fn connections_that_break_all_the_time_do_not_stop_the_work() {
    const EVERY: Duration = Duration::from_millis(300);
    const TIME: Duration = Duration::from_secs(5);
    const IN_FLIGHT: usize = 8;
    let (cluster, network, coordination) = running();
    let endpoints = cluster.endpoints_from(coordination.id);
    let usual = load::submit_for(&endpoints, IN_FLIGHT, TIME);
    let is_over = AtomicBool::new(false);
    let broken = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                network.reset();
                sleep(EVERY);
            }
        });
        let committed = load::submit_for(&endpoints, IN_FLIGHT, TIME);
        is_over.store(true, Ordering::Relaxed);
        committed
    });
    let numbers = format!("{usual} values in {TIME:?}, and {broken} while connections break");
    println!("{numbers}");
    // A new connection takes two round trips and a wait of up to 50 ms: half of the time is left.
    assert!(broken * 4 >= usual, "{numbers}");
    cluster.same_everywhere();
}

#[test]
fn the_others_go_on_without_a_coordinator_whom_nobody_hears() {
    without_the_coordinator(Network::mute);
}

#[test]
fn the_others_go_on_without_a_coordinator_who_hears_nobody() {
    without_the_coordinator(Network::deafen);
}

/// Cuts the links of the coordinator one way. The others commit without it, and later it follows them.
fn without_the_coordinator(cut: fn(&Network, u16)) {
    let (cluster, network, before) = running();
    let others = [(before.id + 1) % 3, (before.id + 2) % 3];
    cluster.submit([before.id], &["before"]);
    cut(&network, before.id);
    let began = Instant::now();
    let endpoints = others.map(|id| cluster.endpoint(id).parse().unwrap()).to_vec();
    let outcome = load::submit(endpoints, 1, 100, SOON);
    println!("committed {} ms after the cut", began.elapsed().as_millis());
    assert_eq!(outcome.committed, 1, "{outcome:?}");
    let after = cluster.settled_among(&others);
    assert!(after.number > before.number, "{before:?}, {after:?}");
    network.mend(before.id);
    assert!(cluster.settled().number >= after.number);
    cluster.submit([before.id], &["after"]);
    assert_eq!(cluster.same_everywhere().len(), 3);
}
