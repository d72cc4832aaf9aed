//! What a cluster could at best commit over its links, and how much a client has in flight.

use std::time::Duration;

use serde::Serialize;
use synod_model::Limits;

use super::cluster::Conditions;
use crate::bench::precise;

/// How many bytes of values clients have in flight: at least what is committed in this time, beyond two
/// round trips.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// At least so many values.
const VALUES_MIN: f64 = 4.0;

/// At most so many values, several times the window, and so many bytes, less than a replica takes of
/// its clients.
const VALUES_MAX: f64 = 4096.0;
const BYTES_MAX: f64 = 48e6;

/// In bytes a second without any limit, for what is in flight: more than two cores reach.
const UNLIMITED: f64 = 1e8;

/// What limits a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BoundBy {
    /// The rate of each link.
    Link,
    /// The slots or bytes that a coordinator may have open, in each round trip.
    Window,
    /// Nothing but the machine.
    Nothing,
}

impl BoundBy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Window => "window",
            Self::Nothing => "-",
        }
    }
}

/// The bound of values of this length: what limits them, and the bytes of values in a second.
///
/// A coordinator sends each value once to each follower, over a link of its own. So values pass at most
/// at the rate of a link. A value is open for a round trip at least, and only so many are open at once.
pub(super) fn bound(conditions: Conditions, value_bytes: usize) -> (BoundBy, Option<f64>) {
    let link = conditions.bytes_per_second.map(precise);
    let round_trip = conditions.round_trip.as_secs_f64();
    let window = (round_trip > 0.0).then(|| window_bytes(value_bytes) / round_trip);
    match (link, window) {
        (Some(link), Some(window)) if window < link => (BoundBy::Window, Some(window)),
        (Some(link), _) => (BoundBy::Link, Some(link)),
        (None, Some(window)) => (BoundBy::Window, Some(window)),
        (None, None) => (BoundBy::Nothing, None),
    }
}

/// The bytes of values that may be open at once: in so many slots, and as far as acceptors and disks
/// take them.
fn window_bytes(value_bytes: usize) -> f64 {
    let limits = Limits::default();
    let slots = limits.open_slots_max.saturating_mul(value_bytes as u64);
    precise(slots.min(limits.accepted_bytes_max).min(limits.unsynced_bytes_max))
}

/// How many values clients have in flight: enough to reach the bound. Far more would only wait.
pub(super) fn in_flight(conditions: Conditions, value_bytes: usize) -> usize {
    let rate = bound(conditions, value_bytes).1.unwrap_or(UNLIMITED);
    let time = 2 * conditions.round_trip + IN_FLIGHT;
    let bytes = (rate * time.as_secs_f64()).min(2.0 * window_bytes(value_bytes)).min(BYTES_MAX);
    let values = (bytes / precise(value_bytes as u64)).clamp(VALUES_MIN, VALUES_MAX);
    // Between the two limits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let values = values.ceil() as usize;
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rate: u64, ms: u64) -> Conditions {
        Conditions { bytes_per_second: Some(rate), round_trip: Duration::from_millis(ms) }
    }

    #[test]
    fn the_lesser_of_link_and_window_is_the_bound() {
        let slots = Limits::default().open_slots_max;
        assert_eq!(bound(at(1_000_000, 0), 1000), (BoundBy::Link, Some(1e6)));
        let window = precise(slots * 1000) / 0.3;
        assert_eq!(bound(at(1_000_000_000, 300), 1000), (BoundBy::Window, Some(window)));
        assert_eq!(bound(at(50_000_000, 300), 1_000_000), (BoundBy::Link, Some(5e7)));
        assert_eq!(bound(Conditions::NONE, 1000), (BoundBy::Nothing, None));
    }

    #[test]
    fn more_than_the_bound_needs_is_in_flight() {
        for (rate, ms, value) in
            [(1_000_000, 0, 1_000_000), (50_000_000, 300, 1_000_000), (10_000_000, 100, 1000)]
        {
            let (_, bound) = bound(at(rate, ms), value);
            let needed = bound.unwrap() * precise(ms) / 1000.0 / precise(value as u64);
            let values = in_flight(at(rate, ms), value);
            assert!(precise(values as u64) >= needed, "{rate} {ms} {value}: {values} of {needed}");
        }
    }
}
