//! The conditions of one direction of a link.

use std::time::Duration;

/// The longest piece that passes the bottleneck at once: 16 KiB. Two connections that share a link take
/// turns in pieces, so this is how long one of them holds up the other: 5 ms at 3 MB/s at most.
pub(crate) const PIECE_BYTES_MAX: usize = 16 << 10;

/// The shortest: 1 KiB, less than what one packet carries.
const PIECE_BYTES_MIN: usize = 1 << 10;

/// What a piece takes at the bottleneck, if its length allows it: 1 ms, the precision of the timers.
const PIECE_TIME: Duration = Duration::from_millis(1);

/// How much one connection may have waiting before the bottleneck: what passes in 30 ms. That is more
/// than the link's own thread is late on a busy machine, and so the rate is reached.
const WAITING_TIME: Duration = Duration::from_millis(30);

/// How much one connection may have behind the bottleneck, beyond what the delay takes: what passes in
/// 30 ms.
const LATE_TIME: Duration = Duration::from_millis(30);

/// How many bytes one connection may have before, and behind, a bottleneck without a rate: 256 KiB and
/// 64 MiB. At a delay of 150 ms these are 400 MB/s.
const WAITING_BYTES_UNLIMITED: usize = 256 << 10;
const TRAVELLING_BYTES_UNLIMITED: usize = 64 << 20;

/// One direction of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// How much later bytes arrive than they were sent. Half of a round trip, if both directions are
    /// the same.
    pub delay: Duration,
    /// How many bytes pass in a second, of all connections together; at least 1. None: no limit.
    pub bytes_per_second: Option<u64>,
}

impl Line {
    /// How long it takes until so many bytes have passed the bottleneck.
    pub(crate) fn time_of(&self, bytes: usize) -> Duration {
        let Some(rate) = self.bytes_per_second else {
            return Duration::ZERO;
        };
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// How many bytes pass in this time. None if there is no limit.
    fn bytes_in(&self, time: Duration) -> Option<usize> {
        let bytes = u128::from(self.bytes_per_second?) * time.as_nanos() / 1_000_000_000;
        Some(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// The length of the longest piece.
    pub(crate) fn piece_bytes(&self) -> usize {
        let bytes = self.bytes_in(PIECE_TIME).unwrap_or(PIECE_BYTES_MAX);
        bytes.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
    }

    /// How much one connection may have waiting before the bottleneck. At least two pieces, so that one
    /// waits while the other passes.
    pub(crate) fn waiting_bytes_max(&self) -> usize {
        let bytes = self.bytes_in(WAITING_TIME).unwrap_or(WAITING_BYTES_UNLIMITED);
        bytes.max(2 * self.piece_bytes())
    }

    /// How much one connection may have behind the bottleneck and not yet at its receiver.
    pub(crate) fn travelling_bytes_max(&self) -> usize {
        let time = self.delay.saturating_add(LATE_TIME);
        let bytes = self.bytes_in(time).unwrap_or(TRAVELLING_BYTES_UNLIMITED);
        bytes.max(2 * self.piece_bytes())
    }
}
