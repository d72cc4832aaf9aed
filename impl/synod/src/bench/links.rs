//! `synod bench links`: how much of a slow or far link a cluster uses.
//!
//! docs/performance.md says what the numbers mean, and why they mean it.

mod args;
mod bound;
mod catch_up;
mod cluster;
mod goodput;
mod report;

use std::env;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tempfile::TempDir;
use tokio::time::sleep;

pub(super) use args::{ABOUT, LinksArgs};
use cluster::{Cluster, Conditions};
use report::{Report, length, megabytes};

use crate::exit::Exit;
use crate::output::Output;
use crate::signals::Signals;

/// How long the replicas get used to their links before they are measured: 2 s and four round trips.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) async fn links(args: LinksArgs) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let is_json = args.json;
    let mut bench = LinksBench::new(args)?;
    // What was measured before a signal is reported.
    let is_done = bench.run(&mut signals).await?;
    let LinksBench { report, progress, directory, .. } = bench;
    progress.finish();
    directory.close().context("the data of the replicas could not be removed")?;
    let mut output = Output::new();
    if is_json {
        output.line(serde_json::to_string_pretty(&report)?)?;
    } else {
        report.print(&mut output)?;
    }
    output.flush()?;
    Ok(if is_done { Exit::Done } else { Exit::Failed })
}

struct LinksBench {
    args: LinksArgs,
    program: std::path::PathBuf,
    directory: TempDir,
    progress: Progress,
    report: Report,
}

impl LinksBench {
    fn new(args: LinksArgs) -> anyhow::Result<Self> {
        let program = env::current_exe().context("the path of this program cannot be found out")?;
        let parent = args.data_dir.clone().unwrap_or_else(env::temp_dir);
        let made = tempfile::Builder::new().prefix("synod-bench-links-").tempdir_in(&parent);
        let made =
            made.with_context(|| format!("no directory could be made in {}", parent.display()));
        let in_each = args.values.len() + if args.no_catch_up { 0 } else { 2 };
        let runs = args.values.len() + args.rates.len() * args.round_trips.len() * in_each;
        let progress = Progress::begin(runs);
        Ok(Self { args, program, directory: made?, progress, report: Report::default() })
    }

    /// Measures everything. False if a signal came before.
    async fn run(&mut self, signals: &mut Signals) -> anyhow::Result<bool> {
        let mut all = vec![Conditions::NONE];
        for &rate in &self.args.rates {
            let at = |&ms| Conditions {
                bytes_per_second: Some(rate),
                round_trip: Duration::from_millis(ms),
            };
            all.extend(self.args.round_trips.iter().map(at));
        }
        for conditions in all {
            if !self.under(conditions, signals).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Measures a cluster of its own under these conditions: what one run leaves behind, no other meets.
    async fn under(
        &mut self,
        conditions: Conditions,
        signals: &mut Signals,
    ) -> anyhow::Result<bool> {
        let data = self.directory.path().join("cluster");
        let mut cluster = Cluster::start(&self.program, &data).await?;
        let is_done = tokio::select! {
            () = self.measure(&mut cluster, conditions) => true,
            _ = signals.next() => false,
        };
        cluster.stop().await?;
        Ok(is_done)
    }

    async fn measure(&mut self, cluster: &mut Cluster, conditions: Conditions) {
        if conditions != Conditions::NONE {
            cluster.set(conditions);
            sleep(SETTLE + 4 * conditions.round_trip).await;
        }
        let seconds = self.args.seconds;
        for value_bytes in self.args.values.clone() {
            self.progress.next(&format!(
                "{}: values of {}",
                title(conditions),
                length(value_bytes)
            ));
            let it = goodput::measure(cluster, conditions, value_bytes, seconds).await;
            let share = it
                .share_of_bound
                .map_or(String::new(), |share| format!(", {share:.2} of the bound"));
            self.progress.done(
                &format!("{} MB/s{share}", megabytes(it.bytes_per_second)),
                it.error.as_deref(),
            );
            let is_limited = conditions != Conditions::NONE;
            let kept = if is_limited { &mut self.report.goodput } else { &mut self.report.machine };
            kept.push(it);
        }
        let value = self.args.values.first().copied();
        if let (Some(_), Some(value_bytes), false) =
            (conditions.bytes_per_second, value, self.args.no_catch_up)
        {
            for under_load in [false, true] {
                let how = if under_load { "under load" } else { "idle" };
                self.progress.next(&format!("{}: catch-up, {how}", title(conditions)));
                let it = catch_up::measure(cluster, conditions, value_bytes, seconds, under_load);
                let it = it.await;
                self.progress
                    .done(&format!("{:.2} of the link", it.share_of_link), it.error.as_deref());
                self.report.catch_up.push(it);
            }
        }
    }
}

fn title(conditions: Conditions) -> String {
    match conditions.bytes_per_second {
        Some(rate) => {
            let rate = megabytes(super::precise(rate));
            format!("{rate} MB/s, {} ms", conditions.round_trip.as_millis())
        }
        None => "no limits".to_owned(),
    }
}

/// Tells on standard error what is measured and what was: in one line of a terminal, or line by line.
struct Progress {
    bar: ProgressBar,
    runs: usize,
    at: usize,
    what: String,
}

impl Progress {
    fn begin(runs: usize) -> Self {
        let bar = ProgressBar::new(runs as u64);
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
        let style = ProgressStyle::with_template("{pos:>3}/{len} {elapsed:>4}  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_secs(1));
        Self { bar, runs, at: 0, what: String::new() }
    }

    fn next(&mut self, what: &str) {
        self.at += 1;
        what.clone_into(&mut self.what);
        self.bar.set_position(self.at as u64);
        self.bar.set_message(self.what.clone());
    }

    fn done(&self, outcome: &str, error: Option<&str>) {
        let Self { at, runs, what, .. } = self;
        let error = error.map_or(String::new(), |error| format!("; ended early: {error}"));
        let line = format!("{at:>3}/{runs} {what}: {outcome}{error}");
        if self.bar.is_hidden() {
            anstream::eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
