//! The incoming half: callers say who they are, and are admitted or told why not.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use synod_model::{Greeting, ReplicaId};
use synod_wire::frame::FrameReader;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use super::error::LinkError;
use super::handshake;
use super::introduction::{Hello, HelloReply, Introduction, Purpose, Refusal};
use super::limits::{INTRODUCTION_BYTES_MAX, STRANGERS_MAX};
use super::peer::Peer;
use super::presence::Present;
use super::receiver::{self, Admitted};
use super::shared::{Shared, refusal};
use super::snapshots;
use super::socket;
use super::supervision::text_of;

/// How long to wait after accepting a connection has failed. 100 ms: it fails when too many files are
/// open, and goes on failing until one is closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts callers until `stop` changes, and then ends all their connections.
pub(super) async fn run(
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    // The callers that have not said who they are, the oldest first.
    let mut strangers: VecDeque<oneshot::Sender<()>> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = connections.join_next() => {
                tell_panic(ended);
                continue;
            }
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
                // It may fail ten times a second, for as long as descriptors are short.
                if shared.log_rate_limit.allows_line() {
                    warn!("cannot accept a connection of a peer, and tries again: {error}");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.shutdown().await;
}

/// A panic closes the connection only, and the caller dials again.
fn tell_panic(ended: Result<(), JoinError>) {
    if let Err(ended) = ended
        && let Ok(panic) = ended.try_into_panic()
    {
        error!("a task for a caller has panicked: {}", text_of(&*panic));
    }
}

/// A caller, as far as it is known yet. Errors begin with it.
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
    let limit = shared.timing.handshake_max;
    let shaken = tokio::select! {
        shaken = timeout(limit, shake_hands(&shared, stream, &mut caller)) => {
            shaken.unwrap_or(Err(LinkError::TooSlow { doing: "say who it is", limit }))
        }
        // Nothing is ever sent on this channel. Its sender is dropped to make room.
        _ = makes_room => Err(LinkError::MadeRoom),
    };
    let error = match shaken {
        Ok(Welcomed { purpose: Purpose::Messages(lane), peer, present, frames, to_peer }) => {
            receiver::receive(&shared, Admitted { peer, present, lane, frames, to_peer }).await
        }
        Ok(Welcomed { purpose: Purpose::Snapshots, peer, present, frames, to_peer }) => {
            tokio::select! {
                error = present.ended() => error,
                error = snapshots::send(&shared, &peer, frames, to_peer) => error,
            }
        }
        Err(error) => error,
    };
    match error {
        LinkError::Fatal(error) => shared.fail(error),
        LinkError::Closed | LinkError::Stopping | LinkError::BeforeFormed | LinkError::Dropped => {
            debug!("{caller} {error}");
        }
        error => {
            let text = error.to_string();
            let is_news = caller.replica.is_none_or(|replica| shared.is_news(replica, &text));
            if is_news && shared.log_rate_limit.allows_line() {
                warn!("{caller} {text}");
            } else {
                debug!("{caller} {text}");
            }
        }
    }
}

async fn shake_hands(
    shared: &Arc<Shared>,
    stream: TcpStream,
    caller: &mut Caller,
) -> Result<Welcomed, LinkError> {
    socket::prepare(&stream, &shared.timing)?;
    let (from_peer, mut to_peer) = stream.into_split();
    let mut from_peer = FrameReader::new(from_peer, INTRODUCTION_BYTES_MAX);
    let payload = from_peer.next().await?.ok_or(LinkError::Closed)?;
    let admitted = match handshake::from_payload::<Hello>(payload) {
        Ok(hello) => {
            caller.replica = Some(hello.from.replica);
            admit(shared, &hello, caller.address).await.map(|peer| (peer, hello))
        }
        Err(error @ LinkError::OtherVersion { .. }) => Err((error, Some(Refusal::OtherVersion))),
        Err(error) => Err((error, None)),
    };
    let (answer, outcome) = match admitted {
        Ok(admitted) => (HelloReply::Welcome(shared.me.clone()), Ok(admitted)),
        Err((error, None)) => return Err(error),
        Err((error, Some(refusal))) => {
            (HelloReply::Refused(shared.me.clone(), refusal), Err(error))
        }
    };
    let answer = handshake::to_frame(&answer).map_err(LinkError::Unencodable)?;
    // A refused dialer may have gone. The error to report is the refusal, not the failed write.
    let written = to_peer.write_all(&answer).await.map_err(LinkError::Io);
    let ((peer, present), hello) = outcome?;
    written?;
    Ok(Welcomed { peer, present, purpose: hello.purpose, frames: from_peer, to_peer })
}

/// A connection whose caller was welcomed.
struct Welcomed {
    peer: Arc<Peer>,
    present: Present,
    purpose: Purpose,
    frames: FrameReader<OwnedReadHalf>,
    to_peer: OwnedWriteHalf,
}

/// Admits a dialer. Otherwise returns the error, and what the dialer is told.
async fn admit(
    shared: &Arc<Shared>,
    hello: &Hello,
    address: SocketAddr,
) -> Result<(Arc<Peer>, Present), (LinkError, Option<Refusal>)> {
    let judged = shared.me.judge_dialer(hello);
    judged.map_err(|(mismatch, refusal)| (LinkError::Mismatch(mismatch), Some(refusal)))?;
    let Introduction { replica, incarnation, run, .. } = hello.from;
    let greeted = shared.gate.receive(replica, incarnation, Greeting::Hello).await;
    greeted.map_err(|error| {
        let refusal = refusal(&error);
        (shared.at_gate(replica, &address.to_string(), error), refusal)
    })?;
    let peer = shared.meet(hello).map_err(|(error, refusal)| (error, Some(refusal)))?;
    let present = shared.enter(&peer, incarnation).map_err(|error| {
        let refusal = matches!(error, LinkError::IdTaken).then_some(Refusal::IdTaken);
        (error, refusal)
    })?;
    shared.roster.note_told_address(&peer, hello.address.as_deref());
    peer.note_run(run);
    Ok((peer, present))
}
