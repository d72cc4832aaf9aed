//! The report of a benchmark.

use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::output::{Output, OutputError};

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) floors: Floors,
    pub(super) runs: Vec<Run>,
    /// How many bytes each value had.
    pub(super) value_bytes: usize,
    /// Whether this command has started the replicas, on this machine.
    pub(super) own_cluster: bool,
}

/// What no node can be faster than.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Floors {
    /// One fdatasync of a 4 KiB batch.
    pub(super) fdatasync_us: f64,
    /// One message of 256 bytes to another process and back.
    pub(super) loopback_round_trip_us: f64,
    /// One value of 256 bytes through three processes that only pass it on and sync it.
    pub(super) bare_replication_us: f64,
    /// The requests of the same clients, answered by a process that does nothing else.
    pub(super) echo_requests_per_second: f64,
    /// How many clients these were.
    pub(super) echo_clients: usize,
    /// How many connections these clients had.
    pub(super) echo_connections: usize,
}

/// The measurements of one load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    pub(super) clients: usize,
    pub(super) connections: usize,
    pub(super) seconds: f64,
    pub(super) commits: u64,
    pub(super) commits_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) max_us: f64,
    /// Of one replica, on average.
    pub(super) fdatasyncs_per_commit: f64,
    /// Of the log of one replica, on average.
    pub(super) bytes_written_per_commit: f64,
    /// Of the largest replica, at the end.
    pub(super) resident_bytes_max: u64,
    /// Requests that were refused at once, and were submitted again.
    pub(super) not_done: u64,
    /// Requests with an unknown outcome.
    pub(super) unknown: u64,
}

impl Report {
    pub(super) fn print(&self, output: &mut Output) -> Result<(), OutputError> {
        let Floors { fdatasync_us, loopback_round_trip_us, bare_replication_us, .. } = self.floors;
        let echo_requests_per_second = self.floors.echo_requests_per_second;
        let (clients, connections) = (self.floors.echo_clients, self.floors.echo_connections);
        output.line("floors, on this machine")?;
        let floor = |what, us| format!("  {what:<26}  {us:>9.1} us");
        output.line(floor("one fdatasync of 4 KiB", fdatasync_us))?;
        output.line(floor("one round trip on loopback", loopback_round_trip_us))?;
        output.line(floor("a bare replication", bare_replication_us))?;
        output.line(format_args!(
            "  an echo server              {echo_requests_per_second:>9.0} requests/s \
             ({clients} clients on {connections} connections)\n"
        ))?;
        let values = format!("values of {} bytes; latencies in us", self.value_bytes);
        output.line(format_args!("{values}\n{}\n", self.table().trim_fmt()))?;
        for run in &self.runs {
            if run.clients == 1 {
                let of_sum = run.p50_us / (fdatasync_us + 2.0 * loopback_round_trip_us);
                let of_bare = run.p50_us / bare_replication_us;
                output.line(format_args!(
                    "one client: its median is {of_sum:.2} times an fdatasync and two round trips, \
                     and {of_bare:.2} times a bare replication"
                ))?;
            } else {
                let share = 100.0 * run.commits_per_second / echo_requests_per_second;
                output.line(format_args!(
                    "{} clients: {share:.0} % of what the echo server answers",
                    run.clients
                ))?;
            }
            if run.not_done + run.unknown > 0 {
                output.line(format_args!(
                    "{} clients: {} requests were not done, and asked again; {} are unknown",
                    run.clients, run.not_done, run.unknown
                ))?;
            }
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "clients",
            "connections",
            "commits/s",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            "fdatasyncs/commit",
            "bytes/commit",
            "memory",
        ]);
        for run in &self.runs {
            let us = |us: f64| format!("{us:.0}");
            table.add_row([
                run.clients.to_string(),
                run.connections.to_string(),
                format!("{:.0}", run.commits_per_second),
                us(run.p50_us),
                us(run.p90_us),
                us(run.p99_us),
                us(run.p999_us),
                us(run.max_us),
                format!("{:.3}", run.fdatasyncs_per_commit),
                format!("{:.0}", run.bytes_written_per_commit),
                ByteSize(run.resident_bytes_max).to_string(),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

/// A duration in microseconds, to a tenth.
pub(super) fn microseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 10.0
}
