//! The node's end: puts a [`Backend`] on a port.
//!
//! Each connection is one task, however many asks are in flight on it. The task takes asks as long as
//! there is room for them, hands them to the backend, gathers the answers that are ready and sends
//! them in one write. Where there is no room, since too much is in flight or the client does not
//! read, it takes no more; TCP tells the client to wait. So a connection costs the node a bounded
//! amount of memory, whatever the client does, and so do all of them together ([`budget`]). The same
//! holds for the responses that the client does not read as fast as they come ([`unsent`]).
//!
//! Whatever arrives that no client of Synod sends closes the connection it came on, with one line in
//! the log, or a number where there are many, and touches nothing else.
//!
//! When the node stops, nothing is cut off that can still be answered: no connection is taken any
//! more, new submissions are answered with "not done: stopping", and those in flight get their
//! answers, if they come within [`ServerLimits::drain_max`].

mod budget;
mod connection;
mod desk;
mod follower;
mod handshake;
mod unsent;

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use synod_wire::buffers::Outbox;
use synod_wire::protocol::{Unwelcome, Welcome};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;
use tracing::{debug, warn};

use crate::backend::Backend;
use crate::log_rate_limit::LogRateLimit;
use budget::Budget;
use connection::Broken;

/// What a server lets its clients use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// How many connections there are at once. Default 4,096: sixteen times what the benchmark uses.
    /// A process that may not have so many files open needs a lower one.
    pub connections_max: usize,
    /// How many asks of one connection are in flight; more wait in TCP. Default 1,024: as many
    /// requests as one session may have.
    pub asks_in_flight_max: usize,
    /// How many bytes of values those asks have, and of the responses that are expected to them, unless
    /// a single one has more. As many bytes of responses may wait for a client that does not read.
    /// Default 8 MiB: enough to keep a disk busy, and little even for many connections.
    pub in_flight_bytes_max: u64,
    /// How many bytes of messages the node has of all clients together, from when it begins to read one
    /// to its answer, but for the first 16 KiB of each connection; and a single message may have more.
    /// Responses that wait for their clients count as well.
    /// Default 256 MiB: as much as thirty-two connections may have in flight, and four times what the
    /// replica takes.
    pub values_bytes_max: u64,
    /// How long a message with a part of that may take to arrive, and how long a client may read nothing
    /// while responses with a part of that wait for it. Default 30 s: 1 MiB arrives at 35 KiB/s. A client
    /// that stops would keep others from theirs.
    pub message_max: Duration,
    /// How many bytes of answers wait until the client reads; past that no more asks are taken, and
    /// no more of the log. Default 256 KiB: a follower gets one message while the next is gathered.
    pub waiting_bytes_max: usize,
    /// How long the handshake may take. Default 5 s: a stranger who says nothing is not kept.
    pub handshake_max: Duration,
    /// How often a follower hears something, if only that there is nothing new. Default 500 ms, so
    /// that a client who waits a second or two can tell a quiet log from a dead node.
    pub quiet_max: Duration,
    /// How long those in flight may take when the node stops, or when the client has closed its side
    /// and may still read. Default 3 s: longer than a healthy cluster needs, and short enough for
    /// whoever stops it. A client that is gone altogether looks the same, and is not kept for longer.
    pub drain_max: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            asks_in_flight_max: 1024,
            in_flight_bytes_max: 8 << 20,
            values_bytes_max: 256 << 20,
            message_max: Duration::from_secs(30),
            waiting_bytes_max: 256 << 10,
            handshake_max: Duration::from_secs(5),
            quiet_max: Duration::from_millis(500),
            drain_max: Duration::from_secs(3),
        }
    }
}

/// How long the listener rests after it could not take a connection: no file descriptors are left,
/// for example, and trying again at once would only make the machine busy.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves `backend` to all who connect, until `stop` is ready and what was in flight is answered.
///
/// It returns, at the latest, [`ServerLimits::drain_max`] and a little after `stop`; then no
/// connection is left. Dropping it closes all of them at once.
pub async fn serve<B: Backend>(
    listener: TcpListener,
    backend: Arc<B>,
    limits: ServerLimits,
    stop: impl Future<Output = ()> + Send,
) {
    let budget = Budget::new(limits.values_bytes_max);
    let lines = LogRateLimit::new("connections of clients");
    let all = Arc::new(All { backend, limits, budget, lines });
    let (stopping, is_stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, from)) if connections.len() >= all.limits.connections_max => {
                    if all.lines.allows_line() {
                        warn!(%from, "a client was turned away: there are {} connections", connections.len());
                    }
                    turn_away(&socket);
                }
                Ok((socket, from)) => {
                    let all = Arc::clone(&all);
                    connections.spawn(attend(socket, from, all, is_stopping.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!("no connection could be taken from a client: {error}");
                    time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop(listener);
    stopping.send_replace(true);
    // Each connection keeps to the limit by itself; that all of them do is not left to chance.
    let longest = all.limits.drain_max + connection::FAREWELL_MAX * 2;
    let ended = async { while connections.join_next().await.is_some() {} };
    if time::timeout(longest, ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// What all connections share.
struct All<B> {
    backend: Arc<B>,
    limits: ServerLimits,
    budget: Budget,
    lines: Arc<LogRateLimit>,
}

async fn attend<B: Backend>(
    socket: TcpStream,
    from: SocketAddr,
    all: Arc<All<B>>,
    is_stopping: watch::Receiver<bool>,
) {
    let All { backend, limits, budget, lines } = &*all;
    let ended = connection::run(socket, &**backend, limits, budget, is_stopping).await;
    let (what, error): (_, &dyn Display) = match &ended {
        Ok(()) => return,
        // Clients come and go.
        Err(Broken::Io(error)) => return debug!(%from, "a connection broke: {error}"),
        Err(Broken::Garbage(garbage)) => ("on which came what no client sends", garbage),
        Err(Broken::NoClient(stranger)) => ("to something that is no client", stranger),
        Err(late @ (Broken::Late(_) | Broken::DoesNotRead(_))) => {
            ("that kept others waiting", late)
        }
        Err(Broken::Unsayable(error)) => ("since an answer cannot be sent", error),
    };
    if lines.allows_line() {
        warn!(%from, "closed a connection {what}: {error}");
    } else {
        debug!(%from, "closed a connection {what}: {error}");
    }
}

/// Tells a client why, if that can be done without waiting.
fn turn_away(socket: &TcpStream) {
    let mut outbox = Outbox::new(synod_wire::protocol::HANDSHAKE_BYTES_MAX);
    if outbox.push(&Welcome::Unwelcome(Unwelcome::TooManyConnections)).is_ok() {
        // That it did not get there is what a client expects of a full node anyway.
        let _ = socket.try_write(outbox.waiting());
    }
}

/// Whether accepting failed for a reason that ended with the connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
