//! The snapshots of this replica that clients save elsewhere.
//!
//! A client begins a save, and then reads the file piece by piece, at the offsets that it wants. The file stays open for
//! the save, so it can be read to its end even if the snapshot is removed meanwhile. A save outlives its connection: it
//! is forgotten when it is ended, or when nothing was read for [`LINGERS`].
//!
//! Neither the replica's task nor a message of the protocol waits for a save. Files are read on threads of their own,
//! and all saves together get no more bytes a second than peers do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use synod_wire::Value;
use synod_wire::api::{SaveBegun, SaveError, SaveId, SnapshotTaken, TakeSnapshotError};
use synod_wire::blocking;
use synod_wire::protocol::{ReadSave, SAVE_PIECE_BYTES_MAX};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::peers::snapshots::Pace;
use crate::storage::{SnapshotBytes, SnapshotError, SnapshotFile, SnapshotFolder};

#[cfg(test)]
mod tests;

/// How many saves there are at once. 2, as for peers: more would share the same rate, and each would take longer. The
/// others are told to come again.
const SAVES_MAX: usize = 2;

/// How long a snapshot is kept for a save of which nothing is read. 30 s: a client that has lost its connection comes
/// back for the rest.
const LINGERS: Duration = Duration::from_secs(30);

/// How many pieces are sent in a second, if the rate is so low that pieces are shorter. 4: a client that has asked for
/// several of them sees that it goes on.
const PIECES_PER_SECOND: u64 = 4;

/// The shortest piece. 4 KiB: with less, most of what is sent would be around the pieces.
const PIECE_BYTES_MIN: u64 = 4 << 10;

/// How often a snapshot is taken that is gone before it could be opened. 3: it takes two newer ones meanwhile.
const ATTEMPTS: usize = 3;

/// The saves under way.
#[derive(Debug)]
pub(super) struct Saves {
    piece_bytes: u64,
    pace: Pace,
    lingers: Duration,
    under_way: Mutex<BTreeMap<SaveId, Save>>,
}

#[derive(Debug)]
enum Save {
    /// Its snapshot is being taken.
    Begins,
    Kept {
        bytes: Arc<SnapshotBytes>,
        used_at: Instant,
    },
}

impl Saves {
    pub(super) fn new(sent_bytes_per_second: u64) -> Self {
        let piece_bytes = sent_bytes_per_second / PIECES_PER_SECOND;
        Self {
            piece_bytes: piece_bytes.clamp(PIECE_BYTES_MIN, SAVE_PIECE_BYTES_MAX),
            pace: Pace::new(sent_bytes_per_second, Instant::now()),
            lingers: LINGERS,
            under_way: Mutex::default(),
        }
    }

    /// Begins a save of the snapshot that `take` takes now. Beginning it again has no effect.
    pub(super) async fn begin<F: Future<Output = Result<SnapshotTaken, TakeSnapshotError>>>(
        self: &Arc<Self>,
        save: SaveId,
        folder: &SnapshotFolder,
        cluster_name: &str,
        take: impl Fn() -> F,
    ) -> Result<SaveBegun, SaveError> {
        if let Ok(bytes) = self.kept(save) {
            return Ok(self.begun(bytes.file(), cluster_name));
        }
        let place = Place::take(self, save)?;
        let mut attempts = 0;
        let bytes = loop {
            attempts += 1;
            let taken = take().await.map_err(SaveError::NotTaken)?;
            let folder = folder.clone();
            let opened = blocking::run("save-open", move || folder.bytes(taken.slot)).await;
            match opened.map_err(|error| SaveError::Disk(error.to_string()))? {
                // Newer ones have taken its place.
                Err(SnapshotError::Missing { .. }) if attempts < ATTEMPTS => {}
                opened => break opened.map_err(|error| SaveError::Disk(error.to_string()))?,
            }
        };
        let file = bytes.file();
        info!(slot = %file.slot, bytes = file.length_bytes, "a snapshot is saved by a client");
        place.keep(bytes);
        Ok(self.begun(file, cluster_name))
    }

    fn begun(&self, file: SnapshotFile, cluster_name: &str) -> SaveBegun {
        let SnapshotFile { slot, length_bytes: bytes, checksum } = file;
        let (piece_bytes, cluster_name) = (self.piece_bytes, cluster_name.to_owned());
        SaveBegun { slot, bytes, checksum, piece_bytes, cluster_name }
    }

    /// Reads a piece, when the rate allows it.
    pub(super) async fn read(&self, read: ReadSave) -> Result<Value, SaveError> {
        let ReadSave { save, offset } = read;
        let bytes = self.kept(save)?;
        let left = bytes.file().length_bytes.saturating_sub(offset).min(self.piece_bytes);
        let count = usize::try_from(left).unwrap_or(usize::MAX);
        self.pace.take(count).await;
        let read = blocking::run("save-reader", move || {
            let mut piece = vec![0; count];
            bytes.read_at(offset, &mut piece).map(|_| piece)
        });
        let read = read.await.map_err(|error| SaveError::Disk(error.to_string()))?;
        let piece = read.map_err(|error| SaveError::Disk(error.to_string()))?;
        // It was kept until now.
        let _ = self.kept(save);
        Ok(piece.into())
    }

    /// The save is over.
    pub(super) fn end(&self, save: SaveId) {
        let mut saves = self.saves();
        if matches!(saves.get(&save), Some(Save::Kept { .. })) {
            saves.remove(&save);
        }
    }

    /// What is kept for a save, which is used now.
    fn kept(&self, save: SaveId) -> Result<Arc<SnapshotBytes>, SaveError> {
        match self.saves().get_mut(&save) {
            Some(Save::Kept { bytes, used_at }) => {
                *used_at = Instant::now();
                Ok(Arc::clone(bytes))
            }
            Some(Save::Begins) | None => Err(SaveError::NotKept),
        }
    }

    fn saves(&self) -> MutexGuard<'_, BTreeMap<SaveId, Save>> {
        // Each change is one call, so a thread that panicked has left no partial one.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a save of which nothing was read for too long. Returns when to look again.
    fn expire(&self, save: SaveId) -> Option<Instant> {
        let mut saves = self.saves();
        let Some(Save::Kept { used_at, .. }) = saves.get(&save) else {
            return None;
        };
        let until = *used_at + self.lingers;
        if until > Instant::now() {
            return Some(until);
        }
        saves.remove(&save);
        None
    }
}

/// The place of a save whose snapshot is being taken. It is free again if the client goes meanwhile.
struct Place<'a> {
    saves: &'a Arc<Saves>,
    save: SaveId,
}

impl<'a> Place<'a> {
    fn take(saves: &'a Arc<Saves>, save: SaveId) -> Result<Self, SaveError> {
        let mut all = saves.saves();
        // The same client has come back on another connection, and the first one is not found to be dead yet.
        if all.len() >= SAVES_MAX || all.contains_key(&save) {
            return Err(SaveError::Busy);
        }
        all.insert(save, Save::Begins);
        drop(all);
        Ok(Self { saves, save })
    }

    fn keep(self, bytes: SnapshotBytes) {
        let kept = Save::Kept { bytes: Arc::new(bytes), used_at: Instant::now() };
        self.saves.saves().insert(self.save, kept);
        let (saves, save) = (Arc::downgrade(self.saves), self.save);
        tokio::spawn(forget_when_unused(saves, save));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut saves = self.saves.saves();
        if matches!(saves.get(&self.save), Some(Save::Begins)) {
            saves.remove(&self.save);
        }
    }
}

async fn forget_when_unused(saves: Weak<Saves>, save: SaveId) {
    while let Some(until) = saves.upgrade().and_then(|saves| saves.expire(save)) {
        sleep_until(until).await;
    }
}
