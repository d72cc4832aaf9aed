//! The port for peers while the log is read: callers are told that this replica is starting.
//!
//! A connection that is closed without a word looks like a fault, and its dialer cannot say in its log
//! what it waits for.

use std::convert::Infallible;
use std::time::Duration;

use synod_model::Run;
use synod_wire::frame::FrameReader;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::error::LinkError;
use super::handshake;
use super::introduction::{Hello, HelloReply, Introduction, Refusal};
use super::limits::{INTRODUCTION_BYTES_MAX, LinkTiming, STRANGERS_MAX};
use super::socket;
use crate::identity::Identity;

/// How long the port rests after it could not take a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Answers callers until this is dropped. `progress` tells how many segments of the log are read, and how
/// many there are.
pub(crate) async fn answer_while_starting(
    listener: &TcpListener,
    identity: &Identity,
    run: Run,
    progress: impl Fn() -> (u64, u64),
) -> Infallible {
    let timing = LinkTiming::default();
    let me = Introduction::new(identity, run);
    let mut callers = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept(), if callers.len() < STRANGERS_MAX => accepted,
            Some(_) = callers.join_next() => continue,
        };
        let Ok((stream, _)) = stream else {
            // No descriptor is left, perhaps.
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let (segments_read, segments) = progress();
        let starting = Refusal::Starting { segments_read, segments };
        let answer = answer(me.clone(), starting, stream, timing);
        callers.spawn(timeout(timing.handshake_max, answer));
    }
}

async fn answer(
    me: Introduction,
    starting: Refusal,
    stream: TcpStream,
    timing: LinkTiming,
) -> Result<(), LinkError> {
    socket::prepare(&stream, &timing)?;
    let (from_peer, mut to_peer) = stream.into_split();
    let mut from_peer = FrameReader::new(from_peer, INTRODUCTION_BYTES_MAX);
    let payload = from_peer.next().await?.ok_or(LinkError::Closed)?;
    let refusal = match handshake::from_payload::<Hello>(payload) {
        Ok(hello) => me.judge_dialer(&hello).err().map_or(starting, |(_, refusal)| refusal),
        Err(LinkError::OtherVersion { .. }) => Refusal::OtherVersion,
        Err(error) => return Err(error),
    };
    let answer = handshake::to_frame(&HelloReply::Refused(me, refusal));
    let answer = answer.map_err(LinkError::Unencodable)?;
    to_peer.write_all(&answer).await.map_err(LinkError::Io)
}
