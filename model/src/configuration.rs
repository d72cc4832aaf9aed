//! Which replicas take part, and what a majority of them is.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::numbers::{ConfigurationId, ReplicaId};

/// The most members that one configuration can have: the width of a [`MemberSet`].
pub const MEMBERS_MAX: usize = 16;

/// The members that govern a range of slots.
///
/// Code that needs a quorum asks a configuration, and never counts by itself. Once membership can
/// change, the slot decides which members count.
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

    /// Adds `replica` to `set` and says whether that was new. A replica that is no member never counts.
    pub fn insert(&self, set: &mut MemberSet, replica: ReplicaId) -> bool {
        let Ok(index) = self.members.binary_search(&replica) else {
            return false;
        };
        let before = set.0;
        set.0 |= 1 << index;
        set.0 != before
    }

    /// Takes `replica` out of `set`.
    pub fn remove(&self, set: &mut MemberSet, replica: ReplicaId) {
        if let Ok(index) = self.members.binary_search(&replica) {
            set.0 &= !(1 << index);
        }
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
}

impl core::fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoMembers => write!(f, "a configuration needs at least one member"),
            Self::TooManyMembers { count } => {
                write!(f, "{count} members are more than a configuration can have ({MEMBERS_MAX})")
            }
            Self::MemberTwice { member } => write!(f, "member {member} is named twice"),
        }
    }
}

impl core::error::Error for ConfigurationError {}
