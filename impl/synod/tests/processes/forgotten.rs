//! A follower acknowledges values, and then an older copy of its data directory is put in the place of the
//! newer one. The coordinator reminds it of what it told, and the follower takes no part any more.

use std::fs;

use crate::cluster::Cluster;
use crate::command::synod;
use crate::wait::until;

const FOUND: &str = "the disk of the replica named here has lost what that replica told";

#[test]
fn a_replica_that_forgets_what_it_acknowledged_takes_no_part_any_more() {
    let (mut cluster, first) = Cluster::running_calmly(3);
    let [forgetful, third] = [1, 2].map(|more| (first.id + more) % 3);
    cluster.submit([first.id], &["before"]);
    cluster.stop(forgetful);
    let copy = cluster.copy_data_dir(forgetful);
    cluster.start(forgetful);
    cluster.settled_among(&cluster.ids().collect::<Vec<_>>());

    // The vote of the follower is the only one besides the coordinator's own.
    cluster.stop(third);
    let values = ["one", "two", "three"];
    cluster.submit([first.id], &values);
    cluster.kill(forgetful);
    // Nobody can serve it again what it has lost, before it is reminded.
    cluster.node(first.id).tells("ceases to coordinate");
    let right = cluster.replace_data_dir(forgetful, &copy);

    let says = format!("replica {forgetful} has told replica {} that it accepted slot ", first.id);
    let node = cluster.start(forgetful);
    assert_eq!(node.ended(), 5, "{}", node.told());
    node.fails_with(&[&says, "docs/operating.md#a-disk-that-forgets"]);
    assert_eq!(node.lines_with(FOUND), 1, "{}", node.told());

    // The disk says so itself: the next start needs nobody who remembers.
    cluster.nodes.remove(&forgetful);
    let inspected = synod(&["inspect", cluster.data_dir(forgetful).to_str().unwrap()]).stdout();
    let noted = "the disk has lost what was told";
    assert!(inspected.contains(noted), "{inspected}");
    let node = cluster.start(forgetful);
    assert_eq!(node.ended(), 5, "{}", node.told());
    node.fails_with(&[&format!("error: {says}")]);
    assert_eq!(node.lines_with(FOUND), 0, "it reaches nobody: {}", node.told());
    cluster.nodes.remove(&forgetful);

    // The coordinator knows. The third replica has heard of it if it ran, and it did not.
    let status = cluster.status([first.id])[0].clone();
    let told = &status["forgotten"][0];
    assert_eq!((&told["replica"], &told["told_to"]), (&forgetful.into(), &first.id.into()));
    assert!(told["slot"].as_u64().unwrap() > 1, "{told}");
    let log = cluster.node(first.id).told();
    let is_about = |line: &&str| line.contains("ERROR") && line.contains(FOUND);
    let line = log.lines().find(is_about).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(&format!("replica={forgetful} told_to={}", first.id)), "{line}");

    // The cluster goes on with the third replica, and says why one is missing.
    cluster.start(third);
    cluster.submit([first.id, third], &["afterwards"]);
    let expected = ["before", "one", "two", "three", "afterwards"];
    until("the third replica has everything", || {
        let values = cluster.values(third);
        values.iter().map(|it| it.1.as_str()).eq(expected).then_some(())
    });
    let endpoints = cluster.endpoints([first.id, third]);
    let says = format!("the disk of r{forgetful} has lost what r{forgetful} told r{}", first.id);
    let health = synod(&["health", "--endpoints", &endpoints]);
    assert_eq!(health.code, 4, "{health:?}");
    assert!(health.stdout.contains(&says), "{health:?}");
    let status = synod(&["status", "--endpoints", &endpoints]);
    assert_eq!(status.code, 4, "{status:?}");
    let says = format!("the disk of r{forgetful} has lost slot ");
    assert!(status.stdout.contains(&says), "{status:?}");

    // With the right directory it takes part again, and all is well.
    fs::remove_dir_all(cluster.data_dir(forgetful)).unwrap();
    fs::rename(right, cluster.data_dir(forgetful)).unwrap();
    cluster.start(forgetful);
    cluster.settled();
    until("the cluster is healthy", || {
        let health = synod(&["health", "--all", "--endpoints", &cluster.endpoints(0..3)]);
        (health.code == 0).then_some(())
    });
    cluster.same_everywhere();
}
