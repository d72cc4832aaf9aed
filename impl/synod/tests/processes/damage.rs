//! Damaged logs: a replica whose log is not what it wrote does not start, and changes nothing.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::cluster::Cluster;
use crate::command::synod;

/// Batches begin at multiples of this offset.
const BLOCK: u64 = 4096;

const DAMAGE: [&str; 2] = ["this replica will not vote", "docs/operating.md#replace-a-machine"];

/// A cluster with some batches in the log of replica 0, which is down.
fn stopped() -> (Cluster, PathBuf) {
    let (mut cluster, _) = Cluster::running(3);
    for value in ["a", "b", "c", "d"] {
        cluster.submit([0], &[value]);
    }
    cluster.stop(0);
    let segment = cluster.data_dir(0).join("log/00000001.wal");
    (cluster, segment)
}

/// The replica does not start, reports these things, meets no peer and changes nothing. `synod inspect`
/// reports the same. The other replicas go on.
fn refuses(cluster: &mut Cluster, says: &[&str]) {
    let data_dir = cluster.data_dir(0);
    let before = contents(&data_dir);
    cluster.start(0).fails_with(says);
    let node = cluster.nodes.remove(&0).unwrap();
    for line in ["recovered", "connected"] {
        assert_eq!(node.lines_with(line), 0, "{}", node.told());
    }
    assert!(contents(&data_dir) == before, "something was changed");

    let inspected = synod(&["inspect", data_dir.to_str().unwrap()]);
    assert_eq!(inspected.code, 1, "{inspected:?}");
    for part in says {
        assert!(inspected.stdout.contains(part), "not in it: {part}\n{}", inspected.stdout);
    }
    assert!(contents(&data_dir) == before, "something was changed");
    cluster.submit([1, 2], &["without replica 0"]);
}

/// Repaired, it goes on where it was.
fn goes_on(cluster: &mut Cluster) {
    let data_dir = cluster.data_dir(0);
    let inspected = synod(&["inspect", data_dir.to_str().unwrap()]).stdout();
    assert!(inspected.contains("the log is sound"), "{inspected}");
    cluster.start(0);
    cluster.settled();
    let values: Vec<_> = cluster.same_everywhere().into_iter().map(|it| it.1).collect();
    assert_eq!(values[..4], ["a", "b", "c", "d"]);
    assert!(values[4..].iter().all(|it| it == "without replica 0"));
}

#[test]
fn a_byte_that_has_changed_below_later_batches_is_found_and_nothing_is_cut_off() {
    let (mut cluster, segment) = stopped();
    // In the second batch, which has others behind it: first in its records, then in its header.
    for at in [BLOCK + 100, BLOCK + 3] {
        flip(&segment, at);
        let place = format!("{}: at byte 4,096: ", segment.display());
        let later = "and what is at byte 8,192 of ";
        refuses(&mut cluster, &[&[place.as_str(), later][..], &DAMAGE].concat());
        flip(&segment, at);
    }
    goes_on(&mut cluster);
}

/// Stops a replica, and changes the last batch in its log. Returns where it is.
fn lose_the_last_batch(cluster: &mut Cluster, id: u16) -> String {
    cluster.stop(id);
    let data_dir = cluster.data_dir(id);
    let segment = data_dir.join("log/00000001.wal");
    let inspected = synod(&["inspect", data_dir.to_str().unwrap()]).stdout();
    let last = inspected.lines().rfind(|line| line.contains(": batch ")).unwrap();
    let (place, _) = last.trim().strip_prefix("at byte ").unwrap().split_once(':').unwrap();
    flip(&segment, place.replace(',', "").parse::<u64>().unwrap() + 70);
    place.to_owned()
}

/// Starts it again. That looks like an interrupted write, so people are told what it may be.
fn start_without_it(cluster: &mut Cluster, id: u16, place: &str) {
    cluster.start(id).tells("recovered");
    let told = cluster.node(id).told();
    let line = told.lines().find(|line| line.contains("the end of the log was cut off")).unwrap();
    for part in [
        "WARN",
        " bytes=",
        &format!(" first_byte=byte {place} of log/00000001.wal"),
        "A crash in the middle of a write leaves that, and does no harm",
        "docs/operating.md#a-disk-that-forgets",
    ] {
        assert!(line.contains(part), "not in it: {part}\n{line}");
    }
}

/// A coordinator tells nobody that its own vote is durable. So nobody is misled if that is lost.
#[test]
fn a_coordinator_whose_log_was_cut_off_goes_on_with_what_the_others_have() {
    let (mut cluster, first) = Cluster::running(3);
    cluster.submit([first.id], &["a", "b", "c", "d"]);
    let place = lose_the_last_batch(&mut cluster, first.id);
    start_without_it(&mut cluster, first.id, &place);
    cluster.settled();
    let values: Vec<_> = cluster.same_everywhere().into_iter().map(|it| it.1).collect();
    assert_eq!(values, ["a", "b", "c", "d"]);
    assert_eq!(synod(&["health", "--endpoints", &cluster.endpoints([0, 1, 2])]).code, 0);
    // The next start has nothing to say.
    cluster.stop(first.id);
    cluster.start(first.id).tells("recovered");
    assert_eq!(cluster.node(first.id).lines_with("cut off"), 0);
}

#[test]
fn a_follower_whose_log_was_cut_off_has_forgotten_what_it_told() {
    let (mut cluster, first) = Cluster::running_calmly(3);
    for value in ["a", "b", "c", "d"] {
        cluster.submit([first.id], &[value]);
    }
    cluster.settled();
    let [id, third] = [1, 2].map(|more| (first.id + more) % 3);
    // Nobody can serve it again what it has lost, before it is reminded.
    cluster.stop(third);
    cluster.submit([first.id], &["e"]);
    let place = lose_the_last_batch(&mut cluster, id);
    cluster.node(first.id).tells("ceases to coordinate");
    start_without_it(&mut cluster, id, &place);
    let says = format!("replica {id} has told replica {} that it accepted slot ", first.id);
    cluster.node(id).fails_with(&[&says, "docs/operating.md#a-disk-that-forgets"]);
}

/// Damage is found when somebody reads the place, even if only a client follows the log.
#[test]
fn damage_that_is_found_while_the_log_is_read_ends_the_replica() {
    let (mut cluster, _) = Cluster::running(3);
    for value in ["a", "b", "c", "d"] {
        cluster.submit([0], &[value]);
    }
    let segment = cluster.data_dir(0).join("log/00000001.wal");
    flip(&segment, BLOCK + 100);
    let endpoint = cluster.endpoint(0);
    let args = ["follow", "--endpoints", &endpoint, "--until-caught-up", "--timeout", "2s"];
    let followed = synod(&args);
    assert_eq!(followed.code, 1, "{followed:?}");
    assert!(followed.stderr.contains("could not be followed"), "{followed:?}");
    let place = format!("{}: at byte 4,096: ", segment.display());
    cluster.node(0).fails_with(&[&place, "docs/operating.md#replace-a-machine"]);
    cluster.nodes.remove(&0);
    cluster.submit([1, 2], &["without replica 0"]);
    flip(&segment, BLOCK + 100);
    goes_on(&mut cluster);
}

#[test]
fn a_segment_that_was_cut_or_removed_is_named() {
    let (mut cluster, segment) = stopped();
    let whole = fs::read(&segment).unwrap();
    let name = segment.display().to_string();
    for length in [whole.len() as u64 - BLOCK, 2 * BLOCK, 0] {
        OpenOptions::new().write(true).open(&segment).unwrap().set_len(length).unwrap();
        let what = "bytes long, and a segment of this log has 2,097,152";
        refuses(&mut cluster, &[&[name.as_str(), what][..], &DAMAGE].concat());
    }
    fs::remove_file(&segment).unwrap();
    refuses(&mut cluster, &[&[name.as_str(), "is not there"][..], &DAMAGE].concat());
    fs::write(&segment, whole).unwrap();
    goes_on(&mut cluster);
}

#[test]
fn a_small_file_that_is_damaged_is_named() {
    let (mut cluster, _) = stopped();
    for name in ["identity", "incarnations", "peers"] {
        let path = cluster.data_dir(0).join(name);
        flip(&path, 20);
        let what = format!("{} is damaged: it fails its checksum", path.display());
        refuses(&mut cluster, &[&what, "docs/operating.md#replace-a-machine"]);
        flip(&path, 20);
    }
    goes_on(&mut cluster);
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// The content of a data directory, without the process id in the lock file, which is for people.
fn contents(data_dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let all = files(data_dir.to_owned()).chain(files(data_dir.join("log")));
    let kept = all.filter(|path| path.is_file() && !path.ends_with("LOCK"));
    kept.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}
