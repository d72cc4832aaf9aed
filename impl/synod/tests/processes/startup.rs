//! A node that is told to do something impossible.

use std::fs;
use std::net::TcpListener;

use crate::cluster::Cluster;
use crate::command::{Done, synod};
use crate::process::with_nobody_starting;
use crate::wait::until;
use rustix::fs::{CWD, Mode, mkfifoat};

/// Runs replica 0 with these further arguments.
fn node(cluster: &Cluster, more: &[&str]) -> Done {
    let mut args = cluster.node_args(0);
    args.insert(0, "node".to_owned());
    args.extend(more.iter().map(|it| (*it).to_owned()));
    synod(&args)
}

#[test]
fn an_unknown_key_of_the_configuration_is_reported() {
    let cluster = Cluster::made(3);
    for (content, key) in [
        ("listen_cleint = '127.0.0.1:1'\n", "listen_cleint"),
        ("[timing]\nheartbeat_sm = 5\n", "heartbeat_sm"),
    ] {
        let file = cluster.file("node.toml", content);
        node(&cluster, &["--config", &file]).failed_with(&[&file, key, "unknown field"]);
    }
    let file = cluster.file("node.toml", "[timing]\nheartbeat_ms = 100\nsuspect_after_ms = 150\n");
    node(&cluster, &["--config", &file]).failed_with(&[
        "heartbeat_ms is 100, and suspect_after_ms 150",
        &file,
        "[timing]",
    ]);
    let file = cluster.file("node.toml", "listen_peer = 'nowhere'\n");
    node(&cluster, &["--config", &file]).failed_with(&[&format!("{file}: listen_peer"), "no port"]);
    let file = cluster.file("node.toml", "[timing]\nhung_after_ms = 199\n");
    node(&cluster, &["--config", &file])
        .failed_with(&["hung_after_ms is 199, and suspect_after_ms 200", "every busy disk"]);
    let file = cluster.file("node.toml", "[timing]\nheartbeat_ms = 'soon'\n");
    node(&cluster, &["--config", &file]).failed_with(&[&file, "heartbeat_ms = 'soon'"]);
    let missing = format!("{file}.missing");
    node(&cluster, &["--config", &missing]).failed_with(&[&missing, "No such file"]);
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_chooses_another() {
    let cluster = Cluster::made(3);
    let failed = |at: &str, done: Done, parts: [&str; 2]| {
        assert_eq!(done.code, 1, "{done:?}");
        for part in
            [at, "Address already in use", "find out what uses that port"].iter().chain(&parts)
        {
            assert!(done.stderr.contains(part), "not in it: {part}\n{}", done.stderr);
        }
        assert_eq!(done.stderr.matches("Address already in use").count(), 1, "{}", done.stderr);
    };
    let for_peers = TcpListener::bind(cluster.peer_address(0)).unwrap();
    let parts = ["cannot listen for peers at", "--listen-peer HOST:PORT"];
    failed(&cluster.peer_address(0), node(&cluster, &[]), parts);
    with_nobody_starting(|| drop(for_peers));
    let _for_clients = TcpListener::bind(cluster.endpoint(0)).unwrap();
    let parts = ["cannot listen for clients at", "--listen-client HOST:PORT"];
    failed(&cluster.endpoint(0), node(&cluster, &[]), parts);
}

#[test]
fn addresses_that_lead_nowhere_are_refused() {
    let cluster = Cluster::made(3);
    let taken = format!("1={}", cluster.peer_address(2));
    node(&cluster, &["--peers", &taken])
        .failed_with(&["replicas 1 and 2 would have the same address"]);
    let data_dir = cluster.data_dir(0).to_str().unwrap().to_owned();
    let done = synod(&["node", "--data-dir", &data_dir]);
    assert_eq!(done.code, 2, "{done:?}");
    for part in ["nothing says where to listen for clients", "--listen-client HOST:PORT"] {
        assert!(done.stderr.contains(part), "{done:?}");
    }
    for address in ["nowhere", "nowhere:0", "0.0.0.0:7000", "[::]:7000"] {
        let done = node(&cluster, &["--peers", &format!("1={address}")]);
        assert_eq!(done.code, 2, "clap refuses it: {done:?}");
    }
    let file = cluster.file("node.toml", "[peers]\n1 = '0.0.0.0:7000'\n");
    node(&cluster, &["--config", &file])
        .failed_with(&["is nowhere that others can go", &format!("{file}: [peers] 1")]);
    for own in [0, 2].map(|id| cluster.peer_address(id)) {
        node(&cluster, &["--peers", &format!("1={own}")]).failed_with(&[
            "would have the same address",
            &own,
            "--peers ID=HOST:PORT",
        ]);
    }
}

/// Makes the log of a replica one that is never read to its end: its first segment is a pipe without a
/// writer, and opening it waits.
fn endless_log(cluster: &Cluster, id: u16) {
    let segment = cluster.data_dir(id).join("log/00000001.wal");
    fs::remove_file(&segment).unwrap();
    mkfifoat(CWD, &segment, Mode::RUSR | Mode::WUSR).unwrap();
}

#[test]
fn what_can_be_refused_is_refused_before_the_log_is_read() {
    let cluster = Cluster::made(3);
    endless_log(&cluster, 0);
    let in_use = "Address already in use";
    let for_peers = TcpListener::bind(cluster.peer_address(0)).unwrap();
    node(&cluster, &[]).failed_with(&["cannot listen for peers at", in_use]);
    with_nobody_starting(|| drop(for_peers));
    let for_clients = TcpListener::bind(cluster.endpoint(0)).unwrap();
    node(&cluster, &[]).failed_with(&["cannot listen for clients at", in_use]);
    with_nobody_starting(|| drop(for_clients));
    let taken = format!("1={}", cluster.peer_address(2));
    node(&cluster, &["--peers", &taken]).failed_with(&["would have the same address"]);
}

#[test]
fn a_node_that_reads_its_log_says_so_and_clients_go_elsewhere() {
    let (mut cluster, _) = Cluster::running(3);
    cluster.stop(0);
    endless_log(&cluster, 0);
    cluster.start(0).tells("reads the log");
    let endpoint = cluster.endpoint(0);
    until("the client port says how far it is", || {
        let done = synod(&["status", "--endpoints", &endpoint]);
        done.stdout.contains("reading the log, 0 of ").then_some(())
    });
    let report = &cluster.status([0])[0];
    assert_eq!(report["reachable"], true, "{report}");
    assert_eq!(report["starting"]["segments_read"], 0, "{report}");

    let args = ["submit", "--timeout", "1s", "--endpoints", &endpoint, "early"];
    let done = synod(&args);
    assert_eq!(done.code, 3, "it is not done: {done:?}");
    assert!(done.stderr.contains("it is starting, and reads its log"), "{done:?}");
    for command in ["read", "follow"] {
        synod(&[command, "--timeout", "1s", "--endpoints", &endpoint]).failed_with(&["starting"]);
    }
    // The others work, and a client finds them. They say what they wait for, and say it once.
    cluster.settled_among(&[1, 2]);
    // At the first start its log had one segment at most.
    let is_told = |line: &str| {
        line.contains("replica 0 at ") && line.contains("reads its log: 0 of 2 segments")
    };
    let count = |cluster: &mut Cluster, id: u16| {
        cluster.node(id).told().lines().filter(|line| is_told(line)).count()
    };
    for id in [1, 2] {
        until("a peer says that it waits", || (count(&mut cluster, id) > 0).then_some(()));
    }
    cluster.submit([0, 1, 2], &["elsewhere"]);
    assert!(cluster.read([0, 1, 2]) > 0);
    assert_eq!(count(&mut cluster, 1), 1);
    cluster.stop(0);
}

#[test]
fn ports_that_the_system_gives_to_callers_are_warned_of() {
    let mut cluster = Cluster::made(3);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first = range.split_whitespace().next().unwrap();
    let address = format!("127.0.0.1:{first}");
    cluster.more_args.entry(0).or_default().extend(["--peers".to_owned(), format!("1={address}")]);
    let node = cluster.start(0);
    node.tells("the port is one of those that the system gives to callers");
    node.tells(&address);
    cluster.stop(0);
    let directory = cluster.path().join("other");
    let directory = directory.to_str().unwrap();
    let peers = format!("0={address},1=127.0.0.1:1000");
    let done = synod(&["init", "--data-dir", directory, "--id", "0", "--peers", &peers]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.stderr.matches("warning: ").count(), 1, "{done:?}");
    assert!(done.stderr.contains(&format!("the port of {address} ")), "{done:?}");
}

#[test]
fn the_exit_code_says_whether_another_start_can_help() {
    let mut cluster = Cluster::made(3);
    let taken = format!("1={}", cluster.peer_address(2));
    assert_eq!(node(&cluster, &["--peers", &taken]).code, 5);
    let _taken = TcpListener::bind(cluster.endpoint(0)).unwrap();
    assert_eq!(node(&cluster, &[]).code, 1);
    cluster.elsewhere.insert(0, cluster.path().join("nothing"));
    assert_eq!(node(&cluster, &[]).code, 5);
}

#[test]
fn an_error_is_a_line_of_a_json_log() {
    let cluster = Cluster::made(3);
    let taken = format!("1={}", cluster.peer_address(2));
    let done = node(&cluster, &["--log", "json", "--peers", &taken]);
    let last: serde_json::Value =
        serde_json::from_str(done.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "ERROR", "{done:?}");
    assert_eq!(last["fields"]["exit_code"], 5);
    let message = last["fields"]["message"].as_str().unwrap();
    assert!(message.starts_with("replicas 1 and 2 would have the same address"), "{message}");
    for line in done.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect(line);
    }
}

/// A store of log lines takes each field as the type that it met first.
#[test]
fn a_field_of_a_json_log_has_one_type() {
    let mut cluster = Cluster::made(3);
    for id in cluster.ids() {
        cluster.more_args.entry(id).or_default().extend(["--log".to_owned(), "json".to_owned()]);
    }
    cluster.environment.insert("SYNOD_LOG", "debug".to_owned());
    cluster.start_all();
    let before = cluster.settled();
    cluster.kill(before.id);
    let others: Vec<_> = cluster.ids().filter(|id| *id != before.id).collect();
    cluster.settled_among(&others);
    cluster.start(before.id);
    cluster.settled();
    let mut types = std::collections::BTreeMap::new();
    for id in cluster.ids() {
        for line in cluster.node(id).told().lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect(line);
            for (name, value) in line["fields"].as_object().unwrap() {
                let of = (value.is_string(), value.is_number(), value.is_boolean());
                assert_eq!(*types.entry(name.clone()).or_insert(of), of, "{name}: {line}");
            }
        }
    }
    assert!(types.len() > 3, "{types:?}");
}

#[test]
fn an_invalid_filter_of_log_lines_is_an_error() {
    let mut cluster = Cluster::made(3);
    cluster.environment.insert("SYNOD_LOG", "debgu".to_owned());
    let node = cluster.start(0);
    assert_eq!(node.ended(), 2);
    assert!(node.told().contains("SYNOD_LOG is `debgu`"), "{}", node.told());
}
