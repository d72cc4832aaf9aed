//! The books under whatever replicas, connections and clocks can do: random histories, in which the
//! test keeps books of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{ReplicaId, Run, SessionId, Slot};
use synod_wire::ClusterId;
use synod_wire::Value;
use synod_wire::api::{
    self, About, Answered, Applied, Consistency, NotDone, QueryError, ReadError, Request, Response,
    SubmitError,
};
use synod_wire::protocol::{Answer, Ask, Query};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::Instant;

use super::Requests;
use crate::SubmitFailed;

const DEADLINE: Duration = Duration::from_secs(1);
const REQUESTS_MAX: u64 = 4;

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    Submit,
    Read,
    Query,
    /// The connection has room for so many asks.
    Ask(usize),
    /// One of those that wait for it gets an answer.
    Answer(usize, Reply),
    ConnectionLost,
    TimePasses(u64),
}

#[derive(Clone, Copy, Debug)]
enum Reply {
    Done,
    RefusedForNow,
    Refused,
    TakenAndStopping,
    SessionGone,
    /// Something that was not asked for.
    OfWrongKind,
}

fn event() -> impl Strategy<Value = Event> {
    let reply = prop_oneof![
        4 => Just(Reply::Done),
        2 => Just(Reply::RefusedForNow),
        1 => Just(Reply::Refused),
        1 => Just(Reply::TakenAndStopping),
        1 => Just(Reply::SessionGone),
        1 => Just(Reply::OfWrongKind),
    ];
    prop_oneof![
        4 => Just(Event::Submit),
        1 => Just(Event::Read),
        1 => Just(Event::Query),
        5 => (1..6_usize).prop_map(Event::Ask),
        8 => (any::<usize>(), reply).prop_map(|(at, reply)| Event::Answer(at, reply)),
        1 => Just(Event::ConnectionLost),
        2 => (1..400_u64).prop_map(Event::TimePasses),
    ]
}

/// What the test knows of a submission.
#[derive(Debug)]
struct Submission {
    outcome: oneshot::Receiver<Result<Applied, SubmitFailed>>,
    known_as: Option<(SessionId, u64)>,
    /// Asks that no "not done" has answered: any of them may have been taken.
    may_be_taken: BTreeSet<u64>,
    slot: Option<Slot>,
    is_over: bool,
}

struct Books {
    requests: Requests,
    now: Instant,
    submissions: BTreeMap<Value, Submission>,
    reads: Vec<oneshot::Receiver<Result<Slot, crate::ReadFailed>>>,
    queries: Vec<oneshot::Receiver<Result<Answered, crate::QueryFailed>>>,
    /// What waits for an answer on the present connection.
    asked: BTreeMap<u64, Ask>,
    last_slot: u64,
}

impl Books {
    fn new() -> Self {
        Self {
            requests: Requests::default(),
            now: Instant::now(),
            submissions: BTreeMap::new(),
            reads: Vec::new(),
            queries: Vec::new(),
            asked: BTreeMap::new(),
            last_slot: 0,
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Submit => {
                let (reply, outcome) = oneshot::channel();
                let value = Value::from(self.submissions.len().to_string());
                self.requests.submit(value.clone(), self.now, self.now + DEADLINE, reply);
                self.submissions.insert(
                    value,
                    Submission {
                        outcome,
                        known_as: None,
                        may_be_taken: BTreeSet::new(),
                        slot: None,
                        is_over: false,
                    },
                );
            }
            Event::Read => {
                let (reply, outcome) = oneshot::channel();
                self.requests.read(self.now, self.now + DEADLINE, reply);
                self.reads.push(outcome);
            }
            Event::Query => {
                let (reply, outcome) = oneshot::channel();
                let (request, consistency) = (Value::from("q"), Consistency::Linearizable);
                let query = Query { request, consistency };
                self.requests.query(query, self.now, self.now + DEADLINE, reply);
                self.queries.push(outcome);
            }
            Event::Ask(room) => self.ask(room),
            Event::Answer(at, reply) => {
                let at = at % self.asked.len().max(1);
                if let Some((&id, _)) = self.asked.iter().nth(at) {
                    self.answer(id, reply);
                }
            }
            Event::ConnectionLost => {
                self.asked.clear();
                self.requests.connection_lost("it broke".to_owned());
            }
            Event::TimePasses(ms) => {
                self.now += Duration::from_millis(ms);
                self.requests.expire(self.now);
                let wakes_at = self.requests.wakes_at();
                assert!(wakes_at.is_none_or(|at| at > self.now), "it would wake without an end");
            }
        }
        self.look_at_outcomes();
    }

    fn ask(&mut self, room: usize) {
        let about = About {
            cluster_id: ClusterId([0; 32]),
            replica: ReplicaId(0),
            run: Run(1),
            value_bytes_max: 100,
            session_requests_max: REQUESTS_MAX,
        };
        let mut asks = Vec::new();
        self.requests.ask(&about, |id, ask| {
            asks.push((id, ask));
            asks.len() < room
        });
        for (id, ask) in asks {
            if let Ask::Request(request) = &ask {
                self.check(id, request);
            }
            assert!(self.asked.insert(id, ask).is_none(), "two asks have the same id");
        }
        let openings = self.asked.values().filter(|ask| matches!(ask, Ask::OpenSession)).count();
        assert!(openings <= 1);
    }

    /// What every request must keep to.
    fn check(&mut self, id: u64, request: &Request) {
        let Request { session, number, answered, value } = request;
        assert!(number >= answered && number - answered < REQUESTS_MAX, "it would be refused");
        for (other, submission) in &self.submissions {
            let Some((of, its)) = submission.known_as else { continue };
            assert!(
                (of, its) != (*session, *number) || other == value,
                "one number for two values"
            );
            let is_told = of == *session && its < *answered;
            assert!(!is_told || submission.is_over, "{other:?} is said to be done with");
        }
        let submission = self.submissions.get_mut(value).unwrap();
        assert!(!submission.is_over, "it has its outcome already");
        let known_as = *submission.known_as.get_or_insert((*session, *number));
        assert_eq!(known_as, (*session, *number), "the same value as another request");
        submission.may_be_taken.insert(id);
    }

    fn answer(&mut self, id: u64, reply: Reply) {
        self.last_slot += 1;
        let slot = Slot(self.last_slot);
        let ask = self.asked.remove(&id).unwrap();
        let error = match reply {
            Reply::Done | Reply::OfWrongKind => None,
            Reply::RefusedForNow => Some(SubmitError::NotDone(api::NotDone::TooMany)),
            Reply::Refused => Some(SubmitError::NotDone(api::NotDone::NotASubmission)),
            Reply::TakenAndStopping => Some(SubmitError::Unknown(api::Unknown::Stopping)),
            Reply::SessionGone => {
                let reason = synod_model::DeliveryRefused::NoSession;
                Some(SubmitError::Unknown(api::Unknown::Refused(reason)))
            }
        };
        let is_of_wrong_kind = matches!(reply, Reply::OfWrongKind);
        let answer = match (&ask, error) {
            (Ask::Read, None) if is_of_wrong_kind => Answer::Done(applied(slot)),
            (_, None) if is_of_wrong_kind => Answer::ReadAt(slot),
            (Ask::OpenSession, None) => Answer::Opened(SessionId(slot.0)),
            (Ask::Read, None) => Answer::ReadAt(slot),
            (Ask::Read, Some(_)) => Answer::NotRead(ReadError::TooMany),
            (Ask::Query(_), None) => Answer::Answered(answered(slot)),
            (Ask::Query(_), Some(SubmitError::NotDone(api::NotDone::NotASubmission))) => {
                Answer::NotAnswered(QueryError::TooLarge)
            }
            (Ask::Query(_), Some(_)) => Answer::NotAnswered(QueryError::Stopping),
            (_, None) => Answer::Done(applied(slot)),
            (_, Some(error)) => Answer::NoSlot(error),
        };
        if let Ask::Request(request) = ask {
            let submission = self.submissions.get_mut(&request.value).unwrap();
            match error {
                None if is_of_wrong_kind => {}
                None => submission.slot = submission.slot.or(Some(slot)),
                Some(SubmitError::NotDone(_)) => drop(submission.may_be_taken.remove(&id)),
                Some(SubmitError::Unknown(_)) => {}
            }
        }
        self.requests.answer(id, answer, self.now);
    }

    /// No outcome claims more than is known.
    fn look_at_outcomes(&mut self) {
        for submission in self.submissions.values_mut().filter(|it| !it.is_over) {
            match submission.outcome.try_recv() {
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Closed) => panic!("an outcome is missing"),
                Ok(Ok(told)) => assert_eq!(Some(told), submission.slot.map(applied)),
                Ok(Err(SubmitFailed::NotDone(reason))) => {
                    assert!(submission.may_be_taken.is_empty(), "not done: {reason}");
                }
                Ok(Err(SubmitFailed::Unknown(_))) => {}
            }
            submission.is_over = true;
        }
    }
}

/// What a command in this slot is answered.
fn applied(slot: Slot) -> Applied {
    Applied { slot, response: Response::Known(format!("response of {slot}").into()) }
}

fn answered(slot: Slot) -> Answered {
    let Applied { slot, response } = applied(slot);
    Answered { slot, response }
}

/// All but the outcome of a submission, for `Requests::answer`.
const WRONG_KIND: [Answer; 3] =
    [Answer::ReadAt(Slot(9)), Answer::NotRead(ReadError::TooMany), Answer::Opened(SessionId(9))];

#[test]
fn an_answer_of_the_wrong_kind_leaves_a_submission_unknown_and_it_is_asked_again() {
    for wrong in WRONG_KIND {
        let mut books = Books::new();
        books.on(Event::Submit);
        books.on(Event::Ask(1));
        books.on(Event::Answer(0, Reply::Done));
        books.on(Event::Ask(1));
        let (id, _) = books.asked.pop_first().unwrap();
        books.requests.answer(id, wrong.clone(), books.now);

        books.on(Event::TimePasses(500));
        books.on(Event::Ask(1));
        assert_eq!(books.asked.len(), 1, "it is asked again after {wrong:?}");
        // That time it is refused: but the first time, it may have been taken.
        books.on(Event::Answer(0, Reply::RefusedForNow));
        books.now += DEADLINE;
        books.requests.expire(books.now);
        let outcome = books.submissions.values_mut().next().unwrap().outcome.try_recv();
        assert!(matches!(outcome, Ok(Err(SubmitFailed::Unknown(_)))), "{wrong:?}: {outcome:?}");
    }
}

#[test]
fn an_answer_of_the_wrong_kind_to_a_read_is_none() {
    for wrong in
        [Answer::Done(applied(Slot(9))), Answer::NoSlot(SubmitError::NotDone(NotDone::TooMany))]
    {
        let mut books = Books::new();
        books.on(Event::Read);
        books.on(Event::Ask(1));
        let (id, _) = books.asked.pop_first().unwrap();
        books.requests.answer(id, wrong.clone(), books.now);
        books.on(Event::TimePasses(500));
        books.on(Event::Ask(1));
        assert_eq!(books.asked.len(), 1, "it is asked again after {wrong:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_history_makes_a_request_two_or_an_outcome_a_lie(events in vec(event(), 0..120)) {
        let mut books = Books::new();
        for event in events {
            books.on(event);
        }
        // In the end everything has its outcome.
        books.on(Event::TimePasses(1 + u64::try_from(DEADLINE.as_millis()).unwrap()));
        prop_assert_eq!(books.requests.len(), 0);
        prop_assert!(books.submissions.values().all(|it| it.is_over));
        prop_assert!(books.reads.iter_mut().all(|it| it.try_recv().is_ok()));
        prop_assert!(books.queries.iter_mut().all(|it| it.try_recv().is_ok()));
    }

    #[test]
    fn a_closed_client_has_an_outcome_for_everything(events in vec(event(), 0..60)) {
        let mut books = Books::new();
        for event in events {
            books.on(event);
        }
        books.requests.close();
        books.look_at_outcomes();
        prop_assert!(books.submissions.values().all(|it| it.is_over));
    }
}
