//! Nodes that have a transport and nothing else, and connections that are used by hand.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use synod_model::{Configuration, Message, Prefix, ReplicaId, Run, Slot, To};
use synod_wire::Value;
use synod_wire::frame::FrameReader;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::memory_snapshots::MemorySnapshots;
use crate::forming::kit::MemoryStore;
pub(super) use crate::forming::kit::{identity, identity_with};
use crate::identity::Identity;
use crate::peers::envelope::{self, Content, decode};
use crate::peers::handshake::{from_payload, to_frame};
use crate::peers::introduction::{Hello, HelloReply, Introduction, Purpose};
use crate::peers::lane::Lane;
use crate::peers::limits::LinkTiming;
use crate::peers::{Addresses, Inbox, PeerEvent, PeerStatus, Peers, PeersConfig};

/// Far longer than any of these tests takes.
const TEST_MAX: Duration = Duration::from_mins(1);

/// Short, so that tests end soon. But the handshake has time on a busy machine.
pub(super) const TIMING: LinkTiming = LinkTiming {
    dial_max: Duration::from_secs(5),
    handshake_max: Duration::from_secs(5),
    write_max: Duration::from_secs(10),
    backoff_min: Duration::from_millis(5),
    backoff_max: Duration::from_millis(50),
    guest_kept: Duration::from_millis(400),
};

/// Runs a test, which fails if it does not end.
pub(super) fn test(it: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { timeout(TEST_MAX, it).await }).expect("it should have ended by now");
    runtime.shutdown_timeout(TEST_MAX);
}

/// Waits until a condition holds that can only be polled.
pub(crate) async fn until(mut it: impl FnMut() -> bool) {
    while !it() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// A port of this machine that stays taken between the runs of a node.
pub(crate) struct Port(std::net::TcpListener);

impl Port {
    pub(crate) fn new() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        Self(listener)
    }

    pub(super) fn listener(&self) -> TcpListener {
        let listener = self.0.try_clone().expect("a socket");
        TcpListener::from_std(listener).expect("a socket")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }
}

/// The addresses of members 0, 1, ...
pub(crate) fn addresses(ports: &[&Port]) -> BTreeMap<ReplicaId, String> {
    let addresses = ports.iter().map(|port| port.address().to_string());
    (0..).map(ReplicaId).zip(addresses).collect()
}

/// The transport of a replica, without the replica.
pub(crate) struct Node {
    pub(crate) peers: Peers,
    pub(super) control: mpsc::Receiver<PeerEvent>,
    pub(super) bulk: mpsc::Receiver<PeerEvent>,
}

/// What a node is made with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(super) identity: Identity,
    /// The newest one that it knows.
    pub(crate) configuration: Configuration,
    pub(super) run: u64,
    pub(super) store: MemoryStore,
    pub(super) timing: LinkTiming,
    pub(super) inbox_messages_max: usize,
    pub(crate) snapshots: MemorySnapshots,
}

impl Setup {
    /// Replica `replica` of three, whose incarnation is 10 more than its id.
    pub(super) fn of_three(replica: u16) -> Self {
        Self::new(identity(replica, 3, 10 + u128::from(replica)))
    }

    pub(crate) fn new(identity: Identity) -> Self {
        let store = MemoryStore::new(&identity);
        let configuration = identity.constants.first_configuration().clone();
        let snapshots = MemorySnapshots::default();
        let (timing, inbox_messages_max) = (TIMING, 10_000);
        Self { identity, configuration, run: 1, store, timing, inbox_messages_max, snapshots }
    }

    /// In a cluster that is formed already.
    pub(crate) fn formed(mut self) -> Self {
        self.store = MemoryStore::formed(&self.identity);
        self
    }

    pub(crate) fn start(&self, port: &Port, stored: BTreeMap<ReplicaId, String>) -> Node {
        self.start_with(port, Addresses { stored, ..Addresses::default() })
    }

    pub(super) fn start_with(&self, port: &Port, addresses: Addresses) -> Node {
        let (to_control, control) = mpsc::channel(self.inbox_messages_max);
        let (to_bulk, bulk) = mpsc::channel(self.inbox_messages_max);
        let inbox = Inbox { control: to_control, bulk: to_bulk };
        let config = PeersConfig {
            identity: self.identity.clone(),
            run: Run(self.run),
            listener: port.listener(),
            configuration: self.configuration.clone(),
            addresses,
            timing: self.timing,
            snapshots: self.snapshots.store(),
            seed: 7,
        };
        let peers = Peers::start(config, self.store.clone(), inbox);
        Node { peers, control, bulk }
    }

    /// What it says of itself.
    pub(super) fn introduction(&self) -> Introduction {
        Introduction::new(&self.identity, Run(self.run))
    }

    /// What it says to `to` first, on the control lane.
    pub(super) fn hello(&self, to: u16) -> Hello {
        self.hello_on(Lane::Control, to)
    }

    pub(super) fn hello_on(&self, lane: Lane, to: u16) -> Hello {
        let (from, to) = (self.introduction(), ReplicaId(to));
        Hello { from, address: None, to, purpose: Purpose::Messages(lane) }
    }
}

impl Node {
    pub(super) fn status_of(&self, peer: u16) -> PeerStatus {
        let status = self.peers.status().into_iter().find(|it| it.replica == ReplicaId(peer));
        status.expect("a peer")
    }

    pub(crate) async fn until_connected(&self, peers: &[u16]) {
        let is_connected = |peer: &u16| {
            let mut status = self.peers.status().into_iter();
            status.any(|it| it.replica == ReplicaId(*peer) && it.is_connected)
        };
        until(|| peers.iter().all(is_connected)).await;
    }

    pub(super) async fn until_formed(&self) {
        self.peers.formed().wait_for(|formed| *formed).await.expect("it runs");
    }

    /// Waits until the last error with that peer begins so, and returns all of it.
    pub(super) async fn error_with(&self, peer: u16, beginning: &str) -> String {
        loop {
            match self.status_of(peer).last_error {
                Some(error) if error.starts_with(beginning) => return error,
                _ => sleep(Duration::from_millis(1)).await,
            }
        }
    }

    pub(super) fn ask(&self, to: u16, slot: u64) {
        self.peers.send(To::One(ReplicaId(to)), &ask(slot));
    }

    pub(crate) async fn receive(&mut self) -> (u16, Message<Value>) {
        loop {
            if let PeerEvent::Message(from, message) = self.event().await {
                return (from.0, message);
            }
        }
    }

    /// The next event. Control goes first.
    pub(super) async fn event(&mut self) -> PeerEvent {
        tokio::select! {
            biased;
            Some(event) = self.control.recv() => event,
            Some(event) = self.bulk.recv() => event,
            else => panic!("it runs"),
        }
    }

    /// Waits for this event. Takes out all others.
    pub(super) async fn until_told(&mut self, wanted: PeerEvent) {
        while self.event().await != wanted {}
    }

    /// Whether no message has arrived. Takes out all other events.
    pub(super) fn has_no_message(&mut self) -> bool {
        let is_message = |event| matches!(event, PeerEvent::Message(..));
        while let Ok(event) = self.control.try_recv().or_else(|_| self.bulk.try_recv()) {
            if is_message(event) {
                return false;
            }
        }
        true
    }
}

/// A message that is easy to recognize.
pub(super) fn ask(slot: u64) -> Message<Value> {
    Message::Ask { from: Slot(slot), through: Slot(slot), prefix: Prefix::default() }
}

/// A connection that is used by hand.
pub(super) struct Wire {
    pub(super) frames: FrameReader<OwnedReadHalf>,
    pub(super) out: OwnedWriteHalf,
    /// The pieces of a message that is not whole yet.
    pieces: Vec<u8>,
}

impl Wire {
    pub(super) async fn dial(port: &Port) -> Self {
        Self::new(TcpStream::connect(port.address()).await.expect("somebody listens"))
    }

    /// Waits for a caller.
    pub(super) async fn accept(listener: &TcpListener) -> Self {
        Self::new(listener.accept().await.expect("a socket").0)
    }

    fn new(stream: TcpStream) -> Self {
        let (from, out) = stream.into_split();
        Self { frames: FrameReader::new(from, 1 << 22), out, pieces: Vec::new() }
    }

    /// Sends bytes. The connection may have been closed already.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.out.write_all(bytes).await;
    }

    /// Dials as the replica of `setup`, and says who it is.
    pub(super) async fn greet(port: &Port, hello: &Hello) -> (Self, HelloReply) {
        let mut wire = Self::dial(port).await;
        wire.send(&to_frame(hello).expect("short")).await;
        let answer = wire.frames.next().await.expect("a frame").expect("an answer");
        let answer = from_payload(answer).expect("an answer");
        (wire, answer)
    }

    /// Dials, and is welcomed.
    pub(super) async fn welcomed(port: &Port, hello: &Hello) -> Self {
        let (wire, answer) = Self::greet(port, hello).await;
        assert!(matches!(answer, HelloReply::Welcome(_)), "{answer:?}");
        wire
    }

    /// Takes a call and answers it.
    pub(super) async fn answer(listener: &TcpListener, answer: &HelloReply) -> (Self, Hello) {
        loop {
            let mut wire = Self::accept(listener).await;
            // Earlier callers may have given up.
            if let Ok(Some(hello)) = wire.frames.next().await {
                let hello = from_payload(hello).expect("a hello");
                wire.send(&to_frame(answer).expect("short")).await;
                return (wire, hello);
            }
        }
    }

    /// Takes the calls of both dialers and answers them alike. Returns control, and then bulk.
    pub(super) async fn answer_both(listener: &TcpListener, answer: &HelloReply) -> [Self; 2] {
        let (mut control, mut bulk) = (None, None);
        loop {
            let (wire, hello) = Self::answer(listener, answer).await;
            match hello.purpose {
                Purpose::Messages(Lane::Control) => control = Some(wire),
                Purpose::Messages(Lane::Bulk) => bulk = Some(wire),
                Purpose::Snapshots => {}
            }
            match (control.take(), bulk.take()) {
                (Some(control), Some(bulk)) => return [control, bulk],
                found => (control, bulk) = found,
            }
        }
    }

    /// The next message. Leaves out pings.
    pub(super) async fn receive(&mut self) -> Message<Value> {
        loop {
            let payload = self.frames.next().await.expect("a frame").expect("a frame");
            match Content::of(payload).expect("a content") {
                Content::Message(bytes) => return decode(bytes).expect("a message"),
                Content::Piece { bytes, is_last } => {
                    self.pieces.extend_from_slice(bytes);
                    if is_last {
                        return decode(&std::mem::take(&mut self.pieces)).expect("a message");
                    }
                }
                Content::Ping(_) | Content::Pong(_) | Content::Open => {}
            }
        }
    }

    /// Waits until the other end closes the connection without a further word.
    pub(super) async fn until_closed(mut self) {
        while let Ok(Some(payload)) = self.frames.next().await {
            // What the transport says of itself may be on its way.
            let is_own = matches!(Content::of(payload), Some(Content::Ping(_) | Content::Open));
            assert!(is_own, "it says {payload:?}");
        }
    }

    /// Says that its replica knows of this connection, as a dialer.
    pub(super) async fn open(&mut self) {
        self.send(&envelope::open().expect("short")).await;
    }
}
