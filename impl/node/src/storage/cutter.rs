//! Cutting the log: the file `base` is written, and then what is not needed any more is removed.
//!
//! Nobody waits for that. If a step fails, the log is as sound as before, only longer: the next cut does
//! again what was left undone. Unlinks may survive a crash in any order, because a start ignores what is
//! before the beginning of the log.
//!
//! The folder of the log is not synced here. If that sync failed, it could take with it the name of a
//! segment that the log is just making, and the log would not learn of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use tracing::{info, warn};

use super::base::BaseFile;
use super::disk_error::DiskError;
use super::layout::BASE;
use super::segment::{Listing, Preparation, segment_name};
use super::small_file::Replacing;
use super::snapshot::SnapshotFolder;
use crate::disk::Disk;

/// Cuts the log, on another thread or in line. Dropping it waits for the thread.
#[derive(Debug)]
pub(super) struct Cutter {
    work: Arc<Work>,
    preparation: Preparation,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Work {
    disk: Arc<dyn Disk>,
    replacing: Replacing,
    snapshots: SnapshotFolder,
    state: Mutex<State>,
    /// How many segments are behind the beginning of the log, and not removed yet.
    segments_left: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Where to cut next.
    next: Option<BaseFile>,
    is_at_work: bool,
}

impl Cutter {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        replacing: Replacing,
        snapshots: SnapshotFolder,
        preparation: Preparation,
    ) -> Self {
        let (state, segments_left) = (Mutex::default(), AtomicU64::new(0));
        let work = Work { disk, replacing, snapshots, state, segments_left };
        Self { work: Arc::new(work), preparation, thread: None }
    }

    /// How many segments before the beginning of the log are still on the disk.
    pub(super) fn segments_left(&self) -> u64 {
        self.work.segments_left.load(Ordering::Relaxed)
    }

    /// Lets the log begin at `base`, whose snapshot and record are durable. This makes `segments` more
    /// segments superfluous.
    pub(super) fn cut(&mut self, base: BaseFile, segments: usize) {
        self.work.segments_left.fetch_add(segments as u64, Ordering::Relaxed);
        let mut state = self.work.lock();
        // If another cut waits, this one goes further.
        state.next = Some(base);
        let has_panicked = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
        if state.is_at_work && !has_panicked {
            return;
        }
        state.is_at_work = true;
        drop(state);
        match self.preparation {
            Preparation::InLine => self.work.run(),
            Preparation::InBackground => {
                let work = Arc::clone(&self.work);
                let thread = Builder::new().name("cut".to_owned()).spawn(move || work.run());
                match thread {
                    Ok(thread) => self.thread = Some(thread),
                    Err(error) => {
                        self.work.lock().is_at_work = false;
                        warn!("the log is not cut now, but after the next snapshot: {error}");
                    }
                }
            }
        }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        // It must end before the lock of the directory is released.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let mut state = self.lock();
            let Some(base) = state.next.take() else {
                state.is_at_work = false;
                return;
            };
            drop(state);
            self.cut(&base);
        }
    }

    fn cut(&self, base: &BaseFile) {
        let slot = base.snapshot.slot;
        if let Err(error) = self.replacing.try_to_replace(&BASE, base) {
            warn!(
                "the log is not cut behind slot {slot} now, but after the next snapshot: {error}"
            );
            return;
        }
        match self.remove_segments(base.log.segment) {
            Ok(0) => {}
            Ok(removed) => info!("{removed} segments of the log up to slot {slot} are removed"),
            Err(error) => {
                let error = error.brief();
                warn!(
                    "segments of the log are not removed now, but after the next snapshot: {error}"
                );
            }
        }
        self.snapshots.remove_older(slot);
    }

    /// Removes all segments before this one. Returns how many those are. A segment that cannot be removed
    /// does not keep the others.
    fn remove_segments(&self, first: u32) -> Result<u64, DiskError> {
        let disk = &*self.disk;
        let listing = Listing::read(disk)?;
        let (mut removed, mut left, mut failed) = (0, 0, None);
        for segment in listing.segments.into_iter().take_while(|it| *it < first) {
            let name = segment_name(segment);
            match disk.remove(&name).map_err(DiskError::at(disk, &name, "remove")) {
                Ok(()) => removed += 1,
                Err(error) => {
                    left += 1;
                    failed = Some(error);
                }
            }
        }
        // A cut that waits has counted more than this one removes.
        let _ = self.segments_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| {
            Some(it.saturating_sub(removed).max(left))
        });
        failed.map_or(Ok(removed), Err)
    }
}
