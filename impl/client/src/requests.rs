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
//!
//! [`job`] is one of them, [`answers`] what answers do to them, and [`troubles`] what went wrong.

mod answers;
mod job;
#[cfg(test)]
mod tests;
mod troubles;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use synod_model::{Change, Configuration, SessionId, Value as _};
use synod_wire::Value;
use synod_wire::api::{About, Request};
use synod_wire::protocol::{Ask, Query};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::outcome::{NotDone, SubmitFailed};
use super::session::{AGAIN, Session};
pub(super) use answers::Advice;
pub(super) use job::{
    ChangeReply, ChangeUnanswered, MembersReply, QueryReply, ReadReply, SubmitReply,
};
use job::{Job, Numbered, Submitted, What};
use troubles::Troubles;

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
    troubles: Troubles,
}

/// Jobs in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Ticket(u64);

/// What an ask was for.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Opening,
    Job(Ticket),
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
        self.add_submission(Submitted::Command { value, reply }, now, deadline);
    }

    /// Takes a change of the members.
    pub(super) fn change(
        &mut self,
        configuration: Configuration,
        now: Instant,
        deadline: Instant,
        reply: ChangeReply,
    ) {
        let submitted = Submitted::Change { configuration, pause: AGAIN, not_ready: None, reply };
        self.add_submission(submitted, now, deadline);
    }

    fn add_submission(&mut self, submitted: Submitted, now: Instant, deadline: Instant) {
        let (numbered, refused) = (None, None);
        let what = What::Submit { submitted, numbered, may_be_taken: false, refused };
        self.add(now, deadline, what);
    }

    /// Takes a question who the members are.
    pub(super) fn members(&mut self, now: Instant, deadline: Instant, reply: MembersReply) {
        self.add(now, deadline, What::Members { reply });
    }

    /// Takes the end of a session of this client. What is in flight in it is lost. Its slot is 0 if the cluster has
    /// ended or forgotten it before.
    pub(super) fn end_session(
        &mut self,
        session: SessionId,
        now: Instant,
        deadline: Instant,
        reply: ReadReply,
    ) {
        self.add(now, deadline, What::End { session, reply });
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
        let (submitted, numbered) = match &mut self.jobs.get_mut(&ticket)?.what {
            What::Read { .. } => return Some(Ask::Read),
            What::Members { .. } => return Some(Ask::Members),
            What::End { session, .. } => return Some(Ask::EndSession(*session)),
            What::Query { query, .. } => return Some(Ask::Query(query.clone())),
            What::Submit { submitted, numbered, .. } => (submitted, numbered),
        };
        let value_bytes = match submitted {
            Submitted::Command { value, .. } => value.size_bytes(),
            Submitted::Change { .. } => 0,
        };
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
        Some(match submitted {
            Submitted::Command { value, .. } => {
                Ask::Request(Request { session, number, answered, value: value.clone() })
            }
            Submitted::Change { configuration, .. } => {
                let configuration = configuration.clone();
                Ask::Change(Change { session, number, answered, configuration })
            }
        })
    }

    /// Sends a job again, after a while.
    fn again(&mut self, ticket: Ticket, now: Instant) {
        self.again_after(ticket, AGAIN, now);
    }

    fn again_after(&mut self, ticket: Ticket, pause: Duration, now: Instant) {
        if self.jobs.contains_key(&ticket) {
            self.later.insert((now + pause, ticket));
        }
    }

    /// The connection is over. What was sent on it may have been taken.
    pub(super) fn connection_lost(&mut self, trouble: String) {
        self.troubles.note(trouble);
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
        self.troubles.now_at(endpoint);
    }

    /// No connection could be made.
    pub(super) fn not_connected(&mut self, trouble: String) {
        self.troubles.note(trouble);
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
            if let Some(job) = self.end(ticket) {
                job.give_up(now, self.troubles.text());
            }
        }
    }

    /// The client is closed. What has no answer gets none.
    pub(super) fn close(&mut self) {
        for ticket in self.jobs.keys().copied().collect::<Vec<_>>() {
            if let Some(job) = self.end(ticket) {
                job.close();
            }
        }
    }

    fn end_submission(&mut self, ticket: Ticket, failed: SubmitFailed) {
        if let Some(Job { what: What::Submit { submitted, numbered, .. }, .. }) = self.end(ticket) {
            submitted.fail(failed, numbered.map(|it| it.session));
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
