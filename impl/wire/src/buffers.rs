//! Messages to bytes and back, for both ends of a connection.
//!
//! Both directions are buffered, so one system call carries as many messages as there are. Nothing is
//! allocated for a message before its length is known to be within the limit. An inbox reads at most
//! [`READ_BYTES`] beyond the message that it has begun, and leaves the rest in TCP. So its owner can
//! decide, with [`Inbox::next_message`], whether there is memory for a message before it reads on.

use std::io;

use bytes::{Buf as _, BufMut as _, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::codec::{self, DecodeError, EncodeError};
use crate::frame::{self, FrameError};

/// How many bytes are read at once, unless a message is known to lack more. Also how much of a buffer an
/// idle connection keeps. 16 KiB.
pub const READ_BYTES: usize = 16 << 10;

/// The bytes that have arrived and were not taken out.
#[derive(Debug)]
pub struct Inbox {
    buffer: BytesMut,
    message_bytes_max: u64,
}

impl Inbox {
    /// An empty inbox, for messages of up to `message_bytes_max`.
    pub fn new(message_bytes_max: u64) -> Self {
        Self { buffer: BytesMut::new(), message_bytes_max }
    }

    /// Sets the limit for the length of messages from here on.
    pub fn allow(&mut self, message_bytes_max: u64) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Takes out the next message, if all of it has arrived.
    ///
    /// # Errors
    ///
    /// If the bytes are not a message. Nothing after them can be read either.
    pub fn take<M: DeserializeOwned>(&mut self) -> Result<Option<M>, Garbage> {
        let max = usize::try_from(self.message_bytes_max).unwrap_or(usize::MAX);
        let Some(frame) = frame::split(&self.buffer, max)? else {
            return Ok(None);
        };
        let (message, taken) = codec::decode(frame.payload)?;
        if taken < frame.payload.len() {
            return Err(DecodeError::BytesLeft(frame.payload.len() - taken).into());
        }
        let whole_bytes = frame.whole_bytes;
        if whole_bytes > READ_BYTES {
            // The memory of one large message is not kept.
            self.buffer = BytesMut::from(&self.buffer[whole_bytes..]);
        } else {
            self.buffer.advance(whole_bytes);
        }
        Ok(Some(message))
    }

    /// What the header of the next frame says about the next message, if it has arrived.
    ///
    /// # Errors
    ///
    /// If the message is longer than allowed.
    pub fn next_message(&self) -> Result<Option<Announced>, FrameError> {
        let max = usize::try_from(self.message_bytes_max).unwrap_or(usize::MAX);
        let bytes = frame::announced_bytes(&self.buffer, max)?;
        Ok(bytes.map(|bytes| Announced { bytes, is_here: bytes <= self.buffer.len() }))
    }

    /// Waits for more bytes. Returns how many came; 0 if the connection has ended. Nothing is lost if
    /// the wait is dropped.
    ///
    /// # Errors
    ///
    /// The error of the socket.
    pub async fn fill(&mut self, socket: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        let announced = self.next_message().ok().flatten();
        let missing = announced.map_or(0, |it| it.bytes.saturating_sub(self.buffer.len()));
        let room = missing.max(READ_BYTES);
        self.buffer.reserve(room);
        socket.read_buf(&mut (&mut self.buffer).limit(room)).await
    }

    /// Whether part of a message has arrived, and not all of it.
    pub fn is_amid_message(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// A message whose beginning has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    /// Its length, with its frame.
    pub bytes: usize,
    /// Whether all of it has arrived.
    pub is_here: bool,
}

/// The bytes that wait to be sent.
///
/// Bytes that were sent leave the buffer at the latest when they are as many as those that wait. So a
/// receiver that is always a little behind costs at most twice the waiting bytes, and on average no
/// byte is moved twice.
#[derive(Debug)]
pub struct Outbox {
    buffer: Vec<u8>,
    sent_bytes: usize,
    message_bytes_max: u64,
}

impl Outbox {
    /// An empty outbox, for messages of up to `message_bytes_max`.
    pub fn new(message_bytes_max: u64) -> Self {
        Self { buffer: Vec::new(), sent_bytes: 0, message_bytes_max }
    }

    /// Sets the limit for the length of messages from here on.
    pub fn allow(&mut self, message_bytes_max: u64) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Appends a message.
    ///
    /// # Errors
    ///
    /// If the message is too long. The outbox is as it was before then.
    pub fn push(&mut self, message: &impl Serialize) -> Result<(), EncodeError> {
        if self.sent_bytes > 0 && self.sent_bytes >= self.waiting_bytes() {
            self.buffer.drain(..self.sent_bytes);
            self.sent_bytes = 0;
        }
        let max = usize::try_from(self.message_bytes_max).unwrap_or(usize::MAX);
        frame::append(&mut self.buffer, max, |buffer, length_bytes_max| {
            codec::encode(message, buffer, length_bytes_max)
        })
    }

    /// How many bytes wait.
    pub fn waiting_bytes(&self) -> usize {
        self.buffer.len() - self.sent_bytes
    }

    /// The bytes that wait.
    pub fn waiting(&self) -> &[u8] {
        &self.buffer[self.sent_bytes..]
    }

    /// Sends some of the bytes. Nothing is lost or sent twice if the wait is dropped.
    ///
    /// # Errors
    ///
    /// The error of the socket.
    pub async fn send_some(&mut self, socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let sent = socket.write(&self.buffer[self.sent_bytes..]).await?;
        if sent == 0 && self.waiting_bytes() > 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.sent_bytes += sent;
        if self.waiting_bytes() == 0 {
            self.buffer.clear();
            self.sent_bytes = 0;
            self.buffer.shrink_to(4 * READ_BYTES);
        }
        Ok(())
    }

    /// Sends all of the bytes.
    ///
    /// # Errors
    ///
    /// The error of the socket.
    pub async fn send_all(&mut self, socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        while self.waiting_bytes() > 0 {
            self.send_some(socket).await?;
        }
        Ok(())
    }
}

/// What arrived cannot be a message of the other end.
#[derive(Debug, Error)]
pub enum Garbage {
    /// It is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It is a frame whose payload is not a message.
    #[error(transparent)]
    Message(#[from] DecodeError),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A large message and the beginning of the next one: the inbox keeps little more than the latter.
    #[tokio::test]
    async fn an_inbox_reads_no_further_than_its_message_and_keeps_little_of_it() {
        let (mut ours, mut theirs) = tokio::io::duplex(4 << 20);
        let mut outbox = Outbox::new(2 << 20);
        for _ in 0..3 {
            outbox.push(&vec![7_u8; 1_000_000]).unwrap();
        }
        outbox.send_all(&mut theirs).await.unwrap();
        let mut inbox = Inbox::new(2 << 20);
        for _ in 0..2 {
            let message: Vec<u8> = loop {
                if let Some(message) = inbox.take().unwrap() {
                    break message;
                }
                inbox.fill(&mut ours).await.unwrap();
                let read = inbox.buffer.len();
                assert!(read < 1_000_000 + 2 * READ_BYTES, "{read} bytes were read");
            };
            assert_eq!(message.len(), 1_000_000);
            let kept = inbox.buffer.capacity();
            assert!(kept <= 2 * READ_BYTES, "{kept} bytes are kept");
        }
    }

    /// A receiver that is always a little behind: the outbox never drains.
    #[tokio::test]
    async fn an_outbox_that_never_drains_forgets_what_was_sent() {
        let (mut ours, mut theirs) = tokio::io::duplex(64 << 10);
        let mut outbox = Outbox::new(1 << 20);
        let message = vec![7_u8; 100_000];
        let mut read = vec![0; 50_000];
        for _ in 0..1000 {
            while outbox.waiting_bytes() < 256 << 10 {
                outbox.push(&message).unwrap();
            }
            outbox.send_some(&mut ours).await.unwrap();
            let _ = theirs.read(&mut read).await.unwrap();
        }
        let kept_bytes = outbox.buffer.capacity();
        assert!(kept_bytes < 2 << 20, "it keeps {kept_bytes} bytes for 256 KiB that wait");
    }
}
