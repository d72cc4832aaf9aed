//! Something has changed what was durable. Recovery reports it, and changes nothing on the disk.

use proptest::prelude::*;
use synod_model::{Incarnation, Record};
use synod_wire::Value;

use super::fixtures::{
    accepted, append, batches, check, disk_with, flat, open, recover, try_recover,
};
use crate::disk::{Disk, SimulatedDisk};
use crate::storage::RecoverError;
use crate::storage::batch::{HEADER_BYTES, Header, seal};

type Records = Vec<Record<Value>>;

/// Three segments. The first has a block of zeros at its end, the second is full, and the third has
/// a batch of one block and a batch of two.
fn three_segments() -> (Vec<Records>, SimulatedDisk) {
    let two_blocks = |slot| vec![accepted(slot, 8, 2900), accepted(slot, 9, 2900)];
    let mut written: Vec<Records> = (0..7).map(two_blocks).collect();
    written.insert(3, vec![accepted(7, 10, 2000)]);
    written.push(vec![accepted(8, 11, 3000)]);
    written.push(two_blocks(9));
    let disk = disk_with(&written);
    assert!(is_blank(&disk.files()["log/00000003.wal"][3 * 4096..]));
    (written, disk)
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Recovery refuses the log, and changes nothing, not even a segment that was being made.
fn refuses(disk: &SimulatedDisk) -> RecoverError {
    let directory = open(disk);
    let _ = disk.create("log/00000009.wal.new");
    let before = disk.files();
    let error = try_recover(&directory).expect_err("damage");
    assert!(before == disk.files(), "a log that is refused is not changed");
    error
}

#[test]
fn every_flipped_byte_below_the_last_batch_is_reported() {
    let (_, disk) = three_segments();
    for (name, length) in [
        ("log/00000001.wal", 8 * 4096),
        ("log/00000002.wal", 8 * 4096),
        // The first batch. The second is the last.
        ("log/00000003.wal", 4096),
    ] {
        for offset in (0..length).step_by(if cfg!(debug_assertions) { 3 } else { 1 }) {
            let bit = 1 << (offset % 8);
            let flip = |content: &mut Vec<u8>| content[offset] ^= bit;
            disk.damage(name, flip);
            let error = refuses(&disk.kill());
            disk.damage(name, flip);
            match &error {
                RecoverError::Damage { path, offset: told, .. } => {
                    assert_eq!(*path, disk.path(name));
                    let told = usize::try_from(*told).expect("short");
                    assert!(told <= offset && offset < told + 2 * 4096, "{offset}: {error}");
                }
                error => panic!("{offset}: {error}"),
            }
        }
    }
    let (mut log, recovered) = recover(&disk.kill());
    assert_eq!(recovered, flat(&three_segments().0));
    append(&mut log, &[accepted(1, 1, 1)]);
}

/// Any change in one place below the last batch.
#[test]
fn overwritten_places_are_told() {
    let bytes = proptest::collection::vec(any::<u8>(), 1..700);
    let edits = (0..2_usize, any::<prop::sample::Index>(), bytes);
    check(300, &(batches(7..12), edits, any::<u64>()), |(written, edit, seed)| {
        let (kind, place, bytes) = edit;
        let disk = disk_with(&written).fork(seed);
        let name = "log/00000001.wal";
        // The last batch may be in the first segment.
        let end = if disk.files().contains_key("log/00000002.wal") {
            8 * 4096
        } else {
            written.len().saturating_sub(1) * 4096
        };
        let mut changed = false;
        disk.damage(name, |content| {
            let before = content.clone();
            let from = place.index(end);
            let to = (from + bytes.len()).min(end);
            if kind == 0 {
                content[from..to].copy_from_slice(&bytes[..to - from]);
            } else {
                content[from..to].fill(0);
            }
            changed = *content != before;
        });
        let disk = disk.kill();
        if changed {
            refuses(&disk);
        } else {
            assert_eq!(recover(&disk).1, flat(&written));
        }
    });
}

/// A batch in the place of another: whole, sound, and wrong.
#[test]
fn batches_out_of_place_are_told() {
    let told = |change: &dyn Fn(&SimulatedDisk)| {
        let (_, disk) = three_segments();
        change(&disk);
        refuses(&disk.kill()).to_string()
    };
    let first = "log/00000001.wal";
    let third = "log/00000003.wal";
    // The second batch is gone, and the third is in its place.
    let error = told(&|disk| {
        disk.damage(first, |content| {
            content.copy_within(4 * 4096..6 * 4096, 2 * 4096);
        });
    });
    assert!(error.contains("at byte 8,192: it has number 3, and 2 comes next"), "{error}");
    // A batch of another directory.
    let error = told(&|disk| reseal(disk, third, |header| header.incarnation = Incarnation(5)));
    assert!(error.contains("incarnation 00000000000000000000000000000005"), "{error}");
    let error = told(&|disk| reseal(disk, third, |header| header.segment = 2));
    assert!(error.contains("it was written to segment 2"), "{error}");
    let error = told(&|disk| reseal(disk, third, |header| header.previous_checksum ^= 1));
    assert!(error.contains("not written after the batch that is before it"), "{error}");
    // The last batch again, behind itself.
    let error = told(&|disk| {
        disk.damage(third, |content| content.copy_within(4096..3 * 4096, 3 * 4096));
    });
    assert!(error.contains("at byte 12,288: it has number 10, and 11 comes next"), "{error}");
    // An unknown version, with a right checksum.
    let error = told(&|disk| {
        disk.damage(third, |content| {
            content[8] = 9;
            let checksum = crc32c::crc32c(&content[..60]);
            content[60..64].copy_from_slice(&checksum.to_le_bytes());
        });
    });
    assert!(error.contains("a batch of format version 9"), "{error}");
    assert!(error.contains("run the version of synod that wrote it"), "{error}");
}

/// Changes the header of the first batch in a file, with a right checksum.
fn reseal(disk: &SimulatedDisk, name: &str, change: impl FnOnce(&mut Header)) {
    disk.damage(name, |content| {
        let mut header = Header::read(content).expect("a batch");
        change(&mut header);
        let end = HEADER_BYTES + header.payload_bytes as usize;
        let mut buffer = content[..end].to_vec();
        let Header { segment, number, incarnation, previous_checksum, .. } = header;
        seal(&mut buffer, segment, number, incarnation, previous_checksum);
        content[..buffer.len()].copy_from_slice(&buffer);
    });
}

/// There are zeros behind the end of the log, further than an interrupted write reaches.
#[test]
fn bytes_far_behind_the_end_are_reported() {
    let written = vec![vec![accepted(1, 1, 100)]];
    for (offset, is_damage) in [(4096, false), (3 * 4096 - 1, false), (3 * 4096, true)] {
        let disk = disk_with(&written);
        disk.damage("log/00000001.wal", |content| content[offset] = 1);
        if is_damage {
            let error = refuses(&disk.kill()).to_string();
            assert!(error.contains("at byte 12,288: something is written there"), "{error}");
        } else {
            let (log, recovered) = recover(&disk.kill());
            assert_eq!(recovered, flat(&written));
            assert!(log.recovered().interrupted.is_some());
            assert!(is_blank(&disk.files()["log/00000001.wal"][4096..]));
        }
    }
}

#[test]
fn segments_that_are_missing_or_cut_are_told() {
    let told = |change: &dyn Fn(&SimulatedDisk)| {
        let (_, disk) = three_segments();
        let disk = disk.kill();
        change(&disk);
        refuses(&disk).to_string()
    };
    let remove = |disk: &SimulatedDisk, name: &str| disk.remove(name).expect("a segment");
    let error = told(&|disk| remove(disk, "log/00000002.wal"));
    assert!(
        error.starts_with(
            "data/log/00000002.wal is not there, and data/log/00000003.wal is\n  segments are made"
        ),
        "{error}"
    );
    let error = told(&|disk| {
        for number in 1..=3 {
            remove(disk, &format!("log/0000000{number}.wal"));
        }
    });
    assert!(error.starts_with("data/log/00000001.wal is not there\n"), "{error}");
    let error = told(&|disk| {
        disk.damage("log/00000002.wal", |content| content.truncate(4097));
    });
    assert!(error.starts_with("data/log/00000002.wal is 4,097 bytes long, and a segment of"));
    let error = told(&|disk| {
        disk.damage("log/00000002.wal", |content| content.fill(0));
    });
    assert!(error.starts_with("data/log/00000002.wal holds no batch, and yet"), "{error}");
}

/// This case looks like an interrupted write, and docs/storage.md says so.
#[test]
fn damage_in_the_last_batch_is_cut_off() {
    let (written, disk) = three_segments();
    disk.damage("log/00000003.wal", |content| content[2 * 4096] ^= 1);
    let (log, recovered) = recover(&disk.kill());
    assert_eq!(recovered, flat(&written[..written.len() - 1]));
    assert!(log.recovered().interrupted.is_some());
}
