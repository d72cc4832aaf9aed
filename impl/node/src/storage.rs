//! What a replica keeps on its disk, and how it gets it back.
//!
//! The core's contract with its shell has three sentences. This module keeps the two that are about
//! the disk:
//!
//! - Writes are appended in order, and are reported durable only when they are.
//! - After a crash, the core gets a prefix of what was written. The prefix includes everything that
//!   was reported durable, and the prefix itself is durable before the core gets it.
//!
//! Everything is in one [`DataDirectory`], which one process at a time has open:
//!
//! - [`DataDirectory::init`] makes it, once; or [`DataDirectory::restore`] does, for a new cluster that begins
//!   with a saved snapshot; or [`begin_alone`], for one that begins with what a last replica has.
//!   [`DataDirectory::open`] never makes anything.
//! - [`Log::recover`] hands out the records in the log, and returns the log to append to.
//! - [`Log::append`] makes records durable, with one write and one sync for as many as there are.
//! - [`LogReader::read`] reads slots that are no longer in memory, for peers that lag behind.
//! - [`inspect()`] reports what is in a data directory, whatever state it is in.
//!
//! Nothing here knows the protocol. [`synod_model`] decides what a record means, which entry of a slot
//! counts, and what a replica does with its records.
//!
//! # What is trusted
//!
//! Storage trusts three things. A sync that succeeds makes durable what was written before it. A crash
//! leaves each sector with its old content or its new one. A disk seldom changes what it holds, so
//! that a CRC-32C detects it.
//!
//! It trusts nothing else: not the order in which writes or renames reach the disk, not a sync that
//! failed, and not what the page cache shows after one.
//!
//! # From nothing to a slot read back
//!
//! ```
//! use std::sync::Arc;
//! use synod_node::Incarnation;
//! use synod_node::disk::RealDisk;
//! use synod_node::storage::{DataDirectory, Log, LogLimits, NewReplica, Preparation};
//! use synod_model::{
//!     ClusterConstants, Configuration, ConfigurationId, Content, Entry, Limits, PrefixHash, Record,
//!     ReplicaId, SequenceNumber, Slot, SlotRange,
//! };
//!
//! # let temporary = tempfile::tempdir()?;
//! # let data_dir = temporary.path().join("r0");
//! let me = ReplicaId(0);
//! let first = Configuration::new(ConfigurationId(1), vec![me])?;
//! let replica = NewReplica {
//!     cluster_name: "example".into(),
//!     constants: ClusterConstants::new(65_536, first, Limits::default())?,
//!     replica: me,
//!     incarnation: Incarnation(0x5eed), // to be drawn at random
//!     log: LogLimits::default(),
//!     peers: [].into(),
//! };
//! drop(DataDirectory::init(Arc::new(RealDisk::new(&data_dir)), &replica)?);
//!
//! let directory = DataDirectory::open(Arc::new(RealDisk::new(&data_dir)))?;
//! let recover = |records: &mut Vec<_>| {
//!     Log::recover(&directory, Preparation::InBackground, |record| {
//!         records.push(record);
//!         Ok::<_, std::convert::Infallible>(())
//!     })
//! };
//! let mut log = recover(&mut Vec::new())?;
//! let (s, configuration, first) = (SequenceNumber(65_536), ConfigurationId(1), Slot(1));
//! let records = [
//!     Record { watermark: Slot(0), hash: PrefixHash(0), content: Content::Promised(s) },
//!     Record {
//!         watermark: Slot(0),
//!         hash: PrefixHash(0),
//!         content: Content::Accepted { s, configuration, first, entries: vec![Entry::NoOp] },
//!     },
//! ];
//! let mut rest = &records[..];
//! while !rest.is_empty() {
//!     let durable = log.append(rest)?;
//!     rest = &rest[durable..];
//! }
//! let slots = SlotRange { first: Slot(1), last: Slot(1) };
//! assert_eq!(log.reader().read(slots, 512, 1 << 20)?, [Entry::NoOp]);
//!
//! drop(log);
//! let mut recovered = Vec::new();
//! recover(&mut recovered)?;
//! assert_eq!(recovered, records);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The modules, in the order in which to read them
//!
//! 1. `batch`: the format of the log: a header, records, zeros.
//! 2. `segment`: the files that hold batches, and how the next one is made ahead of use.
//! 3. `log`: appending.
//! 4. `scan` and `survey`: reading the whole log, and telling an interrupted write from damage.
//! 5. `recover`: making durable what survived.
//! 6. `index` and `reader`: finding single slots again.
//! 7. `small_file`, `layout`, `init` and `directory`: the directory around the log.
//! 8. `restore`: a data directory of a new cluster, from a saved snapshot.
//! 9. `alone`: the same from the log of a last survivor.
//! 10. `inspect`: a report of everything, for people.
//!
//! Three modules hold errors, below those who raise them: `disk_error`, `directory_error` and
//! `recover_error`. `log_limits` says which sizes a log can have.
//!
//! `docs/storage.md` has the format byte by byte, and says what happens at each kind of damage.

mod alone;
mod base;
mod batch;
mod contents;
mod cutter;
mod directory;
mod directory_error;
mod disk_error;
mod index;
mod init;
mod inspect;
#[cfg(test)]
pub(crate) mod interrupted;
mod layout;
mod log;
mod log_limits;
mod reader;
mod recover;
mod recover_error;
mod restore;
mod scan;
mod segment;
mod small_file;
mod snapshot;
mod stored_record;
mod survey;
#[cfg(test)]
mod tests;
mod unread;

pub use alone::{BeginsWith, NewLog, begin_alone};
pub use base::{BaseFile, LogStart};
pub use batch::{BLOCK_BYTES, Flaw, Header, NoHeader};
pub use directory::DataDirectory;
pub use directory_error::{IdentityGone, InUse, InitError, OpenError};
pub use disk_error::DiskError;
pub use init::{Joining, NewReplica};
pub use inspect::{Finding, LogEnd, RecordFound, RecordKind, inspect};
pub use layout::IdentityFile;
pub use log::{AppendError, Log, LogSize, Recovered};
pub use log_limits::{LogLimits, LogLimitsError, SEGMENT_BYTES_MAX};
pub use reader::{LogReader, ReadError};
pub use recover_error::RecoverError;
pub use restore::RestoreDirectoryError;
pub use segment::{Place, Preparation};
pub use small_file::{FORMAT_VERSION, SmallFileError};
pub use snapshot::{
    FlawFound, HANDLE_BYTES_MAX, SavedSnapshot, SnapshotBytes, SnapshotCheck, SnapshotError,
    SnapshotFile, SnapshotFlaw, SnapshotFlaws, SnapshotFolder, SnapshotReader, SnapshotReceiver,
    SnapshotWriter, SoundSnapshot, verify_snapshot,
};
pub use survey::Interrupted;
pub use unread::UnreadLog;
