//! Data directories that are in use, missing, of another replica, or not writable.

use std::fs;

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::cluster::Cluster;
use crate::command::{Done, synod};
use crate::mount::Mount;
use crate::process::Node;

/// Runs a node that must not start.
fn node(cluster: &Cluster, id: u16) -> Done {
    let mut args = cluster.node_args(id);
    args.insert(0, "node".to_owned());
    synod(&args)
}

fn init(cluster: &Cluster, data_dir: &str) -> Done {
    synod(&["init", "--data-dir", data_dir, "--id", "0", "--peers", &cluster.peers()])
}

#[test]
fn what_init_makes_a_node_runs_and_init_never_makes_again() {
    let mut cluster = Cluster::new(3);
    let data_dir = cluster.data_dir(0).to_str().unwrap().to_owned();
    let made = init(&cluster, &data_dir).stdout();
    assert!(made.contains("r0: replica 0 of 3 in cluster synod ("), "{made}");
    init(&cluster, &data_dir).failed_with(&[
        &data_dir,
        "is the data directory of a replica already",
        "`synod node` runs it",
    ]);
    cluster.start(0).tells("listens for clients");
    init(&cluster, &data_dir).failed_with(&["is the data directory of a replica already"]);
    let status = &cluster.status([0])[0];
    assert_eq!(status["forming"]["forming"]["missing"], serde_json::json!([1, 2]), "{status}");
    // Until the other members have come, it takes nothing, and says why.
    let endpoint = cluster.endpoint(0);
    let done = synod(&["submit", "--timeout", "300ms", "--endpoints", &endpoint, "early"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stderr.contains("the cluster is still forming"), "{done:?}");
    cluster.stop(0);
}

#[test]
fn init_refuses_members_that_could_never_meet() {
    let cluster = Cluster::new(3);
    let data_dir = cluster.data_dir(0).to_str().unwrap().to_owned();
    for (peers, says) in [
        ("0=a:1,1=b:1,2=a:1", "replicas 0 and 2 have the same address, a:1"),
        ("0=a:0,1=b:1,2=c:1", "`a:0` is nowhere that others can go"),
        ("0=0.0.0.0:1,1=b:1,2=c:1", "`0.0.0.0:1` is nowhere that others can go"),
        ("0=[::]:1,1=b:1,2=c:1", "`[::]:1` is nowhere that others can go"),
        ("0=a b:1,1=b:1,2=c:1", "`a b:1` has a blank in it"),
    ] {
        let done = synod(&["init", "--data-dir", &data_dir, "--id", "0", "--peers", peers]);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains(says), "{done:?}");
    }
    let many: Vec<_> = (0..17).map(|id| format!("{id}=h{id}:1")).collect();
    synod(&["init", "--data-dir", &data_dir, "--id", "0", "--peers", &many.join(",")])
        .failed_with(&["17 members are more than a configuration can have (16)"]);
    assert!(!cluster.data_dir(0).exists());
}

#[test]
fn a_second_process_on_a_data_directory_is_told_which_one_has_it() {
    let mut cluster = Cluster::made(3);
    cluster.start(0).tells("listens for clients");
    let holder = format!("is in use by process {}\n", cluster.node(0).pid());
    let data_dir = cluster.data_dir(0).to_str().unwrap().to_owned();
    let elsewhere = [cluster.peer_address(1), cluster.endpoint(1)];
    let args = ["node", "--data-dir", &data_dir, "--listen-peer", &elsewhere[0]];
    synod(&[&args[..], &["--listen-client", &elsewhere[1]]].concat()).failed_with(&[
        &format!("data directory {data_dir} {holder}"),
        "every replica needs a directory of its own: stop that process, or choose another",
    ]);
    let inspected = synod(&["inspect", &data_dir]).stdout();
    let holder = format!("process {} has it open", cluster.node(0).pid());
    assert!(inspected.contains(&holder), "{inspected}");
    // The first node has not noticed anything.
    assert_eq!(cluster.node(0).lines_with("WARN"), cluster.node(0).lines_with("cannot be reached"));
    assert_eq!(cluster.status([0])[0]["reachable"], true);
    // After `kill -9` nobody holds the lock, whatever the lock file says.
    cluster.kill(0);
    cluster.start(0).tells("listens for clients");
}

#[test]
fn a_node_makes_no_data_directory() {
    let cluster = Cluster::new(3);
    let advice = ["is empty, or not there", "`synod init` makes its data directory"];
    let data_dir = cluster.data_dir(0);
    node(&cluster, 0).failed_with(&[&advice[..], &[data_dir.to_str().unwrap()]].concat());
    assert!(!data_dir.exists());

    // This is what a disk looks like that is not mounted.
    fs::create_dir(&data_dir).unwrap();
    node(&cluster, 0).failed_with(&advice);
    assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 0);

    fs::write(data_dir.join("notes.txt"), "mine").unwrap();
    node(&cluster, 0).failed_with(&[
        "is not the data directory of a replica",
        "there is no file `identity` in it",
    ]);
    init(&cluster, data_dir.to_str().unwrap())
        .failed_with(&["is not empty: there is notes.txt", "nothing was changed"]);
    let names: Vec<_> =
        fs::read_dir(&data_dir).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["notes.txt"]);
}

#[test]
fn a_file_in_the_way_is_named() {
    let cluster = Cluster::new(3);
    let data_dir = cluster.file("r0", "no directory");
    let fits = "there should be a directory, and something else is in its place";
    node(&cluster, 0).failed_with(&[&data_dir, "Not a directory", fits]);
    init(&cluster, &data_dir).failed_with(&[&data_dir, "Not a directory", fits]);
    synod(&["inspect", &data_dir]).failed_with(&[&data_dir, "Not a directory", fits]);
    init(&cluster, &format!("{data_dir}/below")).failed_with(&[&data_dir, "Not a directory"]);
    assert_eq!(fs::read_to_string(&data_dir).unwrap(), "no directory");
}

#[test]
fn something_else_in_the_place_of_a_file_is_named_and_not_waited_for() {
    let cluster = Cluster::made(3);
    let data_dir = cluster.data_dir(0);
    let shown = data_dir.to_str().unwrap().to_owned();
    for name in ["LOCK", "identity", "incarnations", "peers", "log/00000001.wal"] {
        let (path, aside) = (data_dir.join(name), cluster.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        let says = [path.to_str().unwrap(), "there should be a file, and a directory is"];
        node(&cluster, 0).failed_with(&says);
        let inspected = synod(&["inspect", &shown]);
        assert!(says.iter().all(|part| inspected.stdout.contains(part)), "{inspected:?}");
        fs::remove_dir(&path).unwrap();

        // A disk that has gone away differs from a file only in that it does not answer. So does a pipe
        // in the place of a segment. A start can be stopped while it waits for either.
        if !name.starts_with("log/") {
            mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
            let says = [path.to_str().unwrap(), "there should be a file, and something else is"];
            node(&cluster, 0).failed_with(&says);
            let inspected = synod(&["inspect", &shown]);
            assert!(says.iter().all(|part| inspected.stdout.contains(part)), "{inspected:?}");
            fs::remove_file(&path).unwrap();
        }
        fs::rename(&aside, &path).unwrap();
    }
    assert!(synod(&["inspect", &shown]).stdout().contains("the log is sound"));
}

#[test]
fn a_data_directory_that_cannot_be_written_to_is_not_used() {
    let mut cluster = Cluster::new(3);
    let Some(mount) = Mount::new(cluster.path().join("disk"), 8 << 20) else {
        return;
    };
    cluster.elsewhere.insert(0, mount.path().join("r0"));
    cluster.make(0);
    mount.make_read_only();
    node(&cluster, 0).failed_with(&[
        "/r0/LOCK: Read-only file system",
        "see whether the file system was made read-only after an error",
    ]);
    let other = mount.path().join("r1");
    init(&cluster, other.to_str().unwrap()).failed_with(&["/r1", "Read-only file system"]);
}

/// Both nodes greet the others with the same incarnation, and take turns in being heard.
#[test]
fn two_processes_with_copies_of_one_data_directory_are_detected() {
    let (mut cluster, _) = Cluster::running_calmly(3);
    cluster.stop(1);
    let copy = cluster.copy_data_dir(1);
    cluster.start(1);
    let mut args = vec!["--data-dir".to_owned(), copy.to_str().unwrap().to_owned()];
    // At an address where nobody looks for a replica of this cluster.
    args.extend(["--listen-client".to_owned(), cluster.endpoint(8)]);
    args.extend(["--listen-peer".to_owned(), cluster.peer_address(8)]);
    let log = cluster.path().join("copy.log");
    let _copy = Node::start(&args, &cluster.environment, &log);
    cluster.node(0).tells("is run by two processes");
    cluster.node(2).tells("is run by two processes");
}
