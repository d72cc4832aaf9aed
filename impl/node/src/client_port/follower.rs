//! One follower of a connection. The log is read only as fast as the client reads.

use std::collections::VecDeque;

use synod_model::Slot;
use synod_wire::api::{Delivery, ReadError, SubscribeError};
use synod_wire::protocol::{Answer, DELIVERIES_BYTES_MAX, Follow, FollowEnd};

use crate::backend::Subscription;

/// A follow that has not ended.
#[derive(Debug)]
pub(super) struct Follower<S> {
    /// The id of the ask; all answers repeat it.
    pub(super) id: u64,
    subscription: S,
    everything: bool,
    end: End,
    /// Every slot up to this one has been taken from the log.
    through: Slot,
    /// Deliveries that are not sent yet.
    pending: VecDeque<Delivery>,
}

/// Where a follow ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Nowhere.
    Never,
    /// At the slot of a read that is in flight.
    NotKnownYet,
    At(Slot),
}

impl<S: Subscription> Follower<S> {
    pub(super) fn new(id: u64, follow: Follow, subscription: S) -> Self {
        Self {
            id,
            subscription,
            everything: follow.everything,
            end: if follow.until_caught_up { End::NotKnownYet } else { End::Never },
            through: Slot(follow.from.0.saturating_sub(1)),
            pending: VecDeque::new(),
        }
    }

    /// The read has said where the follow ends.
    pub(super) fn end_at(&mut self, slot: Slot) {
        self.end = End::At(slot);
    }

    /// Whether the follow ends by itself.
    pub(super) fn has_end(&self) -> bool {
        !matches!(self.end, End::Never)
    }

    /// Whether the follower wants more of the log.
    pub(super) fn wants_more(&self) -> bool {
        match self.end {
            End::Never => self.pending.is_empty(),
            End::NotKnownYet => false,
            End::At(slot) => self.pending.is_empty() && self.through < slot,
        }
    }

    /// Whether the client gets empty deliveries while nothing is new.
    pub(super) fn is_watching(&self) -> bool {
        !matches!(self.end, End::NotKnownYet)
    }

    /// Waits for more of the log. Nothing is lost if the wait is dropped.
    pub(super) async fn next(&mut self) -> Result<Vec<Delivery>, SubscribeError> {
        self.subscription.next().await
    }

    /// Takes in more of the log.
    pub(super) fn take(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            if matches!(self.end, End::At(slot) if delivery.slot > slot) {
                break;
            }
            self.through = self.through.max(delivery.slot);
            if self.everything || delivery.first_value().is_some() {
                self.pending.push_back(delivery);
            }
        }
    }

    /// The next message for the client. None if there is nothing to deliver, unless `quiet` asks for an
    /// empty delivery.
    pub(super) fn tell(
        &mut self,
        quiet: bool,
        out_of_touch_ms: impl FnOnce() -> Option<u64>,
    ) -> Option<Answer> {
        if self.pending.is_empty() && !quiet {
            return None;
        }
        let mut bytes = 0;
        let mut deliveries = Vec::new();
        while let Some(next) = self.pending.front() {
            bytes += next.entry.size_bytes();
            if bytes > DELIVERIES_BYTES_MAX && !deliveries.is_empty() {
                break;
            }
            deliveries.extend(self.pending.pop_front());
        }
        let through = match self.pending.front() {
            Some(next) => Slot(next.slot.0.saturating_sub(1)),
            None => self.through,
        };
        let out_of_touch_ms = out_of_touch_ms();
        Some(Answer::Deliveries { deliveries, through, out_of_touch_ms })
    }

    /// The last message for the client, if everything is delivered.
    pub(super) fn ends(&self) -> Option<FollowEnd> {
        match self.end {
            End::At(with) if self.pending.is_empty() && self.through >= with => {
                Some(FollowEnd::CaughtUp { with })
            }
            _ => None,
        }
    }
}

/// The last message of a follow whose read was not made.
pub(super) fn not_read(error: ReadError) -> Answer {
    Answer::FollowEnds(FollowEnd::NotRead(error))
}
