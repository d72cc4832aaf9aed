//! Messages to bytes and back, for both ends of a connection.
//!
//! Both directions are buffered, so that as many messages as there are cost one system call. Nothing
//! is allocated for a message before its length is known to be within the limit.

use std::io;

use bytes::{Buf as _, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::codec::{self, DecodeError, EncodeError};
use crate::frame::{self, FrameError};

/// How much is read at once, and how much of a buffer an idle connection keeps: 16 KiB.
const READ_BYTES: usize = 16 << 10;

/// What has arrived and was not taken out yet.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: BytesMut,
    message_bytes_max: u64,
}

impl Inbox {
    /// An empty one, for messages of up to `message_bytes_max`.
    pub(crate) fn new(message_bytes_max: u64) -> Self {
        Self { buffer: BytesMut::new(), message_bytes_max }
    }

    /// From here on, messages may be as long as this.
    pub(crate) fn allow(&mut self, message_bytes_max: u64) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Takes out the next message, if all of it has arrived.
    pub(crate) fn next<M: DeserializeOwned>(&mut self) -> Result<Option<M>, Garbage> {
        let max = usize::try_from(self.message_bytes_max).unwrap_or(usize::MAX);
        let Some(frame) = frame::split(&self.buffer, max)? else {
            return Ok(None);
        };
        let (message, taken) = codec::decode(frame.payload)?;
        if taken < frame.payload.len() {
            return Err(DecodeError::BytesLeft(frame.payload.len() - taken).into());
        }
        let whole_bytes = frame.whole_bytes;
        self.buffer.advance(whole_bytes);
        Ok(Some(message))
    }

    /// Waits for more. Nothing is lost if the wait is dropped. 0 says that nothing more comes.
    pub(crate) async fn fill(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<usize> {
        if self.buffer.is_empty() && self.buffer.capacity() > 4 * READ_BYTES {
            // One large message is no reason to hold its memory for ever.
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(READ_BYTES);
        socket.read_buf(&mut self.buffer).await
    }

    /// Whether the sender has begun a message and not ended it.
    pub(crate) fn is_amid_message(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// What is to be sent and was not yet.
///
/// What was sent leaves the buffer when it is as much as what waits, at the latest: so a reader that
/// is always a little behind costs no more than twice that, and no byte is moved twice on average.
#[derive(Debug)]
pub(crate) struct Outbox {
    buffer: Vec<u8>,
    sent_bytes: usize,
    message_bytes_max: u64,
}

impl Outbox {
    /// An empty one, for messages of up to `message_bytes_max`.
    pub(crate) fn new(message_bytes_max: u64) -> Self {
        Self { buffer: Vec::new(), sent_bytes: 0, message_bytes_max }
    }

    /// From here on, messages may be as long as this.
    pub(crate) fn allow(&mut self, message_bytes_max: u64) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Puts a message behind the others. If it is too long, nothing has changed.
    pub(crate) fn push(&mut self, message: &impl Serialize) -> Result<(), EncodeError> {
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
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.buffer.len() - self.sent_bytes
    }

    /// What waits.
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.buffer[self.sent_bytes..]
    }

    /// Sends some of it. Nothing is lost or sent twice if the wait is dropped.
    pub(crate) async fn send_some(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
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
    pub(crate) async fn send_all(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        while self.waiting_bytes() > 0 {
            self.send_some(socket).await?;
        }
        Ok(())
    }
}

/// What arrived is nothing that the other end could have sent.
#[derive(Debug, Error)]
pub(crate) enum Garbage {
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
