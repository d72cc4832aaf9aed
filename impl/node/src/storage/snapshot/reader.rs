//! Reading a snapshot file: chunk by chunk, each of them checked before anything of it is used.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use synod_model::{Slot, SnapshotHandle};
use synod_wire::ClusterId;
use synod_wire::codec::{self, DecodeError};

use super::error::{SnapshotError, SnapshotFlaw};
use super::format::{
    self, AROUND_CONTENT, BEFORE_CONTENT, END_BYTES, End, HANDLE_BYTES_MAX, HEADER_BYTES, Header,
    Kind, SnapshotFile, WholeChecksum,
};
use crate::disk::DiskFile;
use crate::storage::disk_error::DiskError;

/// Reads the application's bytes of a snapshot, with one chunk in memory.
///
/// Every chunk is checked before its bytes are returned. That the chunks are all there, and in their
/// order, is known only at the end. So whoever stops reading earlier calls
/// [`check_to_end`](Self::check_to_end) before anything relies on the state.
#[derive(Debug)]
pub struct SnapshotReader {
    chunks: Chunks,
    expected: SnapshotFile,
}

impl SnapshotReader {
    pub(super) fn new(chunks: Chunks, expected: SnapshotFile) -> Self {
        Self { chunks, expected }
    }

    /// Which snapshot it is.
    #[must_use]
    pub fn file(&self) -> SnapshotFile {
        self.expected
    }

    /// Reads what is left, and checks it. Returns how many of the application's bytes were left.
    ///
    /// # Errors
    ///
    /// If the file is damaged, or the disk refuses.
    pub fn check_to_end(mut self) -> Result<u64, SnapshotError> {
        self.chunks.skip_to_end()
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.chunks.read(Kind::Application, buffer)?)
    }
}

/// The chunks of a file, one after the other.
#[derive(Debug)]
pub(super) struct Chunks {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    length_bytes: u64,
    slot: Slot,
    checksum: WholeChecksum,
    /// The place of the next chunk.
    offset: u64,
    /// The kind of the present chunk; at first that of the one that must come.
    kind: Kind,
    /// All bytes of the present chunk.
    chunk: Vec<u8>,
    /// The part of its content that is not taken yet.
    left: std::ops::Range<usize>,
}

impl Chunks {
    /// The chunks of the snapshot of `slot`, whose header is checked.
    pub(super) fn new(
        path: PathBuf,
        file: Box<dyn DiskFile>,
        cluster_id: &ClusterId,
        slot: Slot,
    ) -> Result<Self, SnapshotError> {
        let (header, chunks) = Self::of_any(path, file)?;
        header.check(cluster_id, slot).map_err(|flaw| chunks.flawed(0, flaw))?;
        Ok(chunks)
    }

    /// The chunks of whatever snapshot it is, and its header.
    pub(super) fn of_any(
        path: PathBuf,
        file: Box<dyn DiskFile>,
    ) -> Result<(Header, Self), SnapshotError> {
        let length_bytes = file.length_bytes().map_err(unreadable(&path, "read"))?;
        let mut chunks = Self {
            path,
            file,
            length_bytes,
            slot: Slot::ZERO,
            checksum: WholeChecksum::new(),
            offset: 0,
            kind: Kind::Handle,
            chunk: Vec::new(),
            left: 0..0,
        };
        let mut bytes = [0; HEADER_BYTES];
        chunks.fill(&mut bytes, 0)?;
        let header = Header::read(&bytes).map_err(|flaw| chunks.flawed(0, flaw))?;
        chunks.slot = header.slot;
        chunks.checksum.add(&bytes);
        chunks.offset = HEADER_BYTES as u64;
        Ok((header, chunks))
    }

    /// Decodes the handle, whose chunks come first.
    pub(super) fn handle(&mut self) -> Result<SnapshotHandle, SnapshotError> {
        let from = self.offset;
        let mut bytes = HandleBytes { chunks: self, count: 0 };
        let decoded = codec::decode_from::<SnapshotHandle>(&mut bytes);
        let handle = decoded.map_err(|error| self.undecoded(from, error))?;
        // Nothing of the application's bytes is read for that.
        if !self.left.is_empty() || self.next_kind()?.0 == Kind::Handle {
            return Err(self.flawed(from, SnapshotFlaw::Handle(DecodeError::BytesLeft(1))));
        }
        if handle.slot != self.slot {
            let found = handle.slot;
            return Err(self.flawed(from, SnapshotFlaw::HandleOfOtherSlot { found }));
        }
        Ok(handle)
    }

    fn undecoded(&self, from: u64, error: io::Error) -> SnapshotError {
        let error = match error.downcast::<SnapshotError>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        let error = error.downcast::<DecodeError>();
        self.flawed(
            from,
            SnapshotFlaw::Handle(error.unwrap_or_else(|error| {
                // The bytes of the handle have ended.
                DecodeError::Impossible(error.to_string())
            })),
        )
    }

    /// Reads the end mark, and nothing before it. Checks that this is the file that was named.
    pub(super) fn check_end(&self, expected: SnapshotFile) -> Result<(), SnapshotError> {
        let found = self.end()?.file(self.slot);
        if found == expected {
            return Ok(());
        }
        Err(self.flawed(self.length_bytes, SnapshotFlaw::OtherFile))
    }

    /// What the end mark says, at the end of the file.
    pub(super) fn end(&self) -> Result<End, SnapshotError> {
        let before = self.length_bytes.checked_sub(END_BYTES as u64);
        let before = before.ok_or_else(|| self.flawed(self.length_bytes, SnapshotFlaw::CutOff))?;
        let mut bytes = [0; END_BYTES];
        self.fill(&mut bytes, before)?;
        let end = bytes.first_chunk().map_or(Err(SnapshotFlaw::CutOff), |it| format::begin(*it));
        let checked = match end {
            Ok((Kind::End, _)) => {
                format::check(&bytes).and_then(|()| End::read(&bytes[BEFORE_CONTENT..], before))
            }
            _ => Err(SnapshotFlaw::CutOff),
        };
        checked.map_err(|flaw| self.flawed(before, flaw))
    }

    /// Reads everything that is left. Returns how many of the application's bytes that were.
    pub(super) fn skip_to_end(&mut self) -> Result<u64, SnapshotError> {
        let mut count = 0;
        while self.kind < Kind::End {
            count += self.left.len() as u64;
            self.next()?;
        }
        Ok(count)
    }

    /// Reads and checks as much as there is of a file that may be a part of one. Returns up to where it is sound.
    pub(super) fn sound_bytes(&mut self) -> Result<u64, SnapshotError> {
        while self.kind < Kind::End {
            match self.next() {
                Ok(()) => {}
                Err(SnapshotError::Damaged { .. }) if self.kind < Kind::End => break,
                Err(error) => return Err(error),
            }
        }
        Ok(self.offset)
    }

    /// Takes the next bytes of this kind. None if there are no more.
    pub(super) fn read(&mut self, kind: Kind, buffer: &mut [u8]) -> Result<usize, SnapshotError> {
        while self.left.is_empty() && self.kind <= kind && self.kind < Kind::End {
            self.next()?;
        }
        if self.kind != kind {
            return Ok(0);
        }
        let content = self.chunk.get(self.left.clone()).unwrap_or_default();
        let count = content.len().min(buffer.len());
        buffer[..count].copy_from_slice(&content[..count]);
        self.left.start += count;
        Ok(count)
    }

    /// Reads and checks the next chunk. At the end mark, checks the whole file.
    fn next(&mut self) -> Result<(), SnapshotError> {
        let offset = self.offset;
        let (kind, length) = self.next_kind()?;
        let is_first = offset == HEADER_BYTES as u64;
        if kind < self.kind || is_first && kind != Kind::Handle {
            return Err(self.flawed(offset, SnapshotFlaw::ChunkOutOfPlace));
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.resize(AROUND_CONTENT + length, 0);
        let filled = self.fill(&mut chunk, offset);
        self.chunk = chunk;
        filled?;
        format::check(&self.chunk).map_err(|flaw| self.flawed(offset, flaw))?;
        self.kind = kind;
        self.left = BEFORE_CONTENT..BEFORE_CONTENT + length;
        self.offset += self.chunk.len() as u64;
        if kind < Kind::End {
            self.checksum.add(&self.chunk);
            return Ok(());
        }
        self.left = 0..0;
        let end = End::read(&self.chunk[BEFORE_CONTENT..], offset);
        let end = end.map_err(|flaw| self.flawed(offset, flaw))?;
        if end.checksum != self.checksum.get() {
            return Err(self.flawed(offset, SnapshotFlaw::WholeChecksum));
        }
        if self.offset < self.length_bytes {
            return Err(self.flawed(self.offset, SnapshotFlaw::BehindEnd));
        }
        Ok(())
    }

    /// The kind of the next chunk, and the length of its content.
    fn next_kind(&self) -> Result<(Kind, usize), SnapshotError> {
        let mut before = [0; BEFORE_CONTENT];
        self.fill(&mut before, self.offset)?;
        format::begin(before).map_err(|flaw| self.flawed(self.offset, flaw))
    }

    /// Fills `buffer` with the bytes at `offset`.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), SnapshotError> {
        let left = self.length_bytes.saturating_sub(offset);
        if (buffer.len() as u64) > left {
            return Err(self.flawed(self.length_bytes, SnapshotFlaw::CutOff));
        }
        self.file.read_at(buffer, offset).map_err(unreadable(&self.path, "read"))
    }

    pub(super) fn flawed(&self, offset: u64, flaw: SnapshotFlaw) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), offset, flaw }
    }

    pub(super) fn into_file(self) -> (PathBuf, Box<dyn DiskFile>) {
        (self.path, self.file)
    }
}

/// The bytes of the handle, which are bounded.
struct HandleBytes<'a> {
    chunks: &'a mut Chunks,
    count: u64,
}

impl Read for HandleBytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.chunks.read(Kind::Handle, buffer)?;
        self.count += count as u64;
        if self.count > HANDLE_BYTES_MAX {
            let offset = self.chunks.offset;
            return Err(self.chunks.flawed(offset, SnapshotFlaw::HandleTooLong).into());
        }
        Ok(count)
    }
}

/// For `map_err`: reading the file has failed.
pub(super) fn unreadable(
    path: &Path,
    doing: &'static str,
) -> impl FnOnce(io::Error) -> SnapshotError {
    move |error| SnapshotError::Read(DiskError { doing, path: path.to_owned(), error })
}
