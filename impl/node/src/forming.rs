//! Forming: a new cluster does nothing until all of its members have met.
//!
//! Paxos takes for granted that a replica remembers what it has promised. One whose disk is lost and
//! whose data directory is made anew under the same id remembers nothing, and looks like any other.
//! Suppose that `r2` acknowledged a value to `r1`, and then lost its disk: `r0`, which had never met
//! the first `r2`, would decide together with the second one that the value was never accepted.
//!
//! So every data directory has a random number, its [`Incarnation`], and every replica remembers on
//! its disk under which one it met each of the others. Under an id that is known, no other
//! incarnation is ever taken. And a replica takes no part in anything until
//!
//! 1. it has stored the incarnation of every other member, durably, and
//! 2. every other member has confirmed that it has stored this one's.
//!
//! From then on nobody can take this replica's place: all others know it. What was made anew before
//! that has never told anybody anything, so nothing is forgotten with it. A cluster that is formed
//! stays formed; that is stored too, so that later a majority is enough to start again.
//!
//! This is the one decision of safety that is not the core's, and it keeps what the core assumes:
//! that an id never loses its disk. [`Forming`] decides, and does nothing else; [`Store`] is where it
//! is remembered; [`Gate`] joins the two for the transport.

mod gate;
#[cfg(test)]
pub(crate) mod kit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use synod_model::ReplicaId;
use synod_wire::Incarnation;

pub use gate::{Gate, GateError};

use crate::identity::Identity;

/// Where a replica remembers which data directories its cluster is made of. Calls block.
pub trait Store: Send + 'static {
    /// Under which incarnation each other member was met, as far as they were.
    fn incarnations(&self) -> BTreeMap<ReplicaId, Incarnation>;

    /// Whether the cluster was formed, as far as this replica is concerned.
    fn is_formed(&self) -> bool;

    /// Remembers under which incarnation a member was met. When it returns, that is durable.
    ///
    /// # Errors
    ///
    /// If it may not be durable. It is not asked again then.
    fn store_incarnation(
        &mut self,
        replica: ReplicaId,
        incarnation: Incarnation,
    ) -> Result<(), StoreError>;

    /// Remembers that the cluster is formed. When it returns, that is durable.
    ///
    /// # Errors
    ///
    /// If it may not be durable. It is not asked again then.
    fn store_formed(&mut self) -> Result<(), StoreError>;
}

/// What a store fails with, in words for people.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// What a replica knows of the other members, and whether that is enough to take part.
///
/// It does nothing by itself: whoever asks it stores what is to be stored, and says when it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forming {
    others: BTreeSet<ReplicaId>,
    known: BTreeMap<ReplicaId, Incarnation>,
    /// Who has said, in this run, that it has stored this replica's incarnation.
    confirmed: BTreeSet<ReplicaId>,
    is_formed: bool,
}

/// What is to be done about a member that says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    /// It is known; nothing is to be done.
    Known,
    /// It is met for the first time: its incarnation is to be stored before it is answered.
    New,
}

/// A member comes with another incarnation than it is known under: it is another data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherIncarnation {
    /// The one that it is known under.
    pub known: Incarnation,
    /// The one that it came with.
    pub found: Incarnation,
}

impl Forming {
    /// What a replica knows when it starts, from what it has stored.
    pub fn new(
        identity: &Identity,
        known: BTreeMap<ReplicaId, Incarnation>,
        is_formed: bool,
    ) -> Self {
        let members = identity.cluster.first_configuration().members().iter().copied();
        let others: BTreeSet<_> = members.filter(|member| *member != identity.replica).collect();
        // Who is alone has nobody to meet.
        let is_formed = (is_formed || others.is_empty())
            && others.iter().all(|member| known.contains_key(member));
        Self { others, known, confirmed: BTreeSet::new(), is_formed }
    }

    /// Judges another member, which says that it has this incarnation.
    ///
    /// # Errors
    ///
    /// If it is known under another one. Nothing may be passed on to it, or taken from it.
    pub fn meet(
        &self,
        member: ReplicaId,
        found: Incarnation,
    ) -> Result<Acquaintance, OtherIncarnation> {
        match self.known.get(&member) {
            None => Ok(Acquaintance::New),
            Some(known) if *known == found => Ok(Acquaintance::Known),
            Some(known) => Err(OtherIncarnation { known: *known, found }),
        }
    }

    /// The incarnation of a [new](Acquaintance::New) member is stored, durably.
    pub fn stored(&mut self, member: ReplicaId, incarnation: Incarnation) {
        self.known.entry(member).or_insert(incarnation);
    }

    /// A member, whose own incarnation is stored here, has confirmed that it has stored this
    /// replica's. Says whether that was the last thing that was missing: that the cluster is formed
    /// is then to be stored.
    pub fn confirmed(&mut self, by: ReplicaId) -> bool {
        self.confirmed.insert(by);
        !self.is_formed && self.missing().is_empty()
    }

    /// That the cluster is formed is stored, durably.
    pub fn formed(&mut self) {
        self.is_formed = true;
    }

    /// Whether this replica may take part.
    pub fn is_formed(&self) -> bool {
        self.is_formed
    }

    /// The members that this replica has still to meet before it may take part.
    pub fn missing(&self) -> Vec<ReplicaId> {
        if self.is_formed {
            return Vec::new();
        }
        let has_met = |it: &ReplicaId| self.known.contains_key(it) && self.confirmed.contains(it);
        self.others.iter().copied().filter(|it| !has_met(it)).collect()
    }
}
