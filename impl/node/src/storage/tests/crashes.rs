//! The process or the machine stops, anywhere.

use std::sync::Arc;

use proptest::prelude::*;
use synod_model::Record;
use synod_wire::Value;

use super::fixtures::{
    accepted, append, batches, check, disk_with, flat, new_disk, new_replica, open, recover,
    try_recover, try_recover_with,
};
use crate::disk::{Disk, SimulatedDisk};
use crate::storage::batch::{HEADER_BYTES, Header};
use crate::storage::segment::Place;
use crate::storage::{AppendError, BLOCK_BYTES, DataDirectory, InitError, OpenError, Preparation};

type Records = Vec<Record<Value>>;

/// The place of the last batch, and its length.
fn last_batch(disk: &SimulatedDisk) -> (String, Place, u64) {
    let files = disk.files();
    let mut last = None;
    for (name, content) in &files {
        let segment = name.strip_prefix("log/").and_then(|it| it.strip_suffix(".wal"));
        let Some(segment) = segment.and_then(|it| it.parse().ok()) else { continue };
        for (block, offset) in content.chunks(4096).zip((0..).step_by(4096)) {
            if let Ok(header) = Header::read(&block[..HEADER_BYTES]) {
                last = Some((name.clone(), Place { segment, offset }, header.span_bytes()));
            }
        }
    }
    last.expect("a batch")
}

/// Checks that `recovered` is `written` up to the end of some batch, and has the first `durable`
/// batches. Returns how many batches it has.
fn is_prefix(recovered: &[Record<Value>], written: &[Records], durable: usize) -> usize {
    for count in durable..=written.len() {
        if recovered == flat(&written[..count]) {
            return count;
        }
    }
    panic!(
        "recovered {} records, which are no prefix of the {} written that has the {} durable ones",
        recovered.len(),
        flat(written).len(),
        flat(&written[..durable]).len(),
    );
}

/// After a recovery, everything that it handed out is durable, and what it cut off never comes back,
/// whatever is written over it.
fn stays_recovered(disk: &SimulatedDisk, recovered: &[Record<Value>]) {
    let after = disk.fork(3).lose_power();
    assert_eq!(recover(&after).1, recovered, "after a power loss");
    for value_bytes in [10, 4000] {
        let disk = disk.fork(4).kill();
        let (mut log, again) = recover(&disk);
        assert_eq!(again, recovered, "recovered again");
        let new = [accepted(1, 1, value_bytes)];
        append(&mut log, &new);
        let expected = [recovered, &new].concat();
        assert_eq!(recover(&disk.lose_power()).1, expected, "and appended to");
    }
}

/// The last write reached the disk up to some byte.
#[test]
fn cut_at_every_byte() {
    // The last batch has two blocks. In the second log it is the first of its segment.
    for small in [2, 4] {
        let mut written: Vec<Records> = (0..small).map(|it| vec![accepted(it, 7, 100)]).collect();
        written.push(vec![accepted(small, 8, 3000), accepted(small + 1, 9, 3000)]);
        if small == 4 {
            written.insert(4, vec![accepted(9, 10, 3000), accepted(9, 11, 2900)]);
            written.insert(5, vec![accepted(9, 10, 20)]);
        }
        let whole = disk_with(&written);
        let (name, place, length_bytes) = last_batch(&whole);
        assert_eq!(length_bytes, 2 * BLOCK_BYTES);
        assert_eq!(place.offset, if small == 4 { 0 } else { 2 * BLOCK_BYTES });
        let before = written.len() - 1;
        for cut in 0..length_bytes {
            let disk = whole.fork(cut);
            disk.damage(&name, |content| {
                let range = usize::try_from(place.offset + cut).expect("short")
                    ..usize::try_from(place.offset + length_bytes).expect("short");
                content[range].fill(0);
            });
            let (log, recovered) = recover(&disk);
            let count = is_prefix(&recovered, &written, before);
            // Either the batch is there with its last byte, or it is not there.
            let is_whole = whole.files()[&name] == disk.files()[&name];
            assert_eq!(count == written.len(), is_whole, "cut at {cut}");
            assert_eq!(log.recovered().interrupted.is_some(), cut > 0 && !is_whole);
            if cut.is_multiple_of(61) {
                drop(log);
                stays_recovered(&disk.kill(), &recovered);
            }
        }
    }
}

/// Only some sectors of the last write reached the disk.
#[test]
fn any_sectors_of_the_last_batch_are_lost() {
    check(400, &(batches(1..8), any::<u16>(), any::<u64>()), |(written, lost, seed)| {
        let disk = disk_with(&written).fork(seed);
        let (name, place, length_bytes) = last_batch(&disk);
        disk.damage(&name, |content| {
            for sector in (0..length_bytes / 512).filter(|sector| lost & (1 << sector) != 0) {
                let from = usize::try_from(place.offset + sector * 512).expect("short");
                content[from..from + 512].fill(0);
            }
        });
        let (log, recovered) = recover(&disk);
        is_prefix(&recovered, &written, written.len() - 1);
        drop(log);
        stays_recovered(&disk.kill(), &recovered);
    });
}

/// How a run ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    PowerLoss,
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![1 => Just(End::Kill), 2 => Just(End::PowerLoss)]
}

impl End {
    fn of(self, disk: &SimulatedDisk) -> SimulatedDisk {
        match self {
            Self::Kill => disk.kill(),
            Self::PowerLoss => disk.lose_power(),
        }
    }
}

/// Runs until all of `written` is appended or the disk fails. Returns how many batches were recovered
/// and are durable, and whether the disk failed.
fn run(disk: &SimulatedDisk, written: &[Records], durable: usize) -> (usize, bool) {
    run_with(Preparation::InLine, disk, written, durable)
}

fn run_with(
    preparation: Preparation,
    disk: &SimulatedDisk,
    written: &[Records],
    durable: usize,
) -> (usize, bool) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let Ok(directory) = DataDirectory::open(disk) else { return (durable, true) };
    let Ok((mut log, recovered)) = try_recover_with(preparation, &directory) else {
        return (durable, true);
    };
    let mut count = is_prefix(&recovered, written, durable);
    for batch in &written[count..] {
        if log.append(batch).is_err() {
            assert!(matches!(log.append(batch), Err(AppendError::FailedBefore)));
            return (count, true);
        }
        count += 1;
    }
    (count, false)
}

/// Each run of a replica is stopped in some operation, until one run reaches its end.
#[test]
fn stopped_anywhere_again_and_again() {
    let stops = proptest::collection::vec((1..60_u64, ends()), 1..6);
    check(500, &(batches(4..14), stops, any::<u64>()), |(written, stops, seed)| {
        let mut disk = new_disk(seed);
        let mut durable = 0;
        for (operations, end) in stops {
            disk.stop_at(disk.operations() + operations);
            (durable, _) = run(&disk, &written, durable);
            disk = end.of(&disk);
        }
        let (count, has_failed) = run(&disk, &written, durable);
        assert_eq!((count, has_failed), (written.len(), false));
        stays_recovered(&disk.kill(), &flat(&written));
    });
}

/// The same, while another thread makes the segments. Here the order of operations does not come from
/// the seed.
#[test]
fn stopped_while_a_segment_is_made() {
    let stops = proptest::collection::vec((15..90_u64, ends()), 1..4);
    check(300, &(batches(8..20), stops, any::<u64>()), |(written, stops, seed)| {
        let mut disk = new_disk(seed);
        let mut durable = 0;
        for (operations, end) in stops {
            disk.stop_at(disk.operations() + operations);
            (durable, _) = run_with(Preparation::InBackground, &disk, &written, durable);
            disk = end.of(&disk);
        }
        let all = (written.len(), false);
        assert_eq!(run_with(Preparation::InBackground, &disk, &written, durable), all);
        assert_eq!(recover(&disk.lose_power()).1, flat(&written));
    });
}

/// Three segments in twelve batches, and how many operations it takes to write them.
fn three_segments() -> (Vec<Records>, u64) {
    let batch = |it: u64| vec![accepted(it, 7, if it.is_multiple_of(3) { 3000 } else { 5000 })];
    let written: Vec<Records> = (0..12).map(batch).collect();
    let disk = new_disk(1);
    let before = disk.operations();
    assert_eq!(run(&disk, &written, 0), (written.len(), false));
    assert!(disk.files().contains_key("log/00000003.wal"));
    (written, disk.operations() - before)
}

/// Each operation of a run is stopped in turn, and then each operation of the run after it.
#[test]
fn stopped_in_every_operation() {
    let (written, operations) = three_segments();
    for stop in 1..=operations {
        for seed in 0..3 {
            let disk = new_disk(stop * 100 + seed);
            disk.stop_at(disk.operations() + stop);
            let (durable, has_failed) = run(&disk, &written, 0);
            assert!(has_failed);
            let end = if seed == 0 { End::Kill } else { End::PowerLoss };
            let disk = end.of(&disk);
            for stop_again in (1..30).step_by(3) {
                let stop_again = stop_again + (stop + seed) % 3;
                let disk = disk.fork(stop_again);
                disk.stop_at(disk.operations() + stop_again);
                let (durable, _) = run(&disk, &written, durable);
                let disk = disk.lose_power();
                assert_eq!(run(&disk, &written, durable), (written.len(), false));
            }
        }
    }
}

/// Each operation of a run fails in turn. The next process sees what is in the page cache, and what it
/// recovers from that survives a power loss.
#[test]
fn every_operation_fails_once() {
    let (written, operations) = three_segments();
    for failure in 1..=operations {
        for seed in 0..12 {
            let disk = new_disk(failure * 100 + seed);
            disk.fail_at(disk.operations() + failure, 5);
            let (durable, has_failed) = run(&disk, &written, 0);
            assert!(has_failed);
            let disk = disk.kill();
            assert_eq!(run(&disk, &written, durable), (written.len(), false));
            assert_eq!(recover(&disk.lose_power()).1, flat(&written));
        }
    }
}

/// The last block of a segment holds the remains of an interrupted write. A start writes zeros over
/// them and fails to sync the zeros, so the next start sees zeros where the disk has none. Then a
/// batch is written that does not fit there. If the remains came back, they would lie below that batch.
#[test]
fn remains_that_were_not_cut_off_do_not_come_back() {
    let written: Vec<Records> = (0..7).map(|it| vec![accepted(it, 7, 100)]).collect();
    let interrupted = accepted(7, 8, 2000);
    let new = [accepted(7, 9, 3000), accepted(8, 9, 2000)];
    for seed in 0..40 {
        let disk = disk_with(&[written.clone(), vec![vec![interrupted.clone()]]].concat());
        disk.damage("log/00000001.wal", |content| content[7 * 4096 + 600] ^= 1);
        let disk = disk.fork(seed).kill();
        let directory = open(&disk);
        // These are the last batch again, the zeros, and the sync.
        disk.fail_at(disk.operations() + 3, 5);
        let error = try_recover(&directory).expect_err("the sync fails").to_string();
        assert!(error.starts_with("cannot sync data/log/00000001.wal: "), "{error}");

        let disk = disk.kill();
        let (mut log, recovered) = recover(&disk);
        assert_eq!(recovered, flat(&written));
        append(&mut log, &new);
        let expected = [recovered, new.to_vec()].concat();
        assert_eq!(recover(&disk.lose_power()).1, expected);
    }
}

/// A sync fails, in any place. The next process recovers what it reads, and what it hands out survives
/// a power loss, although the page cache showed more than the disk had.
#[test]
fn a_failed_sync_ends_the_log() {
    let failures = (1..60_u64, ends(), 1..20_u64, ends());
    check(1_000, &(batches(4..14), failures, any::<u64>()), |(written, failures, seed)| {
        let (first, first_end, second, second_end) = failures;
        let disk = new_disk(seed);
        disk.fail_at(disk.operations() + first, 5);
        let (durable, _) = run(&disk, &written, 0);
        let disk = first_end.of(&disk);
        // It may fail in the recovery too.
        disk.fail_at(disk.operations() + second, 5);
        let (durable, _) = run(&disk, &written, durable);
        let disk = second_end.of(&disk);
        let (log, recovered) = recover(&disk);
        is_prefix(&recovered, &written, durable);
        drop(log);
        stays_recovered(&disk.kill(), &recovered);
    });
}

/// `init` is stopped in each operation, and another `init` finishes its remains.
#[test]
fn init_is_stopped_in_every_operation() {
    let operations = {
        let disk = SimulatedDisk::new(1);
        init(&disk).expect("an empty disk");
        disk.operations()
    };
    let mut left_unfinished = 0;
    for stop in 1..=operations {
        for seed in 0..60 {
            let disk = SimulatedDisk::new(stop * 1000 + seed);
            disk.stop_at(stop);
            init(&disk).expect_err("it is stopped");
            let end = if seed % 3 == 0 { End::Kill } else { End::PowerLoss };
            let disk = end.of(&disk);
            match DataDirectory::open(Arc::new(disk.clone())) {
                // Once it was opened, it stays as it is.
                Ok(directory) => {
                    assert_eq!(
                        *directory.identity(),
                        new_replica().identity_file(None).expect("possible").identity
                    );
                    drop(directory);
                    assert!(matches!(init(&disk), Err(InitError::AlreadyMade { .. })));
                    recover(&disk.lose_power());
                }
                Err(OpenError::Empty { .. } | OpenError::InitInterrupted { .. }) => {
                    left_unfinished += 1;
                    init(&disk).unwrap_or_else(|error| panic!("{error}"));
                    let disk = disk.lose_power();
                    assert_eq!(open(&disk).peers(), &new_replica().peers);
                    assert_eq!(recover(&disk.kill()).1, []);
                }
                Err(error) => panic!("stopped in operation {stop}: {error}"),
            }
        }
    }
    assert!(left_unfinished > operations * 10);
}

fn init(disk: &SimulatedDisk) -> Result<DataDirectory, InitError> {
    DataDirectory::init(Arc::new(disk.clone()), &new_replica())
}

/// A power loss right after `init` or an append has returned changes nothing.
#[test]
fn an_operation_that_has_returned_is_durable() {
    check(100, &(batches(1..12), any::<u64>()), |(written, seed)| {
        let disk = new_disk(seed).lose_power();
        let (mut log, _) = recover(&disk);
        for (count, batch) in written.iter().enumerate() {
            append(&mut log, batch);
            let after = disk.fork(seed).lose_power();
            assert_eq!(recover(&after).1, flat(&written[..=count]));
        }
    });
}

/// The disk is full when the next segment is to be made.
#[test]
fn a_full_disk_is_reported() {
    let written: Vec<Records> = (0..9).map(|it| vec![accepted(it, 7, 100)]).collect();
    let disk = new_disk(1);
    let (mut log, _) = recover(&disk);
    for batch in &written[..8] {
        append(&mut log, batch);
    }
    // The first operation creates the next segment, and the second fills it.
    disk.fail_at(disk.operations() + 2, 28);
    let error = log.append(&written[8]).expect_err("the disk is full").to_string();
    assert!(error.starts_with("cannot fill data/log/00000002.wal.new: No space left"), "{error}");
    assert!(error.contains("make room on it, then start the replica again"), "{error}");
    assert!(!disk.files().contains_key("log/00000002.wal.new"), "it would keep the disk full");
    let error = log.append(&written[8]).expect_err("an append failed").to_string();
    assert!(error.starts_with("nothing more is appended"), "{error}");
    drop(log);

    let disk = disk.kill();
    let (mut log, recovered) = recover(&disk);
    assert_eq!(recovered, flat(&written[..8]));
    append(&mut log, &written[8]);
    assert_eq!(recover(&disk.lose_power()).1, flat(&written));
}
