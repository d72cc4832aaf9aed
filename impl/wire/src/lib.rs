//! What the node, the client library and the data directory share: bytes, and their meaning.
//!
//! This is the bottom of `impl/`. It opens no socket and no file, and decides nothing. The modules, in
//! the order in which to read them:
//!
//! 1. [`Value`]: what clients put in the log. [`identity`]: the id of a cluster.
//! 2. [`codec`]: how everything that leaves memory is encoded. [`frame`]: where one message ends and
//!    the next one begins.
//! 3. [`api`]: what clients ask of a node, and what it answers.
//! 4. [`protocol`] over [`buffers`]: the same as messages on a connection, for both of its ends.
//! 5. [`address`]: when two addresses are the same.
//! 6. [`blocking`]: work that makes its caller wait, such as looking up a name.
//!
//! All of it is internal to one version of Synod, and every encoding stands behind a version number.

// Input from outside has typed errors; what must hold inside is asserted, with the reason. Tests may
// be short about both.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod address;
pub mod api;
pub mod blocking;
pub mod buffers;
pub mod codec;
pub mod frame;
pub mod identity;
pub mod protocol;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod value;

pub use identity::ClusterId;
pub use value::Value;
