//! What clients put in the log: bytes.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// How many bytes of a value `Debug` shows.
const SHOWN_BYTES_MAX: usize = 32;

/// A client's value. A clone shares the bytes: the core, the disk and the frame of every peer use the
/// same ones.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub Bytes);

impl synod_model::Value for Value {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    /// XXH3 with 64 bits: it has one definition for all platforms, and hashes several bytes a cycle.
    fn digest(&self) -> u64 {
        twox_hash::XxHash3_64::oneshot(&self.0)
    }
}

impl<B: Into<Bytes>> From<B> for Value {
    fn from(bytes: B) -> Self {
        Self(bytes.into())
    }
}

/// A long value, which may have a mebibyte, shows its beginning and its length.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN_BYTES_MAX)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed bytes are asked for, not a buffer. The decoder lends bytes that are there, so it
        // refuses a length beyond the end before anything is allocated.
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    /// Copies the bytes. A value that borrowed from a batch would keep all of the batch in memory.
    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value(Bytes::copy_from_slice(bytes)))
    }
}
