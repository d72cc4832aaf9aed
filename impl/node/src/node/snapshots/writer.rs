//! The thread that writes the snapshots of this replica.

use std::any::Any;
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use synod_model::{Slot, SnapshotHandle};
use tokio::sync::mpsc::UnboundedSender;

use super::super::Notice;
use super::super::disk::Watch;
use super::super::machine::WritesSnapshot;
use super::progress::SnapshotProgress;
use crate::storage::{SnapshotFile, SnapshotFolder, SnapshotWriter};

/// How much is written between two pauses. 1 MiB: 16 ms at the default rate.
const PIECE_BYTES: usize = 1 << 20;

/// A snapshot that the machine is to take.
#[derive(Clone, Debug)]
pub(in super::super) struct SnapshotOrder {
    pub(in super::super) handle: Arc<SnapshotHandle>,
    /// The snapshots between these slots are removed before it is written.
    pub(in super::super) superseded: (Slot, Slot),
}

/// A snapshot that is to be written.
pub(in super::super) struct SnapshotJob {
    pub(in super::super) order: SnapshotOrder,
    pub(in super::super) write: WritesSnapshot,
}

impl fmt::Debug for SnapshotJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotJob").field("order", &self.order).finish_non_exhaustive()
    }
}

/// What became of a snapshot.
#[derive(Debug)]
pub(in super::super) struct SnapshotWritten {
    pub(in super::super) handle: Arc<SnapshotHandle>,
    /// The file, which is durable, or why there is none.
    pub(in super::super) outcome: Result<SnapshotFile, String>,
}

/// Writes snapshots until nobody orders any more.
pub(in super::super) fn spawn_writer(
    folder: SnapshotFolder,
    jobs: Receiver<SnapshotJob>,
    bytes_per_second: u64,
    progress: Arc<SnapshotProgress>,
    notices: UnboundedSender<Notice>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
        let _watch = Watch { thread: "snapshot", notices: notices.clone() };
        while let Ok(SnapshotJob { order, write }) = jobs.recv() {
            let SnapshotOrder { handle, superseded: (after, before) } = order;
            folder.remove_between(after, before);
            progress.set(Some((handle.slot, 0)));
            let written = || write_file(&folder, &handle, write, bytes_per_second, &progress);
            // The state machine writes its state, and may panic. That snapshot is given up.
            let outcome = catch_unwind(AssertUnwindSafe(written));
            let outcome = outcome.unwrap_or_else(|panic| Err(text_of(&*panic)));
            progress.set(None);
            let _ = notices.send(Notice::SnapshotWritten(SnapshotWritten { handle, outcome }));
        }
    })
}

fn write_file(
    folder: &SnapshotFolder,
    handle: &SnapshotHandle,
    write: WritesSnapshot,
    bytes_per_second: u64,
    progress: &SnapshotProgress,
) -> Result<SnapshotFile, String> {
    if let Some(there) = folder.file(handle.slot) {
        return Ok(there);
    }
    let writer = folder.create(handle).map_err(|error| error.to_string())?;
    let since = Instant::now();
    let mut paced = Paced { writer, bytes_per_second, progress, since, unpaced_bytes: 0 };
    write(&mut paced).map_err(|error| error.to_string())?;
    paced.writer.finish().map_err(|error| error.to_string())
}

/// Writes no faster than it may, and not when the node ends.
struct Paced<'a> {
    writer: SnapshotWriter,
    bytes_per_second: u64,
    progress: &'a SnapshotProgress,
    since: Instant,
    unpaced_bytes: usize,
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.progress.stops() {
            return Err(io::Error::other("the node ends"));
        }
        let taken = self.writer.write(&bytes[..bytes.len().min(PIECE_BYTES)])?;
        self.unpaced_bytes += taken;
        if self.unpaced_bytes >= PIECE_BYTES {
            self.unpaced_bytes = 0;
            let written_bytes = self.writer.written_bytes();
            self.progress.set(Some((self.writer.slot(), written_bytes)));
            let milliseconds = written_bytes.saturating_mul(1000) / self.bytes_per_second.max(1);
            let is_due = Duration::from_millis(milliseconds);
            // A piece at a time, so that the end of the node is noticed.
            thread::sleep(is_due.saturating_sub(self.since.elapsed()).min(Duration::from_secs(1)));
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the state machine panicked: {}", text.unwrap_or_default())
}
