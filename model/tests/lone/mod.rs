//! A replica that is alone: it is made from a survivor's records as a shell does that, and runs without peers.

#![allow(dead_code, reason = "each test crate uses its part of this")]

use std::collections::BTreeMap;
use std::sync::Arc;

use synod_model::{
    Base, ClientAnswer, ClusterConstants, CommittedLog, Configuration, Content, Delivered, Entry,
    Incarnation, Input, Limits, NotAlone, Output, Position, Record, RecordError, Recovery, Replica,
    ReplicaId, RoleName, Run, Slot, SnapshotHandle, SubmissionId, Survivor,
};

pub(crate) type V = Arc<[u8]>;

/// The distance between two numbers of one replica, in clusters that no test gives another one.
const STRIDE: u64 = 16;

/// A replica that has been made, or recovered, with what it gave to its application.
pub(crate) struct Alone {
    pub(crate) replica: Replica<V>,
    /// What its application was given.
    pub(crate) delivered: Vec<Delivered<V>>,
    /// The snapshot that its application was given.
    pub(crate) restored: Option<Slot>,
    /// The submissions that were known already, and where they were delivered first.
    pub(crate) done: BTreeMap<SubmissionId, Slot>,
    written: u64,
}

impl Alone {
    /// All entries that its application was given one by one.
    pub(crate) fn log(&self) -> Vec<Entry<V>> {
        self.delivered.iter().map(|it| it.entry.clone()).collect()
    }

    /// It elects itself.
    pub(crate) fn elect(&mut self) {
        self.step(Input::Elect { canvass: true });
        assert!(matches!(self.replica.status().role, RoleName::Coordinator { .. }));
    }

    /// Submits an entry, which it then has committed or knew already. A change has it stand again.
    pub(crate) fn submit(&mut self, entry: Entry<V>) {
        self.step(Input::Submit(vec![entry]));
    }

    /// One input. What is written is durable at once, and what is delivered is applied at once.
    fn step(&mut self, input: Input<V>) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut out = Output::default();
            self.replica.step(input, &mut out);
            self.take(&mut out);
            if !out.writes.is_empty() {
                self.written += out.writes.len() as u64;
                inputs.push(Input::Synced { through: Position(self.written) });
            }
            let through = self.replica.status().watermark;
            if !out.delivered.is_empty() || self.replica.status().applied < through {
                inputs.push(Input::Applied { through });
            }
        }
    }

    fn take(&mut self, out: &mut Output<V>) {
        self.restored = out.restore.take().or(self.restored);
        self.delivered.append(&mut out.delivered.clone());
        for answer in out.answers.drain(..) {
            if let ClientAnswer::Done { submission, slot } = answer {
                self.done.insert(submission, slot);
            }
        }
    }
}

/// Reads these records.
pub(crate) fn read(
    constants: &Arc<ClusterConstants>,
    base: &Base<V>,
    me: ReplicaId,
    records: &[Record<V>],
) -> Result<(Recovery<V>, Output<V>), RecordError> {
    let (mut out, run) = (Output::default(), Run(9));
    let constants = Arc::clone(constants);
    let recovery = Recovery::new(constants, me, run, Slot::ZERO, base.clone(), &mut out)?;
    let mut recovery = recovery.of_directory(Incarnation::first_of(me));
    for record in records {
        recovery.record(record.clone(), &mut out)?;
    }
    Ok((recovery, out))
}

fn constants(members: &Configuration) -> Arc<ClusterConstants> {
    let constants = ClusterConstants::new(STRIDE, members.clone(), Limits::default());
    Arc::new(constants.expect("right constants"))
}

/// Replica `me` of a cluster that begins with `members`, which has these records.
pub(crate) fn recovered(members: &Configuration, me: u16, records: &[Record<V>]) -> Alone {
    let base = Base::new(members.clone());
    of(read(&constants(members), &base, ReplicaId(me), records).expect("possible records"))
}

fn of((recovery, mut out): (Recovery<V>, Output<V>)) -> Alone {
    let replica = recovery.finish().expect("a whole log");
    let (delivered, restored, done) = (Vec::new(), None, BTreeMap::new());
    let mut alone = Alone { replica, delivered, restored, done, written: 0 };
    alone.take(&mut out);
    let through = alone.replica.status().watermark;
    alone.step(Input::Applied { through });
    alone
}

/// The handle of everything that it has.
pub(crate) fn handle(of: &Alone) -> Arc<SnapshotHandle> {
    of.replica.snapshot_handle().expect("the application has no more than the log")
}

/// What is left of that cluster when only the disk of replica `me` is left.
pub(crate) fn survivor(
    members: &Configuration,
    me: u16,
    records: &[Record<V>],
) -> Result<Survivor<V>, NotAlone> {
    let base = Base::new(members.clone());
    let (recovery, _) = read(&constants(members), &base, ReplicaId(me), records)?;
    Survivor::of(recovery)
}

/// The replica that goes on alone with that.
pub(crate) fn alone(members: &Configuration, me: u16, records: &[Record<V>]) -> Alone {
    let base = Base::new(members.clone());
    alone_of(&constants(members), &base, ReplicaId(me), records).expect("it may").1
}

/// What is left on a disk, and the replica that goes on alone with it.
pub(crate) fn alone_of(
    constants: &Arc<ClusterConstants>,
    base: &Base<V>,
    me: ReplicaId,
    records: &[Record<V>],
) -> Result<(Survivor<V>, Alone), NotAlone> {
    // The log is read twice: before anything is made, it is known what the new configuration is.
    let survivor = Survivor::of(read(constants, base, me, records)?.0)?;
    let newest = records.iter().rev().find_map(|record| match &record.content {
        Content::Snapshot { handle, .. } => Some(Arc::clone(handle)),
        _ => None,
    });
    let old = newest.unwrap_or_else(|| Arc::clone(&base.snapshot));
    let (_, out) = read(constants, base, me, records)?;
    let kept = out.delivered.into_iter().filter(|it| it.slot > old.slot).map(|it| it.entry);
    let entries: Vec<_> = kept.chain(survivor.adopted.iter().cloned()).collect();
    let limits = survivor.constants.limits();

    let mut new = Base::new(survivor.constants.first_configuration().clone());
    let mut first = None;
    if old.slot > Slot::ZERO {
        let handle = SnapshotHandle::clone(&old).restored(&survivor.constants);
        first = Some(Arc::new(handle.expect("the same limits")).first_record());
    } else {
        // In a test, a log may begin with an open session.
        Arc::make_mut(&mut new.snapshot).table = Arc::clone(&old.table);
    }
    let records: Vec<_> = first.into_iter().chain(laid_out(&old, &entries, limits)).collect();
    let last = records.last().map(|it| (it.watermark, it.hash));
    assert_eq!(last, Some((survivor.last(), survivor.hash)));
    let read = read(&Arc::new(survivor.constants.clone()), &new, me, &records);
    Ok((survivor, of(read.expect("possible records"))))
}

/// The records of a log that begins with `start` and these entries.
pub(crate) fn laid_out(
    start: &SnapshotHandle,
    entries: &[Entry<V>],
    limits: &Limits,
) -> Vec<Record<V>> {
    let mut log = CommittedLog::after(start.slot, start.hash(), limits);
    let full: Vec<_> = entries.iter().filter_map(|entry| log.push(entry.clone())).collect();
    full.into_iter().chain(log.finish()).collect()
}
