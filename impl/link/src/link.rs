//! The link as its user sees it: its doors, and what is done to it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::carrier::carry;
use crate::line::Line;
use crate::socket;
use crate::way::Way;

/// How long a door waits after a connection that it could not accept: 10 ms.
const AGAIN: Duration = Duration::from_millis(10);

/// The thread that carries what passes its links. All of them end when this is dropped.
///
/// It is a thread of its own, so that what else its process does delays nothing on the links.
pub struct Links {
    handle: Handle,
    /// Only [`drop`] takes it.
    runtime: Option<Runtime>,
}

impl Links {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start() -> Result<Self, LinkError> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("links").enable_all().build();
        let runtime = runtime.map_err(LinkError::Thread)?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Makes a link. Both directions have the same conditions at first.
    pub fn link(&self, line: Line) -> Link {
        let made = Link {
            handle: self.handle.clone(),
            ways: [Arc::new(Way::new(line)), Arc::new(Way::new(line))],
            breaks: watch::Sender::new(()),
            connections: Arc::default(),
        };
        for way in &made.ways {
            let (way, ended) = (Arc::clone(way), made.ended());
            self.handle.spawn(async move {
                tokio::select! {
                    () = way.run() => {}
                    () = ended => {}
                }
            });
        }
        made
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // This may be dropped where nothing may wait.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

/// An end of a link. As an argument, it also names the direction that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// One end.
    Left,
    /// The other end.
    Right,
}

impl Side {
    /// Both, for what is done in both directions.
    pub const BOTH: [Self; 2] = [Self::Left, Self::Right];

    /// The other one.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// A link between two processes. Its connections break when this is dropped.
#[derive(Debug)]
pub struct Link {
    handle: Handle,
    /// From the left, and from the right.
    ways: [Arc<Way>; 2],
    /// Tells each connection to break. Everything of the link ends when this is dropped.
    breaks: watch::Sender<()>,
    connections: Arc<AtomicUsize>,
}

impl Link {
    /// Opens a door: an address on loopback at this side, which leads to `target` on the other side.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub fn open(&self, from: Side, target: SocketAddr) -> Result<SocketAddr, LinkError> {
        let listener = socket::listen().map_err(LinkError::Listen)?;
        let address = listener.local_addr().map_err(LinkError::Listen)?;
        let door = Door {
            target,
            there: Arc::clone(self.way(from)),
            back: Arc::clone(self.way(from.opposite())),
            breaks: self.breaks.subscribe(),
            connections: Arc::clone(&self.connections),
        };
        let ended = self.ended();
        // A listener belongs to the thread on which it is used.
        self.handle.spawn(async move {
            tokio::select! {
                () = door.serve(listener) => {}
                () = ended => {}
            }
        });
        Ok(address)
    }

    /// The present conditions of a direction.
    pub fn line(&self, from: Side) -> Line {
        self.way(from).line()
    }

    /// Changes the conditions of a direction. What is on its way arrives as it would have.
    pub fn set_line(&self, from: Side, line: Line) {
        self.way(from).set_line(line);
    }

    /// Changes the conditions of both directions.
    pub fn set_lines(&self, line: Line) {
        self.ways.iter().for_each(|way| way.set_line(line));
    }

    /// Cuts a direction: nothing arrives any more, and connections stay open.
    pub fn cut(&self, from: Side) {
        self.way(from).set_cut(true);
    }

    /// Ends a cut. What was held up arrives, at the rate and with the delay of the link.
    pub fn restore(&self, from: Side) {
        self.way(from).set_cut(false);
    }

    /// Breaks all connections, at both ends. What is on its way is lost. New connections can be made.
    pub fn reset(&self) {
        self.breaks.send_replace(());
    }

    /// How many bytes have passed in a direction since the link was made. Bytes that wait because the
    /// link is slow do not count yet.
    pub fn carried_bytes(&self, from: Side) -> u64 {
        self.way(from).carried_bytes()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn way(&self, from: Side) -> &Arc<Way> {
        match from {
            Side::Left => &self.ways[0],
            Side::Right => &self.ways[1],
        }
    }

    /// Waits until the link is dropped.
    fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut breaks = self.breaks.subscribe();
        async move { while breaks.changed().await.is_ok() {} }
    }
}

/// What one door needs.
struct Door {
    target: SocketAddr,
    there: Arc<Way>,
    back: Arc<Way>,
    breaks: watch::Receiver<()>,
    connections: Arc<AtomicUsize>,
}

impl Door {
    async fn serve(self, listener: StdListener) {
        let Ok(listener) = TcpListener::from_std(listener) else {
            return;
        };
        loop {
            let Ok(near) = socket::accept(&listener).await else {
                // The caller has gone, or too many files are open.
                sleep(AGAIN).await;
                continue;
            };
            let (there, back) = (Arc::clone(&self.there), Arc::clone(&self.back));
            let (target, connections) = (self.target, Arc::clone(&self.connections));
            let mut breaks = self.breaks.clone();
            breaks.mark_unchanged();
            tokio::spawn(async move {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::select! {
                    () = carry(near, target, &there, &back) => {}
                    _ = breaks.changed() => {}
                }
                connections.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

/// Why there is no link.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The thread cannot be started.
    #[error("the thread that carries the links cannot be started: {0}")]
    Thread(#[source] io::Error),
    /// There is no port.
    #[error("the link cannot listen on a port of 127.0.0.1: {0}")]
    Listen(#[source] io::Error),
}
