//! From what is on the disk to a running replica.
//!
//! The shell reads the newest base and the records after it, and feeds them in one by one. So memory
//! stays bounded however long the log is. Committed entries that the application does not have yet are
//! delivered on the way. What the application has decides only where delivery starts; it makes nothing
//! in the log committed.

use alloc::sync::Arc;

use crate::acceptor::Acceptor;
use crate::configuration::Configuration;
use crate::constants::ClusterConstants;
use crate::entry::Value;
use crate::io::Output;
use crate::learner::Learner;
use crate::numbers::{ReplicaId, Run, Slot};
use crate::prefix::EntryDigest;
use crate::record::{Base, Content, Fold, Record, RecordError};
use crate::replica::Replica;
use crate::replica::common::Common;

/// A replica that reads its disk.
#[derive(Clone, Debug)]
pub struct Recovery<V> {
    constants: Arc<ClusterConstants>,
    configuration: Configuration,
    me: ReplicaId,
    run: Run,
    /// What the records amount to, less the committed entries that the learner has.
    fold: Fold<V>,
    learner: Learner<V>,
}

impl<V: Value> Recovery<V> {
    /// Begins a new run of replica `me`, whose disk starts from `base` and whose application has
    /// everything up to `applied`.
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
        let Base { configuration, snapshot, hashes, table, fold } = base;
        if fold.watermark < snapshot {
            return Err(RecordError::Backwards { watermark: fold.watermark });
        }
        if let Some((&slot, _)) = fold.entries.range(..=snapshot).next() {
            return Err(RecordError::CommittedSlotOverwritten { slot });
        }
        if applied < snapshot {
            return Err(RecordError::ApplicationBehindSnapshot { applied, snapshot });
        }
        let table = Arc::unwrap_or_clone(table);
        let learner = Learner::new(snapshot, hashes, table, applied);
        let mut recovery = Self { constants, configuration, me, run, fold, learner };
        recovery.deliver(out)?;
        Ok(recovery)
    }

    /// Takes in the next record.
    ///
    /// # Errors
    ///
    /// If no replica can have written this record after those before it.
    pub fn record(&mut self, record: Record<V>, out: &mut Output<V>) -> Result<(), RecordError> {
        let Content::Snapshot { handle, .. } = &record.content else {
            self.fold.apply(record)?;
            return self.deliver(out);
        };
        let handle = handle.clone();
        let (slot, applied) = (handle.slot, self.learner.applied());
        if slot > self.learner.watermark() {
            if applied < slot {
                return Err(RecordError::ApplicationBehindSnapshot { applied, snapshot: slot });
            }
            (self.fold.watermark, self.fold.hash) = (slot, handle.hash());
            self.configuration = handle.configuration.clone();
            self.learner.install(handle);
        }
        self.fold.entries = self.fold.entries.split_off(&slot.next());
        self.fold.apply(record)?;
        self.deliver(out)?;
        self.learner.forget_through(slot);
        Ok(())
    }

    fn deliver(&mut self, out: &mut Output<V>) -> Result<(), RecordError> {
        while self.learner.watermark() < self.fold.watermark {
            let slot = self.learner.watermark().next();
            let stored = self.fold.entries.remove(&slot);
            let stored = stored.ok_or(RecordError::CommittedSlotMissing { slot })?;
            let digest = EntryDigest::of(&stored.entry);
            self.learner.commit(stored.entry, digest, None, self.constants.limits(), out);
        }
        let slot = self.learner.watermark();
        if self.learner.hashes().hash() != self.fold.hash {
            return Err(RecordError::OtherPrefix { slot });
        }
        Ok(())
    }

    /// The replica as it was when it wrote the last record, with nothing in flight.
    #[must_use]
    pub fn finish(self) -> Replica<V> {
        let Self { constants, configuration, me, run, fold, learner } = self;
        let accepted =
            fold.entries.into_iter().map(|(slot, stored)| (slot, stored.s, stored.entry));
        let acceptor = Acceptor::recovered(fold.promised, accepted);
        let mut common = Common::new(constants, configuration, me, run, acceptor, learner);
        common.forgotten.extend(fold.forgotten.map(|forgotten| (me, forgotten)));
        Replica::new(common)
    }
}
