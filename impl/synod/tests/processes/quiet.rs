//! A cluster that is left alone, and a cluster that is killed as a whole.

use std::thread::sleep;
use std::time::Duration;

use crate::cluster::Cluster;

#[test]
fn an_idle_cluster_logs_nothing_and_keeps_no_more() {
    let (mut cluster, before) = Cluster::running_calmly(3);
    until_all_are_connected(&cluster);
    let resident = |cluster: &Cluster| -> Vec<u64> {
        let status = cluster.status(cluster.ids());
        status.iter().map(|it| it["resident_bytes"].as_u64().unwrap()).collect()
    };
    let memory = resident(&cluster);
    let told: Vec<_> = cluster.ids().map(|id| cluster.node(id).told()).collect();
    // This takes dozens of heartbeats.
    sleep(Duration::from_secs(3));
    for id in cluster.ids() {
        let now = cluster.node(id).told();
        assert_eq!(now, told[usize::from(id)], "replica {id} has told something more");
    }
    assert_eq!(cluster.settled(), before);
    assert_eq!(cluster.read(cluster.ids()), cluster.read([0]), "nothing was added to the log");
    for (before, now) in memory.iter().zip(resident(&cluster)) {
        assert!(now < before + (4 << 20), "{before} bytes were resident, and now {now}");
    }
}

#[test]
fn everything_that_was_acknowledged_is_there_after_all_replicas_were_killed_at_once() {
    let (mut cluster, _) = Cluster::running(3);
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let values: Vec<_> = (0..40).map(|count| format!("{round}.{count}")).collect();
        let slots = cluster.submit([0, 1, 2], &values.iter().map(|it| &**it).collect::<Vec<_>>());
        cluster.ids().for_each(|id| cluster.kill(id));
        acknowledged.extend(slots.into_iter().zip(values));
        cluster.start_all();
        cluster.settled();
    }
    acknowledged.sort();
    assert_eq!(cluster.same_everywhere(), acknowledged);
}

fn until_all_are_connected(cluster: &Cluster) {
    crate::wait::until("all replicas are connected to all", || {
        let status = cluster.status(cluster.ids());
        let mut peers = status.iter().filter_map(|it| it["peers"].as_array()).flatten();
        peers.all(|peer| peer["connected"] == true).then_some(())
    });
}
