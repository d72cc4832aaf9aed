//! Parts of a peer's snapshot, which outlive the run that received them.

use synod_model::Slot;

use super::fixtures::{new_disk, open};
use super::snapshots::{CHUNK_BYTES, read, receives_rest, state, two_replicas};
use crate::disk::{Disk, SimulatedDisk};
use crate::storage::{SnapshotFile, SnapshotFolder};

fn receives_part(folder: &SnapshotFolder, file: SnapshotFile, bytes: &[u8]) {
    let mut receiver = folder.receive(file).expect("room");
    receiver.take(0, bytes).expect("in order");
    receiver.keep();
}

#[test]
fn a_receiver_goes_on_where_a_former_run_was() {
    let (file, bytes, disk) = two_replicas(200_000);
    receives_part(open(&disk).snapshots(), file, &bytes[..150_000]);
    let disk = disk.kill();
    let directory = open(&disk);
    let receiver = directory.snapshots().resume().expect("a part");
    assert_eq!(receiver.expected(), file);
    // Behind the last chunk that is whole.
    let whole = bytes.len() as u64 - 200_000 + 2 * CHUNK_BYTES as u64;
    assert!((whole - 100..whole).contains(&receiver.received_bytes()), "{receiver:?}");
    assert_eq!(receives_rest(receiver, &bytes), file);
    assert_eq!(read(directory.snapshots(), 4).expect("it is there").1, state(200_000));
    assert!(directory.snapshots().resume().is_none());
}

/// Wherever a part ends, and whatever has happened to it, it becomes the snapshot, or nothing of it is used.
#[test]
fn a_part_is_used_as_far_as_it_is_sound() {
    let (file, bytes, disk) = two_replicas(700);
    let directory = open(&disk);
    let name = format!("snapshots/{:020}-{}-{:016x}.snapshot.part", 4, bytes.len(), file.checksum);
    let disk_of_part = |part: Vec<u8>| {
        let disk = new_disk(2);
        disk.create(&name).expect("room").write_at(&part, 0).expect("room");
        disk
    };
    drop(directory);
    let header_bytes = 128;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        for part in [bytes[..at].to_vec(), changed] {
            let disk = disk_of_part(part);
            let directory = open(&disk);
            let resumed = directory.snapshots().resume();
            assert_eq!(resumed.is_some(), at >= header_bytes, "{at}");
            let receiver = resumed.unwrap_or_else(|| {
                assert!(!disk.files().contains_key(&name), "it is removed");
                directory.snapshots().receive(file).expect("room")
            });
            assert!(receiver.received_bytes() <= at as u64);
            assert_eq!(receives_rest(receiver, &bytes), file);
        }
    }
    for (part, is_used) in [(bytes.clone(), true), ([&bytes[..], &[0]].concat(), false)] {
        let disk = disk_of_part(part);
        let resumed = open(&disk).snapshots().resume();
        assert_eq!(resumed.is_some_and(|it| it.is_complete()), is_used);
    }
}

#[test]
fn a_start_keeps_the_newest_part_until_it_is_of_no_use() {
    let (file, bytes, disk) = two_replicas(700);
    let newer = SnapshotFile { slot: Slot(9), ..file };
    let folder = open(&disk).snapshots().clone();
    receives_part(&folder, file, &bytes[..500]);
    receives_part(&folder, newer, &bytes[..500]);
    drop(folder);
    drop(disk.create("snapshots/00000000000000000010.snapshot.part").expect("room"));
    let parts = |disk: &SimulatedDisk| {
        let names = disk.files().into_keys();
        names.filter(|name| name.contains(".part")).collect::<Vec<_>>()
    };
    let disk = disk.kill();
    let directory = open(&disk);
    assert_eq!(parts(&disk).len(), 1);
    assert!(parts(&disk)[0].starts_with("snapshots/00000000000000000009-"), "{:?}", parts(&disk));
    directory.snapshots().remove_parts_through(Slot(8)).expect("nothing to remove");
    assert_eq!(parts(&disk).len(), 1);
    directory.snapshots().remove_parts_through(Slot(9)).expect("removed");
    assert_eq!(parts(&disk).len(), 0);
}
