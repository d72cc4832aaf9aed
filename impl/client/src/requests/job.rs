//! One request of a client, from its call to its outcome.

use std::time::Duration;

use synod_model::{Configuration, MemberSet, SessionId, Slot};
use synod_wire::Value;
use synod_wire::api::{self, Answered, Applied, Members};
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
pub(crate) type ChangeReply = oneshot::Sender<Result<Slot, ChangeUnanswered>>;
pub(crate) type MembersReply = oneshot::Sender<Result<Members, ReadFailed>>;

/// A change of the members of which nobody has said that it is done.
#[derive(Debug)]
pub(crate) struct ChangeUnanswered {
    pub(crate) failed: SubmitFailed,
    /// The session in which it was sent, if it was. Once this session has ended, the change cannot happen any more.
    pub(crate) session: Option<SessionId>,
    /// The coordinator did not open it when it was last asked, for only these were ready.
    pub(crate) not_ready: Option<MemberSet>,
}

/// What is asked for, and where its outcome goes.
#[derive(Debug)]
pub(super) enum What {
    Submit {
        submitted: Submitted,
        /// Its identity, once it was sent.
        numbered: Option<Numbered>,
        /// Whether some attempt ended without an answer.
        may_be_taken: bool,
        refused: Option<api::NotDone>,
    },
    Read {
        reply: ReadReply,
    },
    Members {
        reply: MembersReply,
    },
    /// The end of the session.
    End {
        session: SessionId,
        reply: ReadReply,
    },
    Query {
        query: Query,
        reply: QueryReply,
    },
}

/// What is submitted, and where its outcome goes.
#[derive(Debug)]
pub(super) enum Submitted {
    Command {
        value: Value,
        reply: SubmitReply,
    },
    Change {
        configuration: Configuration,
        /// How long it waits before it is sent again, if the coordinator does not open it.
        pause: Duration,
        not_ready: Option<MemberSet>,
        reply: ChangeReply,
    },
}

impl Submitted {
    /// It has no slot, as far as is known. `session` is the one in which it was sent.
    pub(super) fn fail(self, failed: SubmitFailed, session: Option<SessionId>) {
        // The caller may have stopped waiting.
        match self {
            Self::Command { reply, .. } => drop(reply.send(Err(failed))),
            Self::Change { not_ready, reply, .. } => {
                drop(reply.send(Err(ChangeUnanswered { failed, session, not_ready })));
            }
        }
    }
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
            What::Submit { submitted, may_be_taken, refused, numbered } => {
                let failed = match refused {
                    _ if may_be_taken || self.is_sent => {
                        SubmitFailed::Unknown(Unknown::NoAnswer { waited, trouble })
                    }
                    Some(reason) => SubmitFailed::NotDone(NotDone::Refused(reason)),
                    None => SubmitFailed::NotDone(NotDone::NotReached { waited, trouble }),
                };
                submitted.fail(failed, numbered.map(|it| it.session));
            }
            What::Read { reply } | What::End { reply, .. } => {
                drop(reply.send(Err(ReadFailed::NoAnswer { waited, trouble })));
            }
            What::Members { reply } => {
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
            What::Submit { submitted, may_be_taken, numbered, .. } => {
                let failed = if may_be_taken || self.is_sent {
                    SubmitFailed::Unknown(Unknown::Closed)
                } else {
                    SubmitFailed::NotDone(NotDone::Closed)
                };
                submitted.fail(failed, numbered.map(|it| it.session));
            }
            What::Members { reply } => drop(reply.send(Err(ReadFailed::Closed))),
            What::Read { reply } | What::End { reply, .. } => {
                drop(reply.send(Err(ReadFailed::Closed)));
            }
            What::Query { reply, .. } => drop(reply.send(Err(QueryFailed::Closed))),
        }
    }
}
