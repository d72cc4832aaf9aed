//! Synod's node: a replicated log for applications, and everything that it runs on.
//!
//! What is submitted at any replica is delivered to the application of every replica, in the same
//! order, once. It goes on as long as a majority of the replicas runs, and nothing that was
//! acknowledged is lost as long as a majority keeps its disks. ("Paxos Made Live", figure 2.)
//!
//! # To use it
//!
//! ```no_run
//! use synod_node::{Config, Log};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // On each replica: a data directory, made once by `synod init`, and what is to be done with values.
//! let log = Log::open(Config::new("/var/lib/synod"), |delivery: synod_node::Delivery| {
//!     if let Some(value) = delivery.first_value() {
//!         println!("slot {}: {value:?}", delivery.slot);
//!     }
//! })
//! .await?;
//!
//! // Anywhere: answered once it is delivered here, with its slot.
//! let slot = log.submit(b"hello".to_vec()).await?;
//! println!("in slot {slot}");
//! # Ok(())
//! # }
//! ```
//!
//! - [`Log`] is a running replica: [`open`](Log::open), [`submit`](Log::submit), and by way of
//!   [`Backend`] linearizable reads, subscriptions, and status.
//! - [`Application`] is the callback. It must be deterministic, and nothing else.
//! - [`SubmitError`] tells "not done" and "unknown" apart. What is unknown may be in
//!   the log, or get there; asked again with the same session and number
//!   ([`Backend::request`]), at any replica, it is the same request, and delivered once.
//! - The client library `synod-client` does the same from another process, over the
//!   [client port](client_port), and goes on to another replica by itself.
//!
//! `impl/node/examples/key_value.rs` is a replicated map, to start from.
//!
//! # What is behind it
//!
//! The node runs the core of [`synod_model`], the very code that `synod-check` explores, unchanged. It
//! decides nothing about the protocol; it keeps the three sentences of the core's contract. In the
//! order in which to read:
//!
//! 1. `shell`: one replica and what is around it, without threads, files, sockets or a clock.
//! 2. [`storage`] over [`disk`]: the data directory, and the log on disk.
//! 3. [`peers`] with [`forming`], over [`synod_wire::frame`] and [`synod_wire::codec`]: the other
//!    replicas.
//! 4. `node`: the tasks and threads that drive a shell with real files and sockets.
//! 5. [`backend`]: what a node does for its clients; [`client_port`]: the same over TCP.
//! 6. `simulation`: a whole cluster in one thread, for tests.

// Whatever comes from outside has an error of its own; what must be true inside is asserted, with the
// reason. Tests may be short about both.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod backend;
pub mod client_port;
pub mod disk;
pub mod forming;
mod identity;
mod listen;
mod log_rate_limit;
mod node;
pub mod peers;
mod shell;
#[cfg(test)]
mod simulation;
mod start;
pub mod storage;

pub use backend::{Backend, Subscription};
pub use identity::{CLUSTER_NAME_BYTES_MAX, Identity, IdentityError};
pub use listen::{ListenError, ListensFor};
pub use node::{
    Application, Config, Log, LogSubscription, MakeError, NoApplication, NodeError, NodeOpenError,
    make_data_directory,
};
pub use shell::detector::Timing;
pub use start::StartError;
// What the interface of this package is made of, so that its users need no other.
pub use synod_model::{ReplicaId, SessionId, Slot};
pub use synod_wire::api::{
    About, Delivery, NotDone, ReadError, ReplicaStatus, Request, SubmitError, SubscribeError,
    Unknown,
};
pub use synod_wire::{ClusterId, Incarnation, Value};
