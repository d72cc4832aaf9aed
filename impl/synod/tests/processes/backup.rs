//! Snapshots that are saved from a running cluster, checked, and restored to a new one.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::command::synod;
use crate::process::Running;
use crate::snapshots::{
    AtWork, Ledgers, MIB, SENT_BYTES_PER_SECOND, ask, first_request, snapshots,
};
use crate::wait::until;

/// Saves a snapshot of one of these replicas. Returns what was told.
fn save(cluster: &Cluster, ids: &[u16], file: &Path) -> Json {
    let endpoints = cluster.endpoints(ids.iter().copied());
    let file = file.to_str().unwrap();
    let told = synod(&["snapshot", "save", file, "--json", "--endpoints", &endpoints]).stdout();
    serde_json::from_str(&told).unwrap()
}

fn verify(file: &Path) -> (i32, Json) {
    let done = synod(&["snapshot", "verify", "--json", file.to_str().unwrap()]);
    assert_eq!(done.stderr, "", "{done:?}");
    (done.code, serde_json::from_str(&done.stdout).unwrap())
}

fn restore_args(file: &Path, cluster: &Cluster, id: u16, name: &str, peers: &str) -> Vec<String> {
    let (file, data_dir) = (file.to_str().unwrap(), cluster.data_dir(id));
    let (data_dir, id) = (data_dir.to_str().unwrap(), id.to_string());
    let args = ["snapshot", "restore", file, "--data-dir", data_dir, "--id", &id];
    let more = ["--cluster", name, "--peers", peers];
    args.iter().chain(&more).map(|arg| (*arg).to_owned()).collect()
}

/// A new cluster of so many members that is restored from a saved snapshot. Nothing runs yet.
fn restored(file: &Path, size: u16, name: &str) -> Cluster {
    let cluster = Cluster::new(size);
    let mut ids = Vec::new();
    for id in cluster.ids() {
        let done = synod(&restore_args(file, &cluster, id, name, &cluster.peers()));
        assert_eq!(done.code, 0, "{done:?}");
        let (_, rest) = done.stdout.split_once(&format!("in cluster {name} (")).unwrap();
        ids.push(rest.split_once(')').unwrap().0.to_owned());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    cluster
}

#[test]
fn a_cluster_is_saved_while_clients_are_at_work_and_restored_as_a_new_one() {
    let mut old = Ledgers::running_in(Cluster::made(3), &[]);
    let first = Runtime::new().unwrap().block_on(first_request(&old.cluster));
    old.submit(&[0, 1], ["ballast 3000000".to_owned()]);
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name);

    // Clients are at work.
    let at_work = AtWork::begin(old.cluster.endpoints_from(0));
    let busy = save(&old.cluster, &[2, 1], &file("busy"));
    assert!(busy["bytes"].as_u64().unwrap() > 3_000_000, "{busy}");
    assert_eq!(fs::metadata(file("busy")).unwrap().len(), busy["bytes"].as_u64().unwrap());
    assert!(at_work.end() > 0);
    let (code, sound) = verify(&file("busy"));
    assert_eq!(
        (code, &sound["is_sound"], &sound["cluster"]),
        (0, &true.into(), &"processes".into())
    );
    for field in ["slot", "bytes", "checksum", "cluster_id"] {
        assert_eq!(sound[field], busy[field], "{field}");
    }
    assert!(sound["sessions"].as_u64().unwrap() >= 1, "{sound}");
    assert!(sound["state_bytes"].as_u64().unwrap() > 3_000_000, "{sound}");
    // No log is cut for it, and nothing but the file is left.
    for id in 0..3 {
        assert_eq!(snapshots(&old.cluster, id)["log_starts_at"], 1);
    }
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 1);
    let endpoint = old.cluster.endpoint(0);
    let again = ["snapshot", "save", file("busy").to_str().unwrap(), "--endpoints", &endpoint]
        .map(str::to_owned);
    synod(&again).failed_with(&["busy exists", "choose another name"]);

    // Nobody is at work. The replicas have equal files.
    old.same_everywhere();
    let state = old.query(0);
    let saved = save(&old.cluster, &[0], &file("saved"));
    let other = save(&old.cluster, &[1], &file("other"));
    if saved["slot"] == other["slot"] {
        assert!(fs::read(file("saved")).unwrap() == fs::read(file("other")).unwrap());
    }

    // Damage is told, with its place, and nothing is restored from it.
    damage_is_told(&file("saved"), &file("damaged"));
    let nowhere = Cluster::new(1);
    let args = restore_args(&file("damaged"), &nowhere, 0, "damaged", &nowhere.peers());
    synod(&args).failed_with(&["at byte", "nothing is restored from it"]);
    assert!(!nowhere.data_dir(0).exists());

    // A replica whose disk has changed its snapshot cannot give it away. Another one can.
    let name = format!("snapshots/{:020}.snapshot", saved["slot"].as_u64().unwrap());
    let its = old.cluster.data_dir(0).join(name);
    let mut bytes = fs::read(&its).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&its, bytes).unwrap();
    let bad = ["snapshot", "save", file("bad").to_str().unwrap(), "--endpoints", &endpoint]
        .map(str::to_owned);
    let both = old.cluster.endpoints([0, 1]);
    let good = ["snapshot", "save", file("good").to_str().unwrap(), "--endpoints", &both]
        .map(str::to_owned);
    synod(&bad).failed_with(&["its snapshot is damaged, at byte", "synod inspect"]);
    let good = synod(&good);
    assert!(good.code == 0 && good.stderr.contains("its snapshot is damaged"), "{good:?}");
    assert!(!file("bad").exists() && fs::read(file("good")).unwrap().len() > 3_000_000);

    let new = restored(&file("saved"), 3, "restored");
    let over = restore_args(&file("saved"), &new, 1, "restored", &new.peers());
    synod(&over).failed_with(&["is the data directory of a replica already"]);
    let over = restore_args(&file("saved"), &old.cluster, 1, "restored", &new.peers());
    synod(&over).failed_with(&["is the data directory of a replica already"]);

    // The old cluster goes on meanwhile.
    let new = Ledgers::running_in(new, &[]);
    until("the new cluster has its state", || (new.agree(&[0, 1, 2]) > 0).then_some(()));
    assert_eq!(new.query(1), state);
    let (request, told) = first;
    let again = Runtime::new().unwrap().block_on(ask(&new.cluster, 2, request));
    assert_eq!(again, told, "what the old cluster has done is done");
    assert_eq!(new.query(1), state);
    new.submit(&[2], (0..20).map(|count| format!("in the new cluster {count}")));
    new.same_everywhere();
    assert_ne!(new.query(0), state);
    old.submit(&[1], ["in the old cluster".to_owned()]);
    old.same_everywhere();
    assert_ne!(new.query(0), old.query(0));

    // All of them start again from what they have.
    let mut new = new;
    (0..3).for_each(|id| new.kill(id));
    (0..3).for_each(|id| new.start(id));
    new.submit(&[0], ["after a restart".to_owned()]);
    new.same_everywhere();
    old.kill(0);
}

/// Damages copies of a saved snapshot, the last one at several places.
fn damage_is_told(saved: &Path, damaged: &Path) {
    let sound = fs::read(saved).unwrap();
    let length = sound.len() as u64;
    let check = |bytes: &[u8], expected: &[u64]| {
        fs::write(damaged, bytes).unwrap();
        let (code, told) = verify(damaged);
        let flaws = told["flaws"].as_array().unwrap();
        let found: Vec<_> = flaws.iter().map(|it| it["byte"].as_u64().unwrap()).collect();
        assert_eq!((code, &found[..]), (1, expected), "{told}");
    };
    let changed = |places: &[usize]| {
        let mut bytes = sound.clone();
        for at in places {
            bytes[*at] ^= 4;
        }
        bytes
    };
    check(&changed(&[20]), &[0]);
    check(&changed(&[140]), &[128]);
    check(&changed(&[sound.len() - 1]), &[length - 28]);
    check(&sound[..sound.len() - 5], &[length - 5]);
    check(&[&sound[..], b"more"].concat(), &[length]);
    // The chunk of the handle is the only one that is not full, but for the last one.
    let handle = u64::from(u32::from_le_bytes(sound[132..136].try_into().unwrap()));
    let chunk = |number: u64| 128 + 12 + handle + number * 65_548;
    let inside = |number: u64| usize::try_from(chunk(number) + 1000).unwrap();
    check(&changed(&[inside(3), inside(11), inside(40)]), &[chunk(3), chunk(11), chunk(40)]);
    let text = synod(&["snapshot", "verify", damaged.to_str().unwrap()]);
    assert_eq!(text.code, 1);
    let line = format!("at byte {}: a chunk of 65,548 bytes fails its checksum", chunk(11));
    assert!(text.stdout.contains(&line), "{text:?}");
}

/// Starts `synod snapshot save`.
fn begin_save(cluster: &Cluster, ids: &[u16], file: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(["snapshot", "save", file.to_str().unwrap(), "--endpoints"]);
    command.arg(cluster.endpoints(ids.iter().copied()));
    let told = fs::File::create(file.with_extension("told")).unwrap();
    command.stdin(Stdio::null()).stdout(told.try_clone().unwrap()).stderr(told);
    Running::start(&mut command)
}

fn has_a_part(file: &Path) {
    let part = file.with_file_name(format!("{}.part", file.file_name().unwrap().display()));
    until("it has a part", || (fs::metadata(&part).ok()?.len() > MIB).then_some(()));
    assert!(!file.exists());
}

fn ends_well(mut save: Running, file: &Path) {
    let status = until("it is saved", || save.0.try_wait().unwrap());
    let told = fs::read_to_string(file.with_extension("told")).unwrap();
    assert_eq!(status.code(), Some(0), "{told}");
    assert_eq!(verify(file).0, 0);
}

/// `kill -9` of the replica whose snapshot is saved. If it comes back, it goes on; if not, another one does it.
#[test]
fn a_save_outlives_the_replica() {
    let mut ledgers = Ledgers::running_in(Cluster::made(3), &[(SENT_BYTES_PER_SECOND, 2 * MIB)]);
    ledgers.submit(&[0, 1], ["ballast 6000000".to_owned()]);
    ledgers.same_everywhere();
    let files = tempfile::tempdir().unwrap();

    let file = files.path().join("comes-back");
    let save = begin_save(&ledgers.cluster, &[0], &file);
    has_a_part(&file);
    ledgers.kill(0);
    ledgers.start(0);
    ends_well(save, &file);

    let file = files.path().join("another");
    let save = begin_save(&ledgers.cluster, &[0, 1], &file);
    has_a_part(&file);
    ledgers.kill(0);
    ends_well(save, &file);

    // Nobody is left who could go on.
    let file = files.path().join("nobody");
    ledgers.start(0);
    ledgers.agree(&[0, 1, 2]);
    let mut save = begin_save(&ledgers.cluster, &[1, 2], &file);
    has_a_part(&file);
    (0..3).for_each(|id| ledgers.kill(id));
    let status = until("it gives up", || save.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    assert!(!file.exists() && !file.with_extension("part").exists());
}

/// No record names a snapshot that is only saved, so it goes with the next one, or with the next start.
#[test]
fn what_is_saved_does_not_pile_up_at_the_replica() {
    let (mut cluster, _) = Cluster::running(3);
    let files = tempfile::tempdir().unwrap();
    let kept = |cluster: &Cluster| {
        let names = fs::read_dir(cluster.data_dir(0).join("snapshots")).unwrap().flatten();
        names.map(|it| it.file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    for count in 0..4 {
        cluster.submit([0], &[&count.to_string()]);
        let file = files.path().join(count.to_string());
        let endpoint = cluster.endpoint(0);
        let saved = synod(&["snapshot", "save", file.to_str().unwrap(), "--endpoints", &endpoint]);
        assert_eq!(saved.code, 0, "{saved:?}");
        assert_eq!(kept(&cluster).len(), 1, "{:?}", kept(&cluster));
    }
    cluster.kill(0);
    cluster.start(0);
    cluster.settled();
    assert_eq!(kept(&cluster), [""; 0]);
    assert_eq!(cluster.values(0).len(), 4, "no log was cut");
}

/// The log of `synod node` has no state: what is saved says so. It is restored all the same, and no replica of the one
/// cluster takes one of the other for a member.
#[test]
fn old_and_new_cluster_never_talk() {
    let (mut old, _) = Cluster::running(3);
    let slots = old.submit([0], &["one", "two", "three"]);
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("bare");
    let endpoint = old.endpoint(0);
    let saved = synod(&["snapshot", "save", file.to_str().unwrap(), "--endpoints", &endpoint]);
    assert_eq!(saved.code, 0, "{saved:?}");
    assert!(saved.stderr.contains("the values of a bare log are in no snapshot"), "{saved:?}");
    // They are still in the log.
    let values: Vec<_> = old.values(0).into_iter().map(|it| it.0).collect();
    assert_eq!(values, slots);
    let told = synod(&["snapshot", "verify", file.to_str().unwrap()]).stdout();
    assert!(told.contains("state     none: it is of a bare log"), "{told}");
    assert!(told.contains("cluster   processes ("), "{told}");

    let mut new = restored(&file, 3, "processes");
    new.start_all();
    new.settled();
    let after = new.submit([1], &["four"])[0];
    assert!(after > slots[2], "{after}");
    let from = snapshots(&new, 2)["log_starts_at"].to_string();
    let endpoint = new.endpoint(2);
    let args = ["follow", "--until-caught-up", "--from", &from, "--endpoints", &endpoint];
    assert_eq!(synod(&args).stdout(), format!("{after}\tfour\n"));
    let gone = synod(&["follow", "--from", "1", "--until-caught-up", "--endpoints", &endpoint]);
    assert_eq!(gone.code, 1, "{gone:?}");

    // An address of the new one leads into the old one.
    let strays = Cluster::new(3);
    let peers =
        format!("0={},1={},2={}", strays.peer_address(0), old.peer_address(1), old.peer_address(2));
    let done = synod(&restore_args(&file, &strays, 0, "processes", &peers));
    assert_eq!(done.code, 0, "{done:?}");
    let mut strays = strays;
    strays.start(0);
    strays.node(0).tells("cluster");
    until("both sides say so", || {
        let told = strays.nodes[&0].told();
        let is_told = told.contains("another cluster") || told.contains("is of cluster");
        (is_told && old.nodes[&1].told().contains("cluster")).then_some(())
    });
    let status = synod(&["status", "--endpoints", &strays.endpoint(0)]);
    assert_eq!(status.code, 3, "{status:?}");
    old.submit([2], &["still there"]);
    old.kill(0);
}
