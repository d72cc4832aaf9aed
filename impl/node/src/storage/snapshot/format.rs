//! The format of a snapshot file.
//!
//! ```text
//! offset  bytes
//!      0      8  the letters "SYNODsnp"
//!      8      4  version of the format
//!     12     32  the cluster's id
//!     44      8  the last slot that the snapshot includes
//!     52      8  zeros: room for the revision of a database
//!     60     64  the cluster's name, and zeros behind it
//!    124      4  checksum of the 124 bytes before
//!    128         chunks, one behind the other:
//!             4    kind: 1 for the handle, 2 for the bytes of the application, 3 for the end
//!             4    n, the length of the content: 1 to 65,536
//!             n    the content
//!             4    checksum of kind, length and content
//! ```
//!
//! Numbers are little-endian, and checksums are CRC-32C. The chunks of the handle come first. Together
//! they hold the [`SnapshotHandle`](synod_model::SnapshotHandle) in bincode. The chunks of the
//! application follow. All chunks of one kind but the last are full, so the same content always gives the
//! same file. The last chunk is the end mark. Its content is the length of everything before it, and the
//! XXH3 of everything before it, 8 bytes each. A file without its end mark was cut off.

use serde::{Deserialize, Serialize};
use synod_model::Slot;
use synod_wire::ClusterId;
use twox_hash::XxHash3_64;

use super::error::SnapshotFlaw;
use crate::identity::CLUSTER_NAME_BYTES_MAX;
use crate::storage::small_file::FORMAT_VERSION;

/// The longest encoding of a handle: 1 GiB. The request table takes most of it. Under the default limits
/// it has at most 65,536 sessions of 1,024 requests, at some ten bytes each.
pub const HANDLE_BYTES_MAX: u64 = 1 << 30;

pub(super) const LETTERS: [u8; 8] = *b"SYNODsnp";
pub(super) const HEADER_BYTES: usize = 128;
/// Where the name of the cluster begins.
const NAME_AT: usize = 60;
/// Where the checksum of the header is.
const HEADER_CHECKSUM_AT: usize = HEADER_BYTES - 4;
/// The longest content of a chunk: 64 KiB, which a writer or a reader holds in memory.
pub(super) const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Kind and length of a chunk, before its content.
pub(super) const BEFORE_CONTENT: usize = 8;
/// Kind, length and checksum of a chunk.
pub(super) const AROUND_CONTENT: usize = BEFORE_CONTENT + 4;
const END_CONTENT: usize = 16;
/// The length of the end mark.
pub(super) const END_BYTES: usize = AROUND_CONTENT + END_CONTENT;

/// A snapshot file, as a record in the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// The last slot that the snapshot includes.
    pub slot: Slot,
    /// The length of the file.
    pub length_bytes: u64,
    /// The XXH3 of all that is before the end mark.
    pub checksum: u64,
}

/// What a chunk holds. The kinds follow each other in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Handle = 1,
    Application = 2,
    End = 3,
}

/// What the header of a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cluster_id: ClusterId,
    pub(super) cluster_name: String,
    pub(super) slot: Slot,
}

impl Header {
    pub(super) fn bytes(&self) -> [u8; HEADER_BYTES] {
        let Self { cluster_id, cluster_name, slot } = self;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&LETTERS);
        header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        header[12..44].copy_from_slice(&cluster_id.0);
        header[44..52].copy_from_slice(&slot.0.to_le_bytes());
        // An identity has no longer name.
        let name = cluster_name.as_bytes();
        let name = &name[..name.len().min(CLUSTER_NAME_BYTES_MAX)];
        header[NAME_AT..NAME_AT + name.len()].copy_from_slice(name);
        let checksum = crc32c::crc32c(&header[..HEADER_CHECKSUM_AT]);
        header[HEADER_CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    pub(super) fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Self, SnapshotFlaw> {
        let checksum = crc32c::crc32c(&bytes[..HEADER_CHECKSUM_AT]);
        if bytes[..8] != LETTERS || number_at(bytes, HEADER_CHECKSUM_AT) != checksum {
            return Err(SnapshotFlaw::NoHeader);
        }
        let found = number_at(bytes, 8);
        if found != FORMAT_VERSION {
            return Err(SnapshotFlaw::UnknownVersion { found });
        }
        let mut cluster_id = ClusterId([0; 32]);
        cluster_id.0.copy_from_slice(&bytes[12..44]);
        let name = &bytes[NAME_AT..HEADER_CHECKSUM_AT];
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let cluster_name = std::str::from_utf8(name).map_err(|_| SnapshotFlaw::NoHeader)?;
        let slot = Slot(long_at(bytes, 44));
        let header = Self { cluster_id, cluster_name: cluster_name.to_owned(), slot };
        if header.bytes() == *bytes { Ok(header) } else { Err(SnapshotFlaw::NoHeader) }
    }

    /// Checks that it is that of a snapshot of `slot`.
    pub(super) fn check(&self, cluster_id: &ClusterId, slot: Slot) -> Result<(), SnapshotFlaw> {
        if self.cluster_id != *cluster_id {
            return Err(SnapshotFlaw::OtherCluster);
        }
        let found = self.slot;
        if found == slot { Ok(()) } else { Err(SnapshotFlaw::OtherSlot { found }) }
    }
}

/// Fills in what is around the content of a chunk. `chunk` has room for kind and length, and then the
/// content, of at most [`CHUNK_BYTES_MAX`].
pub(super) fn seal(kind: Kind, chunk: &mut Vec<u8>) {
    let length = chunk.len().saturating_sub(BEFORE_CONTENT);
    // The caller ensures that it fits.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    chunk[..4].copy_from_slice(&(kind as u32).to_le_bytes());
    chunk[4..8].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(chunk);
    chunk.extend_from_slice(&checksum.to_le_bytes());
}

/// The kind of a chunk and the length of its content, from its first bytes.
pub(super) fn begin(bytes: [u8; BEFORE_CONTENT]) -> Result<(Kind, usize), SnapshotFlaw> {
    let kind = match number_at(&bytes, 0) {
        1 => Kind::Handle,
        2 => Kind::Application,
        3 => Kind::End,
        _ => return Err(SnapshotFlaw::NoChunk),
    };
    match usize::try_from(number_at(&bytes, 4)) {
        Ok(END_CONTENT) if kind == Kind::End => Ok((kind, END_CONTENT)),
        Ok(length) if kind != Kind::End && (1..=CHUNK_BYTES_MAX).contains(&length) => {
            Ok((kind, length))
        }
        _ => Err(SnapshotFlaw::NoChunk),
    }
}

/// Checks a chunk: all of its bytes.
pub(super) fn check(chunk: &[u8]) -> Result<(), SnapshotFlaw> {
    let at = chunk.len().saturating_sub(4);
    let is_sound = number_at(chunk, at) == crc32c::crc32c(&chunk[..at]);
    if is_sound { Ok(()) } else { Err(SnapshotFlaw::Checksum { chunk_bytes: chunk.len() }) }
}

/// What the end mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The length of everything before it.
    pub(super) before_bytes: u64,
    /// The checksum of everything before it.
    pub(super) checksum: u64,
}

impl End {
    /// All bytes of the end mark.
    pub(super) fn bytes(self) -> Vec<u8> {
        let mut chunk = vec![0; BEFORE_CONTENT];
        chunk.extend_from_slice(&self.before_bytes.to_le_bytes());
        chunk.extend_from_slice(&self.checksum.to_le_bytes());
        seal(Kind::End, &mut chunk);
        chunk
    }

    /// The content of an end mark that lies at `offset`.
    pub(super) fn read(content: &[u8], offset: u64) -> Result<Self, SnapshotFlaw> {
        let end = Self { before_bytes: long_at(content, 0), checksum: long_at(content, 8) };
        if end.before_bytes == offset { Ok(end) } else { Err(SnapshotFlaw::OtherLength) }
    }

    /// The file that has this end mark.
    pub(super) fn file(self, slot: Slot) -> SnapshotFile {
        let length_bytes = self.before_bytes.saturating_add(END_BYTES as u64);
        SnapshotFile { slot, length_bytes, checksum: self.checksum }
    }
}

/// The checksum of everything before the end mark, in the making.
pub(super) struct WholeChecksum(XxHash3_64);

impl WholeChecksum {
    pub(super) fn new() -> Self {
        Self(XxHash3_64::new())
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        std::hash::Hasher::write(&mut self.0, bytes);
    }

    pub(super) fn get(&self) -> u64 {
        std::hash::Hasher::finish(&self.0)
    }
}

/// Without the state, which is long.
impl std::fmt::Debug for WholeChecksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WholeChecksum({:016x})", self.get())
    }
}

/// The number of four bytes at `at`; zeros stand for what `bytes` lack.
fn number_at(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The same of eight bytes.
fn long_at(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
