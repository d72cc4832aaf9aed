//! The unanswered requests of a client: the bookkeeping, without any I/O.
//!
//! A submission gets a number in the session when it is first sent, and keeps the number however often
//! it is sent again. So it is applied once. Three rules:
//!
//! - Every request carries `answered`, the lowest number without an answer. A number is below it only
//!   when its submission is answered or given up.
//! - A number is given out only within `session_requests_max` of `answered`; beyond that, delivery
//!   would refuse it. So one slow submission holds back those far behind it.
//! - "Not done" is claimed only for what was never sent, or was refused at once every time. What was on
//!   a connection that broke may have been taken. So may what was answered with something that is no
//!   answer to it.
//!
//! A session is opened when it is first needed. Another one is opened when a replica says that it is
//! gone. What was sent in the old session stays in it: in another session it would be another request.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use synod_model::{DeliveryRefused, SessionId, Slot, Value as _};
use synod_wire::Value;
use synod_wire::api::{
    self, About, Answered, Applied, QueryError, ReadError, Request, SubmitError,
};
use synod_wire::protocol::{Answer, Ask, Query};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::outcome::{NotDone, QueryFailed, ReadFailed, SubmitFailed, Unknown};
use super::session::{AGAIN, Session};

/// The unanswered requests of a client.
#[derive(Debug, Default)]
pub(super) struct Requests {
    session: Session,
    jobs: BTreeMap<Ticket, Job>,
    /// To be sent, oldest first.
    to_send: BTreeSet<Ticket>,
    /// Refused, and to be sent again at its time.
    later: BTreeSet<(Instant, Ticket)>,
    /// Sent on the present connection, by the id of the ask.
    sent: HashMap<u64, Sent>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    tickets: u64,
    asks: u64,
    /// The endpoint that is asked now.
    endpoint: String,
    /// What went wrong last at each endpoint, in the order in which they failed. Requests that time out
    /// report it: the last trouble alone may be that of a replica that was not the reason.
    troubles: Vec<(String, String)>,
}

/// The reasons for leaving a replica.
const STARTING: &str = "it is starting, and reads its log";
const STOPPING: &str = "it is stopping";

/// Jobs in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Ticket(u64);

/// What an ask was for.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Opening,
    Job(Ticket),
}

#[derive(Debug)]
struct Job {
    began: Instant,
    deadline: Instant,
    /// Whether an answer may still come on the present connection.
    is_sent: bool,
    what: What,
}

pub(super) type SubmitReply = oneshot::Sender<Result<Applied, SubmitFailed>>;
pub(super) type ReadReply = oneshot::Sender<Result<Slot, ReadFailed>>;
pub(super) type QueryReply = oneshot::Sender<Result<Answered, QueryFailed>>;

#[derive(Debug)]
enum What {
    Submit {
        value: Value,
        /// Its identity, once it was sent.
        numbered: Option<Numbered>,
        /// Whether some attempt ended without an answer.
        may_be_taken: bool,
        refused: Option<api::NotDone>,
        reply: SubmitReply,
    },
    Read {
        reply: ReadReply,
    },
    Query {
        query: Query,
        reply: QueryReply,
    },
}

/// The identity of a request.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    session: SessionId,
    number: u64,
    /// The `answered` that it was last sent with.
    answered: u64,
}

/// Whether the client stays with the replica that gave an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    Stay,
    /// The replica serves nobody now, for this reason.
    MoveOn(&'static str),
}

impl Requests {
    /// Takes a value to submit.
    pub(super) fn submit(
        &mut self,
        value: Value,
        now: Instant,
        deadline: Instant,
        reply: SubmitReply,
    ) {
        let numbered = None;
        let what = What::Submit { value, numbered, may_be_taken: false, refused: None, reply };
        self.add(now, deadline, what);
    }

    /// Takes a read.
    pub(super) fn read(&mut self, now: Instant, deadline: Instant, reply: ReadReply) {
        self.add(now, deadline, What::Read { reply });
    }

    /// Takes a query.
    pub(super) fn query(
        &mut self,
        query: Query,
        now: Instant,
        deadline: Instant,
        reply: QueryReply,
    ) {
        self.add(now, deadline, What::Query { query, reply });
    }

    fn add(&mut self, now: Instant, deadline: Instant, what: What) {
        let job = Job { began: now, deadline, is_sent: false, what };
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.deadlines.insert((job.deadline, ticket));
        self.jobs.insert(ticket, job);
        self.to_send.insert(ticket);
    }

    /// How many requests have no answer.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether the present connection owes an answer.
    pub(super) fn is_waiting(&self) -> bool {
        !self.sent.is_empty()
    }

    /// The session, if it is open.
    pub(super) fn session(&self) -> Option<SessionId> {
        self.session.id()
    }

    /// Sends what can be sent now, oldest first. `put` sends an ask under its id, and returns whether
    /// there is room for another.
    pub(super) fn ask(&mut self, about: &About, mut put: impl FnMut(u64, Ask) -> bool) {
        let mut from = Ticket(0);
        while let Some(&ticket) = self.to_send.range(from..).next() {
            from = Ticket(ticket.0 + 1);
            let Some(ask) = self.ask_of(ticket, about) else {
                continue;
            };
            let sent = if matches!(ask, Ask::OpenSession) {
                Sent::Opening
            } else {
                self.mark_sent(ticket, true);
                Sent::Job(ticket)
            };
            self.asks += 1;
            self.sent.insert(self.asks, sent);
            if !put(self.asks, ask) {
                break;
            }
        }
    }

    fn mark_sent(&mut self, ticket: Ticket, is_sent: bool) {
        if let Some(job) = self.jobs.get_mut(&ticket) {
            job.is_sent = is_sent;
        }
        if is_sent {
            self.to_send.remove(&ticket);
        }
    }

    /// The ask of a job. None if the job has to wait, or has just ended.
    fn ask_of(&mut self, ticket: Ticket, about: &About) -> Option<Ask> {
        let session = &mut self.session;
        let (value, numbered) = match &mut self.jobs.get_mut(&ticket)?.what {
            What::Read { .. } => return Some(Ask::Read),
            What::Query { query, .. } => return Some(Ask::Query(query.clone())),
            What::Submit { value, numbered, .. } => (value, numbered),
        };
        let value_bytes = value.size_bytes();
        if value_bytes > about.value_bytes_max {
            let value_bytes_max = about.value_bytes_max;
            self.fail(ticket, NotDone::TooLarge { value_bytes, value_bytes_max });
            return None;
        }
        let known_as = match (numbered, session.id()) {
            (Some(known_as), _) => known_as,
            (none, Some(id)) => {
                let number = session.next_number(about.session_requests_max)?;
                none.insert(Numbered { session: id, number, answered: number })
            }
            (None, None) => return session.begin_opening().then_some(Ask::OpenSession),
        };
        // The numbers of a session that is gone are not kept, so its `answered` stays as it was.
        if session.id() == Some(known_as.session) {
            known_as.answered = session.answered();
        }
        let Numbered { session, number, answered } = *known_as;
        Some(Ask::Request(Request { session, number, answered, value: value.clone() }))
    }

    /// Takes in an answer.
    pub(super) fn answer(&mut self, id: u64, answer: Answer, now: Instant) -> Advice {
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
            (What::Submit { .. }, Answer::Done(applied)) => {
                self.forget_trouble();
                if let Some(Job { what: What::Submit { reply, .. }, .. }) = self.end(ticket) {
                    drop(reply.send(Ok(applied)));
                }
                Advice::Stay
            }
            (What::Read { .. }, Answer::ReadAt(slot)) => {
                self.forget_trouble();
                if let Some(Job { what: What::Read { reply }, .. }) = self.end(ticket) {
                    drop(reply.send(Ok(slot)));
                }
                Advice::Stay
            }
            (What::Query { .. }, Answer::Answered(answered)) => {
                self.forget_trouble();
                if let Some(Job { what: What::Query { reply, .. }, .. }) = self.end(ticket) {
                    drop(reply.send(Ok(answered)));
                }
                Advice::Stay
            }
            (What::Submit { .. }, Answer::NoSlot(error)) => self.no_slot(ticket, error, now),
            (What::Read { .. }, Answer::NotRead(error)) => {
                self.note_trouble(error.to_string());
                self.again(ticket, now);
                match error {
                    ReadError::Starting => Advice::MoveOn(STARTING),
                    ReadError::Stopping => Advice::MoveOn(STOPPING),
                    _ => Advice::Stay,
                }
            }
            (What::Query { .. }, Answer::NotAnswered(error)) => {
                self.note_trouble(error.to_string());
                if error.may_pass() {
                    self.again(ticket, now);
                } else if let Some(Job { what: What::Query { reply, .. }, .. }) = self.end(ticket) {
                    drop(reply.send(Err(QueryFailed::Refused(error))));
                }
                match error {
                    QueryError::Starting => Advice::MoveOn(STARTING),
                    QueryError::Stopping => Advice::MoveOn(STOPPING),
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
        self.note_trouble("the replica answered what it was not asked".to_owned());
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
                self.note_trouble(format!("no session could be opened: {error}"));
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
        let Some(Job { what: What::Submit { may_be_taken, refused, numbered, .. }, .. }) =
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
                    self.again(ticket, now);
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
        self.note_trouble(error.to_string());
        advice(error)
    }

    /// Sends a job again, after a while.
    fn again(&mut self, ticket: Ticket, now: Instant) {
        if self.jobs.contains_key(&ticket) {
            self.later.insert((now + AGAIN, ticket));
        }
    }

    /// The connection is over. What was sent on it may have been taken.
    pub(super) fn connection_lost(&mut self, trouble: String) {
        self.note_trouble(trouble);
        for (_, sent) in self.sent.drain() {
            match sent {
                Sent::Opening => self.session.not_opened(None),
                Sent::Job(ticket) => {
                    let Some(job) = self.jobs.get_mut(&ticket) else {
                        continue;
                    };
                    job.is_sent = false;
                    if let What::Submit { may_be_taken, .. } = &mut job.what {
                        *may_be_taken = true;
                    }
                    self.to_send.insert(ticket);
                }
            }
        }
    }

    /// From now on, this endpoint is asked.
    pub(super) fn now_at(&mut self, endpoint: &Endpoint) {
        endpoint.as_str().clone_into(&mut self.endpoint);
    }

    fn note_trouble(&mut self, trouble: impl Into<String>) {
        self.forget_trouble();
        self.troubles.push((self.endpoint.clone(), trouble.into()));
    }

    /// The endpoint has done what it was asked.
    fn forget_trouble(&mut self) {
        self.troubles.retain(|(endpoint, _)| *endpoint != self.endpoint);
    }

    /// What went wrong, at each endpoint.
    fn trouble(&self) -> String {
        if self.troubles.is_empty() {
            return "there was no answer".to_owned();
        }
        let all = self.troubles.iter().map(|(endpoint, trouble)| format!("{endpoint}: {trouble}"));
        all.collect::<Vec<_>>().join("; ")
    }

    /// No connection could be made.
    pub(super) fn not_connected(&mut self, trouble: String) {
        self.note_trouble(trouble);
    }

    /// When [`Requests::expire`] has something to do next. After a call of it, that is in the future.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let later = self.later.first().map(|(at, _)| *at);
        [deadline, later, self.session.opens_at()].into_iter().flatten().min()
    }

    /// Gives up the requests that have timed out, and sends those again that have waited.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(at, ticket)) = self.later.first()
            && at <= now
        {
            self.later.pop_first();
            // It may have timed out meanwhile.
            if self.jobs.contains_key(&ticket) {
                self.to_send.insert(ticket);
            }
        }
        self.session.wait_over(now);
        while let Some(&(at, ticket)) = self.deadlines.first()
            && at <= now
        {
            self.give_up(ticket, now);
        }
    }

    fn give_up(&mut self, ticket: Ticket, now: Instant) {
        let Some(job) = self.jobs.get(&ticket) else {
            return;
        };
        let waited = now - job.began;
        let trouble = || self.trouble();
        let because = match job.what {
            What::Submit { may_be_taken, .. } if may_be_taken || job.is_sent => {
                SubmitFailed::Unknown(Unknown::NoAnswer { waited, trouble: trouble() })
            }
            What::Submit { refused: Some(reason), .. } => {
                SubmitFailed::NotDone(NotDone::Refused(reason))
            }
            What::Submit { .. } => {
                SubmitFailed::NotDone(NotDone::NotReached { waited, trouble: trouble() })
            }
            What::Read { .. } => {
                let failed = ReadFailed::NoAnswer { waited, trouble: trouble() };
                if let Some(Job { what: What::Read { reply }, .. }) = self.end(ticket) {
                    drop(reply.send(Err(failed)));
                }
                return;
            }
            What::Query { .. } => {
                let failed = QueryFailed::NoAnswer { waited, trouble: trouble() };
                if let Some(Job { what: What::Query { reply, .. }, .. }) = self.end(ticket) {
                    drop(reply.send(Err(failed)));
                }
                return;
            }
        };
        self.end_submission(ticket, because);
    }

    /// The client is closed. What has no answer gets none.
    pub(super) fn close(&mut self) {
        for ticket in self.jobs.keys().copied().collect::<Vec<_>>() {
            let Some(job) = self.end(ticket) else {
                continue;
            };
            match job.what {
                What::Submit { may_be_taken, reply, .. } if may_be_taken || job.is_sent => {
                    drop(reply.send(Err(SubmitFailed::Unknown(Unknown::Closed))));
                }
                What::Submit { reply, .. } => {
                    drop(reply.send(Err(SubmitFailed::NotDone(NotDone::Closed))));
                }
                What::Read { reply } => drop(reply.send(Err(ReadFailed::Closed))),
                What::Query { reply, .. } => drop(reply.send(Err(QueryFailed::Closed))),
            }
        }
    }

    /// Ends a submission that was refused for good.
    fn fail(&mut self, ticket: Ticket, because: NotDone) {
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

    fn end_submission(&mut self, ticket: Ticket, failed: SubmitFailed) {
        if let Some(Job { what: What::Submit { reply, .. }, .. }) = self.end(ticket) {
            // The caller may have stopped waiting.
            drop(reply.send(Err(failed)));
        }
    }

    /// Forgets a job that is answered or given up.
    fn end(&mut self, ticket: Ticket) -> Option<Job> {
        let job = self.jobs.remove(&ticket)?;
        self.deadlines.remove(&(job.deadline, ticket));
        self.to_send.remove(&ticket);
        if let What::Submit { numbered: Some(known_as), .. } = job.what
            && self.session.id() == Some(known_as.session)
        {
            self.session.done(known_as.number);
        }
        Some(job)
    }
}

/// Whether another replica should be asked.
fn advice(error: SubmitError) -> Advice {
    match error {
        SubmitError::NotDone(api::NotDone::Starting) => Advice::MoveOn(STARTING),
        SubmitError::NotDone(api::NotDone::Stopping)
        | SubmitError::Unknown(api::Unknown::Stopping) => Advice::MoveOn(STOPPING),
        _ => Advice::Stay,
    }
}
