//! What lagging peers have asked for, until it is read from the disk: the newest ask of each peer.
//!
//! A peer that hears nothing asks again, twenty times a second. If a read takes longer than that, the
//! same ask would stand in the queue many times, and the next one behind all its copies. So a new ask
//! replaces the last one of the same peer. While an ask is being answered, the same ask again is
//! dropped: the peer sent it before the answer can have arrived.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use synod_model::{ReplicaId, Serve, Slot};

/// The asks of all peers. They are served in turn.
#[derive(Debug, Default)]
pub(super) struct CatchUpQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// At most one of each peer.
    waiting: VecDeque<Serve>,
    /// Who is being served, and from which slot on.
    served: Option<(ReplicaId, Slot)>,
    is_closed: bool,
}

impl CatchUpQueue {
    /// A peer asks.
    pub(super) fn push(&self, serve: Serve) {
        let mut state = self.state();
        if state.served == Some((serve.to, serve.slots.first)) {
            return;
        }
        match state.waiting.iter_mut().find(|it| it.to == serve.to) {
            Some(waiting) => *waiting = serve,
            None => state.waiting.push_back(serve),
        }
        self.changed.notify_one();
    }

    /// Says that the last ask is served, and waits for the next one. None after [`close`](Self::close).
    pub(super) fn next(&self) -> Option<Serve> {
        let mut state = self.state();
        state.served = None;
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(serve) = state.waiting.pop_front() {
                state.served = Some((serve.to, serve.slots.first));
                return Some(serve);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No peer asks any more.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    use synod_model::SlotRange;

    use super::*;

    fn ask(to: u16, first: u64) -> Serve {
        let slots = SlotRange { first: Slot(first), last: Slot(first + 9) };
        Serve { to: ReplicaId(to), slots, log_starts_at: Slot(1), watermark: Slot(100) }
    }

    #[test]
    fn each_peer_is_served_in_turn_and_only_what_it_asked_last() {
        let queue = CatchUpQueue::default();
        for serve in [ask(1, 10), ask(2, 50), ask(1, 10), ask(1, 20), ask(2, 50)] {
            queue.push(serve);
        }
        assert_eq!(queue.next(), Some(ask(1, 20)));
        // Asked again while it is served, and then for what comes after.
        queue.push(ask(1, 20));
        queue.push(ask(1, 30));
        assert_eq!(queue.next(), Some(ask(2, 50)));
        assert_eq!(queue.next(), Some(ask(1, 30)));
        queue.push(ask(1, 30));
        queue.close();
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn an_answer_that_was_lost_is_asked_for_again() {
        let queue = CatchUpQueue::default();
        queue.push(ask(1, 10));
        assert_eq!(queue.next(), Some(ask(1, 10)));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Until it is served the second time.
                while queue.state().served.is_some() {
                    std::thread::yield_now();
                }
                queue.push(ask(1, 10));
            });
            assert_eq!(queue.next(), Some(ask(1, 10)));
        });
    }
}
