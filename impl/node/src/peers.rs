//! Peers: how messages get from one replica to another.
//!
//! What the core needs of a network is little: that a message arrives now and then, whole, and from
//! whom it says. Messages may be lost, delayed, repeated and reordered; the core repeats what
//! matters. So the transport never waits for a peer, never stores what it cannot send soon, and
//! answers everything that goes wrong with the same step: it closes the connection, and dials anew.
//!
//! Every replica dials every other one, and a connection carries messages one way, from the dialer to
//! the acceptor. So there are two connections between two replicas, and never a question which of
//! two is to be kept. On each the two first say who they are ([`handshake`]); what follows are frames
//! ([`frame`]) with one [`Message`] each, in bincode.
//!
//! - A message is encoded once, and all its recipients share the bytes.
//! - What waits for a peer is bounded, in bytes and in frames; a message that there is no room for is
//!   dropped, and counted. A peer that is slow, stopped or gone holds nobody up but itself.
//! - What arrives waits for the replica in an inbox that is bounded too. While that is full nothing is
//!   read, and TCP holds the sender up. Nobody waits for a peer in turn, so nobody waits in a circle.
//! - What arrives is believed as little as possible: garbage, a frame that is too long or fails its
//!   checksum, a message that cannot be decoded close the connection, and never the node. How often
//!   that can happen is limited by how often the peer dials.
//! - Before the cluster is [formed](crate::forming) no message passes, in either direction.
//!
//! A connection is not secret, and a peer is not asked to prove who it is: the handshake is against
//! mistakes. The port for peers belongs in a network that only replicas are in.
//!
//! # The rooms, in the order in which to read them
//!
//! 1. `limits`: what may wait, and for how long.
//! 2. `handshake`: who is who.
//! 3. `queue` and `dialer`: what leaves.
//! 4. `acceptor`: what arrives.
//! 5. `shared`, `backoff`, `socket` and `error`: what they need.

mod acceptor;
mod backoff;
mod dialer;
mod error;
mod handshake;
pub mod limits;
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
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tracing::error;

pub use error::PeersError;
pub use handshake::PROTOCOL_VERSION;

use crate::few_lines::FewLines;
use crate::forming::{Gate, Store};
use crate::storage::Identity;
use handshake::Introduction;
pub use limits::LinkTiming;
use limits::message_bytes_max;
use shared::{Peer, Shared};

/// What the transport is started with.
#[derive(Debug)]
pub struct PeersConfig {
    /// Who this replica is.
    pub identity: Identity,
    /// The number of this start of it.
    pub run: Run,
    /// Where its peers find it.
    pub listener: TcpListener,
    /// Where the members are, as `host:port`; a name is looked up each time. This replica may be
    /// among them.
    pub members: BTreeMap<ReplicaId, String>,
    /// How long to wait for what.
    pub timing: LinkTiming,
    /// For the jitter of waits, drawn at random by whoever has randomness.
    pub seed: u64,
}

/// The connections of a replica with all others. They end with this value, or with
/// [`stop`](Self::stop).
pub struct Peers {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

/// How things are between this replica and another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The other one.
    pub replica: ReplicaId,
    /// Where it is looked for.
    pub address: String,
    /// Whether messages to it leave.
    pub is_connected: bool,
    /// Whether it has a connection to this replica.
    pub is_heard: bool,
    /// The run that it was seen in last.
    pub run: Option<Run>,
    /// Why there is no connection to it, if there is none; or why there was none for a while.
    pub last_error: Option<String>,
    /// How many messages wait for it, or are on their way to the socket.
    pub queued_frames: usize,
    /// How many bytes these have.
    pub queued_bytes: usize,
    /// How many messages to it were dropped: there was no connection, or no room.
    pub dropped_frames: u64,
}

impl Peers {
    /// Starts to listen and to dial. `store` remembers which data directories the cluster is made of.
    /// Messages of peers go to `inbox`.
    ///
    /// To be called within a tokio runtime that has time and network.
    ///
    /// # Errors
    ///
    /// If a member has no address.
    pub fn start(
        config: PeersConfig,
        store: impl Store,
        inbox: mpsc::Sender<(ReplicaId, Message<Value>)>,
    ) -> Result<Self, PeersError> {
        let PeersConfig { identity, run, listener, mut members, timing, seed } = config;
        let limits = identity.cluster.limits().clone();
        let all = identity.cluster.first_configuration().members();
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
            told: std::sync::Mutex::default(),
            lines: FewLines::new("connections of callers"),
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

    /// Sends a message, or drops it: never waits.
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
        // The limit is derived from those that the core keeps, so this is a mistake in this program.
        framed.map_err(|error| error!("a message is not sent: {error}")).ok()?;
        Some(buffer.into())
    }

    /// How things are between this replica and each other one.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.shared.peers.values().map(|peer| status(peer)).collect()
    }

    /// The members that this replica has still to meet before the cluster is formed.
    pub fn missing(&self) -> Vec<ReplicaId> {
        self.shared.gate.missing()
    }

    /// Whether the cluster is formed. Until it is, nothing passes, and whoever wants to count time
    /// waits for it.
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
                // The transport is gone, and with it all that could go wrong.
                None => std::future::pending().await,
            }
        }
    }

    /// Ends all connections, and waits until they are gone and the store is at rest.
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

/// How long the encoding of a message is, about and rather more: with so much room its values are
/// copied once, and not again whenever the buffer grows.
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
