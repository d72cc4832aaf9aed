//! The outgoing half: one task for each peer, which keeps a connection and writes what waits.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use synod_model::Greeting;
use synod_wire::frame::FrameReader;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::error::LinkError;
use super::handshake;
use super::introduction::{Hello, HelloReply, Introduction, Refusal};
use super::limits::{FRAMES_PER_WRITE_MAX, INTRODUCTION_BYTES_MAX};
use super::peer::Peer;
use super::queue::FrameQueue;
use super::shared::Shared;
use super::socket;

/// Keeps a connection to `peer`, until this replica has to stop.
pub(super) async fn run(shared: Arc<Shared>, peer: Arc<Peer>, rng: Rng) {
    let mut backoff = Backoff::new(shared.timing, rng);
    loop {
        let error = match connect(&shared, &peer).await {
            Ok((from_peer, to_peer)) => {
                let since = Instant::now();
                let error = carry(&shared, &peer, from_peer, to_peer).await;
                // A connection that ends as soon as it begins does not count as a success.
                if since.elapsed() >= shared.timing.backoff_max {
                    backoff.reset();
                }
                error
            }
            Err(error) => error,
        };
        let text = error.to_string();
        if let LinkError::Fatal(error) = error {
            peer.note_error(text);
            shared.fail(error);
            return;
        }
        // A peer that is down for an hour is worth one log line, not thousands.
        if peer.note_error(text.clone()) {
            warn!("{peer} {text}");
        } else {
            debug!("{peer} {text}");
        }
        tokio::select! {
            () = sleep(backoff.next_wait()) => {}
            () = peer.wait_until_started() => backoff.reset(),
        }
    }
}

/// A connection over which the peer has welcomed this replica.
async fn connect(
    shared: &Shared,
    peer: &Peer,
) -> Result<(FrameReader<OwnedReadHalf>, OwnedWriteHalf), LinkError> {
    let stream = socket::dial(&peer.address, &shared.timing).await?;
    let limit = shared.timing.handshake_max;
    let shaken = timeout(limit, shake_hands(shared, peer, stream)).await;
    shaken.unwrap_or(Err(LinkError::TooSlow { doing: "say who it is", limit }))
}

async fn shake_hands(
    shared: &Shared,
    peer: &Peer,
    stream: TcpStream,
) -> Result<(FrameReader<OwnedReadHalf>, OwnedWriteHalf), LinkError> {
    let (from_peer, mut to_peer) = stream.into_split();
    let mut from_peer = FrameReader::new(from_peer, INTRODUCTION_BYTES_MAX);
    let hello = Hello { from: shared.me.clone(), to: peer.id };
    let hello = handshake::to_frame(&hello).map_err(LinkError::Unencodable)?;
    to_peer.write_all(&hello).await.map_err(LinkError::Io)?;
    let payload = from_peer.next().await?.ok_or(LinkError::Closed)?;
    match handshake::from_payload(payload)? {
        HelloReply::Welcome(acceptor) => {
            shared.me.judge_acceptor(&acceptor, peer.id).map_err(LinkError::Mismatch)?;
            let greeted = shared.gate.receive(peer.id, acceptor.incarnation, Greeting::Welcome);
            greeted.await.map_err(|error| shared.at_gate(peer, error))?;
            peer.note_run(acceptor.run);
            Ok((from_peer, to_peer))
        }
        HelloReply::Refused(acceptor, refusal) => {
            Err(refused(shared, peer, &acceptor, refusal).await)
        }
    }
}

/// The error when `acceptor` refuses this replica.
async fn refused(
    shared: &Shared,
    peer: &Peer,
    acceptor: &Introduction,
    refusal: Refusal,
) -> LinkError {
    if let Err(mismatch) = shared.me.judge_acceptor(acceptor, peer.id) {
        return LinkError::Mismatch(mismatch);
    }
    let incarnation = acceptor.incarnation;
    let outcome = match refusal {
        Refusal::OtherIncarnation { known } => {
            shared.gate.receive(peer.id, incarnation, Greeting::Refusal { known }).await
        }
        // This says nothing about data directories.
        _ => shared.gate.check(peer.id, incarnation),
    };
    match outcome {
        Ok(()) => LinkError::Refused(refusal),
        Err(error) => shared.at_gate(peer, error),
    }
}

/// Writes what waits for the peer, until the connection ends.
async fn carry(
    shared: &Shared,
    peer: &Peer,
    mut from_peer: FrameReader<OwnedReadHalf>,
    mut to_peer: OwnedWriteHalf,
) -> LinkError {
    info!("{peer} is connected");
    let _open = peer.open_queue();
    let ended = async {
        // Messages of the peer come over another connection. Whatever arrives on this one ends it.
        match from_peer.next().await {
            Ok(None) => LinkError::Closed,
            Ok(Some(_)) => LinkError::Speaks,
            Err(error) => error.into(),
        }
    };
    tokio::select! {
        error = ended => error,
        error = write(&peer.queue, &mut to_peer, shared.timing.write_max) => error,
    }
}

/// Writes what waits, in as few calls as possible, until a write fails.
async fn write(queue: &FrameQueue, to_peer: &mut OwnedWriteHalf, write_max: Duration) -> LinkError {
    loop {
        let mut frames = queue.take().await;
        while !frames.is_empty() {
            let mut room = [IoSlice::new(&[]); FRAMES_PER_WRITE_MAX];
            let slices = frames.slices(&mut room);
            match timeout(write_max, to_peer.write_vectored(slices)).await {
                Ok(Ok(0)) => return LinkError::Io(io::ErrorKind::WriteZero.into()),
                Ok(Ok(bytes)) => queue.written(frames.advance(bytes)),
                Ok(Err(error)) => return LinkError::Io(error),
                Err(_) => {
                    let doing = "take anything of what is sent to it";
                    return LinkError::TooSlow { doing, limit: write_max };
                }
            }
        }
    }
}
