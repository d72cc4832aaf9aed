//! Reading segments: telling batches, blanks and anything else apart.

use synod_model::Incarnation;

use super::batch::{BLOCK, BLOCK_BYTES, Flaw, HEADER_BYTES, Header, NoHeader};
use super::disk_error::DiskError;
use super::segment::segment_name;
use crate::disk::{Access, Disk, DiskFile};

/// How much is read at once, unless a batch is longer. 1 MiB: reading more at once is no faster.
const READ_BYTES: u64 = 1 << 20;

const BLANK: [u8; BLOCK] = [0; BLOCK];

/// Reads one segment after another through one buffer.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    disk: &'a dyn Disk,
    name: String,
    file: Box<dyn DiskFile>,
    pub(super) segment: u32,
    pub(super) length_bytes: u64,
    window: Vec<u8>,
    window_offset: u64,
}

/// What the next batch must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) incarnation: Incarnation,
    pub(super) number: u64,
    pub(super) previous_checksum: u32,
    pub(super) payload_bytes_max: u64,
}

/// What is behind the last sound batch of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    /// The first byte that is not zero.
    pub(super) first_byte: Option<u64>,
    /// The last byte that is not zero.
    pub(super) last_byte: Option<u64>,
    /// The first wanted header at a block boundary.
    pub(super) later: Option<(u64, Header)>,
}

impl<'a> Scanner<'a> {
    pub(super) fn open(disk: &'a dyn Disk, segment: u32) -> Result<Self, DiskError> {
        let (name, file, length_bytes) = open(disk, segment)?;
        Ok(Self { disk, name, file, segment, length_bytes, window: Vec::new(), window_offset: 0 })
    }

    /// Goes on with another segment.
    pub(super) fn switch(&mut self, segment: u32) -> Result<(), DiskError> {
        (self.name, self.file, self.length_bytes) = open(self.disk, segment)?;
        self.segment = segment;
        self.window.clear();
        self.window_offset = 0;
        Ok(())
    }

    /// The sound batch at `offset`, with all of its bytes, whatever batch it is. It must end before
    /// `end`, and nothing beyond `end` is read.
    pub(super) fn any_batch(
        &mut self,
        offset: u64,
        end: u64,
    ) -> Result<Result<(Header, &[u8]), Flaw>, DiskError> {
        let end = end.min(self.length_bytes);
        let header = match Header::read(self.bytes(offset, HEADER_BYTES as u64, end)?) {
            Ok(header) => header,
            Err(no_header) => return Ok(Err(Flaw::NoHeader(no_header))),
        };
        if header.span_bytes() > end.saturating_sub(offset) {
            return Ok(Err(Flaw::TooLong(header.payload_bytes.into())));
        }
        let span = self.bytes(offset, header.span_bytes(), end)?;
        Ok(header.payload(span).map(|_| (header, span)))
    }

    /// The batch at `offset`, with all of its bytes, if it is sound and expected. Otherwise why it is
    /// not, and how much of the segment it claims.
    pub(super) fn batch(
        &mut self,
        offset: u64,
        expected: &Expected,
    ) -> Result<Result<(Header, &[u8]), NotNext>, DiskError> {
        let end = self.length_bytes;
        let header = match Header::read(self.bytes(offset, HEADER_BYTES as u64, end)?) {
            Ok(header) => header,
            Err(no_header) => return Ok(Err(NotNext::from(Flaw::NoHeader(no_header)))),
        };
        if let Err(flaw) = self.check(offset, &header, expected) {
            return Ok(Err(NotNext::from(flaw)));
        }
        let span = self.bytes(offset, header.span_bytes(), end)?;
        let claims_bytes = Some(header.span_bytes());
        Ok(match header.payload(span) {
            Ok(_) => Ok((header, span)),
            Err(flaw) => Err(NotNext { flaw, claims_bytes }),
        })
    }

    fn check(&self, offset: u64, header: &Header, expected: &Expected) -> Result<(), Flaw> {
        if header.incarnation != expected.incarnation {
            return Err(Flaw::Foreign { found: header.incarnation });
        }
        if header.segment != self.segment {
            return Err(Flaw::OtherSegment { found: header.segment });
        }
        if header.number != expected.number {
            let (found, expected) = (header.number, expected.number);
            return Err(Flaw::OutOfOrder { found, expected });
        }
        if header.previous_checksum != expected.previous_checksum {
            return Err(Flaw::OtherPredecessor);
        }
        let payload_bytes = u64::from(header.payload_bytes);
        if payload_bytes > expected.payload_bytes_max
            || header.span_bytes() > self.length_bytes - offset
        {
            return Err(Flaw::TooLong(payload_bytes));
        }
        Ok(())
    }

    /// Searches everything from `offset` on, which is a block boundary, for anything that is written
    /// and for the first header that is `wanted`.
    pub(super) fn rest(
        &mut self,
        offset: u64,
        wanted: impl Fn(u64, &Header) -> bool,
    ) -> Result<Rest, DiskError> {
        let mut rest = Rest::default();
        let mut at = offset;
        let end = self.length_bytes;
        while at < end {
            let block_bytes = BLOCK_BYTES.min(end - at);
            let block = self.bytes(at, block_bytes, end)?;
            // Nearly all of it is zeros, and a comparison is the fastest way to find out.
            let is_blank = *block == BLANK[..block.len()];
            if !is_blank && let Some(first) = block.iter().position(|byte| *byte != 0) {
                let last = block.iter().rposition(|byte| *byte != 0).unwrap_or(first);
                rest.first_byte.get_or_insert(at + first as u64);
                rest.last_byte = Some(at + last as u64);
                if let Ok(header) = Header::read(block)
                    && rest.later.is_none()
                    && wanted(at, &header)
                {
                    rest.later = Some((at, header));
                }
            }
            at += block_bytes;
        }
        Ok(rest)
    }

    /// Whether nothing is written from `offset` on.
    pub(super) fn is_blank_from(&mut self, offset: u64) -> Result<bool, DiskError> {
        let end = self.length_bytes;
        for at in (offset..end).step_by(BLOCK) {
            let block = self.bytes(at, BLOCK_BYTES, end)?;
            if *block != BLANK[..block.len()] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The place of the first `wanted` header from `offset` on.
    pub(super) fn next_header(
        &mut self,
        offset: u64,
        wanted: impl Fn(&Header) -> bool,
    ) -> Result<Option<u64>, DiskError> {
        let end = self.length_bytes;
        for at in (offset..end).step_by(BLOCK) {
            if Header::read(self.bytes(at, BLOCK_BYTES, end)?).is_ok_and(|it| wanted(&it)) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// The `length` bytes at `offset`, or as many as there are before `end`. It reads ahead, because the
    /// next bytes are usually asked for next, but not beyond `end`.
    fn bytes(&mut self, offset: u64, length: u64, end: u64) -> Result<&[u8], DiskError> {
        let left = end.min(self.length_bytes).saturating_sub(offset);
        let length = length.min(left);
        let window_end = self.window_offset + self.window.len() as u64;
        if offset < self.window_offset || offset + length > window_end {
            self.window.resize(usize_of(length.max(READ_BYTES).min(left)), 0);
            self.window_offset = offset;
            if let Err(error) = self.file.read_at(&mut self.window, offset) {
                self.window.clear();
                return Err(DiskError::at(self.disk, &self.name, "read")(error));
            }
        }
        let from = usize_of(offset - self.window_offset);
        Ok(&self.window[from..from + usize_of(length)])
    }
}

/// Why a place does not hold the next batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotNext {
    pub(super) flaw: Flaw,
    /// How much of the segment its header claims, if the header is sound and expected.
    pub(super) claims_bytes: Option<u64>,
}

impl NotNext {
    /// Whether an interrupted write can have left this. Such a write leaves in each sector the old
    /// content, zeros, or the new content. A header lies within one sector, so it is whole or absent.
    pub(super) fn may_be_interrupted(&self) -> bool {
        matches!(self.flaw, Flaw::Checksum | Flaw::NoHeader(NoHeader::Blank | NoHeader::Damaged))
    }
}

impl From<Flaw> for NotNext {
    fn from(flaw: Flaw) -> Self {
        Self { flaw, claims_bytes: None }
    }
}

fn open(disk: &dyn Disk, segment: u32) -> Result<(String, Box<dyn DiskFile>, u64), DiskError> {
    let name = segment_name(segment);
    let file = disk.open(&name, Access::Read).map_err(DiskError::at(disk, &name, "open"))?;
    let length_bytes = file.length_bytes().map_err(DiskError::at(disk, &name, "read"))?;
    Ok((name, file, length_bytes))
}

/// The length of something in the window, which is in memory.
fn usize_of(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
