//! The core itself on a simulated disk: what it has delivered, it delivers again after a restart.

use std::sync::Arc;

use proptest::prelude::*;
use synod_model::{
    Base, ClusterConstants, Configuration, ConfigurationId, Entry, Input, Opening, Output,
    Position, Record, Recovery, Replica, ReplicaId, Request, RoleName, Run, SessionId, Slot,
    SlotRange,
};
use synod_wire::Value;

use super::fixtures::{check, new_replica};
use crate::disk::SimulatedDisk;
use crate::storage::{DataDirectory, Log, NewReplica, Preparation};

const ME: ReplicaId = ReplicaId(1);

/// The only replica of its cluster, with the shell around it.
struct Node {
    constants: Arc<ClusterConstants>,
    replica: Replica<Value>,
    log: Log,
    written: u64,
    out: Output<Value>,
    delivered: Vec<(Slot, Entry<Value>)>,
}

impl Node {
    /// Recovers, with an application that has nothing.
    fn start(disk: &SimulatedDisk, run: u64) -> Self {
        let directory = DataDirectory::open(Arc::new(disk.clone())).expect("a data directory");
        let constants = Arc::new(directory.identity().constants.clone());
        let base = Base::new(constants.first_configuration().clone());
        let mut out = Output::default();
        let recovery =
            Recovery::new(Arc::clone(&constants), ME, Run(run), Slot::ZERO, base, &mut out);
        let mut recovery = recovery.expect("an empty base");
        let log = Log::recover(&directory, Preparation::InLine, |record| {
            recovery.record(record, &mut out)
        });
        let log = log.unwrap_or_else(|error| panic!("{error}"));
        let replica = recovery.finish().expect("a whole log");
        let mut node = Self { constants, replica, log, written: 0, out, delivered: Vec::new() };
        node.deliver();
        node
    }

    /// Gives an input, and does what the output says, until the disk fails.
    fn step(&mut self, input: Input<Value>) -> Option<()> {
        self.replica.step(input, &mut self.out);
        loop {
            self.deliver();
            let mut writes: &[Record<Value>] = &std::mem::take(&mut self.out.writes);
            if writes.is_empty() {
                return Some(());
            }
            while !writes.is_empty() {
                let taken = self.log.append(writes).ok()?;
                self.written += taken as u64;
                writes = &writes[taken..];
            }
            let through = Position(self.written);
            self.replica.step(Input::Synced { through }, &mut self.out);
        }
    }

    fn deliver(&mut self) {
        for delivered in self.out.delivered.drain(..) {
            assert_eq!(delivered.slot.0, self.delivered.len() as u64 + 1);
            self.delivered.push((delivered.slot, delivered.entry));
        }
        let writes = std::mem::take(&mut self.out.writes);
        self.out.clear();
        self.out.writes = writes;
    }

    /// Stands, opens a session and fills slots with it, until the disk fails.
    fn work(&mut self, run: u64, requests: u64) -> Option<()> {
        self.step(Input::Elect { canvass: false })?;
        assert!(matches!(self.replica.status().role, RoleName::Coordinator { .. }));
        let open = Entry::Open(Opening { origin: ME, run: Run(run), count: 1 });
        self.step(Input::Submit(vec![open]))?;
        let session = SessionId(self.delivered.last().expect("the opening").0.0);
        for number in 1..=requests {
            let value = Value::from(vec![7; usize::try_from(number * 97 % 900).ok()?]);
            self.step(Input::Submit(vec![Entry::Request(Request {
                session,
                number,
                answered: number,
                value,
            })]))?;
        }
        Some(())
    }
}

fn new_disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    let first = Configuration::new(ConfigurationId(1), vec![ME]).expect("one member");
    let limits = new_replica().constants.limits().clone();
    let constants = ClusterConstants::new(65_536, first, limits).expect("a cluster");
    let replica = NewReplica { constants, peers: [].into(), ..new_replica() };
    DataDirectory::init(Arc::new(disk.clone()), &replica).expect("an empty disk");
    disk.kill()
}

/// Over any number of restarts, wherever the machine stops. Each slot reads from the log as it was
/// delivered.
#[test]
fn what_was_delivered_is_delivered_again() {
    check(150, &(proptest::collection::vec(20..160_u64, 1..5), any::<u64>()), |(stops, seed)| {
        let mut disk = new_disk(seed);
        let mut delivered: Vec<(Slot, Entry<Value>)> = Vec::new();
        for (stop, run) in stops.iter().zip(1..) {
            let mut node = Node::start(&disk, run);
            // The record that the last entries are committed may not have been written. They are
            // delivered again once that is known again.
            assert!(delivered.starts_with(&node.delivered));
            assert_eq!(*node.constants.first_configuration().members(), [ME]);
            disk.stop_at(disk.operations() + stop);
            let reader = node.log.reader();
            let has_worked = node.work(run, 20).is_some();
            let both = delivered.len().min(node.delivered.len());
            assert_eq!(node.delivered[..both], delivered[..both]);
            if has_worked {
                assert!(both == delivered.len());
                for (slot, entry) in &node.delivered {
                    let slots = SlotRange { first: *slot, last: *slot };
                    assert_eq!(
                        reader.read(slots, 1, 1).expect("a slot"),
                        std::slice::from_ref(entry)
                    );
                }
            }
            if node.delivered.len() > both {
                delivered = node.delivered;
            }
            disk = disk.lose_power();
        }
        let mut node = Node::start(&disk, 99);
        node.work(99, 1).expect("nothing fails");
        assert!(node.delivered.starts_with(&delivered));
    });
}
