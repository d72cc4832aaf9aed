//! The responses that a retry may ask for.
//!
//! A client that hears nothing submits again, at this replica or at another. The log then holds the
//! command twice, or the replica finds that it is applied already. Either way the command is not
//! applied again, and the client receives the response of the first copy. So each replica keeps the
//! response of a request until the client can no longer ask for it:
//!
//! - The session says with each request below which number it has all its answers. Those responses go.
//! - The session ends. All its responses go.
//! - All responses together exceed [`KEPT_BYTES_MAX`]. The oldest go, by slot. A client that asks for
//!   one of these is told that its response is no longer known. An evicted session never says that it
//!   has its answers, so its responses go this way too.
//!
//! What is kept is a function of the log alone. So every replica that has applied the same log keeps the
//! same responses, and a retry may go to any of them.
//!
//! An empty response is not stored. If a slot has no response here and none was dropped at or above it,
//! its response was empty. So a machine without responses costs nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_model::{Request, SessionId, Slot};
use synod_wire::Value;
use synod_wire::api::{RESPONSE_BYTES_MAX, Response};

/// How many bytes all responses take together: 64 MiB, or half a million small responses. A client that
/// retries does so within seconds.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// What a response counts besides its own bytes: its place in both indexes and in the allocator. It is
/// the same everywhere, so that all replicas drop the same responses.
const OVERHEAD_BYTES: usize = 128;

/// The responses of the requests that were applied, by the slot of the first copy.
#[derive(Clone, Debug)]
pub(super) struct Responses {
    kept: BTreeMap<Slot, Kept>,
    /// Number and slot of each request that has a response here, by number.
    sessions: HashMap<SessionId, VecDeque<(u64, Slot)>>,
    kept_bytes: usize,
    kept_bytes_max: usize,
    /// Up to this slot a response that is not kept may have been anything. Above, it was empty.
    unknown_through: Slot,
}

/// A response, and whose it is. Its bytes are its own: they are a part of no larger buffer, so what is
/// counted is what is in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    session: SessionId,
    number: u64,
    response: Response,
}

impl Kept {
    pub(super) fn size_bytes(&self) -> usize {
        OVERHEAD_BYTES + self.response.size_bytes()
    }
}

impl Responses {
    /// None are kept, and those up to `unknown_through` are not known.
    pub(super) fn new(unknown_through: Slot) -> Self {
        Self {
            kept: BTreeMap::new(),
            sessions: HashMap::new(),
            kept_bytes: 0,
            kept_bytes_max: KEPT_BYTES_MAX,
            unknown_through,
        }
    }

    /// The same, from what [`parts`](Self::parts) gave.
    pub(super) fn from_parts(
        unknown_through: Slot,
        kept: impl IntoIterator<Item = (Slot, Kept)>,
    ) -> Self {
        let mut responses = Self::new(unknown_through);
        kept.into_iter().for_each(|(slot, kept)| responses.insert(slot, kept));
        responses
    }

    /// What a snapshot needs: up to where responses are unknown, and those that are kept.
    pub(super) fn parts(&self) -> (Slot, BTreeMap<Slot, Kept>) {
        (self.unknown_through, self.kept.clone())
    }

    /// Keeps the response of the request in `slot`, and says what its client is told.
    pub(super) fn keep(
        &mut self,
        slot: Slot,
        request: &Request<Value>,
        response: Value,
    ) -> Response {
        let Request { session, number, answered, .. } = *request;
        let bytes = response.0.len();
        if bytes == 0 {
            self.forget_below(session, answered);
            return Response::Known(response);
        }
        self.pop_below(session, answered);
        let response = if bytes > RESPONSE_BYTES_MAX {
            Response::TooLarge { bytes: bytes as u64 }
        } else {
            Response::Known(response)
        };
        self.insert(slot, Kept { session, number, response: copy_of(&response) });
        while self.kept_bytes > self.kept_bytes_max
            && let Some((oldest, kept)) = self.kept.pop_first()
        {
            self.kept_bytes -= kept.size_bytes();
            self.unknown_through = self.unknown_through.max(oldest);
            self.remove_from_session(kept.session, kept.number);
        }
        response
    }

    /// The session has all its answers below this number.
    pub(super) fn forget_below(&mut self, session: SessionId, answered: u64) {
        // A machine without responses gets no further than this.
        if !self.sessions.is_empty() && self.pop_below(session, answered) {
            self.sessions.remove(&session);
        }
    }

    /// The session has ended.
    pub(super) fn forget_session(&mut self, session: SessionId) {
        self.forget_below(session, u64::MAX);
    }

    /// The response of the request whose first copy is in `slot`. The request table remembers that
    /// request now: it is not below the `answered` of its session.
    pub(super) fn of(&self, slot: Slot) -> Response {
        match self.kept.get(&slot) {
            Some(kept) => kept.response.clone(),
            None if slot <= self.unknown_through => Response::NoLongerKnown,
            None => Response::empty(),
        }
    }

    /// Forgets what a session has its answer to. True if it is listed and nothing of it is left.
    fn pop_below(&mut self, session: SessionId, answered: u64) -> bool {
        let Some(numbers) = self.sessions.get_mut(&session) else {
            return false;
        };
        while let Some((_, slot)) = numbers.pop_front_if(|(number, _)| *number < answered) {
            if let Some(kept) = self.kept.remove(&slot) {
                self.kept_bytes -= kept.size_bytes();
            }
        }
        shrink(numbers);
        numbers.is_empty()
    }

    fn insert(&mut self, slot: Slot, kept: Kept) {
        let numbers = self.sessions.entry(kept.session).or_default();
        // Requests of one session mostly come in order.
        let at = numbers.partition_point(|(number, _)| *number < kept.number);
        numbers.insert(at, (kept.number, slot));
        self.kept_bytes += kept.size_bytes();
        self.kept.insert(slot, kept);
    }

    fn remove_from_session(&mut self, session: SessionId, number: u64) {
        let Some(numbers) = self.sessions.get_mut(&session) else {
            return;
        };
        if let Ok(at) = numbers.binary_search_by_key(&number, |(number, _)| *number) {
            numbers.remove(at);
            shrink(numbers);
        }
        if numbers.is_empty() {
            self.sessions.remove(&session);
        }
    }
}

/// Gives memory back when a session has far fewer responses than it had. It shrinks to twice what is
/// left, so the cost for each response is constant. A few places are kept in any case.
fn shrink(numbers: &mut VecDeque<(u64, Slot)>) {
    const PLACES_MIN: usize = 4;
    let places = (2 * numbers.len()).max(PLACES_MIN);
    if numbers.capacity() > 2 * places {
        numbers.shrink_to(places);
    }
}

/// The same response in memory of its own. The machine may have responded with a few bytes of a large
/// command, or of its state, or with a buffer that has room for more.
fn copy_of(response: &Response) -> Response {
    match response {
        Response::Known(Value(bytes)) => Response::Known(Value(Bytes::copy_from_slice(bytes))),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(1);

    fn request(session: SessionId, number: u64, answered: u64) -> Request<Value> {
        Request { session, number, answered, value: Value::default() }
    }

    fn known(bytes: &'static str) -> Response {
        Response::Known(bytes.into())
    }

    #[test]
    fn a_response_is_kept_until_its_session_has_the_answer() {
        let mut responses = Responses::new(Slot::ZERO);
        for (slot, number) in [(2, 1), (3, 3), (4, 2)] {
            let response = format!("to {number}").into_bytes();
            responses.keep(Slot(slot), &request(SESSION, number, 1), response.into());
        }
        responses.keep(Slot(5), &request(SessionId(9), 1, 1), "another's".into());
        responses.forget_below(SESSION, 3);
        assert_eq!(responses.kept.len(), 2);
        assert_eq!(responses.of(Slot(3)), known("to 3"));
        responses.forget_session(SESSION);
        assert_eq!(responses.of(Slot(5)), known("another's"));
        responses.forget_session(SessionId(9));
        assert_eq!((responses.kept_bytes, responses.sessions.len()), (0, 0));
    }

    #[test]
    fn an_empty_response_is_known_and_takes_no_memory() {
        let mut responses = Responses::new(Slot(7));
        assert_eq!(responses.keep(Slot(8), &request(SESSION, 1, 1), Value::default()), known(""));
        assert_eq!(responses.of(Slot(8)), known(""));
        assert_eq!(responses.of(Slot(7)), Response::NoLongerKnown, "it may have been anything");
        responses.keep(Slot(9), &request(SESSION, 2, 1), "r".into());
        responses.keep(Slot(10), &request(SESSION, 3, 3), Value::default());
        assert_eq!((responses.kept.len(), responses.sessions.len()), (0, 0));
    }

    #[test]
    fn a_response_keeps_no_larger_buffer_in_memory() {
        let mut responses = Responses::new(Slot::ZERO);
        let command = Bytes::from(vec![7; 1 << 20]);
        let response = command.slice(..20);
        let told = responses.keep(Slot(2), &request(SESSION, 1, 1), response.clone().into());
        assert_eq!(told, responses.of(Slot(2)));
        drop((told, response));
        assert!(command.is_unique());
    }

    #[test]
    fn a_response_that_is_too_large_is_told_as_such_each_time() {
        let mut responses = Responses::new(Slot::ZERO);
        let bytes = RESPONSE_BYTES_MAX as u64 + 1;
        let response = vec![7; RESPONSE_BYTES_MAX + 1];
        let told = responses.keep(Slot(2), &request(SESSION, 1, 1), response.into());
        assert_eq!(told, Response::TooLarge { bytes });
        assert_eq!(responses.of(Slot(2)), told);
        assert_eq!(responses.kept_bytes, OVERHEAD_BYTES);
    }

    #[test]
    fn the_oldest_go_when_all_together_are_too_large() {
        let mut responses = Responses::new(Slot::ZERO);
        responses.kept_bytes_max = 3 * (OVERHEAD_BYTES + 1);
        for number in 1..=5 {
            let told = responses.keep(Slot(number + 1), &request(SESSION, number, 1), "r".into());
            assert_eq!(told, known("r"), "the client that waits for it gets it in any case");
        }
        for slot in [2, 3] {
            assert_eq!(responses.of(Slot(slot)), Response::NoLongerKnown);
        }
        for slot in [4, 5, 6] {
            assert_eq!(responses.of(Slot(slot)), known("r"));
        }
        assert_eq!(responses.sessions[&SESSION].len(), 3);
    }

    /// A client with one request at a time makes its session allocate once, and not with each.
    #[test]
    fn a_session_that_goes_on_keeps_its_place() {
        let mut responses = Responses::new(Slot::ZERO);
        for number in 1..=1000 {
            responses.keep(Slot(number + 1), &request(SESSION, number, number), "r".into());
        }
        assert_eq!(responses.kept.len(), 1);
        assert!(responses.sessions[&SESSION].capacity() <= 8);
    }

    #[test]
    fn a_session_gives_back_the_memory_of_responses_that_are_gone() {
        let mut responses = Responses::new(Slot::ZERO);
        let keep = |responses: &mut Responses, number, answered| {
            responses.keep(Slot(number + 1), &request(SESSION, number, answered), "r".into());
        };
        (1..=1000).for_each(|number| keep(&mut responses, number, 1));
        keep(&mut responses, 1001, 1001);
        assert_eq!(responses.kept.len(), 1);
        assert!(responses.sessions[&SESSION].capacity() <= 8);

        (1002..=2000).for_each(|number| keep(&mut responses, number, 1001));
        responses.kept_bytes_max = OVERHEAD_BYTES + 1;
        keep(&mut responses, 2001, 1001);
        assert_eq!(responses.kept.len(), 1);
        assert!(responses.sessions[&SESSION].capacity() <= 8);
    }
}
