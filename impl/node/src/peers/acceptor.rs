//! The incoming half: whoever calls says who it is, and then its messages go to the inbox.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use synod_model::{Message, ReplicaId};
use synod_wire::Value;
use synod_wire::codec::{self, DecodeError};
use synod_wire::frame::FrameReader;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::error::LinkError;
use super::handshake::{self, Answer, Hello, Refusal};
use super::limits::{INTRODUCTION_BYTES_MAX, STRANGERS_MAX, message_bytes_max, ms};
use super::shared::{Peer, Shared, refusal};
use super::socket;

/// How long nobody is accepted after that has failed. 100 ms: it fails when there are too many open
/// files, and goes on failing until somebody closes one.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Accepts callers until `stop` changes, and ends all their connections.
pub(super) async fn run(
    shared: Arc<Shared>,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    // Those who have not said who they are, the oldest first.
    let mut strangers: VecDeque<oneshot::Sender<()>> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                strangers.retain(|stranger| !stranger.is_closed());
                if strangers.len() >= STRANGERS_MAX {
                    strangers.pop_front();
                }
                let (stranger, makes_room) = oneshot::channel();
                strangers.push_back(stranger);
                connections.spawn(serve(Arc::clone(&shared), stream, address, makes_room));
            }
            Err(error) => {
                warn!("cannot accept a connection of a peer: {error}");
                sleep(ms(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
    connections.shutdown().await;
}

/// Who has called, as far as that is known yet: what an error begins with.
#[derive(Clone, Copy, Debug)]
struct Caller {
    address: SocketAddr,
    replica: Option<ReplicaId>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.replica {
            Some(replica) => write!(f, "replica {replica}, calling from {}", self.address),
            None => write!(f, "a caller from {}", self.address),
        }
    }
}

/// One connection, from its beginning to its end.
async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    makes_room: oneshot::Receiver<()>,
) {
    let mut caller = Caller { address, replica: None };
    let limit_ms = shared.timing.handshake_ms;
    let shaken = tokio::select! {
        shaken = timeout(ms(limit_ms), shake_hands(&shared, stream, &mut caller)) => {
            shaken.unwrap_or(Err(LinkError::TooSlow { doing: "say who it is", limit_ms }))
        }
        // Nothing is ever sent: it is dropped to make room.
        _ = makes_room => Err(LinkError::MadeRoom),
    };
    let error = match shaken {
        Ok((peer, messages)) => receive(&shared, &peer, messages).await,
        Err(error) => error,
    };
    match error {
        LinkError::Fatal(error) => shared.fail(error),
        LinkError::Closed | LinkError::Stopping => debug!("{caller} {error}"),
        error => {
            let text = error.to_string();
            let is_news = caller.replica.is_none_or(|replica| shared.is_news(replica, &text));
            if is_news && shared.lines.may_tell() {
                warn!("{caller} {text}");
            } else {
                debug!("{caller} {text}");
            }
        }
    }
}

async fn shake_hands(
    shared: &Shared,
    stream: TcpStream,
    caller: &mut Caller,
) -> Result<(Arc<Peer>, FrameReader<OwnedReadHalf>), LinkError> {
    socket::prepare(&stream, &shared.timing)?;
    let (from_peer, mut to_peer) = stream.into_split();
    let mut from_peer = FrameReader::new(from_peer, INTRODUCTION_BYTES_MAX);
    let payload = from_peer.next().await?.ok_or(LinkError::Closed)?;
    let admitted = match handshake::from_payload::<Hello>(payload) {
        Ok(hello) => {
            caller.replica = Some(hello.from.replica);
            admit(shared, &hello).await
        }
        Err(error @ LinkError::OtherVersion { .. }) => Err((error, Some(Refusal::OtherVersion))),
        Err(error) => Err((error, None)),
    };
    let (answer, outcome) = match admitted {
        Ok(peer) => (Answer::Welcome(shared.me.clone()), Ok(peer)),
        Err((error, None)) => return Err(error),
        Err((error, Some(refusal))) => (Answer::Refused(shared.me.clone(), refusal), Err(error)),
    };
    let answer = handshake::to_frame(&answer).map_err(LinkError::Unencodable)?;
    // Whoever is refused may have gone; that it was refused is what is worth telling.
    let told = to_peer.write_all(&answer).await.map_err(LinkError::Io);
    let peer = outcome?;
    told?;
    // The connection is closed when both halves are gone, and this one has nothing more to say.
    to_peer.forget();
    from_peer.allow(message_bytes_max(&shared.limits));
    Ok((peer, from_peer))
}

/// Lets a dialer in, or says what is wrong with it, and what it is to be told.
async fn admit(shared: &Shared, hello: &Hello) -> Result<Arc<Peer>, (LinkError, Option<Refusal>)> {
    let judged = shared.me.judge_dialer(hello);
    judged.map_err(|(mismatch, refusal)| (LinkError::Mismatch(mismatch), Some(refusal)))?;
    let from = &hello.from;
    let Some(peer) = shared.peers.get(&from.replica) else {
        // Whom `judge_dialer` lets pass is among them.
        return Err((LinkError::Stopping, None));
    };
    match shared.gate.met(from.replica, from.incarnation).await {
        Ok(()) => {
            peer.note_run(from.run);
            Ok(Arc::clone(peer))
        }
        Err(error) => {
            let refusal = refusal(&error);
            Err((LinkError::at_gate(from.replica, error), refusal))
        }
    }
}

/// Passes a peer's messages to the inbox, until the connection ends or a newer one takes its place.
async fn receive(
    shared: &Shared,
    peer: &Peer,
    mut messages: FrameReader<OwnedReadHalf>,
) -> LinkError {
    let mut incoming = peer.begin_incoming();
    tokio::select! {
        () = incoming.replaced() => LinkError::Replaced,
        error = pass_on(shared, peer, &mut messages) => error,
    }
}

async fn pass_on(
    shared: &Shared,
    peer: &Peer,
    messages: &mut FrameReader<OwnedReadHalf>,
) -> LinkError {
    loop {
        let message = match messages.next().await {
            Ok(Some(payload)) => decode(payload),
            Ok(None) => return LinkError::Closed,
            Err(error) => return error.into(),
        };
        let message = match message {
            Ok(message) => message,
            Err(error) => return LinkError::Undecodable(error),
        };
        // Before the cluster is formed nothing passes. It is repeated.
        if !shared.passes() {
            continue;
        }
        // While the inbox is full nothing is read, and TCP holds the peer up, not this replica.
        if shared.inbox.send((peer.id, message)).await.is_err() {
            return LinkError::Stopping;
        }
    }
}

fn decode(payload: &[u8]) -> Result<Message<Value>, DecodeError> {
    let (message, taken) = codec::decode(payload)?;
    if taken == payload.len() {
        Ok(message)
    } else {
        Err(DecodeError::BytesLeft(payload.len() - taken))
    }
}
