//! Idle clients cost a replica nothing but a file descriptor each, and descriptors are few.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use synod_client::Connection;
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::process::Node;
use crate::wait::{SOON, until};

/// How many files the replica may have open: 128 for clients, and those that are reserved.
const FILES_MAX: usize = 128 + 256;

/// Starts replica 0, with a limit in the form of `ulimit`.
fn start_limited(cluster: &mut Cluster, limit: &str) {
    let (args, log) = (cluster.node_args(0), cluster.log(0));
    let node = Node::start_limited(limit, &args, &cluster.environment, &log);
    cluster.nodes.insert(0, node);
}

#[test]
fn more_idle_clients_than_there_are_descriptors_do_not_end_a_replica() {
    let mut cluster = Cluster::made(3);
    start_limited(&mut cluster, &format!("-n {FILES_MAX}"));
    cluster.start_all();
    cluster.settled();
    cluster.node(0).tells("connections=128");

    let runtime = Runtime::new().unwrap();
    let endpoint = cluster.endpoint(0).parse().unwrap();
    let connect = || runtime.block_on(Connection::connect(&endpoint, Duration::from_secs(2))).ok();
    let idle: Vec<_> = std::iter::from_fn(connect).take(FILES_MAX).collect();
    // Other connections keep trying, and would take any place that becomes free.
    let address = cluster.endpoint(0).parse().unwrap();
    let silent = (0..40).map(|_| TcpStream::connect_timeout(&address, SOON).unwrap());
    let silent: Vec<_> = silent.collect();
    // One segment is there and one is being made. This is more than both hold: about 100 KiB each.
    let values: Vec<_> = (0..60).map(|count| format!("{count} {}", "x".repeat(100_000))).collect();
    for value in &values {
        cluster.submit([1, 2], &[value]);
    }
    let segment = cluster.data_dir(0).join("log/00000003.wal");
    until("replica 0 writes its third segment", || {
        let node = cluster.node(0);
        assert!(node.exit_status().is_none(), "it has ended:\n{}", node.told());
        fs::read(&segment).ok().filter(|it| it.iter().any(|it| *it != 0)).map(drop)
    });
    assert_eq!(idle.len(), 128);
    drop((idle, silent));
    until("the places are free again", connect);
    assert!(cluster.same_everywhere().into_iter().map(|it| it.1).eq(values));
}

#[test]
fn a_limit_that_may_be_raised_is_raised() {
    let mut cluster = Cluster::made(1);
    start_limited(&mut cluster, "-S -n 64");
    cluster.settled();
    let limits = fs::read_to_string(format!("/proc/{}/limits", cluster.node(0).pid())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut soft_and_hard = open_files.split_whitespace().skip(3);
    assert_eq!(soft_and_hard.next(), soft_and_hard.next(), "{open_files}");
}
