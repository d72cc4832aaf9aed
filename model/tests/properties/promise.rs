//! The frames of a promise, in any order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use synod_model::{
    Accepted, Entry, Limits, Prefix, Promise, Reply, RoleName, SequenceNumber, Slot,
};

use crate::check;
use crate::replica::{OTHERS, Subject, V, request};

/// The last slot in which anything may be accepted.
const LAST: u64 = 24;

/// A candidate takes the frames of one promise, cut in two ways, in any order and any of them more
/// than once or never. It coordinates as soon as it is told of every slot, and not before. Then it
/// finishes what was accepted, with no-ops in between.
#[test]
fn a_promise_counts_when_it_is_whole_in_whatever_order_it_comes() {
    let some = || btree_set(1..LAST, 0..8);
    let values = (btree_set(1..=LAST, 1..12), some(), some(), vec(any::<u16>(), 0..60));
    check(3_000, &values, |(accepted, one_way, other_way, order)| {
        let last = *accepted.last().expect("not empty");
        let mut frames = frames(&accepted, &one_way);
        frames.extend(self::frames(&accepted, &other_way));
        let limits = Limits { accepted_slots_max: LAST, open_slots_max: LAST, ..Limits::default() };
        let mut subject = Subject::candidate(limits);
        let mut told = BTreeSet::new();
        for which in order {
            let frame = &frames[usize::from(which) % frames.len()];
            told.extend(frame.after.0 + 1..=frame.through.0);
            subject.reply(OTHERS[0], Reply::Promise(frame.clone()));
            let coordinates = matches!(subject.status().role, RoleName::Coordinator { .. });
            assert_eq!(coordinates, told.len() as u64 == last, "{told:?} of {last}");
            if coordinates {
                let found: BTreeMap<_, _> = finished(&mut subject);
                let right = (1..=last).map(|slot| (slot, entry(&accepted, slot))).collect();
                assert_eq!(found, right);
                return;
            }
        }
    });
}

fn entry(accepted: &BTreeSet<u64>, slot: u64) -> Entry<V> {
    if accepted.contains(&slot) { request(slot, 1) } else { Entry::NoOp }
}

/// A promise of what is accepted, cut after these slots.
fn frames(accepted: &BTreeSet<u64>, cuts: &BTreeSet<u64>) -> Vec<Promise<V>> {
    let last = *accepted.last().expect("not empty");
    let mut ends: Vec<_> = cuts.range(..last).copied().collect();
    ends.push(last);
    let mut after = 0;
    let frame = |through| {
        let slots = accepted.range(after + 1..=through);
        let accepted = slots.map(|&slot| {
            let s = SequenceNumber(1);
            Accepted { slot: Slot(slot), s, entry: request(slot, 1) }
        });
        let promise = Promise {
            prefix: Prefix::default(),
            last: Slot(last),
            after: Slot(after),
            through: Slot(through),
            accepted: accepted.collect(),
        };
        after = through;
        promise
    };
    ends.into_iter().map(frame).collect()
}

/// What a new coordinator commits, with the acknowledgements of another replica.
fn finished(subject: &mut Subject) -> BTreeMap<u64, Entry<V>> {
    let mut found = BTreeMap::new();
    for _ in 0..LAST {
        subject.sync();
        found.extend(subject.out.delivered.drain(..).map(|it| (it.slot.0, it.entry)));
        subject.acknowledge_open();
        found.extend(subject.out.delivered.drain(..).map(|it| (it.slot.0, it.entry)));
    }
    found
}
