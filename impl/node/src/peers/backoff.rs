//! How long a dialer waits before it tries again.

use std::time::Duration;

use fastrand::Rng;

use super::limits::LinkTiming;

/// Waits that double with each failure. Each is shortened at random by up to a half, so that replicas
/// that lost each other at the same moment do not all dial again at the same moment.
#[derive(Debug)]
pub(super) struct Backoff {
    rng: Rng,
    timing: LinkTiming,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(timing: LinkTiming, rng: Rng) -> Self {
        Self { rng, timing, next: timing.backoff_min }
    }

    /// The next wait.
    pub(super) fn next_wait(&mut self) -> Duration {
        let longest = self.next.min(self.timing.backoff_max);
        self.next = longest.saturating_mul(2);
        longest.mul_f64(1.0 - self.rng.f64() / 2.0)
    }

    /// Starts again with the shortest wait, after a success.
    pub(super) fn reset(&mut self) {
        self.next = self.timing.backoff_min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let timing =
            LinkTiming { backoff_min: ms(100), backoff_max: ms(700), ..LinkTiming::default() };
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
