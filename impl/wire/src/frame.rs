//! Frames: where one message on a connection ends and the next one begins.
//!
//! A TCP connection is a stream of bytes without messages. Its checksum has 16 bits, so it misses one
//! in 65,536 of the errors that reach it. That is too many, where a flipped bit turns one slot into
//! another. So everything is sent in a frame:
//!
//! ```text
//! offset  bytes
//!      0      4  n, the length of the payload
//!      4      4  CRC-32C of the length and the payload
//!      8      n  the payload
//! ```
//!
//! Numbers are little-endian. The checksum covers the length too. So a receiver detects a changed
//! length, at the latest when that many bytes have arrived.
//!
//! A receiver refuses a length above its limit, and allocates room for bytes only as they arrive: a
//! stranger that announces a gigabyte costs nothing. After an error, nobody can tell where the next
//! frame begins, so the connection is of no more use.

#[cfg(test)]
mod tests;

use std::io;

use bytes::{Buf, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The length of the header, which precedes the payload.
pub const HEADER_BYTES: usize = 8;

/// How much room a reader offers to the socket at once: 64 KiB. That holds hundreds of small frames,
/// and takes a large frame in few reads.
const READ_BYTES: usize = 64 << 10;

/// A frame at the beginning of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The payload.
    pub payload: &'a [u8],
    /// The length of the frame, with its header.
    pub whole_bytes: usize,
}

/// Appends a frame to `buffer`. `write_payload` appends the payload behind the header, so nothing is
/// copied twice. It gets the buffer and the length up to which the buffer may grow.
///
/// # Errors
///
/// The error of `write_payload`. The buffer is as it was before.
pub fn append<E>(
    buffer: &mut Vec<u8>,
    payload_bytes_max: usize,
    write_payload: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), E>,
) -> Result<(), E> {
    let start = buffer.len();
    let payload_start = start + HEADER_BYTES;
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    let length_max = u32::try_from(payload_bytes_max).unwrap_or(u32::MAX) as usize;
    if let Err(error) = write_payload(buffer, payload_start.saturating_add(length_max)) {
        buffer.truncate(start);
        return Err(error);
    }
    let payload_bytes = buffer.len().saturating_sub(payload_start);
    debug_assert!(payload_bytes <= length_max, "the payload is longer than it was allowed to be");
    let length = u32::try_from(payload_bytes).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = checksum(length, &buffer[payload_start..]).to_le_bytes();
    buffer[start..start + 4].copy_from_slice(&length);
    buffer[start + 4..payload_start].copy_from_slice(&checksum);
    Ok(())
}

/// The frame at the beginning of `bytes`. None if the frame is incomplete.
///
/// # Errors
///
/// If the bytes are not a frame, or the frame is too long.
pub fn split(bytes: &[u8], payload_bytes_max: usize) -> Result<Option<Frame<'_>>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let payload_length = payload_length(*length, payload_bytes_max)?;
    let Some((found, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some(payload) = rest.get(..payload_length) else {
        return Ok(None);
    };
    if u32::from_le_bytes(*found) != checksum(*length, payload) {
        return Err(FrameError::Checksum);
    }
    Ok(Some(Frame { payload, whole_bytes: HEADER_BYTES + payload_length }))
}

/// The length of the frame at the beginning of `bytes`, with its header. None if too few bytes are
/// there to tell. The frame may be incomplete.
///
/// # Errors
///
/// If the frame is too long.
pub fn announced_bytes(
    bytes: &[u8],
    payload_bytes_max: usize,
) -> Result<Option<usize>, FrameError> {
    let Some((length, _)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    payload_length(*length, payload_bytes_max).map(|length| Some(HEADER_BYTES + length))
}

fn payload_length(length: [u8; 4], payload_bytes_max: usize) -> Result<usize, FrameError> {
    let payload_bytes = u32::from_le_bytes(length);
    // This program runs on no machine with lengths of less than 32 bits.
    let payload_length = payload_bytes as usize;
    if payload_length > payload_bytes_max {
        return Err(FrameError::TooLong { payload_bytes, payload_bytes_max });
    }
    Ok(payload_length)
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// It claims to be longer than its receiver allows. Bytes that are not a frame often end here.
    #[error("a frame says that it has {payload_bytes} bytes, and {payload_bytes_max} are allowed")]
    TooLong {
        /// The length that it claims.
        payload_bytes: u32,
        /// The length that is allowed.
        payload_bytes_max: usize,
    },
    /// It was changed on its way, or is not a frame.
    #[error("a frame fails its checksum")]
    Checksum,
}

/// Reads frames, one after another.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    /// What has arrived, from the last returned frame on.
    buffer: BytesMut,
    /// How many bytes of the buffer that frame takes.
    given_bytes: usize,
    payload_bytes_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader of frames with payloads of up to `payload_bytes_max`.
    pub fn new(source: R, payload_bytes_max: usize) -> Self {
        Self { source, buffer: BytesMut::new(), given_bytes: 0, payload_bytes_max }
    }

    /// Sets the limit for payloads from the next frame on. A stranger gets a lower limit than a caller
    /// that has said who it is.
    pub fn allow(&mut self, payload_bytes_max: usize) {
        self.payload_bytes_max = payload_bytes_max;
    }

    /// Waits for the next frame and returns its payload. None if the source ended after a whole frame.
    /// Nothing is lost if the wait is dropped.
    ///
    /// # Errors
    ///
    /// If what arrives is not a frame, or ends within one, or the source fails. Nothing can be read
    /// after that.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, FrameReadError> {
        loop {
            match self.read().await? {
                Read::Whole => return Ok(Some(self.payload())),
                Read::Part => {}
                Read::End => return Ok(None),
            }
        }
    }

    /// Waits for the next frame, as [`next`](Self::next) does, or for some more bytes of it: a long
    /// frame on a slow connection shows that its sender is alive.
    ///
    /// # Errors
    ///
    /// As for [`next`](Self::next).
    pub async fn next_part(&mut self) -> Result<Arrived<'_>, FrameReadError> {
        Ok(match self.read().await? {
            Read::Whole => Arrived::Frame(self.payload()),
            Read::Part => Arrived::Part,
            Read::End => Arrived::End,
        })
    }

    /// The payload of the frame that was found last.
    fn payload(&self) -> &[u8] {
        self.buffer.get(HEADER_BYTES..self.given_bytes).unwrap_or_default()
    }

    /// Finds the next frame in the buffer, or reads once.
    async fn read(&mut self) -> Result<Read, FrameReadError> {
        self.buffer.advance(self.given_bytes);
        self.given_bytes = 0;
        if self.find()? {
            return Ok(Read::Whole);
        }
        self.buffer.reserve(READ_BYTES);
        if self.source.read_buf(&mut self.buffer).await? == 0 {
            let is_between_frames = self.buffer.is_empty();
            return if is_between_frames { Ok(Read::End) } else { Err(FrameReadError::CutOff) };
        }
        Ok(if self.find()? { Read::Whole } else { Read::Part })
    }

    fn find(&mut self) -> Result<bool, FrameError> {
        let frame = split(&self.buffer, self.payload_bytes_max)?;
        self.given_bytes = frame.map_or(0, |frame| frame.whole_bytes);
        Ok(frame.is_some())
    }
}

/// What has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived<'a> {
    /// A whole frame, with this payload.
    Frame(&'a [u8]),
    /// Some bytes of a frame that is not whole yet.
    Part,
    /// The end of the source, after a whole frame.
    End,
}

enum Read {
    Whole,
    Part,
    End,
}

/// Why no frame could be read.
#[derive(Debug, Error)]
pub enum FrameReadError {
    /// The bytes are not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The source has ended within a frame.
    #[error("the connection ended within a frame")]
    CutOff,
    /// The source fails.
    #[error(transparent)]
    Io(#[from] io::Error),
}
