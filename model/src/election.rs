//! Standing for election: the canvass, and phase 1 of Paxos.
//!
//! A replica that suspects that nobody coordinates first *canvasses*: it asks, and nothing is
//! written or promised. So one that was cut off, and comes back, does not oust a healthy coordinator
//! with a number that grew meanwhile. With a majority's agreement it becomes a *candidate*: it
//! promises a new number to itself, and proposes it once that promise is durable, lest a restart use
//! the number twice. With the promises of a majority it coordinates.
//!
//! A promise may take several frames. It counts only when whole.

use alloc::collections::BTreeMap;

use crate::configuration::{Configuration, MemberSet};
use crate::entry::{Entry, Value};
use crate::limits::Limits;
use crate::message::Promise;
use crate::numbers::{ReplicaId, SequenceNumber, Slot};

/// A replica that has asked the others whether they would follow it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Canvassing {
    /// The number that it asked about.
    pub(crate) s: SequenceNumber,
    /// Who would follow.
    pub(crate) agreed: MemberSet,
}

/// A replica that gathers promises of `s`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Candidate<V> {
    pub(crate) s: SequenceNumber,
    /// Whether its own promise is durable, and the others were asked for theirs.
    pub(crate) proposed: bool,
    /// What has come of each other replica's promise.
    promises: BTreeMap<ReplicaId, Progress>,
    /// Of every slot, the entry reported under the highest number.
    best: BTreeMap<Slot, (SequenceNumber, Entry<V>)>,
}

/// How much of one replica's promise has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Progress {
    watermark: Slot,
    last: Slot,
    /// Every slot up to here is told of.
    through: Slot,
    /// How many entries were told.
    entries: u64,
}

/// Whether a candidate may coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Promises of a majority are still missing.
    Waits,
    /// A majority has promised, but this promiser knows of commits that the candidate lacks.
    Lags {
        /// The promiser with the highest watermark.
        behind: ReplicaId,
    },
    /// A majority has promised.
    Elected,
}

impl<V: Value> Candidate<V> {
    pub(crate) fn new(s: SequenceNumber) -> Self {
        Self { s, proposed: false, promises: BTreeMap::new(), best: BTreeMap::new() }
    }

    /// Takes in one frame of the promise of `from`. `watermark` is the candidate's own.
    ///
    /// Frames may come in any order, again, and from before and after the promiser learned of more
    /// commits: what it has accepted above its newest watermark does not change while it obeys `s`.
    /// A frame that does not join what is there already waits to be asked for again.
    pub(crate) fn take(
        &mut self,
        from: ReplicaId,
        frame: Promise<V>,
        watermark: Slot,
        limits: &Limits,
    ) {
        let Promise { watermark: theirs, last, after, through, accepted } = frame;
        let possible = theirs <= last
            && last.above(theirs) <= limits.accepted_slots_max
            && after <= through
            && through <= last
            && last <= Slot::MAX
            && accepted.len() as u64 <= limits.frame_entries_max
            && accepted.iter().all(|it| after < it.slot && it.slot <= through && it.s < self.s)
            && accepted.iter().all(|it| it.entry.is_within(limits));
        if !possible {
            return;
        }
        let progress = self.promises.entry(from).or_insert(Progress {
            watermark: theirs,
            last,
            through: watermark,
            entries: 0,
        });
        progress.watermark = progress.watermark.max(theirs);
        progress.last = progress.last.max(last);
        let known_through = progress.through.max(progress.watermark).max(watermark);
        // Nobody who obeys `s` has accepted more than the limit in all.
        let news = accepted.iter().filter(|it| it.slot > known_through).count() as u64;
        let entries = progress.entries.saturating_add(news);
        if after > known_through || through <= known_through || entries > limits.accepted_slots_max
        {
            return;
        }
        progress.entries = entries;
        progress.through = through;
        for it in accepted {
            if it.slot > known_through {
                let best = self.best.entry(it.slot).or_insert((it.s, it.entry.clone()));
                if best.0 < it.s {
                    *best = (it.s, it.entry);
                }
            }
        }
    }

    /// Whether `frame` tells nothing that `from` has not told before.
    #[cfg(feature = "stateright")]
    pub(crate) fn knows(&self, from: ReplicaId, frame: &Promise<V>) -> bool {
        self.promises.get(&from).is_some_and(|progress| {
            progress.watermark >= frame.watermark
                && progress.last >= frame.last
                && progress.through.max(progress.watermark) >= frame.through
        })
    }

    fn is_whole(progress: &Progress, watermark: Slot) -> bool {
        progress.through.max(progress.watermark).max(watermark) >= progress.last
    }

    /// From which slot on `replica` is still to tell what it has accepted; none if its promise is
    /// whole.
    pub(crate) fn missing_from(&self, replica: ReplicaId, watermark: Slot) -> Option<Slot> {
        match self.promises.get(&replica) {
            Some(progress) if Self::is_whole(progress, watermark) => None,
            Some(progress) => Some(progress.through.max(progress.watermark).max(watermark).next()),
            None => Some(watermark.next()),
        }
    }

    /// Whether the promise of `progress` counts for a candidate with `watermark`: it is whole, and
    /// what it reports begins at or below the slots that the candidate will choose values for.
    fn counts(progress: &Progress, watermark: Slot) -> bool {
        Self::is_whole(progress, watermark) && progress.watermark <= watermark
    }

    /// Whether `me`, with `watermark` and a durable promise of its own, may coordinate.
    ///
    /// A promise counts only once the candidate knows of every commit that its promiser knew of: it
    /// chooses values for all slots above its own watermark, and a promise reports what is above the
    /// promiser's.
    pub(crate) fn standing(
        &self,
        me: ReplicaId,
        watermark: Slot,
        configuration: &Configuration,
    ) -> Standing {
        let mut counted = MemberSet::default();
        let mut promised = MemberSet::default();
        configuration.insert(&mut counted, me);
        configuration.insert(&mut promised, me);
        let mut ahead: Option<(Slot, ReplicaId)> = None;
        for (&replica, progress) in &self.promises {
            if Self::counts(progress, watermark) {
                configuration.insert(&mut counted, replica);
            }
            if Self::is_whole(progress, watermark) {
                configuration.insert(&mut promised, replica);
                if ahead.is_none_or(|(highest, _)| progress.watermark > highest) {
                    ahead = Some((progress.watermark, replica));
                }
            }
        }
        match ahead {
            _ if configuration.is_majority(counted) => Standing::Elected,
            Some((_, behind)) if configuration.is_majority(promised) => Standing::Lags { behind },
            _ => Standing::Waits,
        }
    }

    /// The last slot that any of the promises reported that count.
    pub(crate) fn last_reported(&self, watermark: Slot) -> Slot {
        let counted = self.promises.values().filter(|it| Self::counts(it, watermark));
        counted.map(|progress| progress.last).max().unwrap_or(Slot::ZERO)
    }

    /// Takes the entry that was reported for `slot` under the highest number.
    pub(crate) fn take_best(&mut self, slot: Slot) -> Option<(SequenceNumber, Entry<V>)> {
        self.best.remove(&slot)
    }

    /// The slots up to `watermark` are committed; what was reported of them is of no more interest.
    pub(crate) fn forget_committed(&mut self, watermark: Slot) {
        self.best = self.best.split_off(&watermark.next());
    }
}
