//! What the tests share: a small replica, records for it, and the way from one run to the next.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use synod_model::{
    Cluster, Configuration, ConfigurationId, Content, Entry, Limits, Record, ReplicaId, Run,
    SequenceNumber, SessionId, Slot,
};

use crate::Value;
use crate::disk::{Disk, SimulatedDisk};
use crate::storage::{
    DataDirectory, Incarnation, Log, LogLimits, NewReplica, Preparation, RecoverError,
};

/// Segments of eight blocks, and batches of at most two: every kind of boundary is near.
pub(super) const LOG: LogLimits = LogLimits { segment_bytes: 8 * 4096, batch_bytes_max: 8192 - 64 };

/// The longest value.
pub(super) const VALUE_BYTES_MAX: usize = 3000;

/// Checks that `test` panics for none of `cases` values.
pub(super) fn check<T: Debug>(cases: u32, values: &impl Strategy<Value = T>, test: impl Fn(T)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SYNOD_SEED").unwrap_or(2007);
    let factor = u32::try_from(number("SYNOD_CASES").unwrap_or(1)).expect("a small factor");
    println!("seed {seed}, {cases} x {factor} cases");
    let config = Config {
        cases: cases * factor,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 10_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(values, |value| {
        test(value);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("with SYNOD_SEED={seed}: {failure}");
    }
}

pub(super) fn new_replica() -> NewReplica {
    let members = (0..3).map(ReplicaId).collect();
    let configuration = Configuration::new(ConfigurationId(1), members).expect("three members");
    let limits = Limits {
        frame_bytes_max: VALUE_BYTES_MAX as u64,
        value_bytes_max: VALUE_BYTES_MAX as u64,
        frame_entries_max: 8,
        ..Limits::default()
    };
    let peers = [(ReplicaId(0), "10.0.0.1:4000".into()), (ReplicaId(2), "r2:4000".into())];
    NewReplica {
        cluster_name: "test".into(),
        cluster: Cluster::new(65_536, configuration, limits).expect("a cluster"),
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
    let mut records = Vec::new();
    let log = Log::recover(directory, Preparation::InLine, |record| {
        records.push(record);
        Ok::<_, Infallible>(())
    })?;
    Ok((log, records))
}

pub(super) fn recover(disk: &SimulatedDisk) -> (Log, Vec<Record<Value>>) {
    try_recover(&open(disk)).unwrap_or_else(|error| panic!("{error}"))
}

/// Appends all of `records` in one batch, for which they are short enough.
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

/// An entry with a value of `value_bytes` bytes that looks like nothing else.
pub(super) fn entry(seed: u8, value_bytes: usize) -> Entry<Value> {
    let mut byte = seed;
    let value: Vec<u8> = std::iter::repeat_with(|| {
        byte = byte.wrapping_mul(5).wrapping_add(17);
        byte
    })
    .take(value_bytes)
    .collect();
    Entry::Request {
        session: SessionId(1),
        number: seed.into(),
        answered: 0,
        value: Value::from(value),
    }
}

/// A record with one entry in `slot`.
pub(super) fn accepted(slot: u64, seed: u8, value_bytes: usize) -> Record<Value> {
    let entries = vec![entry(seed, value_bytes)];
    let content = Content::Accepted { s: SequenceNumber(4), first: Slot(slot), entries };
    Record { watermark: Slot::ZERO, content }
}

pub(super) fn entries() -> impl Strategy<Value = Entry<Value>> {
    prop_oneof![
        1 => Just(Entry::NoOp),
        4 => (any::<u8>(), 0..600_usize).prop_map(|(seed, bytes)| entry(seed, bytes)),
        1 => (0..3_u16, any::<u64>(), any::<u64>()).prop_map(|(origin, run, count)| {
            Entry::Open { origin: ReplicaId(origin), run: Run(run), count }
        }),
        1 => any::<u64>().prop_map(|session| Entry::End { session: SessionId(session) }),
    ]
}

/// Records of any kind. Storage does not care whether a replica can have written them.
pub(super) fn records() -> impl Strategy<Value = Record<Value>> {
    let (s, first) = ((0..1_000_u64).prop_map(SequenceNumber), (1..60_u64).prop_map(Slot));
    let entries = || vec(entries(), 1..4);
    let content = prop_oneof![
        1 => s.clone().prop_map(Content::Promised),
        4 => (s, first.clone(), entries())
            .prop_map(|(s, first, entries)| Content::Accepted { s, first, entries }),
        2 => (first, entries()).prop_map(|(first, entries)| Content::Committed { first, entries }),
    ];
    (0..60_u64, content).prop_map(|(watermark, content)| {
        let watermark = Slot(watermark);
        Record { watermark, content }
    })
}

/// Batches, none of which is too long.
pub(super) fn batches(
    count: impl Into<proptest::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Vec<Record<Value>>>> {
    vec(vec(records(), 1..4), count)
}

pub(super) fn flat(batches: &[Vec<Record<Value>>]) -> Vec<Record<Value>> {
    batches.iter().flatten().cloned().collect()
}
