//! Saved snapshots: whatever is wrong with one is told, and where; and data directories of a new cluster are made
//! from one, whole or not at all.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use synod_model::{
    Base, ClusterConstants, Configuration, ConfigurationId, Content, Entry, Input, Opening, Output,
    Recovery, ReplicaId, Run, SequenceNumber, Slot, SnapshotHandle,
};
use synod_wire::Value;

use super::fixtures::{accepted, append, check, new_disk, new_replica, open, recover};
use crate::disk::{Access, Disk, SimulatedDisk};
use crate::storage::interrupted::interrupted_at_every_operation;
use crate::storage::snapshot::{SavedSnapshot, verify};
use crate::storage::{
    DataDirectory, FlawFound, InitError, NewReplica, OpenError, RestoreDirectoryError,
    SnapshotCheck, SnapshotError, SnapshotFlaw, SnapshotFlaws, SoundSnapshot,
};

const HEADER_BYTES: usize = 128;
const CHUNK_BYTES: usize = 64 << 10;
const FULL_CHUNK: usize = CHUNK_BYTES + 12;
const END_BYTES: usize = 28;
const NAME: &str = "saved.snapshot";

/// The handle of a log in which so many sessions were opened, as the core makes it.
fn real_handle(slots: u64) -> SnapshotHandle {
    let me = ReplicaId(1);
    let alone = Configuration::new(ConfigurationId(1), vec![me]).expect("a member");
    let limits = new_replica().constants.limits().clone();
    let cluster = ClusterConstants::new(65_536, alone.clone(), limits).expect("a cluster");
    let mut out = Output::<Value>::default();
    let base = Base::new(alone);
    let recovery = Recovery::new(Arc::new(cluster), me, Run(1), Slot::ZERO, base, &mut out);
    let mut replica = recovery.and_then(Recovery::finish).expect("an empty disk");
    let mut step = |input| {
        replica.step(input, &mut out);
        let through = replica.status().written;
        replica.step(Input::Synced { through }, &mut out);
    };
    step(Input::Elect { canvass: false });
    for count in 1..=slots {
        step(Input::Submit(vec![Entry::Open(Opening { origin: me, run: Run(1), count })]));
    }
    let handle = replica.snapshot_handle().expect("the application has no more than the log");
    assert_eq!(handle.slot, Slot(slots));
    Arc::unwrap_or_clone(handle)
}

fn state(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 37 % 253).expect("small")).collect()
}

/// A saved snapshot of slot 5, with so many bytes of the application.
fn saved(application_bytes: usize) -> Vec<u8> {
    let disk = new_disk(1);
    let directory = open(&disk);
    let mut writer = directory.snapshots().create(&real_handle(5)).expect("room");
    writer.write_all(&state(application_bytes)).expect("room");
    writer.finish().expect("room");
    disk.files()["snapshots/00000000000000000005.snapshot"].clone()
}

/// Where the chunks of the application begin.
fn application_at(bytes: &[u8]) -> usize {
    let handle_bytes = usize::from(bytes[132]) + 256 * usize::from(bytes[133]);
    HEADER_BYTES + 12 + handle_bytes
}

fn file_of(bytes: &[u8]) -> Box<dyn crate::disk::DiskFile> {
    let disk = SimulatedDisk::new(7);
    disk.make_root().expect("room");
    disk.create(NAME).and_then(|file| file.write_at(bytes, 0)).expect("room");
    disk.open(NAME, Access::Read).expect("it is there")
}

fn verified(bytes: &[u8]) -> Result<SoundSnapshot, SnapshotFlaws> {
    verify(Path::new(NAME), file_of(bytes), |_, _| {}).expect("readable")
}

/// What is wrong, and where.
fn flaws(bytes: &[u8]) -> Vec<(u64, SnapshotFlaw)> {
    let found = verified(bytes).expect_err("it is damaged");
    assert_eq!(found.more, 0);
    found.found.into_iter().map(|FlawFound { offset, flaw }| (offset, flaw)).collect()
}

#[test]
fn what_was_saved_is_sound() {
    for length in [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 5] {
        let bytes = saved(length);
        let sound = verified(&bytes).expect("it is sound");
        assert_eq!(sound.cluster_name, "test");
        assert_eq!(sound.cluster_id, open(&new_disk(1)).identity().cluster_id);
        assert_eq!(sound.file.slot, Slot(5));
        assert_eq!(sound.file.length_bytes, bytes.len() as u64);
        assert_eq!(sound.application_bytes, length as u64);
    }
}

/// Every byte counts. What is told begins at or before the byte that has changed, and reaches over it.
#[test]
fn a_changed_byte_is_found_and_its_place_is_told() {
    let short = saved(300);
    let application = application_at(&short);
    let starts = [0, HEADER_BYTES, application, short.len() - END_BYTES, short.len()];
    for at in 0..short.len() {
        for bit in 0..8 {
            let mut changed = short.clone();
            changed[at] ^= 1 << bit;
            let (offset, _) = flaws(&changed)[0].clone();
            let place = starts.iter().rposition(|start| *start <= at).expect("the first is 0");
            assert_eq!(offset, starts[place] as u64, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_changed_byte_is_found_in_a_long_file_too() {
    let long = saved(4 * CHUNK_BYTES + 900);
    let application = application_at(&long);
    check(200, &(any::<prop::sample::Index>(), 1..=255_u8), |(at, change)| {
        let at = at.index(long.len());
        let mut changed = long.clone();
        changed[at] ^= change;
        let found = flaws(&changed);
        let (offset, _) = found[0];
        assert!(offset <= at as u64 && (at as u64) < offset + FULL_CHUNK as u64, "{at}: {found:?}");
        if at >= application && at < long.len() - END_BYTES - 912 {
            assert_eq!(found.len(), 1, "the rest is sound: byte {at}, {found:?}");
        }
    });
}

/// All of it is told, wherever a chunk can be found behind the damage.
#[test]
fn several_damages_are_told_one_by_one() {
    let long = saved(5 * CHUNK_BYTES + 900);
    let application = application_at(&long);
    let chunk = |number: usize| application + number * FULL_CHUNK;
    let checksum = SnapshotFlaw::Checksum { chunk_bytes: FULL_CHUNK };

    let mut changed = long.clone();
    changed[chunk(1) + 700] ^= 1;
    changed[chunk(3) + 8] ^= 1;
    changed[chunk(3) + 9] ^= 1;
    changed[50] ^= 1;
    let expected = [
        (0, SnapshotFlaw::NoHeader),
        (chunk(1) as u64, checksum.clone()),
        (chunk(3) as u64, checksum.clone()),
    ];
    assert_eq!(flaws(&changed), expected);

    // The kind of one chunk, and the length of another: the next one is found all the same.
    let mut changed = long.clone();
    changed[chunk(0)] = 77;
    changed[chunk(2) + 5..chunk(2) + 7].copy_from_slice(&[1, 0]);
    changed[chunk(4) + 100] ^= 8;
    let expected = [
        (chunk(0) as u64, SnapshotFlaw::NoChunk),
        (chunk(2) as u64, SnapshotFlaw::Checksum { chunk_bytes: 12 + 256 }),
        (chunk(4) as u64, checksum),
    ];
    assert_eq!(flaws(&changed), expected);

    // So much is gone that no chunk is found behind it.
    let mut changed = long.clone();
    changed[chunk(1)..chunk(3)].fill(0);
    let unchecked = (chunk(2) as u64, SnapshotFlaw::Unchecked);
    assert_eq!(flaws(&changed), [(chunk(1) as u64, SnapshotFlaw::NoChunk), unchecked]);
}

#[test]
fn a_file_that_is_cut_off_or_goes_on_is_found() {
    let bytes = saved(CHUNK_BYTES + 300);
    let end = bytes.len() as u64;
    for at in (0..bytes.len()).filter(|at| at % 89 == 0 || *at + 200 > bytes.len()) {
        assert_eq!(flaws(&bytes[..at]), [(at as u64, SnapshotFlaw::CutOff)]);
    }
    for more_bytes in [1, 200_000] {
        let longer = [&bytes[..], &vec![0; more_bytes]].concat();
        assert_eq!(flaws(&longer), [(end, SnapshotFlaw::BehindEnd)]);
    }
    // A chunk is missing in the middle.
    let application = application_at(&bytes);
    let without = [&bytes[..application], &bytes[application + FULL_CHUNK..]].concat();
    let end_mark = (without.len() - END_BYTES) as u64;
    assert_eq!(flaws(&without), [(end_mark, SnapshotFlaw::OtherLength)]);
    // Two are exchanged.
    let bytes = saved(2 * CHUNK_BYTES);
    let (one, two) = (application, application + FULL_CHUNK);
    let exchanged = [
        &bytes[..one],
        &bytes[two..two + FULL_CHUNK],
        &bytes[one..two],
        &bytes[two + FULL_CHUNK..],
    ];
    let exchanged = exchanged.concat();
    let end_mark = (bytes.len() - END_BYTES) as u64;
    assert_eq!(flaws(&exchanged), [(end_mark, SnapshotFlaw::WholeChecksum)]);
}

#[test]
fn no_file_at_all_is_told() {
    assert_eq!(flaws(b""), [(0, SnapshotFlaw::CutOff)]);
    let told = flaws(&[b'#'; 500]);
    assert_eq!(told[..2], [(0, SnapshotFlaw::NoHeader), (128, SnapshotFlaw::NoChunk)]);
    let error = crate::storage::verify_snapshot(Path::new("/nowhere/at/all"), |_, _| {});
    assert!(matches!(error, Err(SnapshotError::Read(_))), "{error:?}");
}

/// In whatever pieces the file comes, the same is told.
#[test]
fn the_pieces_do_not_matter() {
    let bytes = saved(2 * CHUNK_BYTES + 300);
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    check(300, &(edits, 1..150_000_usize), |(edits, piece_bytes)| {
        let mut changed = bytes.clone();
        for (at, byte) in edits {
            changed[at.index(bytes.len())] = byte;
        }
        let mut pieces = SnapshotCheck::default();
        changed.chunks(piece_bytes).for_each(|piece| pieces.add(piece));
        let mut whole = SnapshotCheck::default();
        whole.add(&changed);
        assert_eq!(pieces.finish(), whole.finish());
    });
}

fn restored_replica(id: u16) -> NewReplica {
    let members = (4..7).map(ReplicaId).collect();
    let members = Configuration::new(ConfigurationId(1), members).expect("three members");
    let before = new_replica();
    let limits = before.constants.limits().clone();
    NewReplica {
        cluster_name: "restored".to_owned(),
        constants: ClusterConstants::new(65_536, members, limits).expect("a cluster"),
        replica: ReplicaId(id),
        ..before
    }
}

fn restore(
    disk: &SimulatedDisk,
    replica: &NewReplica,
    bytes: &[u8],
) -> Result<DataDirectory, RestoreDirectoryError> {
    let snapshot = SavedSnapshot::of(NAME.into(), file_of(bytes))?;
    DataDirectory::restore(Arc::new(disk.clone()), replica, snapshot, |_| {})
}

/// It has the snapshot and its record, and goes on behind it.
fn check_restored(disk: &SimulatedDisk, application_bytes: usize) {
    let directory = open(disk);
    let folder = directory.snapshots();
    let (mut log, records) = super::fixtures::try_recover(&directory).expect("a sound log");
    let handle = real_handle(5).restored(&directory.identity().constants).expect("it may be");
    let first = Arc::new(handle.clone()).first_record();
    assert_eq!(records, [first]);
    assert_eq!(folder.files().len(), 1);
    let (its_handle, mut reader) = folder.open(Slot(5)).expect("it is there");
    assert_eq!(*its_handle, handle);
    let mut application = Vec::new();
    reader.read_to_end(&mut application).expect("sound");
    assert_eq!(application, state(application_bytes));
    let names = disk.list("").expect("a directory");
    assert!(!names.iter().any(|name| name == "restoring"), "{names:?}");

    let next = accepted(6, 1, 10);
    let next = synod_model::Record { watermark: Slot(5), hash: handle.hash(), ..next };
    append(&mut log, std::slice::from_ref(&next));
    drop((log, directory));
    let (_, records) = recover(&disk.kill());
    assert_eq!(records[1..], [next]);
}

#[test]
fn the_directories_of_a_restored_cluster_are_of_one_new_cluster() {
    let bytes = saved(CHUNK_BYTES + 77);
    let mut ids = Vec::new();
    let mut files = Vec::new();
    for id in 4..7 {
        let disk = SimulatedDisk::new(u64::from(id));
        let directory = restore(&disk, &restored_replica(id), &bytes).expect("room");
        let identity = directory.identity();
        assert_eq!((identity.cluster_name.as_str(), identity.replica.0), ("restored", id));
        ids.push(identity.cluster_id);
        drop(directory);
        let disk = disk.lose_power();
        files.push(disk.files()["snapshots/00000000000000000005.snapshot"].clone());
        check_restored(&disk, CHUNK_BYTES + 77);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert!(files.iter().all(|file| *file == files[0]), "peers may fetch it from each other");
    let old = open(&new_disk(1)).identity().cluster_id;
    assert_ne!(ids[0], old);
    assert_ne!(verified(&files[0]).expect("sound").cluster_id, old);
    // Another snapshot, with the same name and the same members, makes another cluster.
    let other = SimulatedDisk::new(9);
    let directory = restore(&other, &restored_replica(4), &saved(1)).expect("room");
    assert_ne!(directory.identity().cluster_id, ids[0]);
    // So does the old name.
    let other = SimulatedDisk::new(9);
    let same_name = NewReplica { log: restored_replica(4).log, ..new_replica() };
    let directory = restore(&other, &same_name, &bytes).expect("room");
    assert_ne!(directory.identity().cluster_id, old);
}

/// The first batch is the only one, and nobody takes damage in it for an interrupted write.
#[test]
fn damage_in_the_first_batch_is_found() {
    let disk = SimulatedDisk::new(1);
    drop(restore(&disk, &restored_replica(4), &saved(10)).expect("room"));
    let disk = disk.kill();
    disk.damage("log/00000001.wal", |content| content[70] ^= 1);
    let error = super::fixtures::try_recover(&open(&disk)).expect_err("damage").to_string();
    assert!(error.contains("log/00000001.wal"), "{error}");
}

#[test]
fn a_restore_never_goes_over_what_is_there() {
    let bytes = saved(10);
    let refused = |disk: &SimulatedDisk| {
        let before = disk.files();
        let error = restore(disk, &restored_replica(4), &bytes).expect_err("something is there");
        assert_eq!(disk.files(), before);
        error.to_string()
    };
    let disk = new_disk(1);
    assert!(refused(&disk).starts_with("data/ is the data directory of a replica already\n"));
    let disk = SimulatedDisk::new(1);
    drop(restore(&disk, &restored_replica(4), &bytes).expect("room"));
    let disk = disk.kill();
    assert!(refused(&disk).starts_with("data/ is the data directory of a replica already\n"));
    // It was a replica, and somebody took its identity.
    disk.remove("identity").expect("a file");
    assert!(refused(&disk).starts_with("data/ is not empty: there is snapshots/"));
    let disk = SimulatedDisk::new(1);
    disk.make_root().expect("room");
    drop(disk.create("notes.txt").expect("room"));
    assert!(refused(&disk).starts_with("data/ is not empty: there is notes.txt\n"));
}

/// Nothing is made of a snapshot that is damaged where a restore looks first; and what is made before it meets the
/// damage is no data directory.
#[test]
fn a_damaged_snapshot_is_not_restored() {
    let bytes = saved(2 * CHUNK_BYTES);
    for at in [5, 140, bytes.len() - 3, application_at(&bytes) + FULL_CHUNK + 50] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let disk = SimulatedDisk::new(1);
        let error = restore(&disk, &restored_replica(4), &changed).expect_err("it is damaged");
        let RestoreDirectoryError::Snapshot(SnapshotError::Saved { .. }) = error else {
            panic!("{error}");
        };
        assert!(error.to_string().contains("synod snapshot verify"), "{error}");
        let opened = DataDirectory::open(Arc::new(disk.kill())).expect_err("there is none");
        assert!(
            matches!(opened, OpenError::Empty { .. } | OpenError::RestoreInterrupted { .. }),
            "{opened}"
        );
    }
}

/// Each operation is the last of a process, or fails. There is a whole data directory then, or none, and the next
/// restore makes one.
#[test]
fn interrupted_anywhere() {
    let bytes = saved(9_000);
    let replica = restored_replica(4);
    let make = |disk: &SimulatedDisk| restore(disk, &replica, &bytes);
    interrupted_at_every_operation(8, make, |disk| {
        check_restored(disk, 9_000);
        let again = restore(&disk.kill(), &replica, &bytes).expect_err("it is there");
        let RestoreDirectoryError::Directory(InitError::AlreadyMade { .. }) = again else {
            panic!("{again}");
        };
    });
}

/// A first record promises nothing.
#[test]
fn the_first_record_is_in_the_log() {
    let disk = SimulatedDisk::new(1);
    drop(restore(&disk, &restored_replica(4), &saved(10)).expect("room"));
    let (_, records) = recover(&disk.kill());
    let Content::Snapshot { promised, handle } = &records[0].content else {
        panic!("{records:?}");
    };
    assert_eq!((*promised, handle.slot), (SequenceNumber::NONE, Slot(5)));
}
