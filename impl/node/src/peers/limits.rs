//! How much the transport may hold, and how long it waits. Each limit is named here, with its default
//! and the reason for it.

use std::time::Duration;

use synod_model::Limits;
use synod_wire::frame::HEADER_BYTES;

/// How many bytes of frames may wait for one peer or be on their way to the socket. More are dropped.
/// 16 MiB, or [two of the largest frames](queue_bytes_max) if that is more: a few seconds of a busy
/// link. Peers share the bytes of a message that goes to all of them.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;

/// How many frames may wait for one peer or be on their way. More are dropped. 8,192: several times
/// what a coordinator has open.
pub const QUEUE_FRAMES_MAX: usize = 8192;

/// How many connections may be open whose callers have not said who they are. 64: several times the
/// members of the largest cluster. One more closes the oldest, so silent strangers do not keep members
/// out.
pub const STRANGERS_MAX: usize = 64;

/// The length of the longest introduction. 1 KiB: a name, sixteen members and some numbers.
pub const INTRODUCTION_BYTES_MAX: usize = 1 << 10;

/// How many frames one system call writes. 64: tokio's own writers pass on no more, and more wait only
/// when the network is slower than the replica.
pub const FRAMES_PER_WRITE_MAX: usize = 64;

/// How long the transport waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTiming {
    /// For a connection, at each address of a name. Default 3 s, in which the first packet is repeated
    /// once.
    pub dial_max: Duration,
    /// For the handshake. Default 5 s: the other end may have to store something first, on a busy disk.
    pub handshake_max: Duration,
    /// For a peer to accept any bytes. Default 10 s: far longer than an election takes, so waiting
    /// longer gains nothing. A peer that was stopped, or whose inbox stays full, does not keep a full
    /// queue for ever.
    pub write_max: Duration,
    /// Before a peer is dialled again after the first failure. Default 50 ms.
    pub backoff_min: Duration,
    /// Before a peer is dialled again after many failures: the wait doubles up to this. Default 2 s: a
    /// peer that comes back is met soon, and one that does not costs little.
    pub backoff_max: Duration,
}

impl Default for LinkTiming {
    fn default() -> Self {
        Self {
            dial_max: Duration::from_secs(3),
            handshake_max: Duration::from_secs(5),
            write_max: Duration::from_secs(10),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
        }
    }
}

/// The length of the longest encoding of a message under these limits. It has as many entries as a
/// frame, or a single longer one. Reads and ranges of slots are as many as entries, and shorter.
pub fn message_bytes_max(limits: &Limits) -> usize {
    /// The kinds, and the numbers before a list.
    const MESSAGE_BYTES_MAX: u64 = 128;
    /// Everything around a value: in a promise, a slot, a sequence number, the kind of the entry and four
    /// numbers. Also enough for a configuration of sixteen members.
    const ENTRY_BYTES_MAX: u64 = 80;
    let values = limits.frame_bytes_max.max(limits.value_bytes_max);
    let entries = limits.frame_entries_max.saturating_mul(ENTRY_BYTES_MAX).saturating_add(values);
    let longest = entries.saturating_add(MESSAGE_BYTES_MAX);
    // The header of a frame cannot state a longer length.
    u32::try_from(longest).unwrap_or(u32::MAX) as usize
}

/// How many bytes of frames may wait for one peer: [`QUEUE_BYTES_MAX`], or two of the largest frames.
/// Beside small messages, a core never sends more at once. So an empty queue has room for it.
pub fn queue_bytes_max(limits: &Limits) -> usize {
    let frame_bytes_max = message_bytes_max(limits).saturating_add(HEADER_BYTES);
    QUEUE_BYTES_MAX.max(frame_bytes_max.saturating_mul(2))
}
