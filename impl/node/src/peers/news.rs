//! What the replica is still to be told of one peer.
//!
//! Readers put messages in the inbox themselves, and wait while it is full. All other events are noted
//! here first, so that nobody waits to note one. Of each kind at most one event is kept, and that is
//! enough: a replica that is told that a connection was made need not be told twice. So no event is lost,
//! and what is kept has a limit.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use synod_model::ReplicaId;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::events::PeerEvent;
use super::limits::ALIVE_INTERVAL;

/// What the replica is still to be told of one peer.
#[derive(Debug, Default)]
pub(super) struct News {
    pending: Mutex<Pending>,
    changed: Notify,
    /// How many of the connections that were made the replica has been told of.
    told_connections: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an event of its own")]
struct Pending {
    has_restarted: bool,
    catch_up_lost: bool,
    is_reconnected: bool,
    is_full: bool,
    catch_up_left: bool,
    round_trip: Option<Duration>,
    is_alive: bool,
    /// How many connections were made.
    connections: u64,
    told: Told,
}

/// What the replica was told last.
#[derive(Clone, Debug, Default)]
struct Told {
    connections: u64,
    is_full: bool,
    alive: Option<Instant>,
}

impl News {
    /// The peer is in another run than when it was met last.
    pub(super) fn restarted(&self) {
        self.note(|pending| pending.has_restarted = true);
    }

    /// Messages pass on a new connection. Returns its number.
    pub(super) fn reconnected(&self) -> u64 {
        let mut number = 0;
        self.note(|pending| {
            pending.is_reconnected = true;
            pending.connections += 1;
            number = pending.connections;
        });
        number
    }

    /// The catch-up that was sent and has not left is lost.
    pub(super) fn catch_up_lost(&self) {
        self.note(|pending| (pending.catch_up_lost, pending.catch_up_left) = (true, false));
    }

    /// Waits until the replica was told of the connection with this number.
    pub(super) async fn until_told(&self, connection: u64) {
        // The sender is here, so this does not fail.
        let _ = self.told_connections.subscribe().wait_for(|told| *told >= connection).await;
    }

    /// The event that was taken out last is in the inbox.
    pub(super) fn note_told(&self) {
        let connections = self.lock().told.connections;
        self.told_connections.send_if_modified(|told| {
            let is_news = *told != connections;
            *told = connections;
            is_news
        });
    }

    /// Whether the bulk queue is full. The last word counts.
    pub(super) fn set_full(&self, is_full: bool) {
        self.note(|pending| pending.is_full = is_full);
    }

    /// Little catch-up waits any more.
    pub(super) fn catch_up_left(&self) {
        self.note(|pending| pending.catch_up_left = true);
    }

    /// A ping was answered. The last one counts.
    pub(super) fn round_trip(&self, round_trip: Duration) {
        self.note(|pending| pending.round_trip = Some(round_trip));
    }

    /// A part of a message has arrived.
    pub(super) fn alive(&self, now: Instant) {
        let mut pending = self.lock();
        if pending.is_alive || pending.told.alive.is_some_and(|it| now < it + ALIVE_INTERVAL) {
            return;
        }
        pending.is_alive = true;
        drop(pending);
        self.changed.notify_one();
    }

    fn note(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// Waits until something was noted since this was called last.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the next event of `peer` out.
    pub(super) fn take(&self, peer: ReplicaId, now: Instant) -> Option<PeerEvent> {
        let mut pending = self.lock();
        if std::mem::take(&mut pending.has_restarted) {
            return Some(PeerEvent::Restarted(peer));
        }
        if std::mem::take(&mut pending.catch_up_lost) {
            return Some(PeerEvent::CatchUpLost(peer));
        }
        if std::mem::take(&mut pending.is_reconnected) {
            pending.told.connections = pending.connections;
            // The replica takes the way to be free now. If it is not, it is told so again.
            pending.told.is_full = false;
            return Some(PeerEvent::Reconnected(peer));
        }
        if pending.is_full != pending.told.is_full {
            pending.told.is_full = pending.is_full;
            let event = if pending.is_full { PeerEvent::Full } else { PeerEvent::Drained };
            return Some(event(peer));
        }
        if std::mem::take(&mut pending.catch_up_left) {
            return Some(PeerEvent::CatchUpLeft(peer));
        }
        if let Some(round_trip) = pending.round_trip.take() {
            return Some(PeerEvent::RoundTrip(peer, round_trip));
        }
        if std::mem::take(&mut pending.is_alive) {
            pending.told.alive = Some(now);
            return Some(PeerEvent::Alive(peer));
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ReplicaId = ReplicaId(1);

    fn all(news: &News, now: Instant) -> Vec<PeerEvent> {
        std::iter::from_fn(|| news.take(PEER, now)).collect()
    }

    #[test]
    fn one_event_of_each_kind_is_kept_and_the_last_word_counts() {
        let (news, now) = (News::default(), Instant::now());
        for ms in 1..4 {
            news.reconnected();
            news.set_full(false);
            news.set_full(true);
            news.round_trip(Duration::from_millis(ms));
            news.alive(now);
        }
        let expected = [
            PeerEvent::Reconnected(PEER),
            PeerEvent::Full(PEER),
            PeerEvent::RoundTrip(PEER, Duration::from_millis(3)),
            PeerEvent::Alive(PEER),
        ];
        assert_eq!(all(&news, now), expected);
        assert_eq!(all(&news, now), []);
    }

    #[test]
    fn full_and_drained_alternate() {
        let (news, now) = (News::default(), Instant::now());
        news.set_full(true);
        news.set_full(false);
        assert_eq!(all(&news, now), [], "it was full for a moment that nobody has seen");
        news.set_full(true);
        assert_eq!(all(&news, now), [PeerEvent::Full(PEER)]);
        news.set_full(false);
        news.set_full(true);
        assert_eq!(all(&news, now), [], "it is full still");
        news.set_full(false);
        assert_eq!(all(&news, now), [PeerEvent::Drained(PEER)]);
    }

    #[test]
    fn signs_of_life_are_told_rarely() {
        let (news, now) = (News::default(), Instant::now());
        news.alive(now);
        assert_eq!(all(&news, now), [PeerEvent::Alive(PEER)]);
        news.alive(now + ALIVE_INTERVAL / 2);
        assert_eq!(all(&news, now + ALIVE_INTERVAL / 2), []);
        news.alive(now + ALIVE_INTERVAL);
        assert_eq!(all(&news, now + ALIVE_INTERVAL), [PeerEvent::Alive(PEER)]);
    }
}
