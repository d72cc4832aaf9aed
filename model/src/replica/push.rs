//! Push: which open slots a follower was sent, and what is held back from it.
//!
//! A coordinator sends each accept once, to all followers. It holds accepts back from a follower that
//! has no room for them, and from one to which much is on its way already: they would only wait behind
//! the others. It sends them when there is room again. After a connection was made anew, it pushes
//! all open slots that the follower has not acknowledged, for they may be lost. It does so when a round
//! tells how far the follower is: after a restart it may be far behind, and have no room for them.
//!
//! To hold an accept back is the same as to lose it, and to push an open slot is the same as to repeat
//! it. So nothing here can harm safety: it decides only how much is on the links.

use super::common::Common;
use super::coordinator::Coordinator;
use super::resend::room_of_portion;
use crate::entry::Value;
use crate::frames::{EntryRange, EntryRanges, FrameRoom};
use crate::io::Output;
use crate::message::Order;
use crate::numbers::{ReplicaId, Slot, SlotRange};

/// What is held back from a follower.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HeldBack {
    /// Open slots up to here were sent to it.
    pub(super) pushed_through: Slot,
    room: Room,
}

/// Up to which slot a follower has room for entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Room {
    /// A connection to it was made, and it has answered no round since.
    Unknown,
    /// So far at most, by its answers to rounds: they tell how far it is. It has told nothing more since a
    /// connection to it was made.
    AtMost(Slot),
    /// So far, as it has told; or to the last slot, for it has told of no limit.
    Told(Slot),
}

impl HeldBack {
    fn new(pushed_through: Slot) -> Self {
        Self { pushed_through, room: Room::Told(Slot::MAX) }
    }
}

impl<V: Value> Coordinator<V> {
    /// Asks the followers to accept the entries of `frame`, but for those from which entries are held
    /// back.
    pub(super) fn push_new(
        &mut self,
        frame: &EntryRange<V>,
        common: &Common<V>,
        out: &mut Output<V>,
    ) {
        let EntryRange { first, entries } = frame;
        let accept =
            Order::Accept { first: *first, entries: entries.clone(), prefix: common.prefix() };
        if self.held_back.is_empty() && common.full.is_empty() {
            common.order_others(self.s, accept, out);
            return;
        }
        for member in common.others() {
            if common.full.contains(&member) {
                let pushed_through = Slot(first.0 - 1);
                self.held_back.entry(member).or_insert(HeldBack::new(pushed_through));
            }
            if !self.held_back.contains_key(&member) {
                out.send(member, common.order(self.s, accept.clone()));
            }
        }
    }

    /// Whatever was sent to `member`, from which entries are held back, may be lost, and so may what it has
    /// told of its room. All open slots are to be pushed again.
    pub(super) fn push_again(&mut self, member: ReplicaId, common: &Common<V>) {
        if let Some(held) = self.held_back.get_mut(&member) {
            held.pushed_through = common.watermark();
            if let Room::Told(through) = &mut held.room {
                *through = Slot::MAX;
            }
        }
    }

    /// A connection with `member` was made, so whatever was sent to it may be lost. All open slots are to be
    /// pushed again when it has answered a round.
    pub(super) fn push_after_round(&mut self, member: ReplicaId, common: &Common<V>) {
        let pushed_through = common.watermark();
        self.held_back.insert(member, HeldBack { pushed_through, room: Room::Unknown });
    }

    /// `member` has answered a round, and everything up to `watermark` is committed there.
    pub(super) fn take_watermark(
        &mut self,
        member: ReplicaId,
        watermark: Slot,
        common: &Common<V>,
    ) {
        if let Some(held) = self.held_back.get_mut(&member)
            && !matches!(held.room, Room::Told(_))
            && watermark <= Slot::MAX
        {
            held.room = Room::AtMost(watermark.plus(common.limits().accepted_slots_max));
        }
    }

    /// Whether an open slot was not sent to a follower that has no room for it.
    #[cfg(feature = "stateright")]
    pub(crate) fn holds_back(&self) -> bool {
        let last = self.open.last_key_value().map_or(Slot::ZERO, |(slot, _)| *slot);
        self.held_back.values().any(|held| {
            let is_beyond = match held.room {
                Room::Unknown => true,
                Room::AtMost(through) | Room::Told(through) => through < last,
            };
            held.pushed_through < last && is_beyond
        })
    }

    /// `member` takes entries in slots up to `through`.
    pub(super) fn take_room(&mut self, member: ReplicaId, through: Slot, common: &Common<V>) {
        if through > Slot::MAX {
            return;
        }
        let next = self.next_slot(common.watermark());
        if through.next() < next || self.held_back.contains_key(&member) {
            let pushed_through = Slot(next.0 - 1);
            let held_back =
                self.held_back.entry(member).or_insert_with(|| HeldBack::new(pushed_through));
            held_back.pushed_through = held_back.pushed_through.min(through);
            held_back.room = Room::Told(through);
        }
    }

    /// `member` asks for the committed slots up to `through`, so they need not be pushed.
    pub(super) fn take_ask(&mut self, member: ReplicaId, through: Slot) {
        if let Some(held) = self.held_back.get_mut(&member) {
            held.pushed_through = held.pushed_through.max(through);
        }
    }

    /// Pushes a portion of what is held back from each member that has room for more; or from `only` one.
    pub(super) fn push_held_back(
        &mut self,
        only: Option<ReplicaId>,
        common: &mut Common<V>,
        out: &mut Output<V>,
    ) {
        if self.held_back.is_empty() {
            return;
        }
        let mut held_back = core::mem::take(&mut self.held_back);
        held_back.retain(|member, held| {
            if only.is_none_or(|only| only == *member) && !common.full.contains(member) {
                self.push(*member, held, common, out);
            }
            let last = Slot(self.next_slot(common.watermark()).0 - 1);
            let lacks_room = match held.room {
                // If nothing is open, there is nothing to wait for.
                Room::Unknown => false,
                Room::AtMost(through) => through < near(last, common),
                Room::Told(through) => through < last,
            };
            held.pushed_through < last || lacks_room
        });
        self.held_back = held_back;
    }

    /// Pushes open slots to `member` that it has not acknowledged, as many as a resend repeats.
    fn push(
        &self,
        member: ReplicaId,
        held: &mut HeldBack,
        common: &mut Common<V>,
        out: &mut Output<V>,
    ) {
        let watermark = common.watermark();
        let last = Slot(self.next_slot(watermark).0 - 1);
        let (room_through, is_near, asks) = match held.room {
            Room::Unknown => return,
            // To one that is far behind, all open slots are pushed or none. If there were gaps, it would
            // have to ask for each.
            Room::AtMost(through) => (through, near(last, common) <= through, false),
            Room::Told(through) => (through, true, through < Slot::MAX),
        };
        if held.pushed_through < watermark {
            // Nothing tells it that these were never sent, unless a later slot is pushed. If it has told
            // how far it has room, it knows, and asks; or it takes an older accept first, and tells that
            // it has all room again.
            if self.open.is_empty() && asks {
                return;
            }
            if self.open.is_empty() || !is_near {
                let first = held.pushed_through.next();
                common.serve(member, SlotRange { first, last: watermark }, out);
            }
            held.pushed_through = watermark;
        }
        if is_near && held.pushed_through < room_through {
            let slots = SlotRange { first: held.pushed_through.next(), last: room_through };
            held.pushed_through = self.push_slots(member, slots, common, out);
        }
    }

    /// Sends `member` the entries of the open slots in `slots` that it has not acknowledged: as many as
    /// the limit allows, and at least one. Returns the last slot of those that need not be sent any
    /// more.
    pub(super) fn push_slots(
        &self,
        member: ReplicaId,
        slots: SlotRange,
        common: &Common<V>,
        out: &mut Output<V>,
    ) -> Slot {
        let mut room = room_of_portion(common.limits());
        let mut unacknowledged = EntryRanges::new();
        let mut through = Slot(slots.first.0 - 1);
        for (&slot, &acknowledged) in self.open.range(slots.first..=slots.last) {
            if !common.configuration().is_in(acknowledged, member)
                && let Some(held) = common.acceptor.accepted().get(&slot)
            {
                if !room.take(held.entry.size_bytes()) {
                    break;
                }
                unacknowledged.push(slot, held.entry.clone());
            }
            through = slot;
        }
        let (prefix, frame) = (common.prefix(), FrameRoom::of(common.limits()));
        let frames = unacknowledged.into_iter().flat_map(|range| range.in_frames(frame));
        for EntryRange { first, entries } in frames {
            let accept = Order::Accept { first, entries, prefix };
            out.send(member, common.order(self.s, accept));
        }
        through
    }
}

/// A follower that has room up to this slot may be pushed everything up to `last`, the last open slot, and
/// then what is opened next: it has half of the slots to spare that it has room for beyond the window.
fn near<V: Value>(last: Slot, common: &Common<V>) -> Slot {
    let limits = common.limits();
    last.plus(limits.accepted_slots_max.saturating_sub(limits.open_slots_max) / 2)
}
