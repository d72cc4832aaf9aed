//! What the task of the replica publishes: its status, how far the log can be read, and what was
//! committed last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use synod_model::{Configuration, Delivered, Entry, Replica, Resource, Slot, Status, Verdict};
use synod_wire::Value;
use synod_wire::api::{Delivery, Hang};
use tokio::sync::watch;
use tokio::time::Instant;

use super::recent::RecentDeliveries;
use super::snapshots::SnapshotProgress;
use super::verdict_history::VerdictHistory;
use crate::storage::{Log, LogSize};

/// The published state of a running replica.
#[derive(Debug)]
pub(super) struct Shared {
    published: watch::Sender<Published>,
    verdicts: RwLock<VerdictHistory>,
    /// What was committed last.
    pub(super) recent: RecentDeliveries,
    pub(super) counters: Arc<Counters>,
    pub(super) snapshot_progress: Arc<SnapshotProgress>,
}

/// The part that changes with every round of events.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) status: Status,
    /// Everything up to this slot is committed, by what this replica knows and what its peers say.
    pub(super) known_watermark: Slot,
    /// How long the replica has not heard of a coordinator. None while it is one.
    pub(super) silence: Option<PublishedSilence>,
    /// What hangs, and since when it has made no progress.
    pub(super) hanging: Vec<(Resource, Instant)>,
    /// Who the members are.
    pub(super) governing: Governing,
    /// The node has ended.
    pub(super) ended: bool,
}

/// What a replica knows of the newest configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Governing {
    pub(super) configuration: Configuration,
    /// The slot of the change that made it. 0 for the first one.
    pub(super) changed_at: Slot,
    /// Whether a slot after the change is committed. Before that, the former members are still needed.
    pub(super) is_finished: bool,
}

impl Governing {
    /// What `replica` knows.
    pub(super) fn of(replica: &Replica<Value>) -> Self {
        let (configuration, changed_at) = (replica.configuration().clone(), replica.changed_at());
        let is_finished = changed_at == Slot::ZERO || replica.status().watermark > changed_at;
        Self { configuration, changed_at, is_finished }
    }

    /// Takes in what `replica` knows now, which has committed everything up to `watermark`.
    fn renew(&mut self, replica: &Replica<Value>, watermark: Slot) {
        if self.changed_at != replica.changed_at() {
            *self = Self::of(replica);
        }
        self.is_finished = self.changed_at == Slot::ZERO || watermark > self.changed_at;
    }
}

/// How long a replica has not heard of a coordinator that has a majority.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublishedSilence {
    /// It heard of one at this time.
    pub(super) since: Instant,
    /// Until this time, it is no wonder that it has heard nothing.
    pub(super) counts_from: Instant,
}

impl Shared {
    pub(super) fn new(
        replica: &Replica<Value>,
        counters: Arc<Counters>,
        verdicts: VerdictHistory,
    ) -> Self {
        let status = replica.status();
        Self {
            published: watch::Sender::new(Published {
                known_watermark: status.watermark,
                status,
                silence: None,
                hanging: Vec::new(),
                governing: Governing::of(replica),
                ended: false,
            }),
            verdicts: RwLock::new(verdicts),
            recent: RecentDeliveries::default(),
            counters,
            snapshot_progress: Arc::default(),
        }
    }

    /// The first slot that the log has.
    pub(super) fn log_starts_at(&self) -> Slot {
        self.published.borrow().status.log_starts_at
    }

    /// Publishes the status. Followers wake up if the log has become longer.
    pub(super) fn publish(
        &self,
        replica: &Replica<Value>,
        status: &Status,
        known_watermark: Slot,
        silence: Option<PublishedSilence>,
        hanging: impl Iterator<Item = (Resource, Instant)>,
    ) {
        self.published.send_if_modified(|published| {
            let before = (published.status.watermark, published.status.durable);
            let wakes = before != (status.watermark, status.durable);
            published.status.clone_from(status);
            published.governing.renew(replica, status.watermark);
            published.known_watermark = known_watermark;
            published.silence = silence;
            published.hanging.clear();
            published.hanging.extend(hanging);
            wakes
        });
    }

    /// The node has ended.
    pub(super) fn end(&self) {
        self.published.send_modify(|published| published.ended = true);
    }

    pub(super) fn watch(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// For how long the replica has been out of touch with a coordinator that has a majority. None while
    /// it is in touch.
    pub(super) fn out_of_touch(&self) -> Option<Duration> {
        let silence = self.published.borrow().silence?;
        let now = Instant::now();
        (now > silence.counts_from).then(|| now.saturating_duration_since(silence.since))
    }

    /// What hangs now.
    pub(super) fn hangs(&self) -> Vec<Hang> {
        let now = Instant::now();
        let ms = |since| u64::try_from(now.saturating_duration_since(since).as_millis());
        let published = self.published.borrow();
        let hanging = published.hanging.iter().map(|&(resource, since)| Hang {
            resource: resource.into(),
            no_progress_ms: ms(since).unwrap_or(u64::MAX),
        });
        hanging.collect()
    }

    pub(super) fn status(&self) -> (Status, Slot) {
        let published = self.published.borrow();
        (published.status.clone(), published.known_watermark)
    }

    /// The newest configuration that this replica knows.
    pub(super) fn configuration(&self) -> Configuration {
        self.published.borrow().governing.configuration.clone()
    }

    /// Remembers the verdicts of these commits for followers of the log. Commits come in order.
    pub(super) fn note_verdicts(
        &self,
        delivered: &[Delivered<Value>],
        had_already: &[(Slot, Verdict)],
    ) {
        let of_delivered = delivered.iter().filter_map(|it| Some((it.slot, it.verdict?)));
        let all = had_already.iter().copied().chain(of_delivered);
        let mut others = all.filter(|(_, verdict)| *verdict != Verdict::First).peekable();
        if others.peek().is_some() {
            let mut verdicts = self.verdicts.write().unwrap_or_else(PoisonError::into_inner);
            others.for_each(|(slot, verdict)| verdicts.note(slot, verdict));
        }
    }

    /// Adds the verdicts to entries of the log. `Err` holds the first slot whose verdict is still
    /// known.
    pub(super) fn deliveries(
        &self,
        first: Slot,
        entries: Vec<Entry<Value>>,
    ) -> Result<Vec<Delivery>, Slot> {
        let verdicts = self.verdicts.read().unwrap_or_else(PoisonError::into_inner);
        verdicts.deliveries(first, entries)
    }
}

/// What this run has done with the log on disk, and how long the log is.
#[derive(Debug, Default)]
pub(super) struct Counters {
    fdatasyncs: AtomicU64,
    bytes_written: AtomicU64,
    log_bytes: AtomicU64,
    segments: AtomicU64,
    bytes_since_snapshot: AtomicU64,
    /// How often the disk was read for a follower of the log.
    follower_reads: AtomicU64,
}

impl Counters {
    pub(super) fn note_follower_read(&self) {
        self.follower_reads.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn follower_reads(&self) -> u64 {
        self.follower_reads.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn fdatasyncs(&self) -> u64 {
        self.fdatasyncs.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, log: &Log) {
        let LogSize { fdatasyncs, bytes_written, log_bytes, segments, bytes_since_snapshot } =
            log.size();
        self.bytes_since_snapshot.store(bytes_since_snapshot, Ordering::Relaxed);
        self.fdatasyncs.store(fdatasyncs, Ordering::Relaxed);
        self.bytes_written.store(bytes_written, Ordering::Relaxed);
        self.log_bytes.store(log_bytes, Ordering::Relaxed);
        self.segments.store(segments, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> LogSize {
        LogSize {
            fdatasyncs: self.fdatasyncs.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            log_bytes: self.log_bytes.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
            bytes_since_snapshot: self.bytes_since_snapshot.load(Ordering::Relaxed),
        }
    }
}
