//! How much the transport may hold, and how long it waits. Each limit is named here, with its default
//! and the reason for it.

use std::time::Duration;

use synod_model::Limits;
use synod_wire::frame::HEADER_BYTES;

/// From how many bytes on the messages with entries for a peer are [too
/// many](super::PeerEvent::Full). 8 MiB: a second of a busy link.
pub const FULL_BYTES: usize = 8 << 20;

/// For how long the first of them may wait before they are too many. 1 s: on a slow link, this is the
/// limit that counts. What is sent later comes late, and an election need not wait for more.
pub const FULL_AFTER: Duration = Duration::from_secs(1);

/// Below how many bytes they are [few again](super::PeerEvent::Drained). 1 MiB: the link stays busy
/// while the replica sends more, and the replica is not told at every message.
pub const DRAINED_BYTES: usize = 1 << 20;

/// Below how many bytes of [catch-up](super::PeerEvent::CatchUpLeft) the replica is to send more. 1 MiB: the
/// link stays busy meanwhile.
pub const CATCH_UP_LEFT_BYTES: usize = 1 << 20;

/// How many bytes of control messages, or of catch-up, may wait for one peer or be on their way to the
/// socket. If there are more, the connection is closed. 16 MiB, or [two of the largest
/// frames](catch_up_bytes_max) if that is more: far more than is asked for at once.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;

/// What a frame costs besides its bytes, for the limits of a queue. 64 bytes: its place in the queue, and
/// what shares its bytes.
pub const FRAME_OVERHEAD_BYTES: usize = 64;

/// The length of the pieces in which catch-up is sent. 64 KiB: 20 ms of a link with 3 MB/s, which is how
/// long an accept waits for a piece.
pub const PIECE_BYTES: usize = 64 << 10;

/// How many bytes may wait in the socket of a bulk connection, beside those that are on their way and not
/// acknowledged. 128 KiB. More would help nobody: what waits in the socket cannot be overtaken, and does
/// not count as waiting. Less would wake the writer more often.
pub const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// How long after a ping the next one leaves, at the earliest. 1 s.
pub const PING_INTERVAL: Duration = Duration::from_secs(1);

/// For how long an answer is waited for before another ping is sent. 10 s: no link that works is slower.
pub const PING_GIVES_UP: Duration = Duration::from_secs(10);

/// An acceptor answers no ping sooner than this after another. 100 ms.
pub const PONG_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How long after one [sign of life](super::PeerEvent::Alive) the next one is told, at the earliest. 25 ms:
/// half a heartbeat.
pub const ALIVE_INTERVAL: Duration = Duration::from_millis(25);

/// How many connections may be open whose callers have not said who they are. 64: several times the
/// members of the largest cluster. One more closes the oldest, so silent strangers do not keep members
/// out.
pub const STRANGERS_MAX: usize = 64;

/// How many guests may be connected: replicas outside the configuration that have called by themselves. 16, as many
/// as a configuration has members. So all members may be replaced at once, and the new ones ask before the change
/// names them.
pub const GUESTS_MAX: usize = 16;

/// For how long a guest without a connection is kept. 60 s: it may start anew in that time, and is dialled without
/// having to call.
pub const GUEST_KEPT: Duration = Duration::from_mins(1);

/// How often guests are looked at in that time. 8: one is kept for an eighth longer at most.
pub const GUEST_LOOKS: u32 = 8;

/// The length of the longest introduction. 1 KiB: a name, sixteen members, an address and some numbers.
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
    /// For a peer to accept any bytes, and for a control message to be written. Default 10 s: far longer
    /// than an election takes, so waiting longer gains nothing. A peer that was stopped, or whose inbox
    /// stays full, does not keep a full queue for ever.
    pub write_max: Duration,
    /// Before a peer is dialled again after the first failure. Default 50 ms.
    pub backoff_min: Duration,
    /// Before a peer is dialled again after many failures: the wait doubles up to this. Default 2 s: a
    /// peer that comes back is met soon, and one that does not costs little.
    pub backoff_max: Duration,
    /// For a guest to come back. Default [`GUEST_KEPT`].
    pub guest_kept: Duration,
}

impl Default for LinkTiming {
    fn default() -> Self {
        Self {
            dial_max: Duration::from_secs(3),
            handshake_max: Duration::from_secs(5),
            write_max: Duration::from_secs(10),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            guest_kept: GUEST_KEPT,
        }
    }
}

/// The length of the longest encoding of a message under these limits. It has as many entries as a
/// frame, or a single longer one. Reads and ranges of slots are as many as entries, and shorter.
pub fn message_bytes_max(limits: &Limits) -> usize {
    /// The kinds, and the numbers before a list.
    const MESSAGE_BYTES_MAX: u64 = 128;
    /// Everything around a value: in a promise, a slot, a sequence number, the kind of the entry and four
    /// numbers. Also enough for a change to sixteen members, most of them learners, besides their addresses.
    const ENTRY_BYTES_MAX: u64 = 512;
    let values = limits.frame_bytes_max.max(limits.value_bytes_max);
    let entries = limits.frame_entries_max.saturating_mul(ENTRY_BYTES_MAX).saturating_add(values);
    let longest = entries.saturating_add(MESSAGE_BYTES_MAX);
    // The header of a frame cannot state a longer length.
    u32::try_from(longest).unwrap_or(u32::MAX) as usize
}

/// How many bytes of control messages, and of catch-up, may wait for one peer: [`QUEUE_BYTES_MAX`], or
/// two of the largest frames.
pub fn catch_up_bytes_max(limits: &Limits) -> usize {
    QUEUE_BYTES_MAX.max(two_frames_bytes(limits))
}

/// How many bytes of other messages with entries may wait for one peer. As many as a core may send in one
/// step: a promise of everything that it has accepted, all submissions that it keeps, and two of the
/// largest frames. It need not know what waits. By default 132 MiB; a coordinator that stops at
/// [`FULL_BYTES`] stays far below. Peers share the bytes of a message that goes to all of them.
pub fn bulk_bytes_max(limits: &Limits) -> usize {
    let kept = limits.accepted_bytes_max.saturating_add(limits.submissions_bytes_max);
    usize::try_from(kept).unwrap_or(usize::MAX).saturating_add(two_frames_bytes(limits))
}

fn two_frames_bytes(limits: &Limits) -> usize {
    let frame_bytes_max = message_bytes_max(limits).saturating_add(HEADER_BYTES);
    frame_bytes_max.saturating_mul(2)
}
