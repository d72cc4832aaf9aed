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

/// Where the snapshot of a peer goes. It is lost if this run of the replica ends before it is whole.
#[derive(Debug)]
pub(in super::super) struct FolderSink {
    folder: SnapshotFolder,
    receiver: Option<SnapshotReceiver>,
    notices: UnboundedSender<Notice>,
}

impl FolderSink {
    pub(in super::super) fn new(folder: SnapshotFolder, notices: UnboundedSender<Notice>) -> Self {
        Self { folder, receiver: None, notices }
    }
}

impl SnapshotSink for FolderSink {
    fn partial(&mut self) -> Option<PartialSnapshot> {
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
