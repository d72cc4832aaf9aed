//! Clients: what they and a node say to one another, the node's end of it, and theirs.

pub mod protocol;
