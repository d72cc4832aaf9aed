//! The session that a node uses for submissions of its own process.
//!
//! The request table remembers the requests of a session from the lowest unanswered number on, up to a
//! limit. So each request names the lowest number that is unanswered. A request waits while its number
//! would be beyond the limit.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synod_model::SessionId;
use tokio::sync::Notify;

/// An open session, and its requests in flight.
#[derive(Clone, Debug)]
pub(crate) struct LocalSession {
    id: SessionId,
    requests_max: u64,
    numbers: Arc<Mutex<Numbers>>,
    ended: Arc<Notify>,
}

#[derive(Debug)]
struct Numbers {
    next: u64,
    under_way: BTreeSet<u64>,
}

impl Numbers {
    /// Every request below this number is answered, or given up.
    fn answered(&self) -> u64 {
        self.under_way.first().copied().unwrap_or(self.next)
    }
}

impl LocalSession {
    pub(crate) fn new(id: SessionId, requests_max: u64) -> Self {
        let numbers = Numbers { next: 1, under_way: BTreeSet::new() };
        Self { id, requests_max, numbers: Arc::new(Mutex::new(numbers)), ended: Arc::default() }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Begins a request, once there is room for it.
    pub(crate) async fn begin(&self) -> LocalRequest {
        loop {
            let ended = self.ended.notified();
            if let Some(begun) = self.try_begin() {
                return begun;
            }
            ended.await;
        }
    }

    fn try_begin(&self) -> Option<LocalRequest> {
        let mut numbers = self.numbers();
        let number = numbers.next;
        if number - numbers.answered() >= self.requests_max {
            return None;
        }
        numbers.next += 1;
        numbers.under_way.insert(number);
        let answered = numbers.answered();
        drop(numbers);
        Some(LocalRequest { session: self.clone(), number, answered })
    }

    /// Every change leaves the numbers consistent, so a panic elsewhere does not spoil them.
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight. Dropping it says that it is answered, or given up.
#[derive(Debug)]
pub(crate) struct LocalRequest {
    session: LocalSession,
    number: u64,
    answered: u64,
}

impl LocalRequest {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }
}

impl Drop for LocalRequest {
    fn drop(&mut self) {
        self.session.numbers().under_way.remove(&self.number);
        self.session.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_not_answered() {
        let session = LocalSession::new(SessionId(7), 8);
        let first = session.try_begin().expect("there is room");
        let second = session.try_begin().expect("there is room");
        assert_eq!((first.number(), first.answered()), (1, 1));
        assert_eq!((second.number(), second.answered()), (2, 1));
        drop(first);
        let third = session.try_begin().expect("there is room");
        assert_eq!((third.number(), third.answered()), (3, 2));
    }

    #[tokio::test]
    async fn the_lowest_holds_up_what_is_too_far_ahead() {
        let session = LocalSession::new(SessionId(7), 3);
        let lowest = session.begin().await;
        for number in [2, 3] {
            assert_eq!(session.begin().await.number(), number);
        }
        assert!(session.try_begin().is_none(), "requests 1 to 3 are as many as are remembered");
        let waiting = tokio::spawn({
            let session = session.clone();
            async move { session.begin().await.number() }
        });
        tokio::task::yield_now().await;
        drop(lowest);
        assert_eq!(waiting.await.expect("it does not panic"), 4);
    }
}
