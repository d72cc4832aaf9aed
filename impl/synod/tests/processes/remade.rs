//! A data directory that was lost and made anew under the same id has forgotten its promises. It never
//! takes part again.

use std::fs;

use crate::cluster::Cluster;

const REMADE: [&str; 3] = [
    "another data directory",
    "made anew under an id that was in use",
    "docs/operating.md#replace-a-machine says how",
];

#[test]
fn a_replica_that_is_made_anew_stops_and_the_others_go_on() {
    let (mut cluster, _) = Cluster::running(3);
    cluster.submit([2], &["before"]);
    cluster.kill(2);
    remake(&cluster, 2);
    cluster.start(2).fails_with(&REMADE);
    assert_eq!(cluster.node(2).lines_with("coordinates"), 0, "{}", cluster.node(2).told());
    assert_eq!(cluster.node(2).lines_with("follows"), 0, "{}", cluster.node(2).told());
    cluster.nodes.remove(&2);

    cluster.settled();
    cluster.submit([0, 1], &["after"]);
    assert!(cluster.values(0).into_iter().map(|it| it.1).eq(["before", "after"]));
    // A replica that turned it away says so once, not for each attempt. One such replica stops it.
    let lines = [0, 1].map(|id| cluster.node(id).lines_with("has another data directory"));
    assert!(lines.iter().sum::<usize>() >= 1 && lines.iter().all(|it| *it <= 1), "{lines:?}");
}

#[test]
fn a_replica_that_is_made_anew_stops_also_if_it_is_there_first() {
    let (mut cluster, _) = Cluster::running(3);
    cluster.submit([0], &["before"]);
    cluster.ids().for_each(|id| cluster.kill(id));
    remake(&cluster, 0);
    cluster.start(0).tells("listens for clients");
    cluster.start(1);
    cluster.node(0).fails_with(&REMADE);
    cluster.nodes.remove(&0);
    cluster.start(2);
    cluster.settled();
    cluster.submit([1, 2], &["after"]);
    assert!(cluster.values(1).into_iter().map(|it| it.1).eq(["before", "after"]));
}

fn remake(cluster: &Cluster, id: u16) {
    fs::remove_dir_all(cluster.data_dir(id)).unwrap();
    cluster.make(id);
}
