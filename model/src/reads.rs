//! Linearizable reads, as the replica sees them that a client asked.
//!
//! A read is told a slot, and served when the application has everything up to it. The slot covers
//! whatever was committed when the read arrived; how the coordinator makes sure of that is in
//! [`coordinator`](crate::coordinator). A read at another replica is forwarded, and repeated until it
//! is answered. The answer names the run that asked: a former run may have used the same id, earlier.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::io::{Answer, Output};
use crate::numbers::{ReadId, Slot};

/// The reads of this replica's clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reads {
    asked: BTreeSet<ReadId>,
    /// Reads whose slot is known, by slot.
    told: BTreeSet<(Slot, ReadId)>,
}

impl Reads {
    /// Takes in a new read, unless there are `reads_max` already.
    pub(crate) fn ask(&mut self, id: ReadId, reads_max: u64) -> bool {
        let room = ((self.asked.len() + self.told.len()) as u64) < reads_max;
        if room {
            self.asked.insert(id);
        }
        room
    }

    /// The reads that no answer has come for.
    pub(crate) fn unanswered(&self) -> Vec<ReadId> {
        self.asked.iter().copied().collect()
    }

    /// Whether no read waits for anything.
    #[cfg(feature = "stateright")]
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.told.is_empty()
    }

    /// Whether no read waits for its slot to be applied.
    #[cfg(feature = "stateright")]
    pub(crate) fn told_is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// The read is to be served at `slot`. A read that nobody waits for is ignored.
    pub(crate) fn tell(&mut self, id: ReadId, slot: Slot) {
        if self.asked.remove(&id) {
            self.told.insert((slot, id));
        }
    }

    /// Answers the reads whose slot is applied.
    pub(crate) fn answer<V>(&mut self, applied: Slot, out: &mut Output<V>) {
        while let Some(&(slot, id)) = self.told.first().filter(|(slot, _)| *slot <= applied) {
            self.told.remove(&(slot, id));
            out.answers.push(Answer::Read { id, slot });
        }
    }
}
