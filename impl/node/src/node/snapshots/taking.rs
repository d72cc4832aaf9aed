//! When the replica takes a snapshot, and when the log is cut behind it.
//!
//! One snapshot is taken at a time. When it is durable, its handle goes to the core, which cuts the log. The
//! handle is held back while a peer is being sent an older snapshot: the peer needs the log behind that one.
//! A peer that takes too long for that loses it, because the disk has an end.
//!
//! A snapshot that somebody saves elsewhere cuts nothing. No record names it, so the next start removes it, and so
//! does the next snapshot that is taken.

use std::sync::Arc;
use std::time::Duration;

use synod_model::{Slot, SnapshotHandle};
use synod_wire::api::{SnapshotTaken, TakeSnapshotError};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use super::SnapshotOptions;
use super::writer::SnapshotWritten;
use crate::peers::snapshots::Sending;
use crate::storage::SnapshotFile;

/// How often a handle that is held back is looked at. 200 ms: a transfer takes seconds.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The way to answer who has ordered a snapshot.
pub(in super::super) type SnapshotReply = oneshot::Sender<Result<SnapshotTaken, TakeSnapshotError>>;

/// The snapshots of this replica.
#[derive(Debug)]
pub(in super::super) struct Taking {
    options: SnapshotOptions,
    /// What is being written, or is on its way to that.
    writing: Option<Purpose>,
    /// The handle of a durable snapshot that waits until the log may be cut behind it.
    held: Option<Arc<SnapshotHandle>>,
    /// Who waits for the next snapshot behind which the log is cut.
    ordered: Vec<SnapshotReply>,
    /// Who waits for the next snapshot, whatever it is for.
    to_save: Vec<SnapshotReply>,
    /// How many bytes of log were written when the last snapshot was begun behind which the log is cut.
    begun_at_bytes: u64,
    /// How many bytes of log were written when a handle was given to the core last.
    cut_at_bytes: u64,
    /// The last slot of the newest durable snapshot.
    newest: Slot,
    /// The last slot of the newest snapshot that the core was told of.
    told_to_core: Slot,
    not_before: Option<Instant>,
    /// The last failure that was told.
    told: Option<String>,
}

/// What a snapshot is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The log is cut behind it.
    Cut,
    /// Somebody saves it elsewhere. The log stays, and so do the values of a bare log.
    Save,
}

impl Taking {
    /// Nothing is under way. `newest` is the last slot of the newest snapshot.
    pub(in super::super) fn new(options: SnapshotOptions, newest: Slot) -> Self {
        Self {
            options,
            writing: None,
            held: None,
            ordered: Vec::new(),
            to_save: Vec::new(),
            begun_at_bytes: 0,
            cut_at_bytes: 0,
            newest,
            told_to_core: newest,
            not_before: None,
            told: None,
        }
    }

    /// Somebody has ordered a snapshot, and that the log is cut behind it. While one is being written for that, that
    /// one will do.
    pub(in super::super) fn order(&mut self, reply: SnapshotReply) {
        self.ordered.push(reply);
    }

    /// Somebody wants to save a snapshot. While one is being written, that one will do.
    pub(in super::super) fn order_to_save(&mut self, reply: SnapshotReply) {
        self.to_save.push(reply);
    }

    /// Whether a snapshot is to be begun. So many bytes of log were written up to now, in all.
    pub(in super::super) fn begins(&self, log_bytes: u64, now: Instant) -> bool {
        if self.writing.is_some() {
            return false;
        }
        let is_due = self.is_due(log_bytes) && self.not_before.is_none_or(|at| now >= at);
        !self.to_save.is_empty() || self.held.is_none() && (!self.ordered.is_empty() || is_due)
    }

    fn is_due(&self, log_bytes: u64) -> bool {
        let bytes = log_bytes.saturating_sub(self.begun_at_bytes);
        self.options.after_log_bytes.is_some_and(|after| bytes >= after)
    }

    /// A snapshot of this handle may be begun. Returns whether it is: there is no other one of this slot.
    pub(in super::super) fn begin(
        &mut self,
        handle: &Arc<SnapshotHandle>,
        file: impl FnOnce(Slot) -> Option<(SnapshotFile, String)>,
        log_bytes: u64,
    ) -> bool {
        let is_to_cut = self.held.is_none() && (!self.ordered.is_empty() || self.is_due(log_bytes));
        let purpose = if is_to_cut { Purpose::Cut } else { Purpose::Save };
        if purpose == Purpose::Cut {
            self.begun_at_bytes = log_bytes;
        }
        if handle.slot == Slot::ZERO {
            self.answer(purpose, || Err(TakeSnapshotError::Empty));
            return false;
        }
        if handle.slot <= self.newest
            && let Some((file, path)) = file(handle.slot)
        {
            self.answer(purpose, || Ok(taken(file, path.clone())));
            if purpose == Purpose::Cut && handle.slot > self.told_to_core {
                // It was taken to be saved.
                self.held = Some(Arc::clone(handle));
            }
            return false;
        }
        self.writing = Some(purpose);
        true
    }

    /// Between these slots there are only snapshots that were taken to be saved. They are of no use once a newer one is
    /// taken: who saves one has it open.
    pub(in super::super) fn superseded(&self, by: Slot) -> (Slot, Slot) {
        let held = self.held.as_ref().map_or(Slot::ZERO, |handle| handle.slot);
        (self.told_to_core.max(held), by)
    }

    /// A snapshot was written, or not. The handle goes to the core [later](Self::release), if the log is to be cut.
    pub(in super::super) fn written(
        &mut self,
        written: SnapshotWritten,
        path: impl FnOnce(Slot) -> String,
        now: Instant,
    ) {
        let SnapshotWritten { handle, outcome } = written;
        let purpose = self.writing.take().unwrap_or(Purpose::Save);
        match outcome {
            Ok(file) => {
                let path = path(file.slot);
                info!(slot = %file.slot, bytes = file.length_bytes, file = path, "a snapshot is durable");
                self.newest = self.newest.max(file.slot);
                if purpose == Purpose::Cut {
                    (self.told, self.not_before) = (None, None);
                    self.held = Some(handle);
                }
                self.answer(purpose, || Ok(taken(file, path.clone())));
            }
            Err(error) => {
                if self.told.as_ref() != Some(&error) {
                    let retry_after_s = self.options.retry_after.as_secs();
                    warn!(slot = %handle.slot, retry_after_s, "no snapshot was taken: {error}");
                }
                if purpose == Purpose::Cut {
                    self.not_before = Some(now + self.options.retry_after);
                    // Due at once, but for that.
                    self.begun_at_bytes = self.cut_at_bytes;
                }
                self.answer(purpose, || Err(TakeSnapshotError::Failed(error.clone())));
                self.told = Some(error);
            }
        }
    }

    /// The handle that may go to the core now, if there is one.
    pub(in super::super) fn release(
        &mut self,
        sending: impl FnOnce() -> Vec<Sending>,
        log_bytes: u64,
    ) -> Option<Arc<SnapshotHandle>> {
        let handle = self.held.as_ref()?;
        let grown = log_bytes.saturating_sub(self.cut_at_bytes);
        if grown < self.options.held_log_bytes_max
            && sending().iter().any(|sending| sending.slot < handle.slot)
        {
            return None;
        }
        self.told_to_core = self.told_to_core.max(handle.slot);
        self.cut_at_bytes = log_bytes;
        self.held.take()
    }

    /// A peer's snapshot of this slot is durable here.
    pub(in super::super) fn fetched(&mut self, slot: Slot) {
        self.newest = self.newest.max(slot);
        self.told_to_core = self.told_to_core.max(slot);
    }

    /// When to look again, if nothing happens until then.
    pub(in super::super) fn next_alarm(&self, now: Instant) -> Option<Instant> {
        if self.held.is_some() {
            return Some(now + LOOK_AGAIN);
        }
        // The log may not grow any more.
        self.not_before.filter(|at| self.writing.is_none() && *at > now)
    }

    fn answer(
        &mut self,
        purpose: Purpose,
        outcome: impl Fn() -> Result<SnapshotTaken, TakeSnapshotError>,
    ) {
        if purpose == Purpose::Cut {
            self.to_save.append(&mut self.ordered);
        }
        for reply in self.to_save.drain(..) {
            // Nobody may wait any more.
            let _ = reply.send(outcome());
        }
    }
}

fn taken(file: SnapshotFile, path: String) -> SnapshotTaken {
    SnapshotTaken { slot: file.slot, bytes: file.length_bytes, file: path }
}

#[cfg(test)]
mod tests {
    use synod_model::{Configuration, ConfigurationId, ReplicaId};

    use super::*;

    const OPTIONS: SnapshotOptions = SnapshotOptions {
        after_log_bytes: Some(100),
        held_log_bytes_max: 1000,
        written_bytes_per_second: 1,
        sent_bytes_per_second: 1,
        retry_after: Duration::from_secs(30),
    };

    fn handle(slot: u64) -> Arc<SnapshotHandle> {
        let members = vec![ReplicaId(0)];
        let configuration = Configuration::new(ConfigurationId(1), members).expect("a member");
        Arc::new(SnapshotHandle { slot: Slot(slot), ..SnapshotHandle::empty(configuration) })
    }

    fn file(slot: u64) -> SnapshotFile {
        SnapshotFile { slot: Slot(slot), length_bytes: 7, checksum: 1 }
    }

    fn write(taking: &mut Taking, slot: u64, outcome: Result<SnapshotFile, String>, now: Instant) {
        let written = SnapshotWritten { handle: handle(slot), outcome };
        taking.written(written, |slot| slot.to_string(), now);
    }

    fn sending(slot: u64) -> Vec<Sending> {
        vec![Sending {
            to: ReplicaId(2),
            slot: Slot(slot),
            sent_bytes: 0,
            bytes: 7,
            is_connected: true,
        }]
    }

    #[test]
    fn a_snapshot_is_due_after_so_many_bytes_and_one_is_taken_at_a_time() {
        let (mut taking, now) = (Taking::new(OPTIONS, Slot::ZERO), Instant::now());
        assert!(!taking.begins(99, now));
        assert!(taking.begins(100, now));
        assert!(taking.begin(&handle(5), |_| None, 100));
        assert!(!taking.begins(1000, now), "one is being written");
        write(&mut taking, 5, Ok(file(5)), now);
        assert!(!taking.begins(1000, now), "it is not cut yet");
        assert_eq!(taking.release(Vec::new, 150), Some(handle(5)));
        assert_eq!(taking.release(Vec::new, 150), None);
        assert!(!taking.begins(199, now));
        assert!(taking.begins(200, now));
    }

    #[test]
    fn an_order_is_answered_when_the_snapshot_is_durable() {
        let (mut taking, now) = (Taking::new(OPTIONS, Slot::ZERO), Instant::now());
        let order = |taking: &mut Taking| {
            let (reply, outcome) = oneshot::channel();
            taking.order(reply);
            outcome
        };
        let mut first = order(&mut taking);
        assert!(taking.begins(0, now));
        assert!(!taking.begin(&handle(0), |_| None, 0));
        assert_eq!(first.try_recv(), Ok(Err(TakeSnapshotError::Empty)));
        let mut second = order(&mut taking);
        assert!(taking.begin(&handle(5), |_| None, 0));
        let mut third = order(&mut taking);
        assert!(second.try_recv().is_err(), "it is not durable yet");
        write(&mut taking, 5, Ok(file(5)), now);
        let taken = SnapshotTaken { slot: Slot(5), bytes: 7, file: "5".to_owned() };
        assert_eq!(
            (second.try_recv(), third.try_recv()),
            (Ok(Ok(taken.clone())), Ok(Ok(taken.clone())))
        );
        assert!(taking.release(Vec::new, 0).is_some());
        // Nothing was committed since.
        let mut fourth = order(&mut taking);
        assert!(taking.begins(0, now));
        assert!(!taking.begin(&handle(5), |_| Some((file(5), "5".to_owned())), 0));
        assert_eq!(fourth.try_recv(), Ok(Ok(taken)));
    }

    /// The log stays as it is, and so does what is known of the next snapshot that is due.
    #[test]
    fn a_snapshot_that_is_saved_cuts_nothing() {
        let (mut taking, now) = (Taking::new(OPTIONS, Slot::ZERO), Instant::now());
        let (reply, mut saved) = oneshot::channel();
        taking.order_to_save(reply);
        assert!(taking.begins(50, now));
        assert!(taking.begin(&handle(5), |_| None, 50));
        write(&mut taking, 5, Ok(file(5)), now);
        assert!(matches!(saved.try_recv(), Ok(Ok(_))));
        assert_eq!(taking.release(Vec::new, 50), None);
        assert_eq!(taking.superseded(Slot(9)), (Slot::ZERO, Slot(9)));
        // It is due as if nothing had been saved. Nothing was committed since, so the file is there.
        assert!(!taking.begins(99, now) && taking.begins(100, now));
        assert!(!taking.begin(&handle(5), |_| Some((file(5), "5".to_owned())), 100));
        assert_eq!(taking.release(Vec::new, 100), Some(handle(5)));
        assert_eq!(taking.superseded(Slot(9)), (Slot(5), Slot(9)));
    }

    /// A slow peer holds up the cut, and nobody who saves.
    #[test]
    fn a_snapshot_can_be_saved_while_a_handle_is_held_back() {
        let (mut taking, now) = (Taking::new(OPTIONS, Slot::ZERO), Instant::now());
        taking.begin(&handle(9), |_| None, 100);
        write(&mut taking, 9, Ok(file(9)), now);
        let (reply, mut saved) = oneshot::channel();
        taking.order_to_save(reply);
        let (reply, mut cut) = oneshot::channel();
        taking.order(reply);
        assert!(taking.begins(100, now));
        assert!(taking.begin(&handle(12), |_| None, 100));
        assert_eq!(taking.superseded(Slot(12)), (Slot(9), Slot(12)), "the one that is held stays");
        write(&mut taking, 12, Ok(file(12)), now);
        assert!(matches!(saved.try_recv(), Ok(Ok(_))));
        assert!(cut.try_recv().is_err(), "the next one is cut behind");
        assert_eq!(taking.release(|| sending(5), 100), None);
        assert_eq!(taking.release(Vec::new, 100), Some(handle(9)));
        assert!(taking.begins(100, now));
        assert!(taking.begin(&handle(13), |_| None, 100));
        write(&mut taking, 13, Ok(file(13)), now);
        assert!(matches!(cut.try_recv(), Ok(Ok(_))));
    }

    #[test]
    fn a_failure_changes_nothing_and_is_tried_again_later() {
        let (mut taking, now) = (Taking::new(OPTIONS, Slot::ZERO), Instant::now());
        assert!(taking.begin(&handle(5), |_| None, 100));
        write(&mut taking, 5, Err("the disk is full".to_owned()), now);
        assert_eq!(taking.release(Vec::new, 100), None);
        assert!(!taking.begins(500, now));
        assert_eq!(taking.next_alarm(now), Some(now + OPTIONS.retry_after));
        assert!(taking.begins(100, now + OPTIONS.retry_after));
        let (reply, _outcome) = oneshot::channel();
        taking.order(reply);
        assert!(taking.begins(100, now), "somebody has made room, perhaps");
    }

    #[test]
    fn a_handle_is_held_back_while_a_peer_is_sent_an_older_snapshot_but_not_for_ever() {
        let (mut taking, now) = (Taking::new(OPTIONS, Slot::ZERO), Instant::now());
        taking.begin(&handle(9), |_| None, 100);
        write(&mut taking, 9, Ok(file(9)), now);
        assert_eq!(taking.release(|| sending(5), 100), None);
        assert_eq!(taking.next_alarm(now), Some(now + LOOK_AGAIN));
        assert_eq!(taking.release(|| sending(5), 999), None);
        assert_eq!(taking.release(|| sending(5), 1000), Some(handle(9)));

        taking.begin(&handle(20), |_| None, 1000);
        write(&mut taking, 20, Ok(file(20)), now);
        assert_eq!(taking.release(|| sending(9), 1000), None);
        assert_eq!(taking.release(|| sending(20), 1000), Some(handle(20)), "it is sent this one");
    }
}
