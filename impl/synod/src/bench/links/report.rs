//! The report of `synod bench links`, within 80 columns.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::catch_up::CatchUp;
use super::goodput::Goodput;
use crate::bench::precise;
use crate::output::{Output, OutputError};

/// The goals.
const SHARE_MIN: f64 = 0.8;
const WIRE_RATIO_MAX: f64 = 1.2;

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    /// Without limits: what this machine can do.
    pub(super) machine: Vec<Goodput>,
    pub(super) goodput: Vec<Goodput>,
    pub(super) catch_up: Vec<CatchUp>,
}

impl Report {
    pub(super) fn print(&self, output: &mut Output) -> Result<(), OutputError> {
        output.line("without limits, on this machine")?;
        for it in &self.machine {
            let (value, rate) = (length(it.value_bytes), megabytes(it.bytes_per_second));
            output.line(format_args!("  values of {value:<7} {rate:>6} MB/s"))?;
        }
        output.line(format_args!("\n{}", self.goodput_table().trim_fmt()))?;
        if !self.catch_up.is_empty() {
            output.line(format_args!("\n{}", self.catch_up_table().trim_fmt()))?;
        }
        output.line("")?;
        self.notes().into_iter().try_for_each(|note| output.line(note))
    }

    fn goodput_table(&self) -> Table {
        let rows = self.goodput.iter().map(|it| {
            let is_over =
                it.bound_bytes_per_second.is_some_and(|bound| self.machine_below(it, bound));
            vec![
                rate(it.link_bytes_per_second),
                it.round_trip_ms.to_string(),
                length(it.value_bytes),
                megabytes(it.bytes_per_second),
                it.bound_bytes_per_second.map_or("-".to_owned(), megabytes),
                it.bound_by.name().to_owned(),
                share(it.share_of_bound, if is_over { "*" } else { "" }),
                share(it.wire_ratio, ""),
                it.elections.to_string(),
                it.commits.to_string(),
            ]
        });
        let header = [
            "link MB/s",
            "trip ms",
            "value",
            "goodput",
            "bound",
            "by",
            "share",
            "wire",
            "elections",
            "commits",
        ];
        table(&header, rows)
    }

    /// Whether this machine does less without any limit than the bound.
    fn machine_below(&self, run: &Goodput, bound: f64) -> bool {
        let machine = self.machine.iter().find(|it| it.value_bytes == run.value_bytes);
        machine.is_some_and(|it| it.bytes_per_second < bound)
    }

    fn catch_up_table(&self) -> Table {
        let rows = self.catch_up.iter().map(|it| {
            vec![
                rate(Some(it.link_bytes_per_second)),
                it.round_trip_ms.to_string(),
                length(it.value_bytes),
                if it.under_load { "half" } else { "idle" }.to_owned(),
                it.first_after_seconds.map_or("-".to_owned(), |it| format!("{it:.1}")),
                format!("{:.1}", it.seconds),
                share(Some(it.share_of_link), ""),
                share(it.wire_ratio, ""),
                if it.is_caught_up { "yes" } else { "no" }.to_owned(),
                it.elections.to_string(),
            ]
        });
        let header = [
            "link MB/s",
            "trip ms",
            "value",
            "load",
            "first s",
            "then s",
            "share",
            "wire",
            "caught up",
            "elections",
        ];
        table(&header, rows)
    }

    /// How many runs reach each goal, and what went wrong.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut goal = |name: &str, met: usize, of: usize| {
            if of > 0 {
                let verdict = if met == of { "met" } else { "missed" };
                notes.push(format!("{name:<52} {met:>3} of {of:>3}  {verdict}"));
            }
        };
        let of = self.goodput.len();
        let met = |is: &dyn Fn(&Goodput) -> bool| self.goodput.iter().filter(|it| is(it)).count();
        goal(
            "goodput at least 0.8 of its bound",
            met(&|it| it.share_of_bound.is_some_and(|share| share >= SHARE_MIN)),
            of,
        );
        goal(
            "bytes on the wire at most 1.2 times those needed",
            met(&|it| it.wire_ratio.is_some_and(|ratio| ratio <= WIRE_RATIO_MAX)),
            of,
        );
        goal("no election", met(&|it| it.elections == 0 && it.error.is_none()), of);
        let caught = |it: &&CatchUp| it.is_caught_up && it.share_of_link >= SHARE_MIN;
        let count = self.catch_up.iter().filter(caught).count();
        goal("catch-up at least 0.8 of the link", count, self.catch_up.len());
        if self
            .goodput
            .iter()
            .any(|it| it.bound_bytes_per_second.is_some_and(|bound| self.machine_below(it, bound)))
        {
            notes.push("* without limits, this machine does less than the bound".to_owned());
        }
        let errors = self.goodput.iter().filter_map(|it| it.error.as_ref());
        let errors = errors.chain(self.catch_up.iter().filter_map(|it| it.error.as_ref()));
        let mut counts = BTreeMap::<_, usize>::new();
        for error in errors {
            // The endpoint differs from run to run.
            let line = error.lines().next().unwrap_or_default();
            let what = line.strip_prefix("127.0.0.1:").and_then(|it| it.split_once(": "));
            *counts.entry(what.map_or(line, |it| it.1)).or_default() += 1;
        }
        notes.extend(counts.iter().map(|(error, count)| format!("ended early, {count}: {error}")));
        notes
    }
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn share(share: Option<f64>, mark: &str) -> String {
    share.map_or("-".to_owned(), |share| format!("{share:.2}{mark}"))
}

fn rate(bytes_per_second: Option<u64>) -> String {
    bytes_per_second.map_or("-".to_owned(), |rate| (precise(rate) / 1e6).to_string())
}

/// In MB/s, as precise as it is known.
pub(super) fn megabytes(bytes_per_second: f64) -> String {
    let rate = bytes_per_second / 1e6;
    if rate < 10.0 { format!("{rate:.2}") } else { format!("{rate:.1}") }
}

pub(super) fn length(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", precise(bytes as u64) / 1e3),
        _ => format!("{} MB", precise(bytes as u64) / 1e6),
    }
}
