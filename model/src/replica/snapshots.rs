//! Snapshots: the log is cut behind one's own, and a peer's takes the place of what the log has no more.
//!
//! The shell moves the bytes. The core decides when the log is cut, whose snapshot is fetched, and what
//! follows when it is there.

use super::catch_up::CatchUp;
use super::common::Common;
use super::{Replica, Role};
use crate::entry::Value;
use crate::io::Output;
use crate::message::Message;
use crate::numbers::{ReplicaId, Slot};
use crate::prefix::PrefixCompared;
use crate::record::Content;
use crate::snapshot::SnapshotHandle;

impl<V: Value> Common<V> {
    /// The application's snapshot of `handle` is durable. A later one may be already: then nothing
    /// happens.
    pub(super) fn cut(&mut self, handle: SnapshotHandle, out: &mut Output<V>) {
        let slot = handle.slot;
        if slot < self.learner.log_starts_at() || slot > self.watermark() {
            return;
        }
        self.learner.cut(slot);
        self.write_snapshot(handle, out);
    }

    fn write_snapshot(&mut self, handle: SnapshotHandle, out: &mut Output<V>) {
        let promised = self.acceptor.promised();
        self.write(Content::Snapshot { handle, promised }, out);
    }

    /// Tells `peer` that what it asks for is in a snapshot only.
    pub(super) fn offer(&self, peer: ReplicaId, out: &mut Output<V>) {
        let slot = Slot(self.learner.log_starts_at().0 - 1);
        out.send(peer, Message::Offer { slot });
    }
}

impl<V: Value> Replica<V> {
    /// The handle of a snapshot that the application takes now: it is to be given everything that was
    /// delivered before, and nothing after. None if the application has more than this log knows to be
    /// committed; that ends soon.
    #[must_use]
    pub fn snapshot_handle(&self) -> Option<SnapshotHandle> {
        let common = &self.common;
        common.learner.handle(&common.configuration)
    }

    /// `from` has what this replica lacks in a snapshot only. So others have committed it, and a
    /// coordinator has been overtaken.
    pub(super) fn take_offer(&mut self, from: ReplicaId, slot: Slot, out: &mut Output<V>) {
        let common = &mut self.common;
        if slot <= common.watermark() || slot > Slot::MAX {
            return;
        }
        if matches!(self.role, Role::Coordinator(_)) {
            self.role = Role::Follower;
        }
        common.catch_up = Some(CatchUp {
            from,
            through: slot,
            doubted_at: common.watermark(),
            is_snapshot: true,
        });
        out.fetch = Some((from, slot));
    }

    /// A peer's snapshot is durable here. If it is not newer than what is committed here, nothing happens.
    pub(super) fn install(&mut self, handle: SnapshotHandle, out: &mut Output<V>) {
        let common = &mut self.common;
        let slot = handle.slot;
        let continues = handle.hashes.compare(&common.prefix(), common.constants.limits());
        if slot <= common.watermark() || matches!(continues, PrefixCompared::Differs { .. }) {
            return;
        }
        // Others have committed what this one has open, or it would not lag.
        if matches!(self.role, Role::Coordinator(_)) {
            self.role = Role::Follower;
        }
        common.learner.install(handle.clone());
        common.acceptor.forget_through(slot);
        common.owed = common.owed.split_off(&slot.next());
        common.told = common.told.filter(|told| told.through > slot);
        common.catch_up = common.catch_up.take().filter(|catch_up| catch_up.through > slot);
        common.write_snapshot(handle, out);
        out.restore = Some(slot);
        self.clients.answer_after_snapshot(common.learner.table(), out);
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.forget_committed(slot);
        }
        self.coordinate_when_elected(out);
    }
}
