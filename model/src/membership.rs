//! What a replica is in a configuration.

use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::numbers::ReplicaId;

/// What a replica is in a configuration.
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
    #[must_use]
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
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Outside => "outside",
        }
    }
}
