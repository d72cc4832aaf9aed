//! Alone: a cluster of one, made from what is left when a majority is lost for good.
//!
//! If a majority of the voters has lost its data directories, nobody can be elected any more. What that
//! majority had accepted, and nobody else, is lost, and no protocol brings it back. An operator may then
//! begin a *new* cluster from one data directory that is left: its [`Survivor`].
//!
//! - **The new cluster begins with a prefix of the survivor's log.** It has everything that the survivor knows
//!   to be committed. Above that, it has what the survivor has accepted, up to the first gap. If a client was
//!   answered, its value was committed, so each slot before it was. What lies behind a gap would stand in the log
//!   without what came before it, and is left out.
//! - **All of it counts as committed.** Some of it may never have been committed: it may have been on its way to
//!   a majority, or a majority may have accepted another entry there. Nobody is left to ask. So a value may
//!   appear that no client was told of, as after any crash.
//! - **The survivor is the only member**, under its old id. The configuration has a higher id than every change in
//!   the log, so delivery refuses all of them, accepted or committed: they lead to members that are lost. The
//!   next free replica id is kept, so no id is used again.
//! - **Nothing that was promised goes over.** Promises bind only those that count each other. The shell must keep
//!   the two clusters apart for that: it draws a random id for the new one, so that neither an old member nor a
//!   second survivor ever talks to it; and another incarnation for the data directory.
//!
//! It does not matter whether the survivor votes, learns, or was removed: it may be all that is left. But a
//! voter has acknowledged what it has accepted, and a learner only hears of it, so a learner may well have less.
//! [`Survivor::membership`] says which one it is.
//!
//! A cluster that is [restored](crate::SnapshotHandle::restored) from a saved snapshot begins in the same way. The
//! difference is the log behind the snapshot.

use alloc::vec::Vec;
use core::fmt;
use core::mem;

use crate::configuration::{Configuration, ConfigurationError};
use crate::constants::{ClusterConstants, ConstantsError};
use crate::entry::{Entry, Value};
use crate::forming::Incarnation;
use crate::frames::FrameRoom;
use crate::limits::Limits;
use crate::membership::Membership;
use crate::numbers::{ConfigurationId, ReplicaId, Slot};
use crate::prefix::PrefixHash;
use crate::record::{Content, Record, RecordError};
use crate::recovery::Recovery;
use crate::replica::common::Common;
use crate::testimony::Forgotten;

/// What a replica has from which a cluster of one can begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor<V> {
    /// The members of its cluster, as far as it knows.
    pub configuration: Configuration,
    /// What it is among them.
    pub membership: Membership,
    /// The data directory that is registered under its id, if that is another one than it has. Then what it is among
    /// the members, that one is.
    pub other_directory: Option<Incarnation>,
    /// Every slot up to here is committed, as far as it knows.
    pub committed: Slot,
    /// What it has accepted right above, without a gap. The new cluster begins with this, too.
    pub adopted: Vec<Entry<V>>,
    /// The running hash of all that the new cluster begins with.
    pub hash: PrefixHash,
    /// What it has accepted behind a gap. That is left out.
    pub left_out: Option<LeftOut>,
    /// What its disk has lost, if it was found to have lost something: then more may be missing.
    pub forgotten: Option<Forgotten>,
    /// What never changes in the new cluster. The survivor is its only member.
    pub constants: ClusterConstants,
}

/// Slots that were accepted, and are left out of the new cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The first slot that was not accepted.
    pub gap: Slot,
    /// How many slots above it were accepted.
    pub slots: u64,
    /// The last one of these.
    pub last: Slot,
}

impl<V: Value> Survivor<V> {
    /// What the replica has whose log `recovery` has read to the end.
    ///
    /// # Errors
    ///
    /// If the log is not a whole one, has nothing, or belongs to a cluster that has lost nothing: then this replica
    /// is its only voter.
    pub fn of(recovery: Recovery<V>) -> Result<Self, NotAlone> {
        let newest_change = recovery.newest_change();
        let common = recovery.finish()?.common;
        let configuration = common.configuration().clone();
        let membership = Membership::of(common.me, &configuration);
        let other_directory = common.other_directory();
        let committed = common.watermark();
        let (adopted, left_out) = without_gaps(&common);
        if committed == Slot::ZERO && adopted.is_empty() {
            return Err(NotAlone::Empty);
        }
        let is_change_open = adopted.iter().any(|entry| matches!(entry, Entry::Change(_)));
        let is_only_voter = membership == Membership::Voter && configuration.voters().count() == 1;
        if is_only_voter && other_directory.is_none() && !is_change_open {
            return Err(NotAlone::OnlyVoter { replica: common.me });
        }
        let newest = newest_change.max(configuration.id());
        let newest = adopted.iter().map(change_id).fold(newest, ConfigurationId::max);
        let id = newest.0.checked_add(1).map(ConfigurationId).ok_or(NotAlone::NoConfigurationId)?;
        let used = adopted.iter().map(next_id).fold(configuration.next_replica_id(), u32::max);
        let next = used.max(u32::from(common.me.0) + 1);
        let alone = Configuration::from_parts(id, [common.me].into(), Vec::new(), next)?;
        let (stride, limits) = (common.constants.stride(), common.constants.limits().clone());
        let constants = ClusterConstants::new(stride, alone, limits)?;
        let forgotten = common.forgotten.get(&common.me).copied();
        let hash = adopted.iter().fold(common.learner.hashes().hash(), PrefixHash::after);
        Ok(Self {
            configuration,
            membership,
            other_directory,
            committed,
            adopted,
            hash,
            left_out,
            forgotten,
            constants,
        })
    }

    /// The last slot that the new cluster begins with.
    #[must_use]
    pub fn last(&self) -> Slot {
        Slot(self.committed.0 + self.adopted.len() as u64)
    }
}

/// The id of the configuration that an entry leads to.
pub(crate) fn change_id<V>(entry: &Entry<V>) -> ConfigurationId {
    match entry {
        Entry::Change(change) => change.configuration.id(),
        _ => ConfigurationId::NONE,
    }
}

/// The next id that is free after an entry.
fn next_id<V>(entry: &Entry<V>) -> u32 {
    match entry {
        Entry::Change(change) => change.configuration.next_replica_id(),
        _ => 0,
    }
}

/// What is accepted right above the watermark, and what is behind the first gap.
fn without_gaps<V: Value>(common: &Common<V>) -> (Vec<Entry<V>>, Option<LeftOut>) {
    let accepted = common.acceptor.accepted();
    let slots = (common.watermark().0 + 1..).map(Slot);
    let entries = slots.map_while(|slot| accepted.get(&slot)).map(|held| held.entry.clone());
    let adopted: Vec<_> = entries.collect();
    let gap = Slot(common.watermark().0 + 1 + adopted.len() as u64);
    let behind = accepted.range(gap..);
    let left_out = accepted.last_key_value().filter(|(last, _)| **last > gap);
    let left_out = left_out.map(|(&last, _)| LeftOut { gap, slots: behind.count() as u64, last });
    (adopted, left_out)
}

/// Lays out the log with which a new cluster begins: entries, in order, in records that say that they are committed.
/// The records are those of a replica that has caught up with all of it.
#[derive(Clone, Debug)]
pub struct CommittedLog<V> {
    /// What the records so far amount to, with the entries that wait for the next record.
    last: Slot,
    hash: PrefixHash,
    waiting: Vec<Entry<V>>,
    full: FrameRoom,
    room: FrameRoom,
}

impl<V: Value> CommittedLog<V> {
    /// A log that begins after `slot`, up to which the running hash is `hash`.
    #[must_use]
    pub fn after(slot: Slot, hash: PrefixHash, limits: &Limits) -> Self {
        let room = FrameRoom::of(limits);
        Self { last: slot, hash, waiting: Vec::new(), full: room, room }
    }

    /// Adds the entry of the next slot. Returns a record when one is full.
    pub fn push(&mut self, entry: Entry<V>) -> Option<Record<V>> {
        let is_full = !self.room.take(entry.size_bytes());
        let record = if is_full { self.take() } else { None };
        if is_full {
            // The first entry of a frame always fits.
            let _ = self.room.take(entry.size_bytes());
        }
        self.last = self.last.next();
        self.hash = self.hash.after(&entry);
        self.waiting.push(entry);
        record
    }

    /// The last slot of all that was added, and the running hash up to there. A shell compares them with those of the
    /// [`Survivor`] before it finishes: they differ if the log that it has read is not the one that the survivor has.
    #[must_use]
    pub fn through(&self) -> (Slot, PrefixHash) {
        (self.last, self.hash)
    }

    /// The last record, if entries wait for it.
    #[must_use]
    pub fn finish(mut self) -> Option<Record<V>> {
        self.take()
    }

    fn take(&mut self) -> Option<Record<V>> {
        let entries = mem::take(&mut self.waiting);
        self.room = self.full;
        let before = self.last.0.checked_sub(entries.len() as u64)?;
        let content = Content::Committed { first: Slot(before).next(), entries };
        let is_something = before < self.last.0;
        is_something.then_some(Record { watermark: self.last, hash: self.hash, content })
    }
}

/// Why no cluster of one begins with what a replica has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAlone {
    /// The records cannot be what a replica wrote.
    Record(RecordError),
    /// It has neither committed nor accepted anything.
    Empty,
    /// It is the only voter of its cluster, so no majority is lost.
    OnlyVoter {
        /// The replica.
        replica: ReplicaId,
    },
    /// A change in the log has the highest id that there is, and the new configuration needs a higher one.
    NoConfigurationId,
    /// The survivor alone is no configuration.
    Configuration(ConfigurationError),
    /// The new cluster would have impossible constants.
    Constants(ConstantsError),
}

impl fmt::Display for NotAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::Empty => write!(f, "its log is empty"),
            Self::OnlyVoter { replica } => {
                write!(
                    f,
                    "replica {replica} is the only voter of its cluster, so no majority is lost"
                )
            }
            Self::NoConfigurationId => {
                write!(f, "a change in its log has the highest id that a configuration can have")
            }
            Self::Configuration(error) => error.fmt(f),
            Self::Constants(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NotAlone {}

impl From<RecordError> for NotAlone {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl From<ConfigurationError> for NotAlone {
    fn from(error: ConfigurationError) -> Self {
        Self::Configuration(error)
    }
}

impl From<ConstantsError> for NotAlone {
    fn from(error: ConstantsError) -> Self {
        Self::Constants(error)
    }
}
