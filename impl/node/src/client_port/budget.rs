//! A budget for the memory that all clients together may use.
//!
//! The limits of one connection bound its memory. But thousands of connections within their limits
//! would still be too much. So a message needs a part of one budget, from before the node reads it
//! until it is answered. A message that cannot have its part yet stays in TCP and waits in turn.
//!
//! - **Small messages are free**, as long as a connection has few: up to [`FREE_BYTES`] of messages of
//!   each connection do not count. A client with one small value at a time never waits for clients with
//!   large values, and costs no more than a comparison.
//! - **No message waits while it holds a part.** A message gets its part as a whole, before the node
//!   reads more of it than is free. So a message that has its part is being worked on, or its rest is
//!   arriving. It waits for no other part. There remains the client that does not send the rest:
//!   [`ServerLimits::message_max`](super::ServerLimits::message_max) ends its connection.
//! - **A message may be larger than the budget.** It then takes all of it, alone.

use std::future::{self, Future};
use std::pin::Pin;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How many bytes of messages of each connection do not count. 16 KiB: as much as is read at once, for
/// what was read is in memory already.
pub(super) const FREE_BYTES: usize = synod_wire::buffers::READ_BYTES;

/// The budget of all connections.
#[derive(Debug)]
pub(super) struct Budget {
    /// A permit is a byte.
    room: Semaphore,
    bytes_max: u32,
}

impl Budget {
    /// A budget of so many bytes.
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

/// The share of one connection.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    /// How many bytes of its messages do not count.
    free_bytes: usize,
    /// The place of the next message in the queue. It is kept, because a new place would be the last.
    queued: Option<Pin<Box<dyn Future<Output = Permit<'a>> + Send + 'a>>>,
    /// The part of the next message.
    part: Option<Part<'a>>,
    /// Since when the rest of that message is missing.
    begun: Option<Instant>,
}

/// The part of one message. Dropping it returns the bytes to the budget. Free bytes return with
/// [`Share::give_back`].
pub(super) struct Part<'a> {
    free_bytes: usize,
    /// None if the part is free. The semaphore is never closed.
    permit: Option<SemaphorePermit<'a>>,
}

impl<'a> Share<'a> {
    /// A share without any part.
    pub(super) fn new(budget: &'a Budget) -> Self {
        Self { budget, free_bytes: 0, queued: None, part: None, begun: None }
    }

    /// Whether the next message has its part.
    pub(super) fn has_part(&self) -> bool {
        self.part.is_some()
    }

    /// Gets the part of the next message, which has so many bytes. False if it has to
    /// [wait](Self::wait).
    pub(super) fn reserve(&mut self, message_bytes: usize) -> bool {
        if self.part.is_some() {
            return true;
        }
        if self.free_bytes + message_bytes <= FREE_BYTES {
            self.free_bytes += message_bytes;
            self.queued = None;
            self.part = Some(Part { free_bytes: message_bytes, permit: None });
            return true;
        }
        if self.queued.is_none() {
            let Budget { room, .. } = self.budget;
            let bytes = self.budget.bytes_for(message_bytes);
            match room.try_acquire_many(bytes) {
                Ok(permit) => self.part = Some(Part { free_bytes: 0, permit: Some(permit) }),
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
                self.part = Some(Part { free_bytes: 0, permit: permit.ok() });
            }
            None => future::pending().await,
        }
    }

    /// Since when the rest of a message is missing that has its part.
    pub(super) fn begun(&mut self) -> Option<Instant> {
        match self.part {
            Some(_) => Some(*self.begun.get_or_insert_with(Instant::now)),
            None => None,
        }
    }

    /// The next message has arrived. It takes its part along.
    pub(super) fn take(&mut self) -> Option<Part<'a>> {
        self.begun = None;
        self.part.take()
    }

    /// A part for the response to a message, if it needs no wait. It takes over what the message had: if
    /// that were given back first, a message that waits in the queue would get it.
    pub(super) fn part_of_response(
        &mut self,
        of_message: Option<Part<'a>>,
        response_bytes: usize,
    ) -> Option<Part<'a>> {
        let had = of_message.and_then(|part| {
            self.free_bytes -= part.free_bytes;
            part.permit
        });
        let Budget { room, .. } = self.budget;
        let wanted = self.budget.bytes_for(response_bytes) as usize;
        let had_bytes = had.as_ref().map_or(0, SemaphorePermit::num_permits);
        let missing = u32::try_from(wanted.saturating_sub(had_bytes)).unwrap_or(u32::MAX);
        let mut permit = room.try_acquire_many(missing).ok()?;
        if let Some(mut had) = had {
            // What it does not need goes back.
            drop(had.split(had_bytes.saturating_sub(wanted)));
            permit.merge(had);
        }
        Some(Part { free_bytes: 0, permit: Some(permit) })
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

    #[test]
    fn a_response_takes_over_the_part_of_its_message_before_those_that_wait() {
        let budget = Budget::new(3 * LARGE as u64);
        let (mut first, mut second) = (Share::new(&budget), Share::new(&budget));
        let other = budget.room.try_acquire_many(budget.bytes_for(LARGE)).unwrap();
        let part = reserved(&mut first, 2 * LARGE);
        assert!(!second.reserve(LARGE));

        let part = first.part_of_response(part, LARGE);
        assert!(part.is_some());
        assert!(second.wait().now_or_never().is_some(), "half of it went back");
        assert!(first.part_of_response(None, 1).is_none(), "nothing is left");

        drop(other);
        let part = first.part_of_response(part, 2 * LARGE);
        assert!(part.is_some());
        assert_eq!(budget.room.available_permits(), 0);
        drop((part, second));
        assert_eq!(budget.room.available_permits(), 3 * LARGE);
    }

    #[test]
    fn a_response_to_a_free_message_takes_its_own_part() {
        let budget = Budget::new(LARGE as u64);
        let mut share = Share::new(&budget);
        let part = reserved(&mut share, FREE_BYTES);
        let part = share.part_of_response(part, LARGE);
        assert!(part.is_some());
        assert_eq!((share.free_bytes, budget.room.available_permits()), (0, 0));
    }
}
