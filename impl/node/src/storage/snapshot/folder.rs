//! The folder of snapshot files: which there are, and how one takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synod_model::{Slot, SnapshotHandle};
use synod_wire::ClusterId;
use tracing::{info, warn};

use super::error::SnapshotError;
use super::format::{Header, SnapshotFile};
use super::listing::{self, SNAPSHOTS, SnapshotListing, part_name, snapshot_name};
use super::reader::{Chunks, SnapshotReader, unreadable};
use super::receiver::SnapshotReceiver;
use super::writer::SnapshotWriter;
use crate::disk::{Disk, DiskFile, DiskLock};
use crate::identity::Identity;
use crate::storage::disk_error::DiskError;

/// The snapshot files of a data directory. Clones are the same folder, and any thread may use them.
///
/// A snapshot is listed from when its file is durable until the file is removed.
#[derive(Clone, Debug)]
pub struct SnapshotFolder {
    pub(super) disk: Arc<dyn Disk>,
    /// Nothing is written once another process may have the directory. Who only reads has none.
    _lock: Option<Arc<dyn DiskLock>>,
    pub(super) cluster_id: ClusterId,
    cluster_name: Arc<str>,
    state: Arc<Mutex<State>>,
    /// Held while a file takes its place, which takes a sync.
    placing: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<Slot, SnapshotFile>,
    /// The names of the files that are being made.
    being_made: BTreeSet<String>,
}

impl SnapshotFolder {
    pub(in crate::storage) fn new(
        disk: Arc<dyn Disk>,
        lock: Arc<dyn DiskLock>,
        identity: &Identity,
    ) -> Self {
        let (state, placing) = (Arc::default(), Arc::default());
        let (cluster_id, cluster_name) = (identity.cluster_id, identity.cluster_name.as_str());
        let cluster_name = cluster_name.into();
        Self { disk, _lock: Some(lock), cluster_id, cluster_name, state, placing }
    }

    /// The header of the snapshot of the slots up to `slot`.
    pub(super) fn header(&self, slot: Slot) -> Header {
        let cluster_name = self.cluster_name.to_string();
        Header { cluster_id: self.cluster_id, cluster_name, slot }
    }

    /// The same folder for one who only reads, and may do so after the directory was released.
    #[must_use]
    pub fn for_reading(&self) -> Self {
        Self { _lock: None, ..self.clone() }
    }

    /// The snapshots, from the oldest to the newest.
    #[must_use]
    pub fn files(&self) -> Vec<SnapshotFile> {
        self.state().files.values().copied().collect()
    }

    /// The newest snapshot.
    #[must_use]
    pub fn newest(&self) -> Option<SnapshotFile> {
        self.state().files.last_key_value().map(|(_, file)| *file)
    }

    /// The snapshot of the slots up to `slot`.
    #[must_use]
    pub fn file(&self, slot: Slot) -> Option<SnapshotFile> {
        self.state().files.get(&slot).copied()
    }

    /// Where the snapshot of the slots up to `slot` is, or would be.
    #[must_use]
    pub fn path(&self, slot: Slot) -> PathBuf {
        self.disk.path(&snapshot_name(slot))
    }

    /// Begins the snapshot of `handle`. The application's bytes follow, and then
    /// [`SnapshotWriter::finish`].
    ///
    /// # Errors
    ///
    /// If the disk refuses, or a snapshot of that slot is being written already.
    pub fn create(&self, handle: &SnapshotHandle) -> Result<SnapshotWriter, SnapshotError> {
        SnapshotWriter::new(self, handle)
    }

    /// Begins to take a peer's snapshot, which is `file` at the peer.
    ///
    /// # Errors
    ///
    /// If the disk refuses, or the snapshot of that slot is being received already.
    pub fn receive(&self, file: SnapshotFile) -> Result<SnapshotReceiver, SnapshotError> {
        SnapshotReceiver::new(self, file)
    }

    /// What a former run has received of a peer's snapshot. None if there is nothing of use. It reads and checks all
    /// of that.
    #[must_use]
    pub fn resume(&self) -> Option<SnapshotReceiver> {
        let part = SnapshotListing::read(&*self.disk).ok()?.parts.pop()?;
        let resumed = SnapshotReceiver::resume(self, part);
        resumed.inspect_err(|error| info!("what is here of a snapshot is of no use: {error}")).ok()
    }

    /// Opens the snapshot of the slots up to `slot`. Returns the core's own state and a reader of the
    /// application's bytes.
    ///
    /// # Errors
    ///
    /// If there is no such snapshot, its beginning or its end is damaged, or the disk refuses.
    pub fn open(&self, slot: Slot) -> Result<(Arc<SnapshotHandle>, SnapshotReader), SnapshotError> {
        let (mut chunks, expected) = self.chunks(slot)?;
        chunks.check_end(expected)?;
        let handle = chunks.handle()?;
        Ok((Arc::new(handle), SnapshotReader::new(chunks, expected)))
    }

    /// The core's own state in the snapshot of the slots up to `slot`. It reads nothing of the
    /// application's bytes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn handle(&self, slot: Slot) -> Result<Arc<SnapshotHandle>, SnapshotError> {
        self.open(slot).map(|(handle, _)| handle)
    }

    /// The bytes of the snapshot of the slots up to `slot`, as they are in its file. They can be read to
    /// their end even if the file is removed meanwhile.
    ///
    /// # Errors
    ///
    /// If there is no such snapshot, or the disk refuses.
    pub fn bytes(&self, slot: Slot) -> Result<SnapshotBytes, SnapshotError> {
        let (chunks, file) = self.chunks(slot)?;
        let (path, open) = chunks.into_file();
        Ok(SnapshotBytes { path, file, open })
    }

    /// Lists a snapshot that a record in the log names, or the file `base`. So its file is durable, unless
    /// it is lost.
    pub(in crate::storage) fn list_named(&self, file: SnapshotFile) {
        self.state().files.insert(file.slot, file);
    }

    /// Once the log is read: removes the files that nothing in the log names, and lists the newest of those
    /// that are older than the first one that is named. `first_named` is its slot.
    ///
    /// A file that nothing names was finished, and then the process ended. Its name may not be durable.
    pub(in crate::storage) fn settle(&self, first_named: Option<Slot>) -> Result<(), DiskError> {
        let mut slots = SnapshotListing::read(&*self.disk)?.slots;
        slots.retain(|slot| self.file(*slot).is_none());
        let mut has_older = false;
        for slot in slots.into_iter().rev() {
            let is_older = first_named.is_some_and(|it| slot < it);
            if is_older
                && !has_older
                && let Some(file) = self.sound_file(slot)
            {
                has_older = true;
                self.list_named(file);
            } else {
                self.remove(slot);
            }
        }
        Ok(())
    }

    /// The snapshot of the slots up to `slot`, by its end mark.
    fn sound_file(&self, slot: Slot) -> Option<SnapshotFile> {
        let chunks = listing::open(&*self.disk, &self.cluster_id, slot).ok()?;
        chunks.end().ok().map(|end| end.file(slot))
    }

    /// Removes all snapshots but that of the slots up to `slot`, the one before it, and later ones.
    pub(in crate::storage) fn remove_older(&self, slot: Slot) {
        let older: Vec<Slot> = self.state().files.range(..slot).map(|(slot, _)| *slot).collect();
        let superfluous = older.len().saturating_sub(1);
        older.into_iter().take(superfluous).for_each(|slot| self.remove(slot));
    }

    /// Removes the snapshots between these slots. No record names them.
    pub(crate) fn remove_between(&self, after: Slot, before: Slot) {
        let between = |slot: &Slot| after < *slot && *slot < before;
        let slots: Vec<Slot> = self.state().files.keys().copied().filter(between).collect();
        for slot in slots {
            self.remove(slot);
        }
    }

    /// Removes a snapshot. If that fails, the next start does it.
    fn remove(&self, slot: Slot) {
        let name = snapshot_name(slot);
        self.state().files.remove(&slot);
        let removed = self.disk.remove(&name).map_err(DiskError::at(&*self.disk, &name, "remove"));
        removed.unwrap_or_else(|error| {
            warn!("a snapshot is not removed now, but by the next start: {}", error.brief());
        });
    }

    /// Removes what an earlier run has left of files that it was making, except for what it has received of the
    /// newest snapshot: this run may go on with that.
    pub(in crate::storage) fn remove_unfinished(&self) -> Result<(), DiskError> {
        let SnapshotListing { unfinished, mut parts, .. } = SnapshotListing::read(&*self.disk)?;
        parts.pop();
        for name in parts.into_iter().map(part_name).chain(unfinished) {
            let removed = self.disk.remove(&name);
            removed.map_err(DiskError::at(&*self.disk, &name, "remove"))?;
        }
        Ok(())
    }

    /// Removes what is here of a peer's snapshot that includes no more than the slots up to `slot`. Called before
    /// anything is [resumed](Self::resume).
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    pub fn remove_parts_through(&self, slot: Slot) -> Result<(), SnapshotError> {
        let parts = SnapshotListing::read(&*self.disk).map_err(SnapshotError::Store)?.parts;
        for name in parts.into_iter().filter(|part| part.slot <= slot).map(part_name) {
            let removed = self.disk.remove(&name);
            removed.map_err(|error| {
                SnapshotError::Store(DiskError::at(&*self.disk, &name, "remove")(error))
            })?;
        }
        Ok(())
    }

    fn chunks(&self, slot: Slot) -> Result<(Chunks, SnapshotFile), SnapshotError> {
        let missing =
            || SnapshotError::Missing { path: self.disk.path(&snapshot_name(slot)), slot };
        let expected = self.file(slot).ok_or_else(missing)?;
        Ok((listing::open(&*self.disk, &self.cluster_id, slot)?, expected))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked cannot have left a partial change: each change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a file under this name.
    pub(super) fn begin(
        &self,
        name: String,
    ) -> Result<(Unfinished, Box<dyn DiskFile>), SnapshotError> {
        let unfinished = self.unfinished(name)?;
        // One that was given up may be left, if it could not be removed.
        let _ = self.disk.remove(&unfinished.name);
        let created = self.disk.create(&unfinished.name);
        let file = created.map_err(|error| unfinished.error("create", error))?;
        Ok((unfinished, file))
    }

    /// The file with this name is being made from now on.
    pub(super) fn unfinished(&self, name: String) -> Result<Unfinished, SnapshotError> {
        if !self.state().being_made.insert(name.clone()) {
            return Err(SnapshotError::BeingMade { path: self.disk.path(&name) });
        }
        Ok(Unfinished { folder: self.clone(), name, stays: false })
    }

    /// Gives a file its name, durably. Everything in it is durable already.
    pub(super) fn place(
        &self,
        unfinished: &Unfinished,
        made: SnapshotFile,
    ) -> Result<SnapshotFile, SnapshotError> {
        let _alone = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        let name = snapshot_name(made.slot);
        match self.file(made.slot) {
            Some(there) if there == made => return Ok(made),
            Some(_) => {
                return Err(SnapshotError::Differs {
                    path: self.disk.path(&name),
                    slot: made.slot,
                });
            }
            None => {}
        }
        let renamed = self.disk.rename(&unfinished.name, &name);
        renamed.map_err(|error| unfinished.error("rename", error))?;
        if let Err(error) = self.disk.sync_folder(SNAPSHOTS) {
            // Its name may be on the disk or not. The next start removes it, since no record names it.
            let _ = self.disk.remove(&name);
            return Err(SnapshotError::Store(DiskError::at(&*self.disk, SNAPSHOTS, "sync")(error)));
        }
        self.state().files.insert(made.slot, made);
        Ok(made)
    }
}

/// A file that is being made. If it does not take its place, it is removed, unless it stays.
#[derive(Debug)]
pub(super) struct Unfinished {
    folder: SnapshotFolder,
    pub(super) name: String,
    pub(super) stays: bool,
}

impl Unfinished {
    pub(super) fn folder(&self) -> &SnapshotFolder {
        &self.folder
    }

    pub(super) fn error(&self, doing: &'static str, error: io::Error) -> SnapshotError {
        SnapshotError::Store(DiskError::at(&*self.folder.disk, &self.name, doing)(error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once it was renamed, there is nothing to remove. What cannot be removed now, the next start
        // removes.
        if !self.stays {
            let _ = self.folder.disk.remove(&self.name);
        }
        self.folder.state().being_made.remove(&self.name);
    }
}

/// The bytes of a snapshot file, for a peer, which checks them itself.
#[derive(Debug)]
pub struct SnapshotBytes {
    path: PathBuf,
    file: SnapshotFile,
    open: Box<dyn DiskFile>,
}

impl SnapshotBytes {
    /// Which snapshot it is, its length and its checksum: what
    /// [`receive`](SnapshotFolder::receive) takes at the peer.
    #[must_use]
    pub fn file(&self) -> SnapshotFile {
        self.file
    }

    /// Fills `buffer` with the bytes at `offset`, or its beginning if the file ends before. Returns how
    /// many there were; 0 at the end of the file.
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SnapshotError> {
        let left = self.file.length_bytes.saturating_sub(offset);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if count > 0 {
            let read = self.open.read_at(&mut buffer[..count], offset);
            read.map_err(unreadable(&self.path, "read"))?;
        }
        Ok(count)
    }
}
