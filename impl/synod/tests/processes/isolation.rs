//! A replica whose network is cut, and repaired.

use std::thread::sleep;
use std::time::Duration;

use crate::cluster::{Cluster, Coordination};
use crate::command::synod;
use crate::proxy::Network;
use crate::wait::until;

/// Longer than a replica takes to suspect that there is no coordinator, and to stand.
const LONG: Duration = Duration::from_millis(2500);

fn running() -> (Cluster, Network, Coordination) {
    let mut cluster = Cluster::made(3);
    cluster.calm();
    let network = Network::between(&mut cluster);
    cluster.start_all();
    let coordination = cluster.settled();
    (cluster, network, coordination)
}

#[test]
fn a_follower_that_comes_back_from_isolation_disturbs_nobody() {
    let (cluster, network, before) = running();
    let isolated = (before.id + 1) % 3;
    let others = [before.id, (before.id + 2) % 3];
    network.isolate(isolated);
    until("the isolated replica asks who would follow it", || {
        (cluster.status([isolated])[0]["role"] == "canvassing").then_some(())
    });
    cluster.submit(others, &["meanwhile"]);
    sleep(LONG);
    assert_eq!(cluster.settled_among(&others), before);

    network.mend(isolated);
    assert_eq!(cluster.settled(), before);
    sleep(LONG);
    assert_eq!(cluster.settled(), before, "not at once, and not later");
    cluster.submit([isolated], &["afterwards"]);
    let values: Vec<_> = cluster.same_everywhere().into_iter().map(|it| it.1).collect();
    assert_eq!(values, ["meanwhile", "afterwards"]);
}

#[test]
fn an_isolated_coordinator_reports_nothing_wrong_and_follows_when_it_is_back() {
    let (cluster, network, before) = running();
    let others = [(before.id + 1) % 3, (before.id + 2) % 3];
    cluster.submit([before.id], &["before"]);
    network.isolate(before.id);

    // It cannot know whether the log has grown elsewhere, so it does not say where the log ends. What
    // it takes, it does not report as being in the log.
    let endpoint = cluster.endpoint(before.id);
    let asks = |command: &[&str]| {
        synod(&[command, &["--endpoints", &endpoint, "--timeout", "700ms"]].concat())
    };
    let read = asks(&["read"]);
    assert_eq!((read.code, read.stdout.as_str()), (1, ""), "{read:?}");
    let submitted = asks(&["submit", "cut off"]);
    assert_eq!(submitted.stdout, "", "{submitted:?}");
    assert!([3, 4].contains(&submitted.code), "{submitted:?}");

    let after = cluster.settled_among(&others);
    assert!(after.number > before.number, "{before:?}, {after:?}");
    cluster.submit(others, &["meanwhile"]);
    network.mend(before.id);
    assert_eq!(cluster.settled(), after);
    sleep(LONG);
    assert_eq!(cluster.settled(), after);
    cluster.submit([before.id], &["afterwards"]);
    let values: Vec<_> = cluster.same_everywhere().into_iter().map(|it| it.1).collect();
    // What the isolated replica took may have come late. Its client was not told anything else.
    let values: Vec<_> = values.iter().filter(|it| *it != "cut off").collect();
    assert_eq!(values, ["before", "meanwhile", "afterwards"]);
}
