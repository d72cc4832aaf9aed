//! Who takes part, what a majority is, and whose a sequence number is.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::numbers::{ConfigurationId, ReplicaId, SequenceNumber};

/// The most members that one configuration can have: the width of a [`MemberSet`].
pub const MEMBERS_MAX: usize = 16;

/// The members that govern a range of slots.
///
/// Whoever needs a quorum asks a configuration for it, and never counts by itself: which members
/// count depends on the slot as soon as membership can change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "AnyConfiguration")]
pub struct Configuration {
    id: ConfigurationId,
    members: Vec<ReplicaId>,
}

/// A configuration as it comes from outside, before it is known to be one.
#[derive(Deserialize)]
struct AnyConfiguration {
    id: ConfigurationId,
    members: Vec<ReplicaId>,
}

impl TryFrom<AnyConfiguration> for Configuration {
    type Error = ConfigurationError;

    fn try_from(any: AnyConfiguration) -> Result<Self, ConfigurationError> {
        Self::new(any.id, any.members)
    }
}

impl Configuration {
    /// A configuration of `members`, in any order.
    ///
    /// # Errors
    ///
    /// If there are no members, more than [`MEMBERS_MAX`], or one is named twice.
    pub fn new(
        id: ConfigurationId,
        mut members: Vec<ReplicaId>,
    ) -> Result<Self, ConfigurationError> {
        members.sort_unstable();
        if members.is_empty() {
            return Err(ConfigurationError::NoMembers);
        }
        if members.len() > MEMBERS_MAX {
            return Err(ConfigurationError::TooManyMembers { count: members.len() });
        }
        if let Some(pair) = members.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConfigurationError::MemberTwice { member: pair[0] });
        }
        Ok(Self { id, members })
    }

    /// The id of this configuration.
    #[must_use]
    pub fn id(&self) -> ConfigurationId {
        self.id
    }

    /// The members, by ascending id.
    #[must_use]
    pub fn members(&self) -> &[ReplicaId] {
        &self.members
    }

    /// Whether `replica` is a member.
    #[must_use]
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.members.binary_search(&replica).is_ok()
    }

    /// Adds `replica` to `set` and says whether that was new. One who is no member never counts.
    pub fn insert(&self, set: &mut MemberSet, replica: ReplicaId) -> bool {
        let Ok(index) = self.members.binary_search(&replica) else {
            return false;
        };
        let before = set.0;
        set.0 |= 1 << index;
        set.0 != before
    }

    /// Whether `replica` is in `set`.
    #[must_use]
    pub fn is_in(&self, set: MemberSet, replica: ReplicaId) -> bool {
        self.members.binary_search(&replica).is_ok_and(|index| set.0 & (1 << index) != 0)
    }

    /// Whether `set` holds more than half of the members. Any two majorities share a member, and
    /// all of Paxos rests on that.
    #[must_use]
    pub fn is_majority(&self, set: MemberSet) -> bool {
        2 * set.0.count_ones() as usize > self.members.len()
    }

    /// The members of `set`, by ascending id.
    pub fn members_of(&self, set: MemberSet) -> impl Iterator<Item = ReplicaId> + '_ {
        let members = self.members.iter().enumerate();
        members.filter(move |(index, _)| set.0 & (1 << index) != 0).map(|(_, member)| *member)
    }
}

/// Some of the members of one configuration; kept and read by its methods.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct MemberSet(u16);

/// Why some replicas do not make a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationError {
    /// A configuration needs at least one member.
    NoMembers,
    /// More than [`MEMBERS_MAX`].
    TooManyMembers {
        /// How many there were.
        count: usize,
    },
    /// Every member is to be named once.
    MemberTwice {
        /// The member that was named again.
        member: ReplicaId,
    },
    /// A limit of zero would let nothing through.
    LimitIsZero {
        /// The name of the limit.
        limit: &'static str,
    },
    /// An id that the stride has no residue for.
    MemberBeyondStride {
        /// The member whose id is not below the stride.
        member: ReplicaId,
    },
}

impl core::fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoMembers => write!(f, "a configuration needs at least one member"),
            Self::TooManyMembers { count } => {
                write!(f, "{count} members are more than a configuration can have ({MEMBERS_MAX})")
            }
            Self::MemberTwice { member } => write!(f, "member {member} is named twice"),
            Self::LimitIsZero { limit } => {
                write!(f, "the limit {limit} is zero, and would let nothing through")
            }
            Self::MemberBeyondStride { member } => {
                write!(
                    f,
                    "member {member} can own no sequence number: its id is not below the stride"
                )
            }
        }
    }
}

impl core::error::Error for ConfigurationError {}

/// What all replicas of a cluster agree on before they first speak to one another, and what never
/// changes after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "AnyCluster")]
pub struct Cluster {
    stride: u64,
    first: Configuration,
    limits: Limits,
}

/// A cluster as it comes from outside, before it is known to be one.
#[derive(Deserialize)]
struct AnyCluster {
    stride: u64,
    first: Configuration,
    limits: Limits,
}

impl TryFrom<AnyCluster> for Cluster {
    type Error = ConfigurationError;

    fn try_from(any: AnyCluster) -> Result<Self, ConfigurationError> {
        Self::new(any.stride, any.first, any.limits)
    }
}

impl Cluster {
    /// A cluster whose sequence numbers have the given stride, whose first members are `first`, and
    /// which keeps `limits`.
    ///
    /// # Errors
    ///
    /// If a member's id is not below the stride, for two replicas would own the same numbers; or if a
    /// limit is zero.
    pub fn new(
        stride: u64,
        first: Configuration,
        limits: Limits,
    ) -> Result<Self, ConfigurationError> {
        if let Some(limit) = limits.find_zero() {
            return Err(ConfigurationError::LimitIsZero { limit });
        }
        match first.members().iter().find(|member| u64::from(member.0) >= stride) {
            Some(&member) => Err(ConfigurationError::MemberBeyondStride { member }),
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
