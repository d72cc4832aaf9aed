//! Peers: how messages get from one replica to another.
//!
//! The core needs little of a network: that a message arrives now and then, whole, from the replica
//! that it names. Messages may be lost, delayed, repeated and reordered. So the transport, which is this
//! module, never waits for a peer, and never stores what it cannot send soon. It answers every failure
//! with the same step: it closes the connection and dials anew.
//!
//! What it owes the core is news. TCP loses nothing within a connection, so messages are lost only with
//! one. The replica is told of each connection that is made, and need not repeat anything otherwise. It
//! is also told when it sends more than a link takes, and how long an answer takes: [`PeerEvent`].
//!
//! # Connections
//!
//! A replica dials each of its peers twice. One connection is for *control*: messages without entries.
//! The other one is for *bulk*: messages with entries. So a heartbeat never waits behind a megabyte.
//! Catch-up waits on the bulk connection until nothing else does, and leaves in pieces, between which
//! other messages may leave ([`lane`], [`envelope`]).
//!
//! A replica that needs a [snapshot](snapshots) dials for it, and only then.
//!
//! A connection carries messages one way, from the dialer to the acceptor. So there are four connections
//! between two replicas, and never a question which of two to keep. On each, the two replicas first say
//! who they are ([`handshake`]). What follows are [frames](synod_wire::frame) with one message each, in
//! bincode. Back come only the answers to pings, on the control connection. Of a new connection the dialer's
//! replica is told first, and the acceptor's replica when the dialer says so.
//!
//! # Who the peers are
//!
//! The members change while a replica runs, and the transport follows the newest configuration that the replica knows:
//! [`govern`](Peers::govern). Other replicas of the cluster may call as well: one that joins, one that was
//! removed, or one that knows more than this one. These are *guests*, and are dialled back ([`roster`]). What a guest
//! says goes to the core as what a member says does. The core decides what counts.
//!
//! # What it does under load
//!
//! - A message is encoded once, and all its recipients share the bytes.
//! - Each queue has a limit. A peer that is slow, stopped or gone delays nobody but itself. The replica
//!   is told when the bulk queue is [full](PeerEvent::Full), long before the limit. If the limit is
//!   reached all the same, the connection is closed: a message that is dropped alone would be missed by
//!   neither end.
//! - The inboxes of the replica have limits too. While one is full, the transport reads nothing more from
//!   the connections that fill it, and TCP puts back-pressure on the sender. No replica waits for a peer,
//!   so no two wait for each other. Control has an inbox of its own, and never waits for bulk.
//! - The transport trusts its input as little as possible. Garbage, a frame that is too long or fails
//!   its checksum, or a message that cannot be decoded closes the connection, and never ends the node.
//!   The peer limits how often that happens, because it dials no more often than its back-off allows.
//! - Before the cluster is [formed](crate::forming), no message passes in either direction.
//! - A task that panics runs again. A shortage of threads or descriptors is an error of one connection,
//!   which is dialled anew.
//!
//! A connection is not encrypted, and a peer does not prove who it is: the handshake protects against
//! mistakes only. The port for peers belongs in a network that only replicas can reach.
//!
//! # The modules, in the order in which to read them
//!
//! 1. `limits`: how much may wait, and for how long. `events`: what the replica is told.
//! 2. `introduction` and `handshake`: who is who. `roster`, `addresses` and `presence`: who the peers are, where
//!    they are looked for, and with which data directory they are connected.
//! 3. `lane` and `envelope`: which connection a message takes, and what a frame holds.
//! 4. `news`, `queue`, `link` and `peer`: what is kept of one peer. `reporter`: how the replica
//!    is told.
//! 5. `dialer`, `writer` and `ping`: what leaves.
//! 6. `acceptor` and `receiver`: what arrives. `starting`: who calls while the log is read.
//! 7. [`snapshots`]: what is too large for a message.
//! 8. `shared`, `tasks`, `backoff`, `socket`, `supervision` and `error`: what they need.

mod acceptor;
mod addresses;
mod backoff;
mod dialer;
mod envelope;
mod error;
mod events;
mod handshake;
mod introduction;
mod lane;
pub mod limits;
mod link;
mod news;
mod peer;
mod ping;
mod presence;
mod queue;
mod receiver;
mod reporter;
mod roster;
mod shared;
pub mod snapshots;
mod socket;
mod starting;
mod supervision;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use synod_model::{Configuration, Incarnation, Message, ReplicaId, Run, Slot, To};
use synod_wire::Value;
use synod_wire::api::Membership;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::error;

pub use addresses::Addresses;
pub use error::PeersError;
pub use events::{Inbox, PeerEvent};
pub use introduction::PROTOCOL_VERSION;
pub(crate) use starting::answer_while_starting;

use crate::forming::{Gate, Store};
use crate::identity::Identity;
use crate::log_rate_limit::LogRateLimit;
use envelope::Encoded;
use introduction::Introduction;
use lane::{Lane, Traffic};
pub use limits::LinkTiming;
use limits::message_bytes_max;
use peer::Peer;
use roster::Roster;
use shared::Shared;
use snapshots::{Receiving, Sending, SnapshotLimits, SnapshotSink, SnapshotSource};
use tasks::Tasks;

/// What the transport is started with.
#[derive(Debug)]
pub struct PeersConfig {
    /// Who this replica is.
    pub identity: Identity,
    /// The number of this start of the replica.
    pub run: Run,
    /// Listens at the address where its peers dial it.
    pub listener: TcpListener,
    /// The newest configuration that it knows.
    pub configuration: Configuration,
    /// Where its peers are, as far as it was told. A name is looked up for each connection.
    pub addresses: Addresses,
    /// How long to wait for connections and peers.
    pub timing: LinkTiming,
    /// The snapshots of this replica.
    pub snapshots: SnapshotStore,
    /// A random number, for the jitter of waits.
    pub seed: u64,
}

/// Where the snapshots are that peers fetch, and where those go that are fetched from peers.
pub struct SnapshotStore {
    /// What may be sent.
    pub source: Arc<dyn SnapshotSource>,
    /// Where it goes.
    pub sink: Box<dyn SnapshotSink>,
    /// How the transfers are limited.
    pub limits: SnapshotLimits,
}

impl fmt::Debug for SnapshotStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotStore").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The connections of a replica with all others. They end when this is dropped, or with
/// [`stop`](Self::stop).
pub struct Peers {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

/// The state of the connections with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub replica: ReplicaId,
    /// What it is in the newest configuration.
    pub membership: Membership,
    /// The address at which it is dialled, if one is known.
    pub address: Option<String>,
    /// Whether there are connections to it, one of each lane.
    pub is_connected: bool,
    /// Whether there are connections from it, one of each lane.
    pub is_heard: bool,
    /// The last run of it that was seen.
    pub run: Option<Run>,
    /// Why there is no connection to it, or why there was none before.
    pub last_error: Option<String>,
    /// How long the last ping and its answer took. None if none was answered.
    pub round_trip: Option<Duration>,
    /// How many frames wait for it, or are being written to the sockets, on both lanes together. A frame is
    /// a message, or a piece of catch-up.
    pub queued_frames: usize,
    /// How many bytes these frames have.
    pub queued_bytes: usize,
    /// How many messages to it were dropped because there was no connection, and frames because theirs
    /// has ended, on both lanes together.
    pub dropped_frames: u64,
}

impl Peers {
    /// Starts to listen and to dial. `store` remembers the data directories of the other members.
    /// What happens goes to `inbox`.
    ///
    /// Call this within a tokio runtime that has time and network.
    pub fn start(config: PeersConfig, store: impl Store, inbox: Inbox) -> Self {
        let PeersConfig {
            identity,
            run,
            listener,
            configuration,
            addresses,
            timing,
            snapshots,
            seed,
        } = config;
        let SnapshotStore { source, sink, limits: snapshot_limits } = snapshots;
        let limits = identity.constants.limits().clone();
        let stop = watch::Sender::new(false);
        let me = identity.replica;
        let shared = Arc::new(Shared {
            me: Introduction::new(&identity, run),
            gate: Gate::new(&identity, &configuration, store),
            roster: Roster::new(me, configuration, addresses, limits.clone(), timing),
            tasks: Tasks::new(stop.subscribe(), Rng::with_seed(seed)),
            limits,
            timing,
            inbox,
            sender: snapshots::Sender::new(source, snapshot_limits),
            fetch: Arc::new(snapshots::Fetch::new(sink, snapshot_limits)),
            fatal: watch::Sender::new(None),
            last_errors: std::sync::Mutex::default(),
            log_rate_limit: LogRateLimit::new("connections of callers"),
        });
        shared.begin(listener);
        for peer in shared.roster.peers() {
            shared.keep_connected(&peer);
        }
        Self { shared, stop }
    }

    /// From now on, `newest` is the newest configuration that this replica knows, and `former` the one before, until
    /// its members are needed no more. Its peers are added, moved and dropped accordingly. To be called before
    /// anything is sent after a step in which they have changed. It costs little if they have not.
    ///
    /// Call this within the runtime of [`start`](Self::start).
    pub fn govern(&self, newest: &Configuration, former: Option<&Configuration>) {
        self.shared.govern(newest, former);
    }

    /// Sends a message, or drops it. Never waits. The others are the other members of the newest configuration.
    pub fn send(&self, to: To, message: &Message<Value>) {
        match to {
            To::One(replica) => self.send_to(self.shared.roster.get(replica).as_slice(), message),
            To::Others => self.send_to(&self.shared.roster.others(), message),
        }
    }

    fn send_to(&self, recipients: &[Arc<Peer>], message: &Message<Value>) {
        let lane = Traffic::of(message).lane();
        let is_open = |peer: &Arc<Peer>| peer.queue(lane).is_open();
        let can_pass = self.shared.passes() && recipients.iter().any(is_open);
        let encoded = if can_pass { self.encode(message) } else { None };
        let now = Instant::now();
        for queue in recipients.iter().map(|peer| peer.queue(lane)) {
            match &encoded {
                Some(encoded) => queue.push(encoded, now),
                None => queue.count_dropped(),
            }
        }
    }

    fn encode(&self, message: &Message<Value>) -> Option<Encoded> {
        let encoded = Encoded::new(message, message_bytes_max(&self.shared.limits));
        // The limit is derived from those that the core keeps, so this would be a defect in synod.
        encoded.map_err(|error| error!("a message is not sent: {error}")).ok()
    }

    /// The state of the connections with each peer, by ascending id. A replica outside the newest configuration is
    /// among them while there is something to say to it.
    pub fn status(&self) -> Vec<PeerStatus> {
        let all = self.shared.roster.memberships();
        all.iter().map(|(peer, membership)| status(peer, *membership)).collect()
    }

    /// Where the peers of this replica look for it, as far as it knows.
    pub fn own_address(&self) -> Option<String> {
        self.shared.roster.own_address()
    }

    /// Whether there is a connection to every member, of the former configuration too, and no control message
    /// waits on its way.
    pub fn have_been_told(&self) -> bool {
        let was_told = |peer: &Arc<Peer>| {
            peer.is_connected() && peer.queue(Lane::Control).load().0.frames == 0
        };
        self.shared.roster.members().iter().all(was_told)
    }

    /// Fetches the snapshot of `slot`, or a later one: `from` has offered it. Returns at once. When the
    /// snapshot is durable here, the [sink](SnapshotSink::finish) knows, and this is told
    /// ([`note_snapshot_given`](Self::note_snapshot_given)). If none comes,
    /// [`take_not_fetched`](Self::take_not_fetched) says so.
    ///
    /// While a snapshot is on its way, a repetition changes nothing.
    pub fn fetch_snapshot(&self, from: ReplicaId, slot: Slot) {
        self.shared.fetch.want(from, slot);
    }

    /// This replica has everything up to this slot, and needs no snapshot of that.
    pub fn note_committed(&self, through: Slot) {
        self.shared.fetch.note_committed(through);
    }

    /// This replica is given the snapshot that has come.
    pub fn note_snapshot_given(&self) {
        self.shared.fetch.note_given();
    }

    /// Waits until [`take_not_fetched`](Self::take_not_fetched) has something to say.
    pub async fn not_fetched(&self) {
        self.shared.fetch.in_vain().await;
    }

    /// Whether a snapshot that was to be fetched does not come: all peers were asked in vain, the disk takes
    /// none, or commits have overtaken it. True once, and not if it is to be fetched anew meanwhile.
    pub fn take_not_fetched(&self) -> bool {
        self.shared.fetch.take_in_vain()
    }

    /// The snapshot on its way to this replica.
    pub fn receiving(&self) -> Option<Receiving> {
        self.shared.fetch.receiving()
    }

    /// The snapshots on their way to peers, with those whose transfer has ended a short while ago: those peers
    /// may come back, or still need the log behind the snapshot.
    pub fn sending(&self) -> Vec<Sending> {
        self.shared.sender.sending()
    }

    /// The members that this replica has still to meet before the cluster is formed.
    pub fn missing(&self) -> Vec<ReplicaId> {
        self.shared.gate.missing()
    }

    /// The data directory that `replica` is registered or known with.
    pub fn incarnation(&self, replica: ReplicaId) -> Option<Incarnation> {
        self.shared.gate.knows(replica)
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

    /// Ends all connections. Returns when they are gone, the store is at rest, and no thread reads or writes a
    /// snapshot.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        self.shared.tasks.join().await;
        self.shared.sender.close().await;
        self.shared.fetch.close().await;
        self.shared.gate.close().await;
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("status", &self.status()).finish_non_exhaustive()
    }
}

fn status(peer: &Peer, membership: Membership) -> PeerStatus {
    let seen = peer.seen();
    let loads = Lane::ALL.map(|lane| peer.queue(lane).load());
    PeerStatus {
        replica: peer.id,
        membership,
        address: peer.address().map(|it| it.text),
        is_connected: peer.is_connected(),
        is_heard: peer.is_heard(),
        run: seen.run,
        last_error: peer.last_error(),
        round_trip: seen.round_trip,
        queued_frames: loads.iter().map(|(load, _)| load.frames).sum(),
        queued_bytes: loads.iter().map(|(load, _)| load.bytes).sum(),
        dropped_frames: loads.iter().map(|(_, dropped_frames)| dropped_frames).sum(),
    }
}
