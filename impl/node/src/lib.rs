#![doc = include_str!("lib.md")]
// Whatever comes from outside has an error of its own; what must be true inside is asserted, with the
// reason. Tests may be short about both.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod alone;
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
pub mod state_machine;
pub mod storage;

pub use alone::{
    AloneError, AloneProgress, AloneStep, NewCluster, Remains, look_at_remains, recover_alone,
};
pub use backend::{Backend, Subscription};
pub use identity::{CLUSTER_NAME_BYTES_MAX, Identity, IdentityError};
pub use listen::{ListenError, ListensFor, ephemeral_ports_of, warn_if_ephemeral};
pub use node::{
    Config, MakeError, Node, NodeBackend, NodeError, NodeOpenError, NodeSubscription, PreparedNode,
    RestoreProgress, SnapshotOptions, Stopping, join_data_directory, make_data_directory,
    restore_data_directory, state_bytes,
};
pub use shell::detector::Timing;
pub use start::{RestoreError, StartError};
pub use state_machine::{BareLog, Snapshot, StateMachine};
// What the interface of this package is made of, so that its users need no other.
pub use synod_model::{Configuration, Forgotten, Incarnation, LeftOut, Membership, NotAlone};
pub use synod_model::{ReplicaId, SessionId, Slot};
pub use synod_wire::api::{
    About, Answered, Applied, Consistency, Delivery, NotDone, QueryError, ReadError, ReplicaStatus,
    Request, Response, SnapshotTaken, Starting, SubmitError, SubscribeError, TakeSnapshotError,
    Unknown,
};
pub use synod_wire::{ClusterId, Value};
