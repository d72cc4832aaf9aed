//! What storage asks of a disk.
//!
//! Calls block. Names are relative to the data directory, with `/` between folder and file. Callers
//! rely on three rules:
//!
//! - What was written is durable once [`DiskFile::sync_data`] has returned.
//! - The creation, the renaming and the removal of a file are durable once [`Disk::sync_folder`] of its
//!   folder has returned.
//! - If either call fails, it is unknown what is durable, and a second call does not change that.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;

/// The name of the data directory itself, as a folder.
pub const ROOT: &str = "";

/// The files of one data directory.
pub trait Disk: Debug + Send + Sync + 'static {
    /// The file's path as people know it, for messages.
    fn path(&self, name: &str) -> PathBuf;

    /// Makes the data directory itself, durably, unless it exists.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or something that is not a directory has its name.
    fn make_root(&self) -> io::Result<()>;

    /// Makes a folder.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or exists.
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
    /// If it cannot be created, or exists.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    ///
    /// If it does not exist, is a folder, or may not be opened.
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// Checks that `name` is a regular file, without opening it: opening a pipe waits for the process
    /// at its other end.
    ///
    /// # Errors
    ///
    /// If it does not exist, or is something else.
    fn check_is_file(&self, name: &str) -> io::Result<()>;

    /// Renames a file within its folder, and replaces the file that has the new name, if there is one.
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

    /// Makes durable which files are in `folder`, and their names.
    ///
    /// # Errors
    ///
    /// If the disk refuses. It is unknown then which files a crash would leave.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Takes an exclusive lock on an existing file, without waiting, and writes into the file who
    /// holds the lock. The lock ends when the value is dropped, or with the process.
    ///
    /// # Errors
    ///
    /// If another process holds the lock, or the disk refuses.
    fn lock(&self, name: &str) -> Result<Box<dyn DiskLock>, LockError>;

    /// Who holds the lock, if anybody does. To find that out, this call takes a shared lock for a
    /// moment. A process that tries to lock the file at that moment is refused.
    ///
    /// # Errors
    ///
    /// If it cannot be found out.
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

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    ///
    /// If the disk refuses, or the file ends too early.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. The file grows if they go beyond its end.
    ///
    /// # Errors
    ///
    /// If the disk refuses. Any part of `bytes` may have been written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes durable everything that was written to this file, and its length.
    ///
    /// # Errors
    ///
    /// If the disk refuses. It is unknown then what is durable of the writes since the last sync, and
    /// a second call does not tell: after a failed `fdatasync`, Linux marks the pages as clean.
    fn sync_data(&self) -> io::Result<()>;
}

/// A lock that is held until this is dropped.
pub trait DiskLock: Debug + Send + Sync {}

/// The holder of a lock, as it wrote itself into the file: "process 4711".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(pub String);

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held(Holder),
    /// The disk refuses.
    Disk(io::Error),
}
