//! What stands between a connection and the backend.

use std::future::Future;

use synod_model::{Slot, Value as _};
use synod_wire::api::{
    Delivery, NotDone, QueryError, ReadError, SaveError, SubmitError, SubscribeError,
    TakeSnapshotError,
};
use synod_wire::buffers::Outbox;
use synod_wire::codec::EncodeError;
use synod_wire::protocol::{Answer, Ask, Follow, FollowEnd, Query, SAVE_PIECE_BYTES_MAX, ToClient};
use tokio::time::Instant;

use super::ServerLimits;
use super::budget::{Part, Share};
use super::follower::{Follower, not_read};
use super::unsent::Unsent;
use crate::backend::Backend;

/// The asks and answers of one connection. What the backend is working on is not here.
pub(super) struct Desk<'a, B: Backend> {
    backend: &'a B,
    limits: &'a ServerLimits,
    pub(super) outbox: Outbox,
    pub(super) follower: Option<Follower<B::Subscription>>,
    /// Responses that find the outbox full.
    pub(super) unsent: Unsent<'a>,
    /// How many bytes the asks in flight have, with the responses that are expected to them.
    in_flight_bytes: u64,
    /// Whether the node is stopping.
    pub(super) is_draining: bool,
    /// Whether the client has closed its side. It may still wait for answers.
    pub(super) is_told_all: bool,
    /// When the follower last got a message.
    pub(super) told_at: Instant,
    /// Since when responses wait and the client reads nothing.
    pub(super) unread_since: Option<Instant>,
}

/// An ask for the backend.
pub(super) struct Job {
    id: u64,
    /// The bytes of its value, and of the response that is expected.
    bytes: u64,
    ask: Ask,
}

/// The outcome of a job.
pub(super) struct Done {
    id: u64,
    bytes: u64,
    outcome: Outcome,
}

enum Outcome {
    Answer(Answer),
    /// The read that says where a follow ends.
    FollowEndsAt(Result<Slot, ReadError>),
}

impl Job {
    pub(super) fn run<B: Backend>(
        self,
        backend: &B,
    ) -> impl Future<Output = Done> + Send + use<'_, B> {
        let Self { id, bytes, ask } = self;
        async move {
            let no_slot = |error| Outcome::Answer(Answer::NoSlot(error));
            let done = |applied| Outcome::Answer(Answer::Done(applied));
            let ended = |slot| Outcome::Answer(Answer::Ended(slot));
            let outcome = match ask {
                Ask::OpenSession => backend
                    .open_session()
                    .await
                    .map_or_else(no_slot, |session| Outcome::Answer(Answer::Opened(session))),
                Ask::Request(request) => backend.request(request).await.map_or_else(no_slot, done),
                Ask::EndSession(session) => {
                    backend.end_session(session).await.map_or_else(no_slot, ended)
                }
                Ask::Change(change) => backend
                    .change(change)
                    .await
                    .map_or_else(no_slot, |slot| Outcome::Answer(Answer::Changed(slot))),
                Ask::Members => Outcome::Answer(
                    backend
                        .members()
                        .await
                        .map_or_else(Answer::NotRead, |members| Answer::Members(Box::new(members))),
                ),
                Ask::Query(Query { request, consistency }) => Outcome::Answer(
                    backend
                        .query(request, consistency)
                        .await
                        .map_or_else(Answer::NotAnswered, Answer::Answered),
                ),
                Ask::Read => Outcome::Answer(
                    backend.read().await.map_or_else(Answer::NotRead, Answer::ReadAt),
                ),
                Ask::Follow(_) => Outcome::FollowEndsAt(backend.read().await),
                Ask::Status => Outcome::Answer(status(backend)),
                Ask::TakeSnapshot => Outcome::Answer(
                    backend
                        .take_snapshot()
                        .await
                        .map_or_else(Answer::NoSnapshot, Answer::SnapshotTaken),
                ),
                Ask::BeginSave(save) => {
                    let begun = backend.begin_save(save).await;
                    Outcome::Answer(begun.map_or_else(Answer::NotSaved, Answer::SaveBegun))
                }
                Ask::ReadSave(read) => {
                    let read = backend.read_save(read).await;
                    Outcome::Answer(read.map_or_else(Answer::NotSaved, Answer::SavePiece))
                }
                Ask::EndSave(save) => {
                    backend.end_save(save);
                    Outcome::Answer(Answer::SaveEnded)
                }
            };
            Done { id, bytes, outcome }
        }
    }
}

impl<'a, B: Backend> Desk<'a, B> {
    pub(super) fn new(backend: &'a B, limits: &'a ServerLimits, outbox: Outbox) -> Self {
        Self {
            backend,
            limits,
            outbox,
            follower: None,
            unsent: Unsent::new(limits.in_flight_bytes_max),
            in_flight_bytes: 0,
            is_draining: false,
            is_told_all: false,
            told_at: Instant::now(),
            unread_since: None,
        }
    }

    /// Whether there is room for another ask.
    pub(super) fn has_room(&self, in_flight: usize) -> bool {
        in_flight < self.limits.asks_in_flight_max
            && self.in_flight_bytes < self.limits.in_flight_bytes_max
            && !self.is_outbox_full()
    }

    /// Since when responses wait and the client reads nothing.
    pub(super) fn unread_since(&mut self) -> Option<Instant> {
        if self.unsent.is_empty() {
            self.unread_since = None;
        } else {
            self.unread_since.get_or_insert_with(Instant::now);
        }
        self.unread_since
    }

    /// Whether no more asks come, and all answers are sent.
    pub(super) fn is_done(&self, in_flight: usize) -> bool {
        let ends = self.is_draining || (self.is_told_all && self.follower.is_none());
        ends && in_flight == 0 && self.unsent.is_empty() && self.outbox.waiting_bytes() == 0
    }

    /// The client has closed its side, or is gone. What it has asked is answered. A follow without an
    /// end is dropped, because it could never be done.
    pub(super) fn hear_no_more(&mut self) {
        self.is_told_all = true;
        self.follower = self.follower.take().filter(Follower::has_end);
    }

    /// Takes an ask. Answers it, or returns the job for the backend.
    pub(super) fn take(&mut self, id: u64, ask: Ask) -> Result<Option<Job>, EncodeError> {
        let mut bytes = 0;
        match &ask {
            Ask::Status => {
                self.say(id, status(self.backend))?;
                return Ok(None);
            }
            Ask::Follow(follow) => return self.follow(id, *follow),
            Ask::Request(request) => {
                bytes = request.value.size_bytes() + self.unsent.expected_bytes();
            }
            Ask::Query(query) => {
                bytes = query.request.size_bytes() + self.unsent.expected_bytes();
            }
            Ask::ReadSave(_) => bytes = SAVE_PIECE_BYTES_MAX,
            Ask::OpenSession
            | Ask::EndSession(_)
            | Ask::Change(_)
            | Ask::Members
            | Ask::Read
            | Ask::TakeSnapshot
            | Ask::BeginSave(_)
            | Ask::EndSave(_) => {}
        }
        if self.is_draining {
            self.say(
                id,
                match ask {
                    Ask::Read | Ask::Members => Answer::NotRead(ReadError::Stopping),
                    Ask::Query(_) => Answer::NotAnswered(QueryError::Stopping),
                    Ask::TakeSnapshot => Answer::NoSnapshot(TakeSnapshotError::Stopping),
                    Ask::BeginSave(_) | Ask::ReadSave(_) | Ask::EndSave(_) => {
                        Answer::NotSaved(SaveError::Stopping)
                    }
                    _ => Answer::NoSlot(SubmitError::NotDone(NotDone::Stopping)),
                },
            )?;
            return Ok(None);
        }
        self.in_flight_bytes += bytes;
        Ok(Some(Job { id, bytes, ask }))
    }

    fn follow(&mut self, id: u64, follow: Follow) -> Result<Option<Job>, EncodeError> {
        let subscription = if self.is_draining {
            Err(SubscribeError::Stopping)
        } else if self.follower.is_some() {
            Err(SubscribeError::AlreadyFollowing)
        } else {
            self.backend.subscribe(follow.from)
        };
        match subscription {
            Ok(subscription) => {
                self.follower = Some(Follower::new(id, follow, subscription));
                self.told_at = Instant::now();
                let ask = Ask::Follow(follow);
                Ok(follow.until_caught_up.then_some(Job { id, bytes: 0, ask }))
            }
            Err(error) => {
                self.say(id, Answer::FollowEnds(FollowEnd::NoMore(error)))?;
                Ok(None)
            }
        }
    }

    /// Answers an ask, which had this part of the budget.
    pub(super) fn answer(
        &mut self,
        done: Done,
        part: Option<Part<'a>>,
        share: &mut Share<'a>,
    ) -> Result<(), EncodeError> {
        self.in_flight_bytes -= done.bytes;
        let ends_at = match done.outcome {
            Outcome::Answer(answer) => {
                let is_full = self.is_outbox_full();
                return match self.unsent.admit(done.id, answer, is_full, part, share) {
                    Some(answer) => self.outbox.push(&answer),
                    None => Ok(()),
                };
            }
            Outcome::FollowEndsAt(slot) => slot,
        };
        share.give_back(part);
        match (ends_at, &mut self.follower) {
            (Ok(slot), Some(follower)) if follower.id == done.id => {
                follower.end_at(slot);
                self.tell_follower(false)
            }
            (Err(error), Some(follower)) if follower.id == done.id => {
                self.follower = None;
                self.say(done.id, not_read(error))
            }
            // The follow has ended meanwhile.
            _ => Ok(()),
        }
    }

    /// Puts responses into the outbox, as far as there is room.
    pub(super) fn send_unsent(&mut self) -> Result<(), EncodeError> {
        while !self.is_outbox_full()
            && let Some(answer) = self.unsent.pop()
        {
            self.outbox.push(&answer)?;
        }
        Ok(())
    }

    fn is_outbox_full(&self) -> bool {
        self.outbox.waiting_bytes() >= self.limits.waiting_bytes_max
    }

    pub(super) fn take_log(
        &mut self,
        log: Result<Vec<Delivery>, SubscribeError>,
    ) -> Result<(), EncodeError> {
        match (log, &mut self.follower) {
            (Ok(deliveries), Some(follower)) => follower.take(deliveries),
            (Ok(_), None) => {}
            (Err(error), _) => self.end_follow(FollowEnd::NoMore(error))?,
        }
        Ok(())
    }

    /// Sends the follower what there is, as long as the client reads. If `quiet`, sends an empty
    /// delivery when there is nothing.
    pub(super) fn tell_follower(&mut self, mut quiet: bool) -> Result<(), EncodeError> {
        while self.outbox.waiting_bytes() < self.limits.waiting_bytes_max {
            let Some(follower) = &mut self.follower else {
                return Ok(());
            };
            let id = follower.id;
            if let Some(answer) = follower.tell(quiet, || self.backend.out_of_touch_ms()) {
                quiet = false;
                self.told_at = Instant::now();
                self.say(id, answer)?;
            } else if let Some(end) = follower.ends() {
                return self.end_follow(end);
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) fn end_follow(&mut self, end: FollowEnd) -> Result<(), EncodeError> {
        match self.follower.take() {
            Some(follower) => self.say(follower.id, Answer::FollowEnds(end)),
            None => Ok(()),
        }
    }

    fn say(&mut self, id: u64, answer: Answer) -> Result<(), EncodeError> {
        self.outbox.push(&ToClient { id, answer })
    }
}

fn status(backend: &impl Backend) -> Answer {
    backend.status().map_or_else(Answer::Starting, |status| Answer::Status(Box::new(status)))
}
