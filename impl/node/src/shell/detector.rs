//! The failure detector: it counts time, and decides nothing.
//!
//! It may raise each of its alarms too early, too late or never, without harm: the core decides what
//! follows, and the checker has tried every order. So one question matters here: how soon does a group
//! recover from the loss of its coordinator, without disturbing a coordinator that works?
//!
//! Every [`heartbeat`](Timing::heartbeat), the coordinator begins a round. A replica that hears of no
//! coordinator for [`suspect_after`](Timing::suspect_after) suspects that there is none. That costs
//! nothing: it would now agree to follow another. After a random part of
//! [`stand_spread`](Timing::stand_spread) it stands for election. The part is random so that one replica
//! stands before the others. A replica that was not elected waits longer before it stands again.

use std::time::Duration;

use fastrand::Rng;

/// How a failure detector counts time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a coordinator asks whether it is still obeyed, and every replica repeats what is
    /// unanswered. Default 50 ms: twenty messages per peer and second cost nearly nothing.
    pub heartbeat: Duration,
    /// How long a replica hears of no coordinator before it suspects that there is none. Default 200
    /// ms: three heartbeats may be lost.
    pub suspect_after: Duration,
    /// A replica that suspects stands for election within this time. Default 150 ms: far more than an
    /// election takes on a local network, so two replicas seldom stand at once. Together with
    /// `suspect_after`, it is less than the half second within which a group should have a new
    /// coordinator.
    pub stand_spread: Duration,
    /// The longest time between two candidacies, apart from `suspect_after`. Default 2 s.
    pub stand_again_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            suspect_after: Duration::from_millis(200),
            stand_spread: Duration::from_millis(150),
            stand_again_max: Duration::from_secs(2),
        }
    }
}

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Repeat what is unanswered, and begin a round.
    Resend,
    /// Suspect that nobody coordinates.
    Suspect,
    /// Stand for election.
    Stand,
}

/// The alarms of one replica. Times are counted from the start of the replica.
#[derive(Debug)]
pub(crate) struct Detector {
    timing: Timing,
    rng: Rng,
    resend_at: Duration,
    suspect_at: Duration,
    stand_at: Duration,
    /// How often the replica stood since it last heard of a coordinator.
    stood: u32,
}

impl Detector {
    pub(crate) fn new(timing: Timing, rng: Rng, now: Duration) -> Self {
        let mut detector = Self {
            resend_at: now + timing.heartbeat,
            timing,
            rng,
            suspect_at: now,
            stand_at: now,
            stood: 0,
        };
        detector.heard(now);
        detector
    }

    /// There is a coordinator, or a candidate that may become one.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.stood = 0;
        self.wait(now);
    }

    fn wait(&mut self, now: Duration) {
        let Timing { suspect_after, stand_spread, stand_again_max, .. } = self.timing;
        self.suspect_at = now + suspect_after;
        // The spread doubles each time, so that one of several candidates comes to stand alone.
        let spread = stand_spread.saturating_mul(1 << self.stood.min(8)).min(stand_again_max);
        self.stand_at = self.suspect_at + spread.mul_f64(self.rng.f64());
    }

    /// When the next alarm is due.
    pub(crate) fn next(&self) -> Duration {
        self.resend_at.min(self.suspect_at).min(self.stand_at)
    }

    /// The next alarm that is due, if any. Call this until it returns none. A replica that slept through
    /// many alarms gets each kind once, and suspects first: if a coordinator began a round first, it
    /// would then suspect because that round is not answered yet.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Alarm> {
        if now >= self.suspect_at {
            self.suspect_at = now + self.timing.suspect_after;
            Some(Alarm::Suspect)
        } else if now >= self.resend_at {
            self.resend_at = now + self.timing.heartbeat;
            Some(Alarm::Resend)
        } else if now >= self.stand_at {
            self.stood = self.stood.saturating_add(1);
            self.wait(now);
            Some(Alarm::Stand)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The times of the alarms until `until`, if a coordinator is heard at `heard`.
    fn alarms(seed: u64, heard: &[u64], until: u64) -> Vec<(u64, Alarm)> {
        let mut detector = Detector::new(Timing::default(), Rng::with_seed(seed), ms(0));
        let mut alarms = Vec::new();
        for now in 0..until {
            if heard.contains(&now) {
                detector.heard(ms(now));
            }
            assert!(detector.next() <= ms(now) + Timing::default().heartbeat);
            while let Some(alarm) = detector.due(ms(now)) {
                alarms.push((now, alarm));
            }
        }
        alarms
    }

    fn of(alarms: &[(u64, Alarm)], wanted: Alarm) -> Vec<u64> {
        alarms.iter().filter(|it| it.1 == wanted).map(|it| it.0).collect()
    }

    #[test]
    fn a_replica_that_hears_a_coordinator_suspects_nothing() {
        let heard: Vec<_> = (0..10_000).step_by(50).collect();
        for seed in 0..20 {
            let alarms = alarms(seed, &heard, 10_000);
            assert!(alarms.iter().all(|it| it.1 == Alarm::Resend), "seed {seed}: {alarms:?}");
        }
    }

    #[test]
    fn a_replica_that_hears_no_coordinator_stands_within_half_a_second() {
        for seed in 0..100 {
            let alarms = alarms(seed, &[], 400);
            assert_eq!(of(&alarms, Alarm::Suspect)[0], 200, "seed {seed}");
            assert!((200..=350).contains(&of(&alarms, Alarm::Stand)[0]), "seed {seed}: {alarms:?}");
        }
    }

    #[test]
    fn a_candidate_that_is_not_elected_waits_longer_and_never_gives_up() {
        for seed in 0..20 {
            let stands = of(&alarms(seed, &[], 60_000), Alarm::Stand);
            let gaps: Vec<_> = stands.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().all(|gap| (200..=2_201).contains(gap)), "seed {seed}: {gaps:?}");
            assert!(gaps.iter().any(|gap| *gap > 1_000), "seed {seed}: {gaps:?}");
        }
    }

    #[test]
    fn a_replica_that_slept_gets_each_alarm_once() {
        let mut detector = Detector::new(Timing::default(), Rng::with_seed(1), ms(0));
        let mut due = Vec::new();
        while let Some(alarm) = detector.due(ms(60_000)) {
            due.push(alarm);
        }
        assert_eq!(due, [Alarm::Suspect, Alarm::Resend, Alarm::Stand]);
    }
}
