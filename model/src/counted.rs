//! Collections that know how many bytes they hold.
//!
//! Every buffer of the core is limited by bytes as well as by count. A collection here counts its
//! bytes itself, so that no caller can forget to.

use alloc::collections::{BTreeMap, VecDeque};

/// What counts for a number of bytes in the limits.
pub(crate) trait SizeBytes {
    fn size_bytes(&self) -> u64;
}

/// A queue and the bytes of its items.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CountedQueue<T> {
    items: VecDeque<T>,
    size_bytes: u64,
}

impl<T> Default for CountedQueue<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), size_bytes: 0 }
    }
}

impl<T: SizeBytes> CountedQueue<T> {
    pub(crate) fn push_back(&mut self, item: T) {
        self.size_bytes = self.size_bytes.saturating_add(item.size_bytes());
        self.items.push_back(item);
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.size_bytes = self.size_bytes.saturating_sub(item.size_bytes());
        Some(item)
    }

    /// The item at `index`, to be changed in any way but its size.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.items.get_mut(index)
    }
}

impl<T> CountedQueue<T> {
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.items.get(index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// How many items there are, for comparison with a limit.
    pub(crate) fn count(&self) -> u64 {
        self.items.len() as u64
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// A map and the bytes of its values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CountedMap<K, T> {
    items: BTreeMap<K, T>,
    size_bytes: u64,
}

impl<K, T> Default for CountedMap<K, T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), size_bytes: 0 }
    }
}

impl<K: Ord, T: SizeBytes> CountedMap<K, T> {
    /// Puts `item` under `key`, in the place of the item that was there.
    pub(crate) fn insert(&mut self, key: K, item: T) {
        self.size_bytes = self.size_bytes.saturating_add(item.size_bytes());
        if let Some(before) = self.items.insert(key, item) {
            self.size_bytes = self.size_bytes.saturating_sub(before.size_bytes());
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<T> {
        let item = self.items.remove(key)?;
        self.size_bytes = self.size_bytes.saturating_sub(item.size_bytes());
        Some(item)
    }

    /// The item under `key`, to be changed in any way but its size.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut T> {
        self.items.get_mut(key)
    }
}

impl<K, T> CountedMap<K, T> {
    pub(crate) fn items(&self) -> &BTreeMap<K, T> {
        &self.items
    }

    /// How many items there are, for comparison with a limit.
    pub(crate) fn count(&self) -> u64 {
        self.items.len() as u64
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl SizeBytes for u64 {
        fn size_bytes(&self) -> u64 {
            *self
        }
    }

    #[test]
    fn a_queue_counts_what_it_holds() {
        let mut queue = CountedQueue::default();
        for item in [5, 7, 11] {
            queue.push_back(item);
        }
        assert_eq!((queue.count(), queue.size_bytes()), (3, 23));
        assert_eq!(queue.pop_front(), Some(5));
        assert_eq!((queue.count(), queue.size_bytes()), (2, 18));
    }

    #[test]
    fn a_map_counts_what_stands_in_the_place_of_another() {
        let mut map = CountedMap::default();
        map.insert('a', 5);
        map.insert('b', 7);
        map.insert('a', 1);
        assert_eq!((map.count(), map.size_bytes()), (2, 8));
        assert_eq!(map.remove(&'b'), Some(7));
        assert_eq!(map.remove(&'b'), None);
        assert_eq!((map.count(), map.size_bytes()), (1, 1));
    }
}
