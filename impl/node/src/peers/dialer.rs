//! The outgoing half: one task for each lane of each peer, which keeps a connection.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use synod_model::Greeting;
use synod_wire::frame::FrameReader;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::error::LinkError;
use super::handshake;
use super::introduction::{HelloReply, Introduction, Purpose, Refusal};
use super::lane::Lane;
use super::limits::{INTRODUCTION_BYTES_MAX, LinkTiming};
use super::peer::Peer;
use super::shared::Shared;
use super::socket;
use super::writer::{Connection, carry};

/// Keeps a connection to `peer`, until this replica has to stop.
pub(super) async fn run(shared: Arc<Shared>, peer: Arc<Peer>, lane: Lane, rng: Rng) {
    let mut backoff = Backoff::new(shared.timing, rng);
    let mut met = peer.watch_met();
    loop {
        let looked_at = peer.address();
        let error = tokio::select! {
            error = connect_and_carry(&shared, &peer, lane, &mut backoff, &mut met) => error,
            // Who is found at the former address may still be there.
            () = peer.has_moved(looked_at.as_ref()) => LinkError::Moved,
        };
        let failed = Instant::now();
        if let LinkError::Fatal(error) = error {
            shared.fail(error);
            return;
        }
        tell(&shared, &peer, lane, &error);
        // A caller could have this replica dial anybody, as often as it calls. So its word shortens no wait.
        let is_believed = looked_at.as_ref().is_some_and(|it| !it.is_only_told);
        tokio::select! {
            () = sleep(backoff.next_wait()) => {}
            // The peer is there: another connection has just been made. Two connections that end as soon
            // as they begin must not wake each other all the time.
            Ok(()) = met.changed(), if is_believed => {
                backoff.reset();
                sleep_until(failed + shared.timing.backoff_min).await;
            }
            () = peer.is_known_elsewhere(looked_at.as_ref()) => backoff.reset(),
        }
    }
}

/// Connects, and carries messages until the connection ends. Returns why it ended, or why there was none.
async fn connect_and_carry(
    shared: &Shared,
    peer: &Peer,
    lane: Lane,
    backoff: &mut Backoff,
    met: &mut watch::Receiver<u64>,
) -> LinkError {
    let connection = match connect(shared, peer, Purpose::Messages(lane)).await {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    met.mark_unchanged();
    let since = Instant::now();
    let (error, has_carried) = carry(shared, peer, lane, connection).await;
    if is_success(since.elapsed(), has_carried, &shared.timing) {
        backoff.reset();
    }
    error
}

/// Tells people why there is no connection.
fn tell(shared: &Shared, peer: &Peer, lane: Lane, error: &LinkError) {
    if let LinkError::Moved = error {
        // They were told when the address changed.
        return;
    }
    let text = error.to_string();
    // A peer that is down for an hour is worth one log line, not thousands.
    let mut is_news = peer.note_error(lane, error.topic(), text.clone());
    if let LinkError::Mismatch(_) = error {
        // It may have called, and been turned away for the same reason.
        is_news &= shared.is_news(peer.id, &text);
    }
    match error {
        LinkError::Starting { .. } if is_news => info!("{peer} {text}"),
        _ if is_news => warn!("{peer} {text}"),
        _ => debug!(%lane, "{peer} {text}"),
    }
}

/// Whether a connection was worth the dialling, so that the next one may be dialled soon: it has carried
/// a message, or was there for long. One that ends as soon as it begins is none, whatever was written to
/// it.
fn is_success(lasted: Duration, has_carried: bool, timing: &LinkTiming) -> bool {
    lasted >= if has_carried { timing.backoff_min } else { timing.backoff_max }
}

/// A connection over which the peer has welcomed this replica.
pub(super) async fn connect(
    shared: &Shared,
    peer: &Peer,
    purpose: Purpose,
) -> Result<Connection, LinkError> {
    let address = peer.address().ok_or(LinkError::NoAddress)?.text;
    let error = match connect_at(shared, peer, purpose, &address).await {
        Err(error) if !matches!(error, LinkError::Fatal(_)) => error,
        done => return done,
    };
    // A change may have registered an address where the peer is not. Who is found is asked who it is, so its own
    // word can do no harm.
    let Some(told) = peer.seen().told_address.filter(|it| *it != address) else {
        return Err(error);
    };
    match connect_at(shared, peer, purpose, &told).await {
        Err(LinkError::Fatal(fatal)) => Err(LinkError::Fatal(fatal)),
        done => done.map_err(|_| error),
    }
}

async fn connect_at(
    shared: &Shared,
    peer: &Peer,
    purpose: Purpose,
    address: &str,
) -> Result<Connection, LinkError> {
    let stream = socket::dial(address, &shared.timing).await?;
    if purpose == Purpose::Messages(Lane::Bulk) {
        socket::keep_little_unsent(&stream)?;
    }
    let limit = shared.timing.handshake_max;
    let shaken = timeout(limit, shake_hands(shared, peer, purpose, stream)).await;
    shaken.unwrap_or(Err(LinkError::TooSlow { doing: "say who it is", limit }))
}

async fn shake_hands(
    shared: &Shared,
    peer: &Peer,
    purpose: Purpose,
    stream: TcpStream,
) -> Result<Connection, LinkError> {
    let (from_peer, mut to_peer) = stream.into_split();
    let mut from_peer = FrameReader::new(from_peer, INTRODUCTION_BYTES_MAX);
    let hello =
        handshake::to_frame(&shared.hello(peer.id, purpose)).map_err(LinkError::Unencodable)?;
    to_peer.write_all(&hello).await.map_err(LinkError::Io)?;
    let payload = from_peer.next().await?.ok_or(LinkError::Closed)?;
    match handshake::from_payload(payload)? {
        HelloReply::Welcome(acceptor) => {
            shared.me.judge_acceptor(&acceptor, peer.id).map_err(LinkError::Mismatch)?;
            let greeted = shared.gate.receive(peer.id, acceptor.incarnation, Greeting::Welcome);
            let at_gate = |error| shared.at_gate(peer.id, &peer.place(), error);
            greeted.await.map_err(at_gate)?;
            let present = shared.enter(peer, acceptor.incarnation)?;
            peer.note_run(acceptor.run);
            Ok(Connection { from_peer, to_peer, present })
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
        Ok(()) => match refusal {
            Refusal::Starting { segments_read, segments } => {
                LinkError::Starting { segments_read, segments }
            }
            refusal => LinkError::Refused(refusal),
        },
        Err(error) => shared.at_gate(peer.id, &peer.place(), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_carried_messages_is_a_success() {
        let timing = LinkTiming::default();
        let ms = Duration::from_millis;
        assert!(is_success(ms(300), true, &timing));
        assert!(!is_success(ms(300), false, &timing));
        assert!(!is_success(ms(1), true, &timing), "what was written may be lost");
        assert!(is_success(timing.backoff_max, false, &timing));
    }
}
