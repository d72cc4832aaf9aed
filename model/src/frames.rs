//! How much fits in one frame, and how entries are laid out in frames.
//!
//! A frame is what one message or record carries: entries of consecutive slots, limited by count and
//! by bytes. A single entry always fits, however large it is, or it could never be sent at all.

use alloc::vec::Vec;

use crate::counted::SizeBytes;
use crate::entry::{Entry, Value};
use crate::limits::Limits;
use crate::numbers::Slot;

/// The room that is left in a frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameRoom {
    is_empty: bool,
    entries: u64,
    bytes: u64,
}

impl FrameRoom {
    /// An empty frame with room for so many entries and bytes.
    #[must_use]
    pub const fn new(entries_max: u64, bytes_max: u64) -> Self {
        Self { is_empty: true, entries: entries_max, bytes: bytes_max }
    }

    /// An empty frame of a cluster with these limits.
    #[must_use]
    pub const fn of(limits: &Limits) -> Self {
        Self::new(limits.frame_entries_max, limits.frame_bytes_max)
    }

    /// Takes room for an entry of `size_bytes`. False if there is none: the frame is full. The first
    /// entry always fits.
    #[must_use]
    pub const fn take(&mut self, size_bytes: u64) -> bool {
        if !self.is_empty && (self.entries == 0 || self.bytes < size_bytes) {
            return false;
        }
        self.is_empty = false;
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size_bytes);
        true
    }
}

/// Cuts `items` into frames with `room` each, in order.
pub(crate) fn in_frames<T: SizeBytes>(
    items: impl IntoIterator<Item = T>,
    room: FrameRoom,
) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter().peekable();
    core::iter::from_fn(move || {
        let mut room = room;
        let mut frame = Vec::new();
        while let Some(item) = items.next_if(|item| room.take(item.size_bytes())) {
            frame.push(item);
        }
        (!frame.is_empty()).then_some(frame)
    })
}

/// Whether `items` can be one frame that a correct peer has cut.
pub(crate) fn is_one_frame<T: SizeBytes>(items: &[T], mut room: FrameRoom) -> bool {
    items.iter().all(|item| room.take(item.size_bytes()))
}

/// Gathers entries, given by ascending slot, into as few ranges of consecutive slots as they make.
#[derive(Clone, Debug)]
pub(crate) struct EntryRanges<V> {
    ranges: Vec<EntryRange<V>>,
}

/// The entries of consecutive slots.
#[derive(Clone, Debug)]
pub(crate) struct EntryRange<V> {
    /// The slot of the first entry.
    pub(crate) first: Slot,
    pub(crate) entries: Vec<Entry<V>>,
}

impl<V: Value> EntryRanges<V> {
    pub(crate) fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Adds the entry of `slot`, which lies above every slot added before.
    pub(crate) fn push(&mut self, slot: Slot, entry: Entry<V>) {
        match self.ranges.last_mut() {
            Some(range) if range.first.plus(range.entries.len() as u64) == slot => {
                range.entries.push(entry);
            }
            _ => self.ranges.push(EntryRange { first: slot, entries: alloc::vec![entry] }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl<V> IntoIterator for EntryRanges<V> {
    type Item = EntryRange<V>;
    type IntoIter = alloc::vec::IntoIter<EntryRange<V>>;

    fn into_iter(self) -> Self::IntoIter {
        self.ranges.into_iter()
    }
}

impl<V: Value> EntryRange<V> {
    /// The slot after the last one; `first` if there are no entries.
    pub(crate) fn after(&self) -> Slot {
        self.first.plus(self.entries.len() as u64)
    }

    /// Cuts the range into ranges of one frame each. Most fit in one as they are.
    pub(crate) fn in_frames(self, room: FrameRoom) -> impl Iterator<Item = Self> {
        let Self { first, entries } = self;
        let (whole, rest) = if !entries.is_empty() && is_one_frame(&entries, room) {
            (Some(entries), Vec::new())
        } else {
            (None, entries)
        };
        let mut next = first;
        whole.into_iter().chain(in_frames(rest, room)).map(move |entries| {
            let first = next;
            next = first.plus(entries.len() as u64);
            Self { first, entries }
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn room(entries_max: u64, bytes_max: u64) -> FrameRoom {
        FrameRoom::new(entries_max, bytes_max)
    }

    struct Item(u64);

    impl SizeBytes for Item {
        fn size_bytes(&self) -> u64 {
            self.0
        }
    }

    fn cut(sizes: &[u64], room: FrameRoom) -> Vec<Vec<u64>> {
        let items = sizes.iter().copied().map(Item);
        let sizes = |frame: Vec<Item>| frame.into_iter().map(|item| item.0).collect();
        in_frames(items, room).map(sizes).collect()
    }

    #[test]
    fn a_frame_ends_by_count_or_by_bytes() {
        assert_eq!(cut(&[1, 1, 1, 1, 1], room(2, 100)), [vec![1, 1], vec![1, 1], vec![1]]);
        assert_eq!(cut(&[4, 4, 4, 2, 1], room(9, 8)), [vec![4, 4], vec![4, 2, 1]]);
        assert_eq!(cut(&[], room(2, 8)), Vec::<Vec<u64>>::new());
    }

    #[test]
    fn an_item_that_is_larger_than_a_frame_has_one_to_itself() {
        assert_eq!(cut(&[1, 9, 1], room(9, 8)), [vec![1], vec![9], vec![1]]);
        assert_eq!(cut(&[9], room(0, 0)), [vec![9]]);
    }

    #[test]
    fn what_is_cut_is_a_frame_and_one_item_more_is_none() {
        let is_frame = |sizes: &[u64]| {
            let items: Vec<_> = sizes.iter().copied().map(Item).collect();
            is_one_frame(&items, room(3, 8))
        };
        for (frame, more) in [(&[1, 1, 1][..], 1), (&[4, 4], 1), (&[9], 1), (&[], 9)] {
            assert!(is_frame(frame), "{frame:?}");
            let longer = [frame, &[more]].concat();
            assert_eq!(is_frame(&longer), frame.is_empty(), "{longer:?}");
        }
    }

    #[test]
    fn entries_of_consecutive_slots_make_a_range() {
        let mut ranges = EntryRanges::<u8>::new();
        for slot in [3, 4, 5, 7] {
            ranges.push(Slot(slot), Entry::NoOp);
        }
        let size_bytes = Entry::<u8>::NoOp.size_bytes();
        let frames = ranges.into_iter().flat_map(|it| it.in_frames(room(2, 100 * size_bytes)));
        let frames: Vec<_> = frames.map(|it| (it.first.0, it.entries.len())).collect();
        assert_eq!(frames, [(3, 2), (5, 1), (7, 1)]);
    }
}
