//! Replicas, or what says that it is one, on real sockets on this machine.

mod forming;
mod handshake;
mod harness;
mod largest;
mod links;
