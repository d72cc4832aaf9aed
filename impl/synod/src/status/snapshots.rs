//! The table of snapshots: what each replica has, where its log begins, and what is under way.

use bytesize::ByteSize;
use comfy_table::{Cell, Color, Table};
use synod_model::Slot;
use synod_wire::api::{ReplicaStatus, SnapshotProgress, SnapshotStatus, SnapshotTransfer};

use super::{Report, table_of};

/// None if no replica has anything to tell: its log is whole, and it has no snapshot.
pub(super) fn table(reports: &[Report]) -> Option<Table> {
    let statuses = reports.iter().filter_map(|report| report.status.as_ref());
    let mut rows = statuses.filter(|status| tells(&status.snapshots)).map(row).peekable();
    rows.peek()?;
    let header = ["id", "snapshot", "slots since", "log from", "bytes", "under way"];
    Some(table_of(&header, &["snapshot", "slots since", "log from", "bytes"], rows))
}

/// How much of a snapshot has come.
pub(crate) fn percent(transfer: &SnapshotTransfer) -> u64 {
    transfer.transferred_bytes.saturating_mul(100) / transfer.bytes.max(1)
}

fn tells(snapshots: &SnapshotStatus) -> bool {
    let SnapshotStatus { newest, log_starts_at, taking, receiving, sending, .. } = snapshots;
    newest.is_some()
        || *log_starts_at > Slot(1)
        || taking.is_some()
        || receiving.is_some()
        || !sending.is_empty()
}

fn row(status: &ReplicaStatus) -> Vec<Cell> {
    let SnapshotStatus { newest, log_starts_at, bytes, .. } = &status.snapshots;
    let or_none = |number: Option<u64>| number.map_or("-".to_owned(), |it| it.to_string());
    let since = newest.map(|newest| status.committed.0.saturating_sub(newest.0));
    vec![
        Cell::new(format!("r{}", status.replica)),
        Cell::new(or_none(newest.map(|slot| slot.0))),
        Cell::new(or_none(since)),
        Cell::new(log_starts_at),
        Cell::new(ByteSize(*bytes)),
        Cell::new(under_way(&status.snapshots)).fg(Color::Yellow),
    ]
}

fn under_way(snapshots: &SnapshotStatus) -> String {
    let SnapshotStatus { taking, receiving, sending, .. } = snapshots;
    let taking = taking.iter().map(|SnapshotProgress { written_bytes, .. }| {
        format!("takes one: {}", ByteSize(*written_bytes))
    });
    let receiving = receiving
        .iter()
        .map(|it| format!("from r{}: {} % of {}", it.peer, percent(it), ByteSize(it.bytes)));
    let sending = sending.iter().map(|it| format!("to r{}: {} %", it.peer, percent(it)));
    receiving.chain(taking).chain(sending).collect::<Vec<_>>().join(", ")
}
