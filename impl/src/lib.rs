//! The place of Synod's node. Nothing is built here yet.
//!
//! The node will run the core of [`synod_model`], the very code that `synod-check` explores,
//! unchanged: one task owns the replica and feeds it, and the shell around it keeps the three
//! sentences of its contract with the core. What that shell consists of, and what is not there yet:
//!
//! - the log on disk: batches with checksums in segments, one `fdatasync` for many values;
//! - the data directory: its lock, its identity, and the forming of a cluster;
//! - the peers: connections, frames, bounded queues;
//! - the failure detector and the clock;
//! - the log for applications: submit a value here, have it called back everywhere, in order;
//! - the commands of `synod`.
