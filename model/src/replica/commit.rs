//! Commit: what follows when the next slot is known to be committed.
//!
//! A coordinator commits what a majority has acknowledged, a follower what its coordinator says, and
//! catch-up what a peer has sent. The consequences are the same: the learner delivers the entry, and
//! the replica no longer keeps the submission that the entry is a copy of.

use super::clients::{Clients, Copied};
use super::common::Common;
use crate::acceptor::Held;
use crate::entry::{Entry, Value};
use crate::io::Output;
use crate::numbers::SequenceNumber;
use crate::prefix::EntryDigest;

/// Commits the next slot with `entry`. Says whether that is a change of the members, also one that is refused:
/// then every role is to end.
///
/// `waits_for` is the number of the entry's record if that is not durable yet.
#[must_use]
pub(super) fn commit<V: Value>(
    common: &mut Common<V>,
    clients: &mut Clients<V>,
    entry: Entry<V>,
    digest: EntryDigest,
    waits_for: Option<SequenceNumber>,
    out: &mut Output<V>,
) -> bool {
    let copy = Copied::of(&entry);
    let is_change = matches!(entry, Entry::Change(_));
    let is_delivered = common.watermark().next() > common.learner.delivered();
    let limits = common.constants.limits();
    let is_changed = common.learner.commit(entry, digest, waits_for, limits, out);
    if is_changed {
        common.configuration_changed(out);
    }
    common.told = common.told.filter(|told| told.through > common.learner.watermark());
    common.end_wait_for_overtaken_snapshot();
    if let Some(copy) = copy {
        clients.committed(&copy, is_delivered, common.learner.table(), out);
    }
    is_change
}

/// Commits the next slot with what the acceptor held for it. Says the same.
#[must_use]
pub(super) fn commit_held<V: Value>(
    common: &mut Common<V>,
    clients: &mut Clients<V>,
    held: Held<V>,
    out: &mut Output<V>,
) -> bool {
    let waits_for = if held.durable { None } else { Some(held.s) };
    commit(common, clients, held.entry, held.digest, waits_for, out)
}
