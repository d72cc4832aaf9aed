//! Three replicas as processes, with a link between each two.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use synod_client::Endpoint;
use synod_link::{Line, Link, Links, Side};
use synod_wire::api::{ReplicaStatus, Role};
use tokio::process::Child;
use tokio::time::{self, Instant, sleep};

use crate::local::{Layout, Place, node_command, stop};
use crate::status::ask;

/// How long the replicas may take to elect a coordinator: 20 s.
const ELECTED_MAX: Duration = Duration::from_secs(20);

/// How long the replicas may take to come to rest after a load: 20 s.
const REST_MAX: Duration = Duration::from_secs(20);

/// How long a replica may take to report its status: 5 s, because it is busy.
const STATUS_MAX: Duration = Duration::from_secs(5);

const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How much longer a round trip may become at once, half of the time after which a coordinator is suspected;
/// and how long after that the next step comes: replicas measure their round trips once a second.
const ROUND_TRIP_STEP: Duration = Duration::from_millis(100);
const STEP: Duration = Duration::from_millis(1_200);

/// How far apart the sequence numbers of one replica are: `synod init` makes every cluster so.
const STRIDE: u64 = 1 << 16;

/// The conditions between two replicas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Conditions {
    /// In each direction. None: no limit.
    pub(super) bytes_per_second: Option<u64>,
    pub(super) round_trip: Duration,
}

impl Conditions {
    pub(super) const NONE: Self = Self { bytes_per_second: None, round_trip: Duration::ZERO };

    fn line(self) -> Line {
        Line { delay: self.round_trip / 2, bytes_per_second: self.bytes_per_second }
    }
}

/// The replicas, which are killed when this is dropped.
pub(super) struct Cluster {
    program: PathBuf,
    layout: Layout,
    logs: Vec<File>,
    processes: Vec<Option<Child>>,
    pairs: Vec<Pair>,
    /// Carries the links, and what clients send at half of the rate.
    pub(super) links: Links,
}

/// The link between two replicas: the first is on its left.
struct Pair {
    replicas: [usize; 2],
    link: Link,
}

impl Cluster {
    /// Starts the replicas. Their links have no limits, so that they find each other soon.
    pub(super) async fn start(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        let mut layout = Layout::make(Some(directory.to_owned()), Some(3), 0, program).await?;
        let links = Links::start()?;
        let mut peers = vec![vec![String::new(); 3]; 3];
        let at = |place: &Place| SocketAddr::from((Ipv4Addr::LOCALHOST, place.peer_port));
        let mut pairs = Vec::new();
        for (left, right) in [(0, 1), (0, 2), (1, 2)] {
            let link = links.link(Line::default());
            peers[left][right] = link.open(Side::Left, at(&layout.places[right]))?.to_string();
            peers[right][left] = link.open(Side::Right, at(&layout.places[left]))?.to_string();
            pairs.push(Pair { replicas: [left, right], link });
        }
        for (id, place) in layout.places.iter_mut().enumerate() {
            peers[id][id] = at(place).to_string();
            let members = peers[id].iter().enumerate();
            let members: Vec<_> = members.map(|(id, address)| format!("{id}={address}")).collect();
            place.peers = members.join(",");
        }
        let log = |place: &Place| {
            let log = File::options().create(true).append(true).open(&place.log);
            log.with_context(|| format!("{} cannot be opened", place.log.display()))
        };
        let logs = layout.places.iter().map(log).collect::<anyhow::Result<_>>()?;
        let processes = vec![None, None, None];
        let mut cluster =
            Self { program: program.to_owned(), layout, logs, processes, pairs, links };
        for id in 0..3 {
            cluster.start_replica(id)?;
        }
        cluster.coordinator().await?;
        Ok(cluster)
    }

    pub(super) fn start_replica(&mut self, id: usize) -> anyhow::Result<()> {
        let command = node_command(&self.program, &self.layout.places[id], &self.logs[id]);
        let process = command.and_then(|mut command| command.spawn());
        self.processes[id] = Some(process.context("a replica could not be started")?);
        Ok(())
    }

    pub(super) async fn stop_replica(&mut self, id: usize) {
        if let Some(process) = self.processes[id].take() {
            stop(process).await;
        }
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        for id in 0..3 {
            self.stop_replica(id).await;
        }
        let directory = self.layout.directory.clone();
        self.layout.end()?;
        let removed = fs::remove_dir_all(&directory);
        removed.with_context(|| format!("{} could not be removed", directory.display()))
    }

    /// Changes all links between replicas.
    pub(super) fn set(&self, conditions: Conditions) {
        self.pairs.iter().for_each(|pair| pair.link.set_lines(conditions.line()));
    }

    /// Changes all links, in steps that the failure detectors follow. A sudden longer round trip would look
    /// like the end of the coordinator.
    pub(super) async fn approach(&self, conditions: Conditions) {
        let Conditions { round_trip, .. } = conditions;
        let steps = round_trip.as_millis().div_ceil(ROUND_TRIP_STEP.as_millis()).max(1);
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        for step in 1..=steps {
            self.set(Conditions { round_trip: round_trip / steps * step, ..conditions });
            sleep(STEP + 2 * round_trip).await;
        }
    }

    /// The bytes on all links, in both directions, so far.
    pub(super) fn carried_bytes(&self) -> u64 {
        let of = |pair: &Pair| Side::BOTH.map(|from| pair.link.carried_bytes(from));
        self.pairs.iter().flat_map(of).sum()
    }

    /// The bytes that have come to this replica so far, on all of its links.
    pub(super) fn bytes_to(&self, replica: usize) -> u64 {
        let to = |pair: &Pair| match pair.replicas {
            [left, _] if left == replica => pair.link.carried_bytes(Side::Right),
            [_, right] if right == replica => pair.link.carried_bytes(Side::Left),
            _ => 0,
        };
        self.pairs.iter().map(to).sum()
    }

    pub(super) fn endpoint(&self, id: usize) -> Endpoint {
        self.layout.places[id].endpoint()
    }

    /// Where a replica takes clients.
    pub(super) fn client_address(&self, id: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.layout.places[id].client_port))
    }

    /// The status of the replicas that answer.
    pub(super) async fn statuses(&self) -> Vec<ReplicaStatus> {
        let endpoints: Vec<_> = self.layout.places.iter().map(Place::endpoint).collect();
        let reports = ask(&endpoints, STATUS_MAX).await;
        reports.into_iter().filter_map(|report| report.status).collect()
    }

    /// The status of one replica, if it answers.
    pub(super) async fn status(&self, id: usize) -> Option<ReplicaStatus> {
        ask(&[self.endpoint(id)], STATUS_MAX).await.pop()?.status
    }

    /// How many elections there have been: the highest promise of a replica says it, if no two
    /// candidates stood at the same time.
    pub(super) async fn elections(&self) -> u64 {
        let statuses = self.statuses().await;
        statuses.iter().map(|status| status.promised.0 / STRIDE).max().unwrap_or(0)
    }

    /// Waits until a replica coordinates and its followers know it.
    pub(super) async fn coordinator(&mut self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + ELECTED_MAX;
        loop {
            self.check()?;
            let statuses = self.statuses().await;
            let coordinator = statuses.iter().find(|it| it.role == Role::Coordinator);
            if let Some(coordinator) = coordinator
                && statuses.iter().all(|it| it.coordinator == Some(coordinator.replica))
            {
                return Ok(coordinator.replica.0.into());
            }
            if Instant::now() >= deadline {
                bail!("no replica coordinates");
            }
            sleep(ASK_AGAIN).await;
        }
    }

    /// Waits until all replicas have committed the same and nothing more comes.
    pub(super) async fn rest(&self, round_trip: Duration) {
        let at_rest = async {
            let mut before = None;
            loop {
                let statuses = self.statuses().await;
                let committed: Vec<_> = statuses.iter().map(|it| it.committed).collect();
                let is_same = committed.windows(2).all(|pair| pair[0] == pair[1]);
                if is_same && before.as_ref() == Some(&committed) {
                    return;
                }
                before = Some(committed);
                sleep(2 * round_trip + Duration::from_millis(200)).await;
            }
        };
        // If it takes longer, the next run begins with that, and shows it.
        let _ = time::timeout(REST_MAX, at_rest).await;
    }

    /// Checks that no replica has ended by itself.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        for (id, process) in self.processes.iter_mut().enumerate() {
            let Some(process) = process else { continue };
            if let Some(status) = process.try_wait().context("a replica cannot be waited for")? {
                let log = fs::read_to_string(&self.layout.places[id].log).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                bail!("r{id} has ended ({status})\n  {last}");
            }
        }
        Ok(())
    }
}
