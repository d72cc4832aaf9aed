//! The log is cut behind a snapshot: what goes, what stays, and what a start makes of it.

use synod_model::{
    Content, Entry, Forgotten, PrefixHash, Record, ReplicaId, SequenceNumber, Slot, SlotRange,
};
use synod_wire::Value;

use super::fixtures::{
    LOG, accepted, append, check, entry, flat, handle, hex, new_disk, open, recover, snapshot,
    snapshot_record, try_recover,
};
use crate::disk::{Disk, SimulatedDisk};
use crate::storage::base::Needed;
use crate::storage::{
    AppendError, BaseFile, DataDirectory, Log, LogStart, ReadError, RecoverError, SnapshotFile,
    UnreadLog,
};

const SEGMENT: u64 = LOG.segment_bytes;

/// A log in which slots 1, 2 and so on have one batch each, eight to a segment.
fn log_of(disk: &SimulatedDisk, slots: u64) -> (DataDirectory, Log) {
    let directory = open(disk);
    let (mut log, recovered) = try_recover(&directory).expect("a new log");
    assert_eq!(recovered, []);
    for slot in 1..=slots {
        append(&mut log, &[accepted(slot, 1, 100)]);
    }
    (directory, log)
}

fn segments(disk: &SimulatedDisk) -> Vec<u32> {
    let files = disk.files();
    let names = files.keys().filter_map(|it| it.strip_prefix("log/")?.strip_suffix(".wal"));
    names.map(|it| it.parse().expect("a number")).collect()
}

fn snapshots(disk: &SimulatedDisk) -> Vec<u64> {
    let files = disk.files();
    let names =
        files.keys().filter_map(|it| it.strip_prefix("snapshots/")?.strip_suffix(".snapshot"));
    names.map(|it| it.parse().expect("a number")).collect()
}

fn base(disk: &SimulatedDisk) -> Option<BaseFile> {
    let directory = open(&disk.fork(1).kill());
    crate::storage::unread::read_base(&**directory.disk()).expect("sound")
}

fn read(log: &Log, slot: u64) -> Result<Vec<Entry<Value>>, ReadError> {
    log.reader().read(SlotRange { first: Slot(slot), last: Slot(slot) }, 1, 1)
}

fn refused(disk: &SimulatedDisk) -> String {
    let before = disk.files();
    let directory = open(&disk.fork(1).kill());
    let error = try_recover(&directory).expect_err("it cannot start").to_string();
    assert_eq!(before, disk.files());
    error
}

/// Slots up to 20 are in two and a half segments. The snapshot has slots up to 17.
#[test]
fn what_a_snapshot_stands_for_goes() {
    let disk = new_disk(1);
    let (directory, mut log) = log_of(&disk, 20);
    assert_eq!((segments(&disk), base(&disk)), (vec![1, 2, 3], None));
    let record = snapshot(directory.snapshots(), 17);
    append(&mut log, &[record.clone(), accepted(21, 1, 100)]);
    append(&mut log, &[accepted(22, 1, 100)]);
    assert_eq!(segments(&disk), [3]);
    let file = directory.snapshots().file(Slot(17)).expect("it is there");
    let found = base(&disk).expect("the log was cut");
    let LogStart { segment, batch, previous_checksum: _ } = found.log;
    assert_eq!((found.snapshot, found.record_batch, segment, batch), (file, 21, 3, 17));

    let size = log.size();
    assert_eq!((size.log_bytes, size.segments, size.bytes_since_snapshot), (6 * 4096, 1, 4096));
    let expected: Vec<_> = (17..=20).map(|slot| accepted(slot, 1, 100)).collect();
    let expected = [expected, vec![record, accepted(21, 1, 100), accepted(22, 1, 100)]].concat();
    for slot in 1..=16 {
        let error = read(&log, slot).expect_err("it is gone");
        let ReadError::Gone { slot: found, snapshot } = error else { panic!("{error}") };
        assert_eq!((found, snapshot), (Slot(slot), Slot(17)));
    }
    for slot in 17..=22 {
        assert_eq!(read(&log, slot).expect("it is there"), [entry(1, 100)]);
    }
    assert!(matches!(read(&log, 23), Err(ReadError::SlotMissing { .. })));

    drop((log, directory));
    let disk = disk.lose_power();
    let directory = open(&disk);
    let unread = UnreadLog::of(&directory).expect("sound");
    assert_eq!(**unread.snapshot().expect("the log was cut"), handle(17, 2));
    let (log, recovered) = try_recover(&directory).expect("sound");
    assert_eq!(recovered, expected);
    assert_eq!(log.recovered().batches, 6);
    assert_eq!(log.size().bytes_since_snapshot, 4096);
    assert_eq!(log.size().log_bytes, size.log_bytes);
    assert!(matches!(read(&log, 16), Err(ReadError::Gone { .. })));
    assert_eq!(read(&log, 17).expect("it is there"), [entry(1, 100)]);
    assert_eq!(directory.snapshots().files(), [file]);
}

/// The bytes, as docs/storage.md has them.
#[test]
fn the_record_of_a_snapshot_and_the_base_are_what_they_always_were() {
    let disk = new_disk(1);
    let (directory, mut log) = log_of(&disk, 8);
    append(&mut log, &[snapshot(directory.snapshots(), 300)]);
    let files = disk.files();
    assert_eq!(
        hex(&files["log/00000002.wal"][64..85]),
        concat!(
            "fb2c01",             // watermark
            "00",                 // the hash up to there
            "04",                 // a snapshot
            "04",                 // promised
            "fb2c01",             // its slot
            "fb4601",             // the length of its file
            "fdb5c6188528b0ddc5", // the checksum of its file
        )
    );
    assert_eq!(
        hex(&files["base"]),
        concat!(
            "53594e4f44626173",   // the letters
            "04000000",           // version
            "17000000",           // length of the content
            "fb2c01",             // the slot of the snapshot
            "fb4601",             // the length of its file
            "fdb5c6188528b0ddc5", // the checksum of its file
            "09",                 // the batch with its record
            "02",                 // the first segment
            "09",                 // the first batch in it
            "fc213993b7",         // checksum of the header before
            "a51844a0",           // checksum
        )
    );
}

/// A segment stays as long as one of its records is needed, and so do all segments after it.
#[test]
fn what_is_needed_stays() {
    let forgotten = Forgotten {
        replica: ReplicaId(1),
        told_to: ReplicaId(2),
        s: SequenceNumber(4),
        slot: None,
    };
    let record = |content| Record { watermark: Slot::ZERO, hash: PrefixHash(0), content };
    let cases = [
        (accepted(23, 1, 100), vec![2, 3]),
        (record(Content::Committed { first: Slot(20), entries: vec![Entry::NoOp; 4] }), vec![2, 3]),
        (record(Content::Forgotten(forgotten)), vec![2, 3]),
        (accepted(22, 1, 100), vec![3]),
        (record(Content::Promised(SequenceNumber(9))), vec![3]),
    ];
    for (record, expected) in cases {
        let disk = new_disk(1);
        let (directory, mut log) = log_of(&disk, 15);
        // The last batch of the second segment.
        append(&mut log, std::slice::from_ref(&record));
        append(&mut log, &[accepted(16, 1, 100)]);
        append(&mut log, &[snapshot(directory.snapshots(), 22)]);
        assert_eq!(segments(&disk), expected, "{record:?}");
        assert_eq!(log.size().segments, expected.len() as u64);
        // Once it is not needed any more, it goes; but what the disk has lost is never forgotten.
        append(&mut log, &[snapshot(directory.snapshots(), 23)]);
        let is_for_ever = matches!(record.content, Content::Forgotten(_));
        assert_eq!(segments(&disk), if is_for_ever { vec![2, 3] } else { vec![3] });
        drop(log);
        let (log, recovered) = recover(&disk.lose_power());
        assert_eq!(recovered.contains(&record), is_for_ever);
        assert_eq!(log.size().segments, if is_for_ever { 2 } else { 1 });
    }
}

/// What is kept of a segment says the same as the core says of each record.
#[test]
fn the_core_decides_which_records_go() {
    let records = synod_wire::testing::records();
    check(2_000, &(records, 0..70_u64), |(record, slot)| {
        let needed = Needed::of(&record.content);
        assert_eq!(needed.is_over(Slot(slot)), record.content.may_be_cut(Slot(slot)));
    });
}

/// The newest two generations are kept, so that a transfer of the older one is not cut off.
#[test]
fn two_generations_of_snapshots_are_kept() {
    let disk = new_disk(1);
    let (directory, mut log) = log_of(&disk, 8);
    for slot in 1..=5 {
        append(&mut log, &[snapshot(directory.snapshots(), slot)]);
        let expected: Vec<u64> = (slot.saturating_sub(1).max(1)..=slot).collect();
        assert_eq!(snapshots(&disk), expected);
    }
    // One that has no record yet counts for nothing.
    let newest = snapshot(directory.snapshots(), 7);
    assert_eq!(snapshots(&disk), [4, 5, 7]);
    append(&mut log, &[snapshot(directory.snapshots(), 6)]);
    assert_eq!(snapshots(&disk), [5, 6, 7]);
    let files = directory.snapshots().files();
    assert_eq!(files.iter().map(|it| it.slot.0).collect::<Vec<_>>(), [5, 6, 7]);
    drop((log, directory));

    // A start removes it: nobody knows whether its name is durable.
    let disk = disk.kill();
    let directory = open(&disk);
    let (mut log, _) = try_recover(&directory).expect("sound");
    assert_eq!(snapshots(&disk), [5, 6]);
    assert_eq!(directory.snapshots().files(), files[..2]);
    let error = log.append(std::slice::from_ref(&newest)).expect_err("no file").to_string();
    assert!(error.contains("it names a snapshot that has no file"), "{error}");
    append(&mut log, &[accepted(9, 1, 100)]);
}

/// A record is never appended without its file, nor does it hinder what comes before it.
#[test]
fn a_record_waits_for_its_file() {
    let disk = new_disk(1);
    let (_directory, mut log) = log_of(&disk, 1);
    let records = [accepted(2, 1, 100), snapshot_record(handle(1, 1))];
    assert_eq!(log.append(&records).expect("the first one"), 1);
    assert!(matches!(log.append(&records[1..]), Err(AppendError::Record(_))));
    append(&mut log, &[accepted(3, 1, 100)]);
}

/// The crash came when the record was durable, and `base` was not.
#[test]
fn a_snapshot_that_is_newer_than_the_base_is_read_over() {
    let disk = new_disk(1);
    let (directory, mut log) = log_of(&disk, 9);
    append(&mut log, &[snapshot(directory.snapshots(), 8)]);
    let old = base(&disk).expect("the log was cut");
    let mut expected = vec![accepted(9, 1, 100), snapshot_record(handle(8, 2))];
    for slot in 10..=18 {
        append(&mut log, &[accepted(slot, 1, 100)]);
        expected.push(accepted(slot, 1, 100));
    }
    let newer = snapshot(directory.snapshots(), 17);
    expected.push(newer.clone());
    // The process ends when it writes `base`.
    let before = disk.operations();
    disk.stop_at(before + 3);
    append(&mut log, &[newer]);
    drop((log, directory));
    let disk = disk.kill();
    assert_eq!((base(&disk), segments(&disk)), (Some(old), vec![2, 3]));

    let (log, recovered) = recover(&disk);
    assert_eq!(recovered, expected);
    assert_eq!(segments(&disk), [3]);
    assert_eq!(base(&disk).expect("it was written anew").snapshot.slot, Slot(17));
    drop(log);
    let (_, recovered) = recover(&disk.lose_power());
    assert_eq!(recovered, expected[expected.len() - 4..]);
}

/// Records of older snapshots are left out where their files are gone.
#[test]
fn records_of_older_snapshots_are_left_out() {
    let disk = new_disk(1);
    let (directory, mut log) = log_of(&disk, 1);
    for slot in 1..=4 {
        append(&mut log, &[snapshot(directory.snapshots(), slot)]);
    }
    assert_eq!((snapshots(&disk), segments(&disk)), (vec![3, 4], vec![1]));
    drop((log, directory));
    let (log, recovered) = recover(&disk.lose_power());
    assert_eq!(recovered, [accepted(1, 1, 100), snapshot_record(handle(4, 2))]);
    assert_eq!(log.recovered().records, 5);
}

/// Unlinks survive in any order. A start ignores what is before the beginning, and removes it.
#[test]
fn segments_that_come_back_are_ignored() {
    for back in 1..8_u32 {
        let disk = new_disk(1);
        let (directory, mut log) = log_of(&disk, 25);
        let before = disk.files();
        append(&mut log, &[snapshot(directory.snapshots(), 24)]);
        assert_eq!(segments(&disk), [4]);
        drop((log, directory));
        let disk = disk.kill();
        for segment in (1..=3).filter(|segment| back & (1 << (segment - 1)) != 0) {
            let name = format!("log/{segment:08}.wal");
            drop(disk.create(&name).expect("room"));
            disk.damage(&name, |content| content.clone_from(&before[&name]));
            // Whatever is in there.
            disk.damage(&name, |content| content[5] ^= 1);
        }
        let (log, recovered) = recover(&disk);
        assert_eq!(recovered, [accepted(25, 1, 100), snapshot_record(handle(24, 2))]);
        assert_eq!((segments(&disk), log.size().segments), (vec![4], 1));
    }
}

/// Whatever cutting fails with, the log goes on, and the next cut does what was left undone.
#[test]
fn a_cut_that_fails_is_made_up_for() {
    let operations = {
        let disk = new_disk(1);
        let (directory, mut log) = log_of(&disk, 25);
        let record = snapshot(directory.snapshots(), 20);
        let before = disk.operations();
        append(&mut log, &[record]);
        disk.operations() - before
    };
    // The append takes two. Then come six for `base`, the last of which is the sync of its folder.
    assert!(operations > 9, "{operations}");
    for failing in 3..=operations {
        for (error, seed) in [(5, 1), (28, 2), (5, 3)] {
            let disk = new_disk(seed);
            let (directory, mut log) = log_of(&disk, 25);
            let record = snapshot(directory.snapshots(), 20);
            disk.fail_at(disk.operations() + failing, error);
            append(&mut log, std::slice::from_ref(&record));
            let left = segments(&disk);
            assert_eq!(log.size().segments, left.len() as u64, "operation {failing}");
            let after = disk.fork(seed).lose_power();
            let (_, recovered) = recover(&after);
            assert_eq!(recovered[recovered.len() - 2..], [accepted(25, 1, 100), record]);

            append(&mut log, &[accepted(26, 1, 100)]);
            append(&mut log, &[snapshot(directory.snapshots(), 21)]);
            // If the folder was not synced, nobody knows what is in it, until the next start.
            let is_cut = failing != 8;
            assert_eq!(segments(&disk), if is_cut { vec![3, 4] } else { vec![1, 2, 3, 4] });
            drop((log, directory));
            let disk = disk.lose_power();
            let (log, _) = recover(&disk);
            assert_eq!((segments(&disk), log.size().segments), (vec![3, 4], 2));
        }
    }
}

/// What stands for the beginning of the log must be there. Nothing is changed if it is not.
#[test]
fn damage_is_reported() {
    let disk = new_disk(1);
    let (directory, mut log) = log_of(&disk, 20);
    append(&mut log, &[snapshot(directory.snapshots(), 17)]);
    append(&mut log, &[accepted(21, 1, 100)]);
    drop((log, directory));
    let whole = disk.kill();
    let name = "snapshots/00000000000000000017.snapshot";
    let damaged = |change: &dyn Fn(&SimulatedDisk)| {
        let disk = whole.fork(1);
        change(&disk);
        refused(&disk)
    };

    let error = damaged(&|disk| disk.remove("base").expect("a file"));
    assert!(
        error.starts_with("data/log/00000001.wal is not there, and data/log/00000003.wal is\n")
    );
    assert!(error.contains("or `base`"), "{error}");

    let error = damaged(&|disk| disk.remove(name).expect("a file"));
    let expected = format!(
        "data/base names a snapshot, and it cannot be used: there is no snapshot of slot 17: data/{name}"
    );
    assert!(error.starts_with(&expected), "{error}");
    for at in [3, 50, 70, 90, 300] {
        let error = damaged(&|disk| {
            assert!(disk.damage(name, |content| {
                let at = at.min(content.len() - 1);
                content[at] ^= 1;
            }));
        });
        let expected =
            format!("data/base names a snapshot, and it cannot be used: data/{name}: at byte");
        assert!(error.starts_with(&expected), "byte {at}: {error}");
        assert!(error.contains("this replica will not vote"), "{error}");
    }
    // The application's bytes are read where they are needed.
    let disk = whole.fork(1);
    disk.damage(name, |content| content[200] ^= 1);
    let directory = open(&disk.kill());
    try_recover(&directory).expect("the rest is sound");
    let (_, reader) = directory.snapshots().open(Slot(17)).expect("the handle is sound");
    reader.check_to_end().expect_err("damage");

    let error = damaged(&|disk| {
        disk.damage("base", |content| content[30] ^= 1);
    });
    assert!(error.starts_with("data/base is damaged: it fails its checksum\n"), "{error}");
    let error = damaged(&|disk| disk.remove("log/00000003.wal").expect("a file"));
    assert!(error.starts_with("data/log/00000003.wal is not there\n"), "{error}");

    // The batch with the record was durable, so its loss is no interrupted write.
    let record_at = 4 * 4096;
    let error = damaged(&|disk| {
        disk.damage("log/00000003.wal", |content| content[record_at..].fill(0));
    });
    assert!(error.contains("batch 21 is not there, and the file `base` says"), "{error}");
    let error = damaged(&|disk| {
        disk.damage("log/00000003.wal", |content| {
            content[record_at + 4096..].fill(0);
            content[record_at + 70] ^= 1;
        });
    });
    assert!(
        error.starts_with("data/log/00000003.wal: at byte 16,384: its records fail"),
        "{error}"
    );
    // The one after it may be an interrupted write.
    let disk = whole.fork(1);
    disk.damage("log/00000003.wal", |content| content[record_at + 4096 + 70] ^= 1);
    let (log, _) = recover(&disk.kill());
    assert!(log.recovered().interrupted.is_some());

    // The first batch does not continue what was before it.
    let error = damaged(&|disk| {
        let directory = open(&disk.fork(1).kill());
        let mut base = crate::storage::unread::read_base(&**directory.disk())
            .expect("sound")
            .expect("the log was cut");
        base.log.previous_checksum ^= 1;
        crate::storage::layout::BASE.write(disk, &base).expect("room");
    });
    assert!(error.contains("it was not written after the batch that is before it"), "{error}");
}

/// A record names another file than the one that is there.
#[test]
fn a_record_of_another_file_is_reported() {
    let disk = new_disk(1);
    let (directory, mut log) = log_of(&disk, 1);
    let record = snapshot(directory.snapshots(), 1);
    let file = directory.snapshots().file(Slot(1)).expect("it is there");
    directory.snapshots().list_named(SnapshotFile { checksum: file.checksum ^ 1, ..file });
    // The process ends when it writes `base`.
    disk.stop_at(disk.operations() + 3);
    append(&mut log, &[record]);
    drop((log, directory));
    let error = try_recover(&open(&disk.kill())).expect_err("another file");
    assert!(matches!(error, RecoverError::Snapshot { .. }), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("data/log/00000001.wal names a snapshot"), "{text}");
    assert!(text.contains("it is not the file that was named"), "{text}");
}

/// A reader that has a segment open reads to its end, and one that comes too late is told.
#[test]
fn readers_outlive_a_cut() {
    let disk = new_disk(1);
    let (directory, mut log) = log_of(&disk, 20);
    let reader = log.reader();
    let slots = SlotRange { first: Slot(1), last: Slot(20) };
    assert_eq!(reader.read(slots, 20, u64::MAX).expect("it is there").len(), 20);
    append(&mut log, &[snapshot(directory.snapshots(), 17)]);
    assert!(matches!(reader.read(slots, 20, u64::MAX), Err(ReadError::Gone { .. })));
    let slots = SlotRange { first: Slot(18), last: Slot(20) };
    assert_eq!(reader.read(slots, 20, u64::MAX).expect("it is there").len(), 3);
}

/// A log that is written for ever, with a snapshot now and then, takes bounded room on the disk and in
/// memory.
#[test]
fn a_log_with_snapshots_is_bounded() {
    let disk = new_disk(1);
    let (directory, mut log) = log_of(&disk, 0);
    let mut written = Vec::new();
    for slot in 1..=600 {
        let mut batch = vec![accepted(slot, 1, 100)];
        if slot.is_multiple_of(20) {
            batch.push(snapshot(directory.snapshots(), slot));
        }
        append(&mut log, &batch);
        written.push(batch);
        assert!(log.size().log_bytes <= 5 * SEGMENT, "{:?}", log.size());
        assert!(log.size().bytes_since_snapshot <= 20 * 4096);
        assert!(segments(&disk).len() <= 5 && snapshots(&disk).len() <= 2);
        let index = super::super::index::lock(log.reader_index()).size_bytes();
        assert!(index < 6000, "{index} bytes");
    }
    assert_eq!(log.size().bytes_written, 600 * 4096);
    drop((log, directory));
    let (log, recovered) = recover(&disk.kill());
    assert!(flat(&written).ends_with(&recovered[1..]));
    assert_eq!(log.size().bytes_since_snapshot, 0);
}
