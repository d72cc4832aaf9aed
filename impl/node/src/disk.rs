//! The disk as a parameter: the files of one data directory, and nothing else of the file system.
//!
//! What storage has to survive is what a disk may do to it: lose a write that was not synced, or half
//! of it; forget that a file was created or renamed; refuse a sync. On a real disk that takes a power
//! failure at the right moment. So storage is given its disk, and there are two: [`RealDisk`], the
//! operating system's files, and `SimulatedDisk`, which is in memory, is the same for the same
//! seed, and does the worst that a disk may do whenever a test asks for it.
//!
//! Calls block. Names are relative to the data directory, with `/` between folder and file. Three
//! rules are what callers rest on:
//!
//! - what was written is durable once [`DiskFile::sync_data`] has returned;
//! - that a file was created, renamed or removed is durable once [`Disk::sync_folder`] of its folder
//!   has returned;
//! - if either fails, nothing is known, and nothing becomes known by asking again.

mod real;
#[cfg(any(test, feature = "simulation"))]
mod simulated;

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;

pub use real::RealDisk;
#[cfg(any(test, feature = "simulation"))]
pub use simulated::SimulatedDisk;

/// The name of the data directory itself, as a folder.
pub const ROOT: &str = "";

/// The files of one data directory.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Where people find the file: for messages.
    fn path(&self, name: &str) -> PathBuf;

    /// Makes the data directory itself, unless it is there, and makes that durable.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or something is there that is no directory.
    fn make_root(&self) -> io::Result<()>;

    /// Makes a folder.
    ///
    /// # Errors
    ///
    /// If it cannot be made or is there already.
    fn create_folder(&self, name: &str) -> io::Result<()>;

    /// The names of the files and folders in `folder`, in order.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Creates a file, for reading and writing.
    ///
    /// # Errors
    ///
    /// If it cannot be created or is there already.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there.
    ///
    /// # Errors
    ///
    /// If it is not there, is a folder, or may not be opened.
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// Checks that what is there is a file, without opening it: to open a pipe is to wait for whoever
    /// has its other end.
    ///
    /// # Errors
    ///
    /// If it is not there, or is something else.
    fn check_is_file(&self, name: &str) -> io::Result<()>;

    /// Renames a file within its folder, over another if there is one.
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes durable which files are in `folder`, under which names.
    ///
    /// # Errors
    ///
    /// If the disk refuses. Then it is unknown which are.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Locks a file that is there for this process alone, without waiting, and writes into it whose
    /// the lock is. The lock ends with the value, or with the process, however it ends.
    ///
    /// # Errors
    ///
    /// If it is held, or cannot be had.
    fn lock(&self, name: &str) -> Result<Box<dyn DiskLock>, LockError>;

    /// Who holds the lock, if anybody does. Takes it for a moment, shared, to find that out: a
    /// process that wants it at that very moment is refused.
    ///
    /// # Errors
    ///
    /// If that cannot be found out.
    fn lock_holder(&self, name: &str) -> io::Result<Option<Holder>>;
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync {
    /// How long the file is.
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    fn length_bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` with what is at `offset`.
    ///
    /// # Errors
    ///
    /// If the disk refuses, or the file ends before that.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; beyond its end, the file grows.
    ///
    /// # Errors
    ///
    /// If the disk refuses. Any part may have been written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything durable that was written to this file, and its length.
    ///
    /// # Errors
    ///
    /// If the disk refuses. Then nothing is known of what was written since the last sync, and
    /// asking again tells nothing: after a failed `fdatasync` Linux takes the pages for clean.
    fn sync_data(&self) -> io::Result<()>;
}

/// A lock that is held until this is dropped.
pub trait DiskLock: Debug + Send + Sync {}

/// Who holds a lock: what the holder wrote into the file, "process 4711".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(pub String);

/// Why a lock was not had.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held(Holder),
    /// The disk refuses.
    Disk(io::Error),
}
