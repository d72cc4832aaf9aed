//! Reading the whole log at a start.

use std::sync::Arc;

use synod_model::{Record, SnapshotHandle};
use synod_wire::Value;

use super::base::BaseFile;
use super::batch::Flaw;
use super::contents::{BatchContents, Contents};
use super::directory::DataDirectory;
use super::layout::BASE;
use super::log::{Log, Recovered};
use super::recover::mend;
use super::recover_error::RecoverError;
use super::segment::{Listing, Place, Preparation, segment_name};
use super::small_file::SmallFileError;
use super::snapshot::{SnapshotError, SnapshotFile};
use super::stored_record::{StoredRecord, records};
use super::survey::{Bounds, SoundBatch, survey};
use crate::disk::Disk;

/// A log that is to be read before it can be appended to. Where it begins is known already.
#[derive(Debug)]
pub struct UnreadLog<'a> {
    directory: &'a DataDirectory,
    base: Option<BaseFile>,
    snapshot: Option<Arc<SnapshotHandle>>,
}

impl<'a> UnreadLog<'a> {
    /// The log of `directory`.
    ///
    /// # Errors
    ///
    /// If the file `base` is damaged, or the snapshot that it names, or the disk refuses.
    pub fn of(directory: &'a DataDirectory) -> Result<Self, RecoverError> {
        let disk = &**directory.disk();
        let Some(base) = read_base(disk).map_err(RecoverError::Base)? else {
            return Ok(Self { directory, base: None, snapshot: None });
        };
        let snapshots = directory.snapshots();
        snapshots.list_named(base.snapshot);
        let handle = snapshots.handle(base.snapshot.slot);
        let path = disk.path(BASE.name);
        let handle = handle.map_err(|error| RecoverError::Snapshot { path, error })?;
        Ok(Self { directory, base: Some(base), snapshot: Some(handle) })
    }

    /// The snapshot that the log begins behind. None if it was never cut. The log has a record of it.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Arc<SnapshotHandle>> {
        self.snapshot.as_ref()
    }

    /// Reads the log. Hands every record to `on_record`, in order. Each record is durable before it is
    /// handed out. `progress` is told how many segments are read, of how many: before the first one, and
    /// after each.
    ///
    /// The log is read once, with one batch in memory. All batches but the last were durable before the
    /// next was written, so they are handed out as they are read. The last one is held back until it
    /// has been written again and synced. If the log turns out to be damaged, some records have been
    /// handed out already. That does no harm, because there is no replica then.
    ///
    /// The record of a snapshot that is older than the one that the log begins behind is left out: the
    /// later one repeats all that it says, and its file may be gone.
    ///
    /// # Errors
    ///
    /// If the log is damaged, or a snapshot that it names, `on_record` refuses a record, or the disk
    /// refuses. The replica must not run then.
    pub fn read<F, E>(
        self,
        preparation: Preparation,
        progress: impl FnMut(u64, u64),
        mut on_record: F,
    ) -> Result<Log, RecoverError>
    where
        F: FnMut(Record<Value>) -> Result<(), E>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let directory = self.directory;
        let disk = directory.disk();
        let incarnation = directory.identity().incarnation;
        let limits = directory.log_limits();
        let bounds = Bounds::of(self.base.as_ref());

        let mut contents = Contents::new();
        let mut recovered = Recovered::default();
        let mut hand_out = |batch: &SoundBatch| {
            let mut batch_contents = BatchContents::new();
            for stored in records(batch.payload()) {
                let stored = stored.map_err(|error| {
                    RecoverError::damage(&**disk, batch.place, Flaw::NoRecord(error), None)
                })?;
                recovered.records += 1;
                self.hand_out(batch.place, stored, &mut batch_contents, &mut on_record)?;
            }
            recovered.batches += 1;
            contents.add(batch.place, &batch.header, &batch_contents);
            Ok(())
        };
        let survey = survey(&**disk, incarnation, limits, bounds, progress, &mut hand_out)?;
        let files = mend(&**disk, limits, &survey)?;
        if let Some(last) = &survey.last {
            hand_out(last)?;
        }
        recovered.interrupted = survey.interrupted;

        directory.snapshots().settle(contents.oldest_snapshot())?;
        let mut log = Log::new(directory, preparation, contents, recovered, files, &survey);
        let first = bounds.start.segment;
        let ignored = Listing::read(&**disk)?.segments.into_iter().filter(|it| *it < first).count();
        log.cut(ignored);
        Ok(log)
    }

    /// Hands out a record of the batch at `place`.
    fn hand_out<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        &self,
        place: Place,
        stored: StoredRecord,
        contents: &mut BatchContents,
        on_record: &mut impl FnMut(Record<Value>) -> Result<(), E>,
    ) -> Result<(), RecoverError> {
        let path = || self.directory.disk().path(&segment_name(place.segment));
        let snapshot = stored.snapshot();
        if let (Some(file), Some(base)) = (snapshot, &self.base)
            && file.slot < base.snapshot.slot
        {
            return Ok(());
        }
        let record = stored.into_record(|file| {
            self.handle(file).map_err(|error| RecoverError::Snapshot { path: path(), error })
        })?;
        contents.add(&record.content, snapshot);
        on_record(record).map_err(|cause| RecoverError::Refused {
            path: path(),
            offset: place.offset,
            cause: cause.into(),
        })
    }

    /// The handle in a file that a record names.
    fn handle(&self, file: SnapshotFile) -> Result<Arc<SnapshotHandle>, SnapshotError> {
        match (&self.base, &self.snapshot) {
            (Some(base), Some(handle)) if base.snapshot == file => Ok(Arc::clone(handle)),
            _ => {
                let snapshots = self.directory.snapshots();
                snapshots.list_named(file);
                snapshots.handle(file.slot)
            }
        }
    }
}

/// The file `base`. None if the log was never cut.
pub(super) fn read_base(disk: &dyn Disk) -> Result<Option<BaseFile>, SmallFileError> {
    match BASE.read(disk) {
        Err(SmallFileError::Missing { .. }) => Ok(None),
        read => read.map(Some),
    }
}
