//! Snapshot files: what was written is read back, anything else is refused, and a crash leaves a whole
//! file or none.

use std::io::{Read, Write};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{Slot, SnapshotHandle};

use super::fixtures::{check, handle, hex, new_disk, new_replica, open};
use crate::disk::{Disk, SimulatedDisk};
use crate::storage::{
    DataDirectory, SnapshotError, SnapshotFile, SnapshotFlaw, SnapshotFolder, SnapshotReceiver,
};

pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// Bytes of an application.
pub(super) fn state(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 31 % 251).expect("small")).collect()
}

fn write(
    folder: &SnapshotFolder,
    handle: &SnapshotHandle,
    state: &[u8],
    piece_bytes: usize,
) -> Result<SnapshotFile, SnapshotError> {
    let mut writer = folder.create(handle)?;
    for piece in state.chunks(piece_bytes.max(1)) {
        writer.write_all(piece).map_err(|it| it.downcast().expect("an error of the snapshot"))?;
    }
    writer.finish()
}

pub(super) fn read(
    folder: &SnapshotFolder,
    slot: u64,
) -> Result<(SnapshotHandle, Vec<u8>), SnapshotError> {
    let (handle, mut reader) = folder.open(Slot(slot))?;
    let mut state = Vec::new();
    let read = reader.read_to_end(&mut state);
    read.map_err(|error| error.downcast().expect("an error of the snapshot"))?;
    assert_eq!(reader.check_to_end()?, 0);
    Ok((Arc::unwrap_or_clone(handle), state))
}

fn file_name(slot: u64) -> String {
    format!("snapshots/{slot:020}.snapshot")
}

/// All that a peer has.
fn bytes_of(folder: &SnapshotFolder, slot: u64) -> (SnapshotFile, Vec<u8>) {
    let bytes = folder.bytes(Slot(slot)).expect("a snapshot");
    let mut all = vec![0; usize::try_from(bytes.file().length_bytes).expect("short") + 7];
    let count = bytes.read_at(0, &mut all).expect("readable");
    assert_eq!(bytes.read_at(count as u64, &mut [0]).expect("the end"), 0);
    all.truncate(count);
    (bytes.file(), all)
}

/// Whatever the pieces are in which the application writes, the file is the same.
#[test]
fn what_is_written_is_read() {
    let lengths = prop_oneof![0..300_usize, CHUNK_BYTES - 2..CHUNK_BYTES + 2, 0..3 * CHUNK_BYTES];
    let pieces = prop_oneof![1..9_usize, 1000..300_000_usize];
    check(
        60,
        &(1..u64::MAX / 2, 0..9_000_u64, lengths, pieces),
        |(slot, sessions, length, piece)| {
            let disk = new_disk(1);
            let directory = open(&disk);
            let folder = directory.snapshots();
            let (handle, state) = (handle(slot, sessions), state(length));
            let file = write(folder, &handle, &state, piece).expect("room");
            assert_eq!(folder.files(), [file]);
            assert_eq!(folder.newest(), Some(file));
            assert_eq!(*folder.handle(Slot(slot)).expect("it is there"), handle);
            assert_eq!(read(folder, slot).expect("it is there"), (handle.clone(), state.clone()));
            let content = disk.files()[&file_name(slot)].clone();
            assert_eq!(bytes_of(folder, slot), (file, content.clone()));

            let other = new_disk(2);
            assert_eq!(write(open(&other).snapshots(), &handle, &state, 4096).expect("room"), file);
            assert_eq!(other.files()[&file_name(slot)], content);
        },
    );
}

/// The format, byte by byte, as docs/storage.md has it.
#[test]
fn a_snapshot_is_what_it_always_was() {
    let disk = new_disk(1);
    let file = write(open(&disk).snapshots(), &handle(300, 1), b"state", 9).expect("room");
    let content = &disk.files()[&file_name(300)];
    assert_eq!(
        hex(content),
        concat!(
            "53594e4f44736e70",                                                 // the letters
            "04000000",                                                         // version
            "a39d7db9d06b66afbeaf9085310e8e21244086c4f5bb906034318709f602c4f0", // cluster id
            "2c01000000000000",                                                 // slot
            "0000000000000000",                                                 // zeros
            "7465737400000000000000000000000000000000000000000000000000000000", // the name
            "0000000000000000000000000000000000000000000000000000000000000000", // zeros behind it
            "031464ce",                                                         // checksum
            "01000000",                                                         // the handle
            "1f000000",                                                         // its length
            "fb2c01",                                                           // slot
            "010101",           // configuration: id, one member,
            "000200",           // no learners, the next id, nobody registered
            "00",               // the slot of the change that made it
            "000000",           // hashes: up to which slot, recent ones, checkpoints
            "0101",             // table: one session
            "010700",           // the opening that opened it
            "00010001",         // not ended; answered, no requests, its last delivery
            "0101070001",       // its opening, again, to find it
            "01010101",         // its age: it is open, its last delivery, its id
            "cd06279f",         // checksum
            "02000000",         // the application
            "05000000",         // the length of its bytes
            "7374617465",       // its bytes
            "bfdfa7d4",         // checksum
            "03000000",         // the end
            "10000000",         // the length of what follows
            "bc00000000000000", // the length of everything before
            "4bb90d0c9ea8cdb6", // the checksum of everything before
            "d5b50393",         // checksum
        )
    );
    let checksum = 0xb6cd_a89e_0c0d_b94b;
    assert_eq!(file, SnapshotFile { slot: Slot(300), length_bytes: 0xbc + 28, checksum });
}

#[test]
fn there_is_one_snapshot_of_a_slot() {
    let disk = new_disk(1);
    let directory = open(&disk);
    let folder = directory.snapshots();
    let error = folder.open(Slot(4)).expect_err("nothing there").to_string();
    let missing = "there is no snapshot of slot 4: data/snapshots/00000000000000000004.snapshot is";
    assert!(error.starts_with(missing), "{error}");

    let first = folder.create(&handle(4, 1)).expect("room");
    let error = folder.create(&handle(4, 1)).expect_err("it is being made").to_string();
    assert!(error.contains("0004.snapshot.new is being made already\n"), "{error}");
    // One that was given up is no hindrance, and leaves nothing.
    let names = disk.files().len();
    drop(first);
    assert_eq!(disk.files().len(), names - 1);
    let file = write(folder, &handle(4, 1), b"abc", 9).expect("room");

    // The same snapshot again changes nothing, wherever it comes from.
    let operations = disk.operations();
    assert_eq!(write(folder, &handle(4, 1), b"abc", 9).expect("room"), file);
    assert_eq!(receive(folder, file, &disk.files()[&file_name(4)]).expect("the same").0, file);
    assert!(disk.operations() > operations);
    // Another one never takes its place.
    let error = write(folder, &handle(4, 1), b"abd", 9).expect_err("another").to_string();
    assert!(error.contains("compare the state machines of the replicas at slot 4"), "{error}");
    assert_eq!(read(folder, 4).expect("it is there").1, b"abc");
    assert_eq!(disk.files().len(), names);
}

fn receive(
    folder: &SnapshotFolder,
    file: SnapshotFile,
    bytes: &[u8],
) -> Result<(SnapshotFile, Arc<SnapshotHandle>), SnapshotError> {
    let mut receiver = folder.receive(file)?;
    for piece in bytes.chunks(1000) {
        receiver.take(receiver.received_bytes(), piece)?;
    }
    receiver.finish()
}

/// Takes what a receiver lacks of these bytes.
pub(super) fn receives_rest(mut receiver: SnapshotReceiver, bytes: &[u8]) -> SnapshotFile {
    let received_bytes = receiver.received_bytes();
    let rest = usize::try_from(received_bytes).expect("short");
    receiver.take(received_bytes, &bytes[rest..]).expect("in order");
    receiver.finish().expect("sound").0
}

/// A snapshot of one replica, and the empty folder of another.
pub(super) fn two_replicas(state_bytes: usize) -> (SnapshotFile, Vec<u8>, SimulatedDisk) {
    let disk = new_disk(1);
    let directory = open(&disk);
    write(directory.snapshots(), &handle(4, 3), &state(state_bytes), 999).expect("room");
    let (file, bytes) = bytes_of(directory.snapshots(), 4);
    (file, bytes, new_disk(2))
}

#[test]
fn a_peer_receives_what_there_is() {
    let (file, bytes, disk) = two_replicas(100_000);
    let directory = open(&disk);
    let folder = directory.snapshots();
    let mut receiver = folder.receive(file).expect("room");
    receiver.take(0, &bytes[..90_000]).expect("in order");
    // The connection ends. The next sender is asked for what comes next.
    for (offset, count) in [(0, 10), (89_999, 10), (90_001, 1), (90_000, 30_000)] {
        let error = receiver.take(offset, &bytes[..count]).expect_err("out of place");
        assert!(matches!(error, SnapshotError::OutOfPlace { next: 90_000, .. }), "{error}");
    }
    assert_eq!((receiver.received_bytes(), receiver.is_complete()), (90_000, false));
    receiver.take(90_000, &bytes[90_000..]).expect("in order");
    assert!(receiver.is_complete());
    assert_eq!(folder.files(), [], "not before it is checked");
    let (placed, its_handle) = receiver.finish().expect("sound");
    assert_eq!((placed, &*its_handle), (file, &handle(4, 3)));
    assert_eq!(read(folder, 4).expect("it is there"), (handle(4, 3), state(100_000)));
    assert_eq!(disk.files()[&file_name(4)], bytes);
}

/// Every byte counts, for a reader and for a receiver. Nothing of a file that was received and is not
/// sound stays.
#[test]
fn any_change_is_found() {
    let (file, bytes, disk) = two_replicas(700);
    let directory = open(&disk);
    let folder = directory.snapshots();
    let names: Vec<String> = disk.files().into_keys().collect();
    let refused = |file: SnapshotFile, bytes: &[u8]| {
        let error = receive(folder, file, bytes).expect_err("not what it should be");
        assert!(matches!(error, SnapshotError::Received { .. }), "{error}");
        assert!(error.to_string().contains("fetch it again"), "{error}");
        assert_eq!(disk.files().into_keys().collect::<Vec<_>>(), names);
    };
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        refused(file, &changed);
        refused(file, &bytes[..at]);
        let short = SnapshotFile { length_bytes: at as u64, ..file };
        refused(short, &bytes[..at]);
    }
    let longer = [&bytes[..], &[0]].concat();
    refused(SnapshotFile { length_bytes: file.length_bytes + 1, ..file }, &longer);
    refused(SnapshotFile { checksum: file.checksum + 1, ..file }, &bytes);
    refused(SnapshotFile { slot: Slot(5), ..file }, &bytes);

    receive(folder, file, &bytes).expect("sound");
    for at in 0..bytes.len() {
        disk.damage(&file_name(4), |content| content[at] ^= 1 << (at % 8));
        let error = read(folder, 4).expect_err("damage");
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
        disk.damage(&file_name(4), |content| content.clone_from(&bytes));
    }
    read(folder, 4).expect("sound again");
}

/// A file that is sound and not the one that is listed is not read.
#[test]
fn another_file_in_its_place_is_found() {
    let disk = new_disk(1);
    let directory = open(&disk);
    write(directory.snapshots(), &handle(4, 3), b"one", 9).expect("room");
    let (_, two) = {
        let other = new_disk(2);
        let directory = open(&other);
        write(directory.snapshots(), &handle(4, 3), b"two", 9).expect("room");
        bytes_of(directory.snapshots(), 4)
    };
    disk.damage(&file_name(4), |content| *content = two);
    let error = directory.snapshots().open(Slot(4)).expect_err("another file");
    assert!(matches!(error, SnapshotError::Damaged { flaw: SnapshotFlaw::OtherFile, .. }));
}

/// What a forger sends, with the right checksums, costs little and ends in an error.
#[test]
fn forged_files_are_refused() {
    let (file, bytes, disk) = two_replicas(700);
    let directory = open(&disk);
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    check(4_000, &(changes, any::<prop::sample::Index>()), |(changes, cut)| {
        let mut forged = bytes.clone();
        // Within the chunk of the handle, or anywhere.
        let chunk = 128..128 + 8 + usize::from(bytes[132]) + 256 * usize::from(bytes[133]);
        for (place, byte) in changes {
            forged[chunk.start + 8 + place.index(chunk.len() - 8)] = byte;
        }
        let checksum = crc32c::crc32c(&forged[chunk.clone()]).to_le_bytes();
        forged[chunk.end..chunk.end + 4].copy_from_slice(&checksum);
        match receive(directory.snapshots(), file, &forged) {
            Ok(_) => assert_eq!(forged, bytes),
            Err(error) => assert!(matches!(error, SnapshotError::Received { .. }), "{error}"),
        }
        let cut = SnapshotFile { length_bytes: cut.index(bytes.len()) as u64, ..file };
        let cut_off = &bytes[..usize::try_from(cut.length_bytes).expect("short")];
        receive(directory.snapshots(), cut, cut_off).expect_err("cut off");
    });
}

#[test]
fn a_snapshot_of_another_cluster_is_refused() {
    let (file, bytes, _) = two_replicas(10);
    let disk = SimulatedDisk::new(3);
    let mut replica = new_replica();
    replica.cluster_name = "another".into();
    let directory = DataDirectory::init(Arc::new(disk), &replica).expect("room");
    let error = receive(directory.snapshots(), file, &bytes).expect_err("another cluster");
    let SnapshotError::Received { flaw: SnapshotFlaw::OtherCluster, .. } = error else {
        panic!("{error}");
    };
}

/// Each operation is the last of a process, or fails. A snapshot that was reported is there, whole, and
/// one that was not leaves nothing but what the next start removes, or goes on with.
#[test]
fn interrupted_anywhere() {
    let (file, bytes, _) = two_replicas(9_000);
    let mut parts = 0;
    for operation in 1..40 {
        for (seed, is_received) in (0..12).flat_map(|seed| [(seed, false), (seed, true)]) {
            let disk = new_disk(operation * 100 + seed);
            let directory = open(&disk);
            let folder = directory.snapshots().clone();
            drop(directory);
            let files: Vec<String> = disk.files().into_keys().collect();
            let is_stopped = seed < 8;
            if is_stopped {
                disk.stop_at(disk.operations() + operation);
            } else {
                disk.fail_at(disk.operations() + operation, 28);
            }
            let made = if is_received {
                receive(&folder, file, &bytes).map(|it| it.0)
            } else {
                write(&folder, &handle(4, 3), &state(9_000), 999)
            };
            if let Err(error) = &made {
                assert_eq!(folder.files(), []);
                let text = error.to_string();
                let is_told =
                    text.contains("nothing else is changed") || text.contains("cannot open");
                assert!(is_told || text.contains("cannot read"), "{text}");
                assert_eq!(error.is_full(), !is_stopped);
                if !is_stopped {
                    assert_eq!(disk.files().into_keys().collect::<Vec<_>>(), files);
                }
            }
            let disk = if seed % 2 == 0 { disk.kill() } else { disk.lose_power() };
            let directory = open(&disk);
            let after = disk.files();
            assert!(!after.keys().any(|name| name.contains(".new")));
            assert!(is_received || !after.keys().any(|name| name.contains(".part")));
            parts += usize::from(after.keys().any(|name| name.contains(".part")));
            if let Some(receiver) = directory.snapshots().resume() {
                assert_eq!(receives_rest(receiver, &bytes), file);
            }
            if made.is_ok() {
                assert_eq!(after[&file_name(4)], bytes);
            }
            // Whatever has its name is whole.
            assert!(after.get(&file_name(4)).is_none_or(|content| *content == bytes));
            // It can be made again.
            let again = write(directory.snapshots(), &handle(4, 3), &state(9_000), 999);
            assert_eq!(again.expect("room"), file);
            let disk = disk.lose_power();
            assert_eq!(disk.files()[&file_name(4)], bytes);
        }
    }
    assert!(parts > 40, "{parts}");
}

/// A peer reads a snapshot while it is removed.
#[test]
fn a_transfer_outlives_its_file() {
    let disk = new_disk(1);
    let directory = open(&disk);
    write(directory.snapshots(), &handle(4, 3), &state(9_000), 999).expect("room");
    let content = disk.files()[&file_name(4)].clone();
    let bytes = directory.snapshots().bytes(Slot(4)).expect("it is there");
    disk.remove(&file_name(4)).expect("it is there");
    let mut read = vec![0; 100];
    assert_eq!(bytes.read_at(50, &mut read).expect("still open"), 100);
    assert_eq!(read, content[50..150]);
    assert!(matches!(
        directory.snapshots().open(Slot(4)),
        Err(SnapshotError::Missing { slot: Slot(4), .. })
    ));
}

/// The state is not held in memory, nor is it synced in one go.
#[test]
fn a_large_state_passes_through() {
    let disk = new_disk(1);
    let directory = open(&disk);
    let before = disk.operations();
    let length = 20 << 20;
    let mut writer = directory.snapshots().create(&handle(4, 3)).expect("room");
    std::io::copy(&mut std::io::repeat(7).take(length), &mut writer).expect("room");
    assert!(writer.written_bytes() + 2 * CHUNK_BYTES as u64 > length);
    writer.finish().expect("room");
    let chunks = length / CHUNK_BYTES as u64;
    // Its creation, its header, its handle, its end; three syncs; its name, and the folder. Before and
    // after that, nothing was there to remove.
    assert_eq!(disk.operations() - before - chunks, 9 + 2);
    let (_, reader) = directory.snapshots().open(Slot(4)).expect("it is there");
    assert_eq!(reader.check_to_end().expect("sound"), length);
}

#[test]
fn receivers_can_move_between_threads() {
    fn is_send<T: Send + 'static>() {}
    is_send::<SnapshotReceiver>();
    is_send::<crate::storage::SnapshotWriter>();
    is_send::<crate::storage::SnapshotReader>();
    is_send::<crate::storage::SnapshotBytes>();
}
