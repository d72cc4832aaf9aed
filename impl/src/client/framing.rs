//! Frames of the client protocol: a length, a CRC-32C of what follows, and that.
//!
//! To be replaced by the node's one frame, which its peers use as well.

use thiserror::Error;

const HEADER_BYTES: usize = 8;

/// A frame at the beginning of what has arrived.
pub(super) struct Frame<'a> {
    pub(super) payload: &'a [u8],
    pub(super) whole_bytes: usize,
}

/// What arrived is no frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    #[error("a frame of {0} bytes is longer than the limit allows")]
    TooLong(u32),
    #[error("a frame fails its checksum")]
    Checksum,
}

/// The frame that `bytes` begin with, if all of it is there.
pub(super) fn split(
    bytes: &[u8],
    payload_bytes_max: usize,
) -> Result<Option<Frame<'_>>, FrameError> {
    let Some((&[l0, l1, l2, l3], rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let payload_bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if payload_bytes > payload_bytes_max {
        return Err(FrameError::TooLong(length));
    }
    let Some((&crc, rest)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let Some(payload) = rest.get(..payload_bytes) else {
        return Ok(None);
    };
    if crc32c::crc32c(payload) != u32::from_le_bytes(crc) {
        return Err(FrameError::Checksum);
    }
    Ok(Some(Frame { payload, whole_bytes: HEADER_BYTES + payload_bytes }))
}

/// Appends a frame whose payload `write` appends. If it cannot, nothing has changed.
pub(super) fn append<E>(
    buffer: &mut Vec<u8>,
    payload_bytes_max: usize,
    write: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), E>,
) -> Result<(), E> {
    let begins = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    let max = (begins + HEADER_BYTES).saturating_add(payload_bytes_max);
    if let Err(error) = write(buffer, max) {
        buffer.truncate(begins);
        return Err(error);
    }
    let payload = &buffer[begins + HEADER_BYTES..];
    let crc = crc32c::crc32c(payload).to_le_bytes();
    // No limit allows for more than 4 GiB; a frame that says it is longer than it is, is refused.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    buffer[begins..begins + 4].copy_from_slice(&length);
    buffer[begins + 4..begins + HEADER_BYTES].copy_from_slice(&crc);
    Ok(())
}
