//! What the members are after a change, or why there can be no such change. Nothing here asks anybody.

use synod_model::{Configuration, ConfigurationError, MEMBERS_MAX, Registration, ReplicaId};
use synod_wire::address::canonical;
use synod_wire::api::Membership;
use thiserror::Error;

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// One more member.
    Add { id: ReplicaId, registration: Registration, is_learner: bool },
    /// A learner becomes a voter.
    Promote { id: ReplicaId },
    /// One member less.
    Remove { id: ReplicaId },
    /// One member takes the place of another. A learner needs no registration, because it has one.
    Replace { old: ReplicaId, new: ReplicaId, registration: Option<Registration> },
    /// A member is found at another address.
    Move { id: ReplicaId, address: String },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// These become the members.
    Change(Configuration),
    /// It is so already: this sentence says what is.
    AlreadySo(String),
}

/// Why there can be no such change. Nothing was asked of the cluster but who its members are.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    /// The id had another owner, or was passed over.
    #[error(
        "the id {id} cannot be given any more: ids ascend, and none is given twice\n  \
         the next free id is {next}: `synod init --join` makes a data directory for it"
    )]
    IdUsedBefore { id: ReplicaId, next: u32 },
    /// Nothing would change.
    #[error("r{id} cannot take its own place\n  `synod init --join` makes a replica that can")]
    OwnPlace { id: ReplicaId },
    /// No cluster with this stride can have that id.
    #[error("{id} is too large for the id of a replica: ids in this cluster are below {stride}")]
    IdTooLarge { id: ReplicaId, stride: u64 },
    /// Only a member can be changed.
    #[error("r{id} is no member of the cluster; the members are {}", names(members))]
    NotAMember { id: ReplicaId, members: Vec<ReplicaId> },
    /// It would have another data directory.
    #[error(
        "r{id} is a member already, with another data directory: incarnation {known}\n  \
         a member whose directory is lost is replaced by one with another id: see \
         `synod member replace`"
    )]
    OtherDirectory { id: ReplicaId, known: String },
    /// It would be at another address.
    #[error("r{id} is a member already, at {address}\n  `synod member move` changes an address")]
    OtherAddress { id: ReplicaId, address: String },
    /// It is a learner, and was to be added as a voter.
    #[error("r{id} is a learner already\n  `synod member promote {id}` makes it a voter")]
    AlreadyLearner { id: ReplicaId },
    /// It is a voter, and was to be added as a learner, or to take another one's place.
    #[error(
        "r{id} is a voter already\n  \
         a voter does not become a learner: remove it, and let another replica join as a learner"
    )]
    AlreadyVoter { id: ReplicaId },
    /// A new member needs a registration.
    #[error(
        "r{id} is no member yet: give its --address and its --incarnation\n  \
         `synod init --join` has printed both"
    )]
    NotRegistered { id: ReplicaId },
    /// Without a voter nothing is ever agreed on.
    #[error(
        "r{id} is the last voter, and a cluster needs one\n  \
         `synod member replace` puts another replica in its place"
    )]
    LastVoter { id: ReplicaId },
    /// Too many.
    #[error("{count} members are too many: a cluster can have {MEMBERS_MAX}, learners among them")]
    TooMany { count: usize },
    /// Two replicas cannot listen at one address.
    #[error("r{other} has the address {address} already\n  each member needs one of its own")]
    SameAddress { other: ReplicaId, address: String },
    /// A change must name the data directory and the address of every member.
    #[error(
        "the replica that was asked does not know the address of {}\n  \
         start it again with --peers, or ask another replica",
        names(members)
    )]
    Unregistered { members: Vec<ReplicaId> },
    /// What else makes no configuration.
    #[error("these cannot be the members of a cluster: {0}")]
    Configuration(ConfigurationError),
}

/// Works out what is to be done to the cluster with this configuration, whose ids are below `stride`.
///
/// # Errors
///
/// If there can be no such change.
pub(crate) fn plan(before: &Configuration, stride: u64, wish: &Wish) -> Result<Plan, Refused> {
    let lacks = |member: &&ReplicaId| before.registration(**member).is_none();
    let unregistered: Vec<_> = before.members().iter().filter(lacks).copied().collect();
    if !unregistered.is_empty() {
        return Err(Refused::Unregistered { members: unregistered });
    }
    match wish {
        Wish::Add { id, registration, is_learner } => {
            add(before, stride, *id, registration, *is_learner)
        }
        Wish::Promote { id } => promote(before, *id),
        Wish::Remove { id } => remove(before, *id),
        Wish::Replace { old, new, registration } => {
            replace(before, stride, *old, *new, registration.as_ref())
        }
        Wish::Move { id, address } => relocate(before, *id, address),
    }
}

fn add(
    before: &Configuration,
    stride: u64,
    id: ReplicaId,
    registration: &Registration,
    is_learner: bool,
) -> Result<Plan, Refused> {
    match (Membership::of(id, before), is_learner) {
        (Membership::Outside, _) => {}
        (Membership::Learner, true) | (Membership::Voter, false) => {
            check_registered(before, id, registration)?;
            let name = Membership::of(id, before).name();
            return Ok(Plan::AlreadySo(format!("r{id} is a {name} already")));
        }
        (Membership::Learner, false) => return Err(Refused::AlreadyLearner { id }),
        (Membership::Voter, true) => return Err(Refused::AlreadyVoter { id }),
    }
    let mut lists = Lists::of(before);
    if is_learner { &mut lists.learners } else { &mut lists.voters }.push(id);
    let next = lists.with_new(before, stride, id)?;
    registered(next, id, registration.clone())
}

fn promote(before: &Configuration, id: ReplicaId) -> Result<Plan, Refused> {
    match Membership::of(id, before) {
        Membership::Voter => Ok(Plan::AlreadySo(format!("r{id} is a voter already"))),
        Membership::Outside => Err(not_a_member(before, id)),
        Membership::Learner => {
            let mut lists = Lists::of(before).without(id);
            lists.voters.push(id);
            lists.changed(before).map(Plan::Change)
        }
    }
}

fn remove(before: &Configuration, id: ReplicaId) -> Result<Plan, Refused> {
    if !before.contains(id) {
        return if was_used(before, id) {
            Ok(Plan::AlreadySo(format!("r{id} is no member any more")))
        } else {
            Err(not_a_member(before, id))
        };
    }
    let lists = Lists::of(before).without(id);
    if lists.voters.is_empty() {
        return Err(Refused::LastVoter { id });
    }
    lists.changed(before).map(Plan::Change)
}

fn replace(
    before: &Configuration,
    stride: u64,
    old: ReplicaId,
    new: ReplicaId,
    registration: Option<&Registration>,
) -> Result<Plan, Refused> {
    if old == new {
        return Err(Refused::OwnPlace { id: new });
    }
    let is_member = before.contains(new);
    if let Some(registration) = registration.filter(|_| is_member) {
        check_registered(before, new, registration)?;
    }
    if !before.contains(old) {
        return if is_member && was_used(before, old) {
            let name = Membership::of(new, before).name();
            Ok(Plan::AlreadySo(format!("r{old} is no member any more, and r{new} is a {name}")))
        } else {
            Err(not_a_member(before, old))
        };
    }
    if before.is_voter(new) {
        return Err(Refused::AlreadyVoter { id: new });
    }
    let mut lists = Lists::of(before).without(old).without(new);
    if before.is_voter(old) { &mut lists.voters } else { &mut lists.learners }.push(new);
    if is_member {
        return lists.changed(before).map(Plan::Change);
    }
    let registration = registration.ok_or(Refused::NotRegistered { id: new })?;
    registered(lists.with_new(before, stride, new)?, new, registration.clone())
}

fn relocate(before: &Configuration, id: ReplicaId, address: &str) -> Result<Plan, Refused> {
    let registration = before.registration(id).ok_or_else(|| not_a_member(before, id))?;
    if registration.address == address {
        return Ok(Plan::AlreadySo(format!("r{id} is at {address} already")));
    }
    let registration = Registration { address: address.to_owned(), ..registration.clone() };
    registered(Lists::of(before).changed(before)?, id, registration)
}

/// The members by what they are.
struct Lists {
    voters: Vec<ReplicaId>,
    learners: Vec<ReplicaId>,
}

impl Lists {
    fn of(configuration: &Configuration) -> Self {
        let voters = configuration.voters().collect();
        Self { voters, learners: configuration.learners().to_vec() }
    }

    fn without(mut self, id: ReplicaId) -> Self {
        self.voters.retain(|it| *it != id);
        self.learners.retain(|it| *it != id);
        self
    }

    /// The configuration after `before` with these members, of whom `id` is new.
    fn with_new(
        &self,
        before: &Configuration,
        stride: u64,
        id: ReplicaId,
    ) -> Result<Configuration, Refused> {
        if was_used(before, id) {
            return Err(Refused::IdUsedBefore { id, next: before.next_replica_id() });
        }
        if u64::from(id.0) >= stride {
            return Err(Refused::IdTooLarge { id, stride });
        }
        self.changed(before)
    }

    fn changed(&self, before: &Configuration) -> Result<Configuration, Refused> {
        before.changed(&self.voters, &self.learners).map_err(|error| match error {
            ConfigurationError::TooManyMembers { count } => Refused::TooMany { count },
            error => Refused::Configuration(error),
        })
    }
}

/// The change to `next`, where `id` has this registration.
fn registered(
    next: Configuration,
    id: ReplicaId,
    registration: Registration,
) -> Result<Plan, Refused> {
    let address = canonical(&registration.address);
    let has_it = |other: &&ReplicaId| {
        let its = next.registration(**other).map(|it| canonical(&it.address));
        **other != id && its.as_ref() == Some(&address)
    };
    if let Some(&other) = next.members().iter().find(has_it) {
        return Err(Refused::SameAddress { other, address: registration.address });
    }
    let next = next.with_registration(id, registration).map_err(Refused::Configuration)?;
    Ok(Plan::Change(next))
}

/// Checks that a member is the one that is meant.
fn check_registered(
    before: &Configuration,
    id: ReplicaId,
    registration: &Registration,
) -> Result<(), Refused> {
    match before.registration(id) {
        Some(known) if known.incarnation != registration.incarnation => {
            Err(Refused::OtherDirectory { id, known: known.incarnation.to_string() })
        }
        Some(known) if canonical(&known.address) != canonical(&registration.address) => {
            Err(Refused::OtherAddress { id, address: known.address.clone() })
        }
        _ => Ok(()),
    }
}

fn was_used(before: &Configuration, id: ReplicaId) -> bool {
    u32::from(id.0) < before.next_replica_id()
}

fn not_a_member(before: &Configuration, id: ReplicaId) -> Refused {
    Refused::NotAMember { id, members: before.members().to_vec() }
}

/// Replicas, as people read them.
pub(crate) fn names(replicas: &[ReplicaId]) -> String {
    let names: Vec<_> = replicas.iter().map(|id| format!("r{id}")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
