//! How fast snapshots are sent.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much of what was not sent may be made up for. 10 ms: timers are not exact, and a sender that slept a
/// little too long is not slower for it.
const MADE_UP_MAX: Duration = Duration::from_millis(10);

/// Bytes leave no faster than this, whoever sends them.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// When the bytes that were taken so far have left.
    free_at: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(now) }
    }

    /// Waits until so many bytes may leave.
    pub(crate) async fn take(&self, bytes: usize) {
        sleep_until(self.leaves_at(bytes, Instant::now())).await;
    }

    fn leaves_at(&self, bytes: usize, now: Instant) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(MADE_UP_MAX).unwrap_or(now);
        let leaves_at = (*free_at).max(earliest);
        let nanoseconds = (bytes as u128 * 1_000_000_000) / u128::from(self.bytes_per_second);
        let takes = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        *free_at = leaves_at.checked_add(takes).unwrap_or(leaves_at);
        leaves_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_takes_as_many_bytes_as_it_may_and_no_pause_is_made_up_for() {
        let begin = Instant::now();
        let pace = Pace::new(1000, begin);
        for tenth in 0..10 {
            let at = begin + Duration::from_millis(100 * tenth);
            assert_eq!(pace.leaves_at(100, begin), at);
        }
        let later = begin + Duration::from_mins(1);
        assert_eq!(pace.leaves_at(1000, later), later - MADE_UP_MAX);
        assert_eq!(pace.leaves_at(1, later), later + Duration::from_secs(1) - MADE_UP_MAX);
    }
}
