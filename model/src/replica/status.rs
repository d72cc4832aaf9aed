//! What a replica says of itself: for people, and for the failure detector.

use alloc::vec::Vec;

use super::hung::Hung;
use super::{Replica, Role};
use crate::entry::Value;
use crate::forming::Incarnation;
use crate::io::OtherHistory;
use crate::numbers::{Position, ReplicaId, Run, SequenceNumber, Slot};
use crate::prefix::Prefix;
use crate::testimony::Forgotten;

impl<V: Value> Replica<V> {
    /// The state of this replica, for people and for the failure detector.
    #[must_use]
    pub fn status(&self) -> Status {
        let common = &self.common;
        Status {
            me: common.me,
            run: common.run,
            role: match &self.role {
                Role::Follower => RoleName::Follower,
                Role::Canvassing(canvassing) => RoleName::Canvassing { s: canvassing.s },
                Role::Candidate(candidate) => RoleName::Candidate { s: candidate.s },
                Role::Coordinator(coordinator) => RoleName::Coordinator {
                    s: coordinator.s,
                    open_slots: coordinator.last_slot(common.watermark()).above(common.watermark()),
                    queued: coordinator.queue.count() + coordinator.admission.count(),
                    round_is_answered: coordinator.rounds.are_answered(common.configuration()),
                },
            },
            coordinator: common.constants.owner(common.acceptor.promised()),
            promised: common.acceptor.promised(),
            watermark: common.learner.watermark(),
            durable: common.learner.durable(),
            log_starts_at: common.learner.log_starts_at(),
            delivered: common.learner.delivered(),
            applied: common.learner.applied(),
            suspects: common.suspects,
            hung: common.hung,
            written: common.unsynced.written(),
            synced: common.unsynced.synced(),
            unsynced_bytes: common.unsynced.size_bytes(),
            prefix: common.prefix(),
            other_histories: common
                .other_histories
                .iter()
                .map(|(&peer, &slot)| OtherHistory { peer, slot })
                .collect(),
            forgotten: common.forgotten.values().copied().collect(),
            other_directory: common.other_directory(),
            is_stopped: common.is_stopped(),
        }
    }
}

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its id.
    pub me: ReplicaId,
    /// Its run.
    pub run: Run,
    /// What it does besides accepting and learning.
    pub role: RoleName,
    /// The replica that it takes for the coordinator: the owner of the number that it has promised.
    pub coordinator: Option<ReplicaId>,
    /// It obeys nobody below this number.
    pub promised: SequenceNumber,
    /// Every slot up to here is committed, as far as it knows.
    pub watermark: Slot,
    /// Every slot up to here is committed, and its record is durable on this replica. A shell may read
    /// these slots back from its disk.
    pub durable: Slot,
    /// The first slot that its log has. What is before is in a snapshot only.
    pub log_starts_at: Slot,
    /// Its application was given, or had already, everything up to here.
    pub delivered: Slot,
    /// Its application has everything up to here.
    pub applied: Slot,
    /// Whether it believes that nobody coordinates.
    pub suspects: bool,
    /// What hangs, of what it needs for its work.
    pub hung: Hung,
    /// The position of the newest record that it wrote.
    pub written: Position,
    /// The position of the newest record that is durable.
    pub synced: Position,
    /// How many bytes of values wait for a sync.
    pub unsynced_bytes: u64,
    /// What it has committed, with the running hash.
    pub prefix: Prefix,
    /// The peers that have committed other entries. Neither counts for the other.
    pub other_histories: Vec<OtherHistory>,
    /// What is known to be lost on the disk of this replica, and of peers.
    pub forgotten: Vec<Forgotten>,
    /// The data directory that is registered under its id, if that is another one than it has.
    pub other_directory: Option<Incarnation>,
    /// Whether a majority has committed other entries, the disk of this replica has lost something, or another data
    /// directory is registered under its id. Then this replica does nothing any more.
    pub is_stopped: bool,
}

/// A role, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Takes orders.
    Follower,
    /// Asks who would follow it.
    Canvassing {
        /// Under which number.
        s: SequenceNumber,
    },
    /// Gathers promises.
    Candidate {
        /// Under which number.
        s: SequenceNumber,
    },
    /// Gives orders.
    Coordinator {
        /// Under which number.
        s: SequenceNumber,
        /// How many slots are open, or must be opened before anything else, and so are not committed.
        open_slots: u64,
        /// How many submissions wait for the window.
        queued: u64,
        /// Whether a majority has answered the newest round.
        round_is_answered: bool,
    },
}
