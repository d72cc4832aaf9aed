//! One connection of one client.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use synod_model::{Slot, Value as _};
use synod_wire::api::{NotDone, QueryError, ReadError, SubmitError, SubscribeError};
use synod_wire::buffers::{Announced, Garbage, Outbox};
use synod_wire::codec::EncodeError;
use synod_wire::protocol::{Answer, Ask, Follow, FollowEnd, Query, ToClient, ToNode};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::coop::consume_budget;
use tokio::time::{self, Instant};

use super::ServerLimits;
use super::budget::{Budget, FREE_BYTES, Share};
use super::follower::{Follower, not_read};
use super::handshake::greet;
use super::unsent::Unsent;
use crate::backend::Backend;

/// How long a client has to take its last answers and close the connection in its turn.
pub(super) const FAREWELL_MAX: Duration = Duration::from_millis(250);

/// Why a connection ends before its client ended it.
#[derive(Debug, Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Garbage(#[from] Garbage),
    #[error("{0}")]
    NoClient(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a message that has begun was not here within {} s", .0.as_secs_f64())]
    Late(Duration),
    #[error("no answer was read for {} s, and some wait", .0.as_secs_f64())]
    DoesNotRead(Duration),
    #[error(transparent)]
    Unsayable(#[from] EncodeError),
}

/// Serves one client until it has enough, or the node stops.
pub(super) async fn run<B: Backend>(
    mut socket: TcpStream,
    backend: &B,
    limits: &ServerLimits,
    budget: &Budget,
    mut is_stopping: watch::Receiver<bool>,
) -> Result<(), Broken> {
    let Some((mut inbox, outbox)) = greet(&mut socket, backend, limits).await? else {
        return Ok(());
    };
    let (mut reader, mut writer) = socket.split();
    let mut desk = Desk {
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
    };
    let mut share = Share::new(budget);
    let mut in_flight = FuturesUnordered::new();
    // Only drawn up when the node stops, or the client has nothing more to say.
    let cut_off = time::sleep(Duration::ZERO);
    let mut cut_off = std::pin::pin!(cut_off);
    loop {
        let mut wants_asks = false;
        // One that has its part of the budget does not sit on it, whatever else there is no room for.
        while !desk.is_told_all && (share.has_part() || desk.has_room(in_flight.len())) {
            let announced = inbox.next_message().map_err(Garbage::from)?;
            if let Some(Announced { bytes, is_here }) = announced
                && (is_here || bytes > FREE_BYTES)
                && !share.reserve(bytes)
            {
                break;
            }
            let Some(ToNode { id, ask }) = inbox.take()? else {
                wants_asks = true;
                break;
            };
            let part = share.take();
            match desk.take(id, ask)? {
                Some(job) => in_flight.push(async { (job.run(backend).await, part) }),
                None => share.give_back(part),
            }
            // What is answered here waits for nothing, and the replica is on the same thread: a
            // client that asks without end has its turn like everybody.
            consume_budget().await;
        }
        desk.send_unsent()?;
        desk.tell_follower(false)?;
        if desk.is_done(in_flight.len()) {
            break;
        }

        let overdue = overdue(share.begun(), desk.unread_since(), limits.message_max);
        let follower_waits = desk.outbox.waiting_bytes() < limits.waiting_bytes_max;
        let (outbox, follower) = (&mut desk.outbox, desk.follower.as_mut());
        let is_watched = follower.as_ref().is_some_and(|follower| follower.is_watching());
        let quiet_until = desk.told_at + limits.quiet_max;
        let more_log = async {
            match follower.filter(|follower| follower_waits && follower.wants_more()) {
                Some(follower) => follower.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = is_stopping.wait_for(|stopping| *stopping), if !desk.is_draining => {
                desk.is_draining = true;
                cut_off.as_mut().reset(Instant::now() + limits.drain_max);
                desk.end_follow(FollowEnd::NoMore(SubscribeError::Stopping))?;
            }
            () = &mut cut_off, if desk.is_draining || desk.is_told_all => break,
            sent = outbox.send_some(&mut writer), if outbox.waiting_bytes() > 0 => {
                sent?;
                desk.unread_since = None;
            }
            Some((done, part)) = in_flight.next(), if !in_flight.is_empty() => {
                desk.answer(done, &share)?;
                share.give_back(part);
                // Whatever else is ready leaves in the same write.
                while let Some(Some((done, part))) = in_flight.next().now_or_never() {
                    desk.answer(done, &share)?;
                    share.give_back(part);
                }
            }
            more = more_log => desk.take_log(more)?,
            read = inbox.fill(&mut reader), if wants_asks && !desk.is_told_all => {
                if read? == 0 {
                    desk.hear_no_more();
                    let part = share.take();
                    share.give_back(part);
                    if !desk.is_draining {
                        cut_off.as_mut().reset(Instant::now() + limits.drain_max);
                    }
                }
            }
            () = share.wait(), if share.is_queued() => {}
            broken = overdue => return Err(broken),
            () = time::sleep_until(quiet_until), if is_watched && follower_waits => {
                desk.tell_follower(true)?;
            }
        }
    }
    farewell(socket).await;
    Ok(())
}

/// Waits until a message that has begun is late, or the client has read nothing for too long.
async fn overdue(
    begun: Option<Instant>,
    unread_since: Option<Instant>,
    message_max: Duration,
) -> Broken {
    let late = begun.map(|since| (since, Broken::Late(message_max)));
    let unread = unread_since.map(|since| (since, Broken::DoesNotRead(message_max)));
    match [late, unread].into_iter().flatten().min_by_key(|(since, _)| *since) {
        Some((since, broken)) => {
            time::sleep_until(since + message_max).await;
            broken
        }
        None => std::future::pending().await,
    }
}

/// Ends a connection so that the last answers arrive: a socket that is closed with bytes unread in it
/// is reset, and what was sent last can be lost.
async fn farewell(mut socket: TcpStream) {
    let leave = async {
        socket.shutdown().await?;
        let mut unread = [0; 1024];
        while socket.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever happens now, the connection is over.
    let _ = time::timeout(FAREWELL_MAX, leave).await;
}

/// What is between a connection and the backend, but for what the backend is working on.
struct Desk<'a, B: Backend> {
    backend: &'a B,
    limits: &'a ServerLimits,
    outbox: Outbox,
    follower: Option<Follower<B::Subscription>>,
    /// Responses that find the outbox full.
    unsent: Unsent<'a>,
    /// How many bytes of values are in flight, and are expected as responses to them.
    in_flight_bytes: u64,
    /// Whether the node is stopping.
    is_draining: bool,
    /// Whether the client has closed its side. It may still wait for answers.
    is_told_all: bool,
    /// When the follower was last told anything.
    told_at: Instant,
    /// Since when responses wait and the client reads nothing.
    unread_since: Option<Instant>,
}

/// Something for the backend to do.
struct Job {
    id: u64,
    /// Of its value and of the response that is expected.
    bytes: u64,
    ask: Ask,
}

/// What came of it.
struct Done {
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
    fn run<B: Backend>(self, backend: &B) -> impl Future<Output = Done> + Send + use<'_, B> {
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
                Ask::Status => Outcome::Answer(Answer::Status(Box::new(backend.status()))),
            };
            Done { id, bytes, outcome }
        }
    }
}

impl<'a, B: Backend> Desk<'a, B> {
    /// Whether there is room for another ask.
    fn has_room(&self, in_flight: usize) -> bool {
        in_flight < self.limits.asks_in_flight_max
            && self.in_flight_bytes < self.limits.in_flight_bytes_max
            && !self.is_outbox_full()
    }

    /// Since when responses wait and the client reads nothing.
    fn unread_since(&mut self) -> Option<Instant> {
        if self.unsent.is_empty() {
            self.unread_since = None;
        } else {
            self.unread_since.get_or_insert_with(Instant::now);
        }
        self.unread_since
    }

    /// Whether nothing comes any more, and all that has come is answered.
    fn is_done(&self, in_flight: usize) -> bool {
        let ends = self.is_draining || (self.is_told_all && self.follower.is_none());
        ends && in_flight == 0 && self.unsent.is_empty() && self.outbox.waiting_bytes() == 0
    }

    /// The client has closed its side, or is gone altogether: what it has asked for is answered. A
    /// follow without an end is none that could be.
    fn hear_no_more(&mut self) {
        self.is_told_all = true;
        self.follower = self.follower.take().filter(Follower::has_end);
    }

    /// Takes an ask: answers it, or says what the backend is to do for it.
    fn take(&mut self, id: u64, ask: Ask) -> Result<Option<Job>, EncodeError> {
        let mut bytes = 0;
        match &ask {
            Ask::Status => {
                let status = Box::new(self.backend.status());
                self.say(id, Answer::Status(status))?;
                return Ok(None);
            }
            Ask::Follow(follow) => return self.follow(id, *follow),
            Ask::Request(request) => {
                bytes = request.value.size_bytes() + self.unsent.expected_bytes();
            }
            Ask::Query(query) => {
                bytes = query.request.size_bytes() + self.unsent.expected_bytes();
            }
            Ask::OpenSession | Ask::EndSession(_) | Ask::Read => {}
        }
        if self.is_draining {
            self.say(
                id,
                match ask {
                    Ask::Read => Answer::NotRead(ReadError::Stopping),
                    Ask::Query(_) => Answer::NotAnswered(QueryError::Stopping),
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

    fn answer(&mut self, done: Done, share: &Share<'a>) -> Result<(), EncodeError> {
        self.in_flight_bytes -= done.bytes;
        match (done.outcome, &mut self.follower) {
            (Outcome::Answer(answer), _) => {
                let is_full = self.is_outbox_full();
                match self.unsent.admit(done.id, answer, is_full, share) {
                    Some(answer) => self.outbox.push(&answer),
                    None => Ok(()),
                }
            }
            (Outcome::FollowEndsAt(Ok(slot)), Some(follower)) if follower.id == done.id => {
                follower.end_at(slot);
                self.tell_follower(false)
            }
            (Outcome::FollowEndsAt(Err(error)), Some(follower)) if follower.id == done.id => {
                self.follower = None;
                self.say(done.id, not_read(error))
            }
            // The follow has ended meanwhile.
            (Outcome::FollowEndsAt(_), _) => Ok(()),
        }
    }

    /// Puts responses into the outbox, as far as there is room.
    fn send_unsent(&mut self) -> Result<(), EncodeError> {
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

    fn take_log(
        &mut self,
        log: Result<Vec<synod_wire::api::Delivery>, SubscribeError>,
    ) -> Result<(), EncodeError> {
        match (log, &mut self.follower) {
            (Ok(deliveries), Some(follower)) => follower.take(deliveries),
            (Ok(_), None) => {}
            (Err(error), _) => self.end_follow(FollowEnd::NoMore(error))?,
        }
        Ok(())
    }

    /// Tells the follower what there is to tell, as long as it reads; if it is `quiet`, at least that
    /// there is nothing.
    fn tell_follower(&mut self, mut quiet: bool) -> Result<(), EncodeError> {
        while self.outbox.waiting_bytes() < self.limits.waiting_bytes_max {
            let Some(follower) = &mut self.follower else {
                return Ok(());
            };
            let id = follower.id;
            if let Some(answer) = follower.tell(quiet) {
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

    fn end_follow(&mut self, end: FollowEnd) -> Result<(), EncodeError> {
        match self.follower.take() {
            Some(follower) => self.say(follower.id, Answer::FollowEnds(end)),
            None => Ok(()),
        }
    }

    fn say(&mut self, id: u64, answer: Answer) -> Result<(), EncodeError> {
        self.outbox.push(&ToClient { id, answer })
    }
}
