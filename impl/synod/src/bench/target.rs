//! Which of the measured replicas coordinates, or why none of them can be loaded.

use std::time::Duration;

use anyhow::bail;
use synod_client::Endpoint;
use synod_wire::api::{Forming, ReplicaStatus, Role};
use tokio::time::{self, Instant};

use crate::status::{Report, ask};

/// How long a running cluster may be without a coordinator: 3 s, several elections.
const ELECTED_MAX: Duration = Duration::from_secs(3);

/// How long a replica may take to report its status, before anything loads it: 2 s.
const STATUS_MAX: Duration = Duration::from_secs(2);

const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The endpoint of the coordinator.
///
/// # Errors
///
/// At once if an endpoint does not answer, and after a while if none of them coordinates.
pub(super) async fn coordinator(endpoints: &[Endpoint]) -> anyhow::Result<Endpoint> {
    let deadline = Instant::now() + ELECTED_MAX;
    loop {
        let reports = ask(endpoints, STATUS_MAX).await;
        if let Some(Report { endpoint, error: Some(error), .. }) =
            reports.iter().find(|it| it.status.is_none())
        {
            bail!(
                "{endpoint} does not report its status: {error}\n  \
                 each of --endpoints must be a running replica, because its fdatasyncs are counted"
            );
        }
        let statuses: Vec<_> = reports.into_iter().filter_map(|it| it.status).collect();
        if let Some(at) = statuses.iter().position(coordinates) {
            return Ok(endpoints[at].clone());
        }
        if Instant::now() >= deadline {
            bail!(why_none(&statuses));
        }
        time::sleep(ASK_AGAIN).await;
    }
}

fn coordinates(status: &ReplicaStatus) -> bool {
    status.forming == Forming::Formed && status.role == Role::Coordinator
}

fn why_none(statuses: &[ReplicaStatus]) -> String {
    if statuses.iter().any(|it| it.forming != Forming::Formed) {
        return "the cluster is still forming: not all of its members have met\n  \
                start all of them first; `synod status` says who is missing"
            .to_owned();
    }
    match statuses.iter().find_map(|it| it.coordinator) {
        Some(id) => format!(
            "r{id} coordinates, and is not among --endpoints\n  give the endpoints of all replicas"
        ),
        None => format!(
            "no replica coordinates after {} s\n  see whether a majority of the replicas runs",
            ELECTED_MAX.as_secs()
        ),
    }
}
