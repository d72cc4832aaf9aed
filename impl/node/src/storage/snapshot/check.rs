//! Checking a snapshot file as its bytes come, from its beginning on, without anything else.
//!
//! A reader stops at the first flaw, because nothing behind it may be used. This check goes on, to say
//! everything that is wrong, and where. The chunks of one kind are full, but for the last one. So behind a
//! damaged chunk the next one is found where the damaged one says that it ends, or where a full one would.

use std::path::Path;

use synod_wire::ClusterId;
use thiserror::Error;

use super::error::{SnapshotError, SnapshotFlaw};
use super::format::{
    self, AROUND_CONTENT, BEFORE_CONTENT, CHUNK_BYTES_MAX, END_BYTES, End, HEADER_BYTES, Header,
    Kind, SnapshotFile, WholeChecksum,
};
use crate::storage::disk_error::Grouped;

/// How many flaws are told one by one. 100: a page or two for people. The others are counted.
const FLAWS_MAX: usize = 100;

const FULL_CHUNK: usize = AROUND_CONTENT + CHUNK_BYTES_MAX;

/// A snapshot file in which every checksum is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundSnapshot {
    /// The cluster whose snapshot it is.
    pub cluster_id: ClusterId,
    /// The name of this cluster.
    pub cluster_name: String,
    /// Its last slot, its length and its checksum.
    pub file: SnapshotFile,
    /// How many bytes of it are the application's.
    pub application_bytes: u64,
}

/// A place in a snapshot file where something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("at byte {}: {flaw}", Grouped(*offset))]
pub struct FlawFound {
    /// The byte where what is wrong begins.
    pub offset: u64,
    /// What is wrong.
    pub flaw: SnapshotFlaw,
}

/// Everything that is wrong with a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFlaws {
    /// The first of the flaws, in the order of the file.
    pub found: Vec<FlawFound>,
    /// How many there are besides.
    pub more: u64,
}

impl SnapshotFlaws {
    /// The first of them, as the error of the file at `path`.
    #[must_use]
    pub fn into_error(self, path: &Path) -> SnapshotError {
        let first = self.found.into_iter().next();
        let first = first.unwrap_or(FlawFound { offset: 0, flaw: SnapshotFlaw::CutOff });
        SnapshotError::Saved { path: path.to_owned(), offset: first.offset, flaw: first.flaw }
    }
}

/// Checks a snapshot file whose bytes come in pieces of any length. It keeps two chunks in memory.
#[derive(Debug)]
pub struct SnapshotCheck {
    buffer: Vec<u8>,
    /// How much of the buffer is checked.
    checked: usize,
    /// Where in the file the rest of it begins.
    at: u64,
    expects: Expects,
    kind: Option<Kind>,
    header: Option<Header>,
    end: Option<End>,
    checksum: WholeChecksum,
    application_bytes: u64,
    flaws: SnapshotFlaws,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Header,
    Chunk,
    /// A chunk, behind a damaged one: at the first of these distances at which one begins.
    ChunkBehindDamage([usize; 2]),
    Nothing,
    /// Anything: it cannot be checked.
    Unknown,
}

impl Default for SnapshotCheck {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            checked: 0,
            at: 0,
            expects: Expects::Header,
            kind: None,
            header: None,
            end: None,
            checksum: WholeChecksum::new(),
            application_bytes: 0,
            flaws: SnapshotFlaws { found: Vec::new(), more: 0 },
        }
    }
}

impl SnapshotCheck {
    /// Takes the next bytes of the file.
    pub fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while self.step(false) {}
        self.buffer.drain(..self.checked);
        self.checked = 0;
    }

    /// What has come and is not checked yet.
    fn rest(&self) -> &[u8] {
        &self.buffer[self.checked..]
    }

    /// The first flaw that is found up to now.
    #[must_use]
    pub fn first_flaw(&self) -> Option<&FlawFound> {
        self.flaws.found.first()
    }

    /// The file ends here.
    ///
    /// # Errors
    ///
    /// If anything is wrong with it.
    pub fn finish(mut self) -> Result<SoundSnapshot, SnapshotFlaws> {
        while self.step(true) {}
        match (self.header, self.end) {
            (Some(Header { cluster_id, cluster_name, slot }), Some(end))
                if self.flaws.found.is_empty() =>
            {
                let (file, application_bytes) = (end.file(slot), self.application_bytes);
                Ok(SoundSnapshot { cluster_id, cluster_name, file, application_bytes })
            }
            _ => Err(self.flaws),
        }
    }

    /// Checks the next part, if it has come. Returns whether there may be more to check.
    fn step(&mut self, is_last: bool) -> bool {
        match self.expects {
            Expects::Header => self.take_header(is_last),
            Expects::Chunk => self.take_chunk(is_last),
            Expects::ChunkBehindDamage(distances) => self.find_chunk(distances, is_last),
            Expects::Nothing => {
                let is_more = !self.rest().is_empty();
                if is_more {
                    self.note(self.at, SnapshotFlaw::BehindEnd);
                    self.expects = Expects::Unknown;
                }
                is_more
            }
            Expects::Unknown => {
                self.skip(self.rest().len());
                false
            }
        }
    }

    fn take_header(&mut self, is_last: bool) -> bool {
        let Some(bytes) = self.rest().first_chunk::<HEADER_BYTES>() else {
            return self.ends(is_last, SnapshotFlaw::CutOff);
        };
        match Header::read(bytes) {
            Ok(header) => self.header = Some(header),
            Err(flaw) => self.note(0, flaw),
        }
        self.skip(HEADER_BYTES);
        self.expects = Expects::Chunk;
        true
    }

    fn take_chunk(&mut self, is_last: bool) -> bool {
        let Some(bytes) = self.rest().first_chunk::<BEFORE_CONTENT>() else {
            return self.ends(is_last, SnapshotFlaw::CutOff);
        };
        let (kind, length) = match format::begin(*bytes) {
            Ok(begun) => begun,
            Err(flaw) => {
                self.note(self.at, flaw);
                self.expects = Expects::ChunkBehindDamage([FULL_CHUNK; 2]);
                return true;
            }
        };
        let chunk_bytes = AROUND_CONTENT + length;
        let Some(chunk) = self.rest().get(..chunk_bytes) else {
            if is_last && self.has_end_mark() {
                // It is the length that is wrong.
                self.note(self.at, SnapshotFlaw::NoChunk);
                self.expects = Expects::Unknown;
                return true;
            }
            return self.ends(is_last, SnapshotFlaw::CutOff);
        };
        if let Err(flaw) = format::check(chunk) {
            self.note(self.at, flaw);
            self.expects = Expects::ChunkBehindDamage([chunk_bytes, FULL_CHUNK]);
            return true;
        }
        let is_first = self.kind.is_none() && kind != Kind::Handle && self.flaws.found.is_empty();
        if is_first || self.kind.is_some_and(|before| kind < before) {
            self.note(self.at, SnapshotFlaw::ChunkOutOfPlace);
        }
        self.kind = Some(kind);
        self.expects = Expects::Chunk;
        if kind == Kind::End {
            self.take_end_mark();
        } else if kind == Kind::Application {
            self.application_bytes += length as u64;
        }
        self.skip(chunk_bytes);
        true
    }

    fn take_end_mark(&mut self) {
        self.expects = Expects::Nothing;
        match End::read(&self.rest()[BEFORE_CONTENT..END_BYTES], self.at) {
            // If something before is damaged, the whole is as well.
            Ok(end) if end.checksum != self.checksum.get() && self.flaws.found.is_empty() => {
                self.note(self.at, SnapshotFlaw::WholeChecksum);
            }
            Ok(end) => self.end = Some(end),
            Err(flaw) => self.note(self.at, flaw),
        }
    }

    fn find_chunk(&mut self, distances: [usize; 2], is_last: bool) -> bool {
        let [nearer, further] = distances;
        if !is_last && self.rest().len() < nearer.max(further) + BEFORE_CONTENT {
            return false;
        }
        let begins = |distance: &&usize| {
            let bytes = self.rest().get(**distance..).and_then(<[u8]>::first_chunk);
            bytes.is_some_and(|bytes| format::begin(*bytes).is_ok())
        };
        if let Some(distance) = distances.iter().find(begins).copied() {
            self.skip(distance);
            self.expects = Expects::Chunk;
            return true;
        }
        if self.rest().len() > further {
            self.note(self.at + further as u64, SnapshotFlaw::Unchecked);
        }
        self.expects = Expects::Unknown;
        true
    }

    /// Whether what has come ends with a sound end mark.
    fn has_end_mark(&self) -> bool {
        let from = self.rest().len().saturating_sub(END_BYTES);
        let mark = &self.rest()[from..];
        let begun = mark.first_chunk().map(|bytes| format::begin(*bytes));
        matches!(begun, Some(Ok((Kind::End, _))))
            && format::check(mark).is_ok()
            && End::read(&mark[BEFORE_CONTENT..], self.at + from as u64).is_ok()
    }

    /// What is expected has not come. If nothing more comes, that is a flaw.
    fn ends(&mut self, is_last: bool, flaw: SnapshotFlaw) -> bool {
        if is_last {
            self.note(self.at + self.rest().len() as u64, flaw);
            self.expects = Expects::Unknown;
        }
        is_last
    }

    fn skip(&mut self, count: usize) {
        let end = self.checked + count;
        self.checksum.add(&self.buffer[self.checked..end]);
        self.checked = end;
        self.at += count as u64;
    }

    fn note(&mut self, offset: u64, flaw: SnapshotFlaw) {
        if self.flaws.found.len() < FLAWS_MAX {
            self.flaws.found.push(FlawFound { offset, flaw });
        } else {
            self.flaws.more += 1;
        }
    }
}
