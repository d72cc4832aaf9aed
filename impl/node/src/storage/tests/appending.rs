//! From records to batches, when nothing fails but the caller.

use nix::errno::Errno;
use proptest::collection::vec;
use synod_model::Record;
use synod_wire::Value;
use synod_wire::testing::records;

use super::fixtures::{LOG, accepted, append, check, new_disk, open, recover, try_recover_with};
use crate::storage::{AppendError, Finding, Log, Preparation, inspect};

fn append_all(log: &mut Log, records: &[Record<Value>]) {
    let mut rest = records;
    while !rest.is_empty() {
        let taken = log.append(rest).unwrap_or_else(|error| panic!("{error}"));
        assert!(taken > 0);
        rest = &rest[taken..];
    }
}

/// With any number of records at once, and over any number of restarts.
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
    // Eight records and the header nearly fill two blocks, and nine would not fit.
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

/// Making a segment ahead of use may fail long before the segment is needed, because of too few file
/// descriptors or too little room. Both may be there when it is needed.
#[test]
fn a_segment_that_could_not_be_begun_ahead_of_use_is_made_when_it_is_needed() {
    /// The next segment is begun after one write and one sync. It is created, and then filled.
    const CREATE: u64 = 3;
    const WRITE: u64 = 4;
    let records: Vec<_> = (0..12).map(|slot| accepted(slot, 1, 3000)).collect();
    let troubles = [
        (CREATE, Errno::EMFILE, true),
        (CREATE, Errno::ENOSPC, true),
        (WRITE, Errno::ENOSPC, true),
        (WRITE, Errno::EMFILE, false),
        (WRITE, Errno::EIO, false),
    ];
    for (operation, errno, is_made) in troubles {
        let disk = new_disk(1);
        let (mut log, _) = try_recover_with(Preparation::InBackground, &open(&disk))
            .unwrap_or_else(|error| panic!("{error}"));
        let begun = disk.operations() + operation;
        disk.fail_at(begun, errno as i32);
        append(&mut log, &records[..1]);
        while disk.operations() < begun {
            std::thread::yield_now();
        }
        let mut rest = records[1..].chunks(1);
        let appended = rest.try_for_each(|record| log.append(record).map(drop));
        assert_eq!(appended.is_ok(), is_made, "{operation} {errno}: {appended:?}");
        if is_made {
            assert_eq!(log.size().segments, 2);
            drop(log);
            assert_eq!(recover(&disk.kill()).1, records);
        }
    }
}
