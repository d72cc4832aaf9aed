//! Segments: the files that hold the log, and how the next one is made.
//!
//! A segment is made ahead of use. It is filled with zeros under another name, synced and renamed, and
//! then its folder is synced. So an append changes neither the length of a file nor its blocks, and its
//! sync writes nothing but the data. On ext4 that takes half the time.
//!
//! **A segment is made only when the one before it holds a durable batch.** So at most one segment is
//! empty. A second empty one shows that something was lost.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use tracing::warn;

use super::disk_error::{DiskError, Grouped};
use crate::disk::{Disk, DiskFile};

/// The folder that the segments are in.
pub(super) const LOG: &str = "log";

const SUFFIX: &str = ".wal";
const NEW_SUFFIX: &str = ".wal.new";

/// How much of a segment is filled with zeros by one write. 1 MiB: other operations that wait for the
/// disk do not wait long behind it.
const FILL_BYTES: u64 = 1 << 20;

/// How often the filling is synced. 8 MiB: one sync of a whole segment would delay the syncs of appends
/// until the disk has written all of it.
const FILL_SYNC_BYTES: u64 = 8 << 20;

/// The name of a segment: `log/00000001.wal`.
pub(super) fn segment_name(number: u32) -> String {
    format!("{LOG}/{number:08}{SUFFIX}")
}

fn new_name(number: u32) -> String {
    format!("{LOG}/{number:08}{NEW_SUFFIX}")
}

/// The number of the segment with this name in the folder of the log.
fn number_of(name: &str, suffix: &str) -> Option<u32> {
    let digits = name.strip_suffix(suffix)?;
    let number: u32 = digits.parse().ok()?;
    (number > 0 && format!("{number:08}") == digits).then_some(number)
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The number of the segment.
    pub segment: u32,
    /// The byte offset in it.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of {}", Grouped(self.offset), segment_name(self.segment))
    }
}

/// The names in the folder of the log.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The segments, in order.
    pub(super) segments: Vec<u32>,
    /// The segments that an interrupted [`prepare`] has left.
    pub(super) unfinished: Vec<u32>,
    /// Names that do not belong to the log.
    pub(super) unknown: Vec<String>,
}

impl Listing {
    pub(super) fn read(disk: &dyn Disk) -> Result<Self, DiskError> {
        let mut listing = Self::default();
        for name in disk.list(LOG).map_err(DiskError::at(disk, LOG, "list"))? {
            if let Some(number) = number_of(&name, SUFFIX) {
                listing.segments.push(number);
            } else if let Some(number) = number_of(&name, NEW_SUFFIX) {
                listing.unfinished.push(number);
            } else {
                listing.unknown.push(name);
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }

    /// Removes the segments that an interrupted [`prepare`] has left.
    pub(super) fn remove_unfinished(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        for number in &self.unfinished {
            let name = new_name(*number);
            disk.remove(&name).map_err(DiskError::at(disk, &name, "remove"))?;
        }
        Ok(())
    }
}

/// Makes a segment of zeros, durably.
pub(super) fn prepare(
    disk: &dyn Disk,
    number: u32,
    segment_bytes: u64,
) -> Result<Box<dyn DiskFile>, DiskError> {
    let file = create(disk, number)?;
    complete(disk, number, segment_bytes, &*file)?;
    Ok(file)
}

/// The first step of [`prepare`]. If it fails, nothing has happened.
fn create(disk: &dyn Disk, number: u32) -> Result<Box<dyn DiskFile>, DiskError> {
    let new_name = new_name(number);
    disk.create(&new_name).map_err(DiskError::at(disk, &new_name, "create"))
}

/// The other steps of [`prepare`]. If one of them fails, it is unknown what is on the disk.
fn complete(
    disk: &dyn Disk,
    number: u32,
    segment_bytes: u64,
    file: &dyn DiskFile,
) -> Result<(), DiskError> {
    let new_name = new_name(number);
    let at = |doing| DiskError::at(disk, &new_name, doing);
    if let Err(error) = fill(file, segment_bytes) {
        // Part of a segment is of no use, and takes room on a disk that may be full. If it cannot be
        // removed now, the next start removes it.
        let _ = disk.remove(&new_name);
        return Err(at("fill")(error));
    }
    disk.rename(&new_name, &segment_name(number)).map_err(at("rename"))?;
    disk.sync_folder(LOG).map_err(DiskError::at(disk, LOG, "sync"))
}

fn fill(file: &dyn DiskFile, segment_bytes: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(FILL_BYTES.min(segment_bytes)).unwrap_or_default()];
    let mut filled = 0;
    while filled < segment_bytes {
        let bytes = FILL_BYTES.min(segment_bytes - filled);
        file.write_at(&zeros[..usize::try_from(bytes).unwrap_or_default()], filled)?;
        filled += bytes;
        if filled.is_multiple_of(FILL_SYNC_BYTES) || filled == segment_bytes {
            file.sync_data()?;
        }
    }
    Ok(())
}

/// Renames a segment to another name and back. If the first renaming succeeded and the sync of the
/// folder failed, the name is in the cache and not on the disk, and another sync would not write it.
pub(super) fn rename_again(disk: &dyn Disk, number: u32) -> Result<(), DiskError> {
    let (name, new_name) = (segment_name(number), new_name(number));
    disk.rename(&name, &new_name).map_err(DiskError::at(disk, &name, "rename"))?;
    disk.rename(&new_name, &name).map_err(DiskError::at(disk, &new_name, "rename"))
}

/// Who makes the next segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preparation {
    /// A thread of its own, while the present segment fills. An append waits only if the thread has not
    /// finished when the append needs the segment.
    #[default]
    InBackground,
    /// The append that needs the segment. For a shell that runs in one thread on simulated time.
    InLine,
}

/// The segment after the present one.
#[derive(Debug)]
pub(super) enum Spare {
    /// Nobody makes it yet.
    None,
    /// It is made.
    Ready(Box<dyn DiskFile>),
    /// It is being made.
    Coming(SegmentMaker),
}

impl Spare {
    /// Begins to make segment `number` on another thread. If no thread can be started, the segment is
    /// made when an append needs it.
    pub(super) fn begin(disk: &Arc<dyn Disk>, number: u32, segment_bytes: u64) -> Self {
        let disk = Arc::clone(disk);
        let thread = Builder::new().name(format!("segment {number}"));
        let made = thread.spawn(move || begin(&*disk, number, segment_bytes));
        made.map_or(Self::None, |thread| Self::Coming(SegmentMaker(Some(thread))))
    }

    /// The segment. It is made now if nobody makes it yet.
    pub(super) fn take(
        &mut self,
        disk: &dyn Disk,
        number: u32,
        segment_bytes: u64,
    ) -> Result<Box<dyn DiskFile>, DiskError> {
        match std::mem::replace(self, Self::None) {
            Self::Ready(file) => Ok(file),
            Self::None => prepare(disk, number, segment_bytes),
            Self::Coming(mut maker) => {
                let made = maker.finish().unwrap_or_else(|| {
                    let error = io::Error::other("the thread that did it panicked");
                    Err(DiskError::at(disk, &segment_name(number), "make")(error))
                });
                made?.map_or_else(|| prepare(disk, number, segment_bytes), Ok)
            }
        }
    }
}

/// Makes a segment ahead of use, and logs at once if that fails, since the log may not need it for a
/// long time. Returns none if nothing has happened, or if the disk was full and nothing is left of the
/// segment. Then it is made when an append needs it, and there may be room by then.
fn begin(disk: &dyn Disk, number: u32, segment_bytes: u64) -> Made {
    let made = match create(disk, number) {
        Ok(file) => complete(disk, number, segment_bytes, &*file).map(|()| Some(file)),
        Err(error) => {
            warn!("segment {number} is not made ahead of use, but when it is needed: {error}");
            return Ok(None);
        }
    };
    match made {
        Err(error) if error.is_full() => {
            warn!(
                "there is no room for segment {number}, which is needed when the present one is full: {error}"
            );
            Ok(None)
        }
        made => made.inspect_err(|error| warn!("segment {number} cannot be made: {error}")),
    }
}

type Made = Result<Option<Box<dyn DiskFile>>, DiskError>;

/// A thread that makes a segment. Dropping this waits for the thread, which must end before the lock
/// of the directory is released.
#[derive(Debug)]
pub(super) struct SegmentMaker(Option<JoinHandle<Made>>);

impl SegmentMaker {
    fn finish(&mut self) -> Option<Made> {
        self.0.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for SegmentMaker {
    fn drop(&mut self) {
        self.finish();
    }
}
