//! The client port: serves a [`Backend`] over TCP.
//!
//! Each connection is one task, however many asks are in flight on it. The task takes asks as long as
//! there is room for them, hands them to the backend, gathers the answers that are ready, and sends
//! them in one write. When too much is in flight, or the client does not read, the task takes no more
//! asks, and back-pressure of TCP makes the client wait. So the memory of a connection is bounded,
//! whatever the client does, and so is that of all connections together ([`budget`]). The responses
//! that a client does not read are bounded too ([`unsent`]).
//!
//! Bytes that no client of Synod sends close their connection and touch nothing else. The log gets one
//! line, or a number where there are many.
//!
//! When the node stops, it takes no more connections, and answers new submissions with "not done:
//! stopping". Those in flight get their answers, if the answers come within
//! [`ServerLimits::drain_max`].

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
use tokio::task::{JoinError, JoinSet};
use tokio::time;
use tracing::{debug, error, warn};

use crate::backend::Backend;
use crate::log_rate_limit::LogRateLimit;
use budget::Budget;
use connection::Broken;

/// The limits on what clients may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// How many connections there are at once. Default 4,096: sixteen times what the benchmark uses. A
    /// process that may open fewer files needs a lower limit.
    pub connections_max: usize,
    /// How many asks of one connection are in flight. More wait in TCP. Default 1,024: as many requests
    /// as one session may have.
    pub asks_in_flight_max: usize,
    /// How many bytes these asks have, with the responses that are expected to them. A single ask may
    /// have more. As many bytes of responses may wait for a client that does not read. Default 8 MiB:
    /// enough to keep a disk busy, and little even for many connections.
    pub in_flight_bytes_max: u64,
    /// How many bytes of messages the node holds for all clients together. A message counts from the
    /// time when the node begins to read it until it is answered. Responses that wait for their clients
    /// count too. The first 16 KiB of each connection do not count, and a single message may have more.
    /// Default 256 MiB: as much as thirty-two connections may have in flight, and four times what the
    /// replica takes.
    pub values_bytes_max: u64,
    /// How long a message that counts there may take to arrive, and how long a client may read nothing
    /// while responses that count there wait for it. Default 30 s: 1 MiB arrives at 35 KiB/s. A client
    /// that stops would take the room of others.
    pub message_max: Duration,
    /// How many bytes of answers wait until the client reads. Beyond that, the connection takes no more
    /// asks, and reads no more of the log. Default 256 KiB: a follower gets one message while the next
    /// is gathered.
    pub waiting_bytes_max: usize,
    /// How long the handshake may take. Default 5 s: a stranger who says nothing is not kept.
    pub handshake_max: Duration,
    /// How often a follower gets a message, if only that there is nothing new. Default 500 ms: a client
    /// that waits a second or two can tell a quiet log from a dead node.
    pub quiet_max: Duration,
    /// How long asks in flight may take when the node stops, or when the client has closed its side and
    /// may still read. Default 3 s: longer than a healthy cluster needs, and short for an operator who
    /// waits. A client that is gone looks the same as one that has closed its side.
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

/// How long the listener rests after it could not take a connection: when no file descriptors are left,
/// for example, trying again at once would only use up the processor.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves `backend` to all clients that connect, until `stop` is ready and what was in flight is
/// answered.
///
/// It returns [`ServerLimits::drain_max`] and a little after `stop` at the latest. Then no connection
/// is left. Dropping it closes all of them at once.
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
            Some(ended) = connections.join_next(), if !connections.is_empty() => tell_panic(ended),
            accepted = listener.accept() => match accepted {
                Ok((socket, from)) if connections.len() >= all.limits.connections_max => {
                    if all.lines.allows_line() {
                        warn!(%from, connections = connections.len(), "a client was turned away: the limit is reached");
                    }
                    turn_away(&socket);
                }
                Ok((socket, from)) => {
                    let all = Arc::clone(&all);
                    connections.spawn(attend(socket, from, all, is_stopping.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if all.lines.allows_line() {
                        warn!("no connection could be taken from a client: {error}");
                    }
                    time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop(listener);
    stopping.send_replace(true);
    // Each connection keeps to the limit by itself. This makes sure of it.
    let longest = all.limits.drain_max + connection::FAREWELL_MAX * 2;
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            tell_panic(ended);
        }
    };
    if time::timeout(longest, ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// The task of a connection has ended. Its end closes the connection, and its client connects again.
fn tell_panic(ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        error!(
            "the task of a client's connection panicked: that is a fault of synod, please report it"
        );
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

/// Tells a client why it is turned away, if that needs no wait.
fn turn_away(socket: &TcpStream) {
    let mut outbox = Outbox::new(synod_wire::protocol::HANDSHAKE_BYTES_MAX);
    if outbox.push(&Welcome::Unwelcome(Unwelcome::TooManyConnections)).is_ok() {
        // If the message is lost, the client sees a closed connection, which it expects of a full node.
        let _ = socket.try_write(outbox.waiting());
    }
}

/// Whether accepting failed for a reason that concerns one connection only.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
