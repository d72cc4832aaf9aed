//! Synod's node: the core on real disks and networks.
//!
//! The node runs the core of [`synod_model`], the very code that `synod-check` explores, unchanged:
//! one task owns the replica and feeds it, and the shell around it keeps the three sentences of its
//! contract with the core. What is there:
//!
//! - [`disk`]: the files of a data directory, real or simulated;
//! - [`codec`] and [`Value`]: what is encoded, and how.
//!
//! What is not there yet: the log on disk, peers, the failure detector and the clock, the log for
//! applications, and the commands of `synod`.

pub mod codec;
pub mod disk;
mod value;

pub use value::Value;
