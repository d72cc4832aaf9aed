//! Taking the snapshot file of a peer.

use std::sync::Arc;

use synod_model::SnapshotHandle;

use super::error::{SnapshotError, SnapshotFlaw};
use super::folder::{SnapshotFolder, Unfinished};
use super::format::SnapshotFile;
use super::listing::part_name;
use super::reader::Chunks;
use super::writer::SYNC_BYTES;
use crate::disk::{Access, DiskFile};

/// Takes the bytes of a peer's snapshot file, from its beginning on. If a connection ends, the transfer
/// goes on where it stopped, from any peer that has the same file. Dropping this gives the transfer up,
/// and removes what has come. [`keep`](Self::keep) leaves it for a later run.
#[derive(Debug)]
pub struct SnapshotReceiver {
    unfinished: Unfinished,
    file: Box<dyn DiskFile>,
    expected: SnapshotFile,
    received_bytes: u64,
    unsynced_bytes: u64,
    has_failed: bool,
}

impl SnapshotReceiver {
    pub(super) fn new(
        folder: &SnapshotFolder,
        expected: SnapshotFile,
    ) -> Result<Self, SnapshotError> {
        let (unfinished, file) = folder.begin(part_name(expected))?;
        Ok(Self::with(unfinished, file, expected))
    }

    /// Goes on with what a former run has left. Its last bytes may never have reached the disk. So it is read, and the
    /// transfer goes on behind the last chunk that is sound.
    pub(super) fn resume(
        folder: &SnapshotFolder,
        expected: SnapshotFile,
    ) -> Result<Self, SnapshotError> {
        let unfinished = folder.unfinished(part_name(expected))?;
        let opened = folder.disk.open(&unfinished.name, Access::Write);
        let file = opened.map_err(|error| unfinished.error("open", error))?;
        let mut receiver = Self::with(unfinished, file, expected);
        let sound_bytes = receiver.chunks().and_then(|mut chunks| chunks.sound_bytes());
        receiver.received_bytes = sound_bytes.map_err(received)?;
        if receiver.received_bytes > expected.length_bytes {
            let path = folder.disk.path(&receiver.unfinished.name);
            let (offset, flaw) = (expected.length_bytes, SnapshotFlaw::OtherFile);
            return Err(SnapshotError::Received { path, offset, flaw });
        }
        Ok(receiver)
    }

    fn with(unfinished: Unfinished, file: Box<dyn DiskFile>, expected: SnapshotFile) -> Self {
        let (received_bytes, unsynced_bytes, has_failed) = (0, 0, false);
        Self { unfinished, file, expected, received_bytes, unsynced_bytes, has_failed }
    }

    /// The file at the peer.
    #[must_use]
    pub fn expected(&self) -> SnapshotFile {
        self.expected
    }

    /// How many bytes have come, which is also the offset of the next one.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Whether all bytes have come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.received_bytes == self.expected.length_bytes
    }

    /// Gives the transfer up for this run. What has come stays:
    /// [`SnapshotFolder::resume`] goes on with it.
    pub fn keep(mut self) {
        self.unfinished.stays = true;
    }

    /// Takes the next bytes, which are at `offset` in the file.
    ///
    /// # Errors
    ///
    /// If they do not come next or go beyond the end of the file: then nothing is written, and the
    /// transfer can go on. If the disk refuses, it cannot.
    pub fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        let path = || self.unfinished.folder().disk.path(&self.unfinished.name);
        if self.has_failed {
            return Err(SnapshotError::FailedBefore { path: path() });
        }
        let SnapshotFile { length_bytes, .. } = self.expected;
        let count = bytes.len() as u64;
        if offset != self.received_bytes || count > length_bytes - offset {
            let (path, next) = (path(), self.received_bytes);
            return Err(SnapshotError::OutOfPlace { path, offset, count, next, length_bytes });
        }
        let written = self.file.write_at(bytes, offset);
        self.has_failed = written.is_err();
        written.map_err(|error| self.unfinished.error("write", error))?;
        self.received_bytes += count;
        self.unsynced_bytes += count;
        if self.unsynced_bytes >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    /// Ends the transfer: checks the whole file, and gives it its name. When this returns, the file is
    /// durable. It reads the whole file, which may take seconds.
    ///
    /// # Errors
    ///
    /// If the file is not complete, or not the snapshot that it should be, or the disk refuses.
    pub fn finish(mut self) -> Result<(SnapshotFile, Arc<SnapshotHandle>), SnapshotError> {
        let handle = self.check().map_err(received)?;
        self.sync()?;
        let Self { unfinished, expected, .. } = self;
        let folder = unfinished.folder().clone();
        Ok((folder.place(&unfinished, expected)?, Arc::new(handle)))
    }

    /// Reads the file from its beginning.
    fn chunks(&self) -> Result<Chunks, SnapshotError> {
        let (disk, name) = (&self.unfinished.folder().disk, &self.unfinished.name);
        let cluster_id = &self.unfinished.folder().cluster_id;
        let file = disk.open(name, Access::Read);
        let file = file.map_err(|error| self.unfinished.error("open", error))?;
        Chunks::new(disk.path(name), file, cluster_id, self.expected.slot)
    }

    fn check(&self) -> Result<SnapshotHandle, SnapshotError> {
        let mut chunks = self.chunks()?;
        chunks.check_end(self.expected)?;
        let handle = chunks.handle()?;
        chunks.skip_to_end()?;
        Ok(handle)
    }

    fn sync(&mut self) -> Result<(), SnapshotError> {
        if self.has_failed {
            let path = self.unfinished.folder().disk.path(&self.unfinished.name);
            return Err(SnapshotError::FailedBefore { path });
        }
        let synced = self.file.sync_data();
        self.has_failed = synced.is_err();
        self.unsynced_bytes = 0;
        synced.map_err(|error| self.unfinished.error("sync", error))
    }
}

/// A flaw of a file that came from a peer.
fn received(error: SnapshotError) -> SnapshotError {
    match error {
        SnapshotError::Damaged { path, offset, flaw } => {
            SnapshotError::Received { path, offset, flaw }
        }
        error => error,
    }
}
