//! Standing for election: the canvass, and phase 1 of Paxos.
//!
//! A replica that suspects that nobody coordinates first *canvasses*: it asks the others, and nothing
//! is written or promised. So a replica that was cut off for a while does not oust a healthy
//! coordinator with a number that grew meanwhile. With the agreement of a majority, the replica becomes
//! a *candidate*. It promises a new number to itself, and proposes the number once that promise is
//! durable, or a restart could use the number twice. With the promises of a majority it coordinates.
//!
//! A promise may take several frames, which come in any order. It counts only when it is whole.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::common::Common;
use super::coordinator::Coordinator;
use super::finish::{Reported, ToFinish};
use super::{Replica, Role};
use crate::configuration::{Configuration, MemberSet};
use crate::entry::Value;
use crate::frames::{FrameRoom, is_one_frame};
use crate::io::{ElectRefused, Output};
use crate::limits::Limits;
use crate::message::{Accepted, Order, Promise};
use crate::numbers::{ReplicaId, SequenceNumber, Slot, SlotRange};
use crate::prefix::{EntryDigest, Prefix};
use crate::record::Content;

/// A replica that has asked the others whether they would follow it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Canvassing {
    /// The number that it asked about.
    pub(crate) s: SequenceNumber,
    /// Who would follow.
    pub(crate) agreed: MemberSet,
}

impl Canvassing {
    fn new(s: SequenceNumber, me: ReplicaId, configuration: &Configuration) -> Self {
        let mut canvassing = Self { s, agreed: MemberSet::default() };
        canvassing.agree(me, configuration);
        canvassing
    }

    /// `replica` would follow.
    pub(crate) fn agree(&mut self, replica: ReplicaId, configuration: &Configuration) {
        configuration.insert(&mut self.agreed, replica);
    }
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
    reported: BTreeMap<Slot, Reported<V>>,
}

/// How much of one replica's promise has come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Progress {
    /// What it has committed.
    prefix: Prefix,
    last: Slot,
    /// Every slot up to here is told of.
    through: Slot,
    /// What is told of above that, over a gap: ascending, and not adjacent. All of it lies above the
    /// watermark and at most `accepted_slots_max` further, and that bounds the number of ranges.
    ahead: Vec<SlotRange>,
    /// How many entries were told.
    entries: u64,
}

impl Progress {
    /// The slot up to which nothing is missing, for a candidate with `watermark`.
    fn known_through(&self, watermark: Slot) -> Slot {
        let joined = self.through.max(self.prefix.through).max(watermark);
        self.ahead.iter().fold(joined, |known, range| {
            if range.first <= known.next() { known.max(range.last) } else { known }
        })
    }

    /// Whether everything from `first`, a slot above what is known without a gap, to `last` is told of.
    fn tells(&self, first: Slot, last: Slot) -> bool {
        let at = self.ahead.partition_point(|range| range.last < last);
        last < first || self.ahead.get(at).is_some_and(|range| range.first <= first)
    }

    /// The slots from `first` to `last` are told of.
    fn tell(&mut self, mut first: Slot, mut last: Slot, watermark: Slot) {
        // Those that overlap with it or are adjacent become one with it.
        self.ahead.retain(|range| {
            let is_apart = range.last.next() < first || last.next() < range.first;
            if !is_apart {
                (first, last) = (first.min(range.first), last.max(range.last));
            }
            is_apart
        });
        let at = self.ahead.partition_point(|range| range.last < first);
        self.ahead.insert(at, SlotRange { first, last });
        let known = self.known_through(watermark);
        self.ahead.retain(|range| range.last > known);
        if first <= known {
            self.through = known;
        }
    }
}

/// Whether a candidate may coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Promises of a majority are still missing.
    Waits,
    /// A majority has promised, but this promiser knows of commits that the candidate lacks.
    Lags {
        /// The promiser with the highest watermark.
        ahead: ReplicaId,
        /// That watermark.
        watermark: Slot,
    },
    /// A majority has promised.
    Elected,
}

impl<V: Value> Replica<V> {
    /// The failure detector believes that nobody coordinates. A coordinator whose round is unanswered
    /// steps down. The detector counts for how long; the core has no clock.
    pub(super) fn suspect(&mut self) {
        if let Role::Coordinator(coordinator) = &self.role {
            if coordinator.rounds.are_answered(self.common.configuration()) {
                return;
            }
            self.role = Role::Follower;
        }
        self.common.suspects = true;
    }

    /// Stands for election, with or without asking first.
    ///
    /// While its disk or application hangs it does neither, not even if an operator forces it: its own
    /// promise would never be durable, or it could serve no client.
    ///
    /// A candidate that waits gives up its number and begins again.
    pub(super) fn elect(&mut self, canvass: bool, out: &mut Output<V>) {
        if matches!(self.role, Role::Coordinator(_)) {
            out.elect_refused = Some(ElectRefused::Coordinates);
        } else if !self.common.configuration().is_voter(self.common.me) {
            out.elect_refused = Some(ElectRefused::NotAVoter);
            // It hears no coordinator, perhaps because it was removed.
            self.common.tell_of_change(out);
        } else if let Some(resource) = self.common.hung.any() {
            out.elect_refused = Some(ElectRefused::Hangs { resource });
        } else if canvass {
            self.canvass(out);
        } else if let Some(s) = self.take_number(out) {
            self.stand(s, out);
        }
    }

    /// Asks the others whether they would follow, under the number that a candidacy would have.
    ///
    /// No canvass of one run uses a number again. So an agreement counts only for the canvass that it
    /// answers: one that comes late was given when there was perhaps no coordinator, and now there is.
    fn canvass(&mut self, out: &mut Output<V>) {
        let Some(s) = self.take_number(out) else {
            return;
        };
        let common = &mut self.common;
        common.suspects = true;
        self.role = Role::Canvassing(Canvassing::new(s, common.me, common.configuration()));
        common.order_others(s, Order::Canvass { run: common.run }, out);
        self.stand_when_agreed(out);
    }

    /// Takes the next number of this replica's own (Paxos Made Live, 4.1, footnote 1).
    fn take_number(&mut self, out: &mut Output<V>) -> Option<SequenceNumber> {
        let number = self.common.next_number();
        match number {
            Some(s) => self.common.heard = s,
            None => out.elect_refused = Some(ElectRefused::NoLargerNumber),
        }
        number
    }

    pub(super) fn stand_when_agreed(&mut self, out: &mut Output<V>) {
        if let Role::Canvassing(canvassing) = &self.role
            && self.common.configuration().is_majority(canvassing.agreed)
        {
            self.stand(canvassing.s, out);
        }
    }

    /// Becomes a candidate under `s`, which this replica has just taken, or has canvassed for.
    ///
    /// A replica that canvasses has neither promised `s` or more, nor heard of a promise of it: either
    /// would have ended the canvass.
    fn stand(&mut self, s: SequenceNumber, out: &mut Output<V>) {
        let common = &mut self.common;
        common.suspects = false;
        self.role = Role::Candidate(Candidate::new(s));
        out.election_advances = true;
        common.raise_promise(s);
        common.write(Content::Promised(s), out);
    }

    /// Proposes once this replica's own promise is durable. Otherwise it could pick the same number
    /// again after a restart.
    pub(super) fn propose_when_durable(&mut self, out: &mut Output<V>) {
        let common = &self.common;
        if let Role::Candidate(candidate) = &mut self.role
            && !candidate.proposed
            && common.acceptor.durable_promise() == candidate.s
        {
            let from = common.watermark().next();
            common.order_others(candidate.s, Order::Propose { from }, out);
            candidate.proposed = true;
            self.coordinate_when_elected(out);
        }
    }

    /// Coordinates once a majority has promised and this replica has caught up with what they know.
    pub(super) fn coordinate_when_elected(&mut self, out: &mut Output<V>) {
        let common = &mut self.common;
        let Role::Candidate(candidate) = &mut self.role else {
            return;
        };
        if candidate.forget_other_histories(common, out) {
            let from = common.watermark().next();
            common.order_others(candidate.s, Order::Propose { from }, out);
        }
        match candidate.standing(common.me, common.watermark(), common.configuration()) {
            Standing::Waits => {}
            Standing::Lags { ahead, watermark } => common.ask(ahead, watermark, out),
            Standing::Elected => {
                let role = core::mem::replace(&mut self.role, Role::Follower);
                if let Role::Candidate(candidate) = role {
                    let s = candidate.s;
                    let watermark = common.watermark();
                    let promised_by =
                        candidate.counted(common.me, watermark, common.configuration());
                    let to_finish = candidate.what_to_finish(common);
                    let clients = &mut self.clients;
                    self.role = Role::Coordinator(Coordinator::begin(
                        s,
                        promised_by,
                        to_finish,
                        common,
                        clients,
                        out,
                    ));
                }
            }
        }
    }

    /// Whether a majority has promised, and this candidate must catch up before it coordinates.
    #[cfg(feature = "stateright")]
    pub(crate) fn lags_as_candidate(&self) -> bool {
        let Role::Candidate(candidate) = &self.role else {
            return false;
        };
        let common = &self.common;
        let standing = candidate.standing(common.me, common.watermark(), common.configuration());
        matches!(standing, Standing::Lags { .. })
    }

    /// `from` has promised `promised`. A replica that canvasses, stands or coordinates below that number has
    /// lost.
    ///
    /// If `from` only learns, nobody else need stand: no voter has promised more. But the learner obeys no lower
    /// number. So this replica stands again at once.
    pub(super) fn rejected(
        &mut self,
        from: ReplicaId,
        promised: SequenceNumber,
        out: &mut Output<V>,
    ) {
        self.common.heard = self.common.heard.max(promised);
        let (has_lost, stood) = match &self.role {
            Role::Follower => (false, false),
            Role::Canvassing(canvassing) => (canvassing.s <= promised, false),
            Role::Candidate(candidate) => (candidate.s < promised, true),
            Role::Coordinator(coordinator) => (coordinator.s < promised, true),
        };
        if !has_lost {
            return;
        }
        self.role = Role::Follower;
        if stood && !self.common.configuration().is_voter(from) {
            self.stand_again(out);
        }
    }

    /// Stands under a new number, if nothing hangs.
    pub(super) fn stand_again(&mut self, out: &mut Output<V>) {
        if self.common.hung.any().is_none()
            && let Some(s) = self.take_number(out)
        {
            self.stand(s, out);
        }
    }
}

impl<V: Value> Candidate<V> {
    pub(crate) fn new(s: SequenceNumber) -> Self {
        Self { s, proposed: false, promises: BTreeMap::new(), reported: BTreeMap::new() }
    }

    /// Takes in one frame of the promise of `from`. `watermark` is the candidate's own.
    ///
    /// Frames may come in any order and more than once, and from before and after the promiser learned
    /// of more commits: what it has accepted above its newest watermark does not change while it obeys
    /// `s`.
    pub(crate) fn take(
        &mut self,
        from: ReplicaId,
        frame: Promise<V>,
        watermark: Slot,
        limits: &Limits,
    ) {
        let Promise { prefix, last, after, through, accepted } = frame;
        let theirs = prefix.through;
        let possible = theirs <= last
            && last.above(theirs) <= limits.accepted_slots_max
            && after <= through
            && through <= last
            && last <= Slot::MAX
            && is_one_frame(&accepted, FrameRoom::of(limits))
            && accepted.iter().all(|it| after < it.slot && it.slot <= through && it.s < self.s)
            && accepted.iter().all(|it| it.entry.is_within(limits));
        if !possible {
            return;
        }
        let progress = self.promises.entry(from).or_insert(Progress {
            prefix,
            last,
            through: watermark,
            ahead: Vec::new(),
            entries: 0,
        });
        if progress.prefix.through < theirs {
            progress.prefix = prefix;
        }
        progress.last = progress.last.max(last);
        let known_through = progress.known_through(watermark);
        let first = after.max(known_through).next();
        let is_news = |it: &Accepted<V>| first <= it.slot && !progress.tells(it.slot, it.slot);
        // Nobody who obeys `s` has accepted more than the limit in all.
        let news = accepted.iter().filter(|it| is_news(it)).count() as u64;
        let entries = progress.entries.saturating_add(news);
        if progress.tells(first, through) || entries > limits.accepted_slots_max {
            return;
        }
        progress.entries = entries;
        for it in accepted {
            if first <= it.slot && !progress.tells(it.slot, it.slot) {
                let is_lower = |reported: &Reported<V>| reported.s < it.s;
                if self.reported.get(&it.slot).is_none_or(is_lower) {
                    let digest = EntryDigest::of(&it.entry);
                    let reported = Reported { s: it.s, entry: it.entry, digest };
                    self.reported.insert(it.slot, reported);
                }
            }
        }
        progress.tell(first, through, watermark);
    }

    /// Whether `frame` tells nothing that `from` has not told before.
    #[cfg(feature = "stateright")]
    pub(crate) fn knows(&self, from: ReplicaId, frame: &Promise<V>) -> bool {
        self.promises.get(&from).is_some_and(|progress| {
            let first = frame.after.max(progress.known_through(Slot::ZERO)).next();
            progress.prefix.through >= frame.prefix.through
                && progress.last >= frame.last
                && progress.tells(first, frame.through)
        })
    }

    /// Finds out which promisers have another history, now that this candidate has caught up. Promises
    /// are kept together, so all of them are forgotten if there is one. Says whether they were.
    fn forget_other_histories(&mut self, common: &mut Common<V>, out: &mut Output<V>) -> bool {
        for (&replica, progress) in &self.promises {
            common.compare(replica, &progress.prefix, out);
        }
        let differs = self.promises.keys().any(|it| common.other_histories.contains_key(it));
        if differs {
            self.promises.clear();
            self.reported.clear();
        }
        differs
    }

    /// The promise of `replica` counts no more. What it has reported may still be chosen: it was accepted.
    pub(super) fn forget_promise(&mut self, replica: ReplicaId) {
        self.promises.remove(&replica);
    }

    fn is_whole(progress: &Progress, watermark: Slot) -> bool {
        progress.known_through(watermark) >= progress.last
    }

    /// The first slot from which `replica` has still to report what it has accepted; none if its
    /// promise is whole.
    pub(crate) fn missing_from(&self, replica: ReplicaId, watermark: Slot) -> Option<Slot> {
        match self.promises.get(&replica) {
            Some(progress) if Self::is_whole(progress, watermark) => None,
            Some(progress) => Some(progress.known_through(watermark).next()),
            None => Some(watermark.next()),
        }
    }

    /// Whether the promise of `progress` counts for a candidate with `watermark`: it is whole, and
    /// what it reports begins at or below the slots that the candidate will choose values for.
    fn counts(progress: &Progress, watermark: Slot) -> bool {
        Self::is_whole(progress, watermark) && progress.prefix.through <= watermark
    }

    /// The members whose promises count for `me` with `watermark`. Its own does.
    fn counted(&self, me: ReplicaId, watermark: Slot, configuration: &Configuration) -> MemberSet {
        let mut counted = MemberSet::default();
        configuration.insert(&mut counted, me);
        for (&replica, progress) in &self.promises {
            if Self::counts(progress, watermark) {
                configuration.insert(&mut counted, replica);
            }
        }
        counted
    }

    /// Whether `me`, with `watermark`, may coordinate. It may not before its own promise is durable,
    /// which is when it proposes.
    ///
    /// A promise counts only once the candidate knows of every commit that its promiser knew of. The
    /// candidate chooses values for all slots above its own watermark, and a promise reports only what
    /// is above the promiser's.
    pub(crate) fn standing(
        &self,
        me: ReplicaId,
        watermark: Slot,
        configuration: &Configuration,
    ) -> Standing {
        if !self.proposed {
            return Standing::Waits;
        }
        let counted = self.counted(me, watermark, configuration);
        let mut promised = MemberSet::default();
        configuration.insert(&mut promised, me);
        let mut ahead: Option<(Slot, ReplicaId)> = None;
        for (&replica, progress) in &self.promises {
            if Self::is_whole(progress, watermark) {
                configuration.insert(&mut promised, replica);
                if ahead.is_none_or(|(highest, _)| progress.prefix.through > highest) {
                    ahead = Some((progress.prefix.through, replica));
                }
            }
        }
        match ahead {
            _ if configuration.is_majority(counted) => Standing::Elected,
            Some((watermark, ahead)) if configuration.is_majority(promised) => {
                Standing::Lags { ahead, watermark }
            }
            _ => Standing::Waits,
        }
    }

    /// The last slot that a promise reported, of those that count.
    fn last_reported(&self, watermark: Slot) -> Slot {
        let counted = self.promises.values().filter(|it| Self::counts(it, watermark));
        counted.map(|progress| progress.last).max().unwrap_or(Slot::ZERO)
    }

    /// What phase 2 must finish: every slot from the watermark up to the last one in which this replica, or
    /// a promise that counts, has accepted anything. All that was reported above this replica's watermark,
    /// as it stands now, decides which entries these slots get.
    pub(crate) fn what_to_finish(self, common: &Common<V>) -> ToFinish<V> {
        let watermark = common.watermark();
        let mut through = common.acceptor.last(watermark).max(self.last_reported(watermark));
        if common.learner.is_change_unfinished() {
            // The change is finished when a slot after it is committed.
            through = through.max(watermark.next());
        }
        ToFinish::new(self.reported, through, common)
    }

    /// Forgets what was reported of the slots up to `watermark`: they are committed.
    pub(crate) fn forget_committed(&mut self, watermark: Slot) {
        self.reported = self.reported.split_off(&watermark.next());
    }
}
