//! How fast values are committed over the links.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use synod_client::Endpoint;
use tokio::time::{self, Instant};

use super::bound::{self, BoundBy};
use super::cluster::{Cluster, Conditions};
use crate::bench::load::{Clients, Load};
use crate::bench::precise;

/// How often the answers are counted: every 2 ms. So the time of an answer is known this well.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How long a load runs before it is measured: 1 s and two round trips.
const WARM_UP: Duration = Duration::from_secs(1);

/// A run is measured until so many values are committed, up to [`LONGER`] times as long as usual.
const VALUES_MIN: u64 = 16;
const LONGER: u32 = 4;

/// How many clients share a connection, and how many bytes of their values: 4 MB, half of what a replica
/// takes of one connection before it answers.
const CLIENTS_PER_CONNECTION: usize = 256;
const BYTES_PER_CONNECTION: usize = 4_000_000;

/// Each value goes once to each follower.
const FOLLOWERS: u64 = 2;

/// What one run has measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Goodput {
    /// None: no limit.
    pub(super) link_bytes_per_second: Option<u64>,
    pub(super) round_trip_ms: u64,
    pub(super) value_bytes: usize,
    /// How many values clients had in flight.
    pub(super) in_flight: usize,
    pub(super) seconds: f64,
    pub(super) commits: u64,
    /// Bytes of committed values, as clients had the answers.
    pub(super) bytes_per_second: f64,
    /// What limits it, and to how much.
    pub(super) bound_by: BoundBy,
    pub(super) bound_bytes_per_second: Option<f64>,
    pub(super) share_of_bound: Option<f64>,
    /// On all links and in both directions, over each committed value once to each follower.
    pub(super) wire_ratio: Option<f64>,
    pub(super) elections: u64,
    /// Why it was not measured to the end.
    pub(super) error: Option<String>,
}

/// The load of clients at the coordinator.
pub(super) fn load(endpoint: Endpoint, clients: usize, value_bytes: usize) -> Load {
    let bytes = clients.saturating_mul(value_bytes);
    let connections =
        clients.div_ceil(CLIENTS_PER_CONNECTION).max(bytes.div_ceil(BYTES_PER_CONNECTION));
    let connections = connections.min(clients);
    Load { endpoints: vec![endpoint], clients, connections, value_bytes }
}

/// Measures one run. A run that fails is a result too.
pub(super) async fn measure(
    cluster: &mut Cluster,
    conditions: Conditions,
    value_bytes: usize,
    seconds: Duration,
) -> Goodput {
    let (bound_by, bound_bytes_per_second) = bound::bound(conditions, value_bytes);
    let mut goodput = Goodput {
        link_bytes_per_second: conditions.bytes_per_second,
        round_trip_ms: u64::try_from(conditions.round_trip.as_millis()).unwrap_or(u64::MAX),
        value_bytes,
        in_flight: bound::in_flight(conditions, value_bytes),
        seconds: 0.0,
        commits: 0,
        bytes_per_second: 0.0,
        bound_by,
        bound_bytes_per_second,
        share_of_bound: bound_bytes_per_second.map(|_| 0.0),
        wire_ratio: None,
        elections: 0,
        error: None,
    };
    let before = cluster.elections().await;
    if let Err(error) = run(cluster, conditions, seconds, &mut goodput).await {
        goodput.error = Some(format!("{error:#}"));
    }
    goodput.elections = cluster.elections().await.saturating_sub(before);
    cluster.rest(conditions.round_trip).await;
    goodput
}

async fn run(
    cluster: &mut Cluster,
    conditions: Conditions,
    seconds: Duration,
    goodput: &mut Goodput,
) -> anyhow::Result<()> {
    let coordinator = cluster.coordinator().await?;
    let span = whole_round_trips(seconds, conditions.round_trip);
    let warm_up = WARM_UP + 2 * conditions.round_trip;
    let load = load(cluster.endpoint(coordinator), goodput.in_flight, goodput.value_bytes);
    let mut clients = Clients::connect(&load).await?;
    clients.begin(warm_up, 2 * LONGER * span);
    let answered = clients.answered();
    let failed = tokio::select! {
        () = count(cluster, &answered, warm_up, span, goodput) => None,
        error = clients.failed() => Some(error),
    };
    cluster.check()?;
    failed.map_or(Ok(()), Err)
}

/// Counts answers from one answer to another, so that no part of a value is counted or left out.
async fn count(
    cluster: &Cluster,
    answered: &std::sync::atomic::AtomicU64,
    warm_up: Duration,
    span: Duration,
    goodput: &mut Goodput,
) {
    let look = || (Instant::now(), answered.load(Ordering::Relaxed), cluster.carried_bytes());
    time::sleep(warm_up).await;
    let began = Instant::now();
    let (mut first, mut last) = (None, look());
    loop {
        time::sleep(LOOK_AGAIN).await;
        let now = look();
        let is_late = now.0 - began >= LONGER * span;
        if now.1 == last.1 && !is_late {
            continue;
        }
        last = now;
        let first = *first.get_or_insert(now);
        let (time, commits) = (now.0 - first.0, now.1 - first.1);
        if is_late || time >= span && commits >= VALUES_MIN {
            note(goodput, time, commits, now.2 - first.2);
            return;
        }
    }
}

fn note(goodput: &mut Goodput, time: Duration, commits: u64, wire_bytes: u64) {
    let value_bytes = precise(goodput.value_bytes as u64);
    goodput.seconds = time.as_secs_f64();
    goodput.commits = commits;
    if commits > 0 {
        let rate = precise(commits) * value_bytes / time.as_secs_f64();
        let needed = precise(FOLLOWERS * commits) * value_bytes;
        goodput.bytes_per_second = rate;
        goodput.share_of_bound = goodput.bound_bytes_per_second.map(|bound| rate / bound);
        goodput.wire_ratio = Some(precise(wire_bytes) / needed);
    }
}

/// This time, and more up to the next whole round trip: where the window is the bound, commits come in
/// bursts, one in each.
fn whole_round_trips(time: Duration, round_trip: Duration) -> Duration {
    if round_trip.is_zero() {
        return time;
    }
    let round_trips = time.as_nanos().div_ceil(round_trip.as_nanos());
    round_trip * u32::try_from(round_trips).unwrap_or(u32::MAX)
}
