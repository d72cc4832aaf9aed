//! How much memory all clients together may make a node use for what they send.
//!
//! One connection is bounded by its own limits; thousands of connections that keep to theirs would
//! still be too much. So a message needs a part of one budget, from before it is read to its answer. A
//! message whose part is not to be had stays in TCP and waits in turn.
//!
//! - **Small ones are free**, as long as a connection has few: up to [`FREE_BYTES`] of messages for each
//!   connection are not counted. A client with one small value at a time never waits for those who send
//!   large ones, and costs no more than a comparison.
//! - **Nobody waits with a full hand.** A message gets its part whole, and before more of it is read
//!   than is free. So whoever holds a part either is working on it or is receiving the rest, and waits
//!   for nobody else's part. What remains is a client that does not send the rest, and
//!   [`ServerLimits::message_max`](super::ServerLimits::message_max) ends its connection.
//! - **Larger than the budget** is no obstacle: such a message takes all of it, alone.

use std::future::{self, Future};
use std::pin::Pin;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How many bytes of messages each connection may have for nothing. 16 KiB: as much as is read at once,
/// for what was read is here already.
pub(super) const FREE_BYTES: usize = synod_wire::buffers::READ_BYTES;

/// The budget.
#[derive(Debug)]
pub(super) struct Budget {
    /// A permit is a byte.
    room: Semaphore,
    bytes_max: u32,
}

impl Budget {
    /// One of so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        let permits_max = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX).clamp(1, permits_max);
        Self { room: Semaphore::new(bytes_max as usize), bytes_max }
    }

    fn bytes_for(&self, message_bytes: usize) -> u32 {
        u32::try_from(message_bytes).unwrap_or(u32::MAX).min(self.bytes_max)
    }
}

type Permit<'a> = Result<SemaphorePermit<'a>, AcquireError>;

/// What one connection has of it.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    /// How many bytes its messages have that are free.
    free_bytes: usize,
    /// The place in the queue of the next message. It is kept, for a new one would be the last.
    queued: Option<Pin<Box<dyn Future<Output = Permit<'a>> + Send + 'a>>>,
    /// The part of the next message.
    part: Option<Part<'a>>,
    /// Since when the rest of that message is awaited.
    begun: Option<Instant>,
}

/// What one message has of it. What is dropped is given back, but for what is free:
/// [`Share::give_back`].
pub(super) struct Part<'a> {
    free_bytes: usize,
    /// None only if the part is free: the semaphore is never closed.
    _permit: Option<SemaphorePermit<'a>>,
}

impl<'a> Share<'a> {
    /// Nothing yet.
    pub(super) fn new(budget: &'a Budget) -> Self {
        Self { budget, free_bytes: 0, queued: None, part: None, begun: None }
    }

    /// Whether the next message has its part.
    pub(super) fn has_part(&self) -> bool {
        self.part.is_some()
    }

    /// Gets the part of the next message, of so many bytes. False if it has to
    /// [wait](Self::wait).
    pub(super) fn reserve(&mut self, message_bytes: usize) -> bool {
        if self.part.is_some() {
            return true;
        }
        if self.free_bytes + message_bytes <= FREE_BYTES {
            self.free_bytes += message_bytes;
            self.queued = None;
            self.part = Some(Part { free_bytes: message_bytes, _permit: None });
            return true;
        }
        if self.queued.is_none() {
            let Budget { room, .. } = self.budget;
            let bytes = self.budget.bytes_for(message_bytes);
            match room.try_acquire_many(bytes) {
                Ok(permit) => self.part = Some(Part { free_bytes: 0, _permit: Some(permit) }),
                Err(_) => self.queued = Some(Box::pin(room.acquire_many(bytes))),
            }
        }
        self.part.is_some()
    }

    /// Whether the next message waits for its part.
    pub(super) fn is_queued(&self) -> bool {
        self.queued.is_some()
    }

    /// Waits until the next message has its part. It keeps its place if the wait is dropped.
    pub(super) async fn wait(&mut self) {
        match &mut self.queued {
            Some(queued) => {
                let permit = queued.await;
                self.queued = None;
                self.part = Some(Part { free_bytes: 0, _permit: permit.ok() });
            }
            None => future::pending().await,
        }
    }

    /// Since when the rest of a message is awaited that has its part.
    pub(super) fn begun(&mut self) -> Option<Instant> {
        match self.part {
            Some(_) => Some(*self.begun.get_or_insert_with(Instant::now)),
            None => None,
        }
    }

    /// The next message is here, and takes its part with it.
    pub(super) fn take(&mut self) -> Option<Part<'a>> {
        self.begun = None;
        self.part.take()
    }

    /// A part for a response, if there is one to be had without waiting.
    pub(super) fn try_part(&self, response_bytes: usize) -> Option<Part<'a>> {
        let Budget { room, .. } = self.budget;
        let permit = room.try_acquire_many(self.budget.bytes_for(response_bytes)).ok()?;
        Some(Part { free_bytes: 0, _permit: Some(permit) })
    }

    /// The message is answered.
    pub(super) fn give_back(&mut self, part: Option<Part<'a>>) {
        self.free_bytes -= part.map_or(0, |part| part.free_bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const LARGE: usize = 100_000;

    fn reserved<'a>(share: &mut Share<'a>, bytes: usize) -> Option<Part<'a>> {
        share.reserve(bytes).then(|| share.take()).flatten()
    }

    #[test]
    fn few_small_messages_are_free_and_more_are_not() {
        let budget = Budget::new(1000);
        let all = budget.room.try_acquire_many(1000).unwrap();
        let mut share = Share::new(&budget);
        let parts: Vec<_> = (0..16).map(|_| reserved(&mut share, 1024).unwrap()).collect();
        assert!(!share.reserve(1024), "one more has to wait");
        for part in parts {
            share.give_back(Some(part));
        }
        assert!(share.reserve(1024), "and is free when another is answered");
        drop(all);
        assert_eq!(budget.room.available_permits(), 1000);
    }

    #[test]
    fn who_waits_is_served_in_turn_and_keeps_the_place_when_a_wait_is_dropped() {
        let budget = Budget::new(2 * LARGE as u64);
        let [mut first, mut second, mut third] = [(); 3].map(|()| Share::new(&budget));
        let part = reserved(&mut first, 2 * LARGE).unwrap();
        assert!(!second.reserve(2 * LARGE));
        assert!(second.wait().now_or_never().is_none());
        assert!(!third.reserve(LARGE));
        assert!(third.wait().now_or_never().is_none());
        first.give_back(Some(part));
        assert!(third.wait().now_or_never().is_none(), "the second was there before");
        assert!(second.wait().now_or_never().is_some());
        let part = second.take();
        second.give_back(part);
        assert!(third.wait().now_or_never().is_some());
    }

    #[test]
    fn a_message_larger_than_the_budget_takes_all_of_it() {
        let budget = Budget::new(LARGE as u64);
        let mut share = Share::new(&budget);
        let part = reserved(&mut share, 10 * LARGE).unwrap();
        assert!(!Share::new(&budget).reserve(LARGE));
        share.give_back(Some(part));
        assert!(Share::new(&budget).reserve(LARGE));
    }
}
