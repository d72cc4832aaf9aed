//! Which replicas take part, and what a majority of them is.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::forming::Incarnation;
use crate::numbers::{ConfigurationId, ReplicaId};
use crate::registration::{ADDRESS_BYTES_MAX, Registration};

/// The most members that one configuration can have: the width of a [`MemberSet`].
pub const MEMBERS_MAX: usize = 16;

/// The members that govern a range of slots.
///
/// *Voters* accept and elect; a majority of them decides. *Learners* receive everything and never count.
///
/// A change names the data directory and the address of every member: its [`Registration`]. The members of a
/// first configuration have none. Their data directories meet when the cluster [forms](crate::Forming).
///
/// Code that needs a quorum asks a configuration, and never counts by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "AnyConfiguration")]
pub struct Configuration {
    id: ConfigurationId,
    members: Vec<ReplicaId>,
    learners: Vec<ReplicaId>,
    next_replica_id: u32,
    registrations: BTreeMap<ReplicaId, Registration>,
}

/// A configuration as it comes from outside, before it is known to be one.
#[derive(Deserialize)]
struct AnyConfiguration {
    id: ConfigurationId,
    members: Vec<ReplicaId>,
    learners: Vec<ReplicaId>,
    next_replica_id: u32,
    registrations: BTreeMap<ReplicaId, Registration>,
}

impl TryFrom<AnyConfiguration> for Configuration {
    type Error = ConfigurationError;

    fn try_from(any: AnyConfiguration) -> Result<Self, ConfigurationError> {
        let AnyConfiguration { id, members, learners, next_replica_id, registrations } = any;
        let unregistered = Self::from_parts(id, members, learners, next_replica_id)?;
        registrations.into_iter().try_fold(unregistered, |it, (member, registration)| {
            it.with_registration(member, registration)
        })
    }
}

impl Configuration {
    /// A first configuration: all `members`, in any order, vote.
    ///
    /// # Errors
    ///
    /// If there are no members, more than [`MEMBERS_MAX`], or one is named twice.
    pub fn new(id: ConfigurationId, members: Vec<ReplicaId>) -> Result<Self, ConfigurationError> {
        let next_replica_id = id_after(&members);
        Self::from_parts(id, members, Vec::new(), next_replica_id)
    }

    /// The configuration after this one, with these voters and learners, in any order. Replicas that are
    /// new have ids from [`next_replica_id`](Self::next_replica_id) on. Who was registered stays so. The others are
    /// still to be [registered](Self::with_registration).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); if there is no voter; or if a replica that is new has an id that was used
    /// before.
    pub fn changed(
        &self,
        voters: &[ReplicaId],
        learners: &[ReplicaId],
    ) -> Result<Self, ConfigurationError> {
        let members = [voters, learners].concat();
        let next_replica_id = self.next_replica_id.max(id_after(&members));
        let id = self.id.0.checked_add(1).ok_or(ConfigurationError::NoIdLeft)?;
        let id = ConfigurationId(id);
        let mut after = Self::from_parts(id, members, learners.to_vec(), next_replica_id)?;
        if let Some(member) = after.used_before(self) {
            return Err(ConfigurationError::IdUsedBefore { member });
        }
        let stay = self.registrations.iter().filter(|(member, _)| after.contains(**member));
        after.registrations = stay.map(|(member, it)| (*member, it.clone())).collect();
        Ok(after)
    }

    /// The same configuration, where `member` has this data directory and this address.
    ///
    /// # Errors
    ///
    /// If it is no member, or the address is too long.
    pub fn with_registration(
        mut self,
        member: ReplicaId,
        registration: Registration,
    ) -> Result<Self, ConfigurationError> {
        if !self.contains(member) {
            return Err(ConfigurationError::RegisteredIsNoMember { member });
        }
        if registration.address.len() > ADDRESS_BYTES_MAX {
            return Err(ConfigurationError::AddressTooLong { member });
        }
        self.registrations.insert(member, registration);
        Ok(self)
    }

    /// A configuration as it was taken apart: all members, those among them that are learners, and the next
    /// id that is free.
    ///
    /// # Errors
    ///
    /// If these are not the parts of one.
    pub fn from_parts(
        id: ConfigurationId,
        mut members: Vec<ReplicaId>,
        mut learners: Vec<ReplicaId>,
        next_replica_id: u32,
    ) -> Result<Self, ConfigurationError> {
        members.sort_unstable();
        learners.sort_unstable();
        if members.len() > MEMBERS_MAX {
            return Err(ConfigurationError::TooManyMembers { count: members.len() });
        }
        for list in [&members, &learners] {
            if let Some(pair) = list.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(ConfigurationError::MemberTwice { member: pair[0] });
            }
        }
        if let Some(&member) = learners.iter().find(|it| members.binary_search(it).is_err()) {
            return Err(ConfigurationError::LearnerIsNoMember { member });
        }
        if members.len() == learners.len() {
            return Err(ConfigurationError::NoVoters);
        }
        let beyond = members.last().filter(|last| u32::from(last.0) >= next_replica_id);
        if let Some(&member) = beyond {
            return Err(ConfigurationError::IdNotUsedYet { member });
        }
        let registrations = BTreeMap::new();
        Ok(Self { id, members, learners, next_replica_id, registrations })
    }

    /// The id of this configuration.
    #[must_use]
    pub fn id(&self) -> ConfigurationId {
        self.id
    }

    /// The members, voters and learners, by ascending id.
    #[must_use]
    pub fn members(&self) -> &[ReplicaId] {
        &self.members
    }

    /// The learners, by ascending id.
    #[must_use]
    pub fn learners(&self) -> &[ReplicaId] {
        &self.learners
    }

    /// The voters, by ascending id.
    pub fn voters(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.members.iter().copied().filter(|member| !self.is_learner(*member))
    }

    /// No replica has had this id or a higher one so far: the next new member gets it.
    #[must_use]
    pub fn next_replica_id(&self) -> u32 {
        self.next_replica_id
    }

    /// The same configuration, where every member that is not registered yet is registered as `registration` says.
    ///
    /// # Errors
    ///
    /// If an address is too long.
    pub fn with_all_registered(
        self,
        registration: impl Fn(ReplicaId) -> Registration,
    ) -> Result<Self, ConfigurationError> {
        let members = self.members.clone();
        let missing = members.into_iter().filter(|it| !self.registrations.contains_key(it));
        let missing: Vec<_> = missing.collect();
        missing
            .into_iter()
            .try_fold(self, |it, member| it.with_registration(member, registration(member)))
    }

    /// The data directory and the address of a member. None of a first member that no change has registered yet.
    #[must_use]
    pub fn registration(&self, member: ReplicaId) -> Option<&Registration> {
        self.registrations.get(&member)
    }

    /// Whether the data directory with this incarnation is not the one that is registered for `member`.
    #[must_use]
    pub fn is_other_directory(&self, member: ReplicaId, incarnation: Incarnation) -> bool {
        self.registration(member).is_some_and(|it| it.incarnation != incarnation)
    }

    /// How many bytes the addresses have. The rest of a configuration is small.
    pub(crate) fn address_bytes(&self) -> u64 {
        self.registrations.values().map(|it| it.address.len() as u64).sum()
    }

    /// Whether this configuration can come right after `before`.
    ///
    /// Every member must be registered, so that nobody else can take its place. And nobody's data directory
    /// changes, because the votes of a member are in its directory.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        let registered = |member: &ReplicaId| {
            let was = before.registration(*member);
            let is = self.registration(*member);
            is.is_some_and(|is| was.is_none_or(|was| was.incarnation == is.incarnation))
        };
        before.id.0.checked_add(1) == Some(self.id.0)
            && self.next_replica_id >= before.next_replica_id
            && self.used_before(before).is_none()
            && self.members.iter().all(registered)
    }

    /// A member that is new after `before`, and has an id that was used already.
    fn used_before(&self, before: &Self) -> Option<ReplicaId> {
        let is_used = |it: &ReplicaId| u32::from(it.0) < before.next_replica_id;
        self.members.iter().copied().find(|it| !before.contains(*it) && is_used(it))
    }

    /// Whether `replica` is a member, voter or learner.
    #[must_use]
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.members.binary_search(&replica).is_ok()
    }

    /// Whether `replica` votes.
    #[must_use]
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.contains(replica) && !self.is_learner(replica)
    }

    fn is_learner(&self, replica: ReplicaId) -> bool {
        self.learners.binary_search(&replica).is_ok()
    }

    /// Adds `replica` to `set` and says whether that was new. A replica that does not vote never counts.
    pub fn insert(&self, set: &mut MemberSet, replica: ReplicaId) -> bool {
        let Ok(index) = self.members.binary_search(&replica) else {
            return false;
        };
        if self.is_learner(replica) {
            return false;
        }
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

    /// Whether `set` holds more than half of the voters. Any two majorities share a voter, and all of
    /// Paxos rests on that.
    #[must_use]
    pub fn is_majority(&self, set: MemberSet) -> bool {
        2 * set.0.count_ones() as usize > self.members.len() - self.learners.len()
    }

    /// The members of `set`, by ascending id.
    pub fn members_of(&self, set: MemberSet) -> impl Iterator<Item = ReplicaId> + '_ {
        let members = self.members.iter().enumerate();
        members.filter(move |(index, _)| set.0 & (1 << index) != 0).map(|(_, member)| *member)
    }
}

/// The id after all of these.
fn id_after(members: &[ReplicaId]) -> u32 {
    members.iter().map(|member| u32::from(member.0) + 1).max().unwrap_or(0)
}

/// Some of the members of one configuration; kept and read by its methods.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct MemberSet(u16);

/// Why some replicas do not make a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationError {
    /// A configuration needs at least one voter.
    NoVoters,
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
    /// Every learner is a member.
    LearnerIsNoMember {
        /// The learner.
        member: ReplicaId,
    },
    /// A replica that is new has an id that was used before. Ids are never used again.
    IdUsedBefore {
        /// The replica.
        member: ReplicaId,
    },
    /// A member has an id that is said to be free.
    IdNotUsedYet {
        /// The member.
        member: ReplicaId,
    },
    /// Only members are registered.
    RegisteredIsNoMember {
        /// Who is registered.
        member: ReplicaId,
    },
    /// There is no id for another configuration.
    NoIdLeft,
    /// An address has more bytes than [`ADDRESS_BYTES_MAX`].
    AddressTooLong {
        /// Whose address it is.
        member: ReplicaId,
    },
}

impl core::fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoVoters => write!(f, "a configuration needs at least one voter"),
            Self::TooManyMembers { count } => {
                write!(f, "{count} members are more than a configuration can have ({MEMBERS_MAX})")
            }
            Self::MemberTwice { member } => write!(f, "member {member} is named twice"),
            Self::LearnerIsNoMember { member } => {
                write!(f, "learner {member} is not among the members")
            }
            Self::IdUsedBefore { member } => {
                write!(f, "the id {member} was used before, and ids are never used again")
            }
            Self::IdNotUsedYet { member } => {
                write!(f, "member {member} has an id that is said to be free")
            }
            Self::RegisteredIsNoMember { member } => {
                write!(f, "replica {member} is registered, and is not among the members")
            }
            Self::NoIdLeft => write!(f, "no id is left for another configuration"),
            Self::AddressTooLong { member } => {
                write!(
                    f,
                    "the address of member {member} is longer than an address can be \
                     ({ADDRESS_BYTES_MAX} bytes)"
                )
            }
        }
    }
}

impl core::error::Error for ConfigurationError {}
