//! The disk as a parameter: the files of one data directory, and nothing else of the file system.
//!
//! Storage must survive what a disk may do to it. A disk may lose a write that was not synced, or half
//! of that write. It may forget that a file was created or renamed. It may refuse a sync. On a real
//! disk these things take a power failure at the right moment. So storage gets its disk as a
//! parameter, a [`Disk`], and there are two. [`RealDisk`] is the operating system's files.
//! `SimulatedDisk` is in memory, behaves the same for the same seed, and does the worst that a disk
//! may do whenever a test asks for it.

mod interface;
mod real;
#[cfg(any(test, feature = "simulation"))]
mod simulated;

pub use interface::{Access, Disk, DiskFile, DiskLock, Holder, LockError, ROOT};
pub use real::RealDisk;
#[cfg(any(test, feature = "simulation"))]
pub use simulated::SimulatedDisk;
