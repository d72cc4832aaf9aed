//! Recovery: the replica that is read from a disk.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{
    Base, Configuration, ConfigurationId, Content, Entry, Fold, PrefixHash, Record, ReplicaId,
};
use synod_model::{SequenceNumber, Slot, SlotRange, Stored};

use crate::check;
use crate::cluster::recovery::{Given, recover, recover_from_snapshot};
use crate::cluster::{V, request};
use crate::messages::{entries, sequence_number};
use crate::schedule::{Schedule, schedules, schedules_with_snapshots};

/// For every length of the log, and every part of it that is folded into a base.
#[test]
fn a_folded_base_recovers_as_its_records_do() {
    let cuts = (any::<u16>(), any::<u16>(), any::<u16>());
    check(500, &(schedules_with_snapshots(20..300), cuts), |(schedule, cuts): (Schedule, _)| {
        let cluster = schedule.run();
        for node in &cluster.nodes {
            let written = usize::from(cuts.0) % (node.disk.records().len() + 1);
            let folded = usize::from(cuts.1) % (written + 1);
            let again = usize::from(cuts.2) % (written + 1);
            let [one, other] =
                [folded, again].map(|folded| recover(&cluster.constants, node, folded, written));
            assert_eq!(one.0, other.0, "r{} with {folded} or {again} of {written} folded", node.id);
            assert_eq!(one.1.last().map(Given::slot), other.1.last().map(Given::slot));
        }
    });
}

/// What a cut removes no recovery ever needs: with whatever is left of the records before the newest snapshot,
/// it comes to the same replica as with all of them.
#[test]
fn a_cut_log_recovers_as_all_of_it_does() {
    let cuts = (any::<u16>(), any::<u64>());
    let recovered = Cell::new(0);
    check(2_000, &(schedules_with_snapshots(40..300), cuts), |(schedule, cuts): (Schedule, _)| {
        let cluster = schedule.run();
        for node in &cluster.nodes {
            let written = usize::from(cuts.0) % (node.disk.records().len() + 1);
            let (replica, given) = recover(&cluster.constants, node, 0, written);
            for left in [cuts.1, 0, u64::MAX] {
                let is_left = |index: usize| left & 1 << (index % 64) != 0;
                let from_what_is_left =
                    recover_from_snapshot(&cluster.constants, node, written, is_left);
                if let Some((left, given_left)) = from_what_is_left {
                    assert_eq!(replica, left, "r{} with {written} records", node.id);
                    assert_eq!(given.last().map(Given::slot), given_left.last().map(Given::slot));
                    recovered.set(recovered.get() + 1);
                }
            }
        }
    });
    assert!(recovered.get() > 1_000, "only {} recoveries", recovered.get());
}

/// A reader of some slots of the log gets the same entries as the fold has.
#[test]
fn some_slots_read_as_the_fold_has_them() {
    let slots = (0..40_u64, 0..40_u64).prop_map(|(first, more)| Slot(first)..=Slot(first + more));
    check(500, &(schedules(20..300), slots), |(schedule, slots): (Schedule, _)| {
        let cluster = schedule.run();
        for node in &cluster.nodes {
            let mut read = BTreeMap::new();
            let mut written = Vec::new();
            for record in node.disk.records() {
                written.extend(record.content.slots().into_iter().flat_map(SlotRange::iter));
                record.content.clone().put_into(&mut read, slots.clone());
            }
            let fold = node.disk.base_after(node.disk.records().len()).fold;
            let entries = |from: &BTreeMap<Slot, Stored<V>>| {
                let some = from.range(slots.clone());
                some.map(|(slot, stored)| (*slot, stored.entry.clone())).collect::<Vec<_>>()
            };
            assert_eq!(entries(&read), entries(&fold.entries), "r{}, slots {slots:?}", node.id);
            assert!(fold.entries.keys().all(|slot| written.contains(slot)));
            assert!(written.iter().all(|slot| fold.entries.contains_key(slot)));
        }
    });
}

/// No sequence of records makes an impossible fold.
#[test]
fn a_fold_stays_possible() {
    let record = (0..8u64, 0..3u8, sequence_number(), 0..8u64, entries()).prop_map(
        |(watermark, kind, s, first, entries)| {
            let hash = PrefixHash::default();
            let first = Slot(first);
            let content = match kind {
                0 => Content::Promised(s),
                1 => {
                    let configuration = ConfigurationId(1);
                    Content::Accepted { s, configuration, first, entries }
                }
                _ => Content::Committed { first, entries },
            };
            Record { watermark: Slot(watermark), hash, content }
        },
    );
    check(20_000, &vec(record, 1..30), |records: Vec<Record<V>>| {
        let mut fold = empty();
        for record in records {
            let before = fold.clone();
            match fold.apply(record) {
                Err(_) => assert_eq!(fold, before, "what is refused changes nothing"),
                Ok(()) => is_possible(&before, &fold),
            }
        }
    });
}

fn is_possible(before: &Fold<V>, fold: &Fold<V>) {
    assert!(before.promised <= fold.promised && before.watermark <= fold.watermark);
    for slot in 1..=fold.watermark.0 {
        assert_eq!(fold.entries[&Slot(slot)].s, SequenceNumber::NONE, "committed");
    }
    for (slot, stored) in &before.entries {
        let now = &fold.entries[slot];
        let kept = now.entry == stored.entry;
        assert!(kept || (*slot > before.watermark && now.s != stored.s), "slot {slot} changes");
    }
    for (_, stored) in fold.entries.range(fold.watermark.next()..) {
        assert!(SequenceNumber::NONE < stored.s && stored.s <= fold.promised, "accepted");
    }
}

/// Each case is one impossible record after possible ones: 3 is promised, `a` and `b` are accepted
/// under it in slots 1 and 2, and slot 1 is committed.
#[test]
fn impossible_records_are_refused() {
    let (three, hash) = (SequenceNumber(3), PrefixHash::default());
    let two_letters = || vec![request(b'a'), request(b'b')];
    let mut fold = empty();
    for record in [
        promised(0, 3),
        accepted(0, 3, 1, two_letters()),
        Record { watermark: Slot(1), hash, content: Content::Promised(SequenceNumber(4)) },
    ] {
        fold.apply(record).expect("a possible record");
    }
    assert_eq!(fold.promised, SequenceNumber(4));
    assert_eq!(
        fold.entries[&Slot(2)],
        Stored { s: three, configuration: ConfigurationId(1), entry: request(b'b') }
    );
    for (why, record) in [
        ("the watermark goes back", promised(0, 5)),
        ("a promise goes back", promised(1, 3)),
        ("a promise is repeated", promised(1, 4)),
        ("no number is promised", promised(1, 0)),
        ("accepted below the promise", accepted(1, 3, 2, vec![request(b'c')])),
        ("accepted under no number", accepted(1, 0, 2, vec![request(b'c')])),
        ("nothing is accepted", accepted(1, 4, 2, vec![])),
        ("a committed slot is accepted", accepted(1, 4, 1, vec![request(b'a')])),
        ("a slot is accepted and covered", accepted(2, 4, 2, vec![request(b'b')])),
        ("slot 0", accepted(1, 4, 0, vec![request(b'c')])),
        ("beyond the last slot", accepted(1, 4, u64::MAX / 2, vec![request(b'c')])),
        ("beyond all numbers", accepted(1, 4, u64::MAX, two_letters())),
        ("a covered slot has no entry", promised(3, 5)),
        ("a gap is covered", committed(4, 4, vec![request(b'd')])),
        ("committed again", committed(2, 1, two_letters())),
        ("committed and not covered", committed(2, 2, two_letters())),
        ("covered further than committed", committed(3, 2, vec![request(b'b')])),
        ("nothing is committed", committed(1, 2, vec![])),
    ] {
        let mut after = fold.clone();
        assert!(after.apply(record).is_err(), "{why}");
        assert_eq!(after, fold, "{why}");
    }
}

fn empty() -> Fold<V> {
    let members = vec![ReplicaId(0)];
    let configuration = Configuration::new(ConfigurationId(1), members).expect("one member");
    Base::new(configuration).fold
}

fn promised(watermark: u64, s: u64) -> Record<V> {
    let hash = PrefixHash::default();
    Record { watermark: Slot(watermark), hash, content: Content::Promised(SequenceNumber(s)) }
}

fn accepted(watermark: u64, s: u64, first: u64, entries: Vec<Entry<V>>) -> Record<V> {
    let (s, first, hash) = (SequenceNumber(s), Slot(first), PrefixHash::default());
    let configuration = ConfigurationId(1);
    let content = Content::Accepted { s, configuration, first, entries };
    Record { watermark: Slot(watermark), hash, content }
}

fn committed(watermark: u64, first: u64, entries: Vec<Entry<V>>) -> Record<V> {
    let (first, hash) = (Slot(first), PrefixHash::default());
    Record { watermark: Slot(watermark), hash, content: Content::Committed { first, entries } }
}
