//! What a replica keeps on its disk, and how it gets it back.
//!
//! The core's contract with its shell has three sentences, and this module is how the shell keeps
//! the two of them that are about the disk: writes are appended in order, and called durable only
//! when they are; and after a crash the core is given a prefix of what was written, which includes
//! everything that was called durable, and which is durable itself before it is given.
//!
//! Everything is in one [`DataDirectory`], which one process at a time has open:
//!
//! - [`DataDirectory::init`] makes it, once, and [`DataDirectory::open`] never makes anything;
//! - [`Log::recover`] hands out the records that are there, and gives the log to append to;
//! - [`Log::append`] makes records durable: one write and one sync for as many as there are;
//! - [`LogReader::read`] gets back what is no longer in memory, for peers that lag behind;
//! - [`inspect()`] tells what is in a data directory, whatever state it is in.
//!
//! Nothing here knows the protocol. What a record means, which entry of a slot counts, and what a
//! replica does with all of it is decided in [`synod_model`].
//!
//! # What is trusted
//!
//! That a sync that succeeds makes durable what was written before it; that a crash leaves each
//! sector as it was or as it was to be; and that a disk changes what it holds rarely, so that a
//! CRC-32C finds it. Nothing else: not the order in which writes reach the disk, not the order of
//! renames, not a sync that failed, not what the page cache shows after it.
//!
//! # From nothing to a slot read back
//!
//! ```
//! use std::sync::Arc;
//! use synod_node::Incarnation;
//! use synod_node::disk::RealDisk;
//! use synod_node::storage::{DataDirectory, Log, LogLimits, NewReplica, Preparation};
//! use synod_model::{
//!     ClusterConstants, Configuration, ConfigurationId, Content, Entry, Limits, Record, ReplicaId,
//!     SequenceNumber, Slot, SlotRange,
//! };
//!
//! # let temporary = tempfile::tempdir()?;
//! # let data_dir = temporary.path().join("r0");
//! let me = ReplicaId(0);
//! let first = Configuration::new(ConfigurationId(1), vec![me])?;
//! let replica = NewReplica {
//!     cluster_name: "example".into(),
//!     cluster: ClusterConstants::new(65_536, first, Limits::default())?,
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
//! let s = SequenceNumber(65_536);
//! let records = [
//!     Record { watermark: Slot(0), content: Content::Promised(s) },
//!     Record {
//!         watermark: Slot(0),
//!         content: Content::Accepted { s, first: Slot(1), entries: vec![Entry::NoOp] },
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
//! # The rooms, in the order in which to read them
//!
//! 1. `batch`: the format of the log: a header, records, zeros.
//! 2. `segment`: the files that batches are in, and how the next one is made ahead of use.
//! 3. `log`: appending.
//! 4. `scan` and `survey`: reading it all, and telling an interrupted write from damage.
//! 5. `recover`: making durable what survived, and the errors of a damaged log.
//! 6. `index` and `reader`: finding single slots again.
//! 7. `identity`, `small_file`, `directory` and `init`: the directory around the log.
//! 8. `inspect`: all of it, for people.
//!
//! `docs/storage.md` has the format byte by byte, and what happens at each kind of damage.

mod batch;
mod directory;
mod identity;
mod index;
mod init;
mod inspect;
mod log;
mod reader;
mod recover;
mod scan;
mod segment;
mod small_file;
mod survey;
#[cfg(test)]
mod tests;
mod trouble;

pub use batch::{BLOCK_BYTES, Flaw, Header, NoHeader};
pub use directory::{
    DataDirectory, IdentityGone, InUse, IncarnationError, InitError, Met, NewReplica, OpenError,
};
pub use identity::{CLUSTER_NAME_BYTES_MAX, Identity, IdentityError, LogLimits, SEGMENT_BYTES_MAX};
pub use inspect::{Finding, LogEnd, RecordFound, RecordKind, inspect};
pub use log::{AppendError, Log, LogSize, Recovered};
pub use reader::{LogReader, ReadError};
pub use recover::RecoverError;
pub use segment::Preparation;
pub use small_file::{FORMAT_VERSION, SmallFileError};
pub use survey::{Interrupted, Place};
pub use trouble::DiskError;
pub(crate) use trouble::LOST;
