//! The session of a client: the numbers that it has given out, and those without an answer.

use std::collections::BTreeSet;
use std::time::Duration;

use synod_model::SessionId;
use tokio::time::Instant;

/// A session, or the wish for one.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: Option<SessionId>,
    is_opening: bool,
    /// When to try again, after a refusal.
    again: Option<Instant>,
    last_number: u64,
    unanswered: BTreeSet<u64>,
}

impl Session {
    /// Its id, once it is open.
    pub(super) fn id(&self) -> Option<SessionId> {
        self.id
    }

    /// Whether the caller must open it now. The caller then reports the outcome.
    pub(super) fn begin_opening(&mut self) -> bool {
        let begins = self.id.is_none() && !self.is_opening && self.again.is_none();
        self.is_opening |= begins;
        begins
    }

    /// It is open, and new.
    pub(super) fn opened(&mut self, id: SessionId) {
        *self = Self { id: Some(id), ..Self::default() };
    }

    /// It was not opened, as far as the client knows. If it was, it is empty, and is evicted in time.
    pub(super) fn not_opened(&mut self, again: Option<Instant>) {
        self.is_opening = false;
        self.again = again;
    }

    /// When to open it, if that has a time.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        self.again
    }

    /// Ends the wait, if its time has come.
    pub(super) fn wait_over(&mut self, now: Instant) {
        self.again = self.again.filter(|again| *again > now);
    }

    /// The cluster does not have this session any more.
    pub(super) fn gone(&mut self) {
        *self = Self::default();
    }

    /// The lowest number without an answer. Every number below is answered or given up.
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

    /// A number is answered or given up.
    pub(super) fn done(&mut self, number: u64) {
        self.unanswered.remove(&number);
    }
}

/// How long a request that was refused at once waits before it is sent again: 50 ms. The reasons pass
/// in about that time: a queue empties, a replica stops, a cluster forms.
pub(super) const AGAIN: Duration = Duration::from_millis(50);
