//! Replicas, or what says that it is one, on real sockets on this machine.

mod forming;
mod handshake;
mod kit;
mod largest;
mod links;
