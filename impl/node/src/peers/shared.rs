//! What the tasks of the transport share.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synod_model::{Limits, Message, ReplicaId, Run};
use synod_wire::Value;
use tokio::sync::{Notify, mpsc, watch};
use tracing::error;

use super::error::PeersError;
use super::handshake::{Introduction, Refusal};
use super::limits::{LinkTiming, QUEUE_FRAMES_MAX, queue_bytes_max};
use super::queue::Queue;
use crate::few_lines::FewLines;
use crate::forming::{Gate, GateError};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) me: Introduction,
    pub(super) limits: Limits,
    pub(super) timing: LinkTiming,
    pub(super) gate: Gate,
    pub(super) peers: BTreeMap<ReplicaId, Arc<Peer>>,
    pub(super) inbox: mpsc::Sender<(ReplicaId, Message<Value>)>,
    /// Why this replica must stop; the first reason stays.
    pub(super) fatal: watch::Sender<Option<PeersError>>,
    /// What was told last of those who call as this replica, and are turned away.
    pub(super) told: Mutex<BTreeMap<ReplicaId, String>>,
    /// Keeps what is told of callers short: whoever calls can say anything.
    pub(super) lines: Arc<FewLines>,
}

/// How many callers are remembered that were turned away. Default 64: more than a cluster has members,
/// and a stranger can name any id.
const TOLD_MAX: usize = 64;

impl Shared {
    /// Whether messages may pass, in either direction.
    pub(super) fn passes(&self) -> bool {
        self.gate.is_formed() && self.fatal.borrow().is_none()
    }

    /// Whether it is news what is wrong with who calls as `replica`. One that is in the wrong place
    /// calls again and again.
    pub(super) fn is_news(&self, replica: ReplicaId, text: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&replica).is_some_and(|before| before == text) {
            return false;
        }
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(replica, text.to_owned());
        true
    }

    /// This replica must stop. From now on no message passes.
    pub(super) fn fail(&self, error: PeersError) {
        self.fatal.send_if_modified(|fatal| {
            let is_first = fatal.is_none();
            if is_first {
                error!("{error}");
                *fatal = Some(error);
            }
            is_first
        });
    }
}

/// What a member is told that does not pass the gate; nothing, if that is not its fault.
pub(super) fn refusal(error: &GateError) -> Option<Refusal> {
    match error {
        GateError::OtherIncarnation(other) => {
            Some(Refusal::OtherIncarnation { known: other.known })
        }
        GateError::Store(_) | GateError::Closed => None,
    }
}

/// Another member, and both connections with it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: ReplicaId,
    pub(super) address: String,
    /// What waits for it.
    pub(super) queue: Queue,
    seen: Mutex<Seen>,
    /// A run of it was seen that had not been seen before.
    started: Notify,
    /// Counts the connections from it: the newest counts.
    incoming: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) run: Option<Run>,
    pub(super) last_error: Option<String>,
    pub(super) is_heard: bool,
    /// The runs before, the newest last.
    former_runs: VecDeque<Run>,
    /// How often a former run was back.
    returns: u32,
}

/// How many former runs of a peer are remembered, to be known if they come back. Default 8: of two
/// processes that run the same replica, each may start anew a few times.
const FORMER_RUNS_MAX: usize = 8;

/// How often former runs come back before it is said that two processes run the same replica. Default
/// 3: a greeting that one has sent before it ended may be read late, and then both have been back.
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
            queue: Queue::new(queue_bytes_max(limits), QUEUE_FRAMES_MAX),
            seen: Mutex::default(),
            started: Notify::new(),
            incoming: watch::Sender::new(0),
        }
    }

    /// The peer has said which run it is in. If that is a new one, it has just started, and need not
    /// be waited for any longer.
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

    /// Waits for a run of the peer that had not been seen before.
    pub(super) async fn wait_until_started(&self) {
        self.started.notified().await;
    }

    /// Why there is no connection to it. Says whether that is news.
    pub(super) fn note_error(&self, text: String) -> bool {
        let mut seen = self.lock();
        let is_news = seen.last_error.as_ref() != Some(&text);
        seen.last_error = Some(text);
        is_news
    }

    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// There is a connection to it, until this is dropped.
    pub(super) fn open_queue(&self) -> OpenQueue<'_> {
        self.lock().last_error = None;
        self.queue.open();
        OpenQueue(&self.queue)
    }

    /// There is a connection from it, until this is dropped. It takes the place of an older one.
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
pub(super) struct OpenQueue<'a>(&'a Queue);

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
        // A greeting of the run before is read late.
        peer.note_run(Run(98));
        peer.note_run(Run(99));
        assert!(!is_doubled(&peer));
    }

    #[test]
    fn two_processes_with_copies_of_one_data_directory_are_found_out() {
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
