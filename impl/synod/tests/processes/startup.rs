//! A node that is told to do something impossible.

use std::net::TcpListener;

use crate::cluster::Cluster;
use crate::command::{Done, synod};
use crate::process::with_nobody_starting;

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
    node(&cluster, &["--config", &file])
        .failed_with(&["heartbeat_ms is 100, and suspect_after_ms 150"]);
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
    node(&cluster, &["--peers", "7=127.0.0.1:1"]).failed_with(&["7 is no member of this cluster"]);
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
    node(&cluster, &["--config", &file]).failed_with(&["is nowhere that others can go"]);
    for own in [0, 2].map(|id| cluster.peer_address(id)) {
        node(&cluster, &["--peers", &format!("1={own}")]).failed_with(&[
            "would have the same address",
            &own,
            "--peers ID=HOST:PORT",
        ]);
    }
}
