//! Snapshots: how a replica that lags behind the logs of its peers gets the snapshot of one of them.
//!
//! A snapshot may have gigabytes, and nobody waits for it but the replica that needs it. So it takes a
//! connection of its own, which is dialled when there is something to fetch, and closed after that:
//!
//! ```text
//! receiver (dials)                                          sender
//!   hello, for snapshots                   -->
//!                                          <--  welcome
//!   ask: which one, from which byte on     -->
//!                                          <--  answer: which one follows, or why none does
//!                                          <--  chunk, chunk, ...
//! ```
//!
//! The receiver asks, and it may ask anybody. A snapshot file is the same at every replica that has it, and
//! its slot, its length and its checksum name it ([`SnapshotId`]). So a receiver that has lost its sender
//! goes on where it was, with the same sender or with another one ([`receiver`]). It takes another
//! snapshot only if nobody can go on with the one that it has a part of.
//!
//! The sender never holds up a message for a snapshot ([`sender`]). Threads of their own read and write the
//! files. All receivers together get no more than so many bytes a second. Between two chunks the sender
//! looks whether other messages wait for the same peer, and lets them go first.
//!
//! Each chunk is a frame, and so has a checksum. [`SnapshotSink::finish`] checks the whole.
//!
//! Nothing here knows what is in a snapshot, or how it is stored: [`SnapshotSource`] and [`SnapshotSink`].

mod error;
mod fetching;
mod pace;
pub(super) mod protocol;
mod receiver;
mod sender;
mod source;
mod threads;

use std::time::Duration;

use synod_model::{ReplicaId, Slot};

pub use source::{
    NoSnapshots, PartialSnapshot, ReadAt, SinkError, SnapshotId, SnapshotSink, SnapshotSource,
};

pub(crate) use pace::Pace;
pub(super) use receiver::{Fetch, run as fetch};
pub(super) use sender::{Sender, send};

/// How many bytes a chunk has. 64 KiB: 20 ms of a link with 3 MB/s, which is how long a message waits for a
/// chunk that shares its link.
pub const CHUNK_BYTES: usize = 64 << 10;

/// How many chunks wait between a file and a connection, on either side. 16: a megabyte. So a disk and a
/// link work at the same time.
pub const CHUNKS_WAITING_MAX: usize = 16;

/// How long a chunk waits for the messages to the same peer, at most. 1 s: a link that is always busy does not
/// stop a transfer for good.
pub const YIELD_MAX: Duration = Duration::from_secs(1);

/// How the transfer of snapshots is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// How many bytes a second a sender sends, to all receivers together. Default 32 MiB: a quarter of a link
    /// with 1 Gbit/s, and 100 MiB of state are there in three seconds.
    pub sent_bytes_per_second: u64,
    /// How many receivers a sender serves at once. Default 2: more would share the same rate, and each would
    /// have its snapshot later. The others are told to come again.
    pub receivers_max: usize,
    /// For how long a receiver waits for more of a snapshot, before it gives the transfer up and asks another
    /// peer. Default 20 s: twice as long as a connection takes to be found dead.
    pub no_progress_max: Duration,
    /// For how long a sender counts a receiver that has gone, or has everything, as one that it serves
    /// ([`Sending`]). Default 30 s: it may come back for the rest, and it needs the log behind the snapshot.
    pub lingers: Duration,
}

impl Default for SnapshotLimits {
    fn default() -> Self {
        Self {
            sent_bytes_per_second: 32 << 20,
            receivers_max: 2,
            no_progress_max: Duration::from_secs(20),
            lingers: Duration::from_secs(30),
        }
    }
}

/// A snapshot on its way to this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiving {
    /// Who sends it, or was asked last.
    pub from: ReplicaId,
    /// The last slot that it includes.
    pub slot: Slot,
    /// How many of its bytes are here.
    pub received_bytes: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// A snapshot on its way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The peer.
    pub to: ReplicaId,
    /// The last slot that it includes.
    pub slot: Slot,
    /// How many of its bytes were sent, counted from its beginning.
    pub sent_bytes: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// Whether it is being sent. Otherwise all of it was sent, or the connection has ended, a short while ago.
    pub is_connected: bool,
}
