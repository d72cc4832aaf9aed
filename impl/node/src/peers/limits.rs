//! What the transport may hold and how long it waits. Everything has a limit; each is named here,
//! with its default and its reason.

use std::time::Duration;

use synod_model::Limits;
use synod_wire::frame::HEADER_BYTES;

/// How many bytes of frames wait for one peer, or are on their way to the socket; more are dropped.
/// 16 MiB, or [two of the largest frames](queue_bytes_max) if that is more: a few seconds of a busy
/// link. Peers share the bytes of what is sent to all of them.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;

/// How many frames wait for one peer, or are on their way; more are dropped. 8,192, several times
/// what a coordinator has open.
pub const QUEUE_FRAMES_MAX: usize = 8192;

/// How many connections may be open that have not said yet whose they are. 64: all members of the
/// largest cluster, several times. If there is one more, the oldest goes, so that silent strangers
/// do not keep members out.
pub const STRANGERS_MAX: usize = 64;

/// How long an introduction may be. 1 KiB: a name, sixteen members and some numbers.
pub const INTRODUCTION_BYTES_MAX: usize = 1 << 10;

/// How many frames go to the socket in one system call. 64, the most that tokio's own writers pass
/// on as well; there are more only when the network is slower than the replica.
pub const FRAMES_PER_WRITE_MAX: usize = 64;

/// How long the transport waits, for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTiming {
    /// For a connection, at each of the addresses that a name stands for. Default 3 s, in which the
    /// first packet is repeated once.
    pub dial_ms: u64,
    /// For the handshake. Default 5 s: the other end may have to store something first, and its disk
    /// may be busy.
    pub handshake_ms: u64,
    /// For a peer to take anything of what is sent to it. Default 10 s: far longer than elections
    /// take, so that nothing is gained by waiting on; and a peer that was stopped, or whose inbox stays
    /// full, does not keep a full queue for ever.
    pub write_ms: u64,
    /// Before a peer is dialled again, at first. Default 50 ms.
    pub backoff_min_ms: u64,
    /// The same, after many failures: it doubles. Default 2 s: a peer that comes back is met soon,
    /// and one that does not costs little.
    pub backoff_max_ms: u64,
}

impl Default for LinkTiming {
    fn default() -> Self {
        Self {
            dial_ms: 3_000,
            handshake_ms: 5_000,
            write_ms: 10_000,
            backoff_min_ms: 50,
            backoff_max_ms: 2_000,
        }
    }
}

/// How long the encoding of a message can get under these limits: as many entries as a frame has, or
/// a single one that is longer; or as many reads as are answered at once; or the most ranges that an
/// acknowledgement can have.
pub fn message_bytes_max(limits: &Limits) -> usize {
    /// The kinds, and the numbers that stand before a list.
    const MESSAGE_BYTES_MAX: u64 = 128;
    /// What is around a value: in a promise, a slot, a sequence number, the kind of the entry and four
    /// numbers. Or a configuration of sixteen members.
    const ENTRY_BYTES_MAX: u64 = 80;
    const NUMBER_BYTES_MAX: u64 = 9;
    let values = limits.frame_bytes_max.max(limits.value_bytes_max);
    let entries = limits.frame_entries_max.saturating_mul(ENTRY_BYTES_MAX).saturating_add(values);
    let reads = limits.reads_max.saturating_mul(NUMBER_BYTES_MAX);
    // Ranges are not adjacent, so there is a slot between any two.
    let ranges = limits.accepted_slots_max.saturating_add(2).saturating_mul(NUMBER_BYTES_MAX);
    let longest = entries.max(reads).max(ranges).saturating_add(MESSAGE_BYTES_MAX);
    // What no frame can say is no limit.
    u32::try_from(longest).unwrap_or(u32::MAX) as usize
}

/// How many bytes of frames may wait for one peer: [`QUEUE_BYTES_MAX`], or two of the largest frames.
/// What a core sends at once is at most that, beside small messages, so it is never lost for want of
/// room in an empty queue.
pub fn queue_bytes_max(limits: &Limits) -> usize {
    let frame_bytes_max = message_bytes_max(limits).saturating_add(HEADER_BYTES);
    QUEUE_BYTES_MAX.max(frame_bytes_max.saturating_mul(2))
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
