//! The sending half: a peer has asked for a snapshot.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synod_model::ReplicaId;
use synod_wire::frame::{self, FrameReader};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::super::error::LinkError;
use super::super::lane::Lane;
use super::super::peer::Peer;
use super::super::shared::Shared;
use super::super::socket;
use super::pace::Pace;
use super::protocol::{self, Answer, Ask, SAID_BYTES_MAX};
use super::source::{ReadAt, SnapshotId, SnapshotSource};
use super::threads::Threads;
use super::{CHUNK_BYTES, CHUNKS_WAITING_MAX, Sending, SnapshotLimits, YIELD_MAX};

/// How often the sender looks whether the messages have left that it lets go first. 2 ms: as long as a chunk
/// takes at the default rate.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(2);

/// What this replica sends to its peers.
pub(in super::super) struct Sender {
    source: Arc<dyn SnapshotSource>,
    limits: SnapshotLimits,
    pace: Pace,
    places: Arc<Semaphore>,
    threads: Threads,
    served: Mutex<BTreeMap<ReplicaId, Served>>,
}

/// A peer that is served, or was a short while ago.
struct Served {
    sending: Sending,
    ended_at: Option<Instant>,
    /// The number of its connection. A newer connection ends the older one.
    newest: watch::Sender<u64>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("sending", &self.sending()).finish_non_exhaustive()
    }
}

impl Sender {
    pub(in super::super) fn new(source: Arc<dyn SnapshotSource>, limits: SnapshotLimits) -> Self {
        Self {
            source,
            limits,
            pace: Pace::new(limits.sent_bytes_per_second, Instant::now()),
            places: Arc::new(Semaphore::new(limits.receivers_max)),
            threads: Threads::default(),
            served: Mutex::default(),
        }
    }

    /// The snapshots on their way, with those that have ended a short while ago.
    pub(in super::super) fn sending(&self) -> Vec<Sending> {
        let now = Instant::now();
        let mut served = self.served();
        served.retain(|_, it| it.ended_at.is_none_or(|at| now < at + self.limits.lingers));
        served.values().map(|it| it.sending).collect()
    }

    /// Waits until nothing is read any more. Nobody may be served then.
    pub(in super::super) async fn close(&self) {
        self.threads.join().await;
    }

    fn served(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Served>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to answer to an ask, and how to read what follows.
    async fn answer(&self, ask: Ask) -> (Answer, Option<Box<dyn ReadAt>>) {
        let newest = self.source.newest();
        let rest = ask.rest_of.filter(|it| it.received_bytes <= it.id.bytes);
        let rest = rest.filter(|it| self.source.has(it.id)).map(|it| (it.id, it.received_bytes));
        let whole = newest.filter(|it| ask.or_newest_from.is_some_and(|from| it.slot >= from));
        let has_none = Answer::HasNone { newest: newest.map(|it| it.slot) };
        let Some((id, offset)) = rest.or(whole.map(|id| (id, 0))) else {
            return (has_none, None);
        };
        let source = Arc::clone(&self.source);
        let opened = self.threads.run("snapshot-open", move || source.open(id)).await;
        match opened.map_err(io::Error::from).flatten() {
            Ok(file) => (Answer::Sends { id, offset }, Some(file)),
            // It was removed just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => (has_none, None),
            Err(error) => {
                warn!(slot = %id.slot, "a snapshot cannot be read for a peer: {error}");
                (Answer::Busy, None)
            }
        }
    }

    /// Reads a file from `offset` to its end, on a thread of its own, chunk by chunk, as they are taken.
    fn read(
        &self,
        mut file: Box<dyn ReadAt>,
        mut offset: u64,
        file_bytes: u64,
    ) -> io::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
        let (chunks, to_send) = mpsc::channel(CHUNKS_WAITING_MAX);
        let read = move || {
            while offset < file_bytes {
                let left = usize::try_from(file_bytes - offset).unwrap_or(usize::MAX);
                let length = left.min(CHUNK_BYTES);
                let chunk = chunk(file.as_mut(), offset, length);
                let ends = chunk.is_err();
                // Nobody takes it if the connection has ended.
                if chunks.blocking_send(chunk).is_err() || ends {
                    return;
                }
                offset += length as u64;
            }
        };
        self.threads.start("snapshot-reader", read)?;
        Ok(to_send)
    }

    /// This peer is served from now on, until the returned value is dropped.
    fn begin(&self, to: ReplicaId, id: SnapshotId, offset: u64) -> BeingServed<'_> {
        let sending =
            Sending { to, slot: id.slot, sent_bytes: offset, bytes: id.bytes, is_connected: true };
        let mut served = self.served();
        let newest = match served.remove(&to) {
            Some(before) => before.newest,
            None => watch::Sender::new(0),
        };
        newest.send_modify(|newest| *newest += 1);
        let number = *newest.borrow();
        let watched = newest.subscribe();
        served.insert(to, Served { sending, ended_at: None, newest });
        BeingServed { sender: self, to, number, newest: watched }
    }
}

/// A connection over which a peer is served.
struct BeingServed<'a> {
    sender: &'a Sender,
    to: ReplicaId,
    number: u64,
    newest: watch::Receiver<u64>,
}

impl BeingServed<'_> {
    fn note_sent(&self, bytes: usize) {
        self.change(|it| it.sending.sent_bytes += bytes as u64);
    }

    fn change(&self, change: impl FnOnce(&mut Served)) {
        let mut served = self.sender.served();
        if let Some(served) = served.get_mut(&self.to)
            && *served.newest.borrow() == self.number
        {
            change(served);
        }
    }

    /// Waits until the peer has asked on a newer connection.
    async fn replaced(&self) {
        let (number, mut newest) = (self.number, self.newest.clone());
        let _ = newest.wait_for(|newest| *newest != number).await;
    }
}

impl Drop for BeingServed<'_> {
    fn drop(&mut self) {
        self.change(|it| {
            it.sending.is_connected = false;
            it.ended_at = Some(Instant::now());
        });
    }
}

/// Serves a peer on a connection, to its end.
pub(in super::super) async fn send(
    shared: &Shared,
    peer: &Peer,
    mut from_peer: FrameReader<OwnedReadHalf>,
    mut to_peer: OwnedWriteHalf,
) -> LinkError {
    match serve(shared, peer, &mut from_peer, &mut to_peer).await {
        Ok(()) => LinkError::Closed,
        Err(error) => error,
    }
}

async fn serve(
    shared: &Shared,
    peer: &Peer,
    from_peer: &mut FrameReader<OwnedReadHalf>,
    to_peer: &mut OwnedWriteHalf,
) -> Result<(), LinkError> {
    let sender = &shared.sender;
    let limit = shared.timing.handshake_max;
    from_peer.allow(SAID_BYTES_MAX);
    let asked = timeout(limit, from_peer.next()).await;
    let asked = asked.map_err(|_| LinkError::TooSlow { doing: "ask for a snapshot", limit })?;
    let ask: Ask = protocol::from_payload(asked?.ok_or(LinkError::Closed)?)?;
    let place: Option<OwnedSemaphorePermit> = Arc::clone(&sender.places).try_acquire_owned().ok();
    let (answer, file) = match place {
        // Only what is formed has anything to send.
        Some(_) if !shared.passes() => (Answer::HasNone { newest: None }, None),
        Some(_) => sender.answer(ask).await,
        None => (Answer::Busy, None),
    };
    debug!("{peer} has asked for {ask:?}, and is answered {answer:?}");
    let answered = protocol::to_frame(&answer).map_err(LinkError::Unencodable)?;
    to_peer.write_all(&answered).await.map_err(LinkError::Io)?;
    let (Answer::Sends { id, offset }, Some(file)) = (answer, file) else {
        return Ok(());
    };
    socket::keep_little_unsent(to_peer.as_ref())?;
    info!(slot = %id.slot, bytes = id.bytes, from_byte = offset, "sends a snapshot to {peer}");
    let served = sender.begin(peer.id, id, offset);
    let chunks = sender.read(file, offset, id.bytes).map_err(LinkError::Io)?;
    tokio::select! {
        () = served.replaced() => Err(LinkError::Replaced),
        ended = until_closed(from_peer) => Err(ended),
        sent = send_chunks(shared, peer, &served, chunks, to_peer) => sent,
    }
}

/// Waits until the peer closes the connection. It has nothing more to say.
async fn until_closed(from_peer: &mut FrameReader<OwnedReadHalf>) -> LinkError {
    match from_peer.next().await {
        Ok(Some(_)) => LinkError::Speaks,
        Ok(None) => LinkError::Closed,
        Err(error) => error.into(),
    }
}

/// The frame of a chunk.
fn chunk(file: &mut dyn ReadAt, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(frame::HEADER_BYTES + length);
    frame::append(&mut buffer, CHUNK_BYTES, |buffer, _| {
        let begin = buffer.len();
        buffer.resize(begin + length, 0);
        file.read_exact_at(&mut buffer[begin..], offset)
    })?;
    Ok(buffer)
}

async fn send_chunks(
    shared: &Shared,
    peer: &Peer,
    served: &BeingServed<'_>,
    mut chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    to_peer: &mut OwnedWriteHalf,
) -> Result<(), LinkError> {
    let limit = shared.timing.write_max;
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk.map_err(|error| {
            warn!("a snapshot cannot be read for {peer}: {error}");
            LinkError::Stopping
        })?;
        let _ = timeout(YIELD_MAX, messages_have_left(peer)).await;
        served.sender.pace.take(chunk.len()).await;
        let written = timeout(limit, to_peer.write_all(&chunk)).await;
        let doing = "take anything of a snapshot that is sent to it";
        written.map_err(|_| LinkError::TooSlow { doing, limit })?.map_err(LinkError::Io)?;
        served.note_sent(chunk.len() - frame::HEADER_BYTES);
    }
    // The peer closes the connection when it has read all of it.
    std::future::pending().await
}

/// Waits until no message with entries waits for this peer. A snapshot would share its link with them.
async fn messages_have_left(peer: &Peer) {
    while peer.queue(Lane::Bulk).load().0.frames > 0 {
        sleep(LOOK_AGAIN).await;
    }
}
