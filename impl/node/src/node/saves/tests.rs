//! Saves, without a replica.

use std::cell::Cell;
use std::future::pending;
use std::io::Write as _;

use futures_util::FutureExt as _;
use synod_model::{Configuration, ConfigurationId, ReplicaId, Slot, SnapshotHandle};

use super::*;
use crate::disk::SimulatedDisk;
use crate::forming::kit::{identity, new_replica};
use crate::storage::{DataDirectory, LogLimits};

/// Fast enough for pieces of the full length.
const FAST: u64 = 1 << 30;

/// The folder of a replica with a snapshot of this slot, and the bytes of its file.
fn folder(slot: u64, state_bytes: usize) -> (DataDirectory, Vec<u8>) {
    let log = LogLimits { segment_bytes: 8 << 20, batch_bytes_max: 4 << 20 };
    let new = new_replica(identity(0, 1, 1), log);
    let disk = SimulatedDisk::new(1);
    let directory = DataDirectory::init(Arc::new(disk.clone()), &new).expect("made");
    write(directory.snapshots(), slot, state_bytes);
    let bytes = disk.files()[&format!("snapshots/{slot:020}.snapshot")].clone();
    (directory, bytes)
}

fn write(folder: &SnapshotFolder, slot: u64, state_bytes: usize) {
    let first = Configuration::new(ConfigurationId(1), vec![ReplicaId(0)]).expect("a member");
    let handle = SnapshotHandle { slot: Slot(slot), ..SnapshotHandle::empty(first) };
    let mut writer = folder.create(&handle).expect("room");
    let state: Vec<_> = (0..state_bytes).map(|at| u8::try_from(at % 251).expect("small")).collect();
    writer.write_all(&state).expect("room");
    writer.finish().expect("room");
}

fn taken(slot: u64) -> SnapshotTaken {
    SnapshotTaken { slot: Slot(slot), bytes: 0, file: String::new() }
}

async fn begin(
    saves: &Arc<Saves>,
    id: u64,
    folder: &SnapshotFolder,
) -> Result<SaveBegun, SaveError> {
    saves.begin(SaveId(id), folder, "alone", async || Ok(taken(5))).await
}

/// Reads to the end.
async fn read_all(saves: &Saves, id: u64, begun: &SaveBegun) -> Result<Vec<u8>, SaveError> {
    let mut all = Vec::new();
    while (all.len() as u64) < begun.bytes {
        let read = ReadSave { save: SaveId(id), offset: all.len() as u64 };
        all.extend_from_slice(&saves.read(read).await?.0);
    }
    Ok(all)
}

#[tokio::test]
async fn what_is_saved_is_the_file_even_if_it_is_removed_meanwhile() {
    let (directory, bytes) = folder(5, 700_000);
    let (folder, saves) = (directory.snapshots(), Arc::new(Saves::new(FAST)));
    let begun = begin(&saves, 1, folder).await.expect("a place");
    assert_eq!((begun.slot, begun.bytes), (Slot(5), bytes.len() as u64));
    assert_eq!((begun.piece_bytes, &*begun.cluster_name), (SAVE_PIECE_BYTES_MAX, "alone"));
    folder.remove_between(Slot(4), Slot(6));
    assert!(read_all(&saves, 1, &begun).await.expect("it is kept") == bytes);
    // The client comes back, and reads something again.
    assert_eq!(begin(&saves, 1, folder).await, Ok(begun.clone()));
    let last = ReadSave { save: SaveId(1), offset: begun.bytes - 7 };
    assert_eq!(saves.read(last).await.expect("it is kept").0, bytes[bytes.len() - 7..]);
    for offset in [begun.bytes, u64::MAX] {
        let behind = saves.read(ReadSave { save: SaveId(1), offset }).await;
        assert!(behind.expect("it is kept").0.is_empty());
    }
    saves.end(SaveId(1));
    assert_eq!(read_all(&saves, 1, &begun).await, Err(SaveError::NotKept));
}

#[tokio::test]
async fn there_are_so_many_saves_at_once_and_a_place_is_given_back() {
    let (directory, _) = folder(5, 10);
    let (folder, saves) = (directory.snapshots(), Arc::new(Saves::new(FAST)));
    let begun = begin(&saves, 1, folder).await.expect("a place");
    // The snapshot of this one is being taken.
    let mut taking = Box::pin(saves.begin(SaveId(2), folder, "alone", pending::<Result<_, _>>));
    assert!(taking.as_mut().now_or_never().is_none());
    assert_eq!(begin(&saves, 3, folder).await, Err(SaveError::Busy));
    // Its client comes back before its first connection is known to be dead.
    assert_eq!(begin(&saves, 2, folder).await, Err(SaveError::Busy));
    saves.end(SaveId(2));
    let read = ReadSave { save: SaveId(2), offset: 0 };
    assert_eq!(saves.read(read).await, Err(SaveError::NotKept));
    drop(taking);
    begin(&saves, 3, folder).await.expect("a place");
    saves.end(SaveId(1));
    assert_eq!(begin(&saves, 2, folder).await, Ok(begun));

    let refuse = async || Err(TakeSnapshotError::Empty);
    saves.end(SaveId(2));
    let refused = saves.begin(SaveId(4), folder, "alone", refuse).await;
    assert_eq!(refused, Err(SaveError::NotTaken(TakeSnapshotError::Empty)));
    begin(&saves, 4, folder).await.expect("its place was given back");
}

#[tokio::test]
async fn a_save_that_nothing_is_read_of_is_forgotten() {
    let (directory, bytes) = folder(5, 10);
    let lingers = Duration::from_millis(300);
    let saves = Arc::new(Saves { lingers, ..Saves::new(FAST) });
    let begun = begin(&saves, 1, directory.snapshots()).await.expect("a place");
    for _ in 0..4 {
        tokio::time::sleep(lingers / 2).await;
        assert_eq!(read_all(&saves, 1, &begun).await, Ok(bytes.clone()), "it is used");
    }
    let waits = async {
        while !saves.saves().is_empty() {
            tokio::time::sleep(lingers / 10).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits).await.expect("it is forgotten");
    assert_eq!(read_all(&saves, 1, &begun).await, Err(SaveError::NotKept));
}

#[tokio::test]
async fn a_snapshot_that_is_gone_is_taken_again() {
    let (directory, _) = folder(5, 10);
    let (folder, saves) = (directory.snapshots(), Arc::new(Saves::new(FAST)));
    let attempts = Cell::new(0);
    let take = async || {
        attempts.set(attempts.get() + 1);
        Ok(taken(if attempts.get() < 3 { 4 } else { 5 }))
    };
    let begun = saves.begin(SaveId(1), folder, "alone", take).await.expect("the third is there");
    assert_eq!((begun.slot, attempts.get()), (Slot(5), 3));
    let never = saves.begin(SaveId(2), folder, "alone", async || Ok(taken(4))).await;
    assert!(matches!(never, Err(SaveError::Disk(_))), "{never:?}");
}

/// All saves together leave no faster than this, however many pieces are asked for.
#[tokio::test]
async fn pieces_leave_at_the_rate_that_is_set() {
    let (directory, bytes) = folder(5, 60_000);
    let saves = Arc::new(Saves::new(200_000));
    let begun = begin(&saves, 1, directory.snapshots()).await.expect("a place");
    begin(&saves, 2, directory.snapshots()).await.expect("a place");
    assert_eq!(begun.piece_bytes, 50_000);
    let since = Instant::now();
    let (one, two) = tokio::join!(read_all(&saves, 1, &begun), read_all(&saves, 2, &begun));
    assert!(one.expect("kept") == bytes && two.expect("kept") == bytes);
    // All but the last piece, of 120 kB.
    assert!(since.elapsed() > Duration::from_millis(500), "{:?}", since.elapsed());
}
