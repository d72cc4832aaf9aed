//! What has become of the snapshot that the replica needs.
//!
//! ```text
//! none     is wanted                                   -> wanted
//! wanted   all bytes of one are here                   -> whole
//! wanted   is given up, or commits have overtaken it   -> in vain
//! whole    the replica is given it                     -> none
//! whole    fails its check, or the disk refuses        -> wanted
//! in vain  the replica is told                         -> none
//! in vain  is wanted                                   -> wanted
//! ```
//!
//! The replica asks for nothing else while it waits for a snapshot. So each fetch has one end, and the replica
//! hears of that once: it is given a snapshot, or it is told that none comes.

use synod_model::{ReplicaId, Slot};

use super::Receiving;

/// A snapshot that the replica needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Who has offered it.
    pub(super) from: ReplicaId,
    /// It includes this slot.
    pub(super) slot: Slot,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The replica waits for nothing.
    #[default]
    None,
    /// Peers are asked for it.
    Wanted(Wanted),
    /// All of one is here. It is being checked, or the replica has not been given it yet.
    Whole(Wanted),
    /// It does not come, and the replica has not been told yet.
    InVain,
}

/// The snapshot that the replica waits for, and how far it is.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    phase: Phase,
    receiving: Option<Receiving>,
    /// The replica has everything up to here.
    committed: Slot,
}

impl Fetching {
    pub(super) fn wanted(&self) -> Option<Wanted> {
        match self.phase {
            Phase::Wanted(wanted) => Some(wanted),
            Phase::None | Phase::Whole(_) | Phase::InVain => None,
        }
    }

    /// Whether the replica waits for one that still may come.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Wanted(_) | Phase::Whole(_))
    }

    pub(super) fn is_in_vain(&self) -> bool {
        self.phase == Phase::InVain
    }

    pub(super) fn committed(&self) -> Slot {
        self.committed
    }

    pub(super) fn receiving(&self) -> Option<Receiving> {
        self.receiving
    }

    /// The replica needs this from now on.
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.phase = match self.phase {
            // The replica is given that first, and then knows what it still needs.
            Phase::Whole(_) => Phase::Whole(wanted),
            Phase::Wanted(_) if wanted.slot <= self.committed => return,
            Phase::None | Phase::InVain | Phase::Wanted(_) => self.unless_committed(wanted),
        };
    }

    /// The replica has everything up to this slot.
    pub(super) fn note_committed(&mut self, through: Slot) {
        self.committed = self.committed.max(through);
        if let Phase::Wanted(wanted) = self.phase {
            self.phase = self.unless_committed(wanted);
            self.receiving = self.receiving.filter(|_| self.is_under_way());
        }
    }

    fn unless_committed(&self, wanted: Wanted) -> Phase {
        if wanted.slot > self.committed { Phase::Wanted(wanted) } else { Phase::InVain }
    }

    /// One has begun to come, or goes on.
    pub(super) fn begins(&mut self, receiving: Receiving) {
        self.receiving = Some(receiving);
    }

    /// So much of it is here.
    pub(super) fn has_received(&mut self, received_bytes: u64) {
        if let Some(receiving) = &mut self.receiving {
            receiving.received_bytes = received_bytes;
        }
    }

    /// All of it is here. If it is sound, the replica is given it.
    pub(super) fn is_whole(&mut self) {
        if let Phase::Wanted(wanted) = self.phase {
            self.phase = Phase::Whole(wanted);
        }
    }

    /// What was tried last has failed. If all of one is here, the replica is not given it.
    pub(super) fn has_failed(&mut self) {
        if let Phase::Whole(wanted) = self.phase {
            self.phase = self.unless_committed(wanted);
        }
    }

    /// Nothing is on its way any more.
    pub(super) fn ends(&mut self) {
        self.receiving = None;
    }

    /// Nobody has it, or the disk takes none.
    pub(super) fn give_up(&mut self) {
        if let Phase::Wanted(_) = self.phase {
            self.phase = Phase::InVain;
        }
        self.receiving = None;
    }

    /// The replica is given the one that has come.
    pub(super) fn is_given(&mut self) {
        if let Phase::Whole(_) = self.phase {
            self.phase = Phase::None;
        }
    }

    /// Whether the replica is to be told that none comes. True once.
    pub(super) fn take_in_vain(&mut self) -> bool {
        let is_in_vain = self.is_in_vain();
        if is_in_vain {
            self.phase = Phase::None;
        }
        is_in_vain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(slot: u64) -> Wanted {
        Wanted { from: ReplicaId(1), slot: Slot(slot) }
    }

    fn wants(slot: u64) -> Fetching {
        let mut fetching = Fetching::default();
        fetching.want(wanted(slot));
        assert!(fetching.is_under_way());
        fetching
    }

    #[test]
    fn what_is_given_up_is_told_once() {
        let mut fetching = wants(60);
        assert!(!fetching.take_in_vain(), "it is under way");
        fetching.give_up();
        assert!(fetching.take_in_vain());
        assert!(!fetching.take_in_vain());
        fetching.give_up();
        assert!(!fetching.take_in_vain(), "nothing was wanted");
    }

    #[test]
    fn what_is_wanted_anew_before_it_was_told_is_under_way() {
        let mut fetching = wants(60);
        fetching.give_up();
        fetching.want(wanted(60));
        assert!(!fetching.take_in_vain());
        assert_eq!(fetching.wanted(), Some(wanted(60)));
    }

    #[test]
    fn what_commits_overtake_is_told_whether_that_comes_before_or_after() {
        let mut fetching = wants(60);
        fetching.note_committed(Slot(59));
        assert!(!fetching.take_in_vain());
        fetching.note_committed(Slot(60));
        assert!(fetching.take_in_vain());
        fetching.want(wanted(60));
        assert!(fetching.take_in_vain(), "it is not needed, and none comes");
        fetching.want(wanted(70));
        fetching.want(wanted(60));
        assert_eq!(fetching.wanted(), Some(wanted(70)), "what is under way goes on");
    }

    #[test]
    fn a_whole_one_is_given_and_nothing_is_told() {
        let mut fetching = wants(60);
        fetching.is_whole();
        fetching.note_committed(Slot(60));
        fetching.want(wanted(90));
        fetching.give_up();
        assert!(!fetching.take_in_vain(), "the replica is given it");
        assert_eq!(fetching.wanted(), None, "nobody is asked before");
        fetching.is_given();
        assert!(!fetching.take_in_vain() && !fetching.is_under_way());
    }

    #[test]
    fn a_whole_one_that_is_bad_is_wanted_still_unless_commits_have_overtaken_it() {
        let mut fetching = wants(60);
        fetching.is_whole();
        fetching.has_failed();
        assert_eq!(fetching.wanted(), Some(wanted(60)));
        fetching.is_whole();
        fetching.note_committed(Slot(60));
        fetching.has_failed();
        assert!(fetching.take_in_vain());
    }
}
