//! What an answer does to the request that it answers.

use std::time::Duration;

use synod_model::{DeliveryRefused, Slot};
use synod_wire::api::{self, QueryError, ReadError, SubmitError};
use synod_wire::protocol::Answer;
use tokio::time::Instant;

use super::job::{Job, Submitted, What};
use super::{AGAIN, Requests, Sent, Ticket};
use crate::outcome::{NotDone, QueryFailed, SubmitFailed, Unknown};

/// The reasons for leaving a replica.
const STARTING: &str = "it is starting, and reads its log";
const STOPPING: &str = "it is stopping";
const OUTSIDE: &str = "it is no member of the cluster";

/// A change that the coordinator does not open is sent again after a while: 50 ms at first, twice as long each time,
/// at most 1 s. It opens the change when those who would vote are there and have nearly everything, and that may
/// take as long as a snapshot takes to come.
const NOT_READY_AGAIN_MAX: Duration = Duration::from_secs(1);

/// Whether the client stays with the replica that gave an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    Stay,
    /// The replica serves nobody now, for this reason.
    MoveOn(&'static str),
}

impl Requests {
    /// Takes in an answer.
    pub(crate) fn answer(&mut self, id: u64, answer: Answer, now: Instant) -> Advice {
        let sent = self.sent.remove(&id);
        if let Some(Sent::Job(ticket)) = sent {
            self.mark_sent(ticket, false);
        }
        match sent {
            Some(Sent::Opening) => self.opened(&answer, now),
            Some(Sent::Job(ticket)) => self.answered(ticket, answer, now),
            // The client has not asked this.
            None => Advice::Stay,
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Answer, now: Instant) -> Advice {
        let Some(job) = self.jobs.get(&ticket) else {
            // Its time is up.
            return Advice::Stay;
        };
        match (&job.what, answer) {
            (What::Submit { submitted: Submitted::Command { .. }, .. }, Answer::Done(applied)) => {
                self.troubles.forget();
                if let Some(Submitted::Command { reply, .. }) = self.end_submitted(ticket) {
                    drop(reply.send(Ok(applied)));
                }
                Advice::Stay
            }
            (What::Submit { submitted: Submitted::Change { .. }, .. }, Answer::Changed(slot)) => {
                self.troubles.forget();
                if let Some(Submitted::Change { reply, .. }) = self.end_submitted(ticket) {
                    drop(reply.send(Ok(slot)));
                }
                Advice::Stay
            }
            (What::Members { .. }, Answer::Members(members)) => {
                self.troubles.forget();
                if let Some(Job { what: What::Members { reply }, .. }) = self.end(ticket) {
                    drop(reply.send(Ok(*members)));
                }
                Advice::Stay
            }
            (What::End { .. }, Answer::Ended(slot)) => self.session_ended(ticket, slot),
            (What::End { .. }, Answer::NoSlot(error)) => self.session_not_ended(ticket, error, now),
            (What::Read { .. }, Answer::ReadAt(slot)) => {
                self.troubles.forget();
                if let Some(Job { what: What::Read { reply }, .. }) = self.end(ticket) {
                    drop(reply.send(Ok(slot)));
                }
                Advice::Stay
            }
            (What::Query { .. }, Answer::Answered(answered)) => {
                self.troubles.forget();
                if let Some(Job { what: What::Query { reply, .. }, .. }) = self.end(ticket) {
                    drop(reply.send(Ok(answered)));
                }
                Advice::Stay
            }
            (What::Submit { .. }, Answer::NoSlot(error)) => self.no_slot(ticket, error, now),
            (What::Read { .. } | What::Members { .. }, Answer::NotRead(error)) => {
                self.troubles.note(error.to_string());
                self.again(ticket, now);
                match error {
                    ReadError::Starting => Advice::MoveOn(STARTING),
                    ReadError::Stopping => Advice::MoveOn(STOPPING),
                    ReadError::NotAMember => Advice::MoveOn(OUTSIDE),
                    _ => Advice::Stay,
                }
            }
            (What::Query { .. }, Answer::NotAnswered(error)) => {
                self.troubles.note(error.to_string());
                if error.may_pass() {
                    self.again(ticket, now);
                } else if let Some(Job { what: What::Query { reply, .. }, .. }) = self.end(ticket) {
                    drop(reply.send(Err(QueryFailed::Refused(error))));
                }
                match error {
                    QueryError::Starting => Advice::MoveOn(STARTING),
                    QueryError::Stopping => Advice::MoveOn(STOPPING),
                    QueryError::NotAMember => Advice::MoveOn(OUTSIDE),
                    _ => Advice::Stay,
                }
            }
            (_, _) => {
                self.not_an_answer(ticket, now);
                Advice::Stay
            }
        }
    }

    /// The answer does not fit the ask. The replica has the ask, and has not said what became of it.
    fn not_an_answer(&mut self, ticket: Ticket, now: Instant) {
        self.troubles.note("the replica answered what it was not asked".to_owned());
        if let Some(Job { what: What::Submit { may_be_taken, .. }, .. }) =
            self.jobs.get_mut(&ticket)
        {
            *may_be_taken = true;
        }
        self.again(ticket, now);
    }

    fn opened(&mut self, answer: &Answer, now: Instant) -> Advice {
        match *answer {
            Answer::Opened(id) => {
                self.session.opened(id);
                Advice::Stay
            }
            Answer::NoSlot(error) => {
                self.troubles.note(format!("no session could be opened: {error}"));
                self.session.not_opened(Some(now + AGAIN));
                advice(error)
            }
            _ => {
                self.session.not_opened(Some(now + AGAIN));
                Advice::Stay
            }
        }
    }

    fn no_slot(&mut self, ticket: Ticket, error: SubmitError, now: Instant) -> Advice {
        let Some(Job { what: What::Submit { submitted, may_be_taken, refused, numbered }, .. }) =
            self.jobs.get_mut(&ticket)
        else {
            return Advice::Stay;
        };
        match error {
            SubmitError::NotDone(reason) if reason.may_pass() => {
                *refused = Some(reason);
                self.again(ticket, now);
            }
            SubmitError::NotDone(reason) => self.fail(ticket, NotDone::Refused(reason)),
            SubmitError::Unknown(reason) => {
                *may_be_taken = true;
                if reason.may_pass() {
                    let pause = pause_after(submitted, reason);
                    self.again_after(ticket, pause, now);
                } else {
                    let is_of = *numbered;
                    self.end_submission(ticket, SubmitFailed::Unknown(Unknown::Told(reason)));
                    let is_gone = reason == api::Unknown::Refused(DeliveryRefused::NoSession);
                    if is_gone && is_of.is_some_and(|it| Some(it.session) == self.session.id()) {
                        self.session.gone();
                    }
                }
            }
        }
        self.troubles.note(error.to_string());
        advice(error)
    }

    fn session_ended(&mut self, ticket: Ticket, slot: Slot) -> Advice {
        self.troubles.forget();
        if let Some(Job { what: What::End { session, reply }, .. }) = self.end(ticket) {
            if self.session.id() == Some(session) {
                self.session.gone();
            }
            drop(reply.send(Ok(slot)));
        }
        Advice::Stay
    }

    fn session_not_ended(&mut self, ticket: Ticket, error: SubmitError, now: Instant) -> Advice {
        // It has ended before, or was evicted.
        let no_session = api::Unknown::Refused(DeliveryRefused::NoSession);
        if error == SubmitError::Unknown(no_session) {
            return self.session_ended(ticket, Slot::ZERO);
        }
        self.troubles.note(error.to_string());
        self.again(ticket, now);
        advice(error)
    }

    fn end_submitted(&mut self, ticket: Ticket) -> Option<Submitted> {
        match self.end(ticket)?.what {
            What::Submit { submitted, .. } => Some(submitted),
            _ => None,
        }
    }

    /// Ends a submission that was refused for good.
    pub(super) fn fail(&mut self, ticket: Ticket, because: NotDone) {
        let may_be_taken = self
            .jobs
            .get(&ticket)
            .is_some_and(|job| matches!(job.what, What::Submit { may_be_taken: true, .. }));
        self.end_submission(
            ticket,
            match because {
                NotDone::Refused(reason) if may_be_taken => {
                    SubmitFailed::Unknown(Unknown::RefusedLater(reason))
                }
                because => SubmitFailed::NotDone(because),
            },
        );
    }
}

/// How long a submission waits that has got this answer, and is sent again.
fn pause_after(submitted: &mut Submitted, reason: api::Unknown) -> Duration {
    match (submitted, reason) {
        (Submitted::Change { pause, not_ready, .. }, api::Unknown::NotReady { ready }) => {
            *not_ready = Some(ready);
            let now = *pause;
            *pause = (now * 2).min(NOT_READY_AGAIN_MAX);
            now
        }
        _ => AGAIN,
    }
}

/// Whether another replica should be asked.
fn advice(error: SubmitError) -> Advice {
    match error {
        SubmitError::NotDone(api::NotDone::Starting) => Advice::MoveOn(STARTING),
        SubmitError::NotDone(api::NotDone::Stopping)
        | SubmitError::Unknown(api::Unknown::Stopping) => Advice::MoveOn(STOPPING),
        SubmitError::NotDone(api::NotDone::NotAMember)
        | SubmitError::Unknown(api::Unknown::Removed) => Advice::MoveOn(OUTSIDE),
        _ => Advice::Stay,
    }
}
