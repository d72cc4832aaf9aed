//! A batch: the records that one write and one sync make durable together.
//!
//! A batch begins on a block boundary and fills whole blocks. If two batches shared a block, one crash
//! could damage both. A batch is a header, its records, and zeros up to the end of its last block.
//!
//! ```text
//! offset  bytes
//!      0      8  the letters "SYNODbat"
//!      8      4  version of the format
//!     12      4  number of the segment that the batch is in
//!     16      8  number of the batch; the first of a log has 1
//!     24     16  incarnation of the replica
//!     40      4  n, the length of the records
//!     44      4  checksum of the header of the batch before; 0 if there is none
//!     48      4  checksum of the records and the zeros after them
//!     52      8  zeros
//!     60      4  checksum of the 60 bytes before
//!     64      n  the records, in bincode, one after the other
//!   64+n         zeros up to the next multiple of 4,096
//! ```
//!
//! Numbers are little-endian, and checksums are CRC-32C. The header has a checksum of its own, so a
//! reader recognizes it wherever it is found. It holds the checksum of the records and that of the
//! header before, so its own checksum covers the whole log up to the end of its batch.

use synod_model::Incarnation;
use thiserror::Error;

use super::disk_error::Grouped;
use super::small_file::FORMAT_VERSION;

/// The unit that batches begin on and consist of. A disk that writes pages of 4 KiB, as nearly all do,
/// never touches one batch to write another.
pub const BLOCK_BYTES: u64 = BLOCK as u64;

/// [`BLOCK_BYTES`], for lengths in memory.
pub(super) const BLOCK: usize = 4096;

/// The length of a header.
pub(super) const HEADER_BYTES: usize = 64;

const LETTERS: [u8; 8] = *b"SYNODbat";

/// How many bytes of a segment a batch with `payload_bytes` of records takes.
pub(super) fn span_bytes(payload_bytes: u64) -> u64 {
    payload_bytes.saturating_add(HEADER_BYTES as u64).next_multiple_of(BLOCK_BYTES)
}

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The segment that the batch is in.
    pub segment: u32,
    /// The number of the batch.
    pub number: u64,
    /// The replica that wrote it.
    pub incarnation: Incarnation,
    /// The length of its records.
    pub payload_bytes: u32,
    /// The checksum of the header before.
    pub previous_checksum: u32,
    /// The checksum of the records and the zeros after them.
    pub payload_checksum: u32,
    /// The checksum of this header.
    pub checksum: u32,
}

/// Why a place holds no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoHeader {
    /// Nothing was written there.
    #[error("nothing is written there")]
    Blank,
    /// Something is there, and it is not a header.
    #[error("its header fails its checksum")]
    Damaged,
    /// It is a header of an unknown format.
    #[error("its format version is {found}, and this program knows version {FORMAT_VERSION} only")]
    UnknownVersion {
        /// The version in the header.
        found: u32,
    },
}

impl Header {
    /// Reads a header from the beginning of `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, NoHeader> {
        let Some((bytes, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(NoHeader::Damaged);
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(NoHeader::Blank);
        }
        let mut fields = Fields(bytes);
        let letters: [u8; 8] = fields.take();
        let version = u32::from_le_bytes(fields.take());
        let segment = u32::from_le_bytes(fields.take());
        let number = u64::from_le_bytes(fields.take());
        let incarnation = Incarnation(u128::from_le_bytes(fields.take()));
        let payload_bytes = u32::from_le_bytes(fields.take());
        let previous_checksum = u32::from_le_bytes(fields.take());
        let payload_checksum = u32::from_le_bytes(fields.take());
        let zeros: [u8; 8] = fields.take();
        let checksum = u32::from_le_bytes(fields.take());
        if letters != LETTERS || checksum != crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) {
            return Err(NoHeader::Damaged);
        }
        if version != FORMAT_VERSION {
            return Err(NoHeader::UnknownVersion { found: version });
        }
        if zeros != [0; 8] {
            return Err(NoHeader::Damaged);
        }
        Ok(Self {
            segment,
            number,
            incarnation,
            payload_bytes,
            previous_checksum,
            payload_checksum,
            checksum,
        })
    }

    /// How many bytes of the segment the batch takes.
    pub(super) fn span_bytes(&self) -> u64 {
        span_bytes(self.payload_bytes.into())
    }

    /// The records, if the batch is sound. `span` holds all bytes of the batch.
    pub(super) fn payload<'a>(&self, span: &'a [u8]) -> Result<&'a [u8], Flaw> {
        let body = span.get(HEADER_BYTES..).unwrap_or_default();
        if crc32c::crc32c(body) != self.payload_checksum {
            return Err(Flaw::Checksum);
        }
        body.get(..self.payload_bytes as usize).ok_or(Flaw::Checksum)
    }
}

/// Makes a batch of `buffer`, which holds room for a header and then the records. Pads the buffer,
/// fills in the header, and returns it.
pub(super) fn seal(
    buffer: &mut Vec<u8>,
    segment: u32,
    number: u64,
    incarnation: Incarnation,
    previous_checksum: u32,
) -> Header {
    let payload_bytes = buffer.len().saturating_sub(HEADER_BYTES);
    buffer.resize(buffer.len().next_multiple_of(BLOCK), 0);
    let payload_checksum = crc32c::crc32c(&buffer[HEADER_BYTES..]);
    // The limits of a log ensure that it fits.
    let payload_bytes = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&LETTERS);
    header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    header.extend_from_slice(&segment.to_le_bytes());
    header.extend_from_slice(&number.to_le_bytes());
    header.extend_from_slice(&incarnation.0.to_le_bytes());
    header.extend_from_slice(&payload_bytes.to_le_bytes());
    header.extend_from_slice(&previous_checksum.to_le_bytes());
    header.extend_from_slice(&payload_checksum.to_le_bytes());
    header.extend_from_slice(&[0; 8]);
    let checksum = crc32c::crc32c(&header);
    header.extend_from_slice(&checksum.to_le_bytes());
    buffer[..HEADER_BYTES].copy_from_slice(&header);
    Header {
        segment,
        number,
        incarnation,
        payload_bytes,
        previous_checksum,
        payload_checksum,
        checksum,
    }
}

/// What is wrong with a batch, or with what should be one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    /// There is no header.
    #[error("{0}")]
    NoHeader(NoHeader),
    /// The records are not those that were written.
    #[error("its records fail their checksum")]
    Checksum,
    /// Another replica wrote it, or this one did before its data directory was made anew.
    #[error("it was written by incarnation {found}, which is not that of this data directory")]
    Foreign {
        /// The incarnation of the writer.
        found: Incarnation,
    },
    /// It belongs in another segment.
    #[error("it was written to segment {found}")]
    OtherSegment {
        /// The number of that segment.
        found: u32,
    },
    /// It is not the batch that comes next.
    #[error("it has number {found}, and {expected} comes next")]
    OutOfOrder {
        /// Its number.
        found: u64,
        /// The number that comes next.
        expected: u64,
    },
    /// It follows a different batch than the one before it.
    #[error("it was not written after the batch that is before it")]
    OtherPredecessor,
    /// Its header claims more records than a batch can have.
    #[error("it claims to have {} bytes of records, which is more than there can be", Grouped(*.0))]
    TooLong(u64),
    /// It is sound, and holds something that is not a record.
    #[error("it is sound, and holds something that is not a record: {0}")]
    NoRecord(synod_wire::codec::DecodeError),
    /// It was durable, and is not there.
    #[error("batch {number} is not there, and the file `base` says that it was durable")]
    Lost {
        /// The number of the first batch that is not there.
        number: u64,
    },
    /// It is in a place where nothing should be.
    #[error("something is written there, where nothing should be")]
    NotBlank,
}

/// The fields of a header, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        if let Some((found, rest)) = self.0.split_first_chunk() {
            field = *found;
            self.0 = rest;
        }
        field
    }
}
