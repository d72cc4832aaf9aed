//! From a directory that is left to that of a cluster of one: all that goes over, and an interruption anywhere.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use synod_model::{
    ClusterConstants, ConfigurationId, Content, Entry, KnownMembers, Limits, Opening, Output,
    Record, Replica, ReplicaId, Request, SequenceNumber, SessionId, SlotRange,
};

use super::*;
use crate::disk::SimulatedDisk;
use crate::start::start;
use crate::storage::interrupted::interrupted_at_every_operation;
use crate::storage::{InUse, InitError, Log, LogLimits};

/// Segments of four blocks, and batches of at most two, so a short log has many of both.
const LOG: LogLimits = LogLimits { segment_bytes: 4 * 4096, batch_bytes_max: 8192 - 64 };
const ME: ReplicaId = ReplicaId(2);
const STATE: &[u8] = b"the state of an application";
const DRAWN: Drawn = Drawn { cluster_id: ClusterId([7; 32]), incarnation: Incarnation(0xa10e) };

fn open_session() -> Entry<Value> {
    Entry::Open(Opening { origin: ME, run: Run(1), count: 1 })
}

fn request(number: u64) -> Entry<Value> {
    let value = Value::from(vec![u8::try_from(number).expect("few"); 900]);
    Entry::Request(Request { session: SessionId(1), number, answered: 1, value })
}

/// The session in slot 1, and request n in slot n + 1.
fn entries(count: u64) -> Vec<Entry<Value>> {
    std::iter::once(open_session()).chain((1..count).map(request)).collect()
}

fn record(log: &[Entry<Value>], committed: u64, content: Content<Value>) -> Record<Value> {
    let committed = usize::try_from(committed).expect("few");
    let hash = log[..committed].iter().fold(PrefixHash::default(), PrefixHash::after);
    Record { watermark: Slot(committed as u64), hash, content }
}

/// That `entry`, in `slot`, is accepted, and all before it is committed.
fn accepted(log: &[Entry<Value>], slot: u64) -> Record<Value> {
    let entries = vec![log[usize::try_from(slot).expect("few") - 1].clone()];
    let (s, configuration) = (SequenceNumber(65_536), ConfigurationId(1));
    let content = Content::Accepted { s, configuration, first: Slot(slot), entries };
    record(log, slot.saturating_sub(2), content)
}

fn open(disk: &SimulatedDisk) -> DataDirectory {
    DataDirectory::open(Arc::new(disk.clone())).unwrap_or_else(|error| panic!("{error}"))
}

fn append(log: &mut Log, record: Record<Value>) {
    assert_eq!(log.append(&[record]).expect("room"), 1);
}

/// The directory of a member of three that has accepted so many slots, and knows all but the last two to be committed.
/// If it has a snapshot, that is of the first `snapshot` slots.
fn member(slots: u64, snapshot: Option<u64>) -> SimulatedDisk {
    let members = Configuration::new(ConfigurationId(1), (0..3).map(ReplicaId).collect());
    let limits = Limits {
        frame_entries_max: 3,
        frame_bytes_max: 3000,
        value_bytes_max: 3000,
        ..Limits::default()
    };
    let constants = ClusterConstants::new(65_536, members.expect("three"), limits);
    let replica = NewReplica {
        cluster_name: "old".into(),
        constants: constants.expect("right limits"),
        replica: ME,
        incarnation: Incarnation(0x01d),
        log: LOG,
        peers: (0..3).map(|id| (ReplicaId(id), format!("r{id}:7000"))).collect(),
    };
    let disk = SimulatedDisk::new(1);
    drop(DataDirectory::init(Arc::new(disk.clone()), &replica).expect("room"));
    let disk = disk.kill();
    let log = entries(slots);
    let before = snapshot.unwrap_or(0).min(slots);
    write(&disk, |to| (1..=before).for_each(|slot| append(to, accepted(&log, slot))));
    if let Some(snapshot) = snapshot {
        let promised = SequenceNumber(65_537);
        write(&disk, |to| append(to, record(&log, before, Content::Promised(promised))));
        assert!(cut(&disk, &log, snapshot, promised.0, None));
    }
    let disk = disk.kill();
    write(&disk, |to| {
        for slot in before + 1..=slots {
            let Record { hash, watermark, content } = accepted(&log, slot);
            let Content::Accepted { configuration, first, entries, .. } = content else { return };
            let content =
                Content::Accepted { s: SequenceNumber(65_538), configuration, first, entries };
            let it = Record { hash, watermark, content };
            append(to, if watermark.0 < before { record(&log, before, it.content) } else { it });
        }
    });
    disk.kill()
}

/// The replica takes a snapshot of all that it knows to be committed, up to `slot`, and cuts its log. The disk refuses
/// one of the operations from the record of the snapshot on. Returns whether the record is durable.
fn cut(
    disk: &SimulatedDisk,
    log: &[Entry<Value>],
    slot: u64,
    s: u64,
    refused: Option<u64>,
) -> bool {
    let handle = started(disk).0.snapshot_handle().expect("the application has it");
    assert_eq!(handle.slot, Slot(slot));
    let directory = open(disk);
    let to = Log::recover(&directory, Preparation::InLine, |_| Ok::<_, io::Error>(()));
    let mut to = to.expect("sound");
    let mut writer = directory.snapshots().create(&handle).expect("room");
    writer.write_all(STATE).expect("room");
    writer.finish().expect("room");
    if let Some(refused) = refused {
        disk.fail_at(disk.operations() + refused, 28);
    }
    let content = Content::Snapshot { handle, promised: SequenceNumber(s) };
    to.append(&[record(log, slot, content)]).is_ok()
}

fn write(disk: &SimulatedDisk, append: impl FnOnce(&mut Log)) {
    let directory = open(disk);
    let log = Log::recover(&directory, Preparation::InLine, |_| Ok::<_, io::Error>(()));
    append(&mut log.unwrap_or_else(|error| panic!("{error}")));
}

/// The replica of a directory, and what its application is given.
fn started(disk: &SimulatedDisk) -> (Replica<Value>, Vec<Entry<Value>>, Option<Slot>) {
    let directory = open(disk);
    let (mut given, mut restored) = (Vec::new(), None);
    let mut committed = |it| {
        match it {
            Committed::Restore(slot) => restored = Some(slot),
            Committed::ToDeliver(it) => given.push(it.entry),
            Committed::HadAlready(..) => {}
        }
        Ok(())
    };
    let progress = |_, _| {};
    let begun =
        start(&directory, Preparation::InLine, Run(3), Slot::ZERO, progress, &mut committed);
    let (replica, _) = begun.unwrap_or_else(|error| panic!("{error}"));
    (replica, given, restored)
}

fn recover(old: &SimulatedDisk, new: &SimulatedDisk) -> Result<(Identity, Remains), AloneError> {
    let to: Arc<dyn Disk> = Arc::new(new.clone());
    let cluster = NewCluster { name: None, address: None };
    recover_alone_on(Arc::new(old.clone()), Path::new("old"), &to, cluster, DRAWN, |_| {})
}

/// It has what the member had accepted, and is the only member of another cluster.
fn check(new: &SimulatedDisk, slots: u64, snapshot: Option<u64>) {
    let directory = open(new);
    let Identity { cluster_name, cluster_id, replica, incarnation, constants } =
        directory.identity();
    assert_eq!((cluster_name.as_str(), *cluster_id), ("old", DRAWN.cluster_id));
    assert_eq!((*replica, *incarnation), (ME, DRAWN.incarnation));
    assert_eq!(constants.first_configuration().members(), [ME]);
    assert_eq!(directory.peers().clone(), [(ME, "r2:7000".to_owned())].into());
    let known = KnownMembers { incarnations: [].into(), is_formed: true };
    assert_eq!(*directory.known_members(), known);
    let log = Log::recover(&directory, Preparation::InLine, |_| Ok::<_, io::Error>(()));
    let log = log.unwrap_or_else(|error| panic!("{error}"));
    if let Some(slot) = snapshot {
        let (handle, mut reader) = directory.snapshots().open(Slot(slot)).expect("it is there");
        assert_eq!(handle.configuration, *constants.first_configuration());
        let mut state = Vec::new();
        reader.read_to_end(&mut state).expect("sound");
        assert_eq!(state, STATE);
    }
    // Old slots are read from the disk, for those that join later.
    let begins = snapshot.unwrap_or(0);
    let behind = &entries(slots)[usize::try_from(begins).expect("few")..];
    if !behind.is_empty() {
        let range = SlotRange { first: Slot(begins + 1), last: Slot(slots) };
        assert_eq!(log.reader().read(range, 1000, 1 << 20).expect("they are there"), behind);
    }
    drop((log, directory));
    let (mut replica, given, restored) = started(new);
    assert_eq!((given.as_slice(), restored), (behind, snapshot.map(Slot)));
    let status = replica.status();
    assert_eq!((status.watermark, status.is_stopped), (Slot(slots), false));
    let mut out = Output::default();
    replica.step(synod_model::Input::Elect { canvass: true }, &mut out);
    assert!(!out.writes.is_empty(), "it stands");
}

#[test]
fn all_that_is_accepted_without_a_gap_goes_over() {
    for (slots, snapshot) in [(1, None), (40, None), (12, Some(12)), (40, Some(17))] {
        let old = member(slots, snapshot);
        let before = started(&old);
        let new = SimulatedDisk::new(2);
        let (identity, remains) = recover(&old, &new).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(identity.cluster_id, DRAWN.cluster_id);
        assert_eq!((remains.last, remains.membership), (Slot(slots), Membership::Voter));
        assert_eq!(remains.snapshot, Slot(snapshot.unwrap_or(0)));
        assert_eq!(remains.committed, Slot(slots.saturating_sub(2).max(remains.snapshot.0)));
        check(&new.lose_power(), slots, snapshot);
        // The one that is left can still be started, as what it was.
        assert_eq!(started(&old), before);
        assert_eq!(open(&old).identity().cluster_name, "old");
        assert_ne!(open(&old).identity().cluster_id, DRAWN.cluster_id);
    }
}

/// What is damaged or interrupted, wherever it is, leaves a whole directory or none, and another attempt makes one.
#[test]
fn interrupted_anywhere() {
    for snapshot in [None, Some(7)] {
        let old = member(18, snapshot);
        let make = |disk: &SimulatedDisk| recover(&old, disk);
        interrupted_at_every_operation(4, make, |disk| check(disk, 18, snapshot));
    }
}

#[test]
fn it_goes_over_nothing_and_not_below_a_running_node() {
    let old = member(3, None);
    let error = recover(&old, &member(3, None)).expect_err("there is one");
    let AloneError::Make(RestoreDirectoryError::Directory(InitError::AlreadyMade { .. })) = error
    else {
        panic!("{error}");
    };
    let _runs = open(&old);
    let new = SimulatedDisk::new(1);
    let error = recover(&old, &new).expect_err("it runs");
    assert!(matches!(error, AloneError::Open(OpenError::InUse(InUse::Held { .. }))), "{error}");
    assert!(new.files().is_empty(), "nothing is made");
}

#[test]
fn a_log_that_has_nothing_is_told() {
    let error = recover(&member(0, None), &SimulatedDisk::new(1)).expect_err("it has nothing");
    assert!(error.to_string().contains("there is nothing to recover: `synod init`"), "{error}");
}

/// The record of a later snapshot is durable, and the log is not cut behind it. To read it cuts it. What is written anew
/// begins with that snapshot, and lacks nothing.
#[test]
fn an_interrupted_cut_leaves_nothing_out() {
    let mut interrupted = 0;
    for refused in 1..20 {
        let old = member(20, Some(7));
        let base = old.files()["base"].clone();
        if !cut(&old, &entries(20), 18, 65_538, Some(refused)) || old.files()["base"] != base {
            continue;
        }
        interrupted += 1;
        let (old, new) = (old.kill(), SimulatedDisk::new(2));
        let (_, remains) = recover(&old, &new).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(remains.snapshot, Slot(18));
        check(&new.lose_power(), 20, Some(18));
    }
    assert!(interrupted > 0);
}
