//! Small files that are read and written whole: a frame with a checksum, replaced atomically.
//!
//! ```text
//! offset  bytes
//!      0      8  what the file is: eight letters
//!      8      4  version of the format
//!     12      4  n, the length of the content
//!     16      n  the content, in bincode
//!   16+n      4  CRC-32C of everything before
//! ```
//!
//! Numbers have their little end first. A new content is written under another name, synced, and
//! renamed over the old one; then the folder is synced. So there is always one of the two, whole.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use synod_wire::codec::{self, DecodeError, EncodeError};
use thiserror::Error;

use super::trouble::{DiskError, Grouped, LOST};
use crate::disk::{Access, Disk, ROOT};

/// The version of the format of all files in a data directory. One number for all of them: they are
/// made together and read together.
pub const FORMAT_VERSION: u32 = 1;

const FRAME_BYTES: usize = 20;

/// How long a small file may be: 1 MiB, so that a damaged length costs little.
const FILE_BYTES_MAX: usize = codec::SMALL_BYTES_MAX;

/// A kind of small file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Its name while it is written.
    pub(super) new_name: &'static str,
    pub(super) letters: [u8; 8],
}

/// Why a small file could not be read.
#[derive(Debug, Error)]
pub enum SmallFileError {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not there.
    #[error(
        "{} is not there\n  \
         it is made with the data directory and never removed, so somebody else did that\n  \
         {LOST}",
        path.display()
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error(
        "{} is damaged: {what}\n  \
         it was written whole and synced, so the disk, or somebody else, has changed it\n  \
         {LOST}",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It is whole, and of a version that this program does not know.
    #[error(
        "{} has format version {found}, and this program knows version {FORMAT_VERSION} only\n  \
         run the version of synod that wrote it, or a newer one",
        path.display()
    )]
    UnknownVersion {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// What is to be written is too long.
    #[error("{} would be longer than a small file may be: {error}", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// What the codec says.
        error: EncodeError,
    },
}

impl Kind {
    /// Reads the file.
    pub(super) fn read<T: DeserializeOwned>(&self, disk: &dyn Disk) -> Result<T, SmallFileError> {
        let path = || disk.path(self.name);
        let damaged = |what: String| SmallFileError::Damaged { path: path(), what };
        let opened =
            disk.check_is_file(self.name).and_then(|()| disk.open(self.name, Access::Read));
        let file = match opened {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
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

    /// Writes the file, or replaces it. After an error either content may be the one that is there.
    pub(super) fn write(
        &self,
        disk: &dyn Disk,
        content: &impl Serialize,
    ) -> Result<(), SmallFileError> {
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
        disk.sync_folder(ROOT).map_err(DiskError::at(disk, ROOT, "sync"))?;
        Ok(())
    }

    /// Removes what an interrupted [`write`](Self::write) has left.
    pub(super) fn remove_new(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        match disk.remove(self.new_name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(DiskError::at(disk, self.new_name, "remove")),
        }
    }
}

/// The number at `offset`; the caller has seen to it that it is there.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}
