//! Small files, which are read and written whole: a frame with a checksum, replaced atomically.
//!
//! ```text
//! offset  bytes
//!      0      8  eight letters that say which file it is
//!      8      4  version of the format
//!     12      4  n, the length of the content
//!     16      n  the content, in bincode
//!   16+n      4  CRC-32C of everything before
//! ```
//!
//! Numbers are little-endian. A new content is written under another name, synced, and renamed over
//! the old one. Then the folder is synced. So the file always has the old content or the new one.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;
use serde::de::DeserializeOwned;
use synod_wire::codec::{self, DecodeError, EncodeError};
use thiserror::Error;

use super::disk_error::{DiskError, Grouped};
use crate::disk::{Access, Disk, ROOT};
use crate::identity::REPLACEMENT_ADVICE;

/// The version of the format of all files in a data directory. There is one number for all of them,
/// because they are made together and read together.
pub const FORMAT_VERSION: u32 = 4;

const FRAME_BYTES: usize = 20;

/// The length of the longest small file: 1 MiB, so that a damaged length costs little.
const FILE_BYTES_MAX: usize = codec::SMALL_BYTES_MAX;

/// One of the small files of a data directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct SmallFile {
    pub(super) name: &'static str,
    /// Its name while it is written.
    pub(super) new_name: &'static str,
    pub(super) letters: [u8; 8],
}

/// Replaces the small files of an open data directory, one at a time.
///
/// They are in one folder, and a sync of the folder is for all of them. If it fails, the name of a file
/// that another thread has just replaced may be lost, and the next sync would not tell. So after that
/// nothing is replaced any more.
#[derive(Clone, Debug)]
pub(super) struct Replacing {
    disk: Arc<dyn Disk>,
    has_failed: Arc<Mutex<bool>>,
}

impl Replacing {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, has_failed: Arc::default() }
    }

    /// Replaces a file. After any error, it is unknown what the file holds, and nothing more is replaced.
    pub(super) fn replace(
        &self,
        file: &SmallFile,
        content: &impl Serialize,
    ) -> Result<(), SmallFileError> {
        let mut has_failed = self.begin(file)?;
        let replaced = self.rename_over(file, content).and_then(|()| file.sync_name(&*self.disk));
        *has_failed = replaced.is_err();
        replaced
    }

    /// Replaces a file that may as well keep its old content. An error before its name is changed does no
    /// harm, and it can be tried again.
    pub(super) fn try_to_replace(
        &self,
        file: &SmallFile,
        content: &impl Serialize,
    ) -> Result<(), SmallFileError> {
        let mut has_failed = self.begin(file)?;
        self.rename_over(file, content)?;
        let synced = file.sync_name(&*self.disk);
        *has_failed = synced.is_err();
        synced
    }

    /// If this fails, the file has its old content, and nothing else is left: the disk may be full.
    fn rename_over(
        &self,
        file: &SmallFile,
        content: &impl Serialize,
    ) -> Result<(), SmallFileError> {
        file.rename_over(&*self.disk, content).inspect_err(|_| {
            let _ = file.remove_new(&*self.disk);
        })
    }

    fn begin(&self, file: &SmallFile) -> Result<MutexGuard<'_, bool>, SmallFileError> {
        // A thread that panicked here was replacing a file, and nobody knows how far it came.
        let failed = self.has_failed.lock().ok().filter(|has_failed| !**has_failed);
        failed.ok_or_else(|| {
            let error = io::Error::other("an earlier change of the data directory has failed");
            DiskError::at(&*self.disk, file.name, "replace")(error).into()
        })
    }
}

/// Why a small file was not read or written.
#[derive(Debug, Error)]
pub enum SmallFileError {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is not there.
    #[error(
        "{} is not there\n  \
         it is made with the data directory and never removed, so something else removed it\n  \
         {REPLACEMENT_ADVICE}",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold what was written.
    #[error(
        "{} is damaged: {what}\n  \
         it was written whole and synced, so the disk, or something else, has changed it\n  \
         {REPLACEMENT_ADVICE}",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file has a version that this program does not know.
    #[error(
        "{} has format version {found}, and this program knows version {FORMAT_VERSION} only\n  \
         run the version of synod that wrote it, or a newer one",
        path.display()
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The content is too long.
    #[error("{} would be longer than a small file may be: {error}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The error of the codec.
        error: EncodeError,
    },
}

impl SmallFile {
    /// Reads the file.
    pub(super) fn read<T: DeserializeOwned>(&self, disk: &dyn Disk) -> Result<T, SmallFileError> {
        let path = || disk.path(self.name);
        let damaged = |what: String| SmallFileError::Damaged { path: path(), what };
        let opened =
            disk.check_is_file(self.name).and_then(|()| disk.open(self.name, Access::Read));
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SmallFileError::Missing { path: path() });
            }
            opened => opened.map_err(DiskError::at(disk, self.name, "open"))?,
        };
        let length = file.length_bytes().map_err(DiskError::at(disk, self.name, "read"))?;
        let length = match usize::try_from(length) {
            Ok(length) if (FRAME_BYTES..=FILE_BYTES_MAX).contains(&length) => length,
            _ => return Err(damaged(format!("it cannot be {} bytes long", Grouped(length)))),
        };
        let mut bytes = vec![0; length];
        file.read_at(&mut bytes, 0).map_err(DiskError::at(disk, self.name, "read"))?;

        let content = &bytes[16..length - 4];
        if bytes[..8] != self.letters {
            return Err(damaged("it does not begin with the letters that say what it is".into()));
        }
        if u32_at(&bytes, length - 4) != crc32c::crc32c(&bytes[..length - 4]) {
            return Err(damaged("it fails its checksum".into()));
        }
        let found = u32_at(&bytes, 8);
        if found != FORMAT_VERSION {
            return Err(SmallFileError::UnknownVersion { path: path(), found });
        }
        if u32_at(&bytes, 12) as usize != content.len() {
            return Err(damaged("it is longer or shorter than it says".into()));
        }
        codec::decode_small(content).map_err(|error: DecodeError| damaged(error.to_string()))
    }

    /// Writes the file, or replaces it. After an error, the file may have the old content or the new.
    pub(super) fn write(
        &self,
        disk: &dyn Disk,
        content: &impl Serialize,
    ) -> Result<(), SmallFileError> {
        self.rename_over(disk, content)?;
        self.sync_name(disk)
    }

    /// Makes durable what was [read](Self::read): writes it again. The process that wrote the file may have stopped
    /// before its name was durable, or the sync of the folder may have failed.
    ///
    /// On a full disk that cannot be done, and a replica should start all the same. The content was synced before the
    /// file got its name, so all that can be missing is the name, and a sync of the folder is enough, unless such a
    /// sync has failed before: then another one would not write the name. [`sync_name`](Self::sync_name) leaves a
    /// mark of that.
    pub(super) fn renew(
        &self,
        disk: &dyn Disk,
        content: &impl Serialize,
    ) -> Result<(), SmallFileError> {
        let looked = disk.check_is_file(self.new_name);
        let is_marked =
            looked.map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |()| true);
        match self.rename_over(disk, content) {
            Err(SmallFileError::Disk(error)) if error.is_full() && !is_marked => {
                self.remove_new(disk)?;
            }
            renamed => renamed?,
        }
        self.sync_name(disk)
    }

    /// Makes the name of the file durable. If that fails, an empty file under the other name is the mark of it. A loss
    /// of power may take the mark with it. But after that, everything that is read is durable.
    fn sync_name(&self, disk: &dyn Disk) -> Result<(), SmallFileError> {
        let synced = disk.sync_folder(ROOT);
        if synced.is_err() {
            let _ = disk.create(self.new_name);
        }
        Ok(synced.map_err(DiskError::at(disk, ROOT, "sync"))?)
    }

    /// The first part of [`write`](Self::write): all but the sync of the folder. After an error, the file
    /// has its old content.
    fn rename_over(&self, disk: &dyn Disk, content: &impl Serialize) -> Result<(), SmallFileError> {
        let mut bytes = vec![0; 16];
        codec::encode(content, &mut bytes, FILE_BYTES_MAX - 4)
            .map_err(|error| SmallFileError::TooLong { path: disk.path(self.name), error })?;
        let length = u32::try_from(bytes.len() - 16).unwrap_or(u32::MAX);
        bytes[..8].copy_from_slice(&self.letters);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());

        self.remove_new(disk)?;
        let at = |doing| DiskError::at(disk, self.new_name, doing);
        let file = disk.create(self.new_name).map_err(at("create"))?;
        file.write_at(&bytes, 0).map_err(at("write"))?;
        file.sync_data().map_err(at("sync"))?;
        disk.rename(self.new_name, self.name).map_err(at("rename"))?;
        Ok(())
    }

    /// Removes the file that an interrupted [`write`](Self::write) has left.
    pub(super) fn remove_new(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        match disk.remove(self.new_name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(DiskError::at(disk, self.new_name, "remove")),
        }
    }
}

/// The number at `offset`. The caller ensures that `bytes` reach so far.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}
