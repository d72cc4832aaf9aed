//! The disk as a parameter: the files of one data directory, and nothing else of the file system.
//!
//! What storage has to survive is what a disk may do to it: lose a write that was not synced, or half
//! of it; forget that a file was created or renamed; refuse a sync. On a real disk that takes a power
//! failure at the right moment. So storage is given its disk, a [`Disk`], and there are two:
//! [`RealDisk`], the operating system's files, and `SimulatedDisk`, which is in memory, is the same for
//! the same seed, and does the worst that a disk may do whenever a test asks for it.

mod interface;
mod real;
#[cfg(any(test, feature = "simulation"))]
mod simulated;

pub use interface::{Access, Disk, DiskFile, DiskLock, Holder, LockError, ROOT};
pub use real::RealDisk;
#[cfg(any(test, feature = "simulation"))]
pub use simulated::SimulatedDisk;
