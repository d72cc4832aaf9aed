//! What never changes in a cluster: the limits, its first configuration, and whose a sequence number is.

use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::limits::{LimitContradiction, Limits};
use crate::numbers::{ReplicaId, SequenceNumber};

/// What all replicas of a cluster agree on before they first speak to one another, and what never
/// changes after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "AnyConstants")]
pub struct ClusterConstants {
    stride: u64,
    first: Configuration,
    limits: Limits,
}

/// Constants as they come from outside, before they are checked.
#[derive(Deserialize)]
struct AnyConstants {
    stride: u64,
    first: Configuration,
    limits: Limits,
}

impl TryFrom<AnyConstants> for ClusterConstants {
    type Error = ConstantsError;

    fn try_from(any: AnyConstants) -> Result<Self, ConstantsError> {
        Self::new(any.stride, any.first, any.limits)
    }
}

impl ClusterConstants {
    /// The constants of a cluster whose sequence numbers have the given stride, whose first members
    /// are `first`, and whose replicas keep `limits`.
    ///
    /// # Errors
    ///
    /// If a member's id is not below the stride, for two replicas would own the same numbers; if a
    /// limit is zero; or if two limits contradict each other.
    pub fn new(stride: u64, first: Configuration, limits: Limits) -> Result<Self, ConstantsError> {
        if let Some(limit) = limits.find_zero() {
            return Err(ConstantsError::LimitIsZero { limit });
        }
        if let Some(contradiction) = limits.contradiction() {
            return Err(ConstantsError::LimitsContradict(contradiction));
        }
        match first.members().iter().find(|member| u64::from(member.0) >= stride) {
            Some(&member) => Err(ConstantsError::MemberBeyondStride { member }),
            None => Ok(Self { stride, first, limits }),
        }
    }

    /// The distance between two numbers of one replica.
    #[must_use]
    pub fn stride(&self) -> u64 {
        self.stride
    }

    /// The configuration that the cluster starts with.
    #[must_use]
    pub fn first_configuration(&self) -> &Configuration {
        &self.first
    }

    /// The limits that all replicas keep.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether `replica` owns the number `s`, that is, may coordinate under it.
    #[must_use]
    pub fn owns(&self, replica: ReplicaId, s: SequenceNumber) -> bool {
        s != SequenceNumber::NONE && s.0 % self.stride == u64::from(replica.0)
    }

    /// The replica that owns `s`; nobody owns [`SequenceNumber::NONE`], nor a number of an id that
    /// no replica can have.
    #[must_use]
    pub fn owner(&self, s: SequenceNumber) -> Option<ReplicaId> {
        if s == SequenceNumber::NONE {
            return None;
        }
        u16::try_from(s.0 % self.stride).ok().map(ReplicaId)
    }

    /// The smallest number above `seen` that `replica` owns (Paxos Made Live, 4.1, footnote 1).
    /// `None` once there is no larger number.
    #[must_use]
    pub fn next_number(&self, replica: ReplicaId, seen: SequenceNumber) -> Option<SequenceNumber> {
        let residue = u64::from(replica.0);
        let above = seen.0.checked_add(1)?;
        let ahead = (residue + self.stride - above % self.stride) % self.stride;
        above.checked_add(ahead).map(SequenceNumber)
    }
}

/// Why these are not the constants of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstantsError {
    /// A limit of zero would let nothing through.
    LimitIsZero {
        /// The name of the limit.
        limit: &'static str,
    },
    /// One limit lets in what another never lets out.
    LimitsContradict(LimitContradiction),
    /// A member whose id is not below the stride owns no sequence number.
    MemberBeyondStride {
        /// The member.
        member: ReplicaId,
    },
}

impl core::fmt::Display for ConstantsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::LimitIsZero { limit } => {
                write!(f, "the limit {limit} is zero, and would let nothing through")
            }
            Self::LimitsContradict(contradiction) => contradiction.fmt(f),
            Self::MemberBeyondStride { member } => {
                write!(
                    f,
                    "member {member} can own no sequence number: its id is not below the stride"
                )
            }
        }
    }
}

impl core::error::Error for ConstantsError {}
