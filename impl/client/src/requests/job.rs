//! One request of a client, from its call to its outcome.

use synod_model::{SessionId, Slot};
use synod_wire::Value;
use synod_wire::api::{self, Answered, Applied};
use synod_wire::protocol::Query;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::outcome::{NotDone, QueryFailed, ReadFailed, SubmitFailed, Unknown};

/// A request of the client.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) began: Instant,
    pub(super) deadline: Instant,
    /// Whether an answer may still come on the present connection.
    pub(super) is_sent: bool,
    pub(super) what: What,
}

pub(crate) type SubmitReply = oneshot::Sender<Result<Applied, SubmitFailed>>;
pub(crate) type ReadReply = oneshot::Sender<Result<Slot, ReadFailed>>;
pub(crate) type QueryReply = oneshot::Sender<Result<Answered, QueryFailed>>;

/// What is asked for, and where its outcome goes.
#[derive(Debug)]
pub(super) enum What {
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
pub(super) struct Numbered {
    pub(super) session: SessionId,
    pub(super) number: u64,
    /// The `answered` that it was last sent with.
    pub(super) answered: u64,
}

impl Job {
    /// Its time is up. `trouble` is what went wrong meanwhile.
    pub(super) fn give_up(self, now: Instant, trouble: String) {
        let waited = now - self.began;
        // The caller may have stopped waiting.
        match self.what {
            What::Submit { may_be_taken, refused, reply, .. } => {
                let failed = match refused {
                    _ if may_be_taken || self.is_sent => {
                        SubmitFailed::Unknown(Unknown::NoAnswer { waited, trouble })
                    }
                    Some(reason) => SubmitFailed::NotDone(NotDone::Refused(reason)),
                    None => SubmitFailed::NotDone(NotDone::NotReached { waited, trouble }),
                };
                drop(reply.send(Err(failed)));
            }
            What::Read { reply } => {
                drop(reply.send(Err(ReadFailed::NoAnswer { waited, trouble })));
            }
            What::Query { reply, .. } => {
                drop(reply.send(Err(QueryFailed::NoAnswer { waited, trouble })));
            }
        }
    }

    /// The client is closed.
    pub(super) fn close(self) {
        match self.what {
            What::Submit { may_be_taken, reply, .. } if may_be_taken || self.is_sent => {
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
