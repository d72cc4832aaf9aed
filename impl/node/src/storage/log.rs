//! The log: appending records, with one write and one sync for each batch.

use std::sync::Arc;

use synod_model::{Content, Incarnation, Record};
use synod_wire::Value;
use synod_wire::codec::EncodeError;
use thiserror::Error;

use super::batch::{self, HEADER_BYTES, Header};
use super::contents::{BatchContents, Contents};
use super::cutter::Cutter;
use super::directory::DataDirectory;
use super::disk_error::DiskError;
use super::log_limits::LogLimits;
use super::reader::LogReader;
use super::recover::Files;
use super::recover_error::RecoverError;
use super::segment::{Place, Preparation, Spare, segment_name};
use super::snapshot::SnapshotFolder;
use super::stored_record::encode;
use super::survey::{Interrupted, Survey};
use super::unread::UnreadLog;
use crate::disk::{Disk, DiskFile, DiskLock};

/// The log of a replica. One thread appends to it, and may wait for the disk.
///
/// - [`recover`](Self::recover) comes first. It hands out every record in the log, in order, and
///   nothing that is not durable.
/// - [`append`](Self::append) follows, any number of times.
/// - [`reader`](Self::reader) reads single slots at any time, on another thread.
///
/// After an append has failed, it is unknown what is on the disk, and every further append fails. Only
/// [`recover`](Self::recover) in another process finds out.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    /// These two before `_lock`, because fields are dropped in this order.
    spare: Spare,
    cutter: Cutter,
    _lock: Arc<dyn DiskLock>,
    incarnation: Incarnation,
    limits: LogLimits,
    preparation: Preparation,
    /// The segment for the next batch, if the batch fits.
    file: Box<dyn DiskFile>,
    end: Place,
    next_number: u64,
    previous_checksum: u32,
    /// Holds one batch at a time. It is kept for its memory.
    buffer: Vec<u8>,
    contents: Contents,
    snapshots: SnapshotFolder,
    has_failed: bool,
    recovered: Recovered,
    fdatasyncs: u64,
    bytes_written: u64,
}

/// The length of a log, and what this process has written to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSize {
    /// How many bytes it takes, without the zeros that were written ahead of use. Segments that are not
    /// needed any more count until they are removed.
    pub log_bytes: u64,
    /// How many segments that are.
    pub segments: u64,
    /// How many bytes were appended behind the record of the newest snapshot, in this run or before; all of
    /// the log if there is no snapshot.
    pub bytes_since_snapshot: u64,
    /// How many bytes were appended since it was recovered.
    pub bytes_written: u64,
    /// How many syncs that took.
    pub fdatasyncs: u64,
}

/// What a recovery has found, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How many records the log has.
    pub records: u64,
    /// How many batches it has.
    pub batches: u64,
    /// What an interrupted write had left. It was overwritten with zeros.
    pub interrupted: Option<Interrupted>,
}

impl Log {
    /// Recovers the log of `directory`, which is [`UnreadLog`] in one step. Hands every record to
    /// `on_record`, in order.
    ///
    /// # Errors
    ///
    /// As [`UnreadLog::of`] and [`UnreadLog::read`].
    pub fn recover<F, E>(
        directory: &DataDirectory,
        preparation: Preparation,
        on_record: F,
    ) -> Result<Self, RecoverError>
    where
        F: FnMut(Record<Value>) -> Result<(), E>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        UnreadLog::of(directory)?.read(preparation, |_, _| {}, on_record)
    }

    /// The log of `directory`, which ends where `survey` says.
    pub(super) fn new(
        directory: &DataDirectory,
        preparation: Preparation,
        contents: Contents,
        recovered: Recovered,
        files: Files,
        survey: &Survey,
    ) -> Self {
        let disk = directory.disk();
        let snapshots = directory.snapshots().clone();
        let replacing = directory.replacing().clone();
        let mut log = Self {
            disk: Arc::clone(disk),
            spare: files.spare.map_or(Spare::None, Spare::Ready),
            cutter: Cutter::new(Arc::clone(disk), replacing, snapshots.clone(), preparation),
            _lock: Arc::clone(directory.lock()),
            incarnation: directory.identity().incarnation,
            limits: *directory.log_limits(),
            preparation,
            file: files.present,
            end: survey.end,
            next_number: survey.next.number,
            previous_checksum: survey.next.previous_checksum,
            buffer: Vec::new(),
            contents,
            snapshots,
            has_failed: false,
            recovered,
            fdatasyncs: 0,
            bytes_written: 0,
        };
        log.prepare_next();
        log
    }

    /// What the recovery has found.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// How long the log is, and what this process has written to it.
    pub fn size(&self) -> LogSize {
        let Place { segment, offset } = self.end;
        let first = self.contents.first_segment().unwrap_or(segment);
        let before = u64::from(segment - first) + self.cutter.segments_left();
        LogSize {
            log_bytes: before * self.limits.segment_bytes + offset,
            segments: before + 1,
            bytes_since_snapshot: self.contents.bytes_since_snapshot(),
            bytes_written: self.bytes_written,
            fdatasyncs: self.fdatasyncs,
        }
    }

    /// Appends as many of `records`, from the first on, as fit into one batch, and makes them durable.
    /// Returns how many: at least one, unless `records` is empty.
    ///
    /// # Errors
    ///
    /// If the first record alone is too long, nothing was written, and the log goes on. After any
    /// other error, no append succeeds.
    pub fn append(&mut self, records: &[Record<Value>]) -> Result<usize, AppendError> {
        if self.has_failed {
            return Err(AppendError::FailedBefore);
        }
        if records.is_empty() {
            return Ok(0);
        }
        let length_bytes_max = HEADER_BYTES as u64 + self.limits.batch_bytes_max;
        let length_bytes_max = usize::try_from(length_bytes_max).unwrap_or(usize::MAX);
        self.buffer.clear();
        self.buffer.resize(HEADER_BYTES, 0);
        let mut taken = 0;
        let mut batch = BatchContents::new();
        for record in records {
            let snapshot = match &record.content {
                Content::Snapshot { handle, .. } => self.snapshots.file(handle.slot),
                _ => None,
            };
            match encode(record, snapshot, &mut self.buffer, length_bytes_max) {
                Err(_) if taken > 0 => break,
                encoded => encoded.map_err(AppendError::Record)?,
            }
            batch.add(&record.content, snapshot);
            taken += 1;
        }

        let written = self.write();
        self.has_failed = written.is_err();
        let (place, header) = written?;
        self.contents.add(place, &header, &batch);
        if place.offset == 0 {
            self.prepare_next();
        }
        if batch.has_snapshot() {
            self.cut(0);
        }
        Ok(taken)
    }

    /// Lets the log begin behind its newest snapshot. `more` segments are superfluous besides.
    pub(super) fn cut(&mut self, more: usize) {
        if let Some((base, segments)) = self.contents.cut() {
            self.cutter.cut(base, segments + more);
        }
    }

    /// A reader of single slots, which works while this log is appended to.
    pub fn reader(&self) -> LogReader {
        let (disk, index) = (Arc::clone(&self.disk), Arc::clone(self.contents.index()));
        LogReader::new(disk, index, self.incarnation)
    }

    #[cfg(test)]
    pub(super) fn reader_index(&self) -> &std::sync::Mutex<super::index::Index> {
        self.contents.index()
    }

    /// How many batches were ever appended, in this run and before.
    #[cfg(test)]
    pub(super) fn batches(&self) -> u64 {
        self.next_number - 1
    }

    /// Writes and syncs the batch in the buffer. Returns its place and its header.
    fn write(&mut self) -> Result<(Place, Header), DiskError> {
        let length_bytes = batch::span_bytes((self.buffer.len() - HEADER_BYTES) as u64);
        if length_bytes > self.limits.segment_bytes - self.end.offset {
            let next = self.end.segment + 1;
            self.file = self.spare.take(&*self.disk, next, self.limits.segment_bytes)?;
            self.end = Place { segment: next, offset: 0 };
        }
        let place = self.end;
        let header = batch::seal(
            &mut self.buffer,
            place.segment,
            self.next_number,
            self.incarnation,
            self.previous_checksum,
        );
        let written = self.file.write_at(&self.buffer, place.offset);
        written.map_err(|error| self.error("write", error))?;
        self.file.sync_data().map_err(|error| self.error("sync", error))?;

        self.fdatasyncs += 1;
        self.bytes_written += length_bytes;
        self.end.offset += length_bytes;
        self.next_number += 1;
        self.previous_checksum = header.checksum;
        Ok((place, header))
    }

    /// Begins to make the next segment, once the present one holds something durable.
    fn prepare_next(&mut self) {
        let is_wanted = self.end.offset > 0 && matches!(self.spare, Spare::None);
        if is_wanted && self.preparation == Preparation::InBackground {
            let next = self.end.segment + 1;
            self.spare = Spare::begin(&self.disk, next, self.limits.segment_bytes);
        }
    }

    fn error(&self, doing: &'static str, error: std::io::Error) -> DiskError {
        DiskError::at(&*self.disk, &segment_name(self.end.segment), doing)(error)
    }
}

/// Why records were not appended.
#[derive(Debug, Error)]
pub enum AppendError {
    /// A record is too long for a batch, which the limits of the cluster rule out, or names a snapshot that
    /// has no file.
    #[error(
        "a record cannot be appended: {0}\n  \
         batch_bytes_max is meant to hold the longest, and a snapshot is durable before its record is \
         written: please report this"
    )]
    Record(EncodeError),
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An append before this one has failed.
    #[error(
        "nothing more is appended: an earlier append has failed\n  \
         since then it is unknown what is on the disk; start the replica again to find out"
    )]
    FailedBefore,
}
