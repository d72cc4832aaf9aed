//! Snapshots without a disk.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use synod_model::{ReplicaId, Slot};

use crate::peers::SnapshotStore;
use crate::peers::snapshots::{
    PartialSnapshot, ReadAt, SinkError, SnapshotId, SnapshotLimits, SnapshotSink, SnapshotSource,
};

/// The snapshots of one replica, which outlive its runs.
#[derive(Clone)]
pub(crate) struct MemorySnapshots {
    state: Arc<Mutex<State>>,
    pub(crate) limits: SnapshotLimits,
}

#[derive(Default)]
pub(crate) struct State {
    /// The newest last.
    pub(crate) stored: Vec<(SnapshotId, Arc<Vec<u8>>)>,
    pub(super) partial: Option<(SnapshotId, Vec<u8>)>,
    /// From whom, and which.
    pub(super) finished: Vec<(ReplicaId, SnapshotId)>,
    /// How many snapshots were begun from their first byte.
    pub(super) begun: usize,
    /// How many more bytes the disk takes.
    pub(super) room: Option<usize>,
    /// How long a write takes, and a read.
    pub(super) call_takes: Duration,
    /// How many threads read or write.
    pub(super) at_work: usize,
}

impl Default for MemorySnapshots {
    fn default() -> Self {
        let limits = SnapshotLimits {
            no_progress_max: Duration::from_millis(300),
            ..SnapshotLimits::default()
        };
        Self { state: Arc::default(), limits }
    }
}

impl MemorySnapshots {
    pub(super) fn store(&self) -> SnapshotStore {
        SnapshotStore {
            source: Arc::new(self.clone()),
            sink: Box::new(self.clone()),
            limits: self.limits,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("whole")
    }

    /// Adds a snapshot. Those of the same slot and length are the same.
    pub(crate) fn add(&self, slot: u64, length: usize) -> SnapshotId {
        let bytes = content(slot, length);
        let id = id_of(slot, &bytes);
        self.state().stored.push((id, Arc::new(bytes)));
        id
    }

    /// How many bytes of a snapshot are here that is not whole.
    pub(super) fn received_bytes(&self) -> usize {
        self.state().partial.as_ref().map_or(0, |(_, bytes)| bytes.len())
    }

    fn work(&self) {
        let takes = {
            let mut state = self.state();
            state.at_work += 1;
            state.call_takes
        };
        std::thread::sleep(takes);
        self.state().at_work -= 1;
    }

    pub(super) fn finished(&self) -> Vec<(u16, u64)> {
        self.state().finished.iter().map(|(from, id)| (from.0, id.slot.0)).collect()
    }
}

pub(super) fn content(slot: u64, length: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(slot);
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

pub(super) fn id_of(slot: u64, bytes: &[u8]) -> SnapshotId {
    let checksum = u64::from(crc32c::crc32c(bytes));
    SnapshotId { slot: Slot(slot), bytes: bytes.len() as u64, checksum }
}

impl SnapshotSource for MemorySnapshots {
    fn newest(&self) -> Option<SnapshotId> {
        self.state().stored.last().map(|(id, _)| *id)
    }

    fn has(&self, id: SnapshotId) -> bool {
        self.state().stored.iter().any(|(it, _)| *it == id)
    }

    fn open(&self, id: SnapshotId) -> io::Result<Box<dyn ReadAt>> {
        let state = self.state();
        let found = state.stored.iter().find(|(it, _)| *it == id);
        let (_, bytes) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(File { bytes: Arc::clone(bytes), of: self.clone() }))
    }
}

struct File {
    bytes: Arc<Vec<u8>>,
    of: MemorySnapshots,
}

impl ReadAt for File {
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let begin = usize::try_from(offset).expect("few bytes");
        self.of.work();
        let bytes = self.bytes.get(begin..begin + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl SnapshotSink for MemorySnapshots {
    fn partial(&mut self) -> Option<PartialSnapshot> {
        let state = self.state();
        let (id, bytes) = state.partial.as_ref()?;
        Some(PartialSnapshot { id: *id, received_bytes: bytes.len() as u64 })
    }

    fn begin(&mut self, id: SnapshotId) -> Result<(), SinkError> {
        let mut state = self.state();
        if state.partial.as_ref().is_none_or(|(it, _)| *it != id) {
            state.partial = Some((id, Vec::new()));
            state.begun += 1;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.work();
        let mut state = self.state();
        if let Some(room) = &mut state.room {
            let left = room.checked_sub(bytes.len());
            *room = left.ok_or_else(|| SinkError::Disk("no space left".to_owned()))?;
        }
        state.partial.as_mut().expect("it was begun").1.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, from: ReplicaId) -> Result<(), SinkError> {
        let mut state = self.state();
        let (id, bytes) = state.partial.take().expect("it was begun");
        if id_of(id.slot.0, &bytes) != id {
            return Err(SinkError::Invalid("its checksum is wrong".to_owned()));
        }
        state.stored.push((id, Arc::new(bytes)));
        state.finished.push((from, id));
        Ok(())
    }
}
