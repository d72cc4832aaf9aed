//! Snapshots: the log is cut behind one's own, and a peer's takes the place of what the log has no more.
//!
//! The shell moves the bytes. The core decides when the log is cut, whose snapshot is fetched, and what
//! follows when it is there.

use alloc::sync::Arc;

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
    pub(super) fn cut(&mut self, handle: Arc<SnapshotHandle>, out: &mut Output<V>) {
        let slot = handle.slot;
        if slot < self.learner.log_starts_at() || slot > self.watermark() {
            return;
        }
        self.learner.cut(&handle);
        self.write_snapshot(handle, out);
    }

    /// Writes the record of a snapshot. It repeats what is promised, because older records may go.
    fn write_snapshot(&mut self, handle: Arc<SnapshotHandle>, out: &mut Output<V>) {
        let promised = self.acceptor.promised();
        self.write(Content::Snapshot { handle, promised }, out);
    }

    /// Whether a snapshot is on its way, for all that is known.
    pub(super) fn waits_for_snapshot(&self) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| catch_up.is_snapshot)
    }

    /// Everything up to the watermark is committed by other means. If the snapshot that is on its way has no
    /// more, what follows may be asked for.
    pub(super) fn end_wait_for_overtaken_snapshot(&mut self) {
        let watermark = self.watermark();
        let is_overtaken = |it: &CatchUp| it.is_snapshot && it.through <= watermark;
        if self.catch_up.as_ref().is_some_and(is_overtaken) {
            self.forget_asks();
        }
    }

    /// Whether the configuration of a snapshot that goes further may come after the one that governs here.
    /// Otherwise it is of another cluster, or forged.
    fn has_configuration_of(&self, handle: &SnapshotHandle) -> bool {
        let (mine, its) = (self.configuration(), &handle.configuration);
        mine.id() < its.id() || mine == its
    }

    /// Tells `peer` that what it asks for is in a snapshot only.
    pub(super) fn offer(&self, peer: ReplicaId, out: &mut Output<V>) {
        let slot = Slot(self.learner.log_starts_at().0 - 1);
        out.send(peer, Message::Offer { slot });
    }
}

impl<V: Value> Replica<V> {
    /// The handle of a snapshot that the application takes now: of everything that was delivered before,
    /// and nothing after. None if the application has more than this log knows to be committed; that ends
    /// soon.
    #[must_use]
    pub fn snapshot_handle(&self) -> Option<Arc<SnapshotHandle>> {
        let common = &self.common;
        common.learner.handle(common.limits()).map(Arc::new)
    }

    /// `from` has what this replica lacks in a snapshot only. So others have committed it, and a
    /// coordinator has been overtaken.
    pub(super) fn take_offer(&mut self, from: ReplicaId, slot: Slot, out: &mut Output<V>) {
        let common = &mut self.common;
        let watermark = common.watermark();
        if slot <= watermark || slot > Slot::MAX {
            return;
        }
        if matches!(self.role, Role::Coordinator(_)) {
            self.role = Role::Follower;
        }
        common.catch_up =
            Some(CatchUp { from, through: slot, doubted_at: watermark, is_snapshot: true });
        out.fetch = Some((from, slot));
    }

    /// The snapshot that was to be fetched does not come, or is of no use. What is lacking is asked for anew: by
    /// a candidate now, and by a follower when its coordinator gives the next order.
    pub(super) fn not_fetched(&mut self, out: &mut Output<V>) {
        if self.common.waits_for_snapshot() {
            self.common.forget_asks();
            self.coordinate_when_elected(out);
        }
    }

    /// A snapshot of `from` is durable here. If it is not newer than what is committed here, nothing
    /// happens.
    ///
    /// What is promised stays, and what is accepted above the snapshot. What is accepted below is not
    /// needed any more: the snapshot has what was chosen there. What was to be acknowledged there is
    /// acknowledged when the record of the snapshot is durable, for the records before it are durable then.
    /// The prefix in the acknowledgement tells the coordinator whether it has the same in these slots.
    pub(super) fn install(
        &mut self,
        from: ReplicaId,
        handle: Arc<SnapshotHandle>,
        out: &mut Output<V>,
    ) {
        let common = &mut self.common;
        let slot = handle.slot;
        if slot <= common.watermark()
            || !handle.is_possible(common.limits())
            || !common.has_configuration_of(&handle)
        {
            return self.not_fetched(out);
        }
        let is_changed = *common.configuration() != handle.configuration;
        let compared = handle.hashes.compare(&common.prefix(), common.constants.limits());
        if let PrefixCompared::Differs { slot } = compared {
            common.note_other_history(from, slot, out);
            return self.not_fetched(out);
        }
        // Others have committed what this one has open, or it would not lag.
        if matches!(self.role, Role::Coordinator(_)) {
            self.role = Role::Follower;
        }
        if common.learner.install(&handle) {
            out.restore = Some(slot);
        }
        let promised = common.acceptor.promised();
        let awaited = common.acceptor.forget_through(slot);
        common.owed.extend(awaited.into_iter().map(|slot| (slot, promised)));
        if is_changed {
            common.configuration_changed(out);
        }
        common.told = common.told.filter(|told| told.through > slot);
        common.catch_up = None;
        common.asks_at_once = true;
        common.write_snapshot(handle, out);
        self.clients.answer_after_snapshot(slot, common.learner.table(), out);
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.forget_committed(slot);
        }
        if is_changed {
            self.end_role_after_change(out);
        }
        self.coordinate_when_elected(out);
    }
}
