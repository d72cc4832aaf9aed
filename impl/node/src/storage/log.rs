//! The log: appending records, with one write and one sync for each batch.

use std::sync::{Arc, Mutex};

use synod_model::{Incarnation, Record};
use synod_wire::Value;
use synod_wire::codec::{self, EncodeError};
use thiserror::Error;

use super::batch::Flaw;
use super::batch::{self, HEADER_BYTES};
use super::directory::DataDirectory;
use super::disk_error::DiskError;
use super::index::{Index, STRETCH_BYTES, cover, lock};
use super::log_limits::LogLimits;
use super::reader::LogReader;
use super::recover::{Files, mend};
use super::recover_error::RecoverError;
use super::segment::{Place, Preparation, Spare, segment_name};
use super::survey::{Interrupted, SoundBatch, survey};
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
    /// Before `_lock`, because fields are dropped in this order.
    spare: Spare,
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
    index: Arc<Mutex<Index>>,
    has_failed: bool,
    recovered: Recovered,
    fdatasyncs: u64,
    bytes_written: u64,
}

/// The length of a log, and what this process has written to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSize {
    /// The length up to its end, without the zeros that were written ahead of use.
    pub log_bytes: u64,
    /// How many segments it has.
    pub segments: u64,
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
    /// Recovers the log of `directory`. Hands every record to `on_record`, in order. Each record is
    /// durable before it is handed out.
    ///
    /// The log is read once, with one batch in memory. All batches but the last were durable before the
    /// next was written, so they are handed out as they are read. The last one is held back until it
    /// has been written again and synced. If the log turns out to be damaged, some records have been
    /// handed out already. That does no harm, because there is no replica then.
    ///
    /// # Errors
    ///
    /// If the log is damaged, `on_record` refuses a record, or the disk refuses. The replica must not
    /// run then.
    pub fn recover<F, E>(
        directory: &DataDirectory,
        preparation: Preparation,
        on_record: F,
    ) -> Result<Self, RecoverError>
    where
        F: FnMut(Record<Value>) -> Result<(), E>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::recover_telling(directory, preparation, |_, _| {}, on_record)
    }

    /// The same. `progress` is told how many segments are read, of how many: before the first one, and
    /// after each.
    ///
    /// # Errors
    ///
    /// As [`recover`](Self::recover).
    pub(crate) fn recover_telling<F, E>(
        directory: &DataDirectory,
        preparation: Preparation,
        progress: impl FnMut(u64, u64),
        mut on_record: F,
    ) -> Result<Self, RecoverError>
    where
        F: FnMut(Record<Value>) -> Result<(), E>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let disk = Arc::clone(directory.disk());
        let incarnation = directory.identity().incarnation;
        let limits = *directory.log_limits();

        let mut index = Index::new(STRETCH_BYTES);
        let mut recovered = Recovered::default();
        let mut hand_out = |batch: &SoundBatch| {
            let count = hand_out(&*disk, batch, &mut index, &mut on_record)?;
            recovered.records += count;
            recovered.batches += 1;
            Ok(())
        };
        let survey = survey(&*disk, incarnation, &limits, progress, &mut hand_out)?;
        let Files { present, spare } = mend(&*disk, &limits, &survey)?;
        if let Some(last) = &survey.last {
            hand_out(last)?;
        }
        recovered.interrupted = survey.interrupted;

        let mut log = Self {
            disk,
            spare: spare.map_or(Spare::None, Spare::Ready),
            _lock: Arc::clone(directory.lock()),
            incarnation,
            limits,
            preparation,
            file: present,
            end: survey.end,
            next_number: survey.next.number,
            previous_checksum: survey.next.previous_checksum,
            buffer: Vec::new(),
            index: Arc::new(Mutex::new(index)),
            has_failed: false,
            recovered,
            fdatasyncs: 0,
            bytes_written: 0,
        };
        log.prepare_next();
        Ok(log)
    }

    /// What the recovery has found.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// How long the log is, and what this process has written to it.
    pub fn size(&self) -> LogSize {
        let Place { segment, offset } = self.end;
        LogSize {
            log_bytes: u64::from(segment.saturating_sub(1)) * self.limits.segment_bytes + offset,
            segments: u64::from(segment),
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
        let mut slots = None;
        for record in records {
            match codec::encode(record, &mut self.buffer, length_bytes_max) {
                Err(EncodeError::TooLong) if taken > 0 => break,
                encoded => encoded.map_err(AppendError::Record)?,
            }
            slots = cover(slots, record.content.slots());
            taken += 1;
        }

        let written = self.write();
        self.has_failed = written.is_err();
        let (place, length_bytes) = written?;
        if let Some(slots) = slots {
            lock(&self.index).add(place, length_bytes, slots);
        }
        if place.offset == 0 {
            self.prepare_next();
        }
        Ok(taken)
    }

    /// A reader of single slots, which works while this log is appended to.
    pub fn reader(&self) -> LogReader {
        let (disk, index) = (Arc::clone(&self.disk), Arc::clone(&self.index));
        LogReader::new(disk, index, self.incarnation)
    }

    /// Writes and syncs the batch in the buffer. Returns its place and its length.
    fn write(&mut self) -> Result<(Place, u64), DiskError> {
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
        Ok((place, length_bytes))
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

/// Hands out the records of a batch, and adds their slots to the index. Returns how many there were.
fn hand_out<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    disk: &dyn Disk,
    batch: &SoundBatch,
    index: &mut Index,
    on_record: &mut impl FnMut(Record<Value>) -> Result<(), E>,
) -> Result<u64, RecoverError> {
    let mut slots = None;
    let mut count = 0;
    for record in codec::records(batch.payload()) {
        let record = record.map_err(|error| {
            RecoverError::damage(disk, batch.place, Flaw::NoRecord(error), None)
        })?;
        slots = cover(slots, record.content.slots());
        count += 1;
        on_record(record).map_err(|cause| RecoverError::Refused {
            path: disk.path(&segment_name(batch.place.segment)),
            offset: batch.place.offset,
            cause: cause.into(),
        })?;
    }
    if let Some(slots) = slots {
        index.add(batch.place, batch.header.span_bytes(), slots);
    }
    Ok(count)
}

/// Why records were not appended.
#[derive(Debug, Error)]
pub enum AppendError {
    /// A record is too long for a batch, which the limits of the cluster rule out.
    #[error(
        "a record cannot be appended: {0}\n  batch_bytes_max is meant to hold the longest: please report this"
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
