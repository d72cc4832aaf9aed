//! Where in the log which slots are.
//!
//! The log is written in the order of time, which is nearly, but not quite, the order of slots: an
//! entry may be accepted again under a later number, and catch-up fills in what was missed. So the
//! index divides the log into *stretches* of some 256 KiB and keeps, of each, where it is and the
//! lowest and the highest slot that it has a record for. That is 56 bytes for 256 KiB, a fifth of a
//! per mille.
//!
//! Two more numbers make a search of it short: the highest slot in this stretch or any before, and
//! the lowest in this stretch or any after. Neither ever goes down from one stretch to the next. So
//! the stretches that can have a given slot lie between two places that a binary search finds.

use synod_model::{Slot, SlotRange};

use super::survey::Place;

/// How long a stretch is, or longer if a single batch is. To read one slot, so much is read. 256 KiB:
/// it takes a disk little more time than the smallest read, and a lagging peer asks for what comes
/// next anyway.
pub(super) const STRETCH_BYTES: u64 = 256 << 10;

/// A piece of the log, within one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) place: Place,
    pub(super) length_bytes: u64,
    pub(super) slots: SlotRange,
    /// The highest slot here or before.
    highest_up_to: Slot,
    /// The lowest slot here or after.
    lowest_from: Slot,
}

#[derive(Debug)]
pub(super) struct Index {
    stretches: Vec<Stretch>,
    stretch_bytes: u64,
}

impl Index {
    pub(super) fn new(stretch_bytes: u64) -> Self {
        Self { stretches: Vec::new(), stretch_bytes }
    }

    /// The batch at `place`, which is behind all that were added before, has records for these slots
    /// and perhaps others between.
    pub(super) fn add(&mut self, place: Place, length_bytes: u64, slots: SlotRange) {
        let highest_before = self.stretches.last().map_or(Slot::ZERO, |it| it.highest_up_to);
        match self.stretches.last_mut() {
            Some(stretch)
                if stretch.place.segment == place.segment
                    && place.offset + length_bytes <= stretch.place.offset + self.stretch_bytes =>
            {
                // What lies between has no entries, or it would have been added.
                stretch.length_bytes = place.offset + length_bytes - stretch.place.offset;
                stretch.slots.first = stretch.slots.first.min(slots.first);
                stretch.slots.last = stretch.slots.last.max(slots.last);
                stretch.highest_up_to = stretch.highest_up_to.max(slots.last);
            }
            _ => self.stretches.push(Stretch {
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
        // Short, since slots come nearly in order.
        let above = back.take_while(|it| it.lowest_from > slots.first);
        above.for_each(|it| it.lowest_from = slots.first);
    }

    /// The stretches that have records for any of `slots`, in the order of the log.
    pub(super) fn find(&self, slots: SlotRange) -> impl Iterator<Item = Stretch> + '_ {
        let from = self.stretches.partition_point(|it| it.highest_up_to < slots.first);
        let to = self.stretches.partition_point(|it| it.lowest_from <= slots.last);
        let between = self.stretches.get(from..to).unwrap_or_default().iter().copied();
        between.filter(move |it| it.slots.first <= slots.last && slots.first <= it.slots.last)
    }

    /// How much memory the index takes, for what it costs.
    #[cfg(test)]
    pub(super) fn size_bytes(&self) -> usize {
        self.stretches.len() * size_of::<Stretch>()
    }
}

/// The slots that some records of one batch have entries for: from the lowest to the highest.
pub(super) fn cover(all: Option<SlotRange>, more: Option<SlotRange>) -> Option<SlotRange> {
    match (all, more) {
        (Some(all), Some(more)) => {
            Some(SlotRange { first: all.first.min(more.first), last: all.last.max(more.last) })
        }
        (one, other) => one.or(other),
    }
}
