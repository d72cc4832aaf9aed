//! Linearizable reads, at the replica that a client asked.
//!
//! A read is told a slot, and served when the application has everything up to it. The slot covers
//! everything that was committed when the read arrived at the coordinator:
//! [`rounds`](super::rounds) says how the coordinator makes sure of that. A read at another replica is
//! forwarded, and repeated until it is answered. The answer names the run that asked, because an
//! earlier run may have used the same id.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::{Replica, Role};
use crate::entry::Value;
use crate::io::{ClientAnswer, Output, ReadRefused};
use crate::message::{Message, NotTakenReason};
use crate::numbers::{ReadId, ReplicaId, Run, Slot};

/// The reads of this replica's clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reads {
    /// Reads that no slot is known for.
    asked: BTreeSet<ReadId>,
    /// Whether these are to be forwarded to the coordinator.
    unforwarded: bool,
    /// Reads whose slot is known, by slot.
    told: BTreeSet<(Slot, ReadId)>,
}

impl Reads {
    /// Takes in a new read, unless there are `reads_max` already.
    fn ask(&mut self, id: ReadId, reads_max: u64) -> bool {
        let room = ((self.asked.len() + self.told.len()) as u64) < reads_max;
        if room {
            self.asked.insert(id);
        }
        room
    }

    /// All reads that no answer has come for are to be forwarded.
    pub(super) fn forward_anew(&mut self) {
        self.unforwarded = !self.asked.is_empty();
    }

    /// Takes the reads that are to be forwarded, or that the coordinator, this replica, had no room for.
    pub(super) fn take_unforwarded(&mut self) -> Vec<ReadId> {
        if core::mem::take(&mut self.unforwarded) { self.unanswered() } else { Vec::new() }
    }

    /// Whether reads are to be forwarded.
    pub(super) fn are_unforwarded(&self) -> bool {
        self.unforwarded
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

    /// These reads are to be served at `slot`. A read that nobody waits for is ignored.
    pub(super) fn tell(&mut self, ids: &[ReadId], slot: Slot) {
        for &id in ids {
            if self.asked.remove(&id) {
                self.told.insert((slot, id));
            }
        }
    }

    /// Takes all reads out.
    pub(super) fn take_all(&mut self) -> Vec<ReadId> {
        let Self { asked, told, .. } = core::mem::take(self);
        asked.into_iter().chain(told.into_iter().map(|(_, id)| id)).collect()
    }

    /// Answers the reads whose slot is applied.
    pub(super) fn answer<V>(&mut self, applied: Slot, out: &mut Output<V>) {
        while let Some(&(slot, id)) = self.told.first().filter(|(slot, _)| *slot <= applied) {
            self.told.remove(&(slot, id));
            out.answers.push(ClientAnswer::Read { id, slot });
        }
    }
}

impl<V: Value> Replica<V> {
    /// Clients of this replica want to read. Only a member learns of a slot for that.
    pub(super) fn read(&mut self, ids: Vec<ReadId>, out: &mut Output<V>) {
        let reads_max = self.common.limits().reads_max;
        let mut taken = Vec::new();
        for id in ids {
            let reason = if !self.common.is_member() {
                ReadRefused::NotAMember
            } else if !self.clients.reads.ask(id, reads_max) {
                ReadRefused::TooMany
            } else {
                taken.push(id);
                continue;
            };
            out.answers.push(ClientAnswer::ReadRefused { id, reason });
        }
        self.pass_on_reads(&taken, out);
    }

    /// Passes reads of this replica's clients on to the coordinator: this replica, or another if one
    /// is known. They are held back while that one has no room.
    pub(super) fn pass_on_reads(&mut self, ids: &[ReadId], out: &mut Output<V>) {
        let common = &self.common;
        if let Role::Coordinator(coordinator) = &mut self.role {
            coordinator.take_own_reads(ids, common, &mut self.clients.reads);
        } else if let Some(coordinator) = common.forwards_to() {
            if self.clients.waits_for_room() {
                self.clients.reads.forward_anew();
                return;
            }
            for ids in common.in_lists(ids) {
                out.send(coordinator, Message::Read { run: common.run, ids });
            }
        }
    }

    /// Takes in reads that `from` forwards. Only a coordinator does.
    pub(super) fn take_forwarded_reads(
        &mut self,
        from: ReplicaId,
        run: Run,
        ids: &[ReadId],
        out: &mut Output<V>,
    ) {
        let common = &self.common;
        if !common.is_possible_list(ids) {
            return;
        }
        let (s, reason) = match &mut self.role {
            Role::Coordinator(coordinator) => {
                if coordinator.take_reads(from, run, ids, common) {
                    return;
                }
                coordinator.has_refused = true;
                (coordinator.s, NotTakenReason::NoRoom)
            }
            Role::Candidate(candidate) => (candidate.s, NotTakenReason::Stands),
            Role::Follower | Role::Canvassing(_) => return,
        };
        let submissions = Vec::new();
        out.send(from, Message::NotTaken { s, reason, submissions, reads: true });
    }
}
