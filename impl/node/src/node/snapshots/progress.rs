//! How far a snapshot is that is being written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use synod_model::Slot;

/// What the thread that writes snapshots tells, and what it is told.
#[derive(Debug, Default)]
pub(in super::super) struct SnapshotProgress {
    writing: Mutex<Option<(Slot, u64)>>,
    stops: AtomicBool,
}

impl SnapshotProgress {
    /// The last slot of the snapshot that is being taken, and how many of its bytes are written.
    pub(in super::super) fn get(&self) -> Option<(Slot, u64)> {
        *self.writing()
    }

    pub(super) fn set(&self, writing: Option<(Slot, u64)>) {
        *self.writing() = writing;
    }

    /// The node ends. A snapshot that is being written is given up.
    pub(in super::super) fn stop(&self) {
        self.stops.store(true, Ordering::Release);
    }

    pub(super) fn stops(&self) -> bool {
        self.stops.load(Ordering::Acquire)
    }

    fn writing(&self) -> MutexGuard<'_, Option<(Slot, u64)>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
