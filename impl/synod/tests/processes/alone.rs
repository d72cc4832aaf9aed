//! A majority is lost for good, and a new cluster begins with what a last replica has.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::command::{Done, synod};
use crate::snapshots::{Ledgers, ask, first_request};
use crate::wait::until;

const ACCEPTS: &str = "--i-accept-that-values-may-be-lost";

fn recover_alone(left: &Path, data_dir: &Path, more: &[&str]) -> Done {
    let (left, data_dir) = (left.to_str().unwrap(), data_dir.to_str().unwrap());
    synod(&[&["recover-alone", left, "--data-dir", data_dir], more].concat())
}

/// Makes a new cluster of one with what replica `id` has, which is down. From now on that is its data directory.
/// Returns the old one, and the id of the new cluster.
fn goes_alone(cluster: &mut Cluster, id: u16) -> (PathBuf, String) {
    let (left, new) = (cluster.data_dir(id), cluster.path().join(format!("r{id} alone")));
    let made = recover_alone(&left, &new, &[ACCEPTS]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.stderr.contains("VALUES MAY BE LOST"), "{made:?}");
    let says = format!("r{id}, the only replica of the new cluster {} (", cluster.name);
    let (_, rest) = made.stdout.split_once(&says).unwrap_or_else(|| panic!("{made:?}"));
    let cluster_id = rest.split_once(')').unwrap().0.to_owned();
    cluster.elsewhere.insert(id, new);
    (left, cluster_id)
}

/// Two of three disks are lost, and later two old copies of them turn up. The last replica goes on with all that was
/// acknowledged, and never talks to them again.
#[test]
fn the_last_of_three_goes_on_alone() {
    let (mut cluster, _) = Cluster::running(3);
    let slots = cluster.submit([0, 1, 2], &["one", "two", "three"]);
    let last = *slots.last().unwrap();
    until("replica 2 has all", || {
        (cluster.status([2])[0]["applied"].as_u64()? >= last).then_some(())
    });
    cluster.ids().for_each(|id| cluster.stop(id));
    let copies = [0, 1].map(|id| cluster.copy_data_dir(id));
    for id in 0..2 {
        fs::remove_dir_all(cluster.data_dir(id)).unwrap();
    }

    // It says what is there, and changes nothing.
    let (left, new) = (cluster.data_dir(2), cluster.path().join("new"));
    let told = recover_alone(&left, &new, &[]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.contains("is what is left of r2 in cluster processes"), "{told:?}");
    assert!(told.stdout.contains("a voter; the members it knows are r0, r1, r2"), "{told:?}");
    assert!(told.stdout.contains(ACCEPTS) && !new.exists(), "{told:?}");

    let (left, _) = goes_alone(&mut cluster, 2);
    cluster.start(2);
    cluster.settled_among(&[2]);
    let values = |cluster: &Cluster, id| -> Vec<_> {
        cluster.values(id).into_iter().map(|it| it.1).collect()
    };
    assert_eq!(values(&cluster, 2), ["one", "two", "three"]);
    assert_eq!(cluster.values(2).iter().map(|it| it.0).collect::<Vec<_>>(), slots);
    assert!(cluster.submit([2], &["four"])[0] > last);

    // The others come back after all: a majority of the old cluster.
    for (id, copy) in (0..).zip(&copies) {
        cluster.elsewhere.insert(id, copy.clone());
        cluster.start(id);
    }
    cluster.settled_among(&[0, 1]);
    cluster.submit([0], &["in the old cluster"]);
    until("they say that it is of another cluster", || {
        let told = cluster.nodes[&0].told() + &cluster.nodes[&1].told();
        (told.contains("is of cluster") || told.contains("another cluster")).then_some(())
    });
    cluster.submit([2], &["five"]);
    assert_eq!(values(&cluster, 2), ["one", "two", "three", "four", "five"]);
    assert_eq!(values(&cluster, 0), ["one", "two", "three", "in the old cluster"]);

    // What was left is still a member of the old cluster.
    cluster.kill(2);
    cluster.elsewhere.insert(2, left);
    cluster.start(2);
    cluster.settled();
    cluster.same_everywhere();
}

/// Two survivors are recovered. Nobody can say which of them is right, so they are two clusters.
#[test]
fn two_survivors_are_two_clusters() {
    let (mut cluster, _) = Cluster::running(3);
    cluster.submit([0], &["before"]);
    cluster.ids().for_each(|id| cluster.stop(id));
    let (_, one) = goes_alone(&mut cluster, 1);
    let (_, other) = goes_alone(&mut cluster, 2);
    assert_ne!(one, other);
    for id in [1, 2] {
        cluster.start(id);
        cluster.settled_among(&[id]);
        cluster.submit([id], &[&format!("at {id}")]);
        let values: Vec<_> = cluster.values(id).into_iter().map(|it| it.1).collect();
        assert_eq!(values, ["before", &format!("at {id}")]);
    }
    // It starts again with what it has.
    cluster.kill(1);
    cluster.start(1);
    cluster.settled_among(&[1]);
    assert_eq!(cluster.values(1).len(), 2);
}

/// The log was cut, so most of what there is is in the snapshot: the state, the responses and the request table.
#[test]
fn a_state_machine_goes_over_with_its_snapshot() {
    let mut ledgers = Ledgers::running_in(Cluster::made(3), &[]);
    let (request, told) = Runtime::new().unwrap().block_on(first_request(&ledgers.cluster));
    ledgers.submit(&[0], ["ballast 300000".to_owned()]);
    ledgers.submit(&[1], (0..20).map(|count| format!("before the cut {count}")));
    ledgers.cut();
    ledgers.submit(&[1], (0..20).map(|count| format!("behind the cut {count}")));
    ledgers.same_everywhere();
    let state = ledgers.query(0);
    (0..3).for_each(|id| ledgers.kill(id));
    for id in 1..3 {
        fs::remove_dir_all(ledgers.cluster.data_dir(id)).unwrap();
    }
    goes_alone(&mut ledgers.cluster, 0);
    ledgers.start(0);
    assert_eq!(ledgers.query(0), state);
    let again = Runtime::new().unwrap().block_on(ask(&ledgers.cluster, 0, request));
    assert_eq!(again, told, "what the old cluster has done is done");
    assert_eq!(ledgers.query(0), state);
    ledgers.submit(&[0], ["alone".to_owned()]);
    let state = ledgers.query(0);
    ledgers.kill(0);
    ledgers.start(0);
    assert_eq!(ledgers.query(0), state);
}

#[test]
fn a_replica_that_runs_or_lost_nothing_is_not_recovered() {
    let (mut cluster, _) = Cluster::running(1);
    let (left, new) = (cluster.data_dir(0), cluster.path().join("new"));
    cluster.submit([0], &["value"]);
    recover_alone(&left, &new, &[ACCEPTS]).failed_with(&["is in use by process"]);
    cluster.stop(0);
    recover_alone(&left, &new, &[ACCEPTS]).failed_with(&[
        "replica 0 is the only voter of its cluster, so no majority is lost",
        "nothing is lost: start it with `synod node`",
    ]);
    recover_alone(&new, &left, &[]).failed_with(&["is empty, or not there"]);
    assert!(!new.exists());
    let done = recover_alone(&left, &new, &["--address", "0.0.0.0:7000"]);
    assert_eq!(done.code, 2, "{done:?}");
}
