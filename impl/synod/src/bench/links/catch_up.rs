//! How fast a replica that was stopped catches up over its link.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use synod_client::Endpoint;
use synod_link::{Line, Side};
use tokio::time::{Instant, sleep};

use super::bound::in_flight;
use super::cluster::{Cluster, Conditions};
use super::goodput::load;
use crate::bench::load::Clients;
use crate::bench::precise;

/// How often the replica is asked how far it is: every 25 ms.
const ASK_AGAIN: Duration = Duration::from_millis(25);

/// How long the load runs before the replica comes back.
const WARM_UP: Duration = Duration::from_secs(1);

/// A catch-up may take so many times as long as at the rate of the link, and a while more. After that it
/// has not succeeded.
const LONGER: u32 = 4;
const MORE: Duration = Duration::from_secs(5);

/// Under load, a replica has caught up when it lacks no more than what is committed in this time, beyond
/// a round trip.
const BEHIND: Duration = Duration::from_millis(500);

/// What one run has measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CatchUp {
    pub(super) link_bytes_per_second: u64,
    pub(super) round_trip_ms: u64,
    pub(super) value_bytes: usize,
    /// Whether clients went on to commit half of what the link carries.
    pub(super) under_load: bool,
    /// From the start of its process until it had the first slot that it lacked.
    pub(super) first_after_seconds: Option<f64>,
    /// From then until it had everything.
    pub(super) seconds: f64,
    /// Bytes of values that it got in that time, with those that were new.
    pub(super) value_bytes_gained: u64,
    /// These bytes in a second, over the rate of the link.
    pub(super) share_of_link: f64,
    /// The bytes that came to it, over the bytes of the values that it got.
    pub(super) wire_ratio: Option<f64>,
    pub(super) is_caught_up: bool,
    pub(super) elections: u64,
    /// Why it was not measured to the end.
    pub(super) error: Option<String>,
}

/// Measures one run. A run that fails is a result too.
pub(super) async fn measure(
    cluster: &mut Cluster,
    conditions: Conditions,
    value_bytes: usize,
    seconds: Duration,
    under_load: bool,
) -> CatchUp {
    let mut result = CatchUp {
        link_bytes_per_second: conditions.bytes_per_second.unwrap_or(u64::MAX),
        round_trip_ms: u64::try_from(conditions.round_trip.as_millis()).unwrap_or(u64::MAX),
        value_bytes,
        under_load,
        first_after_seconds: None,
        seconds: 0.0,
        value_bytes_gained: 0,
        share_of_link: 0.0,
        wire_ratio: None,
        is_caught_up: false,
        elections: 0,
        error: None,
    };
    if let Err(error) = run(cluster, conditions, seconds, &mut result).await {
        result.error = Some(format!("{error:#}"));
    }
    cluster.rest(conditions.round_trip).await;
    result
}

async fn run(
    cluster: &mut Cluster,
    conditions: Conditions,
    seconds: Duration,
    result: &mut CatchUp,
) -> anyhow::Result<()> {
    cluster.set(Conditions::NONE);
    let coordinator = cluster.coordinator().await?;
    let away = (coordinator + 1) % 3;
    let (rate, longest) = (result.link_bytes_per_second, seconds * 2 * LONGER + MORE);

    // All sessions are opened before the replica stops. Each takes a slot, which is no value.
    let count = in_flight(Conditions::NONE, result.value_bytes);
    let meanwhile = load(cluster.endpoint(coordinator), count, result.value_bytes);
    let meanwhile = Clients::connect(&meanwhile).await?;
    // A link in front of the coordinator, at half of the rate, makes the clients as fast as that.
    let slow = Line { delay: Duration::ZERO, bytes_per_second: Some(rate / 2) };
    let slow_link = cluster.links.link(slow);
    let mut clients = None;
    if result.under_load {
        let door = slow_link.open(Side::Left, cluster.client_address(coordinator))?;
        let count = in_flight(conditions, result.value_bytes);
        let load = load(Endpoint::local(door.port()), count, result.value_bytes);
        clients = Some(Clients::connect(&load).await?);
    }
    cluster.rest(Duration::ZERO).await;

    cluster.stop_replica(away).await;
    commit_meanwhile(meanwhile, seconds, result).await?;
    // What is on its way to the other follower is not to share the links with the catch-up.
    cluster.rest(Duration::ZERO).await;
    cluster.approach(conditions).await;
    let before = cluster.elections().await;
    if let Some(clients) = &clients {
        clients.begin(WARM_UP, longest + WARM_UP);
        sleep(WARM_UP).await;
    }
    ensure!(cluster.coordinator().await? == coordinator, "another replica coordinates");
    let watched = watch(cluster, conditions, [coordinator, away], longest, result).await;
    drop(clients);
    result.elections = cluster.elections().await.saturating_sub(before);
    watched
}

/// Commits what the link carries in so many seconds.
async fn commit_meanwhile(
    mut clients: Clients,
    seconds: Duration,
    result: &CatchUp,
) -> anyhow::Result<()> {
    let bytes = precise(result.link_bytes_per_second) * seconds.as_secs_f64();
    let longest = seconds * 2 * LONGER + MORE;
    clients.begin(Duration::ZERO, longest);
    let (answered, deadline) = (clients.answered(), Instant::now() + longest);
    let value_bytes = precise(result.value_bytes as u64);
    let enough = async {
        while precise(answered.load(Ordering::Relaxed)) * value_bytes < bytes
            && Instant::now() < deadline
        {
            sleep(ASK_AGAIN).await;
        }
    };
    tokio::select! {
        () = enough => Ok(()),
        error = clients.failed() => Err(error),
    }
}

/// Starts the replica that is away, and watches it catch up with the coordinator.
async fn watch(
    cluster: &mut Cluster,
    conditions: Conditions,
    [coordinator, away]: [usize; 2],
    longest: Duration,
    result: &mut CatchUp,
) -> anyhow::Result<()> {
    let slots_of = |bytes: f64| bytes / precise(result.value_bytes as u64);
    let time = (conditions.round_trip + BEHIND).as_secs_f64();
    let rate = precise(result.link_bytes_per_second);
    let behind = if result.under_load { 2.0 + slots_of(rate / 2.0 * time) } else { 0.0 };
    let began = Instant::now();
    cluster.start_replica(away)?;
    let (mut at_start, mut first, mut last) = (None, None, None);
    while began.elapsed() < longest && !result.is_caught_up {
        sleep(ASK_AGAIN).await;
        cluster.check()?;
        // Until it has read its log it does not answer.
        let Some(status) = cluster.status(away).await else { continue };
        let now = (Instant::now(), status.committed.0, cluster.bytes_to(away));
        if now.1 <= *at_start.get_or_insert(now.1) {
            continue;
        }
        first.get_or_insert(now);
        last = Some(now);
        let end = cluster.status(coordinator).await.context("the coordinator does not answer")?;
        result.is_caught_up = precise(end.committed.0.saturating_sub(now.1)) <= behind;
    }
    if let (Some(first), Some(last)) = (first, last) {
        let time = (last.0 - first.0).as_secs_f64();
        result.first_after_seconds = Some((first.0 - began).as_secs_f64());
        result.seconds = time;
        result.value_bytes_gained = (last.1 - first.1) * result.value_bytes as u64;
        let gained = precise(result.value_bytes_gained);
        if gained > 0.0 {
            result.share_of_link = gained / time / rate;
            result.wire_ratio = Some(precise(last.2 - first.2) / gained);
        }
    }
    Ok(())
}
