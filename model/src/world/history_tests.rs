//! Compares history, which forgets, with one that keeps every vote.
//!
//! The votes are random. A correct core would not cast most of them: they give different values to one
//! number, and choose values that differ from those chosen before. The only rule is that no replica
//! votes below its own durable promise, which is a property of its own. What the complete record shows,
//! history must find at the same step.

use std::collections::BTreeSet;
use std::vec::Vec;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use super::history::{CommitSeen, Effects, History, HistoryContext, VoteSeen};
use super::property::{Broken, Invariant};
use super::scenario::REPLICAS_MAX;
use super::{Scenario, World};
use crate::numbers::{ConfigurationId, SequenceNumber, Slot};

/// Something that a replica makes durable.
#[derive(Clone, Copy, Debug)]
enum Durable {
    Promise { who: usize, s: u64 },
    Vote { who: usize, s: u64, slot: u64, entry: u8 },
}

fn durable(replicas: usize) -> impl Strategy<Value = Durable> {
    let promise = (0..replicas, 1..5_u64).prop_map(|(who, s)| Durable::Promise { who, s });
    let vote = (0..replicas, 1..5_u64, 1..3_u64, 0..2_u8);
    let vote = vote.prop_map(|(who, s, slot, entry)| Durable::Vote { who, s, slot, entry });
    prop_oneof![1 => promise, 4 => vote]
}

/// All votes so far: number, slot, entry and replica.
#[derive(Default)]
struct All(BTreeSet<(u64, u64, u8, usize)>);

impl All {
    fn two_under_one_number(&self) -> bool {
        self.0.iter().any(|a| self.0.iter().any(|b| (a.0, a.1) == (b.0, b.1) && a.2 != b.2))
    }

    fn chosen(&self, replicas: usize) -> BTreeSet<(u64, u8)> {
        let has_majority = |&&(s, slot, entry, _): &&(u64, u64, u8, usize)| {
            let same = self.0.iter().filter(|it| (it.0, it.1, it.2) == (s, slot, entry));
            2 * same.count() > replicas
        };
        self.0.iter().filter(has_majority).map(|it| (it.1, it.2)).collect()
    }

    fn two_chosen(&self, replicas: usize) -> bool {
        let chosen = self.chosen(replicas);
        chosen.iter().any(|a| chosen.iter().any(|b| a.0 == b.0 && a.1 != b.1))
    }
}

fn vote_seen(s: u64, slot: u64, entry: u8) -> VoteSeen {
    let configuration = ConfigurationId(1);
    VoteSeen { s: SequenceNumber(s), configuration, slot: Slot(slot), entry }
}

/// Gives the same steps to both. Returns the invariants that the last step broke.
fn compare(replicas: usize, steps: &[Durable]) -> Result<Broken, TestCaseError> {
    let world = World::new(Scenario::new(replicas, 2, &[1]));
    let first = world.first_state();
    let mut summaries: Vec<_> =
        world.replicas().map(|it| world.summary(&first, it).clone()).collect();
    let mut history = History::default();
    let mut all = All::default();
    for &durable in steps {
        let mut effects = Effects::default();
        let who = match durable {
            Durable::Promise { who, s } => {
                let promised = &mut summaries[who].durable_promise;
                *promised = (*promised).max(SequenceNumber(s));
                effects.promise_rose = true;
                who
            }
            Durable::Vote { who, s, slot, entry } => {
                if SequenceNumber(s) < summaries[who].durable_promise {
                    continue;
                }
                summaries[who].durable_promise = SequenceNumber(s);
                effects.votes.push(vote_seen(s, slot, entry));
                all.0.insert((s, slot, entry, who));
                who
            }
        };
        let mut around = [None; REPLICAS_MAX];
        for (it, summary) in around.iter_mut().zip(&summaries) {
            *it = Some(summary);
        }
        let around = HistoryContext {
            replicas,
            first_configuration: world.constants.first_configuration(),
            summaries: around,
            entry: &|_| None,
            session_requests_max: 4,
            rolls_back: false,
            may_be_in_log: &|_| true,
        };
        let broken = history.take(who, &effects, &around);
        prop_assert_eq!(
            broken.contains(Invariant::OneValuePerNumberAndSlot),
            all.two_under_one_number()
        );
        if broken == Broken::default() {
            prop_assert!(
                !all.two_chosen(replicas),
                "two are chosen, and history has forgotten why"
            );
        } else {
            prop_assert!(
                broken.contains(Invariant::OneValuePerNumberAndSlot) || all.two_chosen(replicas),
                "history finds what never was"
            );
            return Ok(broken);
        }
    }
    Ok(Broken::default())
}

/// Compares both over random histories, which are the same in every run.
fn check(replicas: usize, length: usize) {
    let rng_seed = RngSeed::Fixed(2007);
    let config = ProptestConfig {
        cases: 4096,
        rng_seed,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let histories = prop::collection::vec(durable(replicas), 1..length);
    let outcome = TestRunner::new(config)
        .run(&histories, |history| compare(replicas, &history).map(|_broken| ()));
    if let Err(failure) = outcome {
        panic!("{rng_seed:?}: {failure}");
    }
}

#[test]
fn three_replicas() {
    check(3, 24);
}

#[test]
fn five_replicas() {
    check(5, 40);
}

/// Both kinds of violation occur. Otherwise the comparison would prove nothing.
#[test]
fn both_kinds_of_break_are_found() -> Result<(), TestCaseError> {
    let vote = |who, s, entry| Durable::Vote { who, s, slot: 1, entry };
    // The third replica votes after history has forgotten who the majority was.
    let under_one_number = [vote(0, 1, 0), vote(1, 1, 0), vote(2, 1, 1)];
    assert!(compare(3, &under_one_number)?.contains(Invariant::OneValuePerNumberAndSlot));
    let chosen = [vote(0, 1, 0), vote(1, 1, 0), vote(1, 2, 1), vote(2, 2, 1)];
    assert!(compare(3, &chosen)?.contains(Invariant::OneChosenValue));
    Ok(())
}

/// Gives these steps to a history of three replicas whose disks may roll back.
fn broken_by(steps: &[(usize, Effects)]) -> Broken {
    let world = World::new(Scenario { rollbacks: 1, ..Scenario::new(3, 2, &[1]) });
    let first = world.first_state();
    let mut summaries = [None; REPLICAS_MAX];
    for replica in world.replicas() {
        summaries[replica] = Some(world.summary(&first, replica));
    }
    let context = HistoryContext {
        replicas: 3,
        first_configuration: world.constants.first_configuration(),
        summaries,
        entry: &|_| None,
        session_requests_max: 4,
        rolls_back: true,
        may_be_in_log: &|_| true,
    };
    let mut history = History::default();
    let mut broken = Broken::default();
    for (who, effects) in steps {
        broken.add_all(history.take(*who, effects, &context));
    }
    broken
}

/// A vote for entry 0 in slot 2, by a replica that has committed `log`.
fn vote_over(who: usize, log: &[u8]) -> (usize, Effects) {
    let votes = Vec::from([vote_seen(1, 2, 0)]);
    (who, Effects { votes, log: Some(log.to_vec()), ..Effects::default() })
}

/// Replica 0 commits entry 0 in slot 2, after another one.
fn commit_over(before: u8) -> (usize, Effects) {
    let committed = Vec::from([CommitSeen { slot: Slot(2), entry: 0, verdict: None }]);
    (0, Effects { committed, log: Some(Vec::from([before, 0])), ..Effects::default() })
}

#[test]
fn votes_over_different_prefixes_are_found() {
    let is_found = |steps: &[_]| broken_by(steps).contains(Invariant::VotesShareAPrefix);
    // The second vote came before its replica knew of slot 1.
    assert!(!is_found(&[vote_over(0, &[1]), vote_over(1, &[]), commit_over(1)]));
    assert!(is_found(&[vote_over(0, &[1]), vote_over(1, &[2]), commit_over(1)]));
    assert!(is_found(&[vote_over(0, &[1]), commit_over(1)]));
}

#[test]
fn a_delivery_against_a_majority_is_found() {
    let property = Invariant::NothingDeliveredAgainstMajority;
    let is_found = |steps: &[_]| broken_by(steps).contains(property);
    let hears = |from| (0, Effects { heard_of_another: Some(from), ..Effects::default() });
    let restarts = || (0, Effects { starts_anew: true, ..Effects::default() });
    assert!(!is_found(&[hears(1), commit_over(1)]));
    assert!(is_found(&[hears(1), hears(2), commit_over(1)]));
    assert!(!is_found(&[hears(1), hears(2), restarts(), commit_over(1)]));
}
