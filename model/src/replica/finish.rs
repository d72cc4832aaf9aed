//! Finishing: what a coordinator opens before anything else, in portions.
//!
//! An election must finish every slot in which a promise reports an entry, for that entry may be chosen
//! already. These slots may be as many as an acceptor accepts ahead. So no step opens all of them: a
//! portion has as many bytes as one resend repeats, and none of its slots lies above the window.
//!
//! **The entries are chosen in the step of the election**, though they are looked up later. They follow
//! from what the promises reported, which is kept as it was then, and from what this replica has accepted
//! itself. A coordinator accepts nothing but what it opens. So its own entry of a slot stays until the
//! slot is opened.
//!
//! If a change of the members is chosen for a slot, nothing is opened above it
//! ([`membership`](super::membership)). What is left out there is finished after the change, if it still
//! counts.
//!
//! Until the last of these slots is open, nothing else is opened, and no submission is taken in. Only
//! open slots tell which submissions have a slot.
//!
//! The next portion follows when some replica, this one or another, has durably taken the last slot of the
//! one before. So the quickest disk sets the pace, until the window is full. An answer always comes: the
//! portion is a record, and its sync is reported; or, if this disk hangs, another replica answers. What
//! is lost is repeated. So nothing has to wake this replica up to go on.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::common::Common;
use super::coordinator::Coordinator;
use super::resend::room_of_portion;
use crate::configuration::MemberSet;
use crate::entry::{Entry, Value};
use crate::frames::EntryRange;
use crate::io::Output;
use crate::numbers::{SequenceNumber, Slot};
use crate::prefix::EntryDigest;

/// An entry that a promise reported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reported<V> {
    /// It was accepted under this number.
    pub(crate) s: SequenceNumber,
    pub(crate) entry: Entry<V>,
    pub(crate) digest: EntryDigest,
}

/// The slots that a coordinator has not opened yet, and opens before anything else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ToFinish<V> {
    /// Of every such slot, the entry that was reported under the highest number.
    reported: BTreeMap<Slot, Reported<V>>,
    /// The last of these slots.
    pub(crate) through: Slot,
    /// Whether a change is chosen for the last one. What lies above is left out.
    ends_with_change: bool,
}

impl<V: Value> ToFinish<V> {
    /// The slots above the watermark up to `through`, of which this was `reported`; or up to the first one
    /// for which a change is chosen.
    pub(super) fn new(
        reported: BTreeMap<Slot, Reported<V>>,
        through: Slot,
        common: &Common<V>,
    ) -> Self {
        let mut all = Self { reported, through, ends_with_change: false };
        if let Some(slot) = all.first_change(common) {
            (all.through, all.ends_with_change) = (slot, true);
        }
        all.reported.split_off(&all.through.next());
        all
    }

    /// The first slot for which a change is chosen.
    fn first_change(&self, common: &Common<V>) -> Option<Slot> {
        let mut chosen = self.chosen(common.watermark().next(), common);
        let change = chosen.find(|(_, entry, _)| matches!(entry, Entry::Change(_)));
        change.map(|(slot, ..)| slot)
    }

    /// What is chosen for the slots from `first` on, one after another.
    ///
    /// In every slot, the value that was accepted under the highest number must be finished: it may have
    /// been chosen (Paxos Made Live, 4.1, the second mechanism). A slot that nobody reported gets a no-op,
    /// because a slot above it was reported.
    fn chosen<'a>(
        &'a self,
        first: Slot,
        common: &'a Common<V>,
    ) -> impl Iterator<Item = (Slot, &'a Entry<V>, EntryDigest)> {
        let mut reported = self.reported.range(first..).peekable();
        let mut own = common.acceptor.accepted().range(first..).peekable();
        (first.0..=self.through.0).map(Slot).map(move |slot| {
            let theirs = reported.next_if(|(at, _)| **at == slot).map(|(_, it)| it);
            let own = own.next_if(|(at, _)| **at == slot).map(|(_, held)| held);
            match (theirs, own) {
                (Some(theirs), Some(own)) if own.s > theirs.s => (slot, &own.entry, own.digest),
                (Some(theirs), _) => (slot, &theirs.entry, theirs.digest),
                (None, Some(own)) => (slot, &own.entry, own.digest),
                (None, None) => (slot, &Entry::NoOp, EntryDigest::of(&Entry::<V>::NoOp)),
            }
        })
    }

    /// Forgets what was reported of the slots before `after`: they are open.
    fn forget(&mut self, after: Slot) {
        while self.reported.first_key_value().is_some_and(|(slot, _)| *slot < after) {
            self.reported.pop_first();
        }
    }

    /// What the chosen entries from `first` on add to the running hash.
    pub(super) fn digests<'a>(
        &'a self,
        first: Slot,
        common: &'a Common<V>,
    ) -> impl Iterator<Item = (Slot, EntryDigest)> {
        self.chosen(first, common).map(|(slot, _, digest)| (slot, digest))
    }
}

impl<V: Value> Coordinator<V> {
    /// The last slot that is open, or must be opened before anything else. The watermark if there is none.
    pub(crate) fn last_slot(&self, watermark: Slot) -> Slot {
        let last_open = Slot(self.next_slot(watermark).0 - 1);
        self.to_finish.as_ref().map_or(last_open, |it| it.through)
    }

    /// Opens the next portion of what must be finished, once the last slot that is open is on a disk, or
    /// committed.
    pub(super) fn open_next_portion(&mut self, common: &mut Common<V>, out: &mut Output<V>) {
        let last = self.open.last_key_value();
        if last.is_none_or(|(_, acknowledged)| *acknowledged != MemberSet::default()) {
            self.open_portion(common, out);
        }
    }

    /// Opens a portion of what must be finished.
    pub(super) fn open_portion(&mut self, common: &mut Common<V>, out: &mut Output<V>) {
        let watermark = common.watermark();
        let first = self.next_slot(watermark);
        let Some(to_finish) = &mut self.to_finish else {
            return;
        };
        let window_ends = watermark.plus(common.limits().open_slots_max);
        let mut room = room_of_portion(common.limits());
        let chosen = to_finish.chosen(first, common);
        let portion = chosen
            .take_while(|(slot, entry, _)| *slot <= window_ends && room.take(entry.size_bytes()));
        let entries: Vec<_> = portion.map(|(_, entry, _)| entry.clone()).collect();
        let portion = EntryRange { first, entries };
        to_finish.forget(portion.after());
        if to_finish.through < portion.after() {
            self.to_finish = None;
        }
        for submission in portion.entries.iter().filter_map(Entry::submission_id) {
            *self.known.entry(submission).or_default() += 1;
        }
        self.open(portion, common, out);
    }

    /// A follower holds an entry in slot `last`, above everything that this coordinator has opened. An
    /// older coordinator left it there. It was not chosen, or this election would have heard of it.
    /// No-ops in the slots up to `last` replace it, but none beyond the window.
    pub(super) fn fill_up_to(&mut self, last: Slot, common: &mut Common<V>, out: &mut Output<V>) {
        let watermark = common.watermark();
        let last = last.min(watermark.plus(common.limits().open_slots_max));
        if let Some(to_finish) = &mut self.to_finish {
            if !to_finish.ends_with_change {
                to_finish.through = to_finish.through.max(last);
            }
        } else if self.next_slot(watermark) <= last && !self.has_open_change(common) {
            let (reported, through) = (BTreeMap::new(), last);
            let to_finish = ToFinish { reported, through, ends_with_change: false };
            self.to_finish = Some(Box::new(to_finish));
            self.open_portion(common, out);
        }
    }
}
