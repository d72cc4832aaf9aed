//! Which endpoint is tried next, and how soon.

use std::time::Duration;

/// How long a client rests when it has tried every endpoint in vain: 50 ms at first, twice as long each
/// time, at most 1 s.
const REST: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(1);

/// The endpoints in turn.
#[derive(Debug)]
pub(super) struct Rotation {
    endpoints: usize,
    at: usize,
    /// How many endpoints were left since one last answered.
    in_vain: usize,
}

impl Rotation {
    pub(super) fn new(endpoints: usize) -> Self {
        Self { endpoints, at: 0, in_vain: 0 }
    }

    /// The endpoint to ask.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// It has given an answer.
    pub(super) fn answered(&mut self) {
        self.in_vain = 0;
    }

    /// Whether it has left no endpoint twice since one last answered.
    pub(super) fn is_first_round(&self) -> bool {
        self.in_vain < self.endpoints
    }

    /// Goes on to the next endpoint. Returns how long to rest before.
    pub(super) fn move_on(&mut self) -> Duration {
        self.at = (self.at + 1) % self.endpoints;
        self.in_vain = self.in_vain.saturating_add(1);
        if !self.in_vain.is_multiple_of(self.endpoints) {
            return Duration::ZERO;
        }
        let doublings = u32::try_from(self.in_vain / self.endpoints).unwrap_or(u32::MAX) - 1;
        REST.saturating_mul(2u32.saturating_pow(doublings)).min(REST_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_after_each_round_and_longer_each_time() {
        let mut rotation = Rotation::new(2);
        let rests: Vec<_> = (0..12).map(|_| rotation.move_on().as_millis()).collect();
        assert_eq!(rests, [0, 50, 0, 100, 0, 200, 0, 400, 0, 800, 0, 1000]);
        rotation.answered();
        assert_eq!(rotation.move_on().as_millis(), 0);
        assert_eq!(rotation.move_on().as_millis(), 50);
        assert_eq!(rotation.at(), 0);
    }
}
