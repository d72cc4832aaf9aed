//! The network between replicas, so that it can be cut: every link from one replica to another leads
//! through here.
//!
//! What is sent over a cut link is held back, as TCP does when packets get lost. It goes on when the
//! link is restored. So both ends notice only silence.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

use crate::cluster::Cluster;

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// All links between the replicas of a cluster.
#[derive(Debug)]
pub(crate) struct Network(Vec<Way>);

/// The link from one replica to another.
#[derive(Debug)]
struct Way {
    from: u16,
    to: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: AtomicBool,
    is_over: AtomicBool,
}

impl Network {
    /// Leads the links of a cluster through here, before any replica runs.
    pub(crate) fn between(cluster: &mut Cluster) -> Self {
        let mut ways = Vec::new();
        for from in cluster.ids() {
            let mut peers = Vec::new();
            for to in cluster.ids().filter(|to| *to != from) {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                peers.push(format!("{to}={}", listener.local_addr().unwrap()));
                let (state, target) = (Arc::<State>::default(), cluster.peer_address(to));
                ways.push(Way { from, to, state: Arc::clone(&state) });
                spawn(move || lead(&listener, &target, &state));
            }
            let args = ["--peers".to_owned(), peers.join(",")];
            cluster.more_args.entry(from).or_default().extend(args);
        }
        Self(ways)
    }

    /// Cuts all links to and from this replica.
    pub(crate) fn isolate(&self, replica: u16) {
        self.set_cut(replica, true);
    }

    /// Restores all links of this replica.
    pub(crate) fn mend(&self, replica: u16) {
        self.set_cut(replica, false);
    }

    fn set_cut(&self, replica: u16, is_cut: bool) {
        for way in self.0.iter().filter(|way| way.from == replica || way.to == replica) {
            way.state.is_cut.store(is_cut, Ordering::Relaxed);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.0.iter().for_each(|way| way.state.is_over.store(true, Ordering::Relaxed));
    }
}

/// Accepts connections, and forwards each to `target`.
fn lead(listener: &TcpListener, target: &str, state: &Arc<State>) {
    listener.set_nonblocking(true).unwrap();
    while !state.is_over.load(Ordering::Relaxed) {
        let is_cut = state.is_cut.load(Ordering::Relaxed);
        match if is_cut { Err(ErrorKind::WouldBlock.into()) } else { listener.accept() } {
            Ok((near, _)) => {
                let Ok(far) = TcpStream::connect(target) else {
                    continue;
                };
                near.set_nonblocking(false).unwrap();
                for socket in [&near, &far] {
                    socket.set_nodelay(true).unwrap();
                }
                let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
                for (from, to) in [(near, far), back] {
                    let state = Arc::clone(state);
                    spawn(move || carry(from, to, &state));
                }
            }
            Err(_) => sleep(LOOK_AGAIN),
        }
    }
}

/// Forwards bytes from one end to the other, until either is closed.
fn carry(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        while state.is_cut.load(Ordering::Relaxed) && !state.is_over.load(Ordering::Relaxed) {
            sleep(LOOK_AGAIN);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // The end that is still open learns that the other is closed.
    for socket in [from, to] {
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
}
