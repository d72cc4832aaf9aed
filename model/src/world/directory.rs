//! The data directory of a replica, in a scenario in which the cluster must form first.
//!
//! Here a directory can be lost. It is made anew at once, under the same id and with another
//! incarnation, and the new one knows nothing.
//!
//! # Greetings need not be in flight
//!
//! A replica says hello again and again. So a hello of every directory that ever was may arrive at any
//! time. A directory that would welcome another one has done so whenever that one said hello. So its
//! welcome may arrive at any time too, even after the directory is lost. Which greetings are in flight
//! follows from what the directories know, and from what the lost ones knew.

use core::fmt;
use std::vec::Vec;

use crate::configuration::Configuration;
use crate::forming::{Decision, Forming, Greeting, Incarnation, KnownMembers};
use crate::numbers::ReplicaId;

/// The data directory of a replica, and those that were lost before it under the same id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Directory {
    replica: ReplicaId,
    /// What the replica knows.
    pub(crate) forming: Forming,
    /// What of it is on the disk.
    on_disk: KnownMembers,
    /// What was known in the directories that were lost, the oldest first. No replica remembers it.
    pub(crate) lost: Vec<Forming>,
}

/// One of the data directories that there were under one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryName {
    pub(crate) replica: ReplicaId,
    /// How many were lost before it.
    pub(crate) lost_before: usize,
}

/// More than a model can lose.
const LOST_MAX: u128 = 100;

impl DirectoryName {
    /// No two directories have the same.
    pub(crate) fn incarnation(self) -> Incarnation {
        Incarnation(u128::from(self.replica.0) * LOST_MAX + self.lost_before as u128)
    }

    /// The directory with this incarnation.
    fn of(incarnation: Incarnation) -> Self {
        let Incarnation(number) = incarnation;
        let replica = u16::try_from(number / LOST_MAX).unwrap_or(u16::MAX);
        let lost_before = usize::try_from(number % LOST_MAX).unwrap_or(usize::MAX);
        Self { replica: ReplicaId(replica), lost_before }
    }
}

/// `r2` is the first directory of a replica, `r2'` the one that was made when that was lost.
impl fmt::Display for DirectoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.replica)?;
        (0..self.lost_before).try_for_each(|_| f.write_str("'"))
    }
}

impl Directory {
    /// A directory that nobody knows, and that knows nobody.
    pub(crate) fn new(replica: ReplicaId, members: &Configuration) -> Self {
        let on_disk = KnownMembers::new(members);
        let forming = Forming::new(replica, members, on_disk.clone());
        Self { replica, forming, on_disk, lost: Vec::new() }
    }

    pub(crate) fn name(&self) -> DirectoryName {
        DirectoryName { replica: self.replica, lost_before: self.lost.len() }
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.name().incarnation()
    }

    /// The directories of other replicas that this one knows.
    pub(crate) fn known(&self) -> impl Iterator<Item = DirectoryName> {
        let known = &self.forming.known_members().incarnations;
        known.values().map(|incarnation| DirectoryName::of(*incarnation))
    }

    /// All that there were under this id: their names, and what is or was known in them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (DirectoryName, &Forming)> {
        let all = self.lost.iter().chain([&self.forming]).enumerate();
        all.map(|(lost_before, it)| (DirectoryName { lost_before, ..self.name() }, it))
    }

    /// Whether a directory that took part was lost.
    pub(crate) fn took_part(&self) -> bool {
        self.lost.iter().any(Forming::is_formed)
    }

    /// Whether messages pass between this replica and `other`.
    pub(crate) fn passes(&self, other: &Self) -> bool {
        self.forming.passes(other.replica, other.incarnation())
    }

    /// Whether this replica knows `other` with a directory that was lost.
    pub(crate) fn knows_as_lost(&self, other: &Self) -> bool {
        self.forming.knows(other.replica).is_some_and(|known| known != other.incarnation())
    }

    /// Whether the replica may take part after a restart.
    pub(crate) fn is_formed_on_disk(&self) -> bool {
        self.on_disk.is_formed
    }

    /// The replica receives a greeting, and stores what it must.
    pub(crate) fn receive(&mut self, from: DirectoryName, greeting: Greeting) {
        let DirectoryName { replica, .. } = from;
        while let Decision::Store(known) =
            self.forming.receive(replica, from.incarnation(), greeting)
        {
            self.on_disk = known.clone();
            self.forming.stored(known);
        }
    }

    /// The replica stops, and starts again from its disk.
    pub(crate) fn restart(&mut self, members: &Configuration) {
        self.forming = Forming::new(self.replica, members, self.on_disk.clone());
    }

    /// The directory is lost, and made anew.
    pub(crate) fn lose(&mut self, members: &Configuration) {
        // What was confirmed to a directory that is lost is of no interest any more.
        let known = self.forming.known_members().clone();
        self.lost.push(Forming::new(self.replica, members, known));
        self.on_disk = KnownMembers::new(members);
        self.restart(members);
    }
}

/// Whether the answer to a hello of `dialer` is a welcome, where `forming` is known.
pub(crate) fn welcomes(forming: &Forming, dialer: &Directory) -> bool {
    let hello = Greeting::Hello;
    forming.clone().receive(dialer.replica, dialer.incarnation(), hello) == Decision::Admit
}
