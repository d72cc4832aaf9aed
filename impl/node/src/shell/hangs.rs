//! For how long the disk, or the application, has made no progress. It measures, and decides nothing.
//!
//! A resource makes no progress while there is work for it and nothing of it gets done: records that are
//! written and not synced, entries that are delivered and not applied. After
//! [`hung_after`](super::detector::Timing::hung_after) the core is told, and again each time that this
//! time has passed once more. What a replica does then is the core's decision.
//!
//! The limit doubles each time that the replica gave way, until something is committed. So where every
//! write takes longer than the limit, some candidate comes to stay one until it is elected.

use std::time::Duration;

use synod_model::{Resource, Status};

/// A replica that has looked at nothing for so long has itself been stopped, or was not given the
/// processor. What passed meanwhile says nothing about its disk. Default 500 ms: ten heartbeats.
const OWN_PAUSE: Duration = Duration::from_millis(500);

/// Measures both resources of one replica. Times are counted from the start of the replica.
#[derive(Debug)]
pub(crate) struct Hangs {
    after: Duration,
    after_max: Duration,
    /// How often the replica gave way since something was committed.
    gave_way: u32,
    looked_at: Duration,
    disk: Progress,
    application: Progress,
}

/// What one resource gets done.
#[derive(Debug, Default)]
struct Progress {
    done: u64,
    /// There is work, and none of it got done, since this time.
    stands_still_since: Option<Duration>,
    told_at: Option<Duration>,
    /// How long the last piece of work took.
    took: Duration,
}

impl Progress {
    fn look(&mut self, done: u64, given: u64, now: Duration) {
        let has_moved = done > self.done;
        self.done = done;
        if has_moved && let Some(since) = self.stands_still_since.take() {
            self.took = now.saturating_sub(since);
            self.told_at = None;
        }
        if done < given && self.stands_still_since.is_none() {
            self.stands_still_since = Some(now);
        }
    }

    fn due_at(&self, limit: Duration) -> Option<Duration> {
        Some(self.told_at.or(self.stands_still_since)? + limit)
    }
}

impl Hangs {
    pub(crate) fn new(after: Duration, after_max: Duration, now: Duration) -> Self {
        let (disk, application) = (Progress::default(), Progress::default());
        // With no limit at all, it would be time to tell the core again at once, for ever.
        let after = after.max(Duration::from_millis(1));
        Self { after, after_max, gave_way: 0, looked_at: now, disk, application }
    }

    /// Looks at how far both have come.
    pub(crate) fn look(&mut self, status: &Status, now: Duration) {
        let own_pause = now.saturating_sub(self.looked_at);
        self.looked_at = now;
        if own_pause > OWN_PAUSE {
            for progress in [&mut self.disk, &mut self.application] {
                let times = [&mut progress.stands_still_since, &mut progress.told_at];
                times.into_iter().flatten().for_each(|time| *time += own_pause);
            }
        }
        self.disk.look(status.synced.0, status.written.0, now);
        self.application.look(status.applied.0, status.delivered.0, now);
    }

    /// The replica gave way. Next time it waits longer.
    pub(crate) fn gave_way(&mut self) {
        self.gave_way = self.gave_way.saturating_add(1);
    }

    /// Something was committed.
    pub(crate) fn committed(&mut self) {
        self.gave_way = 0;
    }

    /// For how long a resource may make no progress.
    pub(crate) fn limit(&self) -> Duration {
        let doubled = self.after.saturating_mul(1 << self.gave_way.min(16));
        doubled.min(self.after_max.max(self.after))
    }

    /// Since when `resource` has made no progress, if it has work.
    pub(crate) fn stands_still_since(&self, resource: Resource) -> Option<Duration> {
        self.progress(resource).stands_still_since
    }

    /// How long the disk took for what it wrote last.
    pub(crate) fn write_took(&self) -> Duration {
        self.disk.took
    }

    /// When the core is to be told next.
    pub(crate) fn next(&self) -> Option<Duration> {
        let both = [&self.disk, &self.application];
        both.into_iter().filter_map(|it| it.due_at(self.limit())).min()
    }

    /// A resource that has reached its limit, if any has. Call this until it returns none.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Resource> {
        let limit = self.limit();
        for resource in [Resource::Disk, Resource::Application] {
            let progress = self.progress_mut(resource);
            if progress.due_at(limit).is_some_and(|at| at <= now) {
                progress.told_at = Some(now);
                return Some(resource);
            }
        }
        None
    }

    fn progress(&self, resource: Resource) -> &Progress {
        match resource {
            Resource::Disk => &self.disk,
            Resource::Application => &self.application,
        }
    }

    fn progress_mut(&mut self, resource: Resource) -> &mut Progress {
        match resource {
            Resource::Disk => &mut self.disk,
            Resource::Application => &mut self.application,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use synod_model::{
        Base, ClusterConstants, Configuration, ConfigurationId, Limits, Output, Position, Recovery,
        ReplicaId, Run, Slot,
    };

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn hangs() -> Hangs {
        Hangs::new(ms(3_000), ms(10_000), ms(0))
    }

    /// The status of a replica that has written so many records and synced so many, and was given so
    /// many slots and has applied so many.
    fn status(written: u64, synced: u64, delivered: u64, applied: u64) -> Status {
        let first = Configuration::new(ConfigurationId(1), vec![ReplicaId(0)]).unwrap();
        let base = Base::new(first.clone());
        let cluster = ClusterConstants::new(1 << 16, first, Limits::default()).unwrap();
        let mut out = Output::<synod_wire::Value>::default();
        let (me, cluster) = (ReplicaId(0), Arc::new(cluster));
        let recovery = Recovery::new(cluster, me, Run(1), Slot::ZERO, base, &mut out).unwrap();
        let (written, synced) = (Position(written), Position(synced));
        let (delivered, applied) = (Slot(delivered), Slot(applied));
        Status {
            written,
            synced,
            delivered,
            applied,
            ..recovery.finish().expect("a whole log").status()
        }
    }

    /// The times until `until` at which something is said to hang. `status_at` says how the replica is.
    fn told(
        hangs: &mut Hangs,
        until: u64,
        status_at: impl Fn(u64) -> Status,
    ) -> Vec<(u64, Resource)> {
        let mut told = Vec::new();
        for now in (0..until).step_by(50) {
            hangs.look(&status_at(now), ms(now));
            while let Some(resource) = hangs.due(ms(now)) {
                told.push((now, resource));
            }
            assert!(hangs.next().is_none_or(|at| at > ms(now)));
        }
        told
    }

    #[test]
    fn what_has_nothing_to_do_does_not_hang() {
        assert_eq!(told(&mut hangs(), 60_000, |_| status(7, 7, 5, 5)), []);
    }

    #[test]
    fn what_makes_progress_does_not_hang_however_much_waits() {
        let busy = |now: u64| status(1_000, now / 2_000, 1_000, now / 2_950);
        assert_eq!(told(&mut hangs(), 60_000, busy), []);
    }

    #[test]
    fn the_limit_counts_from_the_last_progress_and_again_from_each_time_that_it_is_told() {
        let stops = |now: u64| status(9, now.min(2_000) / 1_000, 0, 0);
        let disk = [5_000, 8_000, 11_000].map(|at| (at, Resource::Disk));
        assert_eq!(told(&mut hangs(), 12_000, stops), disk);
        let application = |now: u64| status(0, 0, u64::from(now >= 1_000), 0);
        let times = [4_000, 7_000].map(|at| (at, Resource::Application));
        assert_eq!(told(&mut hangs(), 9_000, application), times);
    }

    #[test]
    fn work_that_comes_after_a_pause_gets_the_whole_limit() {
        let late = |now: u64| if now < 10_000 { status(1, 1, 0, 0) } else { status(2, 1, 0, 0) };
        assert_eq!(told(&mut hangs(), 15_000, late), [(13_000, Resource::Disk)]);
    }

    #[test]
    fn the_limit_doubles_each_time_that_the_replica_gave_way_until_something_is_committed() {
        let mut hangs = hangs();
        let mut limits = vec![hangs.limit()];
        for _ in 0..3 {
            hangs.gave_way();
            limits.push(hangs.limit());
        }
        assert_eq!(limits, [3_000, 6_000, 10_000, 10_000].map(ms));
        assert_eq!(told(&mut hangs, 11_000, |_| status(1, 0, 0, 0)), [(10_000, Resource::Disk)]);
        hangs.committed();
        assert_eq!(hangs.limit(), ms(3_000));
    }

    #[test]
    fn a_pause_of_the_replica_itself_does_not_count() {
        let mut hangs = hangs();
        let stuck = status(1, 0, 1, 0);
        assert_eq!(told(&mut hangs, 2_000, |_| stuck.clone()), []);
        // The process was stopped for a minute.
        hangs.look(&stuck, ms(62_000));
        assert_eq!(hangs.due(ms(62_000)), None);
        assert_eq!(hangs.next(), Some(ms(1_950 + 1_050 + 60_050)));
    }

    #[test]
    fn how_long_a_write_took_is_known_when_it_is_done() {
        let mut hangs = hangs();
        hangs.look(&status(1, 0, 0, 0), ms(100));
        assert_eq!(hangs.write_took(), ms(0));
        hangs.look(&status(2, 1, 0, 0), ms(450));
        hangs.look(&status(2, 2, 0, 0), ms(650));
        assert_eq!(hangs.write_took(), ms(200));
    }
}
