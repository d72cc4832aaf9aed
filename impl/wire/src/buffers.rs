//! Messages to bytes and back, for both ends of a connection.
//!
//! Both directions are buffered, so that as many messages as there are cost one system call. Nothing
//! is allocated for a message before its length is known to be within the limit, and an inbox never
//! reads more than [`READ_BYTES`] beyond the message that it is amid: what follows is left in TCP. So
//! its owner can decide, with [`Inbox::next_message`], whether there is memory for a message before it
//! reads on.

use std::io;

use bytes::{Buf as _, BufMut as _, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::codec::{self, DecodeError, EncodeError};
use crate::frame::{self, FrameError};

/// How much is read at once, unless it is known that more is missing of a message, and how much of a
/// buffer an idle connection keeps: 16 KiB.
pub const READ_BYTES: usize = 16 << 10;

/// What has arrived and was not taken out yet.
#[derive(Debug)]
pub struct Inbox {
    buffer: BytesMut,
    message_bytes_max: u64,
}

impl Inbox {
    /// An empty one, for messages of up to `message_bytes_max`.
    pub fn new(message_bytes_max: u64) -> Self {
        Self { buffer: BytesMut::new(), message_bytes_max }
    }

    /// From here on, messages may be as long as this.
    pub fn allow(&mut self, message_bytes_max: u64) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Takes out the next message, if all of it has arrived.
    ///
    /// # Errors
    ///
    /// If what has arrived is no message. Nothing sensible comes after it.
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
            // One large message is no reason to hold its memory for ever.
            self.buffer = BytesMut::from(&self.buffer[whole_bytes..]);
        } else {
            self.buffer.advance(whole_bytes);
        }
        Ok(Some(message))
    }

    /// What is known of the next message: its frame begins with its length.
    ///
    /// # Errors
    ///
    /// If it is longer than it may be.
    pub fn next_message(&self) -> Result<Option<Announced>, FrameError> {
        let max = usize::try_from(self.message_bytes_max).unwrap_or(usize::MAX);
        let bytes = frame::announced_bytes(&self.buffer, max)?;
        Ok(bytes.map(|bytes| Announced { bytes, is_here: bytes <= self.buffer.len() }))
    }

    /// Waits for more. Nothing is lost if the wait is dropped. 0 says that nothing more comes.
    ///
    /// # Errors
    ///
    /// What the socket fails with.
    pub async fn fill(&mut self, socket: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        let announced = self.next_message().ok().flatten();
        let missing = announced.map_or(0, |it| it.bytes.saturating_sub(self.buffer.len()));
        let room = missing.max(READ_BYTES);
        self.buffer.reserve(room);
        socket.read_buf(&mut (&mut self.buffer).limit(room)).await
    }

    /// Whether the sender has begun a message and not ended it.
    pub fn is_amid_message(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// A message that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    /// How many bytes it takes, with its frame.
    pub bytes: usize,
    /// Whether all of them have arrived.
    pub is_here: bool,
}

/// What is to be sent and was not yet.
///
/// What was sent leaves the buffer when it is as much as what waits, at the latest: so a reader that
/// is always a little behind costs no more than twice that, and no byte is moved twice on average.
#[derive(Debug)]
pub struct Outbox {
    buffer: Vec<u8>,
    sent_bytes: usize,
    message_bytes_max: u64,
}

impl Outbox {
    /// An empty one, for messages of up to `message_bytes_max`.
    pub fn new(message_bytes_max: u64) -> Self {
        Self { buffer: Vec::new(), sent_bytes: 0, message_bytes_max }
    }

    /// From here on, messages may be as long as this.
    pub fn allow(&mut self, message_bytes_max: u64) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Puts a message behind the others.
    ///
    /// # Errors
    ///
    /// If it is too long. Then nothing has changed.
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

    /// What waits.
    pub fn waiting(&self) -> &[u8] {
        &self.buffer[self.sent_bytes..]
    }

    /// Sends some of it. Nothing is lost or sent twice if the wait is dropped.
    ///
    /// # Errors
    ///
    /// What the socket fails with.
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

    /// Sends all of it.
    ///
    /// # Errors
    ///
    /// What the socket fails with.
    pub async fn send_all(&mut self, socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        while self.waiting_bytes() > 0 {
            self.send_some(socket).await?;
        }
        Ok(())
    }
}

/// What arrived is nothing that the other end could have sent.
#[derive(Debug, Error)]
pub enum Garbage {
    /// It is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It is a frame, and what is in it is no message.
    #[error(transparent)]
    Message(#[from] DecodeError),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A large message and the beginning of the next: what is kept is as small as the latter.
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

    /// A reader that is always a little behind: the outbox never drains.
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
