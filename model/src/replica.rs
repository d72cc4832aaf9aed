//! A replica: the roles put together, behind one way in.
//!
//! [`Replica::step`] takes one input and says what is to be written, sent, delivered and answered.
//! It is deterministic, never blocks, does no input or output of its own, and does not panic on
//! anything that a faulty peer could send.
//!
//! Its rooms, in the order in which one command passes through them: `clients` takes it in,
//! `coordinating` gets this replica elected and opens a slot, `following` is how the others take
//! orders, and `catch_up` helps those that missed something.

mod catch_up;
mod clients;
mod coordinating;
mod following;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use crate::acceptor::Acceptor;
use crate::configuration::{Cluster, Configuration};
use crate::coordinator::Coordinator;
use crate::election::{Candidate, Canvassing};
use crate::entry::{Entry, SubmissionId, Value};
use crate::io::{Input, Output};
use crate::learner::Learner;
use crate::limits::Limits;
use crate::message::Message;
use crate::numbers::{Position, ReplicaId, Run, SequenceNumber, Slot};
use crate::reads::Reads;
use crate::record::{Content, Record};
use crate::unsynced::{Fact, Unsynced};

/// One member of the cluster. Made by [`Recovery`](crate::Recovery), driven by
/// [`step`](Self::step), watched by [`status`](Self::status).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica<V> {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) configuration: Configuration,
    pub(crate) me: ReplicaId,
    pub(crate) run: Run,
    pub(crate) acceptor: Acceptor<V>,
    pub(crate) learner: Learner<V>,
    pub(crate) unsynced: Unsynced,
    pub(crate) role: Role<V>,
    /// The highest number that anybody is known to have promised; the next one picked is above it.
    /// At least the own promise.
    pub(crate) heard: SequenceNumber,
    /// Whether this replica believes that nobody coordinates.
    pub(crate) suspects: bool,
    /// Committed slots were asked for, and nothing was committed since.
    pub(crate) asked: bool,
    /// What this replica's clients submitted and was not delivered yet.
    pub(crate) submissions: BTreeMap<SubmissionId, Entry<V>>,
    pub(crate) submissions_bytes: u64,
    pub(crate) reads: Reads,
}

/// What a replica does besides accepting and learning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role<V> {
    Follower,
    Canvassing(Canvassing),
    Candidate(Candidate<V>),
    Coordinator(Coordinator<V>),
}

impl<V: Value> Replica<V> {
    pub(crate) fn recovered(
        cluster: Arc<Cluster>,
        configuration: Configuration,
        me: ReplicaId,
        run: Run,
        acceptor: Acceptor<V>,
        learner: Learner<V>,
    ) -> Self {
        let heard = acceptor.promised();
        Self {
            cluster,
            configuration,
            me,
            run,
            acceptor,
            learner,
            unsynced: Unsynced::default(),
            role: Role::Follower,
            heard,
            suspects: false,
            asked: false,
            submissions: BTreeMap::new(),
            submissions_bytes: 0,
            reads: Reads::default(),
        }
    }

    /// Takes one input and adds what follows from it to `out`, which the caller has cleared.
    pub fn step(&mut self, input: Input<V>, out: &mut Output<V>) {
        match input {
            Input::Submit(submissions) => self.submit(submissions, out),
            Input::Read(ids) => self.read(ids, out),
            Input::Receive { from, message } => self.receive(from, message, out),
            Input::Synced { through } => self.synced(through, out),
            Input::Applied { through } => self.learner.apply(through),
            Input::Suspect => self.suspect(),
            Input::Elect { canvass } => self.elect(canvass, out),
            Input::Resend => self.resend(out),
        }
        self.coordinate(out);
        self.reads.answer(self.learner.applied(), out);
    }

    fn receive(&mut self, from: ReplicaId, message: Message<V>, out: &mut Output<V>) {
        if from == self.me || !self.configuration.contains(from) {
            return;
        }
        match message {
            Message::Order { configuration, s, order } => {
                if configuration == self.configuration.id() && self.cluster.owns(from, s) {
                    self.obey(from, s, order, out);
                }
            }
            Message::Reply { configuration, s, reply } => {
                if configuration == self.configuration.id() {
                    self.take_reply(from, s, reply, out);
                }
            }
            Message::Reject { promised } => self.rejected(promised),
            Message::Ask { from: slot } => self.serve(from, slot, out),
            Message::Committed { log_starts_at, first, entries, watermark } => {
                self.catch_up(from, log_starts_at, first, entries, watermark, out);
            }
            Message::Submit { submissions } => self.take_forwarded(from, submissions, out),
            Message::Submitted { submission, slot } => self.submitted(from, submission, slot, out),
            Message::Read { run, ids } => self.read_for(from, run, &ids),
            Message::ReadAt { run, ids, slot } => {
                if run == self.run {
                    for id in ids {
                        self.reads.tell(id, slot);
                    }
                }
            }
        }
    }

    /// Records up to `through` are durable: what rests on them may be told.
    fn synced(&mut self, through: Position, out: &mut Output<V>) {
        let mut acknowledged = BTreeSet::new();
        while let Some(fact) = self.unsynced.pop(through) {
            match fact {
                Fact::Promised(s) => self.acceptor.promise_is_durable(s),
                Fact::Holds(s, slots) => {
                    self.acceptor.promise_is_durable(s);
                    for slot in slots.iter() {
                        let holds = self.acceptor.is_durable(slot, s)
                            || self.learner.is_durable(slot, s, self.cluster.limits());
                        if holds && s != SequenceNumber::NONE {
                            acknowledged.insert((s, slot));
                        }
                    }
                }
            }
        }
        self.acknowledge_all(acknowledged.into_iter(), out);
        self.give_owed_promise(out);
        self.propose_when_durable(out);
    }

    /// Appends a record, with the watermark as it stands.
    fn write(&mut self, content: Content<V>, out: &mut Output<V>) {
        let watermark = self.learner.watermark();
        self.unsynced.write(Record { watermark, content }, out);
    }

    /// Commits the next slot with the entry that the acceptor holds for it.
    ///
    /// False if it holds none: then nothing happens.
    fn commit_accepted(&mut self, out: &mut Output<V>) -> bool {
        let Some(held) = self.acceptor.take(self.learner.watermark().next()) else {
            return false;
        };
        let waits_for = if held.durable { None } else { Some(held.s) };
        self.commit(held.entry, waits_for, out);
        true
    }

    /// Commits the next slot with `entry`. Whoever submitted it here needs it repeated no longer.
    fn commit(&mut self, entry: Entry<V>, waits_for: Option<SequenceNumber>, out: &mut Output<V>) {
        let submission = entry.submission_id();
        let is_delivered = self.learner.watermark().next() > self.learner.delivered();
        self.asked = false;
        self.learner.commit(entry, waits_for, self.cluster.limits(), out);
        if let Some(submission) = submission {
            if let Role::Coordinator(coordinator) = &mut self.role {
                coordinator.known.remove(&submission);
            }
            // What the application had before this run is not delivered, and so answered here.
            if is_delivered || self.answer_from_table(submission, out) {
                self.forget_submission(submission);
            }
        }
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.forget_committed(self.learner.watermark());
        }
    }

    fn limits(&self) -> &Limits {
        self.cluster.limits()
    }

    /// The number under which this replica stands or coordinates.
    fn own_number(&self) -> Option<SequenceNumber> {
        match &self.role {
            Role::Follower | Role::Canvassing(_) => None,
            Role::Candidate(candidate) => Some(candidate.s),
            Role::Coordinator(coordinator) => Some(coordinator.s),
        }
    }

    /// A promise of `s` was heard of. One who coordinates, or wants to, below it has lost.
    fn step_down_below(&mut self, s: SequenceNumber) {
        if self.own_number().is_some_and(|own| own < s) {
            self.role = Role::Follower;
        }
    }

    /// The state of this replica, for people and for the failure detector.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            me: self.me,
            run: self.run,
            role: match &self.role {
                Role::Follower => RoleName::Follower,
                Role::Canvassing(canvassing) => RoleName::Canvassing { s: canvassing.s },
                Role::Candidate(candidate) => RoleName::Candidate { s: candidate.s },
                Role::Coordinator(coordinator) => RoleName::Coordinator {
                    s: coordinator.s,
                    open_slots: coordinator.open.len() as u64,
                    queued: coordinator.queued(),
                    round_is_answered: coordinator.round_is_answered(&self.configuration),
                },
            },
            coordinator: self.cluster.owner(self.acceptor.promised()),
            promised: self.acceptor.promised(),
            watermark: self.learner.watermark(),
            durable: self.learner.durable(),
            applied: self.learner.applied(),
            suspects: self.suspects,
            written: self.unsynced.written(),
            synced: self.unsynced.synced(),
            unsynced_bytes: self.unsynced.size_bytes(),
        }
    }

    /// The sequence number that this replica would pick if it stood for election now.
    #[must_use]
    pub fn next_number(&self) -> Option<SequenceNumber> {
        self.cluster.next_number(self.me, self.heard)
    }
}

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its id.
    pub me: ReplicaId,
    /// Its run.
    pub run: Run,
    /// What it does besides accepting and learning.
    pub role: RoleName,
    /// Whom it takes for the coordinator: the owner of the number that it has promised.
    pub coordinator: Option<ReplicaId>,
    /// It obeys nobody below this number.
    pub promised: SequenceNumber,
    /// Every slot up to here is committed, as far as it knows.
    pub watermark: Slot,
    /// Every slot up to here is committed, and its record is durable on this replica: what a shell
    /// may read back from its disk.
    pub durable: Slot,
    /// Its application has everything up to here.
    pub applied: Slot,
    /// Whether it believes that nobody coordinates.
    pub suspects: bool,
    /// The position of the newest record that it wrote.
    pub written: Position,
    /// The position of the newest record that is durable.
    pub synced: Position,
    /// How many bytes of values wait for a sync.
    pub unsynced_bytes: u64,
}

/// A role, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Takes orders.
    Follower,
    /// Asks who would follow it.
    Canvassing {
        /// Under which number.
        s: SequenceNumber,
    },
    /// Gathers promises.
    Candidate {
        /// Under which number.
        s: SequenceNumber,
    },
    /// Gives orders.
    Coordinator {
        /// Under which number.
        s: SequenceNumber,
        /// How many slots are proposed and not committed.
        open_slots: u64,
        /// How many submissions wait for the window.
        queued: u64,
        /// Whether a majority has answered the newest round.
        round_is_answered: bool,
    },
}
