//! Responses that a client does not read as fast as they come.
//!
//! A client may send a thousand asks before it reads an answer, and a response may have a megabyte. So
//! a response that finds the outbox full waits here, within two limits: as many bytes as the connection
//! may have in flight, and a part of the budget of all connections. It takes over the part that its ask
//! had. A response without room is dropped. Its query is refused, and the client can ask it again. Its
//! command is done, and the client is told so without the response.
//!
//! A client that pipelines meets this once, if at all. The connection expects responses as large as the
//! last ones, and takes no more asks at once than it has room for their responses.

use std::collections::VecDeque;

use synod_wire::api::{QueryError, Response, SaveError};
use synod_wire::protocol::{Answer, ToClient};

use super::budget::{Part, Share};

/// How many bytes a response may have that goes into the outbox in any case. 1 KiB: a megabyte for as
/// many asks as a connection may have in flight.
const SMALL_BYTES: usize = 1 << 10;

/// Answers that wait for room in the outbox.
pub(super) struct Unsent<'a> {
    answers: VecDeque<(ToClient, Part<'a>)>,
    bytes: u64,
    bytes_max: u64,
    /// How large the next response is expected to be.
    expected_bytes: u64,
}

impl<'a> Unsent<'a> {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { answers: VecDeque::new(), bytes: 0, bytes_max, expected_bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    pub(super) fn expected_bytes(&self) -> u64 {
        self.expected_bytes
    }

    /// Takes in an answer, and the part of the budget that its ask had. Returns what goes into the outbox
    /// now.
    pub(super) fn admit(
        &mut self,
        id: u64,
        answer: Answer,
        is_outbox_full: bool,
        part: Option<Part<'a>>,
        share: &mut Share<'a>,
    ) -> Option<ToClient> {
        let bytes = response_bytes(&answer);
        // A few small responses among large ones hardly lower it.
        self.expected_bytes = (bytes as u64).max(self.expected_bytes - self.expected_bytes / 16);
        if bytes <= SMALL_BYTES || !is_outbox_full && self.answers.is_empty() {
            share.give_back(part);
            return Some(ToClient { id, answer });
        }
        let part = if self.bytes + bytes as u64 <= self.bytes_max {
            share.part_of_response(part, bytes)
        } else {
            share.give_back(part);
            None
        };
        match part {
            Some(part) => {
                self.bytes += bytes as u64;
                self.answers.push_back((ToClient { id, answer }, part));
                None
            }
            None => Some(ToClient { id, answer: without_response(answer) }),
        }
    }

    /// The next answer. Its part of the budget is given back.
    pub(super) fn pop(&mut self) -> Option<ToClient> {
        let (answer, _part) = self.answers.pop_front()?;
        self.bytes -= response_bytes(&answer.answer) as u64;
        Some(answer)
    }
}

fn response_bytes(answer: &Answer) -> usize {
    match answer {
        Answer::Done(applied) => applied.response.size_bytes(),
        Answer::Answered(answered) => answered.response.size_bytes(),
        Answer::SavePiece(piece) => piece.0.len(),
        _ => 0,
    }
}

fn without_response(answer: Answer) -> Answer {
    match answer {
        Answer::Done(mut applied) => {
            applied.response = Response::NoLongerKnown;
            Answer::Done(applied)
        }
        Answer::Answered(_) => Answer::NotAnswered(QueryError::TooMany),
        Answer::SavePiece(_) => Answer::NotSaved(SaveError::Busy),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use synod_model::Slot;
    use synod_wire::api::Applied;

    use super::super::budget::Budget;
    use super::*;

    /// However many others wait for the budget.
    #[test]
    fn a_response_that_is_no_larger_than_its_request_is_told() {
        const LARGE: usize = 100_000;
        let budget = Budget::new(LARGE as u64);
        let (mut share, mut other) = (Share::new(&budget), Share::new(&budget));
        assert!(share.reserve(LARGE));
        let part = share.take();
        assert!(!other.reserve(LARGE));

        let mut unsent = Unsent::new(LARGE as u64);
        let response = Response::Known(vec![7; LARGE].into());
        let done = Answer::Done(Applied { slot: Slot(2), response });
        assert_eq!(unsent.admit(1, done.clone(), true, part, &mut share), None);
        assert_eq!(unsent.pop(), Some(ToClient { id: 1, answer: done }));
        assert!(other.wait().now_or_never().is_some(), "its part went back");
    }
}
