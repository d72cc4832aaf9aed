//! Reading slots back from the log.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{Entry, Record, Slot, SlotRange};
use synod_wire::Value;

use super::fixtures::{LOG, VALUE_BYTES_MAX, accepted, append, batches, check, new_disk, recover};
use crate::storage::index::Index;
use crate::storage::segment::Place;
use crate::storage::{LogReader, ReadError};

fn range(first: u64, last: u64) -> SlotRange {
    SlotRange { first: Slot(first), last: Slot(last) }
}

/// What the reader must return, by all that was written.
fn expected(written: &[Record<Value>], slots: SlotRange, entries_max: usize) -> Vec<Entry<Value>> {
    let mut all = BTreeMap::new();
    for record in written {
        record.content.clone().put_into(&mut all, ..);
    }
    let entries = slots.iter().map_while(|slot| all.get(&slot).map(|it| it.entry.clone()));
    entries.take(entries_max).collect()
}

fn read(
    reader: &LogReader,
    slots: SlotRange,
    entries_max: u64,
    bytes_max: u64,
) -> Vec<Entry<Value>> {
    match reader.read(slots, entries_max, bytes_max) {
        Ok(entries) => {
            assert!(!entries.is_empty());
            entries
        }
        Err(ReadError::SlotMissing { slot }) => {
            assert_eq!(slot, slots.first);
            Vec::new()
        }
        Err(error) => panic!("{error}"),
    }
}

/// Each slot reads as its last record says, in whatever order the records were written, while the log
/// is appended to and after a restart.
#[test]
fn slots_read_as_last_written() {
    let reads = vec((1..60_u64, 0..20_u64, 1..9_u64), 1..12);
    check(150, &(batches(4..25), reads), |(written, reads)| {
        let disk = new_disk(1);
        let (mut log, _) = recover(&disk);
        let reader = log.reader();
        let mut so_far = Vec::new();
        let check = |reader: &LogReader, written: &[Record<Value>]| {
            for (first, more, entries_max) in &reads {
                let slots = range(*first, first + more);
                let found = read(reader, slots, *entries_max, u64::MAX);
                let entries_max = usize::try_from(*entries_max).expect("few");
                assert_eq!(found, expected(written, slots, entries_max));
            }
        };
        for batch in &written {
            append(&mut log, batch);
            so_far.extend(batch.iter().cloned());
            check(&reader, &so_far);
        }
        let disk = disk.kill();
        check(&recover(&disk).0.reader(), &so_far);
    });
}

/// A peer that lags asks for as much as a message may hold. Of large values, that is one.
#[test]
fn no_more_of_the_log_is_read_than_is_served() {
    const BATCHES: u64 = 80;
    let disk = new_disk(1);
    let (mut log, _) = recover(&disk);
    for slot in 1..=BATCHES {
        append(&mut log, &[accepted(slot, 1, VALUE_BYTES_MAX)]);
    }
    let reader = log.reader();
    for first in 1..=BATCHES {
        let before = disk.bytes_read();
        let found = read(&reader, range(first, BATCHES), BATCHES, VALUE_BYTES_MAX as u64);
        assert_eq!(found.len(), 1);
        let bytes = disk.bytes_read() - before;
        // The end of one segment, and the beginning of the next.
        assert!(bytes <= 2 * LOG.segment_bytes, "{bytes} bytes for slot {first}");
    }
}

#[test]
fn as_many_bytes_as_may_be_and_one_entry_at_least() {
    check(150, &(batches(4..25), 0..3_000_u64, 1..60_u64), |(written, bytes_max, first)| {
        let disk = new_disk(1);
        let (mut log, _) = recover(&disk);
        for batch in &written {
            append(&mut log, batch);
        }
        let slots = range(first, 80);
        let all = read(&log.reader(), slots, 100, u64::MAX);
        let some = read(&log.reader(), slots, 100, bytes_max);
        assert_eq!(some, all[..some.len()]);
        let bytes = |entries: &[Entry<Value>]| entries.iter().map(Entry::size_bytes).sum::<u64>();
        assert!(some.len() <= 1 || bytes(&some) <= bytes_max);
        assert_eq!(some.is_empty(), all.is_empty());
    });
}

/// A slot whose last record is damaged is never served from an older one.
#[test]
fn damage_is_reported() {
    let disk = new_disk(1);
    let (mut log, _) = recover(&disk);
    append(&mut log, &[accepted(1, 1, 100)]);
    append(&mut log, &[accepted(1, 2, 100)]);
    let reader = log.reader();
    assert_eq!(read(&reader, range(1, 1), 1, 1), [super::fixtures::entry(2, 100)]);
    for offset in [4096, 4096 + 90] {
        let flip = |content: &mut Vec<u8>| content[offset] ^= 1;
        disk.damage("log/00000001.wal", flip);
        let error = reader.read(range(1, 1), 1, 1).expect_err("damage").to_string();
        assert!(error.starts_with("data/log/00000001.wal: at byte 4,096: its "), "{error}");
        disk.damage("log/00000001.wal", flip);
    }
}

/// The index finds every stretch that has a slot, and no other.
#[test]
fn the_index_finds_what_is_there() {
    let batches = vec((1..5_u64, 1..200_u64, 0..9_u64, any::<bool>()), 1..80);
    check(500, &(batches, 1..200_u64, 0..50_u64), |(batches, first, more)| {
        let mut index = Index::new(6 * 4096);
        let mut place = Place { segment: 1, offset: 0 };
        let wanted = range(first, first + more);
        let mut has_slots = Vec::new();
        for (blocks, low, more, is_next_segment) in batches {
            if is_next_segment {
                place = Place { segment: place.segment + 1, offset: 0 };
            }
            let slots = range(low, low + more);
            index.add(place, blocks * 4096, slots);
            if slots.first <= wanted.last && wanted.first <= slots.last {
                has_slots.push(place);
            }
            place.offset += blocks * 4096;
        }
        let mut found: Vec<_> = index.find(wanted).collect();
        assert!(found.is_sorted_by_key(|stretch| stretch.place));
        let holds = |stretch: &super::super::index::Stretch, place: &Place| {
            let end = stretch.place.offset + stretch.length_bytes;
            stretch.place.segment == place.segment
                && (stretch.place.offset..end).contains(&place.offset)
        };
        assert!(has_slots.iter().all(|place| found.iter().any(|it| holds(it, place))));
        // A stretch may lack some of the slots between its lowest and its highest.
        found.retain(|stretch| !has_slots.iter().any(|place| holds(stretch, place)));
        assert!(
            found.iter().all(|it| it.slots.first < wanted.first && it.slots.last > wanted.last)
        );
    });
}

/// The index takes a fraction of a per mille of the log, and a search does not read all of it.
#[test]
fn the_index_is_small() {
    let mut index = Index::new(super::super::index::STRETCH_BYTES);
    let batch_bytes = 4096;
    let batches = 1_000_000;
    for number in 0..batches {
        let place = Place {
            segment: u32::try_from(number / 16_384 + 1).expect("few"),
            offset: number % 16_384 * batch_bytes,
        };
        index.add(place, batch_bytes, range(number * 10 + 1, number * 10 + 10));
    }
    let log_bytes = usize::try_from(batches * batch_bytes).expect("64 bits");
    assert!(index.size_bytes() * 4_000 < log_bytes);
    assert_eq!(index.find(range(5_000_000, 5_000_009)).count(), 1);
}
