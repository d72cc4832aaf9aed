//! The place of the Synod node: the core of [`synod_model`] on real disks and networks.
//!
//! Nothing of the node is here yet. The core, its model and the checker come first, and the node is
//! then built on exactly that core.

#![forbid(unsafe_code)]
