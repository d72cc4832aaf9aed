//! A whole cluster in one thread: the node's own shell and log, on simulated disks, a simulated network
//! and simulated time.
//!
//! One seed determines everything: when messages arrive and which are lost, how long a sync takes,
//! what a crash leaves of it, and which replica a client asks. So a run can be repeated, and a seed that
//! fails fails again. The end of a run checks what users are promised. All replicas have delivered the
//! same. Every value that was acknowledged is there once, in the slot that was told. Every response that
//! a client was told is the one that its command has when the log is applied to a state machine that
//! never crashed. Nothing is there that nobody submitted.

mod chain;
mod clients;
mod hangs;
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use synod_model::{
    ClusterConstants, Configuration, ConfigurationId, Delivered, Incarnation, Limits, Message,
    Position, Record, ReplicaId, Run, Serve, Slot, To,
};
use synod_wire::Value;
use synod_wire::api::{Applied, SubmitError};

use chain::Chain;
use clients::{Client, ClientRequest};
use hangs::{Speed, ToApply};

use crate::disk::SimulatedDisk;
use crate::node::machine;
use crate::shell::detector::Timing;
use crate::shell::{HangNews, Shell, ShellEvent};
use crate::start::{Committed, restore, start};
use crate::state_machine::Responder;
use crate::storage::{DataDirectory, Log, LogLimits, LogReader, NewReplica, Preparation};

/// Something that will happen, at a time.
#[derive(Debug)]
enum Happening {
    /// A message arrives.
    Message { from: usize, to: usize, message: Box<Message<Value>> },
    /// The connection between two replicas is made anew, after it has lost a message or one of them has
    /// started. Each of them is told.
    Reconnected { one: usize, other: usize },
    /// A replica serves a peer what it was last to serve.
    Serve { at: usize, run: u64, serve: Serve },
    /// What a replica has served to a peer has left.
    Served { at: usize, run: u64, peer: ReplicaId },
    /// What run `run` of a replica last gave to the disk is durable.
    Synced { at: usize, run: u64, through: Position },
    /// The shell of a replica must be flushed.
    Alarm { at: usize, run: u64 },
    /// A client submits its request of this number, for the first time or again.
    Submit { client: usize, number: u64 },
    /// A replica stops, or its machine does.
    Crash { at: usize },
    /// It starts again.
    Restart { at: usize },
}

/// A replica with its disk.
struct SimulatedReplica {
    disk: SimulatedDisk,
    running: Option<Running>,
    runs: u64,
    /// What the application of this run has got.
    delivered: Vec<Delivered<Value>>,
    /// How fast its disk and its application are.
    speed: Speed,
    /// What its log would say of a disk or an application that hangs, and when.
    hang_news: Vec<(Duration, HangNews)>,
}

struct Running {
    shell: Shell<ClientRequest, ()>,
    machine: Responder<Chain>,
    log: Log,
    reader: LogReader,
    /// What the core has written and the disk has not.
    writes: VecDeque<Record<Value>>,
    position: u64,
    is_syncing: bool,
    /// What waits for the machine, while it hangs.
    to_apply: ToApply,
}

/// A cluster, with its clients and everything around it.
struct Simulation {
    rng: Rng,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    scheduled: u64,
    replicas: Vec<SimulatedReplica>,
    clients: Vec<Client>,
    /// Crashes and losses end at this time.
    trouble_until: Duration,
    digest: DefaultHasher,
    crashes: u64,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id(at: usize) -> ReplicaId {
    ReplicaId(u16::try_from(at).expect("few replicas"))
}

impl Simulation {
    fn new(seed: u64, replicas: u16, clients: usize, trouble_until: Duration) -> Self {
        let mut rng = Rng::with_seed(seed);
        let members: Vec<_> = (0..replicas).map(ReplicaId).collect();
        let configuration = Configuration::new(ConfigurationId(1), members.clone());
        let configuration = configuration.expect("the members differ");
        // Small, so that replicas fall behind what is in memory, and segments fill up.
        let limits = Limits {
            accepted_slots_max: 16,
            open_slots_max: 8,
            frame_bytes_max: 4096,
            value_bytes_max: 4096,
            unsynced_bytes_max: 8192,
            ..Limits::default()
        };
        let constants =
            ClusterConstants::new(1 << 16, configuration, limits).expect("the limits let through");
        let replicas = members.iter().map(|&replica| {
            let disk = SimulatedDisk::new(rng.u64(..));
            let new = NewReplica {
                cluster_name: "simulated".to_owned(),
                constants: constants.clone(),
                replica,
                incarnation: Incarnation(rng.u128(..)),
                log: LogLimits { segment_bytes: 256 << 10, batch_bytes_max: 96 << 10 },
                peers: BTreeMap::new(),
            };
            drop(DataDirectory::init(Arc::new(disk.clone()), &new).expect("an empty disk"));
            SimulatedReplica {
                disk: disk.kill(),
                running: None,
                runs: 0,
                delivered: Vec::new(),
                speed: Speed::default(),
                hang_news: Vec::new(),
            }
        });
        let replicas: Vec<_> = replicas.collect();
        let mut simulation = Self {
            rng,
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            scheduled: 0,
            replicas,
            clients: (0..clients).map(|_| Client::default()).collect(),
            trouble_until,
            digest: DefaultHasher::new(),
            crashes: 0,
        };
        for at in 0..simulation.replicas.len() {
            simulation.restart(at);
            let crash = simulation.rng.u64(100..2_000);
            simulation.after(ms(crash), Happening::Crash { at });
        }
        for client in 0..clients {
            simulation.after(ms(1), Happening::Submit { client, number: 0 });
        }
        simulation
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now + delay, self.scheduled)));
        self.happenings.insert(self.scheduled, happening);
    }

    fn is_troubled(&self) -> bool {
        self.now < self.trouble_until
    }

    /// Runs until `until`. Returns a digest of everything that has happened.
    fn run(&mut self, until: Duration) -> u64 {
        while let Some(&Reverse((at, id))) = self.queue.peek()
            && at <= until
        {
            self.queue.pop();
            self.now = at;
            let Some(happening) = self.happenings.remove(&id) else {
                continue;
            };
            (at, format!("{happening:?}")).hash(&mut self.digest);
            self.happen(happening);
        }
        self.now = until;
        self.digest.finish()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Message { from, to, message } => {
                self.give(to, ShellEvent::Peer(id(from), *message));
            }
            Happening::Reconnected { one, other } => {
                for (at, peer) in [(one, other), (other, one)] {
                    self.give(at, ShellEvent::NotServed(id(peer)));
                    self.give(at, ShellEvent::Reconnected(id(peer)));
                }
            }
            Happening::Serve { at, run, serve } => self.serve(at, run, &serve),
            Happening::Served { at, run, peer } => {
                if self.running(at, run).is_some() {
                    self.give(at, ShellEvent::Served(peer));
                }
            }
            Happening::Synced { at, run, through } => {
                if self.replicas[at].speed.disk_hangs {
                    self.after(ms(10), Happening::Synced { at, run, through });
                } else if let Some(running) = self.running(at, run) {
                    running.is_syncing = false;
                    self.give(at, ShellEvent::Synced(through));
                }
            }
            Happening::Alarm { at, run } => {
                if self.running(at, run).is_some() {
                    self.act(at);
                    self.schedule_alarm(at);
                }
            }
            Happening::Submit { client, number } => self.submit(client, number),
            Happening::Crash { at } => self.crash(at),
            Happening::Restart { at } => self.restart(at),
        }
    }

    fn running(&mut self, at: usize, run: u64) -> Option<&mut Running> {
        let replica = &mut self.replicas[at];
        if replica.runs == run { replica.running.as_mut() } else { None }
    }

    fn schedule_alarm(&mut self, at: usize) {
        let now = self.now;
        if let Some(running) = &self.replicas[at].running {
            let delay = running.shell.next_alarm().saturating_sub(now);
            let run = self.replicas[at].runs;
            self.after(delay, Happening::Alarm { at, run });
        }
    }

    /// Gives an event to a replica, if it runs.
    fn give(&mut self, at: usize, event: ShellEvent<ClientRequest, ()>) {
        let now = self.now;
        if let Some(running) = &mut self.replicas[at].running {
            running.shell.handle(event, now);
            self.act(at);
        }
    }

    /// Does what the shell of a replica says.
    fn act(&mut self, at: usize) {
        loop {
            let now = self.now;
            let replica = &mut self.replicas[at];
            let Some(running) = &mut replica.running else {
                return;
            };
            running.shell.flush(now);
            let effects = running.shell.effects();
            let messages = std::mem::take(&mut effects.out.messages);
            let serve = std::mem::take(&mut effects.out.serve);
            let delivered = std::mem::take(&mut effects.out.delivered);
            effects.failed.clear();
            replica.hang_news.extend(effects.hang_news.drain(..).map(|news| (now, news)));
            let on_delivery = std::mem::take(&mut effects.on_delivery);
            assert!(effects.out.contradictions.is_empty(), "nobody lies here");
            running.writes.extend(effects.out.writes.drain(..));
            effects.out.clear();
            let mut answered = Vec::new();
            let answer = |asked, outcome| answered.push((asked, outcome));
            let ToApply { delivered, answers } =
                running.to_apply.add(delivered, on_delivery, &replica.speed);
            let applied = machine::apply(&mut running.machine, &delivered, answers, answer);
            replica.delivered.extend(delivered);

            for message in messages {
                match message.to {
                    To::One(to) => self.send(at, usize::from(to.0), &message.message),
                    To::Others => {
                        for to in (0..self.replicas.len()).filter(|to| *to != at) {
                            self.send(at, to, &message.message);
                        }
                    }
                }
            }
            let run = self.replicas[at].runs;
            for serve in serve {
                self.after(ms(1), Happening::Serve { at, run, serve });
            }
            for (asked, outcome) in answered {
                self.answer(asked, outcome);
            }
            self.write(at);
            let Some(slot) = applied.expect("it does not panic") else {
                return;
            };
            if let Some(running) = &mut self.replicas[at].running {
                running.shell.handle(ShellEvent::Applied(slot), now);
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: &Message<Value>) {
        if self.is_troubled() && self.rng.u8(..) < 12 {
            self.after(ms(20), Happening::Reconnected { one: from, other: to });
            return;
        }
        if let Message::Committed { .. } = message {
            let (run, peer) = (self.replicas[from].runs, id(to));
            self.after(ms(4), Happening::Served { at: from, run, peer });
        }
        let copies = if self.is_troubled() && self.rng.u8(..) < 12 { 2 } else { 1 };
        for _ in 0..copies {
            let delay = Duration::from_micros(self.rng.u64(20..3_000));
            let message = Box::new(message.clone());
            self.after(delay, Happening::Message { from, to, message });
        }
    }

    fn serve(&mut self, at: usize, run: u64, serve: &Serve) {
        let Some(running) = self.running(at, run) else {
            return;
        };
        let entries = running.reader.read(serve.reads(), 4, 1 << 20).expect("it is durable");
        let to = serve.to;
        let (message, rest) = serve.clone().take(entries);
        if let Some(serve) = rest {
            self.after(ms(4), Happening::Serve { at, run, serve });
        }
        if let Some(message) = message {
            self.send(at, usize::from(to.0), &message);
        }
    }

    /// Writes what waits, if the disk is idle. A replica whose disk fails stops.
    fn write(&mut self, at: usize) {
        let run = self.replicas[at].runs;
        let Some(running) = self.replicas[at].running.as_mut() else {
            return;
        };
        if running.is_syncing || running.writes.is_empty() {
            return;
        }
        match running.log.append(running.writes.make_contiguous()) {
            Ok(taken) => {
                running.writes.drain(..taken);
                running.position += taken as u64;
                running.is_syncing = true;
                let through = Position(running.position);
                let delay = self.replicas[at].speed.sync_takes(&mut self.rng);
                self.after(delay, Happening::Synced { at, run, through });
            }
            Err(_) => self.end(at),
        }
    }

    /// Begins a crash: at once, or in the middle of the next write.
    fn crash(&mut self, at: usize) {
        if !self.is_troubled() {
            return;
        }
        let next = self.rng.u64(50..1_500);
        self.after(ms(next), Happening::Crash { at });
        if self.replicas[at].running.is_none() {
            return;
        }
        if self.rng.bool() {
            let disk = &self.replicas[at].disk;
            disk.stop_at(disk.operations() + 1 + self.rng.u64(..2));
        } else {
            self.end(at);
        }
    }

    fn end(&mut self, at: usize) {
        self.crashes += 1;
        let loses_power = self.rng.bool();
        let replica = &mut self.replicas[at];
        replica.running = None;
        replica.disk = if loses_power { replica.disk.lose_power() } else { replica.disk.kill() };
        let delay = self.rng.u64(1..400);
        self.after(ms(delay), Happening::Restart { at });
    }

    fn restart(&mut self, at: usize) {
        let now = self.now;
        let rng = self.rng.fork();
        let replica = &mut self.replicas[at];
        replica.runs += 1;
        replica.delivered.clear();
        let directory = DataDirectory::open(Arc::new(replica.disk.clone())).expect("it was made");
        let delivered = &mut replica.delivered;
        let mut machine = Responder::new(Chain::default());
        let (run, first) = (Run(replica.runs), Slot::ZERO);
        let committed = |committed| {
            match committed {
                Committed::Restore(slot) => {
                    restore(&mut machine, directory.snapshots(), slot)?;
                }
                Committed::ToDeliver(it) => {
                    machine.apply(&it);
                    delivered.push(it);
                }
                Committed::HadAlready(slot, _) => {
                    panic!("slot {slot}: the application forgets all")
                }
            }
            Ok(())
        };
        let started = start(&directory, Preparation::InLine, run, first, |_, _| {}, committed);
        let (recovered, log) = started.expect("no disk here rots");
        let reader = log.reader();
        let mut shell = Shell::new(recovered, Timing::default(), rng, now);
        if let Some(last) = replica.delivered.last() {
            shell.handle(ShellEvent::Applied(last.slot), now);
        }
        let writes = VecDeque::new();
        let (position, is_syncing, to_apply) = (0, false, ToApply::default());
        replica.running =
            Some(Running { shell, machine, log, reader, writes, position, is_syncing, to_apply });
        self.schedule_alarm(at);
        for other in (0..self.replicas.len()).filter(|other| *other != at) {
            self.after(ms(5), Happening::Reconnected { one: at, other });
        }
    }

    /// A client submits its request to any replica, and again elsewhere until it is answered.
    fn submit(&mut self, client: usize, number: u64) {
        let it = &self.clients[client];
        if it.number != number {
            return;
        }
        let at = self.rng.usize(..self.replicas.len());
        let submission = it.submission(client);
        self.after(ms(150), Happening::Submit { client, number });
        self.give(at, ShellEvent::Submit(submission, (client, number)));
    }

    /// A client is answered, and submits its next request at once.
    fn answer(&mut self, (client, number): ClientRequest, outcome: Result<Applied, SubmitError>) {
        if self.clients[client].answer(number, outcome) {
            let number = number + 1;
            self.after(Duration::ZERO, Happening::Submit { client, number });
        }
    }
}
