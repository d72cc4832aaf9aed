//! A replica: what every role uses, the role, and the clients, behind one way in.
//!
//! [`Replica::step`] takes one input and says what is to be written, sent, delivered and answered.
//! It is deterministic, never blocks, does no input or output of its own, and does not panic on
//! anything that a faulty peer could send.
//!
//! This module passes each input to the module that owns it:
//!
//! - [`common`]: what every role uses: identity, acceptor, learner, unsynced records;
//! - [`election`]: the canvass and the candidate, phase 1 of Paxos;
//! - [`finish`]: what an election must finish, portion by portion;
//! - [`admission`]: whether a change of the members may be opened;
//! - [`coordinator`]: opening and committing slots, phase 2 and 3;
//! - [`rounds`]: the coordinator's heartbeat, and the linearizable reads that rest on it;
//! - [`follower`]: obeying orders;
//! - [`catch_up`]: asking for committed slots, serving them and taking them in;
//! - [`histories`]: whether peers have committed the same entries as this replica;
//! - [`reminders`]: whether the disk of a replica still has what the replica once told;
//! - [`commit`]: what follows when a slot is committed, in any role;
//! - [`membership`]: what follows when another configuration governs;
//! - [`reads`]: linearizable reads, at the replica that a client asked;
//! - [`clients`]: submissions, on their way to the coordinator and back;
//! - [`snapshots`]: cutting the log, and taking in a peer's snapshot;
//! - [`push`]: which open slots a follower was sent, and what is held back from it;
//! - [`resend`]: repeating what may be lost;
//! - [`hung`]: a disk or an application that hangs, and how a coordinator then gives way;
//! - [`status`]: what a replica says of itself.

pub(crate) mod admission;
pub(crate) mod catch_up;
pub(crate) mod clients;
pub(crate) mod commit;
pub(crate) mod common;
pub(crate) mod coordinator;
pub(crate) mod election;
pub(crate) mod finish;
pub(crate) mod follower;
pub(crate) mod histories;
pub(crate) mod hung;
pub(crate) mod membership;
pub(crate) mod push;
pub(crate) mod reads;
pub(crate) mod reminders;
pub(crate) mod resend;
pub(crate) mod rounds;
pub(crate) mod snapshots;
pub(crate) mod status;

use alloc::vec::Vec;

pub use hung::{Hung, Resource};
pub use status::{RoleName, Status};

use crate::configuration::Configuration;
use crate::entry::Value;
use crate::io::{Input, Output};
use crate::message::{Message, Reply};
use crate::numbers::{Position, RangeBuilder, ReplicaId, SequenceNumber, Slot, SlotRange};
use catch_up::Served;
use clients::Clients;
use common::Common;
pub(crate) use coordinator::Coordinator;
use election::{Candidate, Canvassing};

/// One member of the cluster. Made by [`Recovery`](crate::Recovery), driven by
/// [`step`](Self::step), watched by [`status`](Self::status).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica<V> {
    pub(crate) common: Common<V>,
    pub(crate) role: Role<V>,
    pub(crate) clients: Clients<V>,
}

/// What a replica does besides accepting and learning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role<V> {
    Follower,
    Canvassing(Canvassing),
    Candidate(Candidate<V>),
    Coordinator(Coordinator<V>),
}

impl<V> Role<V> {
    /// The number under which this replica canvasses, stands or coordinates.
    pub(crate) fn number(&self) -> Option<SequenceNumber> {
        match self {
            Self::Follower => None,
            Self::Canvassing(canvassing) => Some(canvassing.s),
            Self::Candidate(candidate) => Some(candidate.s),
            Self::Coordinator(coordinator) => Some(coordinator.s),
        }
    }
}

impl<V: Value> Replica<V> {
    /// A replica that has just started: it follows, and nobody waits for anything.
    pub(crate) fn new(common: Common<V>) -> Self {
        Self { common, role: Role::Follower, clients: Clients::default() }
    }

    /// Takes one input and adds what follows from it to `out`, which the caller has cleared.
    pub fn step(&mut self, input: Input<V>, out: &mut Output<V>) {
        if self.common.is_stopped() {
            if let Input::Reconnected { peer } = input {
                self.common.tell_what_is_lost(peer, out);
            }
            return;
        }
        let may_push = may_push(&input);
        match input {
            Input::Submit(submissions) => self.submit(submissions, out),
            Input::Read(ids) => self.read(ids, out),
            Input::Receive { from, message } => self.receive(from, message, out),
            Input::Synced { through } => self.synced(through, out),
            Input::Applied { through } => self.common.applied(through),
            Input::Suspect => self.suspect(),
            Input::Elect { canvass } => self.elect(canvass, out),
            Input::Heartbeat => self.heartbeat(out),
            Input::Restarted { peer } => self.common.trust_again(peer),
            Input::Reconnected { peer } => self.reconnected(peer, out),
            Input::Full { peer } => self.full(peer),
            Input::Drained { peer } => self.drained(peer, out),
            Input::Served { peer } => self.common.serve_next(peer, out),
            Input::NotServed { peer } => _ = self.common.serving.remove(&peer),
            Input::Resend => self.resend(out),
            Input::Hung { resource } => self.hung(resource, out),
            Input::SnapshotTaken { handle } => self.common.cut(handle, out),
            Input::NotFetched => self.not_fetched(out),
            Input::Install { from, handle } => self.install(from, handle, out),
        }
        if let Role::Coordinator(coordinator) = &mut self.role {
            if may_push {
                coordinator.push_held_back(None, &mut self.common, out);
            }
            if coordinator.proceed(&mut self.common, &mut self.clients, out) {
                self.end_role_after_change(out);
            }
        }
        self.give_way_if_others_are_further(out);
        self.common.tell_room(out);
        self.clients.reads.answer(self.common.learner.applied(), out);
    }

    fn receive(&mut self, from: ReplicaId, message: Message<V>, out: &mut Output<V>) {
        let is_member = self.common.configuration().contains(from);
        if from == self.common.me || !(is_member || is_for_anyone(&message)) {
            return;
        }
        match message {
            Message::Compare { prefix, is_question } => {
                return self.take_comparison(from, &prefix, is_question, out);
            }
            Message::Remind { testimony } => return self.take_reminder(from, &testimony, out),
            Message::Forgot { forgotten } => return self.take_forgotten(from, forgotten, out),
            _ => {}
        }
        if !self.common.counts(from, &message, out) {
            return;
        }
        match message {
            Message::Order { configuration, s, order } => {
                let mine = self.common.configuration();
                if configuration != mine.id() {
                    let prefix = self.common.prefix();
                    out.send(from, Message::CommittedThrough { prefix });
                } else if mine.is_voter(from) && self.common.constants.owns(from, s) {
                    self.obey(from, s, order, out);
                }
            }
            Message::Reply { configuration, s, reply } => {
                let is_awaited = self.role.number() == Some(s);
                if configuration == self.common.configuration().id() && is_awaited {
                    self.common.remember(from, s, &reply);
                    self.take_reply(from, reply, out);
                }
            }
            Message::Reject { promised } => self.rejected(from, promised, out),
            Message::CommittedThrough { prefix } => {
                self.take_committed_through(from, &prefix, out);
            }
            Message::Ask { from: first, through, prefix: _ } => {
                if let Role::Coordinator(coordinator) = &mut self.role {
                    coordinator.take_ask(from, through.min(self.common.watermark()));
                }
                self.common.serve(from, SlotRange { first, last: through }, out);
            }
            Message::Committed { log_starts_at, first, before, entries, watermark } => {
                let served = Served { log_starts_at, first, before, entries, watermark };
                self.take_committed(from, served, out);
            }
            Message::Submit { submissions } => self.take_forwarded(from, submissions, out),
            Message::Submitted { submission, slot } => self.submitted(from, submission, slot, out),
            Message::Read { run, ids } => self.take_forwarded_reads(from, run, &ids, out),
            Message::ReadAt { run, ids, slot } => {
                if run == self.common.run && self.common.is_possible_list(&ids) {
                    self.clients.reads.tell(&ids, slot);
                }
            }
            Message::Compare { .. } | Message::Remind { .. } | Message::Forgot { .. } => {}
            Message::Offer { slot } => self.take_offer(from, slot, out),
            Message::NotTaken { s, reason, submissions, reads } => {
                self.not_taken(s, from, reason, &submissions, reads);
            }
            Message::Forward { s } => self.may_forward(s, from, out),
            Message::AskReady { s, number, prefix } => {
                self.take_ask_ready(from, s, number, &prefix, out);
            }
            Message::Ready { s, number, incarnation, through } => {
                self.take_ready(from, (s, number), incarnation, through);
            }
            Message::NotReady { s, submission, ready } => {
                self.not_ready(from, s, submission, ready, out);
            }
        }
    }

    /// Takes an answer to an order that this replica gave under its present number.
    fn take_reply(&mut self, from: ReplicaId, reply: Reply<V>, out: &mut Output<V>) {
        let common = &mut self.common;
        match (&mut self.role, reply) {
            (Role::Canvassing(canvassing), Reply::Agree { run }) if run == common.run => {
                canvassing.agree(from, common.configuration());
                self.stand_when_agreed(out);
            }
            (Role::Candidate(candidate), Reply::Promise(frame)) if candidate.proposed => {
                candidate.take(from, frame, common.watermark(), common.limits());
                self.coordinate_when_elected(out);
            }
            (Role::Coordinator(coordinator), Reply::Acknowledge { ranges, prefix })
                if common.is_possible_list(&ranges) =>
            {
                coordinator.take_acknowledgement(from, &ranges, &prefix, common);
            }
            (Role::Coordinator(coordinator), Reply::Room { through }) => {
                coordinator.take_room(from, through, common);
            }
            (Role::Coordinator(coordinator), Reply::Obey { number, last, prefix }) => {
                coordinator.take_watermark(from, prefix.through, common);
                coordinator.take_obey(from, number, last, common, out);
            }
            (Role::Coordinator(coordinator), Reply::Applied { through }) => {
                coordinator.take_applied(from, through, common);
            }
            _ => {}
        }
        if let Role::Coordinator(coordinator) = &mut self.role {
            coordinator.push_held_back(Some(from), &mut self.common, out);
        }
    }

    /// Records up to `through` are durable: what rests on them may be told.
    fn synced(&mut self, through: Position, out: &mut Output<V>) {
        let was_stalled = self.common.disk_is_stalled();
        let accepted = self.common.synced(through);
        self.acknowledge(accepted, out);
        self.common.give_owed_promise(out);
        self.propose_when_durable(out);
        if was_stalled && !self.common.disk_is_stalled() {
            self.ask_after_a_stall(out);
        }
    }

    /// Tells the owners of their numbers which entries are durably accepted here. If that is this
    /// replica itself, its own vote counts from now on.
    fn acknowledge(&mut self, accepted: Vec<(SequenceNumber, Slot)>, out: &mut Output<V>) {
        let common = &self.common;
        let mut accepted = accepted.into_iter().peekable();
        while let Some((s, slot)) = accepted.next() {
            let mut ranges = RangeBuilder::default();
            ranges.push(slot);
            while let Some((_, slot)) = accepted.next_if(|(next, _)| *next == s) {
                ranges.push(slot);
            }
            let ranges = ranges.finish();
            if !common.constants.owns(common.me, s) {
                for ranges in common.in_lists(&ranges) {
                    common.acknowledge(s, ranges, out);
                }
            } else if let Role::Coordinator(coordinator) = &mut self.role
                && coordinator.s == s
            {
                coordinator.count_votes(common.me, &ranges, common.configuration());
            }
        }
    }

    /// The newest configuration that this replica knows: it governs the slots above the watermark.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.common.configuration()
    }

    /// The configuration before the newest one, as long as no slot after the change is known to be committed. A
    /// replica that has started since, or has installed a snapshot, may not know it.
    #[must_use]
    pub fn former_configuration(&self) -> Option<&Configuration> {
        self.common.learner.former()
    }

    /// The slot of the change that made the newest configuration; [`Slot::ZERO`] for the first one.
    #[must_use]
    pub fn changed_at(&self) -> Slot {
        self.common.learner.changed_at()
    }

    /// The sequence number that this replica would pick if it stood for election now.
    #[must_use]
    pub fn next_number(&self) -> Option<SequenceNumber> {
        self.common.next_number()
    }
}

/// Whether a message counts even if its sender is no member of the configuration here. One of the two
/// configurations is not the newest.
fn is_for_anyone<V>(message: &Message<V>) -> bool {
    matches!(
        message,
        Message::Order { .. }
            | Message::Ask { .. }
            | Message::Committed { .. }
            | Message::CommittedThrough { .. }
            | Message::Offer { .. }
            | Message::AskReady { .. }
            | Message::Ready { .. }
    )
}

/// Whether a portion of what is held back from followers may be pushed after this input: there is news of
/// the way to one, or time has passed. Another one follows when a follower answers. So portions follow
/// one another no faster than they are taken.
fn may_push<V>(input: &Input<V>) -> bool {
    matches!(
        input,
        Input::Reconnected { .. } | Input::Drained { .. } | Input::Heartbeat | Input::Resend
    )
}
