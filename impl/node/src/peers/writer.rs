//! What goes over a connection to a peer: messages, and pings and their answers.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use synod_wire::frame::FrameReader;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::envelope::{self, Content};
use super::error::LinkError;
use super::lane::Lane;
use super::limits::FRAMES_PER_WRITE_MAX;
use super::peer::Peer;
use super::ping::Pinger;
use super::presence::Present;
use super::queue::FrameQueue;
use super::shared::Shared;

/// A connection over which the peer has welcomed this replica.
pub(super) struct Connection {
    pub(super) from_peer: FrameReader<OwnedReadHalf>,
    pub(super) to_peer: OwnedWriteHalf,
    pub(super) present: Present,
}

/// Writes what waits for the peer, until the connection ends. Returns why it has ended, and whether it
/// has carried a message.
pub(super) async fn carry(
    shared: &Shared,
    peer: &Peer,
    lane: Lane,
    connection: Connection,
) -> (LinkError, bool) {
    let Connection { from_peer, mut to_peer, present } = connection;
    let open = peer.open_queue(lane);
    let queue = peer.queue(lane);
    let has_carried = AtomicBool::new(false);
    let error = tokio::select! {
        error = present.ended() => error,
        error = listen(peer, lane, from_peer) => error,
        error = tell_peer(peer, queue, open.number) => error,
        overflow = queue.overflowed() => LinkError::Overflow(overflow),
        error = write(queue, &mut to_peer, shared.timing.write_max, &has_carried) => error,
    };
    (error, has_carried.into_inner())
}

/// Tells the peer of the connection when this replica knows of it. Never ends but with an error.
///
/// Both replicas repeat what may be lost when they are told of a connection. If the peer were told first,
/// its messages could come before this replica is told, and an answer to them would be dropped, or
/// forgotten with what was before.
async fn tell_peer(peer: &Peer, queue: &FrameQueue, connection: u64) -> LinkError {
    peer.news.until_told(connection).await;
    match envelope::open() {
        Ok(frame) => queue.push_open(&frame, Instant::now()),
        Err(error) => return LinkError::Unencodable(error),
    }
    std::future::pending().await
}

/// Sends pings on the control lane, and takes the answers. The messages of the peer come over another
/// connection, so anything else that arrives on this one ends it.
async fn listen(peer: &Peer, lane: Lane, mut from_peer: FrameReader<OwnedReadHalf>) -> LinkError {
    let mut pinger = Pinger::new(Instant::now());
    loop {
        let arrived = tokio::select! {
            () = sleep_until(pinger.next()), if lane == Lane::Control => None,
            arrived = from_peer.next() => Some(arrived),
        };
        let payload = match arrived {
            None => {
                let now = Instant::now();
                match envelope::ping(pinger.begin(now)) {
                    Ok(frame) => peer.queue(lane).push_own(&frame, now),
                    Err(error) => return LinkError::Unencodable(error),
                }
                continue;
            }
            Some(Ok(None)) => return LinkError::Closed,
            Some(Ok(Some(payload))) => payload,
            Some(Err(error)) => return error.into(),
        };
        let Some(Content::Pong(number)) = Content::of(payload) else {
            return LinkError::Speaks;
        };
        if let Some(round_trip) = pinger.end(number, Instant::now()) {
            peer.note_round_trip(round_trip);
        }
    }
}

/// Writes what waits, in as few calls as possible, until a write fails.
async fn write(
    queue: &FrameQueue,
    to_peer: &mut OwnedWriteHalf,
    write_max: Duration,
    has_carried: &AtomicBool,
) -> LinkError {
    loop {
        let mut frames = queue.take().await;
        let mut gives_up = Instant::now() + write_max;
        while !frames.is_empty() {
            let looks_again = queue.look_at_age(Instant::now());
            let wakes = looks_again.map_or(gives_up, |it| it.min(gives_up));
            let mut room = [IoSlice::new(&[]); FRAMES_PER_WRITE_MAX];
            let slices = frames.slices(&mut room);
            let written = tokio::select! {
                biased;
                written = timeout_at(wakes, to_peer.write_vectored(slices)) => written,
                // Behind a piece of catch-up the age of other messages begins when one is added.
                () = queue.added(), if frames.is_catch_up() => continue,
            };
            match written {
                Ok(Ok(0)) => return LinkError::Io(io::ErrorKind::WriteZero.into()),
                Ok(Ok(bytes)) => {
                    let written = frames.advance(bytes);
                    let now = Instant::now();
                    queue.written(written, &frames, now);
                    gives_up = now + write_max;
                    if frames.has_carried() {
                        has_carried.store(true, Ordering::Relaxed);
                    }
                }
                Ok(Err(error)) => return LinkError::Io(error),
                Err(_) if wakes == gives_up => {
                    let doing = "take anything of what is sent to it";
                    return LinkError::TooSlow { doing, limit: write_max };
                }
                // The queue has reached an age of which the replica is told.
                Err(_) => {}
            }
        }
    }
}
