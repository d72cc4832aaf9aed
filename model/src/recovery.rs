//! From what is on the disk to a running replica.
//!
//! The shell reads the newest base and the records after it, and feeds them in one by one. So memory
//! stays bounded however long the log is. Committed entries that the application does not have yet are
//! delivered on the way. What the application has decides only where delivery starts; it makes nothing
//! in the log committed.
//!
//! Once the log was cut, the base is a snapshot, and the log has a record of it. Older records may be gone,
//! or not: those that are left are fed in as well. Of these only the entries above the snapshot count
//! ([`Content::may_be_cut`]).

use alloc::sync::Arc;

use crate::acceptor::Acceptor;
use crate::alone::change_id;
use crate::constants::ClusterConstants;
use crate::entry::Value;
use crate::forming::Incarnation;
use crate::io::Output;
use crate::learner::Learner;
use crate::numbers::{ConfigurationId, ReplicaId, Run, Slot};
use crate::prefix::EntryDigest;
use crate::record::{Base, Content, Record, RecordError, Stored};
use crate::replica::Replica;
use crate::replica::common::Common;
use crate::snapshot::SnapshotHandle;

/// A replica that reads its disk.
#[derive(Clone, Debug)]
pub struct Recovery<V> {
    constants: Arc<ClusterConstants>,
    me: ReplicaId,
    incarnation: Option<Incarnation>,
    run: Run,
    /// What the records amount to, less the committed entries that the learner has.
    base: Base<V>,
    /// Whether the record of the snapshot is still to come, and older ones may.
    is_before_snapshot: bool,
    /// The highest id that a change in the log names, also one that was refused.
    newest_change: ConfigurationId,
    learner: Learner<V>,
}

impl<V: Value> Recovery<V> {
    /// Begins a new run of replica `me`, whose disk starts from `base` and whose application has
    /// everything up to `applied`.
    ///
    /// If the application has less than the snapshot of the base, `out` says that it is to be given the
    /// snapshot ([`Output::restore`]), before anything that is delivered.
    ///
    /// Everything that is fed in must be durable: what survived a killed process may still be only
    /// in the page cache, so the shell syncs before it reads.
    ///
    /// # Errors
    ///
    /// If the base cannot be what a replica wrote.
    pub fn new(
        constants: Arc<ClusterConstants>,
        me: ReplicaId,
        run: Run,
        applied: Slot,
        base: Base<V>,
        out: &mut Output<V>,
    ) -> Result<Self, RecordError> {
        let Base { snapshot, fold } = &base;
        let slot = snapshot.slot;
        if !snapshot.is_possible(constants.limits()) {
            return Err(RecordError::BadSnapshot { slot });
        }
        if fold.watermark < slot {
            return Err(RecordError::Backwards { watermark: fold.watermark });
        }
        if let Some((&slot, _)) = fold.entries.range(..=slot).next() {
            return Err(RecordError::CommittedSlotOverwritten { slot });
        }
        let learner = Learner::new(snapshot, applied);
        if applied < slot {
            out.restore = Some(slot);
        }
        let is_before_snapshot = false;
        let incarnation = None;
        let newest_change = ConfigurationId::NONE;
        let mut recovery = Self {
            constants,
            me,
            incarnation,
            run,
            base,
            is_before_snapshot,
            newest_change,
            learner,
        };
        recovery.deliver(out)?;
        Ok(recovery)
    }

    /// The same for a disk whose log was cut: it starts from a snapshot, of which the log has a record. That
    /// record is fed in, as are those after it, and those before it that are left.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_snapshot(
        constants: Arc<ClusterConstants>,
        me: ReplicaId,
        run: Run,
        applied: Slot,
        snapshot: Arc<SnapshotHandle>,
        out: &mut Output<V>,
    ) -> Result<Self, RecordError> {
        let recovery = Self::new(constants, me, run, applied, Base::behind(snapshot), out)?;
        Ok(Self { is_before_snapshot: true, ..recovery })
    }

    /// Says which data directory this is. A replica whose directory is not the one that is registered takes no part.
    /// Without this, it is the right one.
    #[must_use]
    pub fn of_directory(self, incarnation: Incarnation) -> Self {
        Self { incarnation: Some(incarnation), ..self }
    }

    /// Takes in the next record. It may be that of a snapshot that was installed: then `out` may say that
    /// the application is to be given the snapshot, after what was delivered before and ahead of what is
    /// delivered later.
    ///
    /// # Errors
    ///
    /// If no replica can have written this record after those before it.
    pub fn record(&mut self, record: Record<V>, out: &mut Output<V>) -> Result<(), RecordError> {
        if self.is_before_snapshot {
            if !self.is_of_snapshot(&record) {
                self.take_older(record);
                return Ok(());
            }
            self.is_before_snapshot = false;
            self.base.fold.apply(record)?;
        } else {
            self.base.apply(record)?;
        }
        let snapshot = &self.base.snapshot;
        let slot = snapshot.slot;
        if slot > self.learner.watermark() && self.learner.install(snapshot) {
            out.restore = Some(slot);
        }
        self.learner.cut(snapshot);
        self.deliver(out)?;
        self.learner.forget_through(slot);
        self.learner.snapshot_is_durable(slot, self.constants.limits());
        Ok(())
    }

    /// Whether this is the record of the snapshot that the log starts from.
    fn is_of_snapshot(&self, record: &Record<V>) -> bool {
        matches!(&record.content,
            Content::Snapshot { handle, .. } if handle.slot == self.base.snapshot.slot)
    }

    /// Takes what is needed of a record that is older than that of the snapshot.
    fn take_older(&mut self, record: Record<V>) {
        if let Content::Forgotten(forgotten) = &record.content {
            self.base.fold.forgotten = Some(*forgotten);
        }
        let Base { snapshot, fold } = &mut self.base;
        record.content.put_into(&mut fold.entries, snapshot.slot.next()..);
    }

    fn deliver(&mut self, out: &mut Output<V>) -> Result<(), RecordError> {
        let fold = &mut self.base.fold;
        while self.learner.watermark() < fold.watermark {
            let slot = self.learner.watermark().next();
            let stored = fold.entries.remove(&slot);
            let stored = stored.ok_or(RecordError::CommittedSlotMissing { slot })?;
            self.newest_change = self.newest_change.max(change_id(&stored.entry));
            let digest = EntryDigest::of(&stored.entry);
            self.learner.commit(stored.entry, digest, None, self.constants.limits(), out);
        }
        let slot = self.learner.watermark();
        if self.learner.hashes().hash() != fold.hash {
            return Err(RecordError::OtherPrefix { slot });
        }
        Ok(())
    }

    /// The highest id that a change names, of those that are committed in the log.
    pub(crate) fn newest_change(&self) -> ConfigurationId {
        self.newest_change
    }

    /// The replica as it was when it wrote the last record, with nothing in flight.
    ///
    /// # Errors
    ///
    /// If the log has no record of the snapshot that it starts from.
    pub fn finish(self) -> Result<Replica<V>, RecordError> {
        let Self { constants, me, incarnation, run, base, is_before_snapshot, mut learner, .. } =
            self;
        learner.forget_former();
        let Base { snapshot, fold } = base;
        if is_before_snapshot {
            return Err(RecordError::SnapshotRecordMissing { slot: snapshot.slot });
        }
        let governing = learner.configuration().id();
        let is_unknown = |stored: &Stored<V>| stored.configuration > governing;
        if let Some((&slot, _)) = fold.entries.iter().find(|(_, stored)| is_unknown(stored)) {
            return Err(RecordError::UnknownConfiguration { slot });
        }
        // What was accepted in an older configuration counts for nothing: a change came before its slot.
        let counts = fold.entries.into_iter().filter(|(_, it)| it.configuration == governing);
        let accepted = counts.map(|(slot, stored)| (slot, stored.s, stored.entry));
        let acceptor = Acceptor::recovered(fold.promised, accepted);
        let mut common = Common::new(constants, me, run, acceptor, learner);
        common.incarnation = incarnation;
        common.forgotten.extend(fold.forgotten.map(|forgotten| (me, forgotten)));
        Ok(Replica::new(common))
    }
}
