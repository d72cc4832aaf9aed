//! A whole cluster in one thread: the node's own shell and log, on simulated disks, a simulated
//! network and simulated time.
//!
//! Everything that happens is drawn from one seed: when messages arrive and which are lost, how long
//! a sync takes, what a crash leaves of it, who is asked to submit what. So a run can be repeated,
//! and a seed that fails fails again. What is checked at the end is what users are promised: every
//! replica has delivered the same, every value that was acknowledged is there once, in the slot that
//! was told, and nothing is there that nobody submitted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use synod_model::{
    ClusterConstants, Configuration, ConfigurationId, Delivered, Entry, Limits, Message, Position,
    Record, ReplicaId, Request, RoleName, Run, Serve, SessionId, Slot, To, Verdict,
};
use synod_wire::Incarnation;
use synod_wire::Value;
use synod_wire::api::SubmitError;

use crate::disk::SimulatedDisk;
use crate::shell::detector::Timing;
use crate::shell::start::{Committed, start};
use crate::shell::waiting::Waiter;
use crate::shell::{Event, Shell, Submission};
use crate::storage::{DataDirectory, Log, LogLimits, LogReader, NewReplica, Preparation};

/// What is still going to happen, and when.
#[derive(Debug)]
enum Happening {
    /// A message arrives.
    Message { from: usize, to: usize, message: Box<Message<Value>> },
    /// What run `run` of a replica gave to the disk last is durable.
    Synced { at: usize, run: u64, through: Position },
    /// Time has come for something.
    Alarm { at: usize, run: u64 },
    /// A client submits its request of this number, or submits it again.
    Submit { client: usize, number: u64 },
    /// A replica ends, or its machine does.
    Crash { at: usize },
    /// It starts again.
    Restart { at: usize },
}

/// A replica with its disk.
struct Node {
    disk: SimulatedDisk,
    running: Option<Running>,
    runs: u64,
    /// What this run's application was given.
    delivered: Vec<Delivered<Value>>,
}

struct Running {
    shell: Shell<Asked, ()>,
    log: Log,
    reader: LogReader,
    /// Written by the core, and not yet by the disk.
    writes: VecDeque<Record<Value>>,
    position: u64,
    is_syncing: bool,
}

/// Who asked, and the number of the request; 0 for the opening of a session.
type Asked = (usize, u64);

/// Nobody gives up waiting here: a client asks again instead, and takes whatever answer comes first.
impl Waiter for Asked {
    fn is_gone(&self) -> bool {
        false
    }
}

impl Waiter for () {
    fn is_gone(&self) -> bool {
        false
    }
}

/// A client that submits one request after another, each until it is told a slot.
#[derive(Default)]
struct Client {
    session: Option<SessionId>,
    number: u64,
    /// What was acknowledged: each request and its slot.
    acknowledged: BTreeMap<u64, Slot>,
}

/// A cluster, its world and its clients.
struct Simulation {
    rng: Rng,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    scheduled: u64,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    /// Until when there are crashes and losses. After that, peace.
    trouble_until: Duration,
    digest: DefaultHasher,
    crashes: u64,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Simulation {
    fn new(seed: u64, replicas: u16, clients: usize, trouble_until: Duration) -> Self {
        let mut rng = Rng::with_seed(seed);
        let members: Vec<_> = (0..replicas).map(ReplicaId).collect();
        let configuration = Configuration::new(ConfigurationId(1), members.clone());
        let configuration = configuration.expect("the members differ");
        // Small, so that the tail is left behind and segments are filled.
        let limits = Limits {
            accepted_slots_max: 16,
            open_slots_max: 8,
            frame_bytes_max: 4096,
            value_bytes_max: 4096,
            ..Limits::default()
        };
        let cluster =
            ClusterConstants::new(1 << 16, configuration, limits).expect("the limits let through");
        let nodes = members.iter().map(|&replica| {
            let disk = SimulatedDisk::new(rng.u64(..));
            let new = NewReplica {
                cluster_name: "simulated".to_owned(),
                cluster: cluster.clone(),
                replica,
                incarnation: Incarnation(rng.u128(..)),
                log: LogLimits { segment_bytes: 256 << 10, batch_bytes_max: 64 << 10 },
                peers: BTreeMap::new(),
            };
            drop(DataDirectory::init(Arc::new(disk.clone()), &new).expect("an empty disk"));
            Node { disk: disk.kill(), running: None, runs: 0, delivered: Vec::new() }
        });
        let nodes: Vec<_> = nodes.collect();
        let mut simulation = Self {
            rng,
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            scheduled: 0,
            nodes,
            clients: (0..clients).map(|_| Client::default()).collect(),
            trouble_until,
            digest: DefaultHasher::new(),
            crashes: 0,
        };
        for at in 0..simulation.nodes.len() {
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

    /// Runs until `until`; returns the digest of everything that has happened.
    fn run(&mut self, until: Duration) -> u64 {
        while let Some(Reverse((at, id))) = self.queue.pop() {
            if at > until {
                break;
            }
            self.now = at;
            let Some(happening) = self.happenings.remove(&id) else {
                continue;
            };
            (at, format!("{happening:?}")).hash(&mut self.digest);
            self.happen(happening);
        }
        self.digest.finish()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Message { from, to, message } => {
                let from = ReplicaId(u16::try_from(from).expect("few replicas"));
                self.tell(to, Event::Peer(from, *message));
            }
            Happening::Synced { at, run, through } => {
                if let Some(running) = self.running(at, run) {
                    running.is_syncing = false;
                    self.tell(at, Event::Synced(through));
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
        let node = &mut self.nodes[at];
        if node.runs == run { node.running.as_mut() } else { None }
    }

    fn schedule_alarm(&mut self, at: usize) {
        let now = self.now;
        if let Some(running) = &self.nodes[at].running {
            let delay = running.shell.next_alarm().saturating_sub(now);
            let run = self.nodes[at].runs;
            self.after(delay, Happening::Alarm { at, run });
        }
    }

    /// Tells a replica of an event, if it runs.
    fn tell(&mut self, at: usize, event: Event<Asked, ()>) {
        let now = self.now;
        if let Some(running) = &mut self.nodes[at].running {
            running.shell.handle(event, now);
            self.act(at);
        }
    }

    /// Does what the shell of a replica wants done.
    fn act(&mut self, at: usize) {
        loop {
            let now = self.now;
            let node = &mut self.nodes[at];
            let Some(running) = &mut node.running else {
                return;
            };
            running.shell.flush(now);
            let effects = running.shell.effects();
            let messages = std::mem::take(&mut effects.out.messages);
            let serve = std::mem::take(&mut effects.out.serve);
            let delivered = std::mem::take(&mut effects.out.delivered);
            let answered = std::mem::take(&mut effects.submitted);
            let on_delivery = std::mem::take(&mut effects.on_delivery);
            assert!(effects.out.contradictions.is_empty(), "nobody lies here");
            running.writes.extend(effects.out.writes.drain(..));
            effects.out.clear();
            let applied = delivered.last().map(|it| it.slot);
            node.delivered.extend(delivered);

            for message in messages {
                match message.to {
                    To::One(to) => self.send(at, usize::from(to.0), &message.message),
                    To::Others => {
                        for to in (0..self.nodes.len()).filter(|to| *to != at) {
                            self.send(at, to, &message.message);
                        }
                    }
                }
            }
            for serve in serve {
                self.serve(at, &serve);
            }
            for (asked, outcome) in answered {
                self.answer(asked, outcome);
            }
            for (_, asked, outcome) in on_delivery {
                self.answer(asked, outcome);
            }
            self.write(at);
            let Some(slot) = applied else {
                return;
            };
            if let Some(running) = &mut self.nodes[at].running {
                running.shell.handle(Event::Applied(slot), now);
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: &Message<Value>) {
        if self.is_troubled() && self.rng.u8(..) < 12 {
            return;
        }
        let copies = if self.is_troubled() && self.rng.u8(..) < 12 { 2 } else { 1 };
        for _ in 0..copies {
            let delay = Duration::from_micros(self.rng.u64(20..3_000));
            let message = Box::new(message.clone());
            self.after(delay, Happening::Message { from, to, message });
        }
    }

    fn serve(&mut self, at: usize, serve: &Serve) {
        let Some(running) = &self.nodes[at].running else {
            return;
        };
        let entries = running.reader.read(serve.slots, 4, 1 << 20).expect("it is durable");
        let Serve { to, slots, log_starts_at, watermark } = *serve;
        let message = Message::Committed { log_starts_at, first: slots.first, entries, watermark };
        self.send(at, usize::from(to.0), &message);
    }

    /// Lets the disk write what waits, if it is not at work. A replica dies of a failing disk.
    fn write(&mut self, at: usize) {
        let run = self.nodes[at].runs;
        let Some(running) = self.nodes[at].running.as_mut() else {
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
                let delay = Duration::from_micros(self.rng.u64(50..5_000));
                self.after(delay, Happening::Synced { at, run, through });
            }
            Err(_) => self.end(at),
        }
    }

    /// Begins the end of a replica: sometimes at once, sometimes in the middle of its next write.
    fn crash(&mut self, at: usize) {
        if !self.is_troubled() {
            return;
        }
        let next = self.rng.u64(50..1_500);
        self.after(ms(next), Happening::Crash { at });
        if self.nodes[at].running.is_none() {
            return;
        }
        if self.rng.bool() {
            let disk = &self.nodes[at].disk;
            disk.stop_at(disk.operations() + 1 + self.rng.u64(..2));
        } else {
            self.end(at);
        }
    }

    fn end(&mut self, at: usize) {
        self.crashes += 1;
        let loses_power = self.rng.bool();
        let node = &mut self.nodes[at];
        node.running = None;
        node.disk = if loses_power { node.disk.lose_power() } else { node.disk.kill() };
        let delay = self.rng.u64(1..400);
        self.after(ms(delay), Happening::Restart { at });
    }

    fn restart(&mut self, at: usize) {
        let now = self.now;
        let rng = self.rng.fork();
        let node = &mut self.nodes[at];
        node.runs += 1;
        node.delivered.clear();
        let directory = DataDirectory::open(Arc::new(node.disk.clone())).expect("it was made");
        let delivered = &mut node.delivered;
        let (run, first) = (Run(node.runs), Slot::ZERO);
        let committed = |committed| match committed {
            Committed::ToDeliver(it) => delivered.push(it),
            Committed::HadAlready(slot, _) => panic!("slot {slot}: the application forgets all"),
        };
        let started = start(&directory, Preparation::InLine, run, first, committed);
        let (replica, log) = started.expect("no disk here rots");
        let reader = log.reader();
        let mut shell = Shell::new(replica, Timing::default(), rng, now);
        if let Some(last) = node.delivered.last() {
            shell.handle(Event::Applied(last.slot), now);
        }
        let writes = VecDeque::new();
        node.running = Some(Running { shell, log, reader, writes, position: 0, is_syncing: false });
        self.schedule_alarm(at);
    }

    /// A client asks anybody for what it wants, and again elsewhere if it hears nothing.
    fn submit(&mut self, client: usize, number: u64) {
        let it = &self.clients[client];
        if it.number != number {
            return;
        }
        let at = self.rng.usize(..self.nodes.len());
        let submission = match it.session {
            None => Submission::Open,
            Some(session) => Submission::Request(Request {
                session,
                number,
                answered: number,
                value: value_of(client, number),
            }),
        };
        self.after(ms(150), Happening::Submit { client, number });
        self.tell(at, Event::Submit(submission, (client, number)));
    }

    /// A client is answered, and asks for the next thing at once. It may have been answered before.
    fn answer(&mut self, (client, number): Asked, outcome: Result<Slot, SubmitError>) {
        let it = &mut self.clients[client];
        let Ok(slot) = outcome else {
            return;
        };
        if it.number != number {
            return;
        }
        if number == 0 {
            it.session = Some(SessionId(slot.0));
        } else {
            it.acknowledged.insert(number, slot);
        }
        it.number += 1;
        let number = it.number;
        self.after(Duration::ZERO, Happening::Submit { client, number });
    }
}

fn value_of(client: usize, number: u64) -> Value {
    Value::from(format!("client {client}, request {number}").into_bytes())
}

/// The same seed twice, and every promise kept.
fn check(seed: u64, replicas: u16, trouble: Duration) -> (u64, u64) {
    println!("seed {seed}");
    let mut simulation = Simulation::new(seed, replicas, 4, trouble);
    let digest = simulation.run(trouble + ms(5_000));

    let longest = simulation.nodes.iter().map(|node| node.delivered.len()).max().unwrap_or(0);
    for (at, node) in simulation.nodes.iter().enumerate() {
        let others = simulation.nodes.iter().find(|it| it.delivered.len() == longest);
        let others = &others.expect("there is a longest").delivered;
        assert!(node.running.is_some(), "r{at} runs");
        assert!(longest - node.delivered.len() < 64, "r{at} has nearly everything");
        assert_eq!(node.delivered[..], others[..node.delivered.len()], "r{at} has the same log");
    }
    let log = &simulation.nodes.iter().max_by_key(|node| node.delivered.len());
    let log = &log.expect("there are replicas").delivered;
    for (client, it) in simulation.clients.iter().enumerate() {
        assert!(it.number > 10, "client {client} gets on: {}", it.number);
        for (&number, &slot) in &it.acknowledged {
            let wanted = value_of(client, number);
            let is_first = |delivered: &&Delivered<Value>| {
                delivered.verdict == Some(Verdict::First)
                    && matches!(&delivered.entry, Entry::Request(Request { value, .. }) if *value == wanted)
            };
            let slots: Vec<_> = log.iter().filter(is_first).map(|it| it.slot).collect();
            assert_eq!(slots, [slot], "request {number} of client {client} is there once");
        }
    }
    let coordinators = simulation.nodes.iter().filter_map(|node| node.running.as_ref());
    let coordinates =
        |it: &&Running| matches!(it.shell.status().role, RoleName::Coordinator { .. });
    assert_eq!(coordinators.filter(coordinates).count(), 1, "in peace there is one coordinator");
    (digest, simulation.crashes)
}

/// A cluster of three that crashes all the time, run twice: the same digest, so the shell and the
/// storage depend on nothing but what they are given.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..=4 {
        let (first, crashes) = check(seed, 3, ms(10_000));
        assert!(crashes > 10, "there were crashes: {crashes}");
        assert_eq!(check(seed, 3, ms(10_000)).0, first, "seed {seed}");
    }
}

#[test]
fn five_replicas_keep_their_promises() {
    for seed in 11..=13 {
        check(seed, 5, ms(6_000));
    }
}
