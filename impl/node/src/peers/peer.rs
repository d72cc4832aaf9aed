//! One other member: its queue, what was seen of it, and both connections with it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use synod_model::{Limits, ReplicaId, Run};
use tokio::sync::{Notify, watch};
use tracing::error;

use super::limits::{QUEUE_FRAMES_MAX, queue_bytes_max};
use super::queue::FrameQueue;

/// Another member, and both connections with it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: ReplicaId,
    pub(super) address: String,
    /// The frames that wait for it.
    pub(super) queue: FrameQueue,
    seen: Mutex<Seen>,
    /// Notified when a run of the peer is seen that was not seen before.
    started: Notify,
    /// The number of the newest connection from it.
    incoming: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) run: Option<Run>,
    pub(super) last_error: Option<String>,
    pub(super) is_heard: bool,
    /// The runs before, the newest last.
    former_runs: VecDeque<Run>,
    /// How often a former run has come back.
    returns: u32,
}

/// How many former runs of a peer are remembered, to recognize one that comes back. Default 8: if two
/// processes run the same replica, each may start anew a few times.
const FORMER_RUNS_MAX: usize = 8;

/// How often former runs must come back before the log says that two processes run the same replica.
/// Default 3: a hello that a run has sent before it ended may be read late, and then both runs have
/// come back.
const RETURNS_MAX: u32 = 3;

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica {} at {}", self.id, self.address)
    }
}

impl Peer {
    pub(super) fn new(id: ReplicaId, address: String, limits: &Limits) -> Self {
        Self {
            id,
            address,
            queue: FrameQueue::new(queue_bytes_max(limits), QUEUE_FRAMES_MAX),
            seen: Mutex::default(),
            started: Notify::new(),
            incoming: watch::Sender::new(0),
        }
    }

    /// The peer has said which run it is in. If that run is new, the peer has just started, and the
    /// dialer need not wait any longer.
    pub(super) fn note_run(&self, run: Run) {
        let mut seen = self.lock();
        let former = seen.run.replace(run);
        if former == Some(run) {
            return;
        }
        self.started.notify_one();
        let Some(former) = former else {
            return;
        };
        if seen.former_runs.contains(&run) {
            seen.returns = seen.returns.saturating_add(1);
            if seen.returns == RETURNS_MAX {
                error!(
                    "{self} is run by two processes, each with a copy of its data directory: stop one, and \
                     remove its copy\n  \
                     what one of them has promised the other does not know, so values can be lost"
                );
            }
        }
        seen.former_runs.retain(|it| *it != run && *it != former);
        if seen.former_runs.len() == FORMER_RUNS_MAX {
            seen.former_runs.pop_front();
        }
        seen.former_runs.push_back(former);
    }

    /// Waits for a run of the peer that was not seen before.
    pub(super) async fn wait_until_started(&self) {
        self.started.notified().await;
    }

    /// Notes why there is no connection to the peer. Returns whether that is news.
    pub(super) fn note_error(&self, text: String) -> bool {
        let mut seen = self.lock();
        let is_news = seen.last_error.as_ref() != Some(&text);
        seen.last_error = Some(text);
        is_news
    }

    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Opens the queue: there is a connection to the peer until the returned value is dropped.
    pub(super) fn open_queue(&self) -> OpenQueue<'_> {
        self.lock().last_error = None;
        self.queue.open();
        OpenQueue(&self.queue)
    }

    /// There is a connection from the peer until the returned value is dropped. It replaces an older one.
    pub(super) fn begin_incoming(&self) -> Incoming<'_> {
        let mut seen = self.lock();
        seen.is_heard = true;
        self.incoming.send_modify(|newest| *newest += 1);
        let number = *self.incoming.borrow();
        Incoming { peer: self, number, newest: self.incoming.subscribe() }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection to a peer.
pub(super) struct OpenQueue<'a>(&'a FrameQueue);

impl Drop for OpenQueue<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A connection from a peer.
pub(super) struct Incoming<'a> {
    peer: &'a Peer,
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
        let mut seen = self.peer.lock();
        if *self.peer.incoming.borrow() == self.number {
            seen.is_heard = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer::new(ReplicaId(1), "127.0.0.1:1".to_owned(), &Limits::default())
    }

    fn is_doubled(peer: &Peer) -> bool {
        peer.lock().returns >= RETURNS_MAX
    }

    #[test]
    fn a_replica_may_start_as_often_as_it_likes() {
        let peer = peer();
        for run in 1..100 {
            peer.note_run(Run(run));
            peer.note_run(Run(run));
        }
        // A hello of the run before is read late.
        peer.note_run(Run(98));
        peer.note_run(Run(99));
        assert!(!is_doubled(&peer));
    }

    #[test]
    fn two_processes_with_copies_of_one_data_directory_are_detected() {
        let peer = peer();
        for _ in 0..2 {
            peer.note_run(Run(1));
            peer.note_run(Run(2));
            assert!(!is_doubled(&peer));
        }
        peer.note_run(Run(1));
        assert!(is_doubled(&peer));
    }
}
