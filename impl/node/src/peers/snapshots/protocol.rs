//! What receiver and sender say to each other on a connection for snapshots, after the handshake.
//!
//! The receiver says one thing, an [`Ask`], and the sender one thing, an [`Answer`]. Each is one frame, in
//! bincode. Then come frames with nothing but bytes of the snapshot, in order, up to its end. The connection
//! ends with the snapshot: what is lost is asked for anew.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use synod_model::Slot;
use synod_wire::codec::{self, EncodeError};
use synod_wire::frame;

use super::super::error::LinkError;
use super::source::{PartialSnapshot, SnapshotId};

/// The length of the longest ask, and of the longest answer. 128 bytes: a few numbers.
pub(in super::super) const SAID_BYTES_MAX: usize = 128;

/// What the receiver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Ask {
    /// The rest of this one, if the sender has it.
    pub(in super::super) rest_of: Option<PartialSnapshot>,
    /// Otherwise the newest one, if it includes this slot. None: nothing but the rest.
    pub(in super::super) or_newest_from: Option<Slot>,
}

/// What the sender does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum Answer {
    /// The bytes of this one follow, from this offset on.
    Sends { id: SnapshotId, offset: u64 },
    /// It has none that was asked for. Its newest one includes this slot.
    HasNone { newest: Option<Slot> },
    /// It serves as many others as it may. The receiver is to come again.
    Busy,
}

/// The frame of what is said.
pub(in super::super) fn to_frame(said: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let mut buffer = Vec::new();
    frame::append(&mut buffer, SAID_BYTES_MAX, |buffer, length_bytes_max| {
        codec::encode(said, buffer, length_bytes_max)
    })?;
    Ok(buffer)
}

/// What is said in a frame.
pub(in super::super) fn from_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, LinkError> {
    codec::decode_small(payload).map_err(LinkError::Undecodable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_that_is_said_fits() {
        let id = SnapshotId { slot: Slot(u64::MAX), bytes: u64::MAX, checksum: u64::MAX };
        let rest_of = Some(PartialSnapshot { id, received_bytes: u64::MAX });
        let ask = Ask { rest_of, or_newest_from: Some(id.slot) };
        let frame = to_frame(&ask).expect("it fits");
        assert_eq!(from_payload::<Ask>(&frame[frame::HEADER_BYTES..]).expect("an ask"), ask);
        to_frame(&Answer::Sends { id, offset: u64::MAX }).expect("it fits");
    }
}
