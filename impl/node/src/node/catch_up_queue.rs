//! The committed slots that peers are to be served from the disk.
//!
//! They are read and sent frame by frame. After each frame, what is left for that peer waits until the
//! frame has left, so that little waits in front of a slow link, and one slow peer holds up no other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use synod_model::{ReplicaId, Serve};

/// What is to be read for all peers. They are served in turn.
#[derive(Debug, Default)]
pub(super) struct CatchUpQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// At most one of each peer.
    waiting: VecDeque<Serve>,
    /// The peer for which a frame is being read, until it is to be served something else.
    served: Option<ReplicaId>,
    /// What follows when the last frame has left.
    rests: BTreeMap<ReplicaId, Serve>,
    is_closed: bool,
}

impl CatchUpQueue {
    /// A peer is to be served this, in the place of what it was to be served before.
    pub(super) fn push(&self, serve: Serve) {
        let mut state = self.state();
        state.forget(serve.to);
        state.waiting.push_back(serve);
        self.changed.notify_one();
    }

    /// Waits for what is to be served next. None after [`close`](Self::close).
    pub(super) fn next(&self) -> Option<Serve> {
        let mut state = self.state();
        state.served = None;
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(serve) = state.waiting.pop_front() {
                state.served = Some(serve.to);
                return Some(serve);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A frame was read for `peer`, and is sent now. The rest waits until the frame has left. False if
    /// the peer is to be served something else: then the frame is of no use.
    pub(super) fn sends(&self, peer: ReplicaId, rest: Option<Serve>) -> bool {
        let mut state = self.state();
        let is_wanted = state.served.take_if(|served| *served == peer).is_some();
        if is_wanted && let Some(rest) = rest {
            state.rests.insert(peer, rest);
        }
        is_wanted
    }

    /// What was being served could not be read: it is to be tried again, after the others.
    pub(super) fn retry(&self, serve: Serve) {
        let mut state = self.state();
        if state.served == Some(serve.to) {
            state.waiting.push_back(serve);
        }
    }

    /// What was sent to `peer` has left. False if nothing is left to be served to it.
    pub(super) fn go_on(&self, peer: ReplicaId) -> bool {
        let mut state = self.state();
        if let Some(rest) = state.rests.remove(&peer) {
            state.waiting.push_back(rest);
            self.changed.notify_one();
        }
        // Its next frame may be on its way here. When that has left, this is asked again.
        state.served == Some(peer) || state.waiting.iter().any(|waiting| waiting.to == peer)
    }

    /// Nothing is to be served to `peer`, until it is pushed.
    pub(super) fn forget(&self, peer: ReplicaId) {
        self.state().forget(peer);
    }

    /// No peer is served any more.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Whether nothing is to be served.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.waiting.is_empty() && state.served.is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, peer: ReplicaId) {
        self.waiting.retain(|waiting| waiting.to != peer);
        self.rests.remove(&peer);
        self.served.take_if(|served| *served == peer);
    }
}

/// Closes the queue when the replica's task, which fills it, ends.
#[derive(Debug)]
pub(super) struct ClosesWhenDropped(pub(super) std::sync::Arc<CatchUpQueue>);

impl Drop for ClosesWhenDropped {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use synod_model::{PrefixHash, Slot, SlotRange};

    use super::*;

    fn serve(to: u16, first: u64) -> Serve {
        let slots = SlotRange { first: Slot(first), last: Slot(first + 9) };
        let (to, checkpoint) = (ReplicaId(to), (Slot(first - 1), PrefixHash(0)));
        Serve { to, slots, checkpoint, log_starts_at: Slot(1), watermark: Slot(100) }
    }

    #[test]
    fn each_peer_is_served_in_turn_and_only_what_it_is_to_be_served_last() {
        let queue = CatchUpQueue::default();
        for pushed in [serve(1, 10), serve(2, 50), serve(1, 20)] {
            queue.push(pushed);
        }
        assert_eq!(queue.next(), Some(serve(2, 50)));
        assert_eq!(queue.next(), Some(serve(1, 20)));
        queue.close();
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn the_rest_follows_when_the_frame_has_left() {
        let queue = CatchUpQueue::default();
        queue.push(serve(1, 10));
        assert!(queue.go_on(ReplicaId(1)));
        assert_eq!(queue.next(), Some(serve(1, 10)));
        assert!(queue.go_on(ReplicaId(1)), "a frame is being read");
        assert!(queue.sends(ReplicaId(1), Some(serve(1, 15))));
        queue.push(serve(2, 50));
        assert_eq!(queue.next(), Some(serve(2, 50)));
        assert!(queue.go_on(ReplicaId(1)));
        assert_eq!(queue.next(), Some(serve(1, 15)));
        assert!(queue.sends(ReplicaId(1), None));
        assert!(!queue.go_on(ReplicaId(1)), "that was all");
    }

    #[test]
    fn what_is_replaced_leaves_no_rest() {
        let queue = CatchUpQueue::default();
        queue.push(serve(1, 10));
        assert_eq!(queue.next(), Some(serve(1, 10)));
        queue.push(serve(1, 40));
        assert!(!queue.sends(ReplicaId(1), Some(serve(1, 15))));
        queue.retry(serve(1, 10));
        assert_eq!(queue.next(), Some(serve(1, 40)));
        assert!(queue.sends(ReplicaId(1), Some(serve(1, 45))));
        queue.forget(ReplicaId(1));
        assert!(!queue.go_on(ReplicaId(1)));
        queue.close();
        assert_eq!(queue.next(), None);
    }
}
