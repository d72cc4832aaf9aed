//! Whether a peer is connected, and with which data directory.
//!
//! Before a configuration registers a directory under an id, two directories may come under it. Only one of them is
//! connected at a time: the one that came first, for as long as it is connected. So a message comes from the directory
//! that the replica believes to talk to, two of them do not push each other out all the time, and when another one
//! is registered, all connections of the wrong one end together.

use std::time::Duration;

use synod_model::Incarnation;
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::LinkError;

/// The connections with a peer, in both directions, for messages or for snapshots.
#[derive(Debug)]
pub(super) struct Presence {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The one that is connected, or was last.
    directory: Option<Incarnation>,
    connections: usize,
    /// Since when there is no connection, if there is none.
    unused_since: Instant,
    /// The peer was dropped.
    is_gone: bool,
}

impl Presence {
    pub(super) fn new(now: Instant) -> Self {
        let state = State { directory: None, connections: 0, unused_since: now, is_gone: false };
        Self { state: watch::Sender::new(state) }
    }

    /// The data directory that is connected, or was last.
    pub(super) fn directory(&self) -> Option<Incarnation> {
        self.state.borrow().directory
    }

    /// A connection with this data directory begins.
    ///
    /// # Errors
    ///
    /// If the peer was dropped, or another data directory is connected.
    pub(super) fn enter(&self, directory: Incarnation) -> Result<Present, LinkError> {
        let mut entered = Ok(());
        self.state.send_if_modified(|state| {
            let is_other = state.directory.is_some_and(|it| it != directory);
            entered = if state.is_gone {
                Err(LinkError::Dropped)
            } else if state.connections > 0 && is_other {
                Err(LinkError::IdTaken)
            } else {
                state.directory = Some(directory);
                state.connections += 1;
                Ok(())
            };
            entered.is_ok()
        });
        entered.map(|()| Present { directory, state: self.state.clone() })
    }

    /// Ends all connections. The next one may be with any data directory.
    pub(super) fn shut_out(&self) {
        self.state.send_modify(|state| state.directory = None);
    }

    /// Drops the peer: all its connections and tasks end, and no others begin.
    pub(super) fn end(&self) {
        self.state.send_modify(|state| state.is_gone = true);
    }

    /// Drops the peer if there was no connection for as long as `kept`. Says whether it is dropped.
    pub(super) fn end_if_unused(&self, kept: Duration, now: Instant) -> bool {
        self.state.send_if_modified(|state| {
            let is_unused = state.connections == 0 && now >= state.unused_since + kept;
            state.is_gone |= is_unused;
            is_unused
        })
    }

    /// Whether there is a connection.
    pub(super) fn is_used(&self) -> bool {
        self.state.borrow().connections > 0
    }

    /// Waits until the peer is dropped.
    pub(super) async fn gone(&self) {
        // The sender is here, so this does not fail.
        let _ = self.state.subscribe().wait_for(|state| state.is_gone).await;
    }
}

/// A connection with a peer, as long as this value exists.
#[derive(Debug)]
pub(super) struct Present {
    directory: Incarnation,
    state: watch::Sender<State>,
}

impl Present {
    /// Waits until the connection must end, and says why.
    pub(super) async fn ended(&self) -> LinkError {
        let ended = |state: &State| state.is_gone || state.directory != Some(self.directory);
        let mut changes = self.state.subscribe();
        match changes.wait_for(ended).await {
            Ok(state) if !state.is_gone => LinkError::ShutOut,
            _ => LinkError::Dropped,
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.state.send_modify(|state| {
            state.connections -= 1;
            if state.connections == 0 {
                state.unused_since = Instant::now();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const KEPT: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_peer_without_a_connection_is_dropped_after_its_time() {
        let begin = Instant::now();
        let presence = Presence::new(begin);
        assert!(!presence.end_if_unused(KEPT, begin + KEPT / 2));
        let [one, two] = [(); 2].map(|()| presence.enter(Incarnation(7)).expect("it is there"));
        drop(one);
        assert!(!presence.end_if_unused(KEPT, begin + 2 * KEPT), "another one is there");
        drop(two);
        assert!(!presence.end_if_unused(KEPT, Instant::now()));
        assert!(presence.gone().now_or_never().is_none());
        assert!(presence.end_if_unused(KEPT, Instant::now() + KEPT));
        presence.gone().await;
        assert!(matches!(presence.enter(Incarnation(7)), Err(LinkError::Dropped)));
    }

    #[tokio::test]
    async fn one_data_directory_is_connected_at_a_time() {
        let presence = Presence::new(Instant::now());
        let older = presence.enter(Incarnation(7)).expect("it is there");
        let same = presence.enter(Incarnation(7)).expect("it is there");
        assert!(older.ended().now_or_never().is_none());
        assert!(matches!(presence.enter(Incarnation(8)), Err(LinkError::IdTaken)));
        assert!(older.ended().now_or_never().is_none(), "another one pushes nobody out");
        drop(older);
        drop(same);
        let other = presence.enter(Incarnation(8)).expect("nobody else is there");
        assert_eq!(presence.directory(), Some(Incarnation(8)));
        presence.shut_out();
        assert!(matches!(other.ended().await, LinkError::ShutOut));
        assert!(presence.enter(Incarnation(7)).is_ok());
        presence.end();
        assert!(matches!(other.ended().await, LinkError::Dropped));
    }
}
