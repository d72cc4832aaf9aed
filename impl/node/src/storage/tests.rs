//! The promises of storage, tested on a disk that does the worst that a disk may do.
//!
//! Each property test prints its seed. `SYNOD_SEED=<seed>` sets another, and `SYNOD_CASES=<factor>`
//! runs more cases. A case that fails is shrunk and printed.

mod appending;
mod core;
mod crashes;
mod cutting;
mod damage;
mod directory;
mod fixtures;
mod format;
mod full;
mod histories;
mod inspecting;
mod parts;
mod reading;
mod real;
mod restoring;
mod snapshots;
