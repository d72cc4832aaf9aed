//! How a replica of the cluster starts from its disk, and what its application is given on the way.

use std::sync::Arc;

use synod_model::{ClusterConstants, Content, Delivered, Output, Record, Recovery, Replica, Slot};

use super::{Node, V};

/// What an application is given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    /// The snapshot up to this slot.
    Snapshot(Slot),
    Entry(Delivered<V>),
}

impl Given {
    /// The last slot that the application has then.
    pub(crate) fn slot(&self) -> Slot {
        match self {
            Self::Snapshot(slot) => *slot,
            Self::Entry(delivered) => delivered.slot,
        }
    }

    /// Takes what an application is given in one step.
    fn take(out: &mut Output<V>) -> impl Iterator<Item = Self> {
        let snapshot = out.restore.take().map(Self::Snapshot);
        snapshot.into_iter().chain(out.delivered.drain(..).map(Self::Entry))
    }
}

/// Recovers a replica from the first `written` records of `node`. The first `folded` of them are
/// folded into a base.
pub(crate) fn recover(
    constants: &Arc<ClusterConstants>,
    node: &Node,
    folded: usize,
    written: usize,
) -> (Replica<V>, Vec<Given>) {
    let mut out = Output::default();
    let base = node.disk.base_after(folded);
    let recovery =
        Recovery::new(Arc::clone(constants), node.id, node.run, node.applied, base, &mut out);
    let recovery = recovery.expect("a possible base");
    read(recovery, node.disk.records()[folded..written].iter(), out)
}

/// Recovers a replica from the newest snapshot among the first `written` records of `node`, and what is left
/// of them: of the older records that may be cut, `is_left` says which. `None` if there is no snapshot.
pub(crate) fn recover_from_snapshot(
    constants: &Arc<ClusterConstants>,
    node: &Node,
    written: usize,
    is_left: impl Fn(usize) -> bool,
) -> Option<(Replica<V>, Vec<Given>)> {
    let records = &node.disk.records()[..written];
    let snapshot = |record: &Record<V>| match &record.content {
        Content::Snapshot { handle, .. } => Some(Arc::clone(handle)),
        _ => None,
    };
    let newest = records.iter().rposition(|record| snapshot(record).is_some())?;
    let handle = snapshot(&records[newest])?;
    let slot = handle.slot;
    let mut out = Output::default();
    let (me, run, applied) = (node.id, node.run, node.applied);
    let recovery =
        Recovery::from_snapshot(Arc::clone(constants), me, run, applied, handle, &mut out);
    let left = records.iter().enumerate().filter(|(index, record)| {
        *index >= newest || !record.content.may_be_cut(slot) || is_left(*index)
    });
    Some(read(recovery.expect("a possible snapshot"), left.map(|(_, record)| record), out))
}

/// Reads `records`.
fn read<'a>(
    mut recovery: Recovery<V>,
    records: impl Iterator<Item = &'a Record<V>>,
    mut out: Output<V>,
) -> (Replica<V>, Vec<Given>) {
    let mut given: Vec<_> = Given::take(&mut out).collect();
    for record in records {
        recovery.record(record.clone(), &mut out).expect("a possible record");
        given.extend(Given::take(&mut out));
    }
    (recovery.finish().expect("a whole log"), given)
}
