//! The shell: everything between one replica of the core and its disk, peers, application and clients.
//!
//! It has no disk, network, clock or thread of its own. A driver tells it what has happened, and at
//! what time. It says what is to be done, and the driver does that. So the same shell runs in a node,
//! on real files and sockets, and in a test, where a whole cluster runs in one thread on simulated
//! ones.
//!
//! The shell decides nothing about the protocol. It remembers which client waits for what
//! ([`waiting`]), counts time ([`detector`]), and merges what arrives together: all submissions of a
//! batch of events are one input to the core, and so one accept and one write.
//!
//! ```text
//! loop:  handle(event, now) for whatever has arrived;  flush(now);  do what `effects` says
//! ```

pub(crate) mod detector;
pub(crate) mod hangs;
#[cfg(test)]
mod tests;
pub(crate) mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use synod_model::{
    ClientAnswer, Delivered, Entry, Input, Message, Opening, Output, Position, ReadId, Replica,
    ReplicaId, Request, Resource, RoleName, Run, SessionId, Slot, SnapshotHandle, Status,
};
use synod_wire::Value;
use synod_wire::api::{NotDone, ReadError, SubmitError, Unknown};

use detector::{Alarm, Detector, Timing};
use hangs::Hangs;
use waiting::{Waiter, Waiting};

/// What a shell is told. An `S` is the way to answer a submission, an `R` the way to answer a read.
#[derive(Debug)]
pub(crate) enum ShellEvent<S, R> {
    /// A peer has sent a message.
    Peer(ReplicaId, Message<Value>),
    /// A part of a message of this peer has arrived.
    Alive(ReplicaId),
    /// This peer has begun another run.
    Restarted(ReplicaId),
    /// A connection with this peer was made: what was sent before may be lost.
    Reconnected(ReplicaId),
    /// Much waits on its way to this peer.
    Full(ReplicaId),
    /// Little waits on its way to this peer any more.
    Drained(ReplicaId),
    /// What was served to this peer has left.
    Served(ReplicaId),
    /// What was served to this peer and has not left is lost.
    NotServed(ReplicaId),
    /// A message to this peer and an answer take so long.
    RoundTrip(ReplicaId, Duration),
    /// Everything written up to this position is durable.
    Synced(Position),
    /// The application has applied everything up to this slot.
    Applied(Slot),
    /// The snapshot of this handle is durable.
    SnapshotTaken(Arc<SnapshotHandle>),
    /// A snapshot of this peer has come, and is durable.
    Install(ReplicaId, Arc<SnapshotHandle>),
    /// The snapshot that was to be fetched does not come.
    NotFetched,
    /// A client submits something.
    Submit(Submission, S),
    /// A client asks where the log ends.
    Read(R),
}

/// What a client submits. The shell adds the id of an opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Submission {
    /// A session.
    Open,
    /// A value.
    Request(Request<Value>),
    /// The end of a session.
    End(SessionId),
}

/// What is to be done. The driver takes all of it before it tells the shell anything more.
#[derive(Debug)]
pub(crate) struct Effects<S, R> {
    /// What the core wants written, sent, delivered and served.
    pub(crate) out: Output<Value>,
    /// The snapshots that the application is to be restored from, and before which entry of
    /// `out.delivered` each. These places ascend.
    pub(crate) restores: Vec<Restore>,
    /// The outcomes of submissions; a success is the slot of the first copy. Before each stands the slot
    /// of the state that answers it: the application has applied that slot, and nothing above. These
    /// slots ascend.
    pub(crate) on_delivery: Vec<(Slot, S, Result<Slot, SubmitError>)>,
    /// Submissions that fail at once.
    pub(crate) failed: Vec<(S, SubmitError)>,
    /// The outcomes of reads. The application has applied what they must see.
    pub(crate) read: Vec<(R, Result<Slot, ReadError>)>,
    /// The replica has ceased to coordinate, for want of answers.
    pub(crate) unanswered: Option<Unanswered>,
    /// What people are to be told of a disk or an application that hangs, in order.
    pub(crate) hang_news: Vec<HangNews>,
}

/// The application is to be restored from the snapshot of this slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restore {
    /// How many of the entries that are delivered come before.
    pub(crate) after_entries: usize,
    /// The last slot that the snapshot includes.
    pub(crate) slot: Slot,
}

/// How long a replica has not heard of a coordinator. Times are counted from the start of the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silence {
    /// It heard of one at this time.
    pub(crate) since: Duration,
    /// Until this time, it is no wonder that it has heard nothing.
    pub(crate) counts_from: Duration,
}

/// What has happened about a disk or an application that hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangNews {
    /// It has made no progress for this limit of time.
    Hangs { resource: Resource, limit: Duration, coordinates: bool },
    /// The replica has ceased to coordinate, or to stand for election.
    GaveWay { resource: Resource, coordinated: bool },
    /// It makes progress again, after this time.
    Works { resource: Resource, after: Duration },
}

/// Why a coordinator has stepped down by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// For how long a majority has not answered.
    pub(crate) limit: Duration,
    /// How long answers took before.
    pub(crate) round_trip: Duration,
}

impl<S, R> Default for Effects<S, R> {
    fn default() -> Self {
        Self {
            out: Output::default(),
            restores: Vec::new(),
            on_delivery: Vec::new(),
            failed: Vec::new(),
            read: Vec::new(),
            unanswered: None,
            hang_news: Vec::new(),
        }
    }
}

/// One replica, and what surrounds it.
#[derive(Debug)]
pub(crate) struct Shell<S, R> {
    replica: Replica<Value>,
    /// The state of the replica after its last step.
    status: Status,
    run: Run,
    me: ReplicaId,
    detector: Detector,
    hangs: Hangs,
    waiting: Waiting<S, R>,
    submissions: Vec<Entry<Value>>,
    reads: Vec<ReadId>,
    /// How many sessions were opened through this run.
    opened: u64,
    /// The last slot that went to the application since this shell was made.
    delivered: Slot,
    /// The highest watermark in a message of a peer.
    heard_watermark: Slot,
    /// The last round trip of each peer.
    round_trips: BTreeMap<ReplicaId, Duration>,
    effects: Effects<S, R>,
}

impl<S: Waiter, R: Waiter> Shell<S, R> {
    /// A shell around `replica`, which has just recovered.
    pub(crate) fn new(replica: Replica<Value>, timing: Timing, rng: Rng, now: Duration) -> Self {
        let status = replica.status();
        let Status { me, run, .. } = status;
        let hangs = Hangs::new(timing.hung_after, timing.hung_after_max, now);
        Self {
            replica,
            status,
            run,
            me,
            detector: Detector::new(timing, rng, now),
            hangs,
            waiting: Waiting::default(),
            submissions: Vec::new(),
            reads: Vec::new(),
            opened: 0,
            delivered: Slot::ZERO,
            heard_watermark: Slot::ZERO,
            round_trips: BTreeMap::new(),
            effects: Effects::default(),
        }
    }

    /// The state of the replica.
    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    /// The replica, for those who look at it.
    pub(crate) fn replica(&self) -> &Replica<Value> {
        &self.replica
    }

    /// The handle of a snapshot of all that was delivered up to now. None if there can be none now.
    pub(crate) fn snapshot_handle(&self) -> Option<Arc<SnapshotHandle>> {
        self.replica.snapshot_handle()
    }

    /// The highest slot that is known to be committed, by this replica itself or by its peers' messages.
    pub(crate) fn known_watermark(&self) -> Slot {
        self.heard_watermark.max(self.status.watermark)
    }

    /// Since when this replica has heard of no coordinator that has a majority, and from when on that
    /// means something. None if it is one.
    pub(crate) fn silence(&self) -> Option<Silence> {
        let since = self.detector.heard_at();
        let counts_from = since + self.detector.suspect_after();
        let coordinates = matches!(self.status.role, RoleName::Coordinator { .. });
        (!coordinates).then_some(Silence { since, counts_from })
    }

    /// When the shell must be flushed next, even if nothing happens.
    pub(crate) fn next_alarm(&self) -> Duration {
        let hung = self.hangs.next().unwrap_or(Duration::MAX);
        self.detector.next().min(hung)
    }

    /// Takes in an event. Submissions and reads are only noted, until the next [`flush`](Self::flush).
    pub(crate) fn handle(&mut self, event: ShellEvent<S, R>, now: Duration) {
        match event {
            ShellEvent::Peer(from, message) => {
                let told = message.watermark().unwrap_or_default();
                self.heard_watermark = self.heard_watermark.max(told);
                self.step(Input::Receive { from, message }, now);
            }
            ShellEvent::Alive(from) => {
                self.detector.progress(now);
                let Status { role, coordinator, .. } = self.status;
                if role == RoleName::Follower && coordinator == Some(from) {
                    self.detector.heard(now);
                }
            }
            ShellEvent::Restarted(peer) => self.step(Input::Restarted { peer }, now),
            ShellEvent::Reconnected(peer) => self.step(Input::Reconnected { peer }, now),
            ShellEvent::Full(peer) => self.step(Input::Full { peer }, now),
            ShellEvent::Drained(peer) => self.step(Input::Drained { peer }, now),
            ShellEvent::Served(peer) => self.step(Input::Served { peer }, now),
            ShellEvent::NotServed(peer) => self.step(Input::NotServed { peer }, now),
            ShellEvent::RoundTrip(peer, round_trip) => {
                self.round_trips.insert(peer, round_trip);
                // Nobody waits for the answers of others.
                let configuration = self.replica.configuration();
                self.round_trips.retain(|peer, _| configuration.contains(*peer));
                let longest = self.round_trips.values().max().copied().unwrap_or_default();
                self.detector.set_round_trip(longest);
            }
            ShellEvent::Synced(through) => self.step(Input::Synced { through }, now),
            ShellEvent::Applied(through) => self.step(Input::Applied { through }, now),
            ShellEvent::SnapshotTaken(handle) => {
                self.step(Input::SnapshotTaken { handle }, now);
            }
            ShellEvent::Install(from, handle) => self.install(from, handle, now),
            ShellEvent::NotFetched => self.step(Input::NotFetched, now),
            ShellEvent::Submit(submission, reply) => self.submit(submission, reply),
            ShellEvent::Read(reply) => self.reads.push(self.waiting.read(reply)),
        }
    }

    /// Passes on what clients wanted since the last flush, all at once, and every alarm that is due.
    pub(crate) fn flush(&mut self, now: Duration) {
        if !self.submissions.is_empty() {
            let submissions = std::mem::take(&mut self.submissions);
            self.detector.begins(now);
            self.step(Input::Submit(submissions), now);
        }
        if !self.reads.is_empty() {
            // A read occupies one of the core's places until it is answered, so a client that has gone
            // gets none.
            let mut reads = std::mem::take(&mut self.reads);
            reads.retain(|id| self.waiting.still_reads(*id));
            self.step(Input::Read(reads), now);
        }
        self.tell_hangs(now);
        while let Some(alarm) = self.detector.due(now) {
            match alarm {
                Alarm::Heartbeat => self.step(Input::Heartbeat, now),
                Alarm::Resend => self.step(Input::Resend, now),
                Alarm::Suspect => self.suspect(now),
                Alarm::Stand => self.step(Input::Elect { canvass: true }, now),
            }
        }
    }

    /// What hangs, and since when it has made no progress.
    pub(crate) fn hanging(&self) -> impl Iterator<Item = (Resource, Duration)> + use<'_, S, R> {
        let hung = self.status.hung;
        let both = [(Resource::Disk, hung.disk), (Resource::Application, hung.application)];
        let hanging = both.into_iter().filter(|(_, hangs)| *hangs);
        hanging.filter_map(|(it, _)| Some((it, self.hangs.stands_still_since(it)?)))
    }

    /// Tells the core of what hangs, if anything has reached its limit. A [`flush`](Self::flush) does this
    /// too. A driver that waits for the application does only this, so that nothing gathers meanwhile.
    pub(crate) fn tell_hangs(&mut self, now: Duration) {
        self.hangs.look(&self.status, now);
        while let Some(resource) = self.hangs.due(now) {
            self.step(Input::Hung { resource }, now);
        }
    }

    /// When that is to be done next.
    pub(crate) fn next_hang(&self) -> Option<Duration> {
        self.hangs.next()
    }

    /// What is to be done since the driver last took it out.
    pub(crate) fn effects(&mut self) -> &mut Effects<S, R> {
        &mut self.effects
    }

    /// Ends the shell: all clients that still wait get their answer now.
    pub(crate) fn stop(&mut self) {
        let submissions = self.waiting.take_submissions();
        let unknown = |reply| (reply, SubmitError::Unknown(Unknown::Stopping));
        self.effects.failed.extend(submissions.map(unknown));
        let reads = self.waiting.take_reads();
        self.effects.read.extend(reads.map(|reply| (reply, Err(ReadError::Stopping))));
    }

    fn submit(&mut self, submission: Submission, reply: S) {
        let entry = match submission {
            Submission::Open => {
                self.opened += 1;
                Entry::Open(Opening { origin: self.me, run: self.run, count: self.opened })
            }
            Submission::Request(request) => Entry::Request(request),
            Submission::End(session) => Entry::End { session },
        };
        let refused = match entry.submission_id() {
            Some(id) => self.waiting.submission(id, reply).map_err(|it| (it, NotDone::TooMany)),
            None => Err((reply, NotDone::NotASubmission)),
        };
        match refused {
            Ok(()) => self.submissions.push(entry),
            Err((reply, reason)) => {
                self.effects.failed.push((reply, SubmitError::NotDone(reason)));
            }
        }
    }

    /// The core may have no use for a snapshot that has come. Then it does not wait for it any more.
    fn install(&mut self, from: ReplicaId, handle: Arc<SnapshotHandle>, now: Duration) {
        let (slot, before) = (handle.slot, self.status.watermark);
        self.step(Input::Install { from, handle }, now);
        if slot <= before || slot > self.status.watermark {
            self.step(Input::NotFetched, now);
        }
    }

    fn suspect(&mut self, now: Duration) {
        let coordinates = |it: &Self| matches!(it.status.role, RoleName::Coordinator { .. });
        let before = coordinates(self);
        self.step(Input::Suspect, now);
        if before && !coordinates(self) {
            let (limit, round_trip) = (self.detector.suspect_after(), self.detector.round_trip());
            self.effects.unanswered = Some(Unanswered { limit, round_trip });
        }
    }

    fn step(&mut self, input: Input<Value>, now: Duration) {
        let delivered_before = self.effects.out.delivered.len();
        self.replica.step(input, &mut self.effects.out);
        let before = std::mem::replace(&mut self.status, self.replica.status());
        if std::mem::take(&mut self.effects.out.coordinator_heard) {
            self.detector.heard(now);
        }
        if std::mem::take(&mut self.effects.out.election_advances) {
            self.detector.election_advances(now);
        }
        if let Some(slot) = self.effects.out.restore.take() {
            self.effects.restores.push(Restore { after_entries: delivered_before, slot });
            self.delivered = slot;
            self.detector.progress(now);
        }
        if self.effects.out.delivered.len() > delivered_before {
            self.detector.progress(now);
        }
        self.watch_resources(&before, now);
        for delivered in &self.effects.out.delivered[delivered_before..] {
            let Delivered { slot, entry, verdict } = delivered;
            self.delivered = *slot;
            if let (Some(id), Some(verdict)) = (entry.submission_id(), *verdict) {
                for reply in self.waiting.delivered(id) {
                    let outcome = waiting::outcome(*slot, verdict);
                    self.effects.on_delivery.push((*slot, reply, outcome));
                }
            }
        }
        for answer in std::mem::take(&mut self.effects.out.answers) {
            self.answer(&answer);
        }
    }

    /// Notes how far the disk and the application have come in a step, and what that means for people.
    fn watch_resources(&mut self, before: &Status, now: Duration) {
        let after = &self.status;
        let news = &mut self.effects.hang_news;
        let coordinated = matches!(before.role, RoleName::Coordinator { .. });
        for (resource, was_hung, is_hung) in [
            (Resource::Disk, before.hung.disk, after.hung.disk),
            (Resource::Application, before.hung.application, after.hung.application),
        ] {
            if is_hung && !was_hung {
                let limit = self.hangs.limit();
                news.push(HangNews::Hangs { resource, limit, coordinates: coordinated });
            }
            if was_hung && !is_hung {
                let since = self.hangs.stands_still_since(resource).unwrap_or(now);
                news.push(HangNews::Works { resource, after: now.saturating_sub(since) });
            }
        }
        self.hangs.look(after, now);
        self.detector.set_write_took(self.hangs.write_took());
        if after.watermark > before.watermark {
            self.hangs.committed();
        }
        if let Some(resource) = self.effects.out.gave_way.take() {
            self.hangs.gave_way();
            news.push(HangNews::GaveWay { resource, coordinated });
        }
    }

    fn answer(&mut self, answer: &ClientAnswer) {
        let (submission, error) = match *answer {
            ClientAnswer::Read { id, slot } => {
                let reply = self.waiting.answered(id);
                return self.effects.read.extend(reply.map(|reply| (reply, Ok(slot))));
            }
            ClientAnswer::ReadRefused { id, reason } => {
                let refused = |reply| (reply, Err(reason.into()));
                return self.effects.read.extend(self.waiting.answered(id).map(refused));
            }
            // It is committed, but the application may not have applied it. The core found it in the
            // request table as that is now, so its response is looked up in the state as of now.
            ClientAnswer::Done { submission, slot } => {
                let replies = self.waiting.delivered(submission);
                let now = self.delivered;
                self.effects.on_delivery.extend(replies.map(|reply| (now, reply, Ok(slot))));
                return;
            }
            ClientAnswer::GivenUp { submission } => {
                (submission, SubmitError::Unknown(Unknown::GivenUp))
            }
            ClientAnswer::Unknown { submission } => {
                (submission, SubmitError::Unknown(Unknown::InSnapshot))
            }
            ClientAnswer::NotReady { submission, ready } => {
                (submission, SubmitError::Unknown(Unknown::NotReady { ready }))
            }
            ClientAnswer::Removed { submission } => {
                (submission, SubmitError::Unknown(Unknown::Removed))
            }
            // Everything that the shell submits has an id.
            ClientAnswer::Refused { submission: None, .. } => return,
            ClientAnswer::Refused { submission: Some(submission), reason } => {
                (submission, SubmitError::NotDone(reason.into()))
            }
        };
        let replies = self.waiting.delivered(submission);
        self.effects.failed.extend(replies.map(|reply| (reply, error)));
    }
}
