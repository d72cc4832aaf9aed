//! Replicas, and callers that claim to be replicas, on real sockets of this machine.

mod forming;
mod handshake;
pub(crate) mod harness;
mod lanes;
mod largest;
mod links;
mod losses;
mod members;
mod memory_snapshots;
mod pings;
mod snapshots;
