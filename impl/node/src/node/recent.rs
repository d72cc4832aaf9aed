//! What was committed last, for those who follow the log.
//!
//! A follower that keeps up reads here. It costs no read of the disk and no thread, so any number of
//! followers may keep up. The entries are the ones that the state machine is given: they are shared, not
//! copied. The memory is bounded, and no follower is waited for: one that falls behind reads the disk
//! until it has caught up.
//!
//! Nothing is kept while nobody follows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synod_model::{Delivered, FrameRoom, Slot};
use synod_wire::Value;
use synod_wire::api::Delivery;

/// How many entries are kept: 16,384, a few frames at full speed.
const ENTRIES_MAX: usize = 16_384;

/// How many bytes they have, unless the newest batch alone has more: 16 MiB.
const BYTES_MAX: u64 = 16 << 20;

/// The entries that were committed last, in batches.
#[derive(Debug)]
pub(super) struct RecentDeliveries {
    recent: Mutex<Recent>,
    /// The same as in `recent`, to be looked at without the lock.
    followers: AtomicUsize,
}

#[derive(Debug)]
struct Recent {
    /// None of them is empty, and their slots ascend without gaps.
    batches: VecDeque<Arc<Vec<Delivered<Value>>>>,
    entries: usize,
    entries_max: usize,
    bytes: u64,
    bytes_max: u64,
    followers: usize,
}

impl Default for RecentDeliveries {
    fn default() -> Self {
        Self::with_max(ENTRIES_MAX, BYTES_MAX)
    }
}

impl RecentDeliveries {
    fn with_max(entries_max: usize, bytes_max: u64) -> Self {
        let batches = VecDeque::new();
        let recent = Recent { batches, entries: 0, entries_max, bytes: 0, bytes_max, followers: 0 };
        Self { recent: Mutex::new(recent), followers: AtomicUsize::new(0) }
    }

    /// Takes in what was committed now.
    pub(super) fn publish(&self, delivered: &Arc<Vec<Delivered<Value>>>) {
        let (Some(first), false) = (delivered.first(), self.is_unused()) else {
            return;
        };
        let mut recent = self.recent();
        // While nobody followed, or where the state machine had it already, something was left out.
        if recent.last_slot().is_some_and(|last| last.next() != first.slot) {
            recent.clear();
        }
        recent.entries += delivered.len();
        recent.bytes += bytes_of(delivered);
        recent.batches.push_back(Arc::clone(delivered));
        while recent.batches.len() > 1
            && (recent.entries > recent.entries_max || recent.bytes > recent.bytes_max)
            && let Some(oldest) = recent.batches.pop_front()
        {
            recent.entries -= oldest.len();
            recent.bytes -= bytes_of(&oldest);
        }
    }

    fn is_unused(&self) -> bool {
        self.followers.load(Ordering::Acquire) == 0
    }

    /// The entries from this slot on that have room in one frame, if they are here. A follower whose
    /// client does not read keeps what it has taken, even when it is no longer kept here.
    pub(super) fn from(&self, slot: Slot, mut room: FrameRoom) -> Option<Vec<Delivery>> {
        let batch = {
            let recent = self.recent();
            let is_before = |batch: &Arc<Vec<Delivered<Value>>>| {
                batch.last().is_none_or(|last| last.slot < slot)
            };
            let at = recent.batches.partition_point(is_before);
            Arc::clone(recent.batches.get(at)?)
        };
        let first = batch.first().filter(|first| first.slot <= slot)?;
        let skipped = usize::try_from(slot.above(first.slot)).ok()?;
        let delivery = |it: &Delivered<Value>| {
            let Delivered { slot, entry, verdict } = it.clone();
            Delivery { slot, entry, verdict }
        };
        let from_slot = batch.iter().skip(skipped);
        Some(from_slot.take_while(|it| room.take(it.entry.size_bytes())).map(delivery).collect())
    }

    /// One more follows the log.
    pub(super) fn join(&self) {
        let mut recent = self.recent();
        recent.followers += 1;
        self.followers.store(recent.followers, Ordering::Release);
    }

    /// One follower is gone.
    pub(super) fn leave(&self) {
        let mut recent = self.recent();
        recent.followers -= 1;
        self.followers.store(recent.followers, Ordering::Release);
        if recent.followers == 0 {
            recent.clear();
        }
    }

    /// A thread that panicked with it has left it whole: nothing in here panics half way.
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn last_slot(&self) -> Option<Slot> {
        self.batches.back()?.last().map(|last| last.slot)
    }

    fn clear(&mut self) {
        self.batches.clear();
        self.entries = 0;
        self.bytes = 0;
    }
}

fn bytes_of(delivered: &[Delivered<Value>]) -> u64 {
    delivered.iter().map(|it| it.entry.size_bytes()).sum()
}

#[cfg(test)]
mod tests {
    use synod_model::{Entry, Request, SessionId};

    use super::*;

    fn batch(slots: std::ops::RangeInclusive<u64>) -> Arc<Vec<Delivered<Value>>> {
        let delivered = |slot| Delivered { slot: Slot(slot), entry: Entry::NoOp, verdict: None };
        Arc::new(slots.map(delivered).collect())
    }

    fn slots(recent: &RecentDeliveries, from: u64) -> Option<Vec<u64>> {
        slots_in(recent, from, FrameRoom::new(u64::MAX, u64::MAX))
    }

    fn slots_in(recent: &RecentDeliveries, from: u64, room: FrameRoom) -> Option<Vec<u64>> {
        Some(recent.from(Slot(from), room)?.into_iter().map(|it| it.slot.0).collect())
    }

    #[test]
    fn a_follower_takes_what_is_left_of_a_batch_and_then_the_next() {
        let recent = RecentDeliveries::default();
        recent.join();
        recent.publish(&batch(5..=7));
        recent.publish(&batch(8..=8));
        assert_eq!(slots(&recent, 4), None);
        assert_eq!(slots(&recent, 6), Some(vec![6, 7]));
        assert_eq!(slots(&recent, 8), Some(vec![8]));
        assert_eq!(slots(&recent, 9), None);
    }

    #[test]
    fn a_follower_takes_no_more_than_one_frame_and_at_least_one_entry() {
        let recent = RecentDeliveries::default();
        recent.join();
        let request = |bytes| {
            let value = vec![7; bytes].into();
            Entry::Request(Request { session: SessionId(1), number: 1, answered: 1, value })
        };
        let delivered =
            |(slot, bytes)| Delivered { slot: Slot(slot), entry: request(bytes), verdict: None };
        recent.publish(&Arc::new((1..).zip([1000, 3, 3, 1]).map(delivered).collect()));
        let room = FrameRoom::new(512, 2 * request(3).size_bytes());
        assert_eq!(slots_in(&recent, 1, room), Some(vec![1]));
        assert_eq!(slots_in(&recent, 2, room), Some(vec![2, 3]));
        assert_eq!(slots_in(&recent, 4, room), Some(vec![4]));
        assert_eq!(slots_in(&recent, 2, FrameRoom::new(1, 1000)), Some(vec![2]));
    }

    #[test]
    fn the_oldest_batches_go_and_the_newest_stays_however_large_it_is() {
        let recent = RecentDeliveries::with_max(4, u64::MAX);
        recent.join();
        recent.publish(&batch(1..=2));
        recent.publish(&batch(3..=4));
        recent.publish(&batch(5..=5));
        assert_eq!(slots(&recent, 2), None);
        assert_eq!(slots(&recent, 3), Some(vec![3, 4]));
        recent.publish(&batch(6..=60));
        assert_eq!(slots(&recent, 5), None);
        assert_eq!(slots(&recent, 6).map(|it| it.len()), Some(55));
    }

    #[test]
    fn nothing_is_kept_while_nobody_follows_and_no_gap_is_hidden() {
        let recent = RecentDeliveries::default();
        recent.publish(&batch(1..=2));
        recent.join();
        assert_eq!(slots(&recent, 1), None);
        recent.publish(&batch(3..=3));
        // The state machine had slot 4 already.
        recent.publish(&batch(5..=5));
        assert_eq!((slots(&recent, 3), slots(&recent, 4)), (None, None));
        assert_eq!(slots(&recent, 5), Some(vec![5]));
        recent.leave();
        assert_eq!(slots(&recent, 5), None);
    }
}
