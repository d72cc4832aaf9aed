//! From records to batches, when nothing goes wrong but what the caller does.

use proptest::collection::vec;
use synod_model::Record;

use super::kit::{LOG, accepted, append, check, new_disk, recover};
use crate::Value;
use crate::storage::{AppendError, Finding, Log, inspect};
use crate::testing::records;

fn append_all(log: &mut Log, records: &[Record<Value>]) {
    let mut rest = records;
    while !rest.is_empty() {
        let taken = log.append(rest).unwrap_or_else(|error| panic!("{error}"));
        assert!(taken > 0);
        rest = &rest[taken..];
    }
}

/// However many records there are at once, and over however many restarts.
#[test]
fn what_was_appended_is_recovered() {
    check(200, &vec(vec(records(), 0..40), 1..5), |runs| {
        let mut disk = new_disk(1);
        let mut written = Vec::new();
        for records in runs {
            let (mut log, recovered) = recover(&disk);
            assert_eq!(recovered, written);
            assert_eq!(log.recovered().records, written.len() as u64);
            append_all(&mut log, &records);
            written.extend(records);
            disk = disk.kill();
        }
        assert_eq!(recover(&disk).1, written);

        let mut counts = Vec::new();
        inspect(&disk.kill(), |finding| {
            if let Finding::Batch { header, records, .. } = finding {
                assert!(u64::from(header.payload_bytes) <= LOG.batch_bytes_max);
                counts.push(records.len());
            }
        })
        .expect("a directory");
        assert_eq!(counts.iter().sum::<usize>(), written.len());
        assert!(!counts.contains(&0));
    });
}

/// One batch takes as many as fit, and not one more.
#[test]
fn a_batch_is_filled() {
    let disk = new_disk(1);
    let (mut log, _) = recover(&disk);
    let records: Vec<_> = (0..20).map(|slot| accepted(slot, 1, 1000)).collect();
    // Eight of them and their header fill two blocks nearly, and nine would not go in.
    assert_eq!(log.append(&records).expect("room"), 8);
    assert_eq!(log.append(&records[..3]).expect("room"), 3);
    assert_eq!(log.append(&[]).expect("nothing"), 0);
    drop(log);
    assert_eq!(recover(&disk.kill()).1, [&records[..8], &records[..3]].concat());
}

/// A record that no batch can hold is refused before anything is written, and the log goes on.
#[test]
fn a_record_that_is_too_long_is_refused() {
    let disk = new_disk(1);
    let (mut log, _) = recover(&disk);
    let (small, large) = (accepted(1, 1, 10), accepted(2, 2, 8200));
    let before = disk.operations();
    let error = log.append(&[large.clone(), small.clone()]).expect_err("too long");
    assert!(matches!(error, AppendError::Record(_)));
    assert_eq!(disk.operations(), before);
    assert_eq!(log.append(&[small.clone(), large]).expect("the first"), 1);
    append(&mut log, std::slice::from_ref(&small));
    drop(log);
    assert_eq!(recover(&disk.kill()).1, [small.clone(), small]);
}

/// One write and one sync.
#[test]
fn an_append_is_two_calls() {
    let disk = new_disk(1);
    let (mut log, _) = recover(&disk);
    for slot in 0..8 {
        let before = disk.operations();
        append(&mut log, &[accepted(slot, 1, 10), accepted(slot, 2, 10)]);
        assert_eq!(disk.operations() - before, 2);
    }
}
