//! Which part of the log holds which slots.
//!
//! The log is written in the order of time. That is nearly the order of slots, but not quite: an entry
//! may be accepted again under a later number, and catch-up fills gaps. So the index divides the log
//! into *stretches* of some 256 KiB. For each stretch it keeps the place, and the lowest and the highest
//! slot that has a record there. That is 56 bytes for 256 KiB, or 0.02 %.
//!
//! Two more numbers make a search short: the highest slot in this stretch and all before it, and the
//! lowest in this stretch and all after it. Neither number falls from one stretch to the next. So two
//! binary searches find the range of stretches that can have a given slot.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use synod_model::{Slot, SlotRange};

use super::segment::Place;

/// The length of a stretch, unless a single batch is longer. A reader of one slot reads this much.
/// 256 KiB: that takes a disk little longer than the smallest read, and a peer that lags asks for the
/// next slots anyway.
pub(super) const STRETCH_BYTES: u64 = 256 << 10;

/// A piece of the log, within one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) place: Place,
    pub(super) length_bytes: u64,
    pub(super) slots: SlotRange,
    /// The highest slot in this stretch and all before it.
    highest_up_to: Slot,
    /// The lowest slot in this stretch and all after it.
    lowest_from: Slot,
}

#[derive(Debug)]
pub(super) struct Index {
    stretches: VecDeque<Stretch>,
    stretch_bytes: u64,
    /// A snapshot has what was forgotten, which are slots up to this one.
    snapshot: Slot,
}

impl Index {
    pub(super) fn new(stretch_bytes: u64) -> Self {
        Self { stretches: VecDeque::new(), stretch_bytes, snapshot: Slot::ZERO }
    }

    /// Adds the batch at `place`, which lies behind all batches added before. It has records for these
    /// slots, and perhaps for others between them.
    pub(super) fn add(&mut self, place: Place, length_bytes: u64, slots: SlotRange) {
        let highest_before = self.stretches.back().map_or(Slot::ZERO, |it| it.highest_up_to);
        match self.stretches.back_mut() {
            Some(stretch)
                if stretch.place.segment == place.segment
                    && place.offset + length_bytes <= stretch.place.offset + self.stretch_bytes =>
            {
                // The batches between have no entries, or they would have been added.
                stretch.length_bytes = place.offset + length_bytes - stretch.place.offset;
                stretch.slots.first = stretch.slots.first.min(slots.first);
                stretch.slots.last = stretch.slots.last.max(slots.last);
                stretch.highest_up_to = stretch.highest_up_to.max(slots.last);
            }
            _ => self.stretches.push_back(Stretch {
                place,
                length_bytes,
                slots,
                highest_up_to: highest_before.max(slots.last),
                lowest_from: slots.first,
            }),
        }
        let mut back = self.stretches.iter_mut().rev();
        if let Some(last) = back.next() {
            last.lowest_from = last.lowest_from.min(slots.first);
        }
        // Few stretches, since slots come nearly in order.
        let above = back.take_while(|it| it.lowest_from > slots.first);
        above.for_each(|it| it.lowest_from = slots.first);
    }

    /// The stretches that have records for any of `slots`, in the order of the log.
    pub(super) fn find(&self, slots: SlotRange) -> impl Iterator<Item = Stretch> + '_ {
        let from = self.stretches.partition_point(|it| it.highest_up_to < slots.first);
        let to = self.stretches.partition_point(|it| it.lowest_from <= slots.last);
        let between = self.stretches.range(from..to.max(from)).copied();
        between.filter(move |it| it.slots.first <= slots.last && slots.first <= it.slots.last)
    }

    /// Forgets everything before this segment: it is removed, and the snapshot of `slot` has what was there.
    pub(super) fn forget_before(&mut self, segment: u32, slot: Slot) {
        let count = self.stretches.partition_point(|it| it.place.segment < segment);
        self.stretches.drain(..count);
        // Most of the time it stays as short as this.
        self.stretches.shrink_to(2 * self.stretches.len());
        self.snapshot = slot;
    }

    /// The log may lack what was written for slots up to here, since a snapshot has it.
    pub(super) fn snapshot(&self) -> Slot {
        self.snapshot
    }

    /// How much memory the index takes.
    #[cfg(test)]
    pub(super) fn size_bytes(&self) -> usize {
        self.stretches.len() * size_of::<Stretch>()
    }
}

/// A thread that panicked while it held the lock cannot have left a partial change: each change is one
/// call.
pub(super) fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The range of slots of some records in one batch: from the lowest to the highest.
pub(super) fn cover(all: Option<SlotRange>, more: Option<SlotRange>) -> Option<SlotRange> {
    match (all, more) {
        (Some(all), Some(more)) => {
            Some(SlotRange { first: all.first.min(more.first), last: all.last.max(more.last) })
        }
        (one, other) => one.or(other),
    }
}
