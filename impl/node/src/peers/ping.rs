//! How long the way to a peer and back takes.
//!
//! The dialer of a control connection sends a ping, and the acceptor answers it at once, on the same
//! connection. A ping waits for the messages before it, as they do. So it measures what messages meet.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::{PING_GIVES_UP, PING_INTERVAL, PONG_INTERVAL_MIN};

/// The pings of one connection. At most one of them is unanswered.
#[derive(Debug)]
pub(super) struct Pinger {
    number: u64,
    unanswered_since: Option<Instant>,
    next: Instant,
}

impl Pinger {
    /// A connection has just begun: the first ping is due.
    pub(super) fn new(now: Instant) -> Self {
        Self { number: 0, unanswered_since: None, next: now }
    }

    /// When the next ping is due. An acceptor whose socket is full leaves one unanswered.
    pub(super) fn next(&self) -> Instant {
        self.unanswered_since.map_or(self.next, |since| since + PING_GIVES_UP)
    }

    /// A ping is sent now. Returns its number.
    pub(super) fn begin(&mut self, now: Instant) -> u64 {
        self.number += 1;
        self.unanswered_since = Some(now);
        self.next = now + PING_INTERVAL;
        self.number
    }

    /// A pong has come. Returns the round trip, if it answers the ping that is unanswered.
    pub(super) fn end(&mut self, number: u64, now: Instant) -> Option<Duration> {
        if number != self.number {
            return None;
        }
        let since = self.unanswered_since.take()?;
        Some(now.saturating_duration_since(since))
    }
}

/// Limits how often an acceptor answers pings, since a caller could send any number.
#[derive(Debug, Default)]
pub(super) struct PongLimit {
    next: Option<Instant>,
}

impl PongLimit {
    /// Whether a ping is answered now.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let allows = self.next.is_none_or(|next| now >= next);
        if allows {
            self.next = Some(now + PONG_INTERVAL_MIN);
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ping_at_a_time_and_one_in_a_second() {
        let begin = Instant::now();
        let after = |ms| begin + Duration::from_millis(ms);
        let mut pinger = Pinger::new(begin);
        assert_eq!(pinger.next(), begin);
        let number = pinger.begin(begin);
        assert_eq!(pinger.next(), begin + PING_GIVES_UP);
        assert_eq!(pinger.end(number + 1, after(10)), None, "it was not asked");
        assert_eq!(pinger.end(number, after(30)), Some(Duration::from_millis(30)));
        assert_eq!(pinger.end(number, after(40)), None, "it was answered");
        assert_eq!(pinger.next(), begin + PING_INTERVAL);
        // This one takes three seconds. The next one is due at once.
        let slow = pinger.begin(after(1_000));
        assert_eq!(pinger.end(number, after(1_500)), None, "an old answer");
        assert_eq!(pinger.end(slow, after(4_000)), Some(Duration::from_secs(3)));
        assert!(pinger.next() <= after(4_000));
        // One that is never answered is given up, and its answer comes too late.
        let lost = pinger.begin(after(5_000));
        let again = pinger.begin(pinger.next());
        assert_eq!(pinger.end(lost, after(60_000)), None);
        assert!(pinger.end(again, after(60_000)).is_some());
    }

    #[test]
    fn pongs_are_rare() {
        let begin = Instant::now();
        let mut limit = PongLimit::default();
        assert!(limit.allows(begin));
        assert!(!limit.allows(begin + PONG_INTERVAL_MIN / 2));
        assert!(limit.allows(begin + PONG_INTERVAL_MIN));
        assert!(!limit.allows(begin + PONG_INTERVAL_MIN));
    }
}
