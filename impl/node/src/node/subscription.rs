//! The log, for those who follow it.

use std::sync::Arc;

use synod_model::{Slot, SlotRange};
use synod_wire::api::{Delivery, SubscribeError};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;

use super::shared::Published;
use super::{Node, NodeError, Notice};
use crate::backend::Subscription;
use crate::storage::ReadError;

/// Why a piece of the log was not read.
#[derive(Debug)]
pub(super) enum ReadFailed {
    Disk(ReadError),
    /// Which copies in it are second ones is known from this slot on only.
    Gone {
        known_from: Slot,
    },
}

/// The log from some slot on. Made by [`Node::subscribe`].
///
/// A read that has begun cannot be taken back, and a slow disk may need longer than anybody waits at
/// once. So the read outlives the wait, and the next wait goes on with it: a subscription has one read
/// under way at most, and makes none twice.
#[derive(Debug)]
pub struct NodeSubscription {
    pub(super) next: Slot,
    pub(super) published: watch::Receiver<Published>,
    pub(super) node: Node,
    /// The read of what begins with `next`.
    pub(super) reading: Option<JoinHandle<Result<Vec<Delivery>, ReadFailed>>>,
    /// Held by the read as well: while it keeps a thread busy, nobody else has its place.
    pub(super) permit: Arc<OwnedSemaphorePermit>,
}

impl NodeSubscription {
    fn read_through(&self, last: Slot) -> JoinHandle<Result<Vec<Delivery>, ReadFailed>> {
        let inner = Arc::clone(&self.node.inner);
        let permit = Arc::clone(&self.permit);
        let first = self.next;
        let limits = inner.parts.identity.cluster.limits();
        let (entries_max, bytes_max) = (limits.frame_entries_max, limits.frame_bytes_max);
        tokio::task::spawn_blocking(move || {
            let entries =
                inner.parts.reader.read(SlotRange { first, last }, entries_max, bytes_max);
            drop(permit);
            let entries = entries.map_err(ReadFailed::Disk)?;
            inner
                .parts
                .shared
                .deliveries(first, entries)
                .map_err(|known_from| ReadFailed::Gone { known_from })
        })
    }
}

impl NodeSubscription {
    /// What a follower is told of a log that cannot be read. Damage ends the node, whoever finds it:
    /// to go on would be to acknowledge what may not be there any more.
    fn failed(&self, error: ReadFailed) -> SubscribeError {
        let error = match error {
            ReadFailed::Disk(error) => error,
            ReadFailed::Gone { known_from } => {
                return SubscribeError::Gone { log_starts_at: known_from };
            }
        };
        let told = SubscribeError::Disk(error.to_string());
        if !error.is_want_of_descriptors() {
            // The replica may have ended already.
            let _ = self.node.inner.parts.notices.send(Notice::Fatal(NodeError::Read(error)));
        }
        told
    }
}

impl Subscription for NodeSubscription {
    async fn next(&mut self) -> Result<Vec<Delivery>, SubscribeError> {
        let reading = if let Some(reading) = &mut self.reading {
            reading
        } else {
            let next = self.next;
            let waiting = self.published.wait_for(|it| it.ended || it.status.durable >= next).await;
            let readable = waiting.ok().filter(|it| !it.ended).map(|it| it.status.durable);
            let last = readable.ok_or(SubscribeError::Stopping)?;
            let reading = self.read_through(last);
            self.reading.insert(reading)
        };
        // Dropped here, the read goes on, and so does the next wait with it.
        let read = reading.await;
        self.reading = None;
        let read = read.map_err(|error| SubscribeError::Disk(error.to_string()))?;
        let deliveries = read.map_err(|error| self.failed(error))?;
        if let Some(last) = deliveries.last() {
            self.next = last.slot.next();
        }
        Ok(deliveries)
    }
}
