//! The data directory of a replica, in a scenario with forming.
//!
//! A directory can be lost there. A new one is made at once, under the same id and with another
//! incarnation. It knows nothing.
//!
//! # Greetings are not in flight
//!
//! A replica may say hello at any time. So a hello of every directory, lost or not, may arrive at any
//! time. A directory that knows another one answers each hello of it with a welcome. So from then on
//! such a welcome may arrive at any time too, even after the directory that sent it is lost. What the
//! directories know, and what the lost ones knew, says which greetings may arrive.

use core::fmt;
use std::vec::Vec;

use crate::configuration::Configuration;
use crate::forming::{Decision, Forming, Greeting, Incarnation, KnownMembers};
use crate::numbers::ReplicaId;

/// The data directory of a replica, and those that were lost before it under the same id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Directory {
    replica: ReplicaId,
    /// What the replica knows of the other members.
    pub(crate) forming: Forming,
    /// The part of it that is on the disk.
    on_disk: KnownMembers,
    /// The same for each directory that was lost, the oldest first. No replica remembers it.
    pub(crate) lost: Vec<Forming>,
}

/// The name of one data directory among all that a replica has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryName {
    pub(crate) replica: ReplicaId,
    /// How many were lost before it.
    pub(crate) lost_before: usize,
}

impl DirectoryName {
    /// A number that no other directory has.
    pub(crate) fn incarnation(self) -> Incarnation {
        Incarnation(Incarnation::first_of(self.replica).0 + self.lost_before as u128)
    }

    /// The directory with this incarnation.
    fn of(incarnation: Incarnation) -> Self {
        let Incarnation(number) = incarnation;
        let replica = u16::try_from(number / Incarnation::DIRECTORIES_MAX).unwrap_or(u16::MAX);
        let lost_before =
            usize::try_from(number % Incarnation::DIRECTORIES_MAX).unwrap_or(usize::MAX);
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
    /// The first directory of a replica.
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

    /// This directory and the lost ones, each with what it knows or knew.
    pub(crate) fn all(&self) -> impl Iterator<Item = (DirectoryName, &Forming)> {
        let all = self.lost.iter().chain([&self.forming]).enumerate();
        all.map(|(lost_before, it)| (DirectoryName { lost_before, ..self.name() }, it))
    }

    /// Whether one of the lost directories took part.
    pub(crate) fn took_part(&self) -> bool {
        self.lost.iter().any(Forming::is_formed)
    }

    /// Whether messages pass between this replica and `other`.
    pub(crate) fn passes(&self, other: &Self) -> bool {
        self.forming.passes(other.replica, other.incarnation())
    }

    /// Whether this replica knows a lost directory of `other` instead of its present one.
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

/// Whether a directory that knows `forming` answers a hello of `dialer` with a welcome.
pub(crate) fn welcomes(forming: &Forming, dialer: &Directory) -> bool {
    let hello = Greeting::Hello;
    forming.clone().receive(dialer.replica, dialer.incarnation(), hello) == Decision::Admit
}
