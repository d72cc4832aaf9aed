//! The receiving half: this replica fetches a snapshot.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use synod_model::{ReplicaId, Slot};
use synod_wire::blocking::NotRun;
use synod_wire::frame::FrameReader;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::super::backoff::Backoff;
use super::super::dialer;
use super::super::error::LinkError;
use super::super::introduction::Purpose;
use super::super::peer::Peer;
use super::super::shared::Shared;
use super::error::TransferError;
use super::fetching::{Fetching, Wanted};
use super::protocol::{self, Answer, Ask, SAID_BYTES_MAX};
use super::source::{NoSnapshots, PartialSnapshot, SinkError, SnapshotId, SnapshotSink};
use super::threads::Threads;
use super::{CHUNK_BYTES, CHUNKS_WAITING_MAX, Receiving, SnapshotLimits};

/// What this replica wants of its peers, and how far it is.
pub(in super::super) struct Fetch {
    state: Mutex<Fetching>,
    changed: Notify,
    sink: Arc<Mutex<Box<dyn SnapshotSink>>>,
    threads: Threads,
    limits: SnapshotLimits,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Fetch {
    pub(in super::super) fn new(sink: Box<dyn SnapshotSink>, limits: SnapshotLimits) -> Self {
        let sink = Arc::new(Mutex::new(sink));
        let threads = Threads::default();
        Self { state: Mutex::default(), changed: Notify::new(), sink, threads, limits }
    }

    /// The replica needs the snapshot of this slot, or a later one, and `from` has offered it.
    ///
    /// A transfer that is under way goes on. The next peer that is asked is asked for this.
    pub(in super::super) fn want(&self, from: ReplicaId, slot: Slot) {
        self.change(|state| state.want(Wanted { from, slot }));
    }

    /// The replica has everything up to this slot. It needs no snapshot of that any more.
    pub(in super::super) fn note_committed(&self, through: Slot) {
        self.change(|state| state.note_committed(through));
    }

    /// The replica is given the snapshot that has come.
    pub(in super::super) fn note_given(&self) {
        self.change(Fetching::is_given);
    }

    /// Waits until the replica is to be told that no snapshot comes.
    pub(in super::super) async fn in_vain(&self) {
        self.until(|state| state.is_in_vain().then_some(())).await;
    }

    /// Whether the replica is to be told that. True once for each snapshot that was wanted.
    pub(in super::super) fn take_in_vain(&self) -> bool {
        self.state().take_in_vain()
    }

    /// The snapshot on its way here.
    pub(in super::super) fn receiving(&self) -> Option<Receiving> {
        self.state().receiving()
    }

    fn wanted(&self) -> Option<Wanted> {
        self.state().wanted()
    }

    fn state(&self) -> MutexGuard<'_, Fetching> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Fetching)) {
        change(&mut self.state());
        self.changed.notify_waiters();
    }

    /// Waits until this holds of the state.
    async fn until<T>(&self, mut it: impl FnMut(&Fetching) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(it) = it(&self.state()) {
                return it;
            }
            changed.await;
        }
    }

    /// Lets go of where snapshots go, once nothing is written there any more. Then the data directory may be
    /// opened anew.
    pub(in super::super) async fn close(&self) {
        self.threads.join().await;
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(NoSnapshots);
    }

    /// Runs this with the sink, on a thread of its own.
    async fn with_sink<T: Send + 'static>(
        &self,
        thread: &'static str,
        work: impl FnOnce(&mut dyn SnapshotSink) -> T + Send + 'static,
    ) -> Result<T, NotRun> {
        let sink = Arc::clone(&self.sink);
        let work = move || work(sink.lock().unwrap_or_else(PoisonError::into_inner).as_mut());
        self.threads.run(thread, work).await
    }
}

/// Fetches what the replica wants, one snapshot after another.
pub(in super::super) async fn run(shared: Arc<Shared>, mut rng: Rng) {
    let fetch = &shared.fetch;
    let backoff = Backoff::new(shared.timing, rng.fork());
    let mut attempts = Attempts { backoff, told: Told::default() };
    loop {
        fetch.until(Fetching::wanted).await;
        tokio::select! {
            () = get(&shared, &mut attempts) => {}
            () = fetch.until(|state| (!state.is_under_way()).then_some(())) => {
                debug!("the snapshot is not needed any more");
                attempts.reset();
            }
        }
        fetch.change(Fetching::ends);
    }
}

/// What is remembered from one attempt to the next, until one has succeeded.
struct Attempts {
    backoff: Backoff,
    told: Told,
}

impl Attempts {
    fn reset(&mut self) {
        self.backoff.reset();
        self.told = Told::default();
    }

    fn tell(&mut self, peer: &Peer, error: &TransferError) {
        if self.told.is_news(peer.id, error) {
            warn!("no snapshot comes: {peer} {error}");
        } else {
            debug!("no snapshot comes: {peer} {error}");
        }
    }
}

/// The last error of each peer that was logged. Several peers may fail in turn, every few seconds.
#[derive(Default)]
struct Told(BTreeMap<ReplicaId, String>);

impl Told {
    fn is_news(&mut self, peer: ReplicaId, error: &TransferError) -> bool {
        let topic = error.topic();
        let before = self.0.insert(peer, topic.clone());
        before != Some(topic)
    }
}

/// Asks one peer after the other, until one has sent the snapshot, or all were asked in vain. The replica is told
/// of the latter. It asks its peers anew, and they may have something else for it.
///
/// While a part of one is here, all of them are asked for the rest of it first. Only when none of them has the
/// rest is another snapshot begun.
async fn get(shared: &Shared, attempts: &mut Attempts) {
    let fetch = &shared.fetch;
    let peers = shared.roster.peers();
    let place = |of: ReplicaId| peers.iter().position(|peer| peer.id == of).unwrap_or_default();
    // The peer that was asked last with success, and how many were asked after it. Some were asked only for the
    // rest of what is here.
    let mut begins_with = None;
    let (mut asked, mut asked_for_any) = (0, 0);
    while asked_for_any < peers.len()
        && let Some(wanted) = fetch.wanted()
    {
        let first = begins_with.unwrap_or_else(|| place(wanted.from));
        let peer = &peers[(first + asked) % peers.len()];
        let takes_another = asked >= peers.len();
        let mut transfer = Transfer { shared, peer, wanted, takes_another, begun_at: None };
        let Err(error) = transfer.run().await else {
            attempts.reset();
            return;
        };
        fetch.change(Fetching::has_failed);
        if transfer.has_progressed() && !error.is_own() {
            begins_with = Some(place(peer.id));
            (asked, asked_for_any) = (0, 0);
            attempts.backoff.reset();
        } else {
            asked += 1;
            asked_for_any += usize::from(transfer.takes_another);
        }
        attempts.tell(peer, &error);
        match error {
            TransferError::Link(LinkError::Fatal(error)) => {
                shared.fail(error);
                return;
            }
            // All of it was sent in vain.
            TransferError::Sink { error: SinkError::Invalid(_), .. } => {
                sleep(fetch.limits.no_progress_max).await;
            }
            _ => sleep(attempts.backoff.next_wait()).await,
        }
    }
    fetch.change(Fetching::give_up);
}

/// An attempt to have a snapshot from a peer.
struct Transfer<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    wanted: Wanted,
    /// Whether another snapshot may be begun, though there is a part of one.
    takes_another: bool,
    /// From which byte on it has begun.
    begun_at: Option<u64>,
}

impl Transfer<'_> {
    /// Whether more of it is here now than when it began.
    fn has_progressed(&self) -> bool {
        let receiving = self.shared.fetch.receiving();
        let received_bytes = receiving.map(|it| it.received_bytes);
        self.begun_at.is_some_and(|begun_at| received_bytes > Some(begun_at))
    }

    /// Returns when the snapshot is durable here.
    async fn run(&mut self) -> Result<(), TransferError> {
        let fetch = &self.shared.fetch;
        let committed = fetch.state().committed();
        let partial = fetch.with_sink("snapshot-partial", SnapshotSink::partial).await?;
        let rest_of =
            partial.filter(|it| it.id.slot > committed && it.received_bytes <= it.id.bytes);
        self.takes_another |= rest_of.is_none();
        let ask = Ask { rest_of, or_newest_from: self.takes_another.then_some(self.wanted.slot) };
        let connection = dialer::connect(self.shared, self.peer, Purpose::Snapshots).await?;
        let (mut from_peer, mut to_peer) = (connection.from_peer, connection.to_peer);
        let said = protocol::to_frame(&ask).map_err(LinkError::Unencodable)?;
        to_peer.write_all(&said).await.map_err(LinkError::Io)?;
        from_peer.allow(SAID_BYTES_MAX);
        let limit = self.shared.timing.handshake_max;
        let answer = timeout(limit, from_peer.next()).await;
        let answer = answer.map_err(|_| LinkError::TooSlow { doing: "answer", limit })?;
        let answer = answer?.ok_or(LinkError::Closed)?;
        let (id, offset) = match protocol::from_payload(answer)? {
            Answer::Sends { id, offset } => (id, offset),
            Answer::HasNone { newest } => return Err(TransferError::HasNone { newest }),
            Answer::Busy => return Err(TransferError::Busy),
        };
        let is_rest = rest_of == Some(PartialSnapshot { id, received_bytes: offset });
        let is_other = offset == 0 && ask.or_newest_from.is_some_and(|from| id.slot >= from);
        if !is_rest && !is_other {
            return Err(TransferError::NotAsked { id, offset });
        }
        let from = self.peer.id;
        info!(slot = %id.slot, bytes = id.bytes, from_byte = offset, "receives a snapshot from {}", self.peer);
        let receiving = Receiving { from, slot: id.slot, received_bytes: offset, bytes: id.bytes };
        fetch.change(|state| state.begins(receiving));
        self.begun_at = Some(offset);
        self.receive(&mut from_peer, id, offset).await?;
        info!(slot = %id.slot, bytes = id.bytes, "the snapshot from {} is durable here", self.peer);
        Ok(())
    }

    /// Takes the chunks that come, and has them written by a thread.
    async fn receive(
        &mut self,
        from_peer: &mut FrameReader<OwnedReadHalf>,
        id: SnapshotId,
        offset: u64,
    ) -> Result<(), TransferError> {
        from_peer.allow(CHUNK_BYTES);
        let (chunks, to_write) = mpsc::channel(CHUNKS_WAITING_MAX);
        let fetch = &self.shared.fetch;
        let (from, limit) = (self.peer.id, fetch.limits.no_progress_max);
        let writer = Arc::clone(fetch);
        let write = move || writer.write(from, id, offset, to_write);
        let writing = fetch.threads.run("snapshot-writer", write);
        tokio::select! {
            // An error of the disk says more than what follows from it.
            biased;
            written = writing => {
                written?.map_err(|error| TransferError::Sink { slot: id.slot, error })
            }
            error = pass_on(from_peer, &chunks, id, offset, limit) => Err(error),
        }
    }
}

/// Passes the chunks on that come, until something fails.
async fn pass_on(
    from_peer: &mut FrameReader<OwnedReadHalf>,
    chunks: &mpsc::Sender<Vec<u8>>,
    id: SnapshotId,
    offset: u64,
    limit: Duration,
) -> TransferError {
    let mut left = id.bytes - offset;
    while left > 0 {
        let chunk = match timeout(limit, from_peer.next()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return LinkError::Closed.into(),
            Ok(Err(error)) => return error.into(),
            Err(_) => return TransferError::NoProgress { limit },
        };
        let bytes = chunk.len() as u64;
        if bytes == 0 || bytes > left {
            return TransferError::NotAChunk { slot: id.slot, bytes, left };
        }
        left -= bytes;
        if chunks.send(chunk.to_vec()).await.is_err() {
            // The thread has ended, and says why.
            break;
        }
    }
    std::future::pending().await
}

impl Fetch {
    /// Writes the chunks that come, and finishes the snapshot with the last one. If there are no more before
    /// that, it stays as it is.
    fn write(
        &self,
        from: ReplicaId,
        id: SnapshotId,
        offset: u64,
        mut chunks: mpsc::Receiver<Vec<u8>>,
    ) -> Result<(), SinkError> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink.begin(id)?;
        let mut received_bytes = offset;
        while received_bytes < id.bytes {
            let Some(chunk) = chunks.blocking_recv() else {
                return Ok(());
            };
            sink.write(&chunk)?;
            received_bytes += chunk.len() as u64;
            self.state().has_received(received_bytes);
        }
        // From now on the replica may be given it.
        self.change(Fetching::is_whole);
        sink.finish(from)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn peers_that_fail_in_turn_are_told_once_each_until_one_fails_otherwise() {
        let silent = || TransferError::NoProgress { limit: Duration::from_secs(1) };
        let has_none = |slot| TransferError::HasNone { newest: Some(Slot(slot)) };
        let mut told = Told::default();
        let mut is_news = |peer, error| told.is_news(ReplicaId(peer), &error);
        assert!(is_news(1, silent()) && is_news(2, has_none(5)));
        for slot in 5..9 {
            assert!(!is_news(1, silent()) && !is_news(2, has_none(slot)));
        }
        assert!(is_news(2, silent()) && !is_news(1, silent()));
        assert!(is_news(2, has_none(9)), "what failed before fails again");
    }
}
