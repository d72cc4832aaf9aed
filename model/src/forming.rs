//! Forming: a new cluster does nothing until all of its members know one another.
//!
//! Paxos assumes that a replica remembers what it has promised and accepted. A replica whose data
//! directory is lost, and made anew under the same id, remembers nothing, and looks like any other.
//! Three replicas show what that leads to:
//!
//! | what happens                                    | r0         | r1    | r2         |
//! |-------------------------------------------------|------------|-------|------------|
//! | r1 asks all to accept `a`; r0 hears nothing     | -          | `a@1` | `a@1`      |
//! | `a` is chosen: r1 and r2 are a majority         | -          | `a@1` | `a@1`      |
//! | the disk of r2 is lost, and r2 is made anew     | -          | `a@1` | -          |
//! | r0 proposes 3; r2 promises, and reports nothing | promised 3 | `a@1` | promised 3 |
//! | r0 chooses `b`: r0 and r2 are a majority        | `b@3`      | `a@1` | `b@3`      |
//!
//! Two values are chosen, and nobody broke a rule that it could know of. So the rules must keep the
//! second r2 out. Each data directory has an [`Incarnation`], a random number that is drawn when the
//! directory is made. Each replica stores the incarnation of every other member, as its
//! [`KnownMembers`]. Two rules follow:
//!
//! 1. **Under a known id no other incarnation is ever taken.** A replica that knows the first r2
//!    refuses the second one, for ever.
//! 2. **A replica takes no part until it has durably stored the incarnation of every other member,
//!    and every other member has confirmed that it has durably stored this one's.**
//!
//! The first rule alone is not enough. In the table, r0 has never met the first r2, so it would take
//! the second one. The second rule closes that gap: before the first r2 acknowledges anything, r0 has
//! stored who it is. From then on nobody can take the place of r2, as long as a single other member
//! keeps its own directory. A directory that is lost before that has told nobody anything, so nothing
//! is forgotten with it.
//!
//! What the second rule costs is paid once: when a cluster starts for the first time, all its members
//! must be up. A cluster that is formed stays formed. That is stored as well, so a majority is enough
//! for every later start.
//!
//! # Members that come later
//!
//! A change of the members [registers](crate::Registration) the data directory of each. It is committed like any
//! entry, so every replica that the configuration governs knows the same directories, and nobody has to meet
//! anybody. A replica that comes later is made for a cluster that is formed, and is formed from the beginning. It
//! may talk to anyone of the cluster, and counts for nothing until it is registered.
//!
//! Replicas outside the configuration are admitted as well: some have not heard yet that they are members, some
//! serve what they know. Nothing is stored of them, and only the core decides what counts.
//!
//! # What a shell must do
//!
//! Members greet one another: a [`Hello`](Greeting::Hello) says who the sender is, and is answered
//! by a [`Welcome`](Greeting::Welcome) or a [`Refusal`](Greeting::Refusal). The shell gives each
//! greeting to [`Forming::receive`] and does what the [`Decision`] says. It ensures three things:
//!
//! - A greeting joins two data directories: the answer to a hello reaches the directory that sent the
//!   hello, and no other under its id. (A connection that is used for both ensures it.)
//! - [`Forming::stored`] is called only when what it is given is durable. One [`Decision::Store`] is
//!   carried out at a time. A greeting that leads to another one meanwhile is given again afterwards.
//! - A message is passed on only from and to a directory that [passes](Forming::passes).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::numbers::ReplicaId;

/// A random number that is drawn when a data directory is made. It tells this directory from every
/// other one under the same replica id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u128);

impl Incarnation {
    /// In models and tests, a replica has fewer data directories than that, one after another.
    pub(crate) const DIRECTORIES_MAX: u128 = 100;

    /// For models and tests, where nothing is random: that of the first data directory of `replica`.
    #[must_use]
    pub fn first_of(replica: ReplicaId) -> Self {
        Self(u128::from(replica.0) * Self::DIRECTORIES_MAX)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a replica stores about the data directories of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KnownMembers {
    /// The incarnation of each other member that is known.
    pub incarnations: BTreeMap<ReplicaId, Incarnation>,
    /// Whether this replica may take part. Never taken back.
    pub is_formed: bool,
}

impl KnownMembers {
    /// What a new data directory knows: nobody. A replica that is alone has nobody to know.
    #[must_use]
    pub fn new(members: &Configuration) -> Self {
        Self { incarnations: BTreeMap::new(), is_formed: members.members().len() == 1 }
    }
}

/// What one member says to another about their data directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// "This is my incarnation." Wants an answer.
    Hello,
    /// The answer to a hello: "This is my incarnation, and I have durably stored yours."
    Welcome,
    /// The answer to a hello: "This is my incarnation, and I know your id with another one."
    Refusal {
        /// The incarnation that the sender knows.
        known: Incarnation,
    },
}

/// What a shell must do about a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Make this durable in place of what was known, call [`Forming::stored`], and give the same
    /// greeting again. Until then the sender gets no answer.
    Store(KnownMembers),
    /// The sender is who it should be. Answer a hello with a welcome.
    Admit,
    /// The sender has another data directory than the one that is known. Answer a hello with a
    /// refusal, and pass nothing on.
    Refuse(OtherIncarnation),
    /// The sender knows this replica's id with another data directory. This one was made anew, and
    /// must never take part: stop, for good.
    Stop {
        /// The incarnation that the sender knows.
        known: Incarnation,
    },
    /// The sender is this replica itself, or no member of a cluster that is not formed. Pass nothing on.
    NoPeer,
}

/// A member comes with another incarnation than the one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherIncarnation {
    /// The one that is known.
    pub known: Incarnation,
    /// The one that it comes with.
    pub found: Incarnation,
}

/// What a replica knows of the other members, and whether that is enough to take part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forming {
    replica: ReplicaId,
    others: BTreeSet<ReplicaId>,
    /// The data directories that the newest configuration registers.
    registered: BTreeMap<ReplicaId, Incarnation>,
    /// What is on the disk.
    known: KnownMembers,
    /// The members that have confirmed, in this run, that they have stored this replica's
    /// incarnation. Of no interest once the cluster is formed.
    confirmed: BTreeSet<ReplicaId>,
}

impl Forming {
    /// Where `replica` stands when it starts with `known` on its disk. `newest` is the newest configuration that it
    /// knows.
    ///
    /// If `known` says that the cluster is formed but lacks the incarnation of a fellow member, it contradicts
    /// itself. The replica then starts as not formed.
    #[must_use]
    pub fn new(replica: ReplicaId, newest: &Configuration, known: KnownMembers) -> Self {
        let mut forming = Self {
            replica,
            others: BTreeSet::new(),
            registered: BTreeMap::new(),
            known,
            confirmed: BTreeSet::new(),
        };
        forming.govern(newest);
        let knows_all = forming.others.iter().all(|it| forming.knows(*it).is_some());
        if newest.contains(replica) && !knows_all {
            forming.known.is_formed = false;
        }
        forming.known.is_formed |= forming.others.is_empty();
        forming
    }

    /// From now on `newest` is the newest configuration that this replica knows.
    pub fn govern(&mut self, newest: &Configuration) {
        let members = newest.members().iter().copied();
        self.others = members.filter(|member| *member != self.replica).collect();
        let registered = |id: &ReplicaId| Some((*id, newest.registration(*id)?.incarnation));
        self.registered = self.others.iter().filter_map(registered).collect();
    }

    /// Judges `greeting` of the replica `from`, which says that its incarnation is `incarnation`.
    pub fn receive(
        &mut self,
        from: ReplicaId,
        incarnation: Incarnation,
        greeting: Greeting,
    ) -> Decision {
        let is_member = self.others.contains(&from);
        if from == self.replica || !(is_member || self.is_formed()) {
            return Decision::NoPeer;
        }
        // Nothing counts that another directory says: it may have been made anew, and have met anybody.
        if let Err(other) = self.check(from, incarnation) {
            return Decision::Refuse(other);
        }
        if let Greeting::Refusal { known } = greeting {
            // Of a replica outside the configuration it may be unknown which directory it has.
            let is_believed = is_member || self.knows(from).is_some();
            return if is_believed { Decision::Stop { known } } else { Decision::NoPeer };
        }
        if !is_member {
            return Decision::Admit;
        }
        if self.knows(from).is_none() {
            let mut known = self.known.clone();
            known.incarnations.insert(from, incarnation);
            return Decision::Store(known);
        }
        if greeting == Greeting::Welcome && !self.known.is_formed {
            self.confirmed.insert(from);
            if self.missing().is_empty() {
                return Decision::Store(KnownMembers { is_formed: true, ..self.known.clone() });
            }
        }
        Decision::Admit
    }

    /// Checks that `member` is not known with another incarnation than `found`. Of a replica outside the
    /// configuration nothing need be known.
    ///
    /// # Errors
    ///
    /// If it is.
    pub fn check(&self, member: ReplicaId, found: Incarnation) -> Result<(), OtherIncarnation> {
        match self.knows(member) {
            Some(known) if known != found => Err(OtherIncarnation { known, found }),
            _ => Ok(()),
        }
    }

    /// `known`, as [`Decision::Store`] named it, is durable.
    pub fn stored(&mut self, known: KnownMembers) {
        self.known = known;
        if self.known.is_formed {
            self.confirmed.clear();
        }
    }

    /// Whether this replica may take part. Once it may, it always may.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        self.known.is_formed
    }

    /// Whether messages may pass between this replica and the data directory `incarnation` of
    /// `replica`. Once they may, they may until a change registers another directory under its id.
    #[must_use]
    pub fn passes(&self, replica: ReplicaId, incarnation: Incarnation) -> bool {
        let is_known_as_such = match self.knows(replica) {
            Some(known) => known == incarnation,
            None => replica != self.replica && !self.others.contains(&replica),
        };
        self.is_formed() && is_known_as_such
    }

    /// The incarnation that `replica` is known or registered with. Whom this replica has met, a change cannot make
    /// another one.
    #[must_use]
    pub fn knows(&self, replica: ReplicaId) -> Option<Incarnation> {
        let met = self.known.incarnations.get(&replica);
        met.or_else(|| self.registered.get(&replica)).copied()
    }

    /// What is on the disk.
    #[must_use]
    pub fn known_members(&self) -> &KnownMembers {
        &self.known
    }

    /// The members that this replica must still hear from before it may take part.
    #[must_use]
    pub fn missing(&self) -> Vec<ReplicaId> {
        if self.is_formed() {
            return Vec::new();
        }
        let is_missing = |member: &ReplicaId| {
            !(self.knows(*member).is_some() && self.confirmed.contains(member))
        };
        self.others.iter().copied().filter(is_missing).collect()
    }
}
