//! How everything that leaves memory is encoded: bincode, behind this one module.
//!
//! Integers take as many bytes as they need, little end first; a value costs its bytes, its length
//! and nothing more. An encoding says neither what it is nor where it came from: whoever stores or
//! sends one puts a checksum and a version around it.
//!
//! Decoding trusts nothing. A length beyond the end of the input is refused before anything is
//! allocated for it, so that what is decoded takes memory in proportion to what was read: a no-op is
//! one byte there, and an [`Entry`](synod_model::Entry) in memory.

#[cfg(test)]
mod tests;

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use bincode::error::{DecodeError as BincodeDecodeError, EncodeError as BincodeEncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use synod_model::Record;
use thiserror::Error;

use crate::Value;

/// How much one decoding takes in, in bytes, where a number counts for its full width. 256 MiB: a
/// backstop, far above what a frame or a batch can have under any sane limits.
const DECODED_BYTES_MAX: usize = 256 << 20;

/// The same for small files. A string in them is allocated before its bytes are looked for, so this
/// is also how much a forged one can cost. 1 MiB.
pub const SMALL_BYTES_MAX: usize = 1 << 20;

fn format() -> Configuration<LittleEndian, Varint, Limit<DECODED_BYTES_MAX>> {
    config::standard().with_limit::<DECODED_BYTES_MAX>()
}

/// Appends the encoding of `it` to `buffer`, which is not to get longer than `length_bytes_max`.
///
/// # Errors
///
/// If it would. The buffer is as it was then.
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

/// Decodes what `bytes` begin with, and says how many of them it took.
///
/// # Errors
///
/// If they do not begin with the encoding of a `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    bincode::serde::borrow_decode_from_slice(bytes, format()).map_err(DecodeError::from)
}

/// Decodes what `bytes` are, to the last of them: something small, below [`SMALL_BYTES_MAX`].
///
/// # Errors
///
/// If they are not the encoding of a `T`.
pub fn decode_small<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let format = format().with_limit::<SMALL_BYTES_MAX>();
    let (it, taken) = bincode::serde::borrow_decode_from_slice(bytes, format)?;
    if taken == bytes.len() { Ok(it) } else { Err(DecodeError::BytesLeft(bytes.len() - taken)) }
}

/// The records of a batch, one by one, so that only one of them need be in memory. Ends after the
/// first error.
pub fn records(payload: &[u8]) -> impl Iterator<Item = Result<Record<Value>, DecodeError>> + '_ {
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

/// Why something was not encoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The buffer would become longer than it may.
    #[error("its encoding is longer than the limit allows")]
    TooLong,
    /// The type has no encoding.
    #[error("it cannot be encoded: {0}")]
    Impossible(String),
}

/// Why bytes could not be decoded: nobody has encoded them, or another version of this program has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They are no encoding of what was looked for.
    #[error("its bytes are no encoding of what they should be ({0})")]
    Impossible(String),
    /// They go on behind it.
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
