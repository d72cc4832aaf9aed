//! How long a dialer waits before it tries again.

use std::time::Duration;

use fastrand::Rng;

use super::limits::{LinkTiming, ms};

/// Waits that double from one failure to the next, each shortened at random by up to a half, so that
/// replicas that lost one another at the same moment do not all come back at the same moment.
#[derive(Debug)]
pub(super) struct Backoff {
    rng: Rng,
    timing: LinkTiming,
    next_ms: u64,
}

impl Backoff {
    pub(super) fn new(timing: LinkTiming, rng: Rng) -> Self {
        Self { rng, timing, next_ms: timing.backoff_min_ms }
    }

    /// The next wait.
    pub(super) fn next_wait(&mut self) -> Duration {
        let longest_ms = self.next_ms.min(self.timing.backoff_max_ms);
        self.next_ms = longest_ms.saturating_mul(2);
        ms(longest_ms - self.rng.u64(0..=longest_ms / 2))
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.next_ms = self.timing.backoff_min_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let timing =
            LinkTiming { backoff_min_ms: 100, backoff_max_ms: 700, ..LinkTiming::default() };
        let mut backoff = Backoff::new(timing, Rng::with_seed(7));
        for _ in 0..2 {
            for longest in [100, 200, 400, 700, 700] {
                let wait = backoff.next_wait();
                assert!(ms(longest / 2) <= wait && wait <= ms(longest), "{wait:?}");
            }
            backoff.reset();
        }
    }
}
