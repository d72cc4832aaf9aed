//! The session of a client: which numbers it has given out, and which of them have an answer.

use std::collections::BTreeSet;
use std::time::Duration;

use synod_model::SessionId;
use tokio::time::Instant;

/// A session, or the want of one.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: Option<SessionId>,
    is_opening: bool,
    /// After a refusal: when to try again.
    again: Option<Instant>,
    last_number: u64,
    unanswered: BTreeSet<u64>,
}

impl Session {
    /// Its id, once it is open.
    pub(super) fn id(&self) -> Option<SessionId> {
        self.id
    }

    /// Whether it is to be opened now. If so, the caller does, and says what came of it.
    pub(super) fn begin_opening(&mut self) -> bool {
        let begins = self.id.is_none() && !self.is_opening && self.again.is_none();
        self.is_opening |= begins;
        begins
    }

    /// It is open, and new.
    pub(super) fn opened(&mut self, id: SessionId) {
        *self = Self { id: Some(id), ..Self::default() };
    }

    /// It was not opened, as far as is known. One that was nevertheless is empty, and evicted one day.
    pub(super) fn not_opened(&mut self, again: Option<Instant>) {
        self.is_opening = false;
        self.again = again;
    }

    /// When it is to be opened, if that has a time.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        self.again
    }

    /// The time has come, if it has.
    pub(super) fn wait_over(&mut self, now: Instant) {
        self.again = self.again.filter(|again| *again > now);
    }

    /// The cluster has no such session any more.
    pub(super) fn gone(&mut self) {
        *self = Self::default();
    }

    /// The lowest number without an answer: every one below is done with.
    pub(super) fn answered(&self) -> u64 {
        self.unanswered.first().copied().unwrap_or(self.last_number + 1)
    }

    /// Gives out a number, unless it would be too far above `answered` to be delivered.
    pub(super) fn next_number(&mut self, session_requests_max: u64) -> Option<u64> {
        let number = self.last_number + 1;
        if number - self.answered() >= session_requests_max {
            return None;
        }
        self.last_number = number;
        self.unanswered.insert(number);
        Some(number)
    }

    /// A number is done with: it has its answer, or was given up.
    pub(super) fn done(&mut self, number: u64) {
        self.unanswered.remove(&number);
    }
}

/// How long what was refused at once waits before it is asked again: 50 ms. The reasons that pass take
/// about as long: a queue that empties, a replica that stops, a cluster that forms.
pub(super) const AGAIN: Duration = Duration::from_millis(50);
