//! Snapshot files: the state of the application and the core's own state, as of one slot.
//!
//! [`SnapshotFolder`] has all snapshot files of a data directory. A file gets its name only when
//! everything in it is durable, and then its folder is synced. So a file that has its name is whole, and
//! a record in the log may name it.
//!
//! - [`SnapshotFolder::create`] begins a snapshot of this replica. [`SnapshotWriter`] takes the bytes of
//!   the application.
//! - [`SnapshotFolder::receive`] takes the file of a peer, byte for byte.
//! - [`SnapshotFolder::open`] reads a snapshot, and [`SnapshotFolder::bytes`] its bytes as they are, for
//!   a peer.
//!
//! Every replica writes the same bytes for the same snapshot. So a receiver may go on with another
//! sender, and two replicas can compare their snapshots by their checksums.
//!
//! A snapshot that was saved elsewhere has the same format. [`verify_snapshot`] reads all of it, and says what is wrong
//! with it. [`SavedSnapshot`] reads it for a new cluster. [`SnapshotCheck`] checks one while it comes.
//!
//! Making or receiving a snapshot may fail at any time, and changes nothing then: the log is not cut.

mod check;
mod error;
mod folder;
mod format;
mod listing;
mod reader;
mod receiver;
mod saved;
mod writer;

pub use check::{FlawFound, SnapshotCheck, SnapshotFlaws, SoundSnapshot};
pub use error::{SnapshotError, SnapshotFlaw};
pub use folder::{SnapshotBytes, SnapshotFolder};
pub use format::{HANDLE_BYTES_MAX, SnapshotFile};
pub(super) use listing::{
    SNAPSHOTS, SnapshotListing, check_whole, handle_in, part_name, snapshot_name,
};
pub use reader::SnapshotReader;
pub use receiver::SnapshotReceiver;
pub(super) use saved::of_saved;
#[cfg(test)]
pub(super) use saved::verify;
pub use saved::{SavedSnapshot, verify_snapshot};
pub use writer::SnapshotWriter;
