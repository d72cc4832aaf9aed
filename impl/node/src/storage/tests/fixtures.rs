//! What the tests share: a small replica, records for it, and restarts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{
    ClusterConstants, Configuration, ConfigurationId, Content, Entry, Incarnation, Limits, Opening,
    PrefixHash, PrefixHashes, Record, ReplicaId, RequestTable, Run, SequenceNumber, Slot,
    SnapshotHandle,
};
use synod_wire::Value;
use synod_wire::testing::records;
pub(super) use synod_wire::testing::{check, entry};

use crate::disk::{Disk, SimulatedDisk};
use crate::storage::{
    DataDirectory, Log, LogLimits, NewReplica, Preparation, RecoverError, SnapshotFolder,
};

/// Segments of eight blocks, and batches of at most two: every kind of boundary is near.
pub(super) const LOG: LogLimits = LogLimits { segment_bytes: 8 * 4096, batch_bytes_max: 8192 - 64 };

/// The longest value.
pub(super) const VALUE_BYTES_MAX: usize = 3000;

pub(super) fn new_replica() -> NewReplica {
    let members = (0..3).map(ReplicaId).collect();
    let configuration = Configuration::new(ConfigurationId(1), members).expect("three members");
    let limits = Limits {
        // The default of the first clusters: the files are compared with theirs.
        open_slots_max: 1024,
        frame_bytes_max: VALUE_BYTES_MAX as u64,
        value_bytes_max: VALUE_BYTES_MAX as u64,
        frame_entries_max: 8,
        ..Limits::default()
    };
    let peers = [(ReplicaId(0), "10.0.0.1:4000".into()), (ReplicaId(2), "r2:4000".into())];
    NewReplica {
        cluster_name: "test".into(),
        constants: ClusterConstants::new(65_536, configuration, limits).expect("a cluster"),
        replica: ReplicaId(1),
        incarnation: Incarnation(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        log: LOG,
        peers: BTreeMap::from(peers),
    }
}

/// A disk on which the replica has just been made.
pub(super) fn new_disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    DataDirectory::init(Arc::new(disk.clone()), &new_replica()).expect("an empty disk");
    disk.kill()
}

pub(super) fn open(disk: &SimulatedDisk) -> DataDirectory {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    DataDirectory::open(disk).unwrap_or_else(|error| panic!("{error}"))
}

/// The log of a directory, and every record in it.
pub(super) fn try_recover(
    directory: &DataDirectory,
) -> Result<(Log, Vec<Record<Value>>), RecoverError> {
    try_recover_with(Preparation::InLine, directory)
}

pub(super) fn try_recover_with(
    preparation: Preparation,
    directory: &DataDirectory,
) -> Result<(Log, Vec<Record<Value>>), RecoverError> {
    let mut records = Vec::new();
    let log = Log::recover(directory, preparation, |record| {
        records.push(record);
        Ok::<_, Infallible>(())
    })?;
    Ok((log, records))
}

pub(super) fn recover(disk: &SimulatedDisk) -> (Log, Vec<Record<Value>>) {
    try_recover(&open(disk)).unwrap_or_else(|error| panic!("{error}"))
}

/// Appends all of `records` in one batch. They must fit into it.
pub(super) fn append(log: &mut Log, records: &[Record<Value>]) {
    let taken = log.append(records).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(taken, records.len());
}

/// A disk with the records of `batches` on it, durably.
pub(super) fn disk_with(batches: &[Vec<Record<Value>>]) -> SimulatedDisk {
    let disk = new_disk(1);
    let (mut log, _) = recover(&disk);
    for batch in batches {
        append(&mut log, batch);
    }
    disk.kill()
}

/// A record with one entry in `slot`.
pub(super) fn accepted(slot: u64, seed: u8, value_bytes: usize) -> Record<Value> {
    let entries = vec![entry(seed, value_bytes)];
    let (s, configuration) = (SequenceNumber(4), ConfigurationId(1));
    let content = Content::Accepted { s, configuration, first: Slot(slot), entries };
    Record { watermark: Slot::ZERO, hash: PrefixHash::default(), content }
}

/// Batches that are not too long.
pub(super) fn batches(
    count: impl Into<proptest::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Vec<Record<Value>>>> {
    vec(vec(records(), 1..4), count)
}

pub(super) fn flat(batches: &[Vec<Record<Value>>]) -> Vec<Record<Value>> {
    batches.iter().flatten().cloned().collect()
}

/// A handle whose table has `sessions` sessions.
pub(super) fn handle(slot: u64, sessions: u64) -> SnapshotHandle {
    let mut table = RequestTable::default();
    let configuration = Configuration::new(ConfigurationId(1), vec![ReplicaId(1)]);
    let configuration = configuration.expect("a member");
    for count in 0..sessions {
        let opening = Opening { origin: ReplicaId(1), run: Run(7), count };
        let open = Entry::<()>::Open(opening);
        table.deliver(Slot(count + 1), &open, &configuration, &Limits::default());
    }
    SnapshotHandle {
        slot: Slot(slot),
        configuration,
        changed_at: Slot::ZERO,
        hashes: PrefixHashes::default(),
        table: Arc::new(table),
    }
}

/// The record of a snapshot of the slots up to `slot`, whose file is made here.
pub(super) fn snapshot(folder: &SnapshotFolder, slot: u64) -> Record<Value> {
    let handle = handle(slot, 2);
    let mut writer = folder.create(&handle).expect("room");
    writer.write_all(&[7; 100]).expect("room");
    writer.finish().expect("room");
    snapshot_record(handle)
}

pub(super) fn snapshot_record(handle: SnapshotHandle) -> Record<Value> {
    let (watermark, hash) = (handle.slot, handle.hash());
    let content = Content::Snapshot { handle: Arc::new(handle), promised: SequenceNumber(4) };
    Record { watermark, hash, content }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory");
        text
    })
}
