//! Disks and applications that hang, or are slow.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use synod_model::{Delivered, Resource, RoleName, Slot};
use synod_wire::Value;
use synod_wire::api::SubmitError;

use super::clients::ClientRequest;
use super::tests::keeps_its_promises;
use super::{Running, Simulation, ms};
use crate::shell::HangNews;
use crate::shell::detector::Timing;

/// How fast the disk and the application of a replica are.
pub(super) struct Speed {
    /// How many microseconds a sync takes.
    sync_us: Range<u64>,
    /// Whether no sync ends.
    pub(super) disk_hangs: bool,
    application_hangs: bool,
}

impl Default for Speed {
    fn default() -> Self {
        Self { sync_us: 50..5_000, disk_hangs: false, application_hangs: false }
    }
}

impl Speed {
    pub(super) fn sync_takes(&self, rng: &mut Rng) -> Duration {
        Duration::from_micros(rng.u64(self.sync_us.clone()))
    }
}

type Answer = (Slot, ClientRequest, Result<Slot, SubmitError>);

/// What waits for a machine.
#[derive(Default)]
pub(super) struct ToApply {
    pub(super) delivered: Vec<Delivered<Value>>,
    pub(super) answers: Vec<Answer>,
}

impl ToApply {
    /// Adds to what waits. Returns what is to be applied now.
    pub(super) fn add(
        &mut self,
        delivered: Vec<Delivered<Value>>,
        answers: Vec<Answer>,
        speed: &Speed,
    ) -> Self {
        self.delivered.extend(delivered);
        self.answers.extend(answers);
        if speed.application_hangs { Self::default() } else { std::mem::take(self) }
    }
}

impl Simulation {
    fn coordinators(&self) -> Vec<usize> {
        let coordinates =
            |it: &Running| matches!(it.shell.status().role, RoleName::Coordinator { .. });
        let all = self.replicas.iter().enumerate();
        let all = all.filter(|(_, it)| it.running.as_ref().is_some_and(coordinates));
        all.map(|(at, _)| at).collect()
    }

    fn acknowledged(&self) -> usize {
        self.clients.iter().map(|it| it.acknowledged.len()).sum()
    }

    /// Runs for a while. Returns the longest time in which no client was answered.
    fn run_for(&mut self, time: Duration) -> Duration {
        let (mut longest, mut since) = (Duration::ZERO, self.now);
        let until = self.now + time;
        while self.now < until {
            let before = self.acknowledged();
            self.run((self.now + ms(50)).min(until));
            if self.acknowledged() > before {
                since = self.now;
            }
            longest = longest.max(self.now.saturating_sub(since));
        }
        longest
    }

    /// What people were told at `at`, since the last time.
    fn news(&mut self, at: usize) -> Vec<HangNews> {
        self.replicas[at].hang_news.drain(..).map(|it| it.1).collect()
    }
}

/// Three replicas in peace, and their coordinator.
fn working(seed: u64) -> (Simulation, usize) {
    let mut simulation = Simulation::new(seed, 3, 4, Duration::ZERO);
    simulation.run(ms(2_000));
    let coordinators = simulation.coordinators();
    assert_eq!(coordinators.len(), 1, "seed {seed}");
    (simulation, coordinators[0])
}

/// The resource of the coordinator hangs for a while. Another one coordinates soon, clients are hardly
/// held up, and the first one comes back.
fn is_replaced(seed: u64, resource: Resource) {
    let (mut simulation, first) = working(seed);
    let hang = |simulation: &mut Simulation, hangs| {
        let replica = &mut simulation.replicas[first];
        match resource {
            Resource::Disk => replica.speed.disk_hangs = hangs,
            Resource::Application => replica.speed.application_hangs = hangs,
        }
    };
    hang(&mut simulation, true);
    let longest = simulation.run_for(ms(8_000));
    let limit = Timing::default().hung_after;
    assert!(longest < limit + ms(1_500), "seed {seed}: nobody was answered for {longest:?}");
    let coordinators = simulation.coordinators();
    assert!(coordinators.len() == 1 && coordinators != [first], "seed {seed}: {coordinators:?}");
    let news = simulation.news(first);
    let hangs = HangNews::Hangs { resource, limit, coordinates: true };
    let gave_way = HangNews::GaveWay { resource, coordinated: true };
    assert_eq!(news, [hangs, gave_way], "seed {seed}");
    // Now that another one coordinates, nobody notices it any more.
    let longest = simulation.run_for(ms(20_000));
    assert!(longest < ms(1_000), "seed {seed}: nobody was answered for {longest:?}");
    assert_eq!(simulation.coordinators(), coordinators, "seed {seed}");

    hang(&mut simulation, false);
    // What waits for the application is applied with the next that it is given.
    simulation.run_for(ms(3_000));
    assert_eq!(simulation.coordinators(), coordinators, "seed {seed}: it disturbs nobody");
    let news = simulation.news(first);
    assert!(
        matches!(news[..], [HangNews::Works { resource: it, after }] if it == resource && after > ms(25_000)),
        "seed {seed}: {news:?}"
    );
    keeps_its_promises(&simulation);
}

#[test]
fn a_coordinator_whose_disk_hangs_is_replaced() {
    for seed in 21..=26 {
        is_replaced(seed, Resource::Disk);
    }
}

#[test]
fn a_coordinator_whose_application_hangs_is_replaced() {
    for seed in 31..=36 {
        is_replaced(seed, Resource::Application);
    }
}

/// Every sync of every disk takes longer than the limit. The cluster goes on, slowly, and its
/// coordinator stays.
#[test]
fn replicas_that_are_all_slow_do_not_depose_each_other() {
    for (seed, seconds) in (41..).zip([4, 10]) {
        let (mut simulation, _) = working(seed);
        for replica in &mut simulation.replicas {
            // Not all the same, but none is much faster than another.
            replica.speed.sync_us = seconds * 1_000_000..seconds * 1_200_000;
        }
        simulation.run_for(ms(30_000));
        let (coordinators, before) = (simulation.coordinators(), simulation.acknowledged());
        simulation.run_for(ms(60_000));
        assert_eq!(simulation.coordinators(), coordinators, "{seconds} s");
        let answered = simulation.acknowledged() - before;
        assert!(answered > 4, "{seconds} s: {answered} answers");
        let gave_way = |at: usize| {
            let news = simulation.replicas[at].hang_news.iter();
            news.filter(|it| matches!(it.1, HangNews::GaveWay { coordinated: true, .. })).count()
        };
        assert_eq!((0..3).map(gave_way).sum::<usize>(), 0, "{seconds} s");
    }
}

/// All disks are slow from the start on, so that an election takes longer than the limit too.
#[test]
fn replicas_that_are_all_slow_elect_one_in_the_end() {
    for seed in 51..=56 {
        let mut simulation = Simulation::new(seed, 3, 4, Duration::ZERO);
        for replica in &mut simulation.replicas {
            replica.speed.sync_us = 5_000_000..6_000_000;
        }
        simulation.run(ms(120_000));
        let coordinators = simulation.coordinators();
        assert_eq!(coordinators.len(), 1, "seed {seed}");
        let coordinator = simulation.replicas[coordinators[0]].running.as_ref();
        let committed = coordinator.expect("it runs").shell.status().watermark;
        assert!(committed > Slot(20), "seed {seed}: {committed} slots");
    }
}
