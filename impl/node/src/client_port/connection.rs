//! One connection of one client.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use synod_wire::api::SubscribeError;
use synod_wire::buffers::{Announced, Garbage, Inbox};
use synod_wire::codec::EncodeError;
use synod_wire::protocol::{FollowEnd, ToNode};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::coop::consume_budget;
use tokio::time::{self, Instant};

use super::ServerLimits;
use super::budget::{Budget, FREE_BYTES, Part, Share};
use super::desk::{Desk, Job};
use super::handshake::greet;
use crate::backend::Backend;

/// How long a client has to read its last answers and to close the connection.
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

/// Serves one client until it closes the connection, or the node stops.
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
    let mut desk = Desk::new(backend, limits, outbox);
    let mut share = Share::new(budget);
    let mut in_flight = FuturesUnordered::new();
    // It counts only from the time when the node stops, or the client has closed its side.
    let cut_off = time::sleep(Duration::ZERO);
    let mut cut_off = std::pin::pin!(cut_off);
    loop {
        let wants_asks =
            take_asks(&mut desk, &mut inbox, &mut share, &mut in_flight, |job, part| async {
                (job.run(backend).await, part)
            })
            .await?;
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
                desk.answer(done, part, &mut share)?;
                // Other answers that are ready leave in the same write.
                while let Some(Some((done, part))) = in_flight.next().now_or_never() {
                    desk.answer(done, part, &mut share)?;
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

/// Takes the asks that have arrived, as long as there is room for them. Returns whether more are wanted.
async fn take_asks<'a, B: Backend, F: Future>(
    desk: &mut Desk<'a, B>,
    inbox: &mut Inbox,
    share: &mut Share<'a>,
    in_flight: &mut FuturesUnordered<F>,
    begin: impl Fn(Job, Option<Part<'a>>) -> F,
) -> Result<bool, Broken> {
    // A message that has its part of the budget is taken, even if there is no room for another ask.
    while !desk.is_told_all && (share.has_part() || desk.has_room(in_flight.len())) {
        let announced = inbox.next_message().map_err(Garbage::from)?;
        if let Some(Announced { bytes, is_here }) = announced
            && (is_here || bytes > FREE_BYTES)
            && !share.reserve(bytes)
        {
            return Ok(false);
        }
        let Some(ToNode { id, ask }) = inbox.take()? else {
            return Ok(true);
        };
        let part = share.take();
        match desk.take(id, ask)? {
            Some(job) => in_flight.push(begin(job, part)),
            None => share.give_back(part),
        }
        // Some asks are answered at once, and the replica may be on the same thread. So a client that
        // asks without end gives others their turn.
        consume_budget().await;
    }
    Ok(false)
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
