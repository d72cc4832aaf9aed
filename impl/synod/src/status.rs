//! `synod status`: shows the state of replicas.

mod snapshots;

use std::env;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use futures_util::future::join_all;
use serde::Serialize;
use synod_client::{ConnectError, ConnectTrouble, Endpoint};
use synod_wire::api::{
    Forgotten, Forming, Hang, Membership, OtherHistory, ReplicaStatus, Role, Starting,
};

use super::args::{AllEndpoints, duration};
use super::exit::Exit;
use super::health::Health;
use super::output::Output;

pub(crate) use snapshots::percent;

pub(crate) const CODES: &str = "\
Exit codes:
  0  the cluster works: a coordinator has a majority
  1  no replica answered
  2  the command line is invalid
  3  the cluster does not work: the last line says why
  4  it works, and two replicas have committed different entries";

/// The arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) endpoints: AllEndpoints,
    /// Print one JSON document instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// How long to wait for each replica, such as 2s or 500ms; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

pub(crate) async fn status(args: StatusArgs) -> anyhow::Result<Exit> {
    let reports = ask(&args.endpoints.endpoints(), args.timeout).await;
    let health = Health::of(&reports);
    let mut output = Output::new();
    if args.json {
        output.line(serde_json::to_string_pretty(&reports)?)?;
    } else {
        output.line(table(&reports).trim_fmt())?;
        if let Some(snapshots) = snapshots::table(&reports) {
            output.line(format_args!("\n{}", snapshots.trim_fmt()))?;
        }
        for note in notes(&reports) {
            output.line(note)?;
        }
        output.line(format_args!("\n{health}"))?;
        if let Some(line) = configuration(&reports) {
            output.line(line)?;
        }
    }
    output.flush()?;
    Ok(health.exit())
}

/// The answer of one replica, or why there was none.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) endpoint: String,
    pub(crate) reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// How far it has read its log, while it does nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) starting: Option<Starting>,
    #[serde(flatten)]
    pub(crate) status: Option<ReplicaStatus>,
}

impl Report {
    pub(crate) fn of(endpoint: String, status: ReplicaStatus) -> Self {
        let status = Some(status);
        Self { endpoint, reachable: true, error: None, starting: None, status }
    }

    pub(crate) fn starting(endpoint: String, starting: Starting) -> Self {
        let starting = Some(starting);
        Self { endpoint, reachable: true, error: None, starting, status: None }
    }

    fn unreachable(endpoint: String, error: String) -> Self {
        Self { endpoint, reachable: false, error: Some(error), starting: None, status: None }
    }
}

/// Asks all endpoints at once.
pub(crate) async fn ask(endpoints: &[Endpoint], answer_max: Duration) -> Vec<Report> {
    join_all(endpoints.iter().map(async |endpoint| {
        let text = endpoint.to_string();
        match synod_client::status(endpoint, answer_max).await {
            Ok(status) => Report::of(text, status),
            Err(ConnectError { trouble: ConnectTrouble::Starting(starting), .. }) => {
                Report::starting(text, starting)
            }
            Err(error) => Report::unreachable(text, error.trouble.to_string()),
        }
    }))
    .await
}

fn table(reports: &[Report]) -> Table {
    let header = ["endpoint", "id", "role", "committed", "lag", "log", "memory", "peers"];
    table_of(&header, &["committed", "lag", "log", "memory"], reports.iter().map(row))
}

/// A table whose columns with one of the names in `numbers` are aligned to the right.
pub(crate) fn table_of(
    header: &[&str],
    numbers: &[&str],
    rows: impl Iterator<Item = Vec<Cell>>,
) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty()) {
        table.force_no_tty();
    }
    table.set_header(header);
    table.add_rows(rows);
    for (at, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, 2));
            if numbers.contains(name) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

fn row(report: &Report) -> Vec<Cell> {
    let endpoint = Cell::new(&report.endpoint);
    if let Some(starting) = &report.starting {
        let id = Cell::new(format!("r{}", starting.replica));
        return vec![endpoint, id, Cell::new("starting").fg(Color::Yellow)];
    }
    let Some(status) = &report.status else {
        return vec![endpoint, Cell::new("-"), Cell::new("unreachable").fg(Color::Red)];
    };
    let role = match (&status.forming, status.role) {
        (Forming::Formed, _) if status.membership == Membership::Outside => {
            Cell::new("no member").fg(Color::Yellow)
        }
        (Forming::Formed, _) if status.membership == Membership::Learner => Cell::new("learner"),
        (Forming::Forming { .. }, _) => Cell::new("forming").fg(Color::Yellow),
        (Forming::Formed, Role::Coordinator) => Cell::new("coordinator").fg(Color::Green),
        (Forming::Formed, Role::Follower) => Cell::new(match status.coordinator {
            Some(id) => format!("follows r{id}"),
            None => "follower".to_owned(),
        }),
        (Forming::Formed, role) => Cell::new(role.name()).fg(Color::Yellow),
    };
    let lag = Cell::new(status.lag_slots.map_or("?".to_owned(), |slots| slots.to_string()));
    // Others come and go, and nothing depends on them.
    let members = status.peers.iter().filter(|peer| peer.membership != Membership::Outside);
    let (count, connected) = members.fold((0, 0), |(count, connected), peer| {
        (count + 1, connected + usize::from(peer.connected))
    });
    let peers = Cell::new(format!("{connected}/{count}"));
    vec![
        endpoint,
        Cell::new(format!("r{}", status.replica)),
        role,
        Cell::new(status.committed),
        if status.lag_slots == Some(0) { lag } else { lag.fg(Color::Yellow) },
        Cell::new(ByteSize(status.disk.log_bytes)),
        Cell::new(ByteSize(status.resident_bytes)),
        if connected < count { peers.fg(Color::Yellow) } else { peers },
    ]
}

/// The newest configuration that a replica knows, and who of the others knows an older one.
fn configuration(reports: &[Report]) -> Option<String> {
    let known = || reports.iter().filter_map(|it| it.status.as_ref());
    let newest = known().map(|it| it.configuration).max()?;
    let older = known().filter(|it| it.configuration < newest);
    let older: Vec<_> =
        older.map(|it| format!("r{} knows {}", it.replica, it.configuration.0)).collect();
    let older = if older.is_empty() { String::new() } else { format!("; {}", older.join(", ")) };
    Some(format!("configuration {}{older}", newest.0))
}

/// The errors, the missing members, what hangs, other histories and what disks have lost, which do not fit
/// in a row.
fn notes(reports: &[Report]) -> Vec<String> {
    let mut notes = Vec::new();
    for report in reports {
        let endpoint = &report.endpoint;
        if let Some(error) = &report.error {
            notes.push(format!("{endpoint}: {error}"));
        }
        if let Some(starting) = &report.starting {
            notes.push(format!("{endpoint}: {starting}"));
        }
        if let Some(ReplicaStatus { forming: Forming::Forming { missing }, .. }) = &report.status {
            let missing: Vec<_> = missing.iter().map(|id| format!("r{id}")).collect();
            notes.push(format!("{endpoint}: has not met {}", missing.join(", ")));
        }
        for Hang { resource, no_progress_ms } in report.status.iter().flat_map(|it| &it.hangs) {
            let (what, seconds) = (resource.name(), no_progress_ms / 1000);
            notes.push(format!("{endpoint}: its {what} hangs: no progress for {seconds} s"));
        }
        if let Some(status) = report.status.as_ref().filter(|it| !it.other_histories.is_empty()) {
            let (committed, hash) = (status.committed, status.committed_hash);
            notes.push(format!("{endpoint}: its history up to slot {committed} is {hash}"));
            for OtherHistory { peer, slot } in &status.other_histories {
                notes.push(format!("{endpoint}: r{peer} has another history up to slot {slot}"));
            }
        }
        for forgotten in report.status.iter().flat_map(|it| &it.forgotten) {
            let Forgotten { replica, told_to, sequence_number, slot } = forgotten;
            let what = match slot {
                Some(slot) => format!("slot {slot} under {sequence_number}"),
                None => format!("the promise of {sequence_number}"),
            };
            notes.push(format!(
                "{endpoint}: the disk of r{replica} has lost {what}, told to r{told_to}"
            ));
        }
    }
    if !notes.is_empty() {
        notes.insert(0, String::new());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_model::{
        ConfigurationId, Position, PrefixHash, ReplicaId, Run, SequenceNumber, Slot,
    };
    use synod_wire::api::{
        DiskStatus, PeerStatus, SnapshotProgress, SnapshotStatus, SnapshotTransfer,
    };

    /// One whose numbers are long.
    fn report() -> Report {
        let peer = |id| PeerStatus {
            replica: ReplicaId(id),
            address: String::new(),
            membership: Membership::Voter,
            connected: true,
            dropped: 0,
        };
        let status = ReplicaStatus {
            replica: ReplicaId(4),
            run: Run(1),
            forming: Forming::Formed,
            configuration: ConfigurationId(3),
            membership: Membership::Voter,
            role: Role::Coordinator,
            sequence_number: SequenceNumber(9_999_999),
            coordinator: Some(ReplicaId(4)),
            promised: SequenceNumber(9_999_999),
            committed: Slot(99_999_999),
            committed_hash: PrefixHash(u64::MAX),
            applied: Slot(99_999_999),
            lag_slots: Some(9_999),
            out_of_touch_ms: None,
            hangs: Vec::new(),
            other_histories: vec![OtherHistory { peer: ReplicaId(0), slot: Slot(99_999_999) }],
            forgotten: vec![Forgotten {
                replica: ReplicaId(3),
                told_to: ReplicaId(4),
                sequence_number: SequenceNumber(9_999_999),
                slot: Some(Slot(99_999_999)),
            }],
            disk: DiskStatus { log_bytes: 999 << 30, synced: Position(1), ..DiskStatus::default() },
            snapshots: SnapshotStatus::default(),
            resident_bytes: 999 << 20,
            peers: vec![peer(0), peer(1)],
        };
        Report::of("10.100.0.1:7001".to_owned(), status)
    }

    fn assert_fits(text: &str) {
        let long: Vec<_> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:#?}");
    }

    #[test]
    fn the_table_fits_eighty_columns() {
        let reports = [report()];
        let text = [vec![table(&reports).trim_fmt()], notes(&reports)].concat().join("\n");
        assert!(text.contains("10.100.0.1:7001: r0 has another history up to slot 99999999"));
        assert_fits(&text);
    }

    #[test]
    fn a_learner_and_a_replica_outside_are_shown_and_who_knows_an_older_configuration() {
        let mut reports = [report(), report(), report()];
        for (report, (id, membership, configuration)) in reports.iter_mut().zip([
            (4, Membership::Voter, 3),
            (5, Membership::Learner, 3),
            (6, Membership::Outside, 1),
        ]) {
            let status = report.status.as_mut().expect("its status");
            status.replica = ReplicaId(id);
            status.membership = membership;
            status.configuration = ConfigurationId(configuration);
        }
        let text = table(&reports).trim_fmt();
        assert!(text.contains("coordinator"), "{text}");
        assert!(text.contains("learner"), "{text}");
        assert!(text.contains("no member"), "{text}");
        assert_eq!(configuration(&reports).as_deref(), Some("configuration 3; r6 knows 1"));
        assert_fits(&text);
    }

    #[test]
    fn snapshots_have_a_table_if_there_are_any() {
        let mut reports = [report(), report()];
        assert!(snapshots::table(&reports).is_none());
        let transfer = |peer, transferred_bytes| SnapshotTransfer {
            peer: ReplicaId(peer),
            slot: Slot(99_999_999),
            transferred_bytes,
            bytes: 999 << 20,
        };
        let snapshots = [
            SnapshotStatus {
                newest: Some(Slot(99_990_000)),
                log_starts_at: Slot(98_000_001),
                bytes: 1998 << 20,
                taking: Some(SnapshotProgress { slot: Slot(99_999_998), written_bytes: 7 << 20 }),
                receiving: None,
                sending: vec![transfer(3, 500 << 20)],
            },
            SnapshotStatus {
                log_starts_at: Slot(1),
                receiving: Some(transfer(2, 999 << 19)),
                ..SnapshotStatus::default()
            },
        ];
        for (report, snapshots) in reports.iter_mut().zip(snapshots) {
            report.status.as_mut().expect("its status").snapshots = snapshots;
        }
        let text = snapshots::table(&reports).expect("something to tell").trim_fmt();
        assert_fits(&text);
        let expected = "\
id  snapshot  slots since  log from    bytes  under way
r4  99990000         9999  98000001  2.0 GiB  takes one: 7.0 MiB, to r3: 50 %
r4         -            -         1      0 B  from r2: 50 % of 999.0 MiB";
        assert_eq!(text, expected);
    }
}
