//! The acceptor: what a replica promises, and what it takes.
//!
//! Two facts make Paxos safe. Both are here, as a picture of the disk:
//!
//! - `promised`: the highest sequence number that this replica has obeyed. It obeys no lower one.
//! - `accepted`: for each slot above the watermark, the entry that was taken last, and the number
//!   under which it was taken.
//!
//! A promise reports what was accepted. So a new coordinator hears of every value on which consensus
//! may already have been reached: the majority that it hears from shares a replica with every majority
//! that can have accepted (Paxos Made Live, 4.1).
//!
//! The picture runs ahead of the disk. It marks what is durable, and peers are told of nothing else.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::counted::{CountedMap, SizeBytes};
use crate::entry::{Entry, Value};
use crate::frames::FrameRoom;
use crate::limits::Limits;
use crate::message::{self, Promise};
use crate::numbers::{SequenceNumber, Slot, SlotRange};
use crate::prefix::{EntryDigest, Prefix};

/// The promise and the accepted entries of one replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Acceptor<V> {
    promised: SequenceNumber,
    durable_promise: SequenceNumber,
    /// The owner of the promised number waits for a promise, with entries from this slot on.
    owed_promise: Option<Slot>,
    accepted: CountedMap<Slot, Held<V>>,
}

/// An accepted entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Held<V> {
    pub(crate) s: SequenceNumber,
    pub(crate) entry: Entry<V>,
    /// What the entry adds to the running hash.
    pub(crate) digest: EntryDigest,
    pub(crate) durable: bool,
}

impl<V> Held<V> {
    /// Whether it was accepted under `s`, and is to be acknowledged under it when its record is durable.
    pub(crate) fn is_awaited_under(&self, s: SequenceNumber) -> bool {
        self.s == s && !self.durable
    }
}

impl<V: Value> SizeBytes for Held<V> {
    fn size_bytes(&self) -> u64 {
        self.entry.size_bytes()
    }
}

impl<V: Value> SizeBytes for message::Accepted<V> {
    fn size_bytes(&self) -> u64 {
        self.entry.size_bytes()
    }
}

/// What an acceptor makes of an entry that it is asked to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is to be written.
    Write,
    /// It is in place already and may be acknowledged.
    Durable,
    /// It is in place and will be acknowledged when its record is durable.
    Waits,
    /// The same number holds another entry in this slot: the order is forged.
    Contradicts,
}

impl<V: Value> Acceptor<V> {
    pub(crate) fn recovered(
        promised: SequenceNumber,
        accepted: impl IntoIterator<Item = (Slot, SequenceNumber, Entry<V>)>,
    ) -> Self {
        let mut acceptor = Self {
            promised,
            durable_promise: promised,
            owed_promise: None,
            accepted: CountedMap::default(),
        };
        for (slot, s, entry) in accepted {
            let digest = EntryDigest::of(&entry);
            acceptor.accepted.insert(slot, Held { s, entry, digest, durable: true });
        }
        acceptor
    }

    pub(crate) fn promised(&self) -> SequenceNumber {
        self.promised
    }

    pub(crate) fn durable_promise(&self) -> SequenceNumber {
        self.durable_promise
    }

    pub(crate) fn accepted(&self) -> &BTreeMap<Slot, Held<V>> {
        self.accepted.items()
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.accepted.size_bytes()
    }

    /// Promises `s` in memory and says whether that is new, and so has to be written.
    pub(crate) fn raise_promise(&mut self, s: SequenceNumber) -> bool {
        let raised = s > self.promised;
        if raised {
            self.promised = s;
            self.owed_promise = None;
        }
        raised
    }

    /// The owner of the promised number wants a promise, with the entries from `from` on.
    pub(crate) fn owe_promise(&mut self, from: Slot) {
        self.owed_promise = Some(from);
    }

    /// A record with a promise of `s` is durable.
    pub(crate) fn promise_is_durable(&mut self, s: SequenceNumber) {
        self.durable_promise = self.durable_promise.max(s);
    }

    /// Takes the promise that is owed, if it may be given: the slot from which entries are wanted.
    pub(crate) fn take_owed_promise(&mut self) -> Option<Slot> {
        if self.durable_promise == self.promised { self.owed_promise.take() } else { None }
    }

    /// What to do about `entry`, offered for `slot` under `s`, which is not below the promise.
    pub(crate) fn judge(&self, slot: Slot, s: SequenceNumber, entry: &Entry<V>) -> Taken {
        match self.accepted().get(&slot) {
            Some(held) if held.s == s && held.entry != *entry => Taken::Contradicts,
            Some(held) if held.s == s && held.durable => Taken::Durable,
            Some(held) if held.s == s => Taken::Waits,
            _ => Taken::Write,
        }
    }

    /// Holds `entry` from now on, under `s`; its record is being written.
    pub(crate) fn hold(&mut self, slot: Slot, s: SequenceNumber, entry: Entry<V>) {
        let digest = EntryDigest::of(&entry);
        self.accepted.insert(slot, Held { s, entry, digest, durable: false });
    }

    /// The record that holds `slot` under `s` is durable. False if the slot was overwritten since,
    /// or has left the acceptor.
    pub(crate) fn is_durable(&mut self, slot: Slot, s: SequenceNumber) -> bool {
        match self.accepted.get_mut(&slot) {
            Some(held) if held.s == s => {
                held.durable = true;
                true
            }
            _ => false,
        }
    }

    /// Takes the entry of `slot` out: it is committed.
    pub(crate) fn take(&mut self, slot: Slot) -> Option<Held<V>> {
        self.accepted.remove(&slot)
    }

    /// Gives up the entries up to `slot`: they are committed, and in a snapshot. Returns the slots of those
    /// that the owner of the promised number waits to be acknowledged.
    pub(crate) fn forget_through(&mut self, slot: Slot) -> Vec<Slot> {
        let mut awaited = Vec::new();
        while let Some((&first, held)) = self.accepted().first_key_value()
            && first <= slot
        {
            if held.is_awaited_under(self.promised) {
                awaited.push(first);
            }
            self.accepted.remove(&first);
        }
        awaited
    }

    /// Another configuration governs all slots above the watermark. What was accepted there counts for
    /// nothing any more, and nobody of that configuration waits for a promise.
    pub(crate) fn void(&mut self) {
        self.accepted = CountedMap::default();
        self.owed_promise = None;
    }

    /// Whether the entry of `slot` was accepted under `s`.
    pub(crate) fn holds_under(&self, slot: Slot, s: SequenceNumber) -> bool {
        self.accepted().get(&slot).is_some_and(|held| held.s == s)
    }

    /// `slots` without those at either end that are held under `s`. Its first slot is above its last one
    /// if all of them are.
    pub(crate) fn without_held_at_ends(&self, slots: SlotRange, s: SequenceNumber) -> SlotRange {
        let SlotRange { mut first, mut last } = slots;
        if first > last {
            return slots;
        }
        let is_held = |held: &Held<V>| held.s == s;
        for (slot, held) in self.accepted().range(first..=last) {
            if *slot != first || !is_held(held) {
                break;
            }
            first = first.next();
        }
        for (slot, held) in self.accepted().range(slots.first..=last).rev() {
            if *slot != last || last < first || !is_held(held) {
                break;
            }
            last = Slot(last.0 - 1);
        }
        SlotRange { first, last }
    }

    /// The last slot in which anything is accepted; `watermark` if there is none.
    pub(crate) fn last(&self, watermark: Slot) -> Slot {
        self.accepted().last_key_value().map_or(watermark, |(slot, _)| *slot)
    }

    /// The promise of the durable number, with the entries from `from` on, in as many frames as the
    /// limits ask for.
    ///
    /// All that it reports rests on durable records. An entry that was accepted after the promise has
    /// a number at least as high as the promise. Only a coordinator orders that, and a coordinator
    /// needs no promise any more.
    pub(crate) fn promise(&self, from: Slot, prefix: Prefix, limits: &Limits) -> Vec<Promise<V>> {
        let watermark = prefix.through;
        let last = self.last(watermark);
        let mut after = Slot(from.0.saturating_sub(1)).max(watermark).min(last);
        let mut held = self.accepted().range(after.next()..).peekable();
        let mut frames = Vec::new();
        loop {
            let mut room = FrameRoom::of(limits);
            let mut accepted = Vec::new();
            while let Some((&slot, held)) = held.next_if(|(_, held)| room.take(held.size_bytes())) {
                accepted.push(message::Accepted { slot, s: held.s, entry: held.entry.clone() });
            }
            let through = held.peek().map_or(last, |(slot, _)| Slot(slot.0 - 1));
            frames.push(Promise { prefix, last, after, through, accepted });
            if through == last {
                return frames;
            }
            after = through;
        }
    }
}
