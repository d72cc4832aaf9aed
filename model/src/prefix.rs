//! The running hash: which committed prefix of the log a replica has.
//!
//! All replicas commit the same entries, or Paxos is broken. It can be broken from below: a disk loses
//! the end of its log, or somebody restores a data directory from an old copy. Then a replica forgets
//! what it has promised and accepted, and two histories may be committed.
//!
//! So every replica keeps a hash of everything that it has committed. The hash after a slot covers the
//! hash before it and the entry in it. Whoever commits tells the hash, and it is compared before anything
//! is delivered. Equal hashes mean equal prefixes. Different hashes say that one of two disks is wrong,
//! and not which.
//!
//! The hash finds faults of disks and operators. It is no defence against somebody who forges it: 64
//! bits that anybody can compute.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::entry::{Change, Entry, Opening, Request, Value};
use crate::limits::Limits;
use crate::numbers::Slot;

/// The hash of all entries up to a slot. The empty prefix has the hash 0.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrefixHash(pub u64);

impl PrefixHash {
    /// The hash of the prefix that is one entry longer.
    #[must_use]
    pub fn after<V: Value>(self, entry: &Entry<V>) -> Self {
        self.after_digest(EntryDigest::of(entry))
    }

    pub(crate) fn after_digest(self, digest: EntryDigest) -> Self {
        self.mix(digest.0)
    }

    /// For a given word, no two hashes become the same one. So prefixes that differ once stay different
    /// under equal entries.
    fn mix(self, word: u64) -> Self {
        // An odd factor with many bits: 2^64 divided by the golden ratio.
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(mixed ^ (mixed >> 32))
    }
}

impl fmt::Debug for PrefixHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for PrefixHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What one entry adds to the running hash. It is computed once for each entry that a replica accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryDigest(u64);

impl EntryDigest {
    pub(crate) fn of<V: Value>(entry: &Entry<V>) -> Self {
        // Each kind of entry begins with a word of its own.
        let kind = |kind: u64| PrefixHash::default().mix(kind);
        let hash = match entry {
            Entry::NoOp => kind(1),
            Entry::Request(Request { session, number, answered, value }) => {
                kind(2).mix(session.0).mix(*number).mix(*answered).mix(value.digest())
            }
            Entry::Open(Opening { origin, run, count }) => {
                kind(3).mix(u64::from(origin.0)).mix(run.0).mix(*count)
            }
            Entry::End { session } => kind(4).mix(session.0),
            Entry::Change(Change { session, number, answered, configuration: after }) => {
                let hash = kind(5).mix(session.0).mix(*number).mix(*answered);
                let hash = hash.mix(after.id().0).mix(after.next_replica_id().into());
                [after.members(), after.learners()].into_iter().fold(hash, |hash, list| {
                    let hash = hash.mix(list.len() as u64);
                    list.iter().fold(hash, |hash, it| hash.mix(it.0.into()))
                })
            }
        };
        Self(hash.0)
    }
}

/// A committed prefix of the log: how long it is, and its hash. It says what a replica has, in a message.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Prefix {
    /// The last slot: the watermark of the replica that tells it.
    pub through: Slot,
    /// The hash of the entries up to there.
    pub hash: PrefixHash,
    /// The hash at the last checkpoint up to there. A replica that is far ahead remembers no other hash
    /// of so short a prefix.
    pub checkpoint: PrefixHash,
}

/// How the prefix of another replica compares with the one here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefixCompared {
    /// This one begins with the other, or it did up to the last checkpoint, which is all that is known.
    Same,
    /// They differ up to this slot, at the latest.
    Differs { slot: Slot },
    /// The other is longer, and nothing is known to differ.
    Longer,
}

/// The running hash of one replica's committed prefix, now and at earlier slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrefixHashes {
    through: Slot,
    /// At the slots up to `through`, newest last; the first one is at the slot before the oldest.
    recent: VecDeque<PrefixHash>,
    /// At every slot that is a multiple of the distance between checkpoints, from 0 on. They are kept
    /// for ever, and are few.
    checkpoints: Vec<PrefixHash>,
}

impl PrefixHashes {
    /// The hash now.
    #[must_use]
    pub fn hash(&self) -> PrefixHash {
        self.recent.back().copied().unwrap_or_default()
    }

    /// Whether these can be the hashes of a prefix up to `slot`.
    pub(crate) fn are_up_to(&self, slot: Slot, limits: &Limits) -> bool {
        if slot == Slot::ZERO {
            return *self == Self::default();
        }
        let checkpoints = slot.0 / checkpoint_slots(limits) + 1;
        self.through == slot
            && slot <= Slot::MAX
            && !self.recent.is_empty()
            && self.recent.len() as u64 <= slot.0.min(limits.accepted_slots_max) + 1
            && self.checkpoints.len() as u64 == checkpoints
    }

    /// The prefix is one entry longer.
    pub(crate) fn push(&mut self, digest: EntryDigest, limits: &Limits) {
        let hash = self.hash().after_digest(digest);
        if self.recent.is_empty() {
            self.recent.push_back(PrefixHash::default());
            self.checkpoints.push(PrefixHash::default());
        }
        self.through = self.through.next();
        self.recent.push_back(hash);
        if self.through.0.is_multiple_of(checkpoint_slots(limits)) {
            self.checkpoints.push(hash);
        }
    }

    /// Forgets the hashes before the last `slots` slots, but for the checkpoints.
    pub(crate) fn keep(&mut self, slots: u64) {
        while self.recent.len() as u64 > slots.saturating_add(1) {
            self.recent.pop_front();
        }
    }

    /// The hash of the entries up to `slot`, if it is remembered.
    pub(crate) fn at(&self, slot: Slot, limits: &Limits) -> Option<PrefixHash> {
        if slot == Slot::ZERO {
            return Some(PrefixHash::default());
        }
        let back = usize::try_from(self.through.0.checked_sub(slot.0)?).ok()?;
        let recent = || self.recent.get(self.recent.len().checked_sub(1)?.checked_sub(back)?);
        recent().copied().or_else(|| {
            let every = checkpoint_slots(limits);
            let index =
                usize::try_from(slot.0 / every).ok().filter(|_| slot.0.is_multiple_of(every))?;
            self.checkpoints.get(index).copied()
        })
    }

    /// The last checkpoint up to `slot`, a slot up to which this replica has everything.
    pub(crate) fn checkpoint(&self, slot: Slot, limits: &Limits) -> (Slot, PrefixHash) {
        let at = Slot(slot.0 - slot.0 % checkpoint_slots(limits));
        match self.at(at, limits) {
            Some(hash) => (at, hash),
            None => (Slot::ZERO, PrefixHash::default()),
        }
    }

    /// The longest prefix up to `slot` whose hash is remembered.
    pub(crate) fn prefix_at(&self, slot: Slot, limits: &Limits) -> Prefix {
        let slot = slot.min(self.through);
        let (at, checkpoint) = self.checkpoint(slot, limits);
        match self.at(slot, limits) {
            Some(hash) => Prefix { through: slot, hash, checkpoint },
            None => Prefix { through: at, hash: checkpoint, checkpoint },
        }
    }

    /// Compares what another replica has with what this one has.
    pub(crate) fn compare(&self, theirs: &Prefix, limits: &Limits) -> PrefixCompared {
        if let Some(hash) = self.at(theirs.through, limits) {
            return of_equal(hash == theirs.hash, theirs.through);
        }
        let at = Slot(theirs.through.0 - theirs.through.0 % checkpoint_slots(limits));
        match self.at(at, limits) {
            Some(hash) if hash != theirs.checkpoint => PrefixCompared::Differs { slot: at },
            _ if theirs.through > self.through => PrefixCompared::Longer,
            _ => PrefixCompared::Same,
        }
    }
}

fn of_equal(is_equal: bool, slot: Slot) -> PrefixCompared {
    if is_equal { PrefixCompared::Same } else { PrefixCompared::Differs { slot } }
}

/// How many slots lie between two checkpoints. One portion of catch-up that is read from the disk has at
/// most so many, so each but the first begins at a checkpoint.
pub(crate) fn checkpoint_slots(limits: &Limits) -> u64 {
    limits.frame_entries_max.max(1)
}
