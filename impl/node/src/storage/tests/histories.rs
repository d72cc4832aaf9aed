//! The core itself on a simulated disk, with snapshots: whatever a crash leaves, the replica that is
//! recovered from it equals the one that is recovered from everything that was ever written.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{
    Base, ConfigurationId, Content, Delivered, Entry, Input, Message, Opening, Order, Output,
    Position, Prefix, PrefixHash, Record, Recovery, Replica, ReplicaId, Request, Run,
    SequenceNumber, SessionId, Slot, SlotRange, SnapshotHandle,
};
use synod_wire::Value;
use synod_wire::codec;

use super::fixtures::{check, new_replica};
use crate::disk::SimulatedDisk;
use crate::start::{Committed, RestoreError, StartError, start};
use crate::storage::{
    DataDirectory, Log, NewReplica, Preparation, ReadError, SnapshotFile, SnapshotFolder,
    SnapshotWriter,
};

const ME: ReplicaId = ReplicaId(1);
const PEER: ReplicaId = ReplicaId(0);
/// What the peer coordinates under. It owns all multiples of the stride.
const STRIDE: u64 = 65_536;

/// What the cluster has agreed on, and what a peer has of it.
struct World {
    entries: Vec<Entry<Value>>,
    /// The running hash up to each slot, from 0 on.
    hashes: Vec<PrefixHash>,
    peer: DataDirectory,
}

impl World {
    fn new(entries: u64) -> Self {
        let disk = SimulatedDisk::new(1);
        let replica = NewReplica { replica: PEER, peers: [].into(), ..new_replica() };
        let peer = DataDirectory::init(Arc::new(disk), &replica).expect("an empty disk");
        let opening = Opening { origin: PEER, run: Run(1), count: 1 };
        let entries = (1..=entries).map(|slot| match slot {
            1 => Entry::Open(opening),
            slot if slot.is_multiple_of(7) => Entry::NoOp,
            slot => {
                let (session, number) = (SessionId(1), slot - slot % 3);
                let value = vec![7; usize::try_from(slot * 97 % 700).expect("small")].into();
                Entry::Request(Request { session, number, answered: number, value })
            }
        });
        let entries: Vec<_> = entries.collect();
        let mut hashes = vec![PrefixHash::default()];
        for (entry, slot) in entries.iter().zip(0..) {
            hashes.push(PrefixHash::after(hashes[slot], entry));
        }
        Self { entries, hashes, peer }
    }

    /// The entries of these slots, as many as a frame holds.
    fn entries(&self, first: u64, count: u64) -> Vec<Entry<Value>> {
        let first = usize::try_from(first - 1).expect("small").min(self.entries.len());
        let last = (first + usize::try_from(count).expect("small")).min(self.entries.len());
        let mut room = 2500;
        let entries = self.entries[first..last].iter().take_while(|entry| {
            room -= i64::try_from(entry.size_bytes()).expect("small");
            room >= 0
        });
        entries.cloned().collect()
    }

    fn hash(&self, slot: u64) -> PrefixHash {
        self.hashes[usize::try_from(slot).expect("small")]
    }

    /// The file of a peer's snapshot.
    fn snapshot(&self, slot: u64) -> (SnapshotFile, Vec<u8>) {
        let folder = self.peer.snapshots();
        if folder.file(Slot(slot)).is_none() {
            let handle = self.handle(slot);
            let mut writer = folder.create(&handle).expect("room");
            write_state(&self.state(slot), &mut writer).expect("room");
            writer.finish().expect("room");
        }
        let bytes = folder.bytes(Slot(slot)).expect("it was made");
        let mut all = vec![0; usize::try_from(bytes.file().length_bytes).expect("short")];
        bytes.read_at(0, &mut all).expect("readable");
        (bytes.file(), all)
    }

    fn handle(&self, slot: u64) -> Arc<SnapshotHandle> {
        let (constants, mut out) = (Arc::new(new_replica().constants), Output::default());
        let base = Base::new(constants.first_configuration().clone());
        let recovery = Recovery::new(constants, PEER, Run(1), Slot::ZERO, base, &mut out);
        let mut recovery = recovery.expect("an empty disk");
        let count = usize::try_from(slot).expect("small");
        let content =
            Content::Committed { first: Slot(1), entries: self.entries[..count].to_vec() };
        let record = Record { watermark: Slot(slot), hash: self.hash(slot), content };
        recovery.record(record, &mut out).expect("right");
        recovery.finish().expect("whole").snapshot_handle().expect("all is delivered")
    }

    /// The state of the application that has applied everything up to `slot`.
    fn state(&self, slot: u64) -> State {
        (1..=slot).map(Slot).zip(self.entries.iter().cloned()).collect()
    }
}

/// The application remembers everything.
type State = Vec<(Slot, Entry<Value>)>;

fn write_state(state: &State, to: &mut impl Write) -> io::Result<()> {
    codec::encode_into(state, to)
}

fn read_state(folder: &SnapshotFolder, slot: Slot) -> io::Result<State> {
    let (_, mut snapshot) = folder.open(slot)?;
    let state = codec::decode_from(&mut snapshot)?;
    assert_eq!(snapshot.check_to_end()?, 0);
    Ok(state)
}

fn apply(state: &mut State, delivered: Delivered<Value>) {
    assert_eq!(delivered.slot.0, state.len() as u64 + 1, "in order, without gaps");
    state.push((delivered.slot, delivered.entry));
}

/// A replica of three that follows, and the shell around it.
struct Node<'a> {
    world: &'a World,
    directory: DataDirectory,
    replica: Replica<Value>,
    log: Log,
    state: State,
    /// All that was ever appended, batch by batch. The last one may not have become durable.
    written: Vec<Vec<Record<Value>>>,
    /// So many of them are durable.
    durable: usize,
    position: u64,
    snapshot: Option<(Arc<SnapshotHandle>, SnapshotWriter)>,
    out: Output<Value>,
}

/// What happens to a replica.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A coordinator takes over. Its number is this much higher.
    Promise { more: u64 },
    /// Entries are accepted so far ahead of what is committed.
    Accept { ahead: u64, count: u64 },
    /// A peer serves committed entries.
    CatchUp { count: u64 },
    /// The application begins a snapshot.
    BeginSnapshot,
    /// And its file becomes durable.
    EndSnapshot,
    /// A peer's snapshot has come, which goes so much further.
    Install { more: u64 },
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (1..4_u64).prop_map(|more| Event::Promise { more }),
        6 => (1..4_u64, 1..5_u64).prop_map(|(ahead, count)| Event::Accept { ahead, count }),
        8 => (1..7_u64).prop_map(|count| Event::CatchUp { count }),
        2 => Just(Event::BeginSnapshot),
        2 => Just(Event::EndSnapshot),
        1 => (1..9_u64).prop_map(|more| Event::Install { more }),
    ]
}

/// Why a run has ended.
#[derive(Debug)]
struct Ended;

impl<'a> Node<'a> {
    /// Recovers what is on the disk. The application has `state`.
    fn start(
        world: &'a World,
        disk: &SimulatedDisk,
        run: Run,
        (mut state, mut written): (State, Vec<Vec<Record<Value>>>),
        durable: usize,
        preparation: Preparation,
    ) -> Result<Self, StartError> {
        let opened = DataDirectory::open(Arc::new(disk.clone()));
        let directory = match opened {
            Ok(directory) => directory,
            Err(crate::storage::OpenError::Disk(error)) => {
                return Err(crate::storage::RecoverError::Disk(error).into());
            }
            Err(crate::storage::OpenError::SmallFile(error)) => {
                return Err(crate::storage::RecoverError::Base(error).into());
            }
            Err(error) => panic!("{error}"),
        };
        let applied = state.last().map_or(Slot::ZERO, |(slot, _)| *slot);
        let committed = |committed| {
            match committed {
                Committed::Restore(slot) => {
                    assert!(slot.0 > state.len() as u64, "it would go back");
                    let read = read_state(directory.snapshots(), slot);
                    state = read.map_err(|cause| RestoreError { slot, cause })?;
                    assert_eq!(state, world.state(slot.0));
                }
                Committed::ToDeliver(delivered) => apply(&mut state, delivered),
                Committed::HadAlready(slot, _) => assert!(slot <= applied),
            }
            Ok(())
        };
        let started = start(&directory, preparation, run, applied, |_, _| {}, committed);
        let (replica, log) = started?;

        let survived = usize::try_from(log.batches()).expect("few");
        assert!((durable..=written.len()).contains(&survived), "{survived} of {durable}");
        written.truncate(survived);
        // Everything that was ever written, in the hands of another recovery.
        let all = recovered_from_all(world, run, applied, &written);
        assert_eq!(replica, all);
        assert_eq!(state, world.state(replica.status().delivered.0.max(applied.0)));
        let (position, snapshot, out) = (0, None, Output::default());
        let durable = written.len();
        Ok(Self {
            world,
            directory,
            replica,
            log,
            state,
            written,
            durable,
            position,
            snapshot,
            out,
        })
    }

    /// Gives an input, and does what the output says, until the disk fails.
    fn step(&mut self, input: Input<Value>) -> Result<(), Ended> {
        self.out.clear();
        self.replica.step(input, &mut self.out);
        loop {
            if let Some(slot) = self.out.restore.take() {
                self.state = read_state(self.directory.snapshots(), slot).map_err(|_| Ended)?;
                assert_eq!(self.state, self.world.state(slot.0));
            }
            for delivered in self.out.delivered.drain(..) {
                apply(&mut self.state, delivered);
            }
            let writes = std::mem::take(&mut self.out.writes);
            if writes.is_empty() {
                return Ok(());
            }
            self.written.push(writes.clone());
            let taken = self.log.append(&writes).map_err(|_| Ended)?;
            assert_eq!(taken, writes.len());
            self.durable = self.written.len();
            self.position += taken as u64;
            let through = Position(self.position);
            self.out.clear();
            self.replica.step(Input::Synced { through }, &mut self.out);
        }
    }

    fn receive(&mut self, message: Message<Value>) -> Result<(), Ended> {
        self.step(Input::Receive { from: PEER, message })
    }

    fn order(&mut self, s: u64, order: Order<Value>) -> Result<(), Ended> {
        let (configuration, s) = (ConfigurationId(1), SequenceNumber(s));
        self.receive(Message::Order { configuration, s, order })
    }

    fn event(&mut self, event: Event) -> Result<(), Ended> {
        let watermark = self.replica.status().watermark.0;
        let promised = self.replica.status().promised.0.max(STRIDE);
        match event {
            Event::Promise { more } => {
                let prefix = Prefix::default();
                self.order(promised + more * STRIDE, Order::Commit { prefix })
            }
            Event::Accept { ahead, count } => {
                let first = Slot(watermark + ahead);
                let entries = self.world.entries(first.0, count);
                let prefix = Prefix::default();
                if entries.is_empty() {
                    return Ok(());
                }
                self.order(promised, Order::Accept { first, entries, prefix })
            }
            Event::CatchUp { count } => {
                let first = Slot(watermark + 1);
                let entries = self.world.entries(first.0, count);
                let watermark = Slot(watermark + entries.len() as u64);
                let (log_starts_at, before) = (Slot(1), self.world.hash(first.0 - 1));
                if entries.is_empty() {
                    return Ok(());
                }
                let more = Message::Committed { log_starts_at, first, before, entries, watermark };
                self.receive(more)
            }
            Event::BeginSnapshot => {
                let Some(handle) = self.replica.snapshot_handle() else { return Ok(()) };
                // A snapshot that fails changes nothing. One of nothing is of no use.
                self.snapshot = None;
                if handle.slot > Slot::ZERO
                    && let Ok(mut writer) = self.directory.snapshots().create(&handle)
                    && write_state(&self.state, &mut writer).is_ok()
                {
                    self.snapshot = Some((handle, writer));
                }
                Ok(())
            }
            Event::EndSnapshot => {
                let Some((handle, writer)) = self.snapshot.take() else { return Ok(()) };
                let Ok(file) = writer.finish() else { return Ok(()) };
                assert_eq!(file, self.world.snapshot(file.slot.0).0, "equal at all replicas");
                self.step(Input::SnapshotTaken { handle })
            }
            Event::Install { more } => {
                let slot = watermark + more;
                if slot > self.world.entries.len() as u64 {
                    return Ok(());
                }
                let (file, bytes) = self.world.snapshot(slot);
                let folder = self.directory.snapshots();
                // A former run may have left a part of it.
                let resumed = folder.resume().filter(|it| it.expected() == file);
                let begun = resumed.map_or_else(|| folder.receive(file), Ok);
                let received = begun.and_then(|mut receiver| {
                    let rest = usize::try_from(receiver.received_bytes()).expect("short");
                    for piece in bytes[rest..].chunks(1000) {
                        receiver.take(receiver.received_bytes(), piece)?;
                    }
                    receiver.finish()
                });
                match received {
                    Ok((_, handle)) => self.step(Input::Install { from: PEER, handle }),
                    Err(_) => Ok(()),
                }
            }
        }
    }

    /// Checks the disk while nothing fails.
    fn check_disk(&self, disk: &SimulatedDisk) {
        let status = self.replica.status();
        let snapshots = self.directory.snapshots().files();
        let files = disk.files();
        let names = |folder: &str| files.keys().filter(|it| it.starts_with(folder)).count();
        let parts = files.keys().filter(|name| name.contains(".part")).count();
        assert!(parts <= 1, "only the newest one is kept");
        assert_eq!(names("snapshots/") - parts, snapshots.len(), "{snapshots:?}");
        assert!(!files.keys().any(|name| name.contains(".new")));
        for file in snapshots {
            let state = read_state(self.directory.snapshots(), file.slot).expect("sound");
            assert_eq!(state, self.world.state(file.slot.0));
            assert_eq!(file, self.world.snapshot(file.slot.0).0);
        }
        // One that was made before the process ended may not be used yet.
        let is_used = |(name, content): &(&String, &Vec<u8>)| {
            name.starts_with("log/") && content.iter().any(|byte| *byte != 0)
        };
        let used = files.iter().filter(is_used).count() as u64;
        assert!([0, 1].contains(&(self.log.size().segments - used)), "{:?}", self.log.size());

        let reader = self.log.reader();
        for slot in 1..=status.watermark.0 {
            let slots = SlotRange { first: Slot(slot), last: Slot(slot) };
            match reader.read(slots, 1, 1) {
                Ok(entries) => assert_eq!(entries, self.world.entries(slot, 1)),
                Err(ReadError::Gone { .. }) => assert!(Slot(slot) < status.log_starts_at),
                Err(error) => panic!("slot {slot}: {error}"),
            }
        }
    }
}

/// The replica that is recovered from all that was written, as if nothing had ever been cut.
fn recovered_from_all(
    world: &World,
    run: Run,
    applied: Slot,
    written: &[Vec<Record<Value>>],
) -> Replica<Value> {
    let constants = Arc::new(new_replica().constants);
    let (base, mut out) = (Base::new(constants.first_configuration().clone()), Output::default());
    let recovery = Recovery::new(constants, ME, run, applied, base, &mut out);
    let mut recovery = recovery.expect("an empty base").of_directory(new_replica().incarnation);
    let mut state = world.state(applied.0);
    for record in written.iter().flatten() {
        recovery.record(record.clone(), &mut out).unwrap_or_else(|error| panic!("{error}"));
        if let Some(slot) = out.restore.take() {
            state = world.state(slot.0);
        }
        out.delivered.drain(..).for_each(|it| apply(&mut state, it));
        out.clear();
    }
    let replica = recovery.finish().expect("the whole log");
    assert_eq!(state, world.state(replica.status().delivered.0.max(applied.0)));
    replica
}

/// How a run ends.
#[derive(Clone, Copy, Debug)]
struct End {
    /// After so many operations of the disk.
    operations: u64,
    /// The process stops there, or the operation fails with this error.
    error: Option<i32>,
    loses_power: bool,
    /// Whether the application has stored what it applied.
    remembers: bool,
}

fn ends() -> impl Strategy<Value = End> {
    let errors = prop_oneof![3 => Just(None), 1 => Just(Some(5)), 1 => Just(Some(28))];
    let parts = (1..120_u64, errors, any::<bool>(), any::<bool>());
    parts.prop_map(|(operations, error, loses_power, remembers)| End {
        operations,
        error,
        loses_power,
        remembers,
    })
}

/// Whatever happens, wherever it stops, again and again.
#[test]
fn what_is_left_equals_everything() {
    live_many(Preparation::InLine, 400, 7, 100);
}

/// The same, while other threads make segments and cut the log. Here the order of operations does not
/// come from the seed.
#[test]
fn what_other_threads_leave_equals_everything() {
    live_many(Preparation::InBackground, 150, 5, 30);
}

/// So many replicas live, each through less than `runs_max` runs. The log must be cut in more than `cuts_min` runs.
fn live_many(preparation: Preparation, replicas: u32, runs_max: usize, cuts_min: u32) {
    let cuts = Cell::new(0);
    let runs = vec((vec(events(), 1..60), ends()), 1..runs_max);
    let world = World::new(90);
    check(replicas, &(runs, any::<u64>()), |(runs, seed)| {
        live(&world, preparation, runs, seed, &cuts);
    });
    assert!(cuts.get() > cuts_min, "the log was cut in {} runs only", cuts.get());
}

/// A replica lives through these runs, and then everything is checked. Counts the runs whose log was cut.
fn live(
    world: &World,
    preparation: Preparation,
    runs: Vec<(Vec<Event>, End)>,
    seed: u64,
    cuts: &Cell<u32>,
) {
    let disk = SimulatedDisk::new(seed);
    let replica = NewReplica { replica: ME, peers: [].into(), ..new_replica() };
    DataDirectory::init(Arc::new(disk.clone()), &replica).expect("an empty disk");
    let mut disk = disk.kill();
    let (mut written, mut state, mut durable) = (Vec::new(), State::new(), 0);
    for ((events, end), run) in runs.into_iter().zip(1..) {
        let at = disk.operations() + end.operations;
        match end.error {
            None => disk.stop_at(at),
            Some(error) => disk.fail_at(at, error),
        }
        let had = (state.clone(), written.clone());
        match Node::start(world, &disk, Run(run), had, durable, preparation) {
            Ok(mut node) => {
                let _ = events.into_iter().try_for_each(|event| node.event(event));
                let is_cut = node.replica.status().log_starts_at > Slot(1);
                cuts.set(cuts.get() + u32::from(is_cut));
                (written, durable) = (node.written, node.durable);
                state = if end.remembers { node.state } else { State::new() };
            }
            Err(StartError::Base(error)) => panic!("{error}"),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("simulated") || text.contains("os error"), "{text}");
            }
        }
        disk = if end.loses_power { disk.lose_power() } else { disk.kill() };
    }
    // Nothing fails any more.
    let start = |disk: &SimulatedDisk, run, had, durable| {
        let started = Node::start(world, disk, Run(run), had, durable, Preparation::InLine);
        started.unwrap_or_else(|error| panic!("{error}"))
    };
    let mut node = start(&disk, 99, (state, written), durable);
    node.check_disk(&disk);
    for event in [Event::CatchUp { count: 6 }, Event::BeginSnapshot, Event::EndSnapshot] {
        node.event(event).expect("nothing fails");
    }
    node.check_disk(&disk);
    for _ in 0..90 {
        node.event(Event::CatchUp { count: 8 }).expect("nothing fails");
    }
    assert_eq!(node.state, world.state(90));
    node.check_disk(&disk);
    let Node { state, written, .. } = node;
    let (disk, durable) = (disk.lose_power(), written.len());
    start(&disk, 100, (state, written), durable).check_disk(&disk);
}
