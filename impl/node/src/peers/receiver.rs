//! What comes over a connection from a peer: messages, and pings.

use std::sync::Arc;

use synod_model::Message;
use synod_wire::Value;
use synod_wire::frame::{Arrived, FrameReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use super::envelope::{self, Content, KIND_BYTES};
use super::error::LinkError;
use super::events::PeerEvent;
use super::lane::Lane;
use super::limits::message_bytes_max;
use super::peer::Peer;
use super::ping::PongLimit;
use super::presence::Present;
use super::shared::Shared;

/// A connection whose caller was admitted.
pub(super) struct Admitted {
    pub(super) peer: Arc<Peer>,
    pub(super) present: Present,
    pub(super) lane: Lane,
    pub(super) frames: FrameReader<OwnedReadHalf>,
    pub(super) to_peer: OwnedWriteHalf,
}

/// Passes a peer's messages to the inbox, until the connection ends or a newer one replaces it.
pub(super) async fn receive(shared: &Shared, admitted: Admitted) -> LinkError {
    let Admitted { peer, present, lane, frames, to_peer } = admitted;
    let message_bytes_max = message_bytes_max(&shared.limits);
    let mut receiver = Receiver::new(Arc::clone(&peer), lane, frames, to_peer, message_bytes_max);
    let mut incoming = peer.begin_incoming(lane);
    tokio::select! {
        error = present.ended() => error,
        () = incoming.replaced() => LinkError::Replaced,
        error = pass_on(shared, &mut receiver) => error,
    }
}

async fn pass_on(shared: &Shared, receiver: &mut Receiver) -> LinkError {
    if let Err(error) = wait_until_formed(shared, receiver).await {
        return error;
    }
    let inbox = shared.inbox.of(receiver.lane);
    loop {
        let message = match receiver.next().await {
            Ok(message) => message,
            Err(error) => return error,
        };
        if !shared.passes() {
            return LinkError::Stopping;
        }
        // While the inbox is full nothing is read, so TCP delays the peer, and not this replica.
        if inbox.send(PeerEvent::Message(receiver.peer.id, message)).await.is_err() {
            return LinkError::Stopping;
        }
    }
}

/// Before the cluster is formed no message passes. A peer that was formed earlier may have sent some. They
/// are dropped, and once this replica is formed it closes the connection, so that the peer knows that.
async fn wait_until_formed(shared: &Shared, receiver: &mut Receiver) -> Result<(), LinkError> {
    let mut formed = shared.gate.watch_formed();
    let mut has_dropped = false;
    loop {
        tokio::select! {
            biased;
            formed = formed.wait_for(|formed| *formed) => {
                return match formed {
                    Ok(_) if has_dropped => Err(LinkError::BeforeFormed),
                    Ok(_) => Ok(()),
                    Err(_) => Err(LinkError::Stopping),
                };
            }
            message = receiver.next() => {
                message?;
                has_dropped = true;
            }
        }
    }
}

/// Takes frames apart.
struct Receiver {
    peer: Arc<Peer>,
    lane: Lane,
    frames: FrameReader<OwnedReadHalf>,
    to_peer: OwnedWriteHalf,
    message_bytes_max: usize,
    /// The pieces of a message that is not whole yet.
    pieces: Vec<u8>,
    pong_limit: PongLimit,
}

impl Receiver {
    fn new(
        peer: Arc<Peer>,
        lane: Lane,
        mut frames: FrameReader<OwnedReadHalf>,
        to_peer: OwnedWriteHalf,
        message_bytes_max: usize,
    ) -> Self {
        frames.allow(message_bytes_max.saturating_add(KIND_BYTES));
        let (pieces, pong_limit) = (Vec::new(), PongLimit::default());
        Self { peer, lane, frames, to_peer, message_bytes_max, pieces, pong_limit }
    }

    /// Waits for the next message. Nothing is lost if the wait is dropped.
    async fn next(&mut self) -> Result<Message<Value>, LinkError> {
        loop {
            let payload = match self.frames.next_part().await? {
                Arrived::Frame(payload) => payload,
                Arrived::Part => {
                    self.peer.news.alive(Instant::now());
                    continue;
                }
                Arrived::End => return Err(LinkError::Closed),
            };
            match Content::of(payload).ok_or(LinkError::Unknown)? {
                Content::Message(bytes) => {
                    return envelope::decode(bytes).map_err(LinkError::Undecodable);
                }
                Content::Piece { bytes, is_last } => {
                    if bytes.len() > self.message_bytes_max - self.pieces.len() {
                        let bytes_max = self.message_bytes_max;
                        return Err(LinkError::TooManyPieces { bytes_max });
                    }
                    self.pieces.extend_from_slice(bytes);
                    if is_last {
                        // The memory of one large message is not kept.
                        let whole = std::mem::take(&mut self.pieces);
                        return envelope::decode(&whole).map_err(LinkError::Undecodable);
                    }
                    self.peer.news.alive(Instant::now());
                }
                Content::Ping(number) => {
                    if self.lane == Lane::Control && self.pong_limit.allows(Instant::now()) {
                        answer(&self.to_peer, number)?;
                    }
                }
                Content::Open => {
                    self.peer.news.reconnected();
                }
                // Nothing was asked on this connection.
                Content::Pong(_) => {}
            }
        }
    }
}

/// Answers a ping, and never waits: a peer that does not read its answers gets none.
fn answer(to_peer: &OwnedWriteHalf, number: u64) -> Result<(), LinkError> {
    let frame = envelope::pong(number).map_err(LinkError::Unencodable)?;
    match to_peer.try_write(&frame) {
        Ok(bytes) if bytes == frame.len() => Ok(()),
        // A part of a frame would make the next one unreadable.
        Ok(_) => Err(LinkError::Unanswerable),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(LinkError::Io(error)),
    }
}
