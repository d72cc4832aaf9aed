//! Peers: how messages get from one replica to another.
//!
//! The core needs little of a network: that a message arrives now and then, whole, from the replica
//! that it names. Messages may be lost, delayed, repeated and reordered; the core repeats what
//! matters. So the transport, which is this module, never waits for a peer, and never stores what it cannot send soon. It
//! answers every failure with the same step: it closes the connection and dials anew.
//!
//! Every replica dials every other one, and a connection carries messages one way, from the dialer to
//! the acceptor. So there are two connections between two replicas, and never a question which of two
//! to keep. On each, the two replicas first say who they are ([`handshake`]). What follows are frames
//! ([`frame`]) with one [`Message`] each, in bincode.
//!
//! - A message is encoded once, and all its recipients share the bytes.
//! - The queue for a peer is bounded, in bytes and in frames. A message that finds no room is dropped
//!   and counted. A peer that is slow, stopped or gone delays nobody but itself.
//! - The inbox of the replica is bounded too. While it is full, the transport reads nothing, and TCP
//!   puts back-pressure on the sender. No replica waits for a peer, so no two wait for each other.
//! - The transport trusts its input as little as possible. Garbage, a frame that is too long or fails
//!   its checksum, or a message that cannot be decoded closes the connection, and never ends the node.
//!   The peer limits how often that happens, because it dials no more often than its back-off allows.
//! - Before the cluster is [formed](crate::forming), no message passes in either direction.
//!
//! A connection is not encrypted, and a peer does not prove who it is: the handshake protects against
//! mistakes only. The port for peers belongs in a network that only replicas can reach.
//!
//! # The modules, in the order in which to read them
//!
//! 1. `limits`: how much may wait, and for how long.
//! 2. `introduction` and `handshake`: who is who.
//! 3. `peer`: what is known of one peer.
//! 4. `queue` and `dialer`: what leaves.
//! 5. `acceptor`: what arrives.
//! 6. `shared`, `backoff`, `socket` and `error`: what they need.

mod acceptor;
mod backoff;
mod dialer;
mod error;
mod events;
mod handshake;
mod introduction;
mod lane;
pub mod limits;
mod peer;
mod queue;
mod shared;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use synod_model::{Entry, Message, Order, Promise, ReplicaId, Reply, Run, To};
use synod_wire::Value;
use synod_wire::codec;
use synod_wire::frame;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tracing::error;

pub use error::PeersError;
pub use events::{Inbox, PeerEvent};
pub use introduction::PROTOCOL_VERSION;

use crate::forming::{Gate, Store};
use crate::identity::Identity;
use crate::log_rate_limit::LogRateLimit;
use introduction::Introduction;
pub use limits::LinkTiming;
use limits::message_bytes_max;
use peer::Peer;
use shared::Shared;

/// What the transport is started with.
#[derive(Debug)]
pub struct PeersConfig {
    /// Who this replica is.
    pub identity: Identity,
    /// The number of this start of the replica.
    pub run: Run,
    /// Listens at the address where its peers dial it.
    pub listener: TcpListener,
    /// The addresses of the members, as `host:port`. A name is looked up for each connection. This
    /// replica may be among them.
    pub members: BTreeMap<ReplicaId, String>,
    /// How long to wait for connections and peers.
    pub timing: LinkTiming,
    /// A random number, for the jitter of waits.
    pub seed: u64,
}

/// The connections of a replica with all others. They end when this is dropped, or with
/// [`stop`](Self::stop).
pub struct Peers {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

/// The state of the connections with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub replica: ReplicaId,
    /// The address at which it is dialled.
    pub address: String,
    /// Whether there is a connection to it.
    pub is_connected: bool,
    /// Whether there is a connection from it.
    pub is_heard: bool,
    /// The last run of it that was seen.
    pub run: Option<Run>,
    /// Why there is no connection to it, or why there was none before.
    pub last_error: Option<String>,
    /// How many messages wait for it, or are being written to the socket.
    pub queued_frames: usize,
    /// How many bytes these messages have.
    pub queued_bytes: usize,
    /// How many messages to it were dropped, because there was no connection or no room.
    pub dropped_frames: u64,
}

impl Peers {
    /// Starts to listen and to dial. `store` remembers the data directories of the other members.
    /// What happens goes to `inbox`.
    ///
    /// Call this within a tokio runtime that has time and network.
    ///
    /// # Errors
    ///
    /// If a member has no address.
    pub fn start(config: PeersConfig, store: impl Store, inbox: Inbox) -> Result<Self, PeersError> {
        let PeersConfig { identity, run, listener, mut members, timing, seed } = config;
        let limits = identity.constants.limits().clone();
        let all = identity.constants.first_configuration().members();
        let mut peers = BTreeMap::new();
        for &replica in all.iter().filter(|it| **it != identity.replica) {
            let address = members.remove(&replica).ok_or(PeersError::NoAddress { replica })?;
            peers.insert(replica, Arc::new(Peer::new(replica, address, &limits)));
        }
        let shared = Arc::new(Shared {
            me: Introduction::new(&identity, run),
            limits,
            timing,
            gate: Gate::new(&identity, store),
            peers,
            inbox,
            fatal: watch::Sender::new(None),
            last_errors: std::sync::Mutex::default(),
            log_rate_limit: LogRateLimit::new("connections of callers"),
        });
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(acceptor::run(Arc::clone(&shared), listener, stop.subscribe()));
        let mut rng = Rng::with_seed(seed);
        for peer in shared.peers.values() {
            let dialer = dialer::run(Arc::clone(&shared), Arc::clone(peer), rng.fork());
            let mut stop = stop.subscribe();
            tasks.spawn(async move {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => {}
                    () = dialer => {}
                }
            });
        }
        Ok(Self { shared, stop, tasks: Mutex::new(tasks) })
    }

    /// Sends a message, or drops it. Never waits.
    pub fn send(&self, to: To, message: &Message<Value>) {
        match to {
            To::One(replica) => self.send_to(self.shared.peers.get(&replica), message),
            To::Others => self.send_to(self.shared.peers.values(), message),
        }
    }

    fn send_to<'a>(
        &'a self,
        recipients: impl IntoIterator<Item = &'a Arc<Peer>, IntoIter: Clone>,
        message: &Message<Value>,
    ) {
        let recipients = recipients.into_iter();
        let can_pass = self.shared.passes() && recipients.clone().any(|it| it.queue.is_open());
        let frame = if can_pass { self.to_frame(message) } else { None };
        for peer in recipients {
            match &frame {
                Some(frame) => peer.queue.push(frame),
                None => peer.queue.count_dropped(),
            }
        }
    }

    fn to_frame(&self, message: &Message<Value>) -> Option<Bytes> {
        let mut buffer = Vec::with_capacity(expected_bytes(message));
        let payload_bytes_max = message_bytes_max(&self.shared.limits);
        let framed = frame::append(&mut buffer, payload_bytes_max, |buffer, length_bytes_max| {
            codec::encode(message, buffer, length_bytes_max)
        });
        // The limit is derived from those that the core keeps, so this would be a defect in synod.
        framed.map_err(|error| error!("a message is not sent: {error}")).ok()?;
        Some(buffer.into())
    }

    /// The state of the connections with each peer.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.shared.peers.values().map(|peer| status(peer)).collect()
    }

    /// The members that this replica has still to meet before the cluster is formed.
    pub fn missing(&self) -> Vec<ReplicaId> {
        self.shared.gate.missing()
    }

    /// Whether the cluster is formed. No message passes until it is, and clocks that count missing
    /// messages should not run before.
    pub fn formed(&self) -> watch::Receiver<bool> {
        self.shared.gate.watch_formed()
    }

    /// Waits for an error that this replica must stop for.
    pub fn fatal(&self) -> impl Future<Output = PeersError> + Send + 'static {
        let mut fatal = self.shared.fatal.subscribe();
        async move {
            let found = fatal.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
            match found {
                Some(error) => error,
                // The transport is gone, so no more errors can come.
                None => std::future::pending().await,
            }
        }
    }

    /// Ends all connections. Returns when they are gone and the store is at rest.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut tasks = self.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
        drop(tasks);
        self.shared.gate.close().await;
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("status", &self.status()).finish_non_exhaustive()
    }
}

fn status(peer: &Peer) -> PeerStatus {
    let seen = peer.seen();
    let (load, dropped_frames) = peer.queue.load();
    PeerStatus {
        replica: peer.id,
        address: peer.address.clone(),
        is_connected: peer.queue.is_open(),
        is_heard: seen.is_heard,
        run: seen.run,
        last_error: seen.last_error,
        queued_frames: load.frames,
        queued_bytes: load.bytes,
        dropped_frames,
    }
}

/// About how long the encoding of a message is, and rather more. With enough room from the start, its
/// values are copied once, and not again each time the buffer grows.
fn expected_bytes(message: &Message<Value>) -> usize {
    const MESSAGE_BYTES: u64 = 128;
    const ENTRY_BYTES: u64 = 32;
    const NUMBER_BYTES: u64 = 9;
    let of = |entry: &Entry<Value>| entry.size_bytes().saturating_add(ENTRY_BYTES);
    let bytes: u64 = match message {
        Message::Order { order: Order::Accept { entries, .. }, .. }
        | Message::Committed { entries, .. }
        | Message::Submit { submissions: entries } => entries.iter().map(of).sum(),
        Message::Reply { reply: Reply::Promise(Promise { accepted, .. }), .. } => {
            accepted.iter().map(|it| of(&it.entry)).sum()
        }
        Message::Reply { reply: Reply::Acknowledge { ranges }, .. } => {
            2 * NUMBER_BYTES * ranges.len() as u64
        }
        Message::Read { ids, .. } | Message::ReadAt { ids, .. } => NUMBER_BYTES * ids.len() as u64,
        _ => 0,
    };
    usize::try_from(bytes.saturating_add(MESSAGE_BYTES)).unwrap_or_default()
}
