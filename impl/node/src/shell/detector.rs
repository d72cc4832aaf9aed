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
//!
//! An answer takes a round trip, and an election takes two. So both times are longer by two of the
//! longest round trips that were measured, up to [`suspect_after_max`](Timing::suspect_after_max).
//!
//! The writes of an election also take time. A replica that takes part in one waits for three times as
//! long as its own disk took for its last write before it stands, or on slow disks no candidate would
//! ever be done.
//!
//! What may be lost is repeated when a connection is made anew. The alarm to repeat everything is the
//! safety net. It comes only after a time without any progress, and each time later.

use std::time::Duration;

use fastrand::Rng;

/// How a failure detector counts time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a coordinator asks whether it is still obeyed. Default 50 ms: twenty messages per peer
    /// and second cost nearly nothing.
    pub heartbeat: Duration,
    /// How long a replica hears of no coordinator before it suspects that there is none, where messages
    /// take no time. Default 200 ms: three heartbeats may be lost.
    pub suspect_after: Duration,
    /// The longest time without a coordinator before a replica suspects, however long round trips are.
    /// Default 3 s: enough for round trips of more than a second, which is more than any supported link
    /// has.
    pub suspect_after_max: Duration,
    /// A replica that suspects stands for election within this time. Default 150 ms: far more than an
    /// election takes on a local network, so two replicas seldom stand at once. Together with
    /// `suspect_after`, it is less than the half second within which a group should have a new
    /// coordinator.
    pub stand_spread: Duration,
    /// The longest time between two candidacies, apart from `suspect_after`. Default 2 s.
    pub stand_again_max: Duration,
    /// How long nothing makes progress before everything that is unanswered is repeated. Default 1 s:
    /// only a loss that nobody noticed waits for it.
    pub resend_after: Duration,
    /// The longest time between two such resends: it doubles up to this while nothing makes progress.
    /// Default 8 s.
    pub resend_after_max: Duration,
    /// How long the disk, or the application, makes no progress before it counts as one that hangs, while
    /// there is work for it. Default 3 s: a disk under load takes a second for a sync at times, and the
    /// clients of a cluster should not wait much longer than that for another coordinator.
    pub hung_after: Duration,
    /// The longest such time: it doubles up to this each time that the replica gave way, until something
    /// is committed. Default 60 s: a disk that takes longer for a write is of no use.
    pub hung_after_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            suspect_after: Duration::from_millis(200),
            suspect_after_max: Duration::from_secs(3),
            stand_spread: Duration::from_millis(150),
            stand_again_max: Duration::from_secs(2),
            resend_after: Duration::from_secs(1),
            resend_after_max: Duration::from_secs(8),
            hung_after: Duration::from_secs(3),
            hung_after_max: Duration::from_mins(1),
        }
    }
}

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Begin a round.
    Heartbeat,
    /// Repeat everything that is unanswered.
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
    heartbeat_at: Duration,
    resend_at: Duration,
    resent_at: Duration,
    /// How often everything was repeated since there was progress.
    resent: u32,
    /// The longest round trip to a peer.
    round_trip: Duration,
    /// How long the disk took for what it wrote last.
    write_took: Duration,
    suspect_at: Duration,
    stand_at: Duration,
    heard_at: Duration,
    /// How often the replica stood since it last heard of a coordinator.
    stood: u32,
}

impl Detector {
    pub(crate) fn new(timing: Timing, rng: Rng, now: Duration) -> Self {
        let mut detector = Self {
            heartbeat_at: now + timing.heartbeat,
            resend_at: now + timing.resend_after,
            resent_at: now,
            resent: 0,
            round_trip: Duration::ZERO,
            write_took: Duration::ZERO,
            timing,
            rng,
            suspect_at: now,
            stand_at: now,
            heard_at: now,
            stood: 0,
        };
        detector.heard(now);
        detector
    }

    /// There is a coordinator, or a candidate that may become one.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.stood = 0;
        self.heard_at = now;
        self.wait(now, Duration::ZERO);
    }

    /// An election has come further. It takes round trips and writes, and another candidate would only
    /// disturb it.
    pub(crate) fn election_advances(&mut self, now: Duration) {
        self.wait(now, self.election_writes());
    }

    /// Something that was unanswered is answered, or is on its way.
    ///
    /// That puts a resend off, but not for ever: what makes progress may be something else than what was
    /// lost.
    pub(crate) fn progress(&mut self, now: Duration) {
        let Timing { resend_after, resend_after_max, .. } = self.timing;
        let latest = self.resent_at + resend_after_max.max(resend_after);
        self.resent = 0;
        self.resend_at = (now + resend_after).min(latest) + self.round_trip;
    }

    /// A client has begun to wait for something.
    pub(crate) fn begins(&mut self, now: Duration) {
        self.resent = 0;
        self.resend_at = self.resend_at.min(now + self.timing.resend_after + self.round_trip);
    }

    /// The longest round trip to a peer, as it was measured last. It counts from the next wait on.
    pub(crate) fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
    }

    /// How long the disk took for what it wrote last. It counts from the next wait on.
    pub(crate) fn set_write_took(&mut self, took: Duration) {
        self.write_took = took;
    }

    /// How long the writes of an election take: the candidate's promise, those of the others, and what is
    /// under way when they begin. It is assumed that their disks are like this one.
    fn election_writes(&self) -> Duration {
        (3 * self.write_took).min(self.timing.hung_after_max)
    }

    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// When this replica last heard of a coordinator, or began.
    pub(crate) fn heard_at(&self) -> Duration {
        self.heard_at
    }

    /// How long this replica hears of no coordinator before it suspects.
    pub(crate) fn suspect_after(&self) -> Duration {
        let Timing { suspect_after, suspect_after_max, .. } = self.timing;
        (suspect_after + 2 * self.round_trip).min(suspect_after_max.max(suspect_after))
    }

    fn wait(&mut self, now: Duration, writes: Duration) {
        let Timing { stand_spread, stand_again_max, .. } = self.timing;
        self.suspect_at = now + self.suspect_after();
        // The spread doubles each time, so that one of several candidates comes to stand alone.
        let spread = (stand_spread + 2 * self.round_trip).saturating_mul(1 << self.stood.min(8));
        let spread = spread.min(stand_again_max);
        self.stand_at = self.suspect_at + writes + (spread + writes).mul_f64(self.rng.f64());
    }

    /// When the next alarm is due.
    pub(crate) fn next(&self) -> Duration {
        self.heartbeat_at.min(self.resend_at).min(self.suspect_at).min(self.stand_at)
    }

    /// The next alarm that is due, if any. Call this until it returns none. A replica that slept through
    /// many alarms gets each kind once, and suspects first: if a coordinator began a round first, it
    /// would then suspect because that round is not answered yet.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Alarm> {
        if now >= self.suspect_at {
            self.suspect_at = now + self.suspect_after();
            Some(Alarm::Suspect)
        } else if now >= self.heartbeat_at {
            self.heartbeat_at = now + self.timing.heartbeat;
            Some(Alarm::Heartbeat)
        } else if now >= self.resend_at {
            self.resent = self.resent.saturating_add(1);
            self.resent_at = now;
            let Timing { resend_after, resend_after_max, .. } = self.timing;
            let wait = resend_after.saturating_mul(1 << self.resent.min(8)).min(resend_after_max);
            self.resend_at = now + wait + self.round_trip;
            Some(Alarm::Resend)
        } else if now >= self.stand_at {
            self.stood = self.stood.saturating_add(1);
            self.wait(now, self.election_writes());
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
            let calm = [Alarm::Heartbeat, Alarm::Resend];
            assert!(alarms.iter().all(|it| calm.contains(&it.1)), "seed {seed}: {alarms:?}");
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
        assert_eq!(due, [Alarm::Suspect, Alarm::Heartbeat, Alarm::Resend, Alarm::Stand]);
    }

    #[test]
    fn suspicion_grows_with_the_round_trip_up_to_a_limit() {
        let mut detector = Detector::new(Timing::default(), Rng::with_seed(1), ms(0));
        for (round_trip_ms, after_ms) in [(0, 200), (50, 300), (300, 800), (5_000, 3_000)] {
            detector.set_round_trip(ms(round_trip_ms));
            detector.heard(ms(1_000));
            assert_eq!(detector.suspect_after(), ms(after_ms));
            assert_eq!(detector.suspect_at, ms(1_000 + after_ms));
            assert!(detector.stand_at >= detector.suspect_at);
        }
    }

    #[test]
    fn everything_is_repeated_only_without_progress_and_ever_more_seldom() {
        assert_eq!(of(&alarms(1, &[], 20_000), Alarm::Resend), [1_000, 3_000, 7_000, 15_000]);
    }

    #[test]
    fn progress_puts_a_resend_off_and_a_new_wait_brings_it_near() {
        let mut detector = Detector::new(Timing::default(), Rng::with_seed(1), ms(0));
        let mut resends = Vec::new();
        for now in (0..30_000).step_by(10) {
            if now < 20_000 {
                detector.progress(ms(now));
            }
            if now == 28_000 {
                detector.begins(ms(now));
            }
            while let Some(alarm) = detector.due(ms(now)) {
                if alarm == Alarm::Resend {
                    resends.push(now);
                }
            }
        }
        assert_eq!(resends, [8_000, 16_000, 20_990, 22_990, 26_990, 29_000]);
    }
}
