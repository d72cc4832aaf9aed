//! A full disk stops the replica that it belongs to, and no other, when its log needs another segment. It starts on a
//! full disk, and with room it comes back.

use crate::cluster::Cluster;
use crate::command::synod;
use crate::mount::Mount;

/// Four segments: two for the log in the beginning, and room for a filler.
const DISK_BYTES: u64 = 8 << 20;

const FULL: [&str; 2] = ["No space left on device", "the disk is full: make room on it"];

/// A cluster that works, whose replica 0 has a disk of its own. None where this user may mount nothing.
fn cluster_with_small_disk() -> Option<(Cluster, Mount)> {
    let mut cluster = Cluster::new(3);
    let mount = Mount::new(cluster.path().join("disk"), DISK_BYTES)?;
    cluster.elsewhere.insert(0, mount.path().join("r0"));
    cluster.ids().for_each(|id| cluster.make(id));
    cluster.start_all();
    cluster.settled();
    Some((cluster, mount))
}

#[test]
fn a_replica_whose_disk_is_full_stops_and_comes_back_when_there_is_room() {
    let Some((mut cluster, mount)) = cluster_with_small_disk() else {
        return;
    };
    let mut values = vec!["with room".to_owned()];
    cluster.submit([1, 2], &["with room"]);

    // The present segment and the next one have their room already. There is no room for a third.
    mount.fill();
    while cluster.node(0).exit_status().is_none() {
        // Each takes about 100 KiB. Forty of them are more than two segments hold.
        values.push(format!("{} {}", values.len(), "x".repeat(100_000)));
        assert!(values.len() < 60, "it goes on for ever:\n{}", cluster.node(0).told());
        cluster.submit([1, 2], &[values.last().unwrap()]);
    }
    cluster.node(0).fails_with(&FULL);
    cluster.node(0).fails_with(&["/r0/log/00000003.wal"]);

    // The others go on. As long as there is no room for the segment, a start leads to the same end.
    cluster.nodes.remove(&0);
    values.push("without it".to_owned());
    cluster.submit([1, 2], &["without it"]);
    cluster.start(0).fails_with(&FULL);

    cluster.nodes.remove(&0);
    mount.make_room();
    cluster.start(0);
    cluster.settled();
    values.push("again with room".to_owned());
    cluster.submit([0], &["again with room"]);
    assert!(cluster.same_everywhere().into_iter().map(|it| it.1).eq(values));
}

#[test]
fn a_replica_starts_on_a_full_disk_as_long_as_its_segments_have_room() {
    let Some((mut cluster, mount)) = cluster_with_small_disk() else {
        return;
    };
    cluster.submit([0], &["with room"]);
    mount.fill();
    for start in ["first", "second"] {
        cluster.kill(0);
        cluster.start(0);
        cluster.settled();
        cluster.submit([0], &[start]);
    }
    let values = ["with room", "first", "second"].map(str::to_owned);
    assert!(cluster.same_everywhere().into_iter().map(|it| it.1).eq(values));
}

#[test]
fn an_init_on_a_full_disk_says_so_and_is_finished_when_there_is_room() {
    let cluster = Cluster::new(3);
    // The log of a new replica has one segment of 64 MiB.
    let Some(mount) = Mount::new(cluster.path().join("disk"), 66 << 20) else {
        return;
    };
    let data_dir = mount.path().join("r0");
    let data_dir = data_dir.to_str().unwrap();
    let peers = cluster.peers();
    let init = || synod(&["init", "--data-dir", data_dir, "--id", "0", "--peers", &peers]);
    mount.fill();
    init().failed_with(&FULL);

    // The directory is unfinished, and the error says how to finish it.
    let mut args = cluster.node_args(0);
    args.insert(0, "node".to_owned());
    args[2] = data_dir.to_owned();
    synod(&args).failed_with(&["making it was interrupted", "run `synod init` again"]);
    mount.make_room();
    assert!(init().stdout().starts_with("made "));
    assert!(synod(&["inspect", data_dir]).stdout().contains("the log is sound: 0 batches"));
}
