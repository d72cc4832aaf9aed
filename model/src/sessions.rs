//! The request table: what makes delivery exactly once.
//!
//! The log may rightly hold a request twice. A client that hears nothing retries at another replica,
//! while the first copy may be in a slot that a new coordinator must finish. So copies are told apart
//! at *delivery*, where every replica sees the same log and comes to the same verdict.
//!
//! The table is a function of the committed prefix alone. It is bounded, and it belongs in every
//! snapshot. For each session it keeps `answered` (the client waits for no request below it) and the
//! delivered requests at or above `answered`, each with its slot. To keep only the last number would
//! lose request 1 when request 2 overtakes it through another replica.

use alloc::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::entry::{Change, Entry, Opening, Request, SubmissionId};
use crate::limits::Limits;
use crate::numbers::{SessionId, Slot};

/// Whether a delivered entry is the first copy of its submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The first copy: the application acts on it.
    First,
    /// A later copy.
    Duplicate {
        /// Where the first copy stands.
        first_slot: Slot,
    },
    /// Not to be acted on.
    Refused {
        /// Why.
        reason: DeliveryRefused,
    },
}

/// Why a delivered request is not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeliveryRefused {
    /// There is no such session: it was evicted, has ended, or never was.
    NoSession,
    /// The client has given this request up.
    GivenUp,
    /// The number is too far above `answered`.
    TooFarAhead,
    /// The change is not based on the configuration that governs its slot: another one came first.
    OtherConfiguration,
}

/// What every replica remembers of the requests delivered so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestTable {
    sessions: BTreeMap<SessionId, KnownSession>,
    /// Finds the session of an opening that comes again.
    opened: BTreeMap<Opening, SessionId>,
    /// Finds the session to evict: the first one. Ended sessions come before open ones, and older last
    /// deliveries before newer ones. Every delivery lists its session anew. To do that only when a
    /// session becomes the first one would save half a microsecond a request, and the first opening in
    /// a full table of active sessions would then list all of them anew, in one step.
    by_age: BTreeSet<(bool, Slot, SessionId)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct KnownSession {
    opened_by: Opening,
    /// The slot of the entry that ended the session. An ended session is kept until its place is
    /// needed, so that a late copy of its opening does not open another.
    ended: Option<Slot>,
    answered: u64,
    /// Number and slot of what was delivered at or above `answered`.
    requests: BTreeMap<u64, Slot>,
    last_delivery: Slot,
}

impl KnownSession {
    fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    fn is_up_to(&self, slot: Slot, limits: &Limits) -> bool {
        let is_remembered = |number: u64| {
            number >= self.answered && number - self.answered < limits.session_requests_max
        };
        self.last_delivery <= slot
            && self.ended.is_none_or(|ended| ended == self.last_delivery)
            && (self.is_open() || self.requests.is_empty())
            && self.requests.iter().all(|(number, at)| *at <= slot && is_remembered(*number))
    }
}

impl RequestTable {
    /// Takes in the entry committed at `slot`, which is the next one and is governed by `configuration`, and
    /// says what it is.
    pub fn deliver<V>(
        &mut self,
        slot: Slot,
        entry: &Entry<V>,
        configuration: &Configuration,
        limits: &Limits,
    ) -> Option<Verdict> {
        match *entry {
            Entry::NoOp => None,
            Entry::Open(opening) => Some(self.open(slot, opening, limits)),
            Entry::End { session } => Some(self.end(slot, session)),
            Entry::Request(Request { session, number, answered, .. }) => {
                let id = (session, number);
                Some(self.request(slot, id, answered, None, limits))
            }
            Entry::Change(Change { session, number, answered, configuration: ref after }) => {
                let refused =
                    (!after.follows(configuration)).then_some(DeliveryRefused::OtherConfiguration);
                let id = (session, number);
                Some(self.request(slot, id, answered, refused, limits))
            }
        }
    }

    fn open(&mut self, slot: Slot, opening: Opening, limits: &Limits) -> Verdict {
        if let Some(session) = self.opened.get(&opening) {
            return Verdict::Duplicate { first_slot: Slot(session.0) };
        }
        if self.sessions.len() as u64 >= limits.sessions_max.max(1) {
            self.evict();
        }
        let session = KnownSession {
            opened_by: opening,
            ended: None,
            answered: 1,
            requests: BTreeMap::new(),
            last_delivery: slot,
        };
        self.by_age.insert((true, slot, SessionId(slot.0)));
        self.opened.insert(opening, SessionId(slot.0));
        self.sessions.insert(SessionId(slot.0), session);
        Verdict::First
    }

    /// Evicts one session: an ended one if there is any, else an open one; among these the one whose
    /// last delivery is oldest.
    fn evict(&mut self) {
        if let Some((_, _, id)) = self.by_age.pop_first()
            && let Some(session) = self.sessions.remove(&id)
        {
            self.opened.remove(&session.opened_by);
        }
    }

    fn end(&mut self, slot: Slot, id: SessionId) -> Verdict {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Verdict::Refused { reason: DeliveryRefused::NoSession };
        };
        if let Some(first_slot) = session.ended {
            return Verdict::Duplicate { first_slot };
        }
        self.by_age.remove(&(true, session.last_delivery, id));
        self.by_age.insert((false, slot, id));
        session.ended = Some(slot);
        session.requests.clear();
        session.last_delivery = slot;
        Verdict::First
    }

    /// Takes in a request or a change. A change that is refused is not remembered, like any request that is
    /// refused.
    fn request(
        &mut self,
        slot: Slot,
        (id, number): (SessionId, u64),
        answered: u64,
        refused: Option<DeliveryRefused>,
        limits: &Limits,
    ) -> Verdict {
        let session = self.sessions.get_mut(&id).filter(|session| session.is_open());
        let Some(session) = session else {
            return Verdict::Refused { reason: DeliveryRefused::NoSession };
        };
        self.by_age.remove(&(true, session.last_delivery, id));
        self.by_age.insert((true, slot, id));
        session.last_delivery = slot;
        if answered > session.answered {
            session.answered = answered;
            session.requests = session.requests.split_off(&answered);
        }
        if number < session.answered {
            return Verdict::Refused { reason: DeliveryRefused::GivenUp };
        }
        if number - session.answered >= limits.session_requests_max {
            return Verdict::Refused { reason: DeliveryRefused::TooFarAhead };
        }
        if let Some(&first_slot) = session.requests.get(&number) {
            return Verdict::Duplicate { first_slot };
        }
        if let Some(reason) = refused {
            return Verdict::Refused { reason };
        }
        session.requests.insert(number, slot);
        Verdict::First
    }

    /// How many sessions it remembers, with those that have ended.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.sessions.len() as u64
    }

    /// Whether there is such a session, and it has not ended.
    #[must_use]
    pub fn is_open(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(KnownSession::is_open)
    }

    /// Whether this can be the table of a log up to `slot`.
    pub(crate) fn is_up_to(&self, slot: Slot, limits: &Limits) -> bool {
        let is_possible = |(&id, session): (&SessionId, &KnownSession)| {
            id.0 <= slot.0
                && self.opened.get(&session.opened_by) == Some(&id)
                && self.by_age.contains(&(session.is_open(), session.last_delivery, id))
                && session.is_up_to(slot, limits)
        };
        let count = self.sessions.len();
        count as u64 <= limits.sessions_max.max(1)
            && (self.opened.len(), self.by_age.len()) == (count, count)
            && self.sessions.iter().all(is_possible)
    }

    /// What is known of a submission before it is in any slot. An unknown session proves nothing: this
    /// replica may lag.
    #[must_use]
    pub fn look_up(&self, submission: SubmissionId) -> Known {
        match submission {
            SubmissionId::Open(opening) => self
                .opened
                .get(&opening)
                .map_or(Known::Nothing, |id| Known::Delivered { slot: Slot(id.0) }),
            SubmissionId::End { session } => self
                .sessions
                .get(&session)
                .and_then(|session| session.ended)
                .map_or(Known::Nothing, |slot| Known::Delivered { slot }),
            SubmissionId::Request { session, number } => {
                let Some(session) = self.sessions.get(&session) else {
                    return Known::Nothing;
                };
                match session.requests.get(&number) {
                    Some(&slot) => Known::Delivered { slot },
                    None if number < session.answered => Known::GivenUp,
                    None => Known::Nothing,
                }
            }
        }
    }
}

/// What a request table says of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it may be new.
    Nothing,
    /// It was delivered first at this slot.
    Delivered {
        /// The slot.
        slot: Slot,
    },
    /// The client has given it up.
    GivenUp,
}
