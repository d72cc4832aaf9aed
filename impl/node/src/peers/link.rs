//! One lane of a peer: the queue to it, and the connection from it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::news::News;
use super::queue::{FrameQueue, QueueLimits};

/// One lane of a peer, in both directions.
#[derive(Debug)]
pub(super) struct Link {
    /// The frames that wait for the peer.
    queue: FrameQueue,
    /// The number of the newest connection from it.
    incoming: watch::Sender<u64>,
    seen: Mutex<Seen>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    is_heard: bool,
    last_error: Option<LastError>,
}

/// Why there is no connection to a peer, or was none.
#[derive(Clone, Debug)]
pub(super) struct LastError {
    pub(super) since: Instant,
    pub(super) topic: String,
    pub(super) text: String,
}

impl Link {
    pub(super) fn new(limits: QueueLimits) -> Self {
        let (incoming, seen) = (watch::Sender::new(0), Mutex::default());
        Self { queue: FrameQueue::new(limits), incoming, seen }
    }

    pub(super) fn queue(&self) -> &FrameQueue {
        &self.queue
    }

    /// Whether there is a connection from the peer.
    pub(super) fn is_heard(&self) -> bool {
        self.lock().is_heard
    }

    /// Why there is no connection to the peer, or was none.
    pub(super) fn last_error(&self) -> Option<LastError> {
        self.lock().last_error.clone()
    }

    /// Notes why there is no connection to the peer.
    pub(super) fn note_error(&self, topic: String, text: String) {
        self.lock().last_error = Some(LastError { since: Instant::now(), topic, text });
    }

    /// Opens the queue: there is a connection to the peer until the returned value is dropped.
    pub(super) fn open_queue(&self, news: &News) -> OpenQueue<'_> {
        self.lock().last_error = None;
        let number = self.queue.open(news, Instant::now());
        OpenQueue { queue: &self.queue, number }
    }

    /// There is a connection from the peer until the returned value is dropped. It replaces an older one.
    pub(super) fn begin_incoming(&self) -> Incoming<'_> {
        let mut seen = self.lock();
        seen.is_heard = true;
        self.incoming.send_modify(|newest| *newest += 1);
        let number = *self.incoming.borrow();
        Incoming { link: self, number, newest: self.incoming.subscribe() }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection to a peer.
pub(super) struct OpenQueue<'a> {
    queue: &'a FrameQueue,
    /// The number under which the replica is told of it.
    pub(super) number: u64,
}

impl Drop for OpenQueue<'_> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A connection from a peer.
pub(super) struct Incoming<'a> {
    link: &'a Link,
    number: u64,
    newest: watch::Receiver<u64>,
}

impl Incoming<'_> {
    /// Waits until there is a newer one.
    pub(super) async fn replaced(&mut self) {
        let number = self.number;
        // The peer outlives its connections, so this does not fail.
        let _ = self.newest.wait_for(|newest| *newest != number).await;
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        let mut seen = self.link.lock();
        if *self.link.incoming.borrow() == self.number {
            seen.is_heard = false;
        }
    }
}
