//! The snapshot files, as [`peers`](crate::peers) send and receive them.

use std::io;

use synod_model::ReplicaId;
use tokio::sync::mpsc::UnboundedSender;

use super::super::Notice;
use crate::peers::snapshots::{
    PartialSnapshot, ReadAt, SinkError, SnapshotId, SnapshotSink, SnapshotSource,
};
use crate::storage::{
    SnapshotBytes, SnapshotError, SnapshotFile, SnapshotFolder, SnapshotReceiver,
};

/// What peers may fetch.
#[derive(Debug)]
pub(in super::super) struct FolderSource(pub(in super::super) SnapshotFolder);

impl SnapshotSource for FolderSource {
    fn newest(&self) -> Option<SnapshotId> {
        self.0.newest().map(id_of)
    }

    fn has(&self, id: SnapshotId) -> bool {
        self.0.file(id.slot).map(id_of) == Some(id)
    }

    fn open(&self, id: SnapshotId) -> io::Result<Box<dyn ReadAt>> {
        match self.0.bytes(id.slot) {
            Ok(bytes) if id_of(bytes.file()) == id => Ok(Box::new(bytes)),
            Ok(_) | Err(SnapshotError::Missing { .. }) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl ReadAt for SnapshotBytes {
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(offset, buffer)? == buffer.len() {
            return Ok(());
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Where the snapshot of a peer goes. If this run of the replica ends before it is whole, the next one goes on.
#[derive(Debug)]
pub(in super::super) struct FolderSink {
    folder: SnapshotFolder,
    receiver: Option<SnapshotReceiver>,
    /// Whether something may be here that a former run has received.
    may_resume: bool,
    notices: UnboundedSender<Notice>,
}

impl FolderSink {
    pub(in super::super) fn new(folder: SnapshotFolder, notices: UnboundedSender<Notice>) -> Self {
        Self { folder, receiver: None, may_resume: true, notices }
    }
}

impl SnapshotSink for FolderSink {
    fn partial(&mut self) -> Option<PartialSnapshot> {
        if std::mem::take(&mut self.may_resume) {
            self.receiver = self.folder.resume();
        }
        let receiver = self.receiver.as_ref()?;
        let received_bytes = receiver.received_bytes();
        Some(PartialSnapshot { id: id_of(receiver.expected()), received_bytes })
    }

    fn begin(&mut self, id: SnapshotId) -> Result<(), SinkError> {
        let file = file_of(id);
        if self.receiver.as_ref().is_some_and(|it| it.expected() == file) {
            return Ok(());
        }
        // The one before is removed first, to make room.
        self.receiver = None;
        self.receiver = Some(self.folder.receive(file).map_err(sink_error)?);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        let Some(receiver) = &mut self.receiver else {
            return Err(SinkError::Disk("no snapshot was begun".to_owned()));
        };
        let taken = receiver.take(receiver.received_bytes(), bytes);
        taken.map_err(|error| {
            // After an error of the disk nothing more can be added to it.
            self.receiver = None;
            sink_error(error)
        })
    }

    fn finish(&mut self, from: ReplicaId) -> Result<(), SinkError> {
        let Some(receiver) = self.receiver.take() else {
            return Err(SinkError::Disk("no snapshot was begun".to_owned()));
        };
        let (_, handle) = receiver.finish().map_err(sink_error)?;
        // If the replica has ended, the next start finds a file that no record names.
        let _ = self.notices.send(Notice::SnapshotFetched { from, handle });
        Ok(())
    }
}

impl Drop for FolderSink {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            receiver.keep();
        }
    }
}

fn sink_error(error: SnapshotError) -> SinkError {
    match error {
        SnapshotError::Received { .. }
        | SnapshotError::Damaged { .. }
        | SnapshotError::Differs { .. }
        | SnapshotError::OutOfPlace { .. } => SinkError::Invalid(error.to_string()),
        error => SinkError::Disk(error.to_string()),
    }
}

fn id_of(file: SnapshotFile) -> SnapshotId {
    let SnapshotFile { slot, length_bytes: bytes, checksum } = file;
    SnapshotId { slot, bytes, checksum }
}

fn file_of(id: SnapshotId) -> SnapshotFile {
    let SnapshotId { slot, bytes: length_bytes, checksum } = id;
    SnapshotFile { slot, length_bytes, checksum }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use synod_model::{PrefixHashes, RequestTable, Slot, SnapshotHandle};
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::disk::SimulatedDisk;
    use crate::forming::kit::{identity, new_replica};
    use crate::storage::{DataDirectory, LogLimits};

    fn folder(seed: u64) -> SnapshotFolder {
        let replica = new_replica(identity(0, 1, 1), LogLimits::default());
        let disk = Arc::new(SimulatedDisk::new(seed));
        DataDirectory::init(disk, &replica).expect("an empty disk").snapshots().clone()
    }

    #[test]
    fn what_has_come_stays_when_the_run_ends() {
        let source = folder(1);
        let handle = SnapshotHandle {
            slot: Slot(4),
            configuration: identity(0, 1, 1).constants.first_configuration().clone(),
            changed_at: Slot::ZERO,
            hashes: PrefixHashes::default(),
            table: Arc::new(RequestTable::default()),
        };
        let mut writer = source.create(&handle).expect("room");
        writer.write_all(&vec![7; 100_000]).expect("room");
        let id = id_of(writer.finish().expect("room"));
        let mut file = FolderSource(source).open(id).expect("it is there");
        let mut bytes = vec![0; usize::try_from(id.bytes).expect("short")];
        file.read_exact_at(&mut bytes, 0).expect("readable");

        let (folder, (notices, mut told)) = (folder(2), unbounded_channel());
        let mut sink = FolderSink::new(folder.clone(), notices.clone());
        assert_eq!(sink.partial(), None);
        sink.begin(id).expect("room");
        sink.write(&bytes[..90_000]).expect("room");
        drop(sink);
        let mut sink = FolderSink::new(folder, notices);
        let PartialSnapshot { id: part, received_bytes } = sink.partial().expect("a part");
        assert!(part == id && received_bytes > 60_000);
        sink.begin(id).expect("it goes on");
        sink.write(&bytes[usize::try_from(received_bytes).expect("short")..]).expect("room");
        sink.finish(ReplicaId(1)).expect("sound");
        let Ok(Notice::SnapshotFetched { from: ReplicaId(1), .. }) = told.try_recv() else {
            panic!("the replica is told");
        };
        assert_eq!(sink.partial(), None);
    }
}
