//! The local state: one replica with its disk, and a summary of both.

use std::sync::Arc;
use std::vec::Vec;

use super::directory::Directory;
use super::envelope::{Connection, Envelope};
use super::scenario::SLOTS_MAX;
use crate::entry::Entry;
use crate::message::Message;
use crate::numbers::{ConfigurationId, ReadId, ReplicaId, Run, SequenceNumber, Slot};
use crate::record::{Base, Fold, Record};
use crate::replica::Coordinator;
use crate::replica::{Replica, Role};
use crate::sessions::Known;
use crate::testimony::Testimony;

/// A replica and its disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LocalState {
    pub(crate) replica: Replica<u8>,
    /// The durable records, folded into a base. So every crash checks that recovery from the base
    /// equals recovery from the records. `None` once the replica cannot crash any more: then what only
    /// the disk knows never matters again.
    pub(crate) disk: Option<Arc<Base<u8>>>,
    /// The records that are written but not durable, oldest first.
    pub(crate) unsynced: Vec<Record<u8>>,
    /// Whether the disk has stopped answering. What is written from then on is never durable.
    pub(crate) disk_hangs: bool,
    /// `None` in a scenario without forming.
    pub(crate) directory: Option<Directory>,
    /// `None` in a scenario without rollbacks.
    pub(crate) rollback: Option<Rollback>,
}

/// What a disk rolls back to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Rollback {
    /// Whether the disk may still roll back. Each does it once at most.
    pub(crate) may_happen: bool,
    /// Whether it has rolled back.
    pub(crate) has_happened: bool,
    /// What it has lost by that, until the replica does anything but receive reminders.
    pub(crate) lost: Option<Lost>,
    /// The disk before its last sync, while it may roll back.
    pub(crate) before: Option<Arc<Base<u8>>>,
}

/// What a disk has lost, of what its replica may have told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lost {
    /// The numbers above the first one, up to the second one, were promised.
    promised: (SequenceNumber, SequenceNumber),
    /// The slots in which an entry was accepted under these numbers.
    accepted: Vec<(Slot, SequenceNumber)>,
}

impl Lost {
    /// What a disk with `after` has lost, of what it had with `before`.
    pub(crate) fn between(before: &Fold<u8>, after: &Fold<u8>) -> Self {
        let held = |fold: &Fold<u8>, slot: &Slot| fold.entries.get(slot).map(|stored| stored.s);
        let slots = before.entries.keys().filter(|slot| **slot > after.watermark);
        let accepted = slots
            .filter_map(|slot| Some((*slot, held(before, slot)?)))
            .filter(|(slot, s)| *s != SequenceNumber::NONE && held(after, slot) != Some(*s));
        Self { promised: (after.promised, before.promised), accepted: accepted.collect() }
    }

    /// Whether some of `testimony` is lost.
    pub(crate) fn includes(&self, testimony: &Testimony) -> bool {
        let (kept, lost) = self.promised;
        let told = testimony.accepted.map(|told| (told.slot, told.s));
        (kept < testimony.promised && testimony.promised <= lost)
            || told.is_some_and(|told| self.accepted.contains(&told))
    }
}

/// The index of an entry in the model's table of entries.
pub(crate) type EntryId = u8;

/// What the model often reads from a local state, computed once.
///
/// A *floor* is a value that the replica never falls below, whatever happens. If the replica may
/// crash, it is the value on its disk; if not, the value in its memory.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// The configuration that governs the slots above the watermark.
    pub(crate) configuration: ConfigurationId,
    pub(crate) durable_promise: SequenceNumber,
    pub(crate) promise_floor: SequenceNumber,
    pub(crate) heard_floor: SequenceNumber,
    pub(crate) watermark: Slot,
    pub(crate) watermark_floor: Slot,
    pub(crate) role: RoleKind,
    /// The number under which it canvasses, stands or coordinates.
    pub(crate) own: SequenceNumber,
    pub(crate) next_number: Option<SequenceNumber>,
    /// For each slot, the number under which an entry is held for good: on the disk, or in memory if the
    /// replica cannot crash.
    pub(crate) held_for_good: [SequenceNumber; SLOTS_MAX + 1],
    /// For each slot, the entry on the disk.
    pub(crate) on_disk: [Option<EntryId>; SLOTS_MAX + 1],
    /// Everything up to this slot is in a snapshot of which the disk has a record.
    pub(crate) snapshot_on_disk: Slot,
    /// Of a coordinator: the slot after the open ones, those that it must finish, and what waits.
    pub(crate) next_slot: u64,
    pub(crate) unsynced: usize,
    pub(crate) run: Run,
    pub(crate) reads: Vec<ReadId>,
    /// Whether the next order of a coordinator makes it forward something.
    pub(crate) has_unforwarded: bool,
    pub(crate) round: u64,
    pub(crate) round_is_answered: bool,
    /// Whether it has opened a slot for a request that already has one.
    pub(crate) opened_twice: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoleKind {
    Follower,
    Canvassing,
    Candidate,
    Coordinator,
}

impl LocalState {
    pub(crate) fn me(&self) -> ReplicaId {
        self.replica.common.me
    }

    /// Whether everything that is committed counts as durable, if all records are. A replica that has stopped
    /// hears of no sync.
    pub(crate) fn counts_what_is_durable(&self) -> bool {
        let learner = &self.replica.common.learner;
        !self.unsynced.is_empty()
            || self.replica.common.is_stopped()
            || learner.durable() == learner.watermark()
    }

    /// Whether the replica takes part in the protocol.
    pub(crate) fn takes_part(&self) -> bool {
        self.directory.as_ref().is_none_or(|it| it.forming.is_formed())
    }

    /// `message`, on its way to the data directory of `to` that this replica knows. `None` if it knows
    /// none.
    pub(crate) fn envelope(&self, to: ReplicaId, message: Message<u8>) -> Option<Envelope> {
        let connection = match &self.directory {
            None => None,
            Some(directory) => {
                let (from, to) = (directory.incarnation(), directory.forming.knows(to)?);
                Some(Connection { from, to })
            }
        };
        Some(Envelope { from: self.me(), to, message, connection })
    }

    /// Whether `envelope` is addressed to this directory, and not to one that was lost.
    pub(crate) fn is_addressee(&self, envelope: &Envelope) -> bool {
        let directory = self.directory.as_ref().zip(envelope.connection);
        directory.is_none_or(|(directory, connection)| connection.to == directory.incarnation())
    }

    /// Whether `envelope` was sent by this directory, and not by one that was lost.
    pub(crate) fn is_sender(&self, envelope: &Envelope) -> bool {
        let directory = self.directory.as_ref().zip(envelope.connection);
        directory.is_none_or(|(directory, connection)| connection.from == directory.incarnation())
    }

    /// Whether `envelope` may be delivered to this replica.
    pub(crate) fn admits(&self, envelope: &Envelope) -> bool {
        let directory = self.directory.as_ref().zip(envelope.connection);
        directory.is_none_or(|(directory, connection)| {
            self.is_addressee(envelope) && directory.forming.passes(envelope.from, connection.from)
        })
    }

    /// The committed entries, slot by slot. In a scenario with rollbacks, all of them are in memory.
    pub(crate) fn log(&self) -> impl Iterator<Item = &Entry<u8>> {
        self.replica.common.learner.tail_from(Slot(1)).map(|(_, entry)| entry)
    }

    /// Whether the logs of two replicas differ in a slot that both have committed.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        self.log().zip(other.log()).any(|(one, other)| one != other)
    }

    /// Whether this replica has coordinated under the number that it has promised, and does so no more,
    /// while its disk hangs.
    pub(crate) fn has_given_way(&self) -> bool {
        let common = &self.replica.common;
        self.disk_hangs
            && common.hung.disk
            && matches!(self.replica.role, Role::Follower)
            && common.constants.owns(common.me, common.acceptor.promised())
            && common.acceptor.durable_promise() == common.acceptor.promised()
            && common.learner.watermark() > common.learner.durable()
    }

    /// The committed entry of `slot`, if this replica still has it in memory.
    pub(crate) fn committed(&self, slot: Slot) -> Option<&Entry<u8>> {
        let learner = &self.replica.common.learner;
        if slot > learner.watermark() || slot < learner.tail_starts_at() {
            return None;
        }
        learner.tail_from(slot).next().map(|(_, entry)| entry)
    }

    pub(crate) fn summary(&self, entry_id: impl Fn(&Entry<u8>) -> EntryId) -> Summary {
        let replica = &self.replica;
        let promised = replica.common.acceptor.promised();
        let durable_promise = replica.common.acceptor.durable_promise();
        let watermark = replica.common.learner.watermark();
        // What the replica starts again from at worst.
        let disk = self.rollback.as_ref().and_then(|it| it.before.as_ref()).or(self.disk.as_ref());
        let (promise_floor, heard_floor, watermark_floor) = match disk {
            Some(disk) => (disk.fold.promised, disk.fold.promised, disk.fold.watermark),
            None => (promised, replica.common.heard, watermark),
        };
        let mut held_for_good = [SequenceNumber::NONE; SLOTS_MAX + 1];
        let mut hold = |slot: Slot, s| {
            if index(slot) <= SLOTS_MAX {
                held_for_good[index(slot)] = s;
            }
        };
        match disk {
            Some(disk) => disk.fold.entries.iter().for_each(|(slot, stored)| hold(*slot, stored.s)),
            None => {
                replica
                    .common
                    .acceptor
                    .accepted()
                    .iter()
                    .for_each(|(slot, held)| hold(*slot, held.s));
            }
        }
        let mut on_disk = [None; SLOTS_MAX + 1];
        if let Some(disk) = &self.disk {
            for (slot, stored) in &disk.fold.entries {
                if index(*slot) <= SLOTS_MAX {
                    on_disk[index(*slot)] = Some(entry_id(&stored.entry));
                }
            }
        }
        let (role, own) = match &replica.role {
            Role::Follower => (RoleKind::Follower, SequenceNumber::NONE),
            Role::Canvassing(canvassing) => (RoleKind::Canvassing, canvassing.s),
            Role::Candidate(candidate) => (RoleKind::Candidate, candidate.s),
            Role::Coordinator(coordinator) => (RoleKind::Coordinator, coordinator.s),
        };
        let coordinator = match &replica.role {
            Role::Coordinator(coordinator) => Some(coordinator),
            _ => None,
        };
        let next_slot = coordinator.map_or(0, |it| {
            // What waits for a coordinator that must finish something is not queued yet.
            let kept = || replica.clients.submissions().count() as u64;
            let waits = if it.to_finish.is_some() { kept() } else { it.queue.count() };
            it.last_slot(watermark).next().0 + waits
        });
        Summary {
            configuration: replica.common.configuration().id(),
            durable_promise,
            promise_floor,
            heard_floor,
            watermark,
            watermark_floor,
            role,
            own,
            next_number: replica.next_number(),
            held_for_good,
            on_disk,
            snapshot_on_disk: self.disk.as_ref().map_or(Slot::ZERO, |it| it.snapshot.slot),
            next_slot,
            unsynced: self.unsynced.len(),
            run: replica.common.run,
            reads: replica.clients.reads.unanswered(),
            has_unforwarded: replica.clients.has_unforwarded(),
            round: coordinator.map_or(0, |it| it.rounds.newest().0),
            round_is_answered: coordinator
                .is_some_and(|it| it.rounds.are_answered(replica.common.configuration())),
            opened_twice: coordinator.is_some_and(|it| self.has_opened_twice(it)),
        }
    }

    /// Whether a coordinator has opened a slot for a request that is in its table or in another of its
    /// open slots. Slots that its election must finish do not count: a request may be there twice.
    fn has_opened_twice(&self, coordinator: &Coordinator<u8>) -> bool {
        let replica = &self.replica;
        let accepted = replica.common.acceptor.accepted();
        let submission = |slot: &Slot| accepted.get(slot).and_then(|it| it.entry.submission_id());
        let open = || coordinator.open.keys();
        open().filter(|slot| **slot > coordinator.last_promised).any(|slot| {
            submission(slot).is_some_and(|id| {
                open().filter(|it| submission(it) == Some(id)).count() > 1
                    || matches!(replica.common.learner.table().look_up(id), Known::Delivered { .. })
            })
        })
    }
}

/// The index of a slot in an array of slots.
pub(crate) fn index(slot: Slot) -> usize {
    usize::try_from(slot.0).unwrap_or(usize::MAX)
}
