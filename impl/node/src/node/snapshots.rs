//! Snapshots of this replica, and of its peers: when one is taken, who writes it, and where one goes that is
//! fetched.
//!
//! ```text
//! replica's task                     machine                    snapshot thread
//!   asks the core for a handle
//!   marker behind all that is
//!   delivered up to its slot    -->    snapshot()          -->    writes the file, no faster than it may
//!   holds the handle back        <------------------------------  "durable"
//!   while a peer is being sent
//!   an older one
//!   gives the handle to the core, which cuts the log
//! ```
//!
//! [`taking`] decides when. [`writer`] is the thread. [`transfer`] stands between the files and
//! [`peers`](crate::peers), and [`progress`] is what people are told.

mod progress;
mod taking;
mod transfer;
mod writer;

use std::time::Duration;

pub(super) use progress::SnapshotProgress;
pub(super) use taking::{SnapshotReply, Taking};
pub(super) use transfer::{FolderSink, FolderSource};
pub(super) use writer::{SnapshotJob, SnapshotOrder, SnapshotWritten, spawn_writer};

/// When a node takes snapshots, and how fast it writes and sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// How many bytes of log are written before the next snapshot is taken. Default 256 MiB: four segments, so
    /// the log on the disk has little more, and a start reads it in a fraction of a second.
    ///
    /// `None`: only when [`Node::take_snapshot`](crate::Node::take_snapshot) is called.
    pub after_log_bytes: Option<u64>,
    /// How many bytes of log are written at most, while a peer is being sent a snapshot, before the log behind that
    /// one may be cut by a newer one. Default 1 GiB. Without a bound, a receiver that never ends would fill the
    /// disk. If nothing were kept, a slow one would have to begin again for ever.
    pub held_log_bytes_max: u64,
    /// How many bytes of a snapshot are written in a second. Default 64 MiB: a part of what any disk takes, so
    /// that the syncs of the log do not wait for it.
    pub written_bytes_per_second: u64,
    /// How many bytes of snapshots are sent in a second, to all peers together. Default 32 MiB: a quarter of a
    /// link with 1 Gbit/s.
    pub sent_bytes_per_second: u64,
    /// How long after a snapshot that could not be stored the next one is tried. Default 30 s: a full disk may
    /// have room by then.
    pub retry_after: Duration,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self {
            after_log_bytes: Some(256 << 20),
            held_log_bytes_max: 1 << 30,
            written_bytes_per_second: 64 << 20,
            sent_bytes_per_second: 32 << 20,
            retry_after: Duration::from_secs(30),
        }
    }
}
