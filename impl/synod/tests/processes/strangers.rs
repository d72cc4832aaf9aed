//! Connections of those who do not belong here: noise, and replicas in the wrong place.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use fastrand::Rng;

use crate::cluster::Cluster;
use crate::wait::{SOON, chance, until};

/// What a node logs when it closes a connection of a client, and of a peer.
const CLOSED: [&str; 2] = ["closed a connection", "a caller from"];

/// How many log lines it has written about connections that it closed.
fn closed(cluster: &mut Cluster) -> usize {
    CLOSED.iter().map(|part| cluster.node(0).lines_with(part)).sum()
}

/// What no client and no replica sends, and whether it may be the beginning of what one sends, cut off
/// too soon.
fn noise(rng: &mut Rng) -> Vec<(Vec<u8>, bool)> {
    let whole = |bytes: Vec<u8>| (bytes, false);
    let mut noise = Vec::from([
        whole(b"GET / HTTP/1.1\r\nHost: synod\r\n\r\n".to_vec()),
        // The beginning of a very long frame, and of the longest that is ever sent.
        whole([&u32::MAX.to_le_bytes()[..], &[0; 64]].concat()),
        whole([&(1u32 << 20).to_le_bytes()[..], &[0; 64]].concat()),
        // An empty frame, and one whose checksum is wrong.
        whole(vec![0; 8]),
        whole([&8u32.to_le_bytes()[..], &[1; 4], &[0; 8]].concat()),
        // Half of a header, and half of a frame.
        (vec![8, 0, 0], true),
        ([&8u32.to_le_bytes()[..], &[1; 4], &[0; 4]].concat(), true),
    ]);
    for length in [100, 1000, 5000] {
        noise.push(whole((0..length).map(|_| rng.u8(..)).collect()));
    }
    noise
}

#[test]
fn noise_on_either_port_ends_its_connection_and_nothing_else() {
    let mut rng = chance();
    let (mut cluster, before) = Cluster::running_calmly(3);
    let warnings = cluster.node(0).lines_with("WARN");
    let memory = cluster.status([0])[0]["resident_bytes"].as_u64().unwrap();
    let mut callers = 0;
    for address in [cluster.peer_address(0), cluster.endpoint(0)] {
        for (bytes, is_cut_off) in noise(&mut rng) {
            callers += 1;
            let lines = closed(&mut cluster);
            say(&address, &bytes);
            if !is_cut_off {
                let what = format!("a line about {bytes:02x?} at {address}");
                until(&what, || (closed(&mut cluster) > lines).then_some(()));
            }
        }
    }
    let node = cluster.node(0);
    assert!(node.lines_with("WARN") <= callers + warnings, "one line each: {}", node.told());
    assert!(
        node.told()
            .lines()
            .filter(|line| CLOSED.iter().any(|part| line.contains(part)))
            .all(|line| line.contains("127.0.0.1:"))
    );
    assert_eq!(cluster.settled(), before);
    cluster.submit([0], &["all the same"]);
    let now = cluster.status([0])[0]["resident_bytes"].as_u64().unwrap();
    assert!(now < memory + (16 << 20), "{memory} bytes were resident, and now {now}");
}

/// Anybody who can reach a port can cause a log line for each connection, up to ten a second. Then there
/// is one line with a number.
#[test]
fn log_lines_about_strangers_are_limited() {
    const STRANGERS: usize = 200;
    let mut cluster = Cluster::made(3);
    cluster.start(0).tells("listens for clients");
    let parts = ["of clients were closed", "of callers were closed"];
    for (address, more) in [cluster.endpoint(0), cluster.peer_address(0)].iter().zip(parts) {
        let (began, lines) = (Instant::now(), closed(&mut cluster));
        for _ in 0..STRANGERS {
            say(address, b"GET / HTTP/1.1\r\nHost: synod\r\n\r\n");
        }
        let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
        let node = cluster.node(0);
        until(&format!("all that called at {address} are accounted for"), || {
            let told = node.told();
            let more = told.lines().filter(|line| line.contains(more)).map(number);
            let few = CLOSED.iter().map(|part| node.lines_with(part)).sum::<usize>() - lines;
            assert!(few <= 10 * seconds, "{few} lines in {seconds} s:\n{told}");
            (few + more.sum::<usize>() == STRANGERS).then_some(())
        });
    }
}

/// The number at the end of a line.
fn number(line: &str) -> usize {
    line.rsplit('=').next().unwrap().trim().parse().unwrap()
}

/// Sends something and then nothing more, and waits until the connection is closed.
fn say(address: &str, bytes: &[u8]) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    // The connection may be closed before everything is sent.
    let _ = socket.write_all(bytes).and_then(|()| socket.shutdown(Shutdown::Write));
    match socket.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

#[test]
fn strangers_who_say_nothing_are_not_kept() {
    let mut cluster = Cluster::made(3);
    cluster.start(0).tells("listens for clients");
    // More than there are places for callers that have not said who they are.
    let connect = |address: String| (0..80).map(move |_| TcpStream::connect(&address).unwrap());
    let mut sockets: Vec<_> =
        connect(cluster.peer_address(0)).chain(connect(cluster.endpoint(0))).collect();
    for id in [1, 2] {
        cluster.start(id);
    }
    cluster.settled();
    cluster.submit([0], &["all the same"]);
    for socket in &mut sockets {
        socket.set_read_timeout(Some(SOON)).unwrap();
        assert!(!matches!(socket.read(&mut [0]), Ok(1..)), "it is told something");
    }
}

#[test]
fn a_replica_of_another_cluster_is_turned_away() {
    let (mut cluster, before) = Cluster::running_calmly(3);
    // The same members at the same addresses, with another name.
    let mut other = Cluster::new(3);
    other.name = "another".to_owned();
    other.make(2);
    let args = [0, 1].map(|id| format!("{id}={}", cluster.peer_address(id))).join(",");
    other.more_args.insert(2, vec!["--peers".to_owned(), args]);
    other.start(2).tells("and this replica of \"another\"");
    other.node(2).tells("see whether each has the addresses of its own cluster");
    cluster.node(0).tells("is of cluster \"another\"");
    std::thread::sleep(std::time::Duration::from_secs(2));

    assert_eq!(cluster.settled(), before);
    let status = &other.status([2])[0];
    assert_eq!(status["forming"]["forming"]["missing"], serde_json::json!([0, 1]), "{status}");
    assert_eq!(status["promised"], 0);
    // It has tried again and again. That is logged now and then, not each time.
    assert!(other.node(2).lines_with("is of cluster") <= 2, "{}", other.node(2).told());
    for id in [0, 1] {
        let node = cluster.node(id);
        assert!(node.lines_with("is of cluster") <= 2, "{}", node.told());
    }
}

#[test]
fn an_address_that_leads_into_a_cluster_of_the_same_name_is_reported_as_a_possibility() {
    let (cluster, before) = Cluster::running_calmly(3);
    // Another cluster with the default name, made by somebody else, with one address mistyped.
    let mut other = Cluster::made(3);
    let address = cluster.peer_address(1);
    other.more_args.insert(2, vec!["--peers".to_owned(), format!("1={address}")]);
    other.start(2).fails_with(&[
        &format!("replica 1 at {address} knows this replica under another data directory"),
        "either this one was made anew under an id that was in use",
        &format!("or {address} leads to a replica of another cluster"),
        "--peers 1=HOST:PORT",
        "`synod init --cluster NAME`",
    ]);
    assert_eq!(cluster.settled(), before);

    other.nodes.remove(&2);
    other.more_args.insert(2, vec!["--peers".to_owned(), format!("1={}", other.peer_address(1))]);
    other.start_all();
    other.settled();
}

#[test]
fn an_address_that_leads_to_the_wrong_replica_is_named_and_can_be_mended() {
    let mut cluster = Cluster::made(3);
    let swapped = format!("1={},2={}", cluster.peer_address(2), cluster.peer_address(1));
    cluster.more_args.insert(0, vec!["--peers".to_owned(), swapped]);
    cluster.start_all();
    let wrong = ["is replica 2, and replica 1 was looked for", "is replica 1, and replica 2 was"];
    for part in wrong {
        cluster.node(0).tells(part);
    }
    cluster.node(0).tells("see whether the addresses of the replicas are mixed up");
    assert_eq!(cluster.node(0).lines_with("coordinates"), 0);
    assert_eq!(cluster.node(0).lines_with("was looked for"), 2, "once for each");

    cluster.stop(0);
    let right = format!("1={},2={}", cluster.peer_address(1), cluster.peer_address(2));
    cluster.more_args.insert(0, vec!["--peers".to_owned(), right]);
    cluster.start(0);
    cluster.settled();
    // The corrected address is stored.
    cluster.stop(0);
    cluster.more_args.clear();
    cluster.start(0);
    cluster.settled();
    cluster.submit([0], &["at last"]);
}
