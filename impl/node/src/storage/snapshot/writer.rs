//! Writing a snapshot of this replica.

use std::io::{self, Write};

use synod_model::{Slot, SnapshotHandle};
use synod_wire::codec;

use super::error::SnapshotError;
use super::folder::{SnapshotFolder, Unfinished};
use super::format::{
    self, BEFORE_CONTENT, CHUNK_BYTES_MAX, End, HANDLE_BYTES_MAX, Kind, SnapshotFile, WholeChecksum,
};
use super::listing::{self, NEW_SUFFIX};
use crate::disk::DiskFile;

/// How often a file is synced that is being made. 8 MiB: one sync of all of it would delay the syncs of
/// the log until the disk has written all of it.
pub(super) const SYNC_BYTES: u64 = 8 << 20;

/// Writes a snapshot of this replica, with one chunk in memory. What is written through [`Write`] is the
/// state of the application. Dropping it gives the snapshot up, and removes its file.
#[derive(Debug)]
pub struct SnapshotWriter {
    unfinished: Unfinished,
    file: Box<dyn DiskFile>,
    slot: Slot,
    written_bytes: u64,
    unsynced_bytes: u64,
    checksum: WholeChecksum,
    kind: Kind,
    /// The chunk that is being filled, with room for what is before its content.
    chunk: Vec<u8>,
    handle_bytes: u64,
    has_failed: bool,
}

impl SnapshotWriter {
    pub(super) fn new(
        folder: &SnapshotFolder,
        handle: &SnapshotHandle,
    ) -> Result<Self, SnapshotError> {
        let slot = handle.slot;
        let (unfinished, file) = folder.begin(listing::name(slot, NEW_SUFFIX))?;
        let mut writer = Self {
            unfinished,
            file,
            slot,
            written_bytes: 0,
            unsynced_bytes: 0,
            checksum: WholeChecksum::new(),
            kind: Kind::Handle,
            chunk: vec![0; BEFORE_CONTENT],
            handle_bytes: 0,
            has_failed: false,
        };
        writer.append(&folder.header(slot).bytes())?;
        codec::encode_into(handle, &mut writer).map_err(|error| match error.downcast() {
            Ok(error) => error,
            Err(error) => SnapshotError::NoEncoding { slot, what: error.to_string() },
        })?;
        writer.end_chunk()?;
        writer.kind = Kind::Application;
        Ok(writer)
    }

    /// The last slot that the snapshot includes.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// How many bytes of the file are written. Some more are in memory.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Ends the snapshot. When this returns, the file is durable and has its name.
    ///
    /// # Errors
    ///
    /// If the disk refuses, now or in an earlier step, or there is another snapshot of this slot.
    pub fn finish(mut self) -> Result<SnapshotFile, SnapshotError> {
        self.end_chunk()?;
        let end = End { before_bytes: self.written_bytes, checksum: self.checksum.get() };
        self.append(&end.bytes())?;
        self.sync()?;
        let Self { unfinished, slot, .. } = self;
        let folder = unfinished.folder().clone();
        folder.place(&unfinished, end.file(slot))
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), SnapshotError> {
        if self.kind == Kind::Handle {
            self.handle_bytes += bytes.len() as u64;
            if self.handle_bytes > HANDLE_BYTES_MAX {
                return Err(SnapshotError::HandleTooLong { slot: self.slot });
            }
        }
        while !bytes.is_empty() {
            let room = BEFORE_CONTENT + CHUNK_BYTES_MAX - self.chunk.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if now.len() == room {
                self.end_chunk()?;
            }
        }
        Ok(())
    }

    /// Writes the chunk, if there is anything in it.
    fn end_chunk(&mut self) -> Result<(), SnapshotError> {
        if self.chunk.len() == BEFORE_CONTENT && !self.has_failed {
            return Ok(());
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        format::seal(self.kind, &mut chunk);
        let appended = self.append(&chunk);
        chunk.truncate(BEFORE_CONTENT);
        self.chunk = chunk;
        appended
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if self.has_failed {
            let path = self.unfinished.folder().disk.path(&self.unfinished.name);
            return Err(SnapshotError::FailedBefore { path });
        }
        let written = self.file.write_at(bytes, self.written_bytes);
        self.has_failed = written.is_err();
        written.map_err(|error| self.unfinished.error("write", error))?;
        self.checksum.add(bytes);
        self.written_bytes += bytes.len() as u64;
        self.unsynced_bytes += bytes.len() as u64;
        if self.unsynced_bytes >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), SnapshotError> {
        let synced = self.file.sync_data();
        self.has_failed = synced.is_err();
        self.unsynced_bytes = 0;
        synced.map_err(|error| self.unfinished.error("sync", error))
    }
}

impl Write for SnapshotWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.take(bytes);
        self.has_failed |= taken.is_err();
        taken?;
        Ok(bytes.len())
    }

    /// Does nothing: what is written is durable when [`finish`](SnapshotWriter::finish) returns.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
