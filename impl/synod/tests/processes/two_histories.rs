//! An older copy of a data directory is put in the place of a newer one. A majority with that replica
//! commits other entries in slots that it has forgotten: there are two histories.

use std::collections::BTreeSet;
use std::thread::{sleep, spawn};
use std::time::Duration;

use serde_json::Value as Json;

use crate::cluster::Cluster;
use crate::command::synod;
use crate::proxy::Network;
use crate::wait::until;

/// What each log line about another history says.
const TOLD: &str = "this peer has committed other entries than this replica";

/// More slots than lie between two checkpoints of the running hash.
const FEWER: usize = 600;
const MORE: usize = 900;

/// Replicas 1 and 2 run, and replica 0 is down. It has committed values with replica 1, which has forgotten
/// them, and has committed others with replica 2 since.
struct Divided {
    cluster: Cluster,
    network: Network,
    /// The values that replicas 1 and 2 have committed.
    kept: Vec<String>,
    /// The last slot that replica 0 has committed.
    end_of_0: u64,
}

impl Divided {
    fn new(lost: usize, kept: usize) -> Self {
        let mut cluster = Cluster::made(3);
        let network = Network::between(&mut cluster);
        cluster.start_all();
        cluster.settled();
        cluster.submit([1], &["before"]);
        cluster.stop(1);
        let copy = cluster.copy_data_dir(1);
        // Replica 2 is told of nothing that replica 1 promises after the copy.
        cluster.stop(2);
        cluster.start(1);
        cluster.settled();
        submit(&cluster, [0, 1], "lost", lost);
        let end_of_0 = cluster.read([0]);
        let promised =
            |cluster: &Cluster, id: u16| cluster.status([id])[0]["promised"].as_u64().unwrap();
        let promised_by_0 = promised(&cluster, 0);
        cluster.stop(1);
        cluster.stop(0);
        cluster.replace_data_dir(1, &copy);

        cluster.start(1);
        cluster.start(2);
        cluster.settled();
        // Replica 1 comes to promise more than it has forgotten, or it would be found by that.
        while promised(&cluster, 1) <= promised_by_0 {
            let coordinates = cluster.settled().id;
            cluster.stop(coordinates);
            cluster.start(coordinates);
            cluster.settled();
        }
        let mut values = vec!["before".to_owned()];
        values.extend(submit(&cluster, [1, 2], "kept", kept));
        Self { cluster, network, kept: values, end_of_0 }
    }

    /// A majority has another history than replica 0, which comes back.
    fn replica_0_ends(&mut self) {
        let Self { cluster, kept, end_of_0, .. } = self;
        // A restart does not help. The others forget what they know of a replica that connects anew, and
        // this one may end before they find it again.
        until("replicas 1 and 2 name replica 0", || {
            let node = cluster.start(0);
            assert_eq!(node.ended(), 5, "{}", node.told());
            node.fails_with(&[
                "error: a majority has another history: replica 1 has committed other entries up to slot",
                ", and replica 2 has committed other entries up to slot",
                "keep this data directory for inspection",
            ]);
            for peer in [1, 2] {
                let lines = node.told();
                let told = lines.lines().filter(|line| is_about(line, peer));
                assert_eq!(told.count(), 1, "{lines}");
            }
            let node = cluster.nodes.remove(&0).unwrap();
            assert!(node.lines_with(TOLD) == 2, "{}", node.told());
            [1, 2].iter().all(|id| others(cluster, *id).is_some()).then_some(())
        });
        let inspected = synod(&["inspect", cluster.data_dir(0).to_str().unwrap()]).stdout();
        let watermarks = inspected.lines().filter_map(watermark);
        assert!(watermarks.max().unwrap() <= *end_of_0, "{inspected}");

        // The others go on, and say why one is missing.
        for id in [1, 2] {
            let others = others(cluster, id).unwrap();
            assert_eq!((others.len(), &others[0]["peer"]), (1, &0.into()), "{others:?}");
            let told = cluster.node(id).told();
            assert!(told.lines().any(|line| is_about(line, 0)), "{told}");
        }
        cluster.submit([1, 2], &["afterwards"]);
        kept.push("afterwards".to_owned());
        let kept: BTreeSet<_> = kept.iter().cloned().collect();
        for id in [1, 2] {
            let values = cluster.values(id).into_iter().map(|it| it.1).collect();
            let missing: Vec<_> = kept.difference(&values).collect();
            let others: Vec<_> = values.difference(&kept).collect();
            assert!(missing.is_empty() && others.is_empty(), "{missing:?}, {others:?}");
        }
        let both = cluster.endpoints([1, 2]);
        let health = synod(&["health", "--endpoints", &both]);
        assert_eq!(health.code, 4, "{health:?}");
        assert!(health.stdout.starts_with("the cluster works: "), "{health:?}");
        for pair in ["r0 and r1", "r0 and r2"] {
            let says = format!("; {pair} have two histories up to slot ");
            assert!(health.stdout.contains(&says), "{health:?}");
        }
        let status = synod(&["status", "--endpoints", &both]);
        assert_eq!(status.code, 4, "{status:?}");
        assert_eq!(status.stdout.matches(": r0 has another history up to slot ").count(), 2);
    }
}

/// Submits so many values, and returns them.
fn submit(cluster: &Cluster, ids: [u16; 2], name: &str, count: usize) -> Vec<String> {
    let values: Vec<_> = (0..count).map(|it| format!("{name} {it}")).collect();
    cluster.submit(ids, &values.iter().map(String::as_str).collect::<Vec<_>>());
    values
}

/// Whether a log line says that this peer has another history, and up to which slot.
fn is_about(line: &str, peer: u16) -> bool {
    line.contains("ERROR")
        && line.contains(TOLD)
        && line.contains(&format!(" peer={peer} slot="))
        && line.contains("docs/operating.md#two-histories")
}

/// The watermark in a line about a record.
fn watermark(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(", watermark ")?;
    rest.split_once(',')?.0.parse().ok()
}

/// The peers with another history, if the replica knows any.
fn others(cluster: &Cluster, id: u16) -> Option<Vec<Json>> {
    let status = cluster.status([id])[0].clone();
    let others = status["other_histories"].as_array()?.clone();
    (!others.is_empty()).then_some(others)
}

#[test]
fn a_replica_with_more_than_the_majority_with_another_history_ends() {
    Divided::new(MORE, FEWER).replica_0_ends();
}

#[test]
fn a_replica_with_less_than_the_majority_with_another_history_ends() {
    Divided::new(FEWER, MORE).replica_0_ends();
}

/// Both have fewer slots than lie between two checkpoints.
#[test]
fn a_few_slots_are_compared_in_both_directions() {
    for (lost, kept) in [(30, 60), (60, 30)] {
        Divided::new(lost, kept).replica_0_ends();
    }
}

#[test]
fn one_against_one_stand_still_and_say_so() {
    for (lost, kept) in [(MORE, FEWER), (FEWER, MORE), (30, 60), (60, 30)] {
        let Divided { mut cluster, network: _network, .. } = Divided::new(lost, kept);
        cluster.stop(2);
        let of_1 = cluster.status([1])[0].clone();
        cluster.start(0);
        for (id, peer) in [(0, 1), (1, 0)] {
            let others = until(&format!("replica {id} names its peer"), || others(&cluster, id));
            assert_eq!((others.len(), &others[0]["peer"]), (1, &peer.into()), "{others:?}");
            let told = cluster.node(id).told();
            assert!(told.lines().any(|line| is_about(line, peer)), "{told}");
        }
        let of_0 = cluster.status([0])[0].clone();
        let both = cluster.endpoints([0, 1]);
        let submitted = synod(&["submit", "--timeout", "2s", "--endpoints", &both, "in vain"]);
        assert!([3, 4].contains(&submitted.code), "{submitted:?}");
        assert_eq!(submitted.stdout, "", "{submitted:?}");
        assert!(submitted.stderr.contains("r0 and r1 have two histories"), "{submitted:?}");

        // What only one of them has can be seen.
        let endpoint = cluster.endpoint(0);
        let followed = synod(&["follow", "--timeout", "1s", "--endpoints", &endpoint]);
        assert_eq!(followed.stdout.matches("\tlost ").count(), lost, "{followed:?}");

        for before in [of_0, of_1] {
            let id = u16::try_from(before["replica"].as_u64().unwrap()).unwrap();
            let now = &cluster.status([id])[0];
            for what in ["run", "committed", "committed_hash", "applied"] {
                assert_eq!(now[what], before[what], "{what} of replica {id}");
            }
            let told = cluster.node(id).told();
            assert_eq!(told.matches(TOLD).count(), 1, "{told}");
            let health = synod(&["health", "--endpoints", &cluster.endpoint(id)]);
            assert_eq!(health.code, 3, "{health:?}");
            let says = "; r0 and r1 have two histories up to slot ";
            assert!(health.stdout.contains(says), "{health:?}");
            let status = synod(&["status", "--endpoints", &cluster.endpoint(id)]);
            assert_eq!(status.code, 3, "{status:?}");
            let says = format!(": r{} has another history up to slot ", 1 - id);
            assert!(status.stdout.contains(&says), "{status:?}");
            let hash = now["committed_hash"].as_str().unwrap();
            assert!(status.stdout.contains(hash), "{status:?}");
        }
    }
}

/// It has taken what the client submits, and will never commit it. The client is not left waiting, and goes
/// to another replica.
#[test]
fn a_client_of_a_replica_that_ends_goes_on_at_another() {
    let mut divided = Divided::new(MORE, FEWER);
    divided.network.isolate(0);
    let cluster = &mut divided.cluster;
    cluster.start(0).tells("recovered");
    let endpoints = cluster.endpoints([0, 1, 2]);
    let submits =
        spawn(move || synod(&["submit", "--timeout", "60s", "--endpoints", &endpoints, "taken"]));
    sleep(Duration::from_secs(1));
    assert!(!submits.is_finished());
    divided.network.mend(0);
    let node = cluster.node(0);
    assert_eq!(node.ended(), 5, "{}", node.told());
    let slot = submits.join().unwrap().stdout();
    let (last, value) = cluster.values(1).pop().unwrap();
    assert_eq!(slot, format!("{last}\t{value}\n"));
    assert_eq!(value, "taken");
}
