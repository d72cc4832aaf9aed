//! What two replicas say to each other before any message.

use serde::{Deserialize, Serialize};
use synod_model::{Incarnation, ReplicaId, Run};
use synod_wire::ClusterId;
use thiserror::Error;

use super::lane::Lane;

/// The version of everything that replicas say to each other. A change to the meaning of any message,
/// here or in the core, needs a new version.
pub const PROTOCOL_VERSION: u32 = 7;

/// Who a replica is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Introduction {
    pub(super) cluster_id: ClusterId,
    /// The name and the members are in the cluster id already. They tell people why two ids differ.
    pub(super) cluster_name: String,
    /// The first ones.
    pub(super) members: Vec<ReplicaId>,
    pub(super) replica: ReplicaId,
    pub(super) incarnation: Incarnation,
    pub(super) run: Run,
}

/// What the dialer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) from: Introduction,
    /// Where the dialer's peers look for it, as far as it knows. A replica outside the configuration is dialled back
    /// there.
    pub(super) address: Option<String>,
    /// The replica that the dialer looks for.
    pub(super) to: ReplicaId,
    /// What the connection is for.
    pub(super) purpose: Purpose,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// The dialer sends messages of this lane.
    Messages(Lane),
    /// The dialer fetches a [snapshot](super::snapshots).
    Snapshots,
}

/// What the acceptor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HelloReply {
    /// "I have stored who you are, and this is who I am."
    Welcome(Introduction),
    /// "I do not talk to you, and this is who I am."
    Refused(Introduction, Refusal),
}

/// Why an acceptor does not talk to a dialer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub(super) enum Refusal {
    #[error("which is of another cluster")]
    OtherCluster,
    #[error("which looks for another replica")]
    WrongReplica,
    #[error("which is none of its peers")]
    NoPeer,
    #[error("which it knows as incarnation {known}")]
    OtherIncarnation { known: Incarnation },
    #[error(
        "for it talks to another data directory under this id already\n  \
         if that one is to join as well, make this one again: `synod init --join` gives it another id"
    )]
    IdTaken,
    #[error("for it talks to {guests_max} other replicas outside the configuration already")]
    TooManyGuests { guests_max: u64 },
    #[error("which speaks another version of the protocol")]
    OtherVersion,
    #[error("for it is starting: it has read {segments_read} of {segments} segments of its log")]
    Starting { segments_read: u64, segments: u64 },
}
