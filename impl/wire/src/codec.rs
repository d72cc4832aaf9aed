//! How everything that leaves memory is encoded: bincode, which no other module uses.
//!
//! Integers take as many bytes as they need, little-endian. A value costs its bytes and its length. An
//! encoding does not say what it is: the code that stores or sends one puts a checksum and a version
//! around it.
//!
//! Decoding trusts nothing. A length beyond the end of the input is refused before anything is allocated
//! for it. So what is decoded takes memory in proportion to what was read: a no-op is one byte in the
//! input, and an [`Entry`](synod_model::Entry) in memory.

#[cfg(test)]
mod tests;

use std::io;

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bincode::de::read::Reader;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError as BincodeDecodeError, EncodeError as BincodeEncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// How many bytes one decoding may take, where a number counts with its full width. 256 MiB: a safety
/// net, far above the size of a frame or a batch under sensible limits.
const DECODED_BYTES_MAX: usize = 256 << 20;

/// The same for small files. A string in a small file is allocated before its bytes are read, so this
/// is also how much memory a forged file can cost. 1 MiB.
pub const SMALL_BYTES_MAX: usize = 1 << 20;

/// The same for what is decoded from a stream. 2 GiB: the request table of a snapshot has up to 65,536
/// sessions of 1,024 requests.
const STREAM_BYTES_MAX: usize = 2 << 30;

fn format() -> Configuration<LittleEndian, Varint, Limit<DECODED_BYTES_MAX>> {
    config::standard().with_limit::<DECODED_BYTES_MAX>()
}

/// Appends the encoding of `it` to `buffer`, which may grow up to `length_bytes_max`.
///
/// # Errors
///
/// If the buffer would grow further. It is as it was before then.
pub fn encode(
    it: &impl Serialize,
    buffer: &mut Vec<u8>,
    length_bytes_max: usize,
) -> Result<(), EncodeError> {
    let before = buffer.len();
    let mut bounded = Bounded { buffer, length_bytes_max, is_full: false };
    let encoded = bincode::serde::encode_into_writer(it, &mut bounded, format());
    let is_full = bounded.is_full;
    encoded.map_err(|error| {
        buffer.truncate(before);
        if is_full { EncodeError::TooLong } else { EncodeError::Impossible(error.to_string()) }
    })
}

/// Decodes a `T` at the beginning of `bytes`. Returns it and the number of bytes that it took.
///
/// # Errors
///
/// If the bytes do not begin with the encoding of a `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    bincode::serde::borrow_decode_from_slice(bytes, format()).map_err(DecodeError::from)
}

/// Decodes all of `bytes` as a small `T`, below [`SMALL_BYTES_MAX`].
///
/// # Errors
///
/// If the bytes are not the encoding of a `T`.
pub fn decode_small<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let format = format().with_limit::<SMALL_BYTES_MAX>();
    let (it, taken) = bincode::serde::borrow_decode_from_slice(bytes, format)?;
    if taken == bytes.len() { Ok(it) } else { Err(DecodeError::BytesLeft(bytes.len() - taken)) }
}

/// Writes the encoding of `it` to `to`, in small pieces. Nothing is held in memory besides.
///
/// # Errors
///
/// What `to` fails with, or if the type has no encoding.
pub fn encode_into(it: &impl Serialize, to: &mut impl io::Write) -> io::Result<()> {
    let mut stream = Stream { inner: to, error: None };
    let encoded = bincode::serde::encode_into_writer(it, &mut stream, format());
    let Stream { error, .. } = stream;
    encoded.map_err(|impossible| {
        let impossible = EncodeError::Impossible(impossible.to_string());
        error.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, impossible))
    })
}

/// Reads the encoding of a `T` from `from`, in small pieces, and no byte more.
///
/// # Errors
///
/// What `from` fails with, or a [`DecodeError`] if the bytes are not the encoding of a `T`.
pub fn decode_from<T: DeserializeOwned>(from: &mut impl io::Read) -> io::Result<T> {
    let mut stream = Stream { inner: from, error: None };
    let format = format().with_limit::<STREAM_BYTES_MAX>();
    let decoded = bincode::serde::decode_from_reader(&mut stream, format);
    let Stream { error, .. } = stream;
    decoded.map_err(|impossible| {
        let impossible = DecodeError::from(impossible);
        error.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidData, impossible))
    })
}

/// The records of a batch, one by one, so only one of them must be in memory. Ends after the first
/// error.
pub fn records<T: DeserializeOwned>(
    payload: &[u8],
) -> impl Iterator<Item = Result<T, DecodeError>> + '_ {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let decoded = decode(rest);
        rest = match &decoded {
            Ok((_, taken)) => rest.get(*taken..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(decoded.map(|(record, _)| record))
    })
}

/// Why a value was not encoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The buffer would become longer than it may.
    #[error("its encoding is longer than the limit allows")]
    TooLong,
    /// The type has no encoding.
    #[error("it cannot be encoded: {0}")]
    Impossible(String),
}

/// Why bytes were not decoded. They are garbage, or another version of this program wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They are not the encoding of the type.
    #[error("its bytes do not encode what they should ({0})")]
    Impossible(String),
    /// More bytes follow the encoding.
    #[error("{0} bytes are left behind its end")]
    BytesLeft(usize),
}

impl From<BincodeDecodeError> for DecodeError {
    fn from(error: BincodeDecodeError) -> Self {
        Self::Impossible(error.to_string())
    }
}

struct Bounded<'a> {
    buffer: &'a mut Vec<u8>,
    length_bytes_max: usize,
    is_full: bool,
}

impl Writer for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BincodeEncodeError> {
        if bytes.len() > self.length_bytes_max.saturating_sub(self.buffer.len()) {
            self.is_full = true;
            return Err(BincodeEncodeError::UnexpectedEnd);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }
}

/// The standard library's streams for bincode, which keeps no error of theirs.
struct Stream<'a, T> {
    inner: &'a mut T,
    error: Option<io::Error>,
}

impl<W: io::Write> Writer for Stream<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BincodeEncodeError> {
        self.inner.write_all(bytes).map_err(|error| {
            self.error = Some(error);
            BincodeEncodeError::UnexpectedEnd
        })
    }
}

impl<R: io::Read> Reader for Stream<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), BincodeDecodeError> {
        self.inner.read_exact(bytes).map_err(|error| {
            self.error = Some(error);
            BincodeDecodeError::UnexpectedEnd { additional: bytes.len() }
        })
    }
}
