//! History: what the properties must remember and no replica does.
//!
//! A history records, for the path to a state, what became durable, what was committed and what was
//! answered. It is part of the state, so it keeps only what a property can still need:
//!
//! - who voted, until there is a majority or can be none any more;
//! - what was voted for, until no replica can vote under that number any more;
//! - a read, until it is answered.
//!
//! No replica votes below its durable promise. History relies on that, because it is a property of its
//! own.

use std::collections::BTreeSet;
use std::vec::Vec;

use super::local::{EntryId, Summary};
use super::membership::{Governing, governs, is_majority};
use super::property::{Broken, Invariant};
use super::scenario::{OPEN_SESSION, REPLICAS_MAX, Replicas};
use crate::configuration::Configuration;
use crate::entry::{Change, Entry, Request, SubmissionId};
use crate::numbers::{ConfigurationId, ReadId, SequenceNumber, SessionId, Slot};
use crate::sessions::{DeliveryRefused, Verdict};

/// What happened on the way to a state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// For each slot from 1 on, what replicas have committed.
    pub(crate) committed: Vec<Option<Commit>>,
    /// For each slot from 1 on, the entries that a majority of a configuration has durably accepted under one
    /// number. Only the configuration that governs the slot matters, but it may not be known yet.
    pub(crate) chosen: Vec<Vec<(ConfigurationId, EntryId)>>,
    /// Where members change: the numbers that were used, each with its configuration.
    numbers: BTreeSet<(SequenceNumber, ConfigurationId)>,
    /// The durable accepts under numbers under which some replica may still vote, in ascending order.
    votes: Vec<Votes>,
    /// The unanswered reads: the id, the replica, and the slot that the answer must cover.
    reads: Vec<(ReadId, usize, Slot)>,
    /// In a scenario with rollbacks, each durable accept with what its replica had committed then.
    votes_over: BTreeSet<VoteOver>,
    /// In a scenario with rollbacks: for each replica, the others that have told it of another history,
    /// in its present run.
    heard_of_another: [Replicas; REPLICAS_MAX],
}

/// A vote, and the committed log of the replica that gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct VoteOver {
    s: SequenceNumber,
    slot: Slot,
    entry: EntryId,
    by: usize,
    log: Vec<EntryId>,
}

/// A committed slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Commit {
    pub(crate) entry: EntryId,
    pub(crate) verdict: Option<Verdict>,
    /// The replicas that have ever committed it.
    pub(crate) by: Replicas,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Votes {
    s: SequenceNumber,
    configuration: ConfigurationId,
    slot: Slot,
    entry: EntryId,
    by: Replicas,
}

/// What a step of one replica adds to history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// The accepted entries that became durable, with their numbers.
    pub(crate) votes: Vec<VoteSeen>,
    /// The number under which the replica has begun to canvass, to stand or to coordinate, and in which
    /// configuration. Only where members change.
    pub(crate) stands: Option<(SequenceNumber, ConfigurationId)>,
    /// The slots that were committed in memory, in order.
    pub(crate) committed: Vec<CommitSeen>,
    /// The reads that were answered, with the slot that each answer covers.
    pub(crate) reads: Vec<(ReadId, Slot)>,
    /// Whether a new run of this replica begins. What its clients asked and what it heard is forgotten.
    pub(crate) starts_anew: bool,
    /// In a scenario with rollbacks, what the replica has committed after the step.
    pub(crate) log: Option<Vec<EntryId>>,
    /// The replica that has told this one of another history.
    pub(crate) heard_of_another: Option<usize>,
    /// Whether the durable promise rose, so that votes may have become impossible.
    pub(crate) promise_rose: bool,
    /// The invariants that the step itself broke.
    pub(crate) broken: Broken,
}

/// An accepted entry that became durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VoteSeen {
    pub(crate) s: SequenceNumber,
    pub(crate) configuration: ConfigurationId,
    pub(crate) slot: Slot,
    pub(crate) entry: EntryId,
}

/// A slot that a replica commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitSeen {
    pub(crate) slot: Slot,
    pub(crate) entry: EntryId,
    /// The replica's verdict on the entry, if it is one that has a verdict. The application gets the
    /// entry now, or had it before.
    pub(crate) verdict: Option<Verdict>,
}

impl Effects {
    /// Whether history does not change.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What history must know about the cluster to record a step.
pub(crate) struct HistoryContext<'a> {
    pub(crate) replicas: usize,
    pub(crate) first_configuration: &'a Configuration,
    /// The summaries of all replicas after the step.
    pub(crate) summaries: [Option<&'a Summary>; REPLICAS_MAX],
    /// The entry with an id.
    pub(crate) entry: &'a dyn Fn(EntryId) -> Option<&'a Entry<u8>>,
    /// How many requests of a session are remembered.
    pub(crate) session_requests_max: u64,
    /// Whether disks may be rolled back. Then a durable promise may fall, and nothing is forgotten.
    pub(crate) rolls_back: bool,
    /// Whether an entry may be in the log: a submission so far, or a no-op.
    pub(crate) may_be_in_log: &'a dyn Fn(EntryId) -> bool,
}

impl HistoryContext<'_> {
    fn is_majority(&self, set: Replicas) -> bool {
        2 * set.count() > self.replicas
    }

    /// The identity of the submission that an entry is a copy of.
    fn submission(&self, entry: EntryId) -> Option<SubmissionId> {
        (self.entry)(entry).and_then(Entry::submission_id)
    }
}

impl History {
    /// The highest slot that any replica has committed.
    fn highest_committed(&self) -> Slot {
        Slot(self.committed.iter().rposition(Option::is_some).map_or(0, |at| at as u64 + 1))
    }

    /// Records that replica `who` receives a read.
    pub(crate) fn begin_read(&mut self, id: ReadId, who: usize) {
        self.reads.push((id, who, self.highest_committed()));
        self.reads.sort_unstable();
    }

    /// The committed entry of `slot`.
    pub(crate) fn commit(&self, slot: Slot) -> Option<&Commit> {
        self.committed.get(place(slot)?)?.as_ref()
    }

    /// Records a step of replica `who`. Returns the invariants that it broke.
    pub(crate) fn take(
        &mut self,
        who: usize,
        effects: &Effects,
        context: &HistoryContext<'_>,
    ) -> Broken {
        let mut broken = effects.broken;
        for &vote in &effects.votes {
            broken.add_all(self.vote(who, vote));
        }
        if let Some((s, configuration)) = effects.stands {
            self.numbers.insert((s, configuration));
            if self.numbers.iter().filter(|it| it.0 == s).count() > 1 {
                broken.add(Invariant::NumberOfOneConfiguration);
            }
        }
        broken.add_all(self.count(context));
        for &commit in &effects.committed {
            broken.add_all(self.take_commit(who, commit, context));
        }
        for &(id, slot) in &effects.reads {
            if let Some(at) = self.reads.iter().position(|read| (read.0, read.1) == (id, who)) {
                let (_, _, floor) = self.reads.remove(at);
                if slot < floor {
                    broken.add(Invariant::ReadCoversCommitted);
                }
            }
        }
        if effects.starts_anew {
            self.reads.retain(|read| read.1 != who);
            self.heard_of_another[who] = Replicas::NONE;
        }
        broken.add_all(self.take_histories(who, effects, context));
        if !context.rolls_back {
            self.forget(context);
        }
        broken
    }

    /// Records what a step shows of different histories.
    fn take_histories(
        &mut self,
        who: usize,
        effects: &Effects,
        context: &HistoryContext<'_>,
    ) -> Broken {
        let mut broken = Broken::default();
        if let Some(from) = effects.heard_of_another {
            self.heard_of_another[who].0 |= 1 << from;
        }
        let Some(log) = &effects.log else {
            return broken;
        };
        for &VoteSeen { s, slot, entry, .. } in &effects.votes {
            self.votes_over.insert(VoteOver { s, slot, entry, by: who, log: log.clone() });
        }
        if effects.committed.is_empty() {
            return broken;
        }
        if context.is_majority(self.heard_of_another[who]) {
            broken.add(Invariant::NothingDeliveredAgainstMajority);
        }
        for commit in &effects.committed {
            let is_compatible =
                |vote: &VoteOver| vote.log.iter().zip(log).all(|(one, it)| one == it);
            let votes = || {
                let of_this =
                    |vote: &&VoteOver| (vote.slot, vote.entry) == (commit.slot, commit.entry);
                self.votes_over.iter().filter(of_this)
            };
            let has_majority = votes().any(|first| {
                let under = votes().filter(|vote| vote.s == first.s && is_compatible(vote));
                context.is_majority(Replicas(under.fold(0, |set, vote| set | 1 << vote.by)))
            });
            if !has_majority {
                broken.add(Invariant::VotesShareAPrefix);
            }
        }
        broken
    }

    fn vote(&mut self, who: usize, vote: VoteSeen) -> Broken {
        let VoteSeen { s, configuration, slot, entry } = vote;
        match self.votes.iter_mut().find(|votes| votes.s == s && votes.slot == slot) {
            Some(votes) if votes.entry != entry => {
                return Invariant::OneValuePerNumberAndSlot.into();
            }
            Some(votes) => votes.by.0 |= 1 << who,
            None => {
                let by = Replicas(1 << who);
                self.votes.push(Votes { s, configuration, slot, entry, by });
                self.votes.sort_unstable();
            }
        }
        Broken::default()
    }

    /// Records what has a majority of votes.
    fn count(&mut self, context: &HistoryContext<'_>) -> Broken {
        let mut broken = Broken::default();
        let configurations = self.all_configurations(context);
        for Votes { configuration, slot, entry, by, .. } in &self.votes {
            let has_majority = is_majority_of(&configurations, *configuration, *by);
            let Some(place) = place(*slot).filter(|_| has_majority) else {
                continue;
            };
            let chosen = grown(&mut self.chosen, place);
            match chosen.iter().find(|it| it.0 == *configuration) {
                Some(it) if it.1 != *entry => broken.add(Invariant::OneChosenValue),
                Some(_) => {}
                None => {
                    chosen.push((*configuration, *entry));
                    chosen.sort_unstable();
                }
            }
        }
        broken
    }

    fn all_configurations(&self, context: &HistoryContext<'_>) -> Vec<Governing> {
        self.configurations(context.first_configuration, &|id| (context.entry)(id).cloned())
    }

    fn take_commit(
        &mut self,
        who: usize,
        commit: CommitSeen,
        context: &HistoryContext<'_>,
    ) -> Broken {
        let CommitSeen { slot, entry, verdict } = commit;
        let mut broken = Broken::default();
        let Some(place) = place(slot) else {
            return broken;
        };
        let configurations = self.all_configurations(context);
        let governing = governs(&configurations, slot).map(Configuration::id);
        let mut chosen = self.chosen.get(place).into_iter().flatten();
        if !chosen.clone().any(|it| it.1 == entry) {
            broken.add(Invariant::CommittedIsChosen);
        } else if !chosen.any(|it| (Some(it.0), it.1) == (governing, entry)) {
            broken.add(Invariant::CommittedByGovernors);
        }
        if !(context.may_be_in_log)(entry) {
            broken.add(Invariant::CommittedWasSubmitted);
        }
        if let (Some(Verdict::First), Some(id)) = (verdict, context.submission(entry)) {
            let elsewhere = self.committed.iter().enumerate().any(|(at, commit)| {
                commit.is_some_and(|commit| {
                    at != place
                        && commit.verdict == Some(Verdict::First)
                        && context.submission(commit.entry) == Some(id)
                })
            });
            if elsewhere {
                broken.add(Invariant::FirstAtMostOnce);
            }
        }
        if let Some(verdict) = verdict
            && !self.is_right(verdict, slot, entry, context)
        {
            broken.add(Invariant::VerdictFollowsFromLog);
        }
        match grown(&mut self.committed, place) {
            Some(commit) if commit.entry != entry => broken.add(Invariant::OneCommittedValue),
            // Every replica comes to the same verdict.
            Some(commit) if verdict != commit.verdict => {
                broken.add(Invariant::VerdictFollowsFromLog);
            }
            Some(commit) => commit.by.0 |= 1 << who,
            commit @ None => *commit = Some(Commit { entry, verdict, by: Replicas(1 << who) }),
        }
        broken
    }

    /// Whether `verdict` on the entry of `slot` follows from the committed entries below. This checks the
    /// request table against the log itself.
    fn is_right(
        &self,
        verdict: Verdict,
        slot: Slot,
        entry: EntryId,
        context: &HistoryContext<'_>,
    ) -> bool {
        let refused = self.refusal(slot, entry, context);
        match verdict {
            Verdict::First => refused.is_none(),
            Verdict::Refused { reason } => refused == Some(reason),
            Verdict::Duplicate { first_slot } => {
                first_slot < slot
                    && self.commit(first_slot).is_some_and(|first| {
                        first.verdict == Some(Verdict::First)
                            && context.submission(first.entry) == context.submission(entry)
                    })
            }
        }
    }

    /// Why the entry of `slot` must be refused, if it must. (No model has enough sessions for one to be
    /// evicted.)
    fn refusal(
        &self,
        slot: Slot,
        entry: EntryId,
        context: &HistoryContext<'_>,
    ) -> Option<DeliveryRefused> {
        let (session, number, answered) = request(entry, context)?;
        let below = self.committed.iter().take(place(slot)?).flatten();
        let mut is_open = session == OPEN_SESSION;
        let mut answered = answered;
        for (at, commit) in (1..).zip(below) {
            if let Some((its, _, more)) = request(commit.entry, context)
                && its == session
            {
                answered = answered.max(more);
            }
            match (context.entry)(commit.entry) {
                Some(Entry::Open(_)) => {
                    is_open |= at == session.0 && commit.verdict == Some(Verdict::First);
                }
                Some(Entry::End { session: its }) if *its == session => is_open = false,
                _ => {}
            }
        }
        if !is_open {
            Some(DeliveryRefused::NoSession)
        } else if number < answered {
            Some(DeliveryRefused::GivenUp)
        } else if number >= answered + context.session_requests_max {
            Some(DeliveryRefused::TooFarAhead)
        } else if let Some(Entry::Change(change)) = (context.entry)(entry) {
            let configurations = self.all_configurations(context);
            let before = governs(&configurations, slot)?;
            let follows = change.configuration.follows(before);
            (!follows).then_some(DeliveryRefused::OtherConfiguration)
        } else {
            None
        }
    }

    /// Forgets what cannot matter any more: who voted, once there is a majority or can be none; and what
    /// was voted for, once no replica can vote under that number.
    fn forget(&mut self, context: &HistoryContext<'_>) {
        let may_vote = |s: SequenceNumber| {
            let may = |who: &usize| {
                context.summaries[*who].is_some_and(|summary| summary.durable_promise <= s)
            };
            Replicas((0..context.replicas).filter(may).fold(0, |set, who| set | 1 << who))
        };
        let configurations = self.all_configurations(context);
        self.votes.retain_mut(|votes| {
            let may_vote = may_vote(votes.s);
            let possible = Replicas(votes.by.0 | may_vote.0);
            let is_majority = |set| is_majority_of(&configurations, votes.configuration, set);
            if is_majority(votes.by) {
                votes.by = Replicas::ALL;
            } else if !is_majority(possible) {
                votes.by = Replicas::NONE;
            }
            may_vote != Replicas::NONE
        });
    }
}

/// Whether `set` is a majority of the configuration with this id. No replica accepts in a configuration before
/// the change that makes it is committed.
fn is_majority_of(configurations: &[Governing], id: ConfigurationId, set: Replicas) -> bool {
    let configuration = configurations.iter().find(|it| it.configuration.id() == id);
    configuration.is_some_and(|it| is_majority(&it.configuration, set))
}

/// The session, the number and `answered` of a request or a change.
fn request(entry: EntryId, context: &HistoryContext<'_>) -> Option<(SessionId, u64, u64)> {
    match (context.entry)(entry)? {
        Entry::Request(Request { session, number, answered, .. })
        | Entry::Change(Change { session, number, answered, .. }) => {
            Some((*session, *number, *answered))
        }
        _ => None,
    }
}

/// The index of a slot in a list of slots.
fn place(slot: Slot) -> Option<usize> {
    usize::try_from(slot.0).ok()?.checked_sub(1)
}

/// The element at `place`. The list grows if it is too short.
fn grown<T: Default>(list: &mut Vec<T>, place: usize) -> &mut T {
    while list.len() <= place {
        list.push(T::default());
    }
    &mut list[place]
}
