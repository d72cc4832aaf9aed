//! Replicas, and callers that claim to be replicas, on real sockets of this machine.

mod forming;
mod handshake;
mod harness;
mod largest;
mod links;
