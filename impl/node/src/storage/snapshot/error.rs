//! Why a snapshot file is not made, or not read.

use std::io;
use std::path::PathBuf;

use synod_model::Slot;
use synod_wire::codec::DecodeError;
use thiserror::Error;

use super::format::HANDLE_BYTES_MAX;
use crate::storage::disk_error::{DiskError, Grouped};
use crate::storage::small_file::FORMAT_VERSION;

/// Why a snapshot file is not made, not received or not read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The disk refuses to store it.
    #[error(
        "{}\n  \
         this snapshot is given up, and nothing else is changed: the replica goes on, and its log grows \
         until a snapshot succeeds\n  \
         if the disk is full, make room on it; otherwise the system's log may say more",
        .0.brief()
    )]
    Store(DiskError),
    /// The disk refuses to read it.
    #[error(transparent)]
    Read(DiskError),
    /// There is no such snapshot.
    #[error(
        "there is no snapshot of slot {slot}: {} is not there, or not finished\n  \
         the newest two snapshots are kept; `synod inspect` lists them",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The last slot that it would include.
        slot: Slot,
    },
    /// What was durable has changed.
    #[error(
        "{}: at byte {}: {flaw}\n  \
         it was checked and synced when it was made, so the disk, or something else, has changed it\n  \
         nothing of it is used; docs/storage.md#damage says what can be done",
        path.display(), Grouped(*offset)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The byte where what is wrong begins.
        offset: u64,
        /// What is wrong.
        flaw: SnapshotFlaw,
    },
    /// A saved snapshot is not what was saved.
    #[error(
        "{}: at byte {}: {flaw}\n  \
         it was checked when it was saved, so the disk, or something on its way, has changed it\n  \
         nothing is restored from it: `synod snapshot verify` says all that is wrong with it; take another \
         copy of it, or an older snapshot",
        path.display(), Grouped(*offset)
    )]
    Saved {
        /// The file.
        path: PathBuf,
        /// The byte where what is wrong begins.
        offset: u64,
        /// What is wrong.
        flaw: SnapshotFlaw,
    },
    /// What a peer has sent is not the snapshot that it should be.
    #[error(
        "{}, received from a peer: at byte {}: {flaw}\n  \
         it is removed, and nothing of it is used: fetch it again; if that does not help, see whether the \
         disk of the peer is sound",
        path.display(), Grouped(*offset)
    )]
    Received {
        /// The file.
        path: PathBuf,
        /// The byte where what is wrong begins.
        offset: u64,
        /// What is wrong.
        flaw: SnapshotFlaw,
    },
    /// Bytes of a peer do not continue what it has sent before.
    #[error(
        "{}: a peer sent {} bytes for byte {}, and byte {} comes next, of {}\n  \
         nothing was written: ask for the bytes that come next",
        path.display(), Grouped(*count), Grouped(*offset), Grouped(*next), Grouped(*length_bytes)
    )]
    OutOfPlace {
        /// The file.
        path: PathBuf,
        /// The byte that they are for.
        offset: u64,
        /// How many there are.
        count: u64,
        /// The byte that comes next.
        next: u64,
        /// The length of the whole file.
        length_bytes: u64,
    },
    /// The same file is being made already.
    #[error(
        "{} is being made already\n  \
         wait until that has ended",
        path.display()
    )]
    BeingMade {
        /// The file, under the name that it has while it is made.
        path: PathBuf,
    },
    /// There is another snapshot of the same slot.
    #[error(
        "{} is another snapshot of the same slot than the one that was to take its place\n  \
         equal logs give equal snapshots, so a state machine is not deterministic, or the state on one \
         replica was damaged: compare the state machines of the replicas at slot {slot}",
        path.display()
    )]
    Differs {
        /// The file that is there. It stays.
        path: PathBuf,
        /// The last slot that both include.
        slot: Slot,
    },
    /// The core's own state is too long.
    #[error(
        "the request table of a snapshot of slot {slot} takes more than {} bytes\n  \
         nothing is changed, and the log is not cut; lower sessions_max or session_requests_max in the \
         next cluster",
        Grouped(HANDLE_BYTES_MAX)
    )]
    HandleTooLong {
        /// The last slot that the snapshot includes.
        slot: Slot,
    },
    /// The core's own state has no encoding.
    #[error(
        "the handle of a snapshot of slot {slot} cannot be encoded: {what}\n  please report this"
    )]
    NoEncoding {
        /// The last slot that the snapshot includes.
        slot: Slot,
        /// What the codec says.
        what: String,
    },
    /// An earlier step has failed.
    #[error(
        "{} is not finished: writing to it has failed before\n  \
         this snapshot is given up, and nothing else is changed",
        path.display()
    )]
    FailedBefore {
        /// The file.
        path: PathBuf,
    },
}

impl SnapshotError {
    /// Whether the disk was full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_full())
    }
}

/// For the traits [`Read`](io::Read) and [`Write`](io::Write). The error stays inside, and can be asked for.
impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        let kind = match &error {
            SnapshotError::Store(error) | SnapshotError::Read(error) => error.error.kind(),
            SnapshotError::Damaged { .. }
            | SnapshotError::Saved { .. }
            | SnapshotError::Received { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        // These two kinds make the standard library try again, or take the error for the end.
        let is_reserved = [io::ErrorKind::Interrupted, io::ErrorKind::UnexpectedEof];
        let kind = if is_reserved.contains(&kind) { io::ErrorKind::Other } else { kind };
        Self::new(kind, error)
    }
}

/// What is wrong with a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotFlaw {
    /// There is no header.
    #[error("it does not begin as a snapshot does")]
    NoHeader,
    /// It has a version that this program does not know.
    #[error(
        "it has format version {found}, and this program knows version {FORMAT_VERSION} only: run the \
         version of synod that wrote it, or a newer one"
    )]
    UnknownVersion {
        /// The version.
        found: u32,
    },
    /// It belongs to another cluster.
    #[error("it is a snapshot of another cluster")]
    OtherCluster,
    /// It is a snapshot of another slot.
    #[error("it is a snapshot of slot {found}")]
    OtherSlot {
        /// The slot.
        found: Slot,
    },
    /// It ends before its end mark.
    #[error("it ends there, without an end mark")]
    CutOff,
    /// There is no chunk where one should begin.
    #[error("there is no chunk, and one should begin there")]
    NoChunk,
    /// A chunk is not what was written.
    #[error("a chunk of {} bytes fails its checksum", Grouped(*chunk_bytes as u64))]
    Checksum {
        /// The length of the chunk.
        chunk_bytes: usize,
    },
    /// What follows cannot be told apart into chunks.
    #[error("no chunk can be found from there on, and nothing of it was checked")]
    Unchecked,
    /// A chunk of the handle comes behind one of the application, or there is no handle.
    #[error("a chunk is not in its place")]
    ChunkOutOfPlace,
    /// The end mark says another length.
    #[error("its end mark is that of a longer or a shorter file")]
    OtherLength,
    /// The end mark says another checksum.
    #[error("all of it together fails the checksum in its end mark")]
    WholeChecksum,
    /// Something is behind the end mark.
    #[error("something is behind its end mark")]
    BehindEnd,
    /// It is not the file that its name, or a record of the log, promises.
    #[error(
        "it is not the file that was named: it is sound in itself, and has another length or checksum"
    )]
    OtherFile,
    /// The handle is too long.
    #[error("its handle is longer than any that is written")]
    HandleTooLong,
    /// The handle cannot be decoded.
    #[error("its handle cannot be read: {0}")]
    Handle(DecodeError),
    /// The handle is that of another slot than the header says.
    #[error("its handle is that of slot {found}")]
    HandleOfOtherSlot {
        /// The slot.
        found: Slot,
    },
}
