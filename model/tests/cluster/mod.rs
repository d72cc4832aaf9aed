//! A small cluster of cores in one thread, for the scripts and the property tests.
//!
//! The cluster is the simplest shell that keeps the contract with the core:
//!
//! - Records go to a [`Disk`]. A crash loses those that are not synced.
//! - Messages go to a [`Network`]. It keeps all of them.
//! - Deliveries go to an application. It applies them at once, or when the test says so.
//!
//! The test decides what happens, and in which order. A [`SafetyMonitor`] checks every step.

#![allow(dead_code, reason = "each test crate uses its part of this")]

pub(crate) mod disk;
pub(crate) mod monitor;
pub(crate) mod network;
pub(crate) mod recovery;
pub(crate) mod text;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use synod_model::{
    Base, Change, ClientAnswer, ClusterConstants, Configuration, ConfigurationId, Content,
    Contradiction, Delivered, ElectRefused, Entry, Forgotten, FrameRoom, Input, Limits, Message,
    Opening, OtherHistory, Output, ReadId, Record, Registration, Replica, ReplicaId, Request,
    RequestTable, Resource, RoleName, Run, Serve, SessionId, Slot, SnapshotHandle, SubmissionId,
    To,
};

use disk::Disk;
use monitor::SafetyMonitor;
use network::Network;
use recovery::{Given, recover};

/// What clients put in the log.
pub(crate) type V = Arc<[u8]>;

/// The session that every cluster starts with, so that a test need not open one.
pub(crate) const SESSION: SessionId = SessionId(0);

pub(crate) struct Cluster {
    pub(crate) constants: Arc<ClusterConstants>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) monitor: SafetyMonitor,
    /// The events since a test last took them.
    pub(crate) events: Vec<(ReplicaId, Event)>,
    /// Whether applications apply deliveries at once.
    pub(crate) applies_at_once: bool,
    /// The snapshots that are durable somewhere, with the replica that made each.
    pub(crate) snapshots: Vec<(ReplicaId, Arc<SnapshotHandle>)>,
    out: Output<V>,
}

/// A replica, and what survives its crashes.
pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    pub(crate) run: Run,
    /// The run in which it met each peer last.
    met: BTreeMap<ReplicaId, Run>,
    /// None while it is down.
    pub(crate) replica: Option<Replica<V>>,
    pub(crate) disk: Disk,
    /// The last slot that the application has applied. It survives a crash.
    pub(crate) applied: Slot,
    /// The last slot that the application was given, applied or not.
    pub(crate) delivered: Slot,
    /// The submissions of this run that are not answered yet.
    pub(crate) submissions: BTreeSet<SubmissionId>,
    /// The reads of this run that are not answered yet.
    pub(crate) reads: BTreeSet<ReadId>,
    /// The handles that this run has given out, and that were not given back.
    pub(crate) handles: Vec<Arc<SnapshotHandle>>,
    /// The peer from which a snapshot is to be fetched, and its last slot.
    pub(crate) fetch: Option<(ReplicaId, Slot)>,
    /// Whether the network loses all messages from it and to it.
    pub(crate) isolated: bool,
    /// Whether its disk makes nothing durable.
    pub(crate) disk_hangs: bool,
}

/// Something that a script prints.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Delivered(Delivered<V>),
    Answered(ClientAnswer),
    Served(Serve),
    ElectRefused(ElectRefused),
    GaveWay(Resource),
    Contradiction(Contradiction),
    OtherHistory(OtherHistory),
    Forgotten(Forgotten),
    /// The application was given the snapshot up to this slot.
    Restored(Slot),
}

impl Cluster {
    /// A cluster with replicas 0 to `replicas` - 1. None of them has ever written anything.
    pub(crate) fn new(replicas: u16, limits: Limits) -> Self {
        Self::of(replicas, (0..replicas).collect(), limits)
    }

    /// A cluster of these members, and replicas that are none yet.
    pub(crate) fn of(replicas: u16, members: Vec<u16>, limits: Limits) -> Self {
        let members = members.into_iter().map(ReplicaId).collect();
        let first = Configuration::new(ConfigurationId(1), members).expect("members differ");
        let constants =
            ClusterConstants::new(u64::from(replicas), first, limits).expect("a right stride");
        let constants = Arc::new(constants);
        let nodes = (0..replicas).map(|id| {
            let mut base = Base::new(constants.first_configuration().clone());
            Arc::make_mut(&mut base.snapshot).table = Arc::new(table_with_session(&constants));
            Node {
                id: ReplicaId(id),
                run: Run(0),
                met: BTreeMap::new(),
                replica: None,
                disk: Disk::new(base),
                applied: Slot::ZERO,
                delivered: Slot::ZERO,
                submissions: BTreeSet::new(),
                reads: BTreeSet::new(),
                handles: Vec::new(),
                fetch: None,
                isolated: false,
                disk_hangs: false,
            }
        });
        let mut cluster = Self {
            nodes: nodes.collect(),
            constants: Arc::clone(&constants),
            network: Network::default(),
            monitor: SafetyMonitor::new(constants.first_configuration().clone()),
            events: Vec::new(),
            applies_at_once: true,
            snapshots: Vec::new(),
            out: Output::default(),
        };
        for at in 0..cluster.nodes.len() {
            cluster.restart(at);
        }
        cluster
    }

    /// A new cluster with replicas 0 to `replicas` - 1, whose logs begin with `snapshot`, which `old` has taken.
    pub(crate) fn restored(replicas: u16, old: &Self, snapshot: &SnapshotHandle) -> Self {
        let mut cluster = Self::new(replicas, old.constants.limits().clone());
        let restored = snapshot.clone().restored(&cluster.constants).expect("the same limits");
        let restored = Arc::new(restored);
        cluster.monitor = SafetyMonitor::of_restored(
            &old.monitor,
            cluster.constants.first_configuration().clone(),
            restored.slot,
        );
        for at in 0..cluster.nodes.len() {
            cluster.crash(at, 0);
            let disk = &mut cluster.nodes[at].disk;
            disk.append(Arc::clone(&restored).first_record());
            disk.crash(1);
        }
        (0..cluster.nodes.len()).for_each(|at| cluster.restart(at));
        cluster
    }

    /// Gives replica `at` one input, and carries out the output. Does nothing if the replica is down.
    pub(crate) fn step(&mut self, at: usize, input: Input<V>) {
        let node = &mut self.nodes[at];
        let Some(replica) = &mut node.replica else {
            return;
        };
        match &input {
            Input::Submit(entries) => {
                node.submissions.extend(entries.iter().filter_map(Entry::submission_id));
            }
            Input::Read(ids) => {
                node.reads.extend(ids);
                self.monitor.read_arrived(node.id, node.run, ids);
            }
            _ => {}
        }
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        replica.step(input, &mut out);
        let served = served(&out);
        self.act(at, &mut out);
        self.out = out;
        // What is served leaves at once.
        for peer in served {
            self.step(at, Input::Served { peer });
        }
        let node = &self.nodes[at];
        if self.applies_at_once && node.applied < node.delivered {
            self.apply(at, node.delivered);
        }
    }

    /// The application of `at` applies its deliveries up to `through`.
    pub(crate) fn apply(&mut self, at: usize, through: Slot) {
        let node = &mut self.nodes[at];
        node.applied = node.applied.max(through.min(node.delivered));
        let through = node.applied;
        self.step(at, Input::Applied { through });
    }

    /// Carries out the output of replica `at`.
    fn act(&mut self, at: usize, out: &mut Output<V>) {
        let replica = self.nodes[at].replica.as_ref();
        let members: Vec<ReplicaId> =
            replica.map_or_else(Vec::new, |it| it.configuration().members().to_vec());
        let limits = self.constants.limits();
        let slots = limits.accepted_slots_max + limits.open_slots_max + limits.frame_entries_max;
        assert!(out.writes.len() as u64 <= slots + 2, "r{at} writes too much at once");
        let messages =
            self.nodes.len() as u64 * (slots + 4) + limits.submissions_max + limits.reads_max;
        assert!(out.messages.len() as u64 <= messages, "r{at} sends too much at once");
        let node = &mut self.nodes[at];
        for record in out.writes.drain(..) {
            assert!(is_frame(&record, limits), "r{at} writes more than a frame: {record:?}");
            self.monitor.wrote(&record);
            node.disk.append(record);
        }
        let me = node.id;
        for it in out.messages.drain(..) {
            self.monitor.sent(me, &it.message, self.constants.limits());
            match it.to {
                To::One(to) => self.network.send(me, to, it.message),
                To::Others => {
                    for &to in members.iter().filter(|to| **to != me) {
                        self.network.send(me, to, it.message.clone());
                    }
                }
            }
        }
        for it in out.serve.drain(..) {
            self.events.push((me, Event::Served(it.clone())));
            for message in committed_from_disk(&node.disk, &it, self.constants.limits()) {
                self.network.send(me, it.to, message);
            }
        }
        node.fetch = out.fetch.take().or(node.fetch);
        if let Some(slot) = out.restore.take() {
            assert!(slot > node.delivered, "r{me} is never taken back");
            node.delivered = slot;
            self.events.push((me, Event::Restored(slot)));
        }
        for delivered in out.delivered.drain(..) {
            assert_eq!(delivered.slot, node.delivered.next(), "r{me} delivers in order");
            node.delivered = delivered.slot;
            self.monitor.delivered(&delivered, self.constants.limits());
            if let Some(submission) = delivered.entry.submission_id() {
                node.submissions.remove(&submission);
            }
            self.events.push((me, Event::Delivered(delivered)));
        }
        for answer in out.answers.drain(..) {
            match answer {
                ClientAnswer::Read { id, slot } => {
                    assert!(slot <= node.applied, "r{me} serves a read once it is applied");
                    assert!(node.reads.remove(&id), "r{me} answers a read once");
                    self.monitor.read_answered(me, node.run, id, slot);
                }
                ClientAnswer::ReadRefused { id, .. } => _ = node.reads.remove(&id),
                ClientAnswer::Done { submission, .. }
                | ClientAnswer::GivenUp { submission }
                | ClientAnswer::Unknown { submission }
                | ClientAnswer::NotReady { submission, .. }
                | ClientAnswer::Removed { submission }
                | ClientAnswer::Refused { submission: Some(submission), .. } => {
                    node.submissions.remove(&submission);
                }
                ClientAnswer::Refused { submission: None, .. } => {}
            }
            self.events.push((me, Event::Answered(answer)));
        }
        if let Some(reason) = out.elect_refused.take() {
            self.events.push((me, Event::ElectRefused(reason)));
        }
        if let Some(resource) = out.gave_way.take() {
            self.events.push((me, Event::GaveWay(resource)));
        }
        for contradiction in out.contradictions.drain(..) {
            self.monitor.contradicted(me, contradiction);
            self.events.push((me, Event::Contradiction(contradiction)));
        }
        for it in out.other_histories.drain(..) {
            self.monitor.other_history(me, it);
            self.events.push((me, Event::OtherHistory(it)));
        }
        for it in out.forgotten.drain(..) {
            self.monitor.forgotten(me, it);
            self.events.push((me, Event::Forgotten(it)));
        }
        let status = node.replica.as_ref().expect("it is up").status();
        assert_eq!(status.written, node.disk.written(), "r{me} counts its records");
        let disks = self.nodes.iter().map(|node| (node.id, &node.disk));
        self.monitor.committed(status.watermark, &disks);
    }

    /// Delivers a message, pending or not.
    pub(crate) fn deliver(&mut self, index: usize) {
        let envelope = &mut self.network.sent[index];
        envelope.pending = false;
        let (from, to) = (envelope.from, usize::from(envelope.to.0));
        let message = envelope.message.clone();
        // A forged message may have come from a replica that does not exist, and is answered.
        let cut = self.nodes.get(to).is_none_or(|node| node.isolated)
            || self.nodes.get(usize::from(from.0)).is_some_and(|node| node.isolated);
        if !cut {
            self.step(to, Input::Receive { from, message });
        }
    }

    /// Makes the next `count` records of `at` durable, or as many as there are.
    pub(crate) fn sync(&mut self, at: usize, count: usize) {
        let node = &mut self.nodes[at];
        let count = count.min(node.disk.unsynced());
        if count > 0 && node.replica.is_some() && !node.disk_hangs {
            let through = node.disk.sync(count);
            self.monitor.synced(node.id, node.disk.last_synced(count));
            self.step(at, Input::Synced { through });
        }
    }

    /// Replica `at` stops. The next `keep` records that are not synced reach the disk all the same.
    pub(crate) fn crash(&mut self, at: usize, keep: usize) {
        let node = &mut self.nodes[at];
        let keep = keep.min(node.disk.unsynced());
        node.replica = None;
        node.disk.crash(keep);
        self.monitor.synced(node.id, node.disk.last_synced(keep));
        node.submissions.clear();
        node.reads.clear();
        node.handles.clear();
        node.fetch = None;
    }

    /// The application of `at` asks for a handle.
    pub(crate) fn ask_for_handle(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let handle = node.replica.as_ref().and_then(Replica::snapshot_handle);
        if let Some(handle) = handle.filter(|it| it.slot > Slot::ZERO) {
            let limits = self.constants.limits();
            self.monitor.snapshot(&handle, table_with_session(&self.constants), limits);
            node.handles.push(handle);
        }
    }

    /// The snapshot of one of the handles of `at` is durable, and the handle is given back.
    pub(crate) fn snapshot_taken(&mut self, at: usize, which: usize) {
        let node = &mut self.nodes[at];
        if !node.handles.is_empty() {
            let handle = node.handles.remove(which % node.handles.len());
            self.snapshots.push((node.id, Arc::clone(&handle)));
            self.step(at, Input::SnapshotTaken { handle });
        }
    }

    /// One of all snapshots that were ever made is durable at `at`.
    pub(crate) fn install(&mut self, at: usize, which: usize) {
        if !self.snapshots.is_empty() {
            let (from, handle) = self.snapshots[which % self.snapshots.len()].clone();
            self.step(at, Input::Install { from, handle });
        }
    }

    /// Replica `at` gets the snapshot that it wants to fetch, if its sender can be reached.
    pub(crate) fn fetch(&mut self, at: usize) {
        let Some((from, slot)) = self.nodes[at].fetch.take() else {
            return;
        };
        let sender = &self.nodes[usize::from(from.0)];
        if sender.replica.is_none() || sender.isolated || self.nodes[at].isolated {
            return self.step(at, Input::NotFetched);
        }
        // The same snapshot may have been made by anybody.
        let it = self.snapshots.iter().find(|(_, it)| it.slot == slot);
        let handle = Arc::clone(&it.expect("what is offered is there").1);
        self.step(at, Input::Install { from, handle });
    }

    /// The disk of replica `at`, which is down, loses its newest `count` records, which were durable.
    pub(crate) fn roll_back(&mut self, at: usize, count: usize) {
        let node = &mut self.nodes[at];
        assert!(node.replica.is_none(), "r{at} is up");
        node.disk.roll_back(count);
        // Its application begins anew. No promise of the protocol holds any more.
        (node.applied, node.delivered) = (Slot::ZERO, Slot::ZERO);
        self.monitor.honest = false;
    }

    /// Replica `at`, which is down, begins a new run.
    pub(crate) fn restart(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        assert!(node.replica.is_none(), "r{at} is up");
        node.run.0 += 1;
        let written = node.disk.records().len();
        let (replica, given) = recover(&self.constants, node, written, written);
        // From the folded base, or with every record read one by one: it comes to the same.
        let (one_by_one, others) = recover(&self.constants, node, 0, written);
        assert_eq!(replica, one_by_one);
        assert_eq!(given.last().map(Given::slot), others.last().map(Given::slot));
        node.delivered = node.applied;
        let mut out = Output::default();
        for it in given {
            match it {
                Given::Snapshot(slot) => out.restore = Some(slot),
                Given::Entry(delivered) => out.delivered.push(delivered),
            }
        }
        self.monitor.recovered(node.id, &replica.status());
        node.replica = Some(replica);
        self.act(at, &mut out);
        let node = &self.nodes[at];
        if self.applies_at_once && node.applied < node.delivered {
            self.apply(at, node.delivered);
        }
    }

    /// The connections between replica `at` and all others that can be reached are made anew.
    pub(crate) fn reconnect(&mut self, at: usize) {
        let id = self.nodes[at].id;
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            if !self.nodes[at].isolated && !self.nodes[other].isolated {
                let peer = self.nodes[other].id;
                for (at, peer, run) in
                    [(at, peer, self.nodes[other].run), (other, id, self.nodes[at].run)]
                {
                    let met = self.nodes[at].met.insert(peer, run).unwrap_or(Run(1));
                    if met != run {
                        self.step(at, Input::Restarted { peer });
                    }
                    self.step(at, Input::NotServed { peer });
                    self.step(at, Input::Reconnected { peer });
                }
            }
        }
    }

    /// Syncs and delivers, until there is nothing left to sync or to deliver.
    ///
    /// # Panics
    ///
    /// If that takes more than any sound cluster should need.
    pub(crate) fn stabilize(&mut self) {
        for _ in 0..1_000 {
            for at in 0..self.nodes.len() {
                self.sync(at, usize::MAX);
            }
            let pending = self.network.pending();
            let fetches = |it: &Node| it.fetch.is_some();
            if pending.is_empty() && !self.nodes.iter().any(fetches) {
                return;
            }
            for index in pending {
                self.deliver(index);
            }
            (0..self.nodes.len()).for_each(|at| self.fetch(at));
        }
        panic!("the replicas never stop sending:\n{}", text::pending(self));
    }

    /// Whether replica `at` coordinates.
    pub(crate) fn coordinates(&self, at: usize) -> bool {
        let replica = self.nodes[at].replica.as_ref();
        replica.is_some_and(|it| matches!(it.status().role, RoleName::Coordinator { .. }))
    }
}

/// The peers that are served in `out`.
fn served(out: &Output<V>) -> BTreeSet<ReplicaId> {
    let from_memory = out.messages.iter().filter_map(|it| match (it.to, &it.message) {
        (To::One(to), Message::Committed { .. }) => Some(to),
        _ => None,
    });
    from_memory.chain(out.serve.iter().map(|it| it.to)).collect()
}

/// Whether a record holds no more than one frame.
fn is_frame(record: &Record<V>, limits: &Limits) -> bool {
    let mut room = FrameRoom::of(limits);
    match &record.content {
        Content::Promised(_) | Content::Forgotten(_) | Content::Snapshot { .. } => true,
        Content::Accepted { entries, .. } | Content::Committed { entries, .. } => {
            entries.iter().all(|entry| room.take(entry.size_bytes()))
        }
    }
}

/// Committed entries for a peer that lags, read from the disk, in frames.
fn committed_from_disk(disk: &Disk, serve: &Serve, limits: &Limits) -> Vec<Message<V>> {
    assert!(serve.slots.last <= serve.watermark, "only what is committed is served");
    let mut messages = Vec::new();
    let mut rest = Some(serve.clone());
    while let Some(serve) = rest {
        let mut room = FrameRoom::of(limits);
        let stored = serve.reads().iter().map(|slot| disk.fold().entries[&slot].entry.clone());
        let frame = stored.take_while(|entry| room.take(entry.size_bytes())).collect();
        let (message, more) = serve.take(frame);
        messages.extend(message);
        rest = more;
    }
    messages
}

/// A request table in which [`SESSION`] is open.
fn table_with_session(constants: &ClusterConstants) -> RequestTable {
    let mut table = RequestTable::default();
    let open: Entry<V> = Entry::Open(Opening { origin: ReplicaId(0), run: Run(0), count: 0 });
    let first = constants.first_configuration();
    table.deliver(Slot(SESSION.0), &open, first, constants.limits());
    table
}

/// A change of `before` to these voters: a request of [`SESSION`] with this number.
pub(crate) fn change(before: &Configuration, number: u64, voters: &[u16]) -> Entry<V> {
    let voters: Vec<_> = voters.iter().copied().map(ReplicaId).collect();
    let changed = before.changed(&voters, &[]).expect("a configuration");
    let configuration = changed.with_all_registered(Registration::first_of).expect("no addresses");
    Entry::Change(Change { session: SESSION, number, answered: 1, configuration })
}

/// The request of [`SESSION`] whose value is `letter`. Its number is the place of the letter in the
/// alphabet.
pub(crate) fn request(letter: u8) -> Entry<V> {
    let number = u64::from(letter - b'a') + 1;
    Entry::Request(Request { session: SESSION, number, answered: 1, value: Arc::from([letter]) })
}

/// Runs `test`, and aborts the process if it does not end in time. Otherwise a step that loops
/// without end could fill the memory before anybody sees it.
pub(crate) fn abort_if_stuck(what: &str, test: impl FnOnce()) {
    let (done, waits) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if waits.recv_timeout(Duration::from_mins(1)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{what} keeps a replica busy without end");
                std::process::abort();
            }
        });
        test();
        drop(done);
    });
}
