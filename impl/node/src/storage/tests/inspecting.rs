//! A data directory as people see it.

use super::fixtures::{accepted, append, new_disk, open, recover, snapshot};
use crate::disk::{Disk, SimulatedDisk};
use crate::storage::{Finding, inspect};

fn text(disk: &SimulatedDisk) -> String {
    let before = disk.files();
    let mut lines = Vec::new();
    inspect(disk, |finding| lines.push(finding.to_string())).expect("a directory");
    assert!(before == disk.files(), "inspecting changes nothing");
    lines.join("\n")
}

fn disk() -> SimulatedDisk {
    let disk = new_disk(1);
    let (mut log, _) = recover(&disk);
    append(&mut log, &[accepted(1, 1, 100), accepted(2, 1, 100)]);
    append(&mut log, &[accepted(3, 1, 3000), accepted(4, 1, 3000)]);
    append(&mut log, &[accepted(5, 1, 100)]);
    disk.kill()
}

#[test]
fn everything_is_reported() {
    let disk = disk();
    let text = text(&disk);
    for expected in [
        "data directory data/\n  no process has it open\n",
        "replica 1 of cluster \"test\"\n",
        "first members [0, 1, 2], stride 65,536\n",
        "limits of the cluster:\n    open_slots_max = ",
        "    unsynced_bytes_max = ",
        "members met so far: none\n",
        "addresses of peers:\n  replica 0: 10.0.0.1:4000\n  replica 2: r2:4000\n",
        "data/log/00000001.wal, 32,768 bytes\n  at byte 0: batch 1, 224 bytes\n",
        "    accepted s=4 slots 1, watermark 0, hash 0000000000000000\n",
        "    accepted s=4 slots 2, watermark 0, hash 0000000000000000\n",
        "  at byte 12,288: batch 3, 112 bytes\n",
        "  at byte 16,384: blank to the end\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(
        text.ends_with("the log is sound: 3 batches, to byte 16,384 of log/00000001.wal"),
        "{text}"
    );
}

#[test]
fn a_directory_in_use_is_reported() {
    let disk = disk();
    let directory = open(&disk);
    assert!(text(&disk).contains("process 3 has it open: what follows of the end"));
    drop(directory);
}

#[test]
fn an_interrupted_write_is_reported() {
    let disk = disk();
    disk.damage("log/00000001.wal", |content| content[13_000] ^= 1);
    let text = text(&disk);
    assert!(text.contains("at byte 12,288: no sound batch, up to byte 32,768: its records fail"));
    assert!(
        text.ends_with(
            "the log is sound: 2 batches, to byte 12,288 of log/00000001.wal\n  behind it a write \
             was interrupted, from byte 12,288 of log/00000001.wal to byte 13,000 of \
             log/00000001.wal: a start cuts that off"
        ),
        "{text}"
    );
}

/// What lies behind the damage is reported too.
#[test]
fn damage_is_reported() {
    let disk = disk();
    disk.damage("log/00000001.wal", |content| content[4096] ^= 1);
    let text = text(&disk);
    for expected in [
        "  at byte 0: batch 1, ",
        "  at byte 4,096: no sound batch, up to byte 12,288: its header fails its checksum\n",
        "  at byte 12,288: batch 3, ",
        "a start of this replica would fail:\ndata/log/00000001.wal: at byte 4,096: its header \
         fails its checksum; and what is at byte 12,288 of data/log/00000001.wal was written \
         later\n",
        "`synod inspect data/`",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

/// Whatever is missing or damaged, the rest is reported.
#[test]
fn nothing_stops_an_inspection() {
    for name in ["identity", "incarnations", "peers", "LOCK", "log/00000001.wal"] {
        let disk = disk();
        disk.remove(name).expect("a file");
        drop(disk.create("notes.txt").expect("room"));
        drop(disk.create("log/notes.txt").expect("room"));
        let text = text(&disk);
        assert!(text.contains("data/notes.txt does not belong here\n"), "{text}");
        assert!(text.contains("data/log/notes.txt does not belong here\n"), "{text}");
        assert!(name == "log/00000001.wal" || text.contains("batch 3, 112 bytes\n"), "{text}");
    }
    let disk = disk();
    for name in ["identity", "incarnations", "peers", "LOCK", "log/00000001.wal"] {
        disk.damage(name, |content| content.truncate(content.len() / 2));
        disk.damage(name, |content| content.iter_mut().step_by(7).for_each(|it| *it ^= 9));
    }
    let mut findings = 0;
    inspect(&disk, |finding| {
        findings += 1;
        assert!(!matches!(finding, Finding::Verdict(Ok(_)) | Finding::Batch { .. }));
    })
    .expect("a directory");
    assert!(findings > 5);
    inspect(&SimulatedDisk::new(1), |_| ()).expect_err("there is nothing");
}

/// Where the log begins, and each snapshot, all of which is checked.
#[test]
fn snapshots_are_reported() {
    let disk = new_disk(1);
    let directory = open(&disk);
    let (mut log, _) = super::fixtures::try_recover(&directory).expect("a new log");
    for slot in 1..=9 {
        append(&mut log, &[accepted(slot, 1, 100)]);
    }
    append(&mut log, &[snapshot(directory.snapshots(), 8)]);
    drop((log, directory));
    drop(disk.create("snapshots/00000000000000000009.snapshot.part").expect("room"));
    let part = "snapshots/00000000000000000009-4711-0123456789abcdef.snapshot.part";
    drop(disk.create(part).expect("room"));
    drop(disk.create("snapshots/notes.txt").expect("room"));
    let disk = disk.kill();
    let told = text(&disk);
    for expected in [
        "the log begins behind the snapshot of slot 8, with batch 9 in log/00000002.wal\n  the record \
         of the snapshot is in batch 10\n",
        "data/snapshots/00000000000000000008.snapshot, 324 bytes, 100 of them of the application, checksum ",
        "data/snapshots/00000000000000000009.snapshot.part is not finished: a start removes it\n",
        "data/snapshots/00000000000000000009-4711-0123456789abcdef.snapshot.part is a part of a peer's \
         snapshot, 4,711 bytes as a whole: ",
        "data/snapshots/notes.txt does not belong here\n",
        "    snapshot, promised s=4, slots up to 8, 324 bytes, checksum ",
        "the log is sound: 2 batches, to byte 8,192 of log/00000002.wal, the first of which is batch 9",
    ] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
    // The application's bytes are checked, too; a start that needs them does so.
    let name = "snapshots/00000000000000000008.snapshot";
    disk.damage(name, |content| content[200] ^= 1);
    assert!(text(&disk).contains(&format!("data/{name}: at byte 1")), "{}", text(&disk));
    assert!(text(&disk).contains("the log is sound"));
    disk.damage(name, |content| content[70] ^= 1);
    let told = text(&disk);
    assert!(
        told.contains("a start of this replica would fail:\ndata/base names a snapshot"),
        "{told}"
    );
}
