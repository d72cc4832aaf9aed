//! Who is in a cluster, as its replicas agree.

use serde::{Deserialize, Serialize};
use synod_model::{ClusterConstants, Configuration, ReplicaId, Slot};

use crate::ClusterId;

/// The members of a cluster, and what a replica that joins it must be made with.
///
/// It is what a linearizable read gives: who has seen a change in it never gets an older answer, whichever
/// replica is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its name, for people.
    pub cluster_name: String,
    /// The stride, the first members and the limits. They are the same for as long as the cluster is there.
    pub constants: ClusterConstants,
    /// The newest configuration. The members of a first one are registered here as the replica knows them, although
    /// no change has registered them yet. Who is not registered here is one of whom the replica does not know enough.
    pub configuration: Configuration,
    /// The slot of the change that made this configuration. 0 for the first one.
    pub changed_at: Slot,
    /// Whether a slot after that change is committed. Before that, the former members are still needed.
    pub is_finished: bool,
}

/// What a replica is in the newest configuration that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Membership {
    /// It votes.
    Voter,
    /// It receives everything, and counts for nothing.
    Learner,
    /// It is no member: not yet, or not any more.
    Outside,
}

impl Membership {
    /// What `replica` is in `configuration`.
    pub fn of(replica: ReplicaId, configuration: &Configuration) -> Self {
        if configuration.is_voter(replica) {
            Self::Voter
        } else if configuration.contains(replica) {
            Self::Learner
        } else {
            Self::Outside
        }
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Outside => "outside",
        }
    }
}
