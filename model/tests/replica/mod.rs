//! One replica of three, driven by hand: the test is its disk, its peers and its clients.

#![allow(dead_code, reason = "each test crate uses its part of this")]

use std::ops::RangeInclusive;
use std::sync::Arc;

use synod_model::{
    Base, ClusterConstants, Configuration, ConfigurationId, Entry, Input, Limits, Message, Order,
    Output, Prefix, Promise, Recovery, Replica, ReplicaId, Reply, Request, RoundNumber, Run,
    SequenceNumber, SessionId, Slot, SlotRange, SnapshotHandle, Status,
};

/// What clients put in the log.
pub(crate) type V = Arc<[u8]>;

pub(crate) const ME: ReplicaId = ReplicaId(0);

/// The first of them coordinates, if this replica follows.
pub(crate) const OTHERS: [ReplicaId; 2] = [ReplicaId(1), ReplicaId(2)];

/// A replica, and what its last step wants done.
#[derive(Clone)]
pub(crate) struct Subject {
    replica: Replica<V>,
    pub(crate) out: Output<V>,
}

/// A request with a value of so many bytes.
pub(crate) fn request(number: u64, bytes: usize) -> Entry<V> {
    request_of(SessionId(1), number, bytes)
}

pub(crate) fn request_of(session: SessionId, number: u64, bytes: usize) -> Entry<V> {
    Entry::Request(Request { session, number, answered: 1, value: vec![b'x'; bytes].into() })
}

impl Subject {
    fn new(limits: Limits) -> Self {
        let members = (0..3).map(ReplicaId).collect();
        let members = Configuration::new(ConfigurationId(1), members).expect("the members differ");
        let cluster = ClusterConstants::new(3, members.clone(), limits).expect("right limits");
        let mut out = Output::default();
        let base = Base::new(members);
        let recovery = Recovery::new(Arc::new(cluster), ME, Run(1), Slot::ZERO, base, &mut out);
        Self { replica: recovery.and_then(Recovery::finish).expect("an empty disk"), out }
    }

    /// It stands, and has proposed.
    pub(crate) fn candidate(limits: Limits) -> Self {
        let mut it = Self::new(limits);
        it.step(Input::Elect { canvass: false });
        it.sync();
        it
    }

    /// It coordinates, with nothing to finish.
    pub(crate) fn coordinator(limits: Limits) -> Self {
        let mut it = Self::candidate(limits);
        let (prefix, last, accepted) = (Prefix::default(), Slot::ZERO, Vec::new());
        let promise = Promise { prefix, last, after: last, through: last, accepted };
        it.reply(OTHERS[0], Reply::Promise(promise));
        it
    }

    /// It follows the first of the others, and its promise is durable.
    pub(crate) fn follower(limits: Limits) -> Self {
        let mut it = Self::new(limits);
        it.order(Order::Commit { prefix: Prefix::default() });
        it.sync();
        it
    }

    pub(crate) fn step(&mut self, input: Input<V>) {
        self.out.clear();
        self.replica.step(input, &mut self.out);
    }

    pub(crate) fn receive(&mut self, from: ReplicaId, message: Message<V>) {
        self.step(Input::Receive { from, message });
    }

    pub(crate) fn reply(&mut self, from: ReplicaId, reply: Reply<V>) {
        let s = self.status().promised;
        self.receive(from, Message::Reply { configuration: ConfigurationId(1), s, reply });
    }

    /// An order of the first of the others.
    fn order(&mut self, order: Order<V>) {
        let (configuration, s) = (ConfigurationId(1), SequenceNumber(4));
        self.receive(OTHERS[0], Message::Order { configuration, s, order });
    }

    pub(crate) fn accept(&mut self, first: u64, entries: impl IntoIterator<Item = Entry<V>>) {
        let (first, entries) = (Slot(first), entries.into_iter().collect());
        self.order(Order::Accept { first, entries, prefix: Prefix::default() });
    }

    /// Committed slots come from the first of the others.
    pub(crate) fn committed(&mut self, first: u64, entries: impl IntoIterator<Item = Entry<V>>) {
        let (first, entries) = (Slot(first), entries.into_iter().collect::<Vec<_>>());
        let watermark = Slot(first.0 + entries.len() as u64 - 1);
        let (log_starts_at, before) = (Slot(1), self.status().prefix.hash);
        let served = Message::Committed { log_starts_at, first, before, entries, watermark };
        self.receive(OTHERS[0], served);
    }

    pub(crate) fn submit(&mut self, entries: impl IntoIterator<Item = Entry<V>>) {
        self.step(Input::Submit(entries.into_iter().collect()));
    }

    /// The first of the others forwards these.
    pub(crate) fn forwarded(&mut self, entries: impl IntoIterator<Item = Entry<V>>) {
        self.receive(OTHERS[0], Message::Submit { submissions: entries.into_iter().collect() });
    }

    /// Everything that it wrote is durable.
    pub(crate) fn sync(&mut self) {
        let through = self.status().written;
        self.step(Input::Synced { through });
    }

    /// The first of the others acknowledges everything that is open.
    pub(crate) fn acknowledge_open(&mut self) {
        self.sync();
        let range = SlotRange { first: Slot(1), last: Slot(1000) };
        self.reply(
            OTHERS[0],
            Reply::Acknowledge { ranges: vec![range], prefix: Prefix::default() },
        );
    }

    /// Has it coordinate these until they are committed.
    pub(crate) fn commit(&mut self, entries: impl IntoIterator<Item = Entry<V>>) {
        for entry in entries {
            self.submit([entry]);
            self.acknowledge_open();
        }
    }

    /// The first of the others asks for what is committed.
    pub(crate) fn ask(&mut self, from: u64) {
        let prefix = Prefix::default();
        self.receive(OTHERS[0], Message::Ask { from: Slot(from), through: Slot::MAX, prefix });
    }

    /// How many entries each message of committed slots has.
    pub(crate) fn served_from_memory(&self) -> Vec<usize> {
        let served = self.sent().filter_map(|message| match message {
            Message::Committed { entries, .. } => Some(entries.len()),
            _ => None,
        });
        served.collect()
    }

    /// Which slots the shell is to read and send.
    pub(crate) fn served_from_disk(&self) -> Vec<RangeInclusive<u64>> {
        self.out.serve.iter().map(|it| it.slots.first.0..=it.slots.last.0).collect()
    }

    /// The first of the others answers every round that there may have been.
    pub(crate) fn answer_rounds(&mut self) {
        let mut messages = Vec::new();
        for number in 1..=4 {
            let (number, prefix) = (RoundNumber(number), Prefix::default());
            self.reply(OTHERS[0], Reply::Obey { number, last: Slot::ZERO, prefix });
            messages.append(&mut self.out.messages);
        }
        self.out.messages = messages;
    }

    /// The first of the others answers the first round, and holds an entry in slot `last`.
    pub(crate) fn obey_of_round_1(&mut self, last: Slot) {
        let (number, prefix) = (RoundNumber(1), Prefix::default());
        self.reply(OTHERS[0], Reply::Obey { number, last, prefix });
    }

    /// How far it said that it has room.
    pub(crate) fn told_room(&self) -> Vec<Slot> {
        let told = self.sent().filter_map(|message| match message {
            Message::Reply { reply: Reply::Room { through }, .. } => Some(*through),
            _ => None,
        });
        told.collect()
    }

    /// What the last step sent.
    pub(crate) fn sent(&self) -> impl Iterator<Item = &Message<V>> {
        self.out.messages.iter().map(|it| &it.message)
    }

    pub(crate) fn handle(&self) -> Arc<SnapshotHandle> {
        self.replica.snapshot_handle().expect("the application has no more than the log")
    }

    pub(crate) fn status(&self) -> Status {
        self.replica.status()
    }
}
