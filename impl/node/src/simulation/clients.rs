//! The clients of a simulated cluster. Each submits one request after another.

use std::collections::BTreeMap;

use synod_model::{Request, SessionId};
use synod_wire::Value;
use synod_wire::api::{Applied, SubmitError};

use crate::shell::Submission;
use crate::shell::waiting::Waiter;

/// A client, and the number of its request; 0 is the opening of its session.
pub(super) type ClientRequest = (usize, u64);

/// A simulated client never stops waiting. It submits again, and takes the first answer.
impl Waiter for ClientRequest {
    fn is_gone(&self) -> bool {
        false
    }
}

impl Waiter for () {
    fn is_gone(&self) -> bool {
        false
    }
}

/// A client that submits one request after another, each until it is told a slot.
#[derive(Default)]
pub(super) struct Client {
    session: Option<SessionId>,
    /// The number of the request that it submits now.
    pub(super) number: u64,
    /// The requests that were acknowledged, with what the client was told.
    pub(super) acknowledged: BTreeMap<u64, Applied>,
}

impl Client {
    /// What the client submits now, if it is number `client`.
    pub(super) fn submission(&self, client: usize) -> Submission {
        let number = self.number;
        match self.session {
            None => Submission::Open,
            Some(session) => Submission::Request(Request {
                session,
                number,
                answered: number,
                value: value_of(client, number),
            }),
        }
    }

    /// The answer to request `number`. Returns whether the client goes on to the next request: not
    /// if the request failed, or was answered before.
    pub(super) fn answer(&mut self, number: u64, outcome: Result<Applied, SubmitError>) -> bool {
        let Ok(applied) = outcome else {
            return false;
        };
        if self.number != number {
            return false;
        }
        if number == 0 {
            self.session = Some(SessionId(applied.slot.0));
        } else {
            self.acknowledged.insert(number, applied);
        }
        self.number += 1;
        true
    }
}

/// The value of request `number` of client number `client`.
pub(super) fn value_of(client: usize, number: u64) -> Value {
    Value::from(format!("client {client}, request {number}").into_bytes())
}
