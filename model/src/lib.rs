#![doc = include_str!("lib.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "stateright")]
extern crate std;

mod acceptor;
mod alone;
mod configuration;
mod constants;
mod counted;
mod entry;
mod forming;
mod frames;
mod io;
mod learner;
mod limits;
mod membership;
mod message;
mod numbers;
mod prefix;
mod record;
mod recovery;
mod registration;
mod replica;
mod sessions;
#[cfg(feature = "stateright")]
pub mod show;
mod snapshot;
mod testimony;
mod unsynced;
#[cfg(feature = "stateright")]
pub mod world;

pub use alone::{CommittedLog, LeftOut, NotAlone, Survivor};
pub use configuration::{Configuration, ConfigurationError, MEMBERS_MAX, MemberSet};
pub use constants::{ClusterConstants, ConstantsError};
pub use entry::{Change, Entry, Opening, Request, SubmissionId, Value};
pub use forming::{Decision, Forming, Greeting, Incarnation, KnownMembers, OtherIncarnation};
pub use frames::FrameRoom;
pub use io::{
    ClientAnswer, Contradiction, Delivered, ElectRefused, Input, OtherHistory, Outgoing, Output,
    ReadRefused, Serve, SubmitRefused, To,
};
pub use limits::{LimitContradiction, Limits};
pub use membership::Membership;
pub use message::{Accepted, Message, NotTakenReason, Order, Promise, Reply};
pub use numbers::{
    ConfigurationId, Position, ReadId, ReplicaId, RoundNumber, Run, SequenceNumber, SessionId,
    Slot, SlotRange,
};
pub use prefix::{Prefix, PrefixHash, PrefixHashes};
pub use record::{Base, Content, Fold, Record, RecordError, Stored};
pub use recovery::Recovery;
pub use registration::{ADDRESS_BYTES_MAX, Registration};
pub use replica::{Hung, Replica, Resource, RoleName, Status};
pub use sessions::{DeliveryRefused, Known, RequestTable, Verdict};
pub use snapshot::{NotRestorable, SnapshotHandle};
pub use testimony::{Forgotten, Testimony, ToldAccepted};
