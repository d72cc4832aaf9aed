//! The reader of a node's log lines may stall, as a log collector with a full disk does. That must not
//! stop the replica.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::cluster::Cluster;
use crate::process::Node;
use crate::wait::{SOON, until};

/// How many strangers. Each makes a line of more than a hundred bytes, and a pipe takes 65,536.
const STRANGERS: usize = 1000;

/// A pipe whose reader exists and does not read. The end that keeps it open must outlive the node.
fn stalled(folder: &Path) -> (PathBuf, File) {
    let path = folder.join("stalled");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    // Opening a pipe for reading and writing waits for nobody.
    let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    (path, reader)
}

/// A cluster of one, which logs every stranger, to a reader that does not read.
fn unread() -> (Cluster, File) {
    let mut cluster = Cluster::made(1);
    cluster.environment.insert("SYNOD_LOG", "debug".to_owned());
    let (pipe, reader) = stalled(cluster.path());
    cluster.nodes.insert(0, Node::start(&cluster.node_args(0), &cluster.environment, &pipe));
    until("the replica coordinates", || {
        (cluster.status([0])[0]["role"] == "coordinator").then_some(())
    });
    let endpoint = cluster.endpoint(0).parse().unwrap();
    for _ in 0..STRANGERS {
        let mut stranger = TcpStream::connect_timeout(&endpoint, SOON).unwrap();
        // The connection may be closed by then.
        let _ = stranger.write_all(b"GET / HTTP/1.1\r\n\r\n");
    }
    (cluster, reader)
}

#[test]
fn a_node_whose_reader_stalls_goes_on_and_tells_the_rest_when_it_is_read_again() {
    let (cluster, mut reader) = unread();
    cluster.submit([0], &["all the same"]);
    let (mut told, mut buffer) = (String::new(), [0; 4096]);
    while told.matches("closed a connection").count() < STRANGERS {
        let bytes = reader.read(&mut buffer).unwrap();
        told.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
    }
}

#[test]
fn a_node_whose_reader_stalls_stops_when_it_is_told_to() {
    let (mut cluster, _reader) = unread();
    cluster.stop(0);
}
