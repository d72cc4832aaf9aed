//! The log, for those who follow it.

use std::sync::Arc;

use synod_model::{FrameRoom, Slot, SlotRange};
use synod_wire::api::{Delivery, SubscribeError};
use synod_wire::blocking;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::shared::Published;
use super::{Inner, Node, NodeError, Notice, Parts};
use crate::backend::Subscription;
use crate::storage::ReadError;

/// The log from some slot on. Made by [`Node::subscribe`].
///
/// A follower that keeps up is served from memory. One that has fallen behind is served from the disk. A
/// few such reads run at once; the others wait in turn.
///
/// A read that has begun cannot be taken back, and a slow disk may need longer than anybody waits at
/// once. So the read outlives the wait, and the next wait goes on with it: a subscription has one read
/// under way at most, and makes none twice.
#[derive(Debug)]
pub struct NodeSubscription {
    next: Slot,
    published: watch::Receiver<Published>,
    inner: Arc<Inner>,
    /// The read of what begins with `next`.
    reading: Option<JoinHandle<Result<Vec<Delivery>, ReadFailed>>>,
}

/// Why a piece of the log was not read.
#[derive(Debug)]
enum ReadFailed {
    Disk(ReadError),
    /// Which copies in it are second ones is known from this slot on only.
    Gone {
        known_from: Slot,
    },
    /// No thread could be started for it, for example.
    Thread(String),
}

impl NodeSubscription {
    pub(super) fn new(node: &Node, from: Slot) -> Self {
        let inner = Arc::clone(&node.inner);
        inner.parts.shared.recent.join();
        let published = inner.parts.shared.watch();
        Self { next: from.max(Slot(1)), published, inner, reading: None }
    }

    /// Begins to read the disk, up to this slot at most.
    fn read_through(&self, last: Slot) -> JoinHandle<Result<Vec<Delivery>, ReadFailed>> {
        let inner = Arc::clone(&self.inner);
        let first = self.next;
        tokio::spawn(async move {
            let turn = Arc::clone(&inner.disk_reads).acquire_owned().await;
            let reading = blocking::run("follower", move || {
                // Held until the thread is done, whether or not anybody still waits for it.
                let _turn = turn;
                read(&inner, SlotRange { first, last })
            });
            reading.await.unwrap_or_else(|error| Err(ReadFailed::Thread(error.to_string())))
        })
    }

    /// What a follower is told of a log that cannot be read. Damage also ends the node: it would go on
    /// to acknowledge what may not be there any more.
    fn failed(&self, error: ReadFailed) -> SubscribeError {
        let error = match error {
            ReadFailed::Disk(ReadError::Gone { snapshot, .. }) => {
                return SubscribeError::Gone { log_starts_at: snapshot.next() };
            }
            ReadFailed::Disk(error) => error,
            ReadFailed::Gone { known_from } => {
                return SubscribeError::Gone { log_starts_at: known_from };
            }
            ReadFailed::Thread(error) => return SubscribeError::Disk(error),
        };
        let told = SubscribeError::Disk(error.to_string());
        if !error.is_want_of_descriptors() {
            // The replica may have ended already.
            let _ = self.inner.parts.notices.send(Notice::Fatal(NodeError::Read(error)));
        }
        told
    }

    /// Whether the log still has a slot. A snapshot of this replica, or of a peer, may have taken its place.
    fn still_has(&self, slot: Slot) -> Result<(), SubscribeError> {
        let log_starts_at = self.inner.parts.shared.log_starts_at();
        if slot < log_starts_at { Err(SubscribeError::Gone { log_starts_at }) } else { Ok(()) }
    }

    /// Waits until the next slot can be read from the disk, unless it comes to be in memory. Returns up
    /// to which slot the disk can be read.
    async fn readable(&mut self) -> Result<Readable, SubscribeError> {
        let next = self.next;
        let is_committed =
            |it: &Published| it.ended || it.status.durable.max(it.status.watermark) >= next;
        let is_durable = |it: &Published| it.ended || it.status.durable >= next;
        let stopping = |_| SubscribeError::Stopping;
        if self.published.wait_for(is_committed).await.map_err(stopping)?.ended {
            return Err(SubscribeError::Stopping);
        }
        let Parts { shared, identity, .. } = &self.inner.parts;
        let room = FrameRoom::of(identity.constants.limits());
        if let Some(deliveries) = shared.recent.from(next, room) {
            return Ok(Readable::InMemory(deliveries));
        }
        self.still_has(next)?;
        let published = self.published.wait_for(is_durable).await.map_err(stopping)?;
        if published.ended {
            return Err(SubscribeError::Stopping);
        }
        Ok(Readable::OnDiskThrough(published.status.durable))
    }
}

/// Where the next slot is.
enum Readable {
    InMemory(Vec<Delivery>),
    OnDiskThrough(Slot),
}

fn read(inner: &Inner, slots: SlotRange) -> Result<Vec<Delivery>, ReadFailed> {
    let shared = &inner.parts.shared;
    shared.counters.note_follower_read();
    let limits = inner.parts.identity.constants.limits();
    let (entries_max, bytes_max) = (limits.frame_entries_max, limits.frame_bytes_max);
    let entries = inner.parts.reader.read(slots, entries_max, bytes_max);
    let entries = entries.map_err(ReadFailed::Disk)?;
    let deliveries = shared.deliveries(slots.first, entries);
    deliveries.map_err(|known_from| ReadFailed::Gone { known_from })
}

impl Subscription for NodeSubscription {
    async fn next(&mut self) -> Result<Vec<Delivery>, SubscribeError> {
        let reading = if let Some(reading) = &mut self.reading {
            reading
        } else {
            match self.readable().await? {
                Readable::InMemory(deliveries) => {
                    self.next = deliveries.last().map_or(self.next, |last| last.slot.next());
                    return Ok(deliveries);
                }
                Readable::OnDiskThrough(last) => {
                    let reading = self.read_through(last);
                    self.reading.insert(reading)
                }
            }
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

impl Drop for NodeSubscription {
    fn drop(&mut self) {
        self.inner.parts.shared.recent.leave();
        if let Some(reading) = &self.reading {
            // One that still waits for its turn gives it up.
            reading.abort();
        }
    }
}
