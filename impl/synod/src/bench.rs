//! `synod bench`: how fast a cluster is, and how fast this machine could be at best.
//!
//! A number says little by itself: it depends on the disk, the machine and the day. So a run measures
//! floors as well: the time of one fdatasync, the time of one round trip, the time of a value through
//! three processes that only pass it on and sync it, and the number of requests that a process answers
//! to the same clients if it does nothing else.

mod args;
mod bare;
mod echo;
mod floors;
mod helper;
mod links;
mod load;
mod progress;
mod report;
mod target;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use synod_client::Endpoint;
use synod_wire::api::ReplicaStatus;
use tokio::sync::mpsc;
use tokio::time::{self, Instant};

use super::exit::{Exit, UsageError};
use super::local::{Layout, Members, Place, coordinator};
use super::output::Output;
use super::signals::Signals;
use super::status::ask;
use args::BenchCommand;
pub(crate) use args::{ABOUT, BenchArgs, CODES};
pub(crate) use bare::{BareArgs, bare};
pub(crate) use echo::echo;
use load::{Clients, Load, Measured};
use progress::Bar;
use report::{Floors, Report, Run, microseconds};

/// How long a load runs before it is measured: 1 s, or as long as it is measured if that is shorter.
/// After that, connections and caches are warm.
const WARM_UP_MAX: Duration = Duration::from_secs(1);

/// How long the echo server is measured: 2 s, or as long as a run if that is shorter.
const ECHO_MAX: Duration = Duration::from_secs(2);

/// How long the replicas may take to elect a coordinator: 30 s.
const READY_MAX: Duration = Duration::from_secs(30);

/// How long a replica may take to report its status: 5 s, because it is busy.
const STATUS_MAX: Duration = Duration::from_secs(5);

/// The loads that are measured by default: this many clients, on as many connections.
const CLIENTS: [usize; 2] = [1, 256];

pub(crate) async fn bench(mut args: BenchArgs) -> anyhow::Result<Exit> {
    if let Some(BenchCommand::Links(links)) = args.command.take() {
        return links::links(links).await;
    }
    if let (Some(clients), Some(connections)) = (args.clients, args.connections)
        && clients < connections
    {
        return Err(UsageError(format!(
            "--connections {connections} is more than --clients {clients}\n  \
             a client has one connection, alone or with others"
        ))
        .into());
    }
    let mut signals = Signals::with_hangup()?;
    let program = env::current_exe().context("the path of this program cannot be found out")?;
    let bench = Bench { args, program };
    let report = if bench.args.endpoints.is_empty() {
        bench.on_own_cluster(&mut signals).await?
    } else {
        tokio::select! {
            report = bench.on_endpoints() => Some(report?),
            _ = signals.next() => None,
        }
    };
    let Some(report) = report else {
        bail!("stopped before anything was measured to the end");
    };
    let mut output = Output::new();
    if bench.args.json {
        output.line(serde_json::to_string_pretty(&report)?)?;
    } else {
        report.print(&mut output)?;
    }
    output.flush()?;
    Ok(Exit::Done)
}

struct Bench {
    args: BenchArgs,
    program: PathBuf,
}

impl Bench {
    async fn on_endpoints(&self) -> anyhow::Result<Report> {
        let directory = self.temporary()?;
        anstream::eprintln!(
            "warning: this writes to the cluster at --endpoints: its values stay in that log for ever"
        );
        // First, because the floors take a while, and a mistyped endpoint should be reported at once.
        target::coordinator(&self.args.endpoints).await?;
        let floors = self.floors(directory.path()).await?;
        let report = self.runs(&self.args.endpoints, directory.path(), floors).await?;
        directory.close().context("a temporary directory could not be removed")?;
        Ok(report)
    }

    /// Measures three replicas of its own. None if a signal came.
    async fn on_own_cluster(&self, signals: &mut Signals) -> anyhow::Result<Option<Report>> {
        let directory = self.temporary()?;
        let data = directory.path().join("cluster");
        let begun = async {
            let layout = Layout::make(Some(data), Some(3), 0, &self.program).await?;
            // Measured before there are other processes that use the disk.
            let floors = self.floors(&layout.directory).await?;
            anyhow::Ok((layout, floors))
        };
        let (layout, floors) = tokio::select! {
            begun = begun => begun?,
            _ = signals.next() => return Ok(None),
        };
        let (events, mut happens) = mpsc::unbounded_channel();
        let members = Members::start(&self.program, &layout.places, &events)?;
        let endpoints: Vec<_> = layout.places.iter().map(Place::endpoint).collect();
        let ended = async {
            let mut started = 0;
            loop {
                match happens.recv().await {
                    Some(event) if event.is_start() && started < layout.places.len() => {
                        started += 1;
                    }
                    Some(event) if event.is_start() => {}
                    Some(event) => return event.to_string(),
                    None => std::future::pending().await,
                }
            }
        };
        let report = tokio::select! {
            report = self.runs(&endpoints, &layout.directory, floors) => Some(report),
            ended = ended => Some(Err(anyhow::anyhow!(what_ended(&layout, &ended)))),
            _ = signals.next() => None,
        };
        members.stop().await;
        layout.end()?;
        directory.close().context("the data of the replicas could not be removed")?;
        report.transpose()
    }

    /// A directory to sync in: in the given one, or else in the directory for temporary files, or in the
    /// current one if that one is in memory.
    fn temporary(&self) -> anyhow::Result<tempfile::TempDir> {
        let parent = match &self.args.data_dir {
            Some(parent) => parent.clone(),
            None if floors::is_in_memory(&env::temp_dir()) => PathBuf::from("."),
            None => env::temp_dir(),
        };
        if floors::is_in_memory(&parent) {
            anstream::eprintln!(
                "warning: {} is in memory, so syncing costs nothing there; choose a disk with --data-dir",
                parent.display()
            );
        }
        let made = tempfile::Builder::new().prefix("synod-bench-").tempdir_in(&parent);
        made.with_context(|| format!("no directory could be made in {}", parent.display()))
    }

    /// The numbers of clients and connections to measure.
    fn shapes(&self) -> Vec<(usize, usize)> {
        let BenchArgs { clients, connections, .. } = self.args;
        match (clients, connections) {
            (None, None) => CLIENTS.map(|clients| (clients, clients)).to_vec(),
            (Some(clients), None) => vec![(clients, clients)],
            (None, Some(connections)) => vec![(connections, connections)],
            (Some(clients), Some(connections)) => vec![(clients, connections)],
        }
    }

    fn warm_up(&self) -> Duration {
        self.args.seconds.min(WARM_UP_MAX)
    }

    fn load(&self, endpoints: &[Endpoint], (clients, connections): (usize, usize)) -> Load {
        let (endpoints, value_bytes) = (endpoints.to_vec(), self.args.value_bytes);
        Load { endpoints, clients, connections, value_bytes }
    }

    async fn floors(&self, directory: &Path) -> anyhow::Result<Floors> {
        let fdatasync = floors::fdatasync(directory).await?;
        let echo = echo::Echo::start(&self.program).await?;
        let loopback_round_trip = floors::round_trip(&echo.raw).await?;
        let bare_replication = bare::replication(&self.program, directory).await?;
        let shape = self.shapes().into_iter().max().unwrap_or((1, 1));
        let load = self.load(std::slice::from_ref(&echo.endpoint), shape);
        let clients = Clients::connect(&load).await?;
        let (warm_up, takes) = (self.warm_up(), self.args.seconds.min(ECHO_MAX));
        let bar = Bar::begin("echo server", warm_up + takes, clients.answered());
        clients.begin(warm_up, takes);
        let measured = clients.end().await?;
        drop(bar);
        echo.stop().await;
        Ok(Floors {
            fdatasync_us: microseconds(fdatasync),
            loopback_round_trip_us: microseconds(loopback_round_trip),
            bare_replication_us: microseconds(bare_replication),
            echo_requests_per_second: measured.per_second().round(),
            echo_clients: shape.0,
            echo_connections: shape.1,
        })
    }

    async fn runs(
        &self,
        endpoints: &[Endpoint],
        directory: &Path,
        mut floors: Floors,
    ) -> anyhow::Result<Report> {
        let mut runs = Vec::new();
        for shape in self.shapes() {
            let coordinator = self.coordinator(endpoints).await?;
            // A replica that does not coordinate would only pass requests on.
            let targets =
                if self.args.spread { endpoints } else { std::slice::from_ref(&coordinator) };
            runs.push(self.run(endpoints, &self.load(targets, shape)).await?);
        }
        // The speed of a disk varies, and a floor is the best that it does.
        let again = microseconds(floors::fdatasync(directory).await?);
        floors.fdatasync_us = floors.fdatasync_us.min(again);
        let own_cluster = self.args.endpoints.is_empty();
        Ok(Report { floors, runs, value_bytes: self.args.value_bytes, own_cluster })
    }

    async fn coordinator(&self, endpoints: &[Endpoint]) -> anyhow::Result<Endpoint> {
        if !self.args.endpoints.is_empty() {
            return target::coordinator(endpoints).await;
        }
        // The replicas have only just been started.
        let ready = time::timeout(READY_MAX, coordinator(endpoints)).await;
        let late = || format!("no replica coordinates after {} s", READY_MAX.as_secs());
        ready.map(|(_, endpoint)| endpoint).with_context(late)
    }

    async fn run(&self, endpoints: &[Endpoint], load: &Load) -> anyhow::Result<Run> {
        let (warm_up, takes) = (self.warm_up(), self.args.seconds);
        let mut clients = Clients::connect(load).await?;
        let name = if load.clients == 1 {
            "1 client".to_owned()
        } else {
            format!("{} clients", load.clients)
        };
        let bar = Bar::begin(&name, warm_up + takes, clients.answered());
        clients.begin(warm_up, takes);
        let counted = async {
            let began = Instant::now();
            time::sleep_until(began + warm_up).await;
            let before = Counters::ask(endpoints).await?;
            time::sleep_until(began + warm_up + takes).await;
            anyhow::Ok((before, Counters::ask(endpoints).await?))
        };
        let (before, after) = tokio::select! {
            counted = counted => counted?,
            error = clients.failed() => return Err(error),
        };
        let measured = clients.end().await?;
        drop(bar);
        Ok(summary(load, &measured, &before, &after))
    }
}

/// The error when a replica has ended, with the last lines of each log, which goes with the data.
fn what_ended(layout: &Layout, ended: &str) -> String {
    let mut text = format!("a replica has ended\n  {ended}");
    for place in &layout.places {
        let log = fs::read_to_string(&place.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        for line in lines.into_iter().rev() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  r{}: {line}", place.id);
        }
    }
    text
}

fn summary(load: &Load, measured: &Measured, before: &Counters, after: &Counters) -> Run {
    let per_commit = |of: fn(&Counters) -> u64| {
        // The average of the replicas, per entry that was committed in the same time.
        let count = after.replicas * after.committed.saturating_sub(before.committed).max(1);
        precise(of(after).saturating_sub(of(before))) / precise(count)
    };
    Run {
        clients: load.clients,
        connections: load.connections,
        seconds: measured.elapsed.as_secs_f64(),
        commits: measured.latencies.len(),
        commits_per_second: measured.per_second().round(),
        p50_us: microseconds(measured.quantile(0.5)),
        p90_us: microseconds(measured.quantile(0.9)),
        p99_us: microseconds(measured.quantile(0.99)),
        p999_us: microseconds(measured.quantile(0.999)),
        max_us: microseconds(measured.max()),
        fdatasyncs_per_commit: (per_commit(|it| it.fdatasyncs) * 1e4).round() / 1e4,
        bytes_written_per_commit: per_commit(|it| it.bytes_written).round(),
        resident_bytes_max: after.resident_bytes_max,
        not_done: measured.not_done,
        unknown: measured.unknown,
    }
}

/// A count as a divisor. No count here comes near 2^53, above which this would round.
#[allow(clippy::cast_precision_loss)]
fn precise(count: u64) -> f64 {
    count as f64
}

/// The counters of all replicas together.
#[derive(Debug, Default)]
struct Counters {
    replicas: u64,
    fdatasyncs: u64,
    bytes_written: u64,
    /// The highest of all replicas.
    committed: u64,
    resident_bytes_max: u64,
}

impl Counters {
    async fn ask(endpoints: &[Endpoint]) -> anyhow::Result<Self> {
        let mut counters = Self::default();
        for report in ask(endpoints, STATUS_MAX).await {
            let endpoint = report.endpoint;
            let status = report.status.with_context(|| format!("{endpoint} does not answer"))?;
            let ReplicaStatus { disk, committed, resident_bytes, .. } = status;
            counters.replicas += 1;
            counters.fdatasyncs += disk.fdatasyncs;
            counters.bytes_written += disk.bytes_written;
            counters.committed = counters.committed.max(committed.0);
            counters.resident_bytes_max = counters.resident_bytes_max.max(resident_bytes);
        }
        Ok(counters)
    }
}
