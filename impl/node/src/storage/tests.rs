//! What must hold of storage, tried on a disk that does the worst that a disk may do.
//!
//! Each property test prints its seed; `SYNOD_SEED=<seed>` runs another, and `SYNOD_CASES=<factor>`
//! more of them. A case that fails is made as small as it gets, and printed.

mod appending;
mod core;
mod crashes;
mod damage;
mod directory;
mod format;
mod inspecting;
mod kit;
mod reading;
mod real;
