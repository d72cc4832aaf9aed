//! Synod's node: the core on real disks and networks.
//!
//! The node runs the core of [`synod_model`], the very code that `synod-check` explores, unchanged:
//! one task owns the replica and feeds it, and the shell around it keeps the three sentences of its
//! contract with the core. What is there:
//!
//! - [`storage`]: the data directory with its lock and its identity, and the log on disk;
//! - [`disk`]: the files under it, real or simulated;
//! - [`codec`] and [`Value`]: what is encoded, and how;
//! - [`frame`]: how it travels;
//! - [`forming`]: how a new cluster waits until its members have met;
//! - [`peers`]: how messages get from one replica to another.
//!
//! What is not there yet: the failure detector and the clock, the log for applications, and
//! the commands of `synod`.

pub mod api;
pub mod cli;
pub mod client;
pub mod codec;
pub mod disk;
pub mod forming;
pub mod frame;
pub mod peers;
pub mod storage;
#[cfg(test)]
mod testing;
mod value;

pub use value::Value;
