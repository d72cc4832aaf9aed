//! What a replica has and does in every role.
//!
//! A follower, a candidate and a coordinator all promise, accept, learn and write, in the same way.
//! [`Common`] holds that part of the state: the identity, the acceptor, the learner and the records
//! that are not durable yet. Each role keeps what only that role needs, and works on this.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::catch_up::CatchUp;
use super::hung::Hung;
use crate::acceptor::Acceptor;
use crate::configuration::Configuration;
use crate::constants::ClusterConstants;
use crate::entry::{Entry, Value};
use crate::forming::Incarnation;
use crate::frames::{FrameRoom, is_one_frame};
use crate::io::Output;
use crate::learner::Learner;
use crate::limits::Limits;
use crate::message::{Message, Order, Reply};
use crate::numbers::{Position, ReplicaId, Run, SequenceNumber, Slot, SlotRange};
use crate::prefix::Prefix;
use crate::record::{Content, Record};
use crate::testimony::{Forgotten, Testimony};
use crate::unsynced::{Fact, Unsynced};

/// The part of a replica's state that every role uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Common<V> {
    pub(crate) constants: Arc<ClusterConstants>,
    pub(crate) me: ReplicaId,
    /// The data directory of this replica, if the shell has said which one it is.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) run: Run,
    pub(crate) acceptor: Acceptor<V>,
    pub(crate) learner: Learner<V>,
    pub(crate) unsynced: Unsynced,
    /// The highest number that anybody is known to have promised; the next one picked is above it.
    /// At least the own promise.
    pub(crate) heard: SequenceNumber,
    /// Whether this replica believes that nobody coordinates.
    pub(crate) suspects: bool,
    /// What the coordinator of the promised number has called committed, if this replica lacks some of
    /// it. The entries may be on their way.
    pub(crate) told: Option<Prefix>,
    /// Whether nothing is on its way from the coordinator of the promised number, for all that is known.
    /// Then this replica asks for what it lacks as soon as it is told of it.
    pub(crate) asks_at_once: bool,
    /// The committed slots that are on their way to this replica.
    pub(crate) catch_up: Option<CatchUp>,
    /// What peers have asked for and were not sent yet. Nothing, while their last portion is leaving.
    pub(crate) serving: BTreeMap<ReplicaId, SlotRange>,
    /// Committed entries that are not durable yet, in the log or in a snapshot, and that the coordinator of the
    /// promised number has asked to accept: each is acknowledged under that number when it is durable.
    pub(crate) owed: BTreeMap<Slot, SequenceNumber>,
    /// The room for entries that was told to the coordinator of the promised number, after an accept
    /// went further.
    pub(crate) told_room: Option<Slot>,
    /// The peers to which much is on its way.
    pub(crate) full: BTreeSet<ReplicaId>,
    /// The peers that are known to have another history, with a slot up to which it differs.
    pub(crate) other_histories: BTreeMap<ReplicaId, Slot>,
    /// What peers have told this replica that was durable.
    pub(crate) testimonies: BTreeMap<ReplicaId, Testimony>,
    /// The replicas that are known to have lost something, perhaps this one, with what they have lost.
    pub(crate) forgotten: BTreeMap<ReplicaId, Forgotten>,
    /// What hangs, of what this replica needs for its work.
    pub(crate) hung: Hung,
}

impl<V: Value> Common<V> {
    pub(crate) fn new(
        constants: Arc<ClusterConstants>,
        me: ReplicaId,
        run: Run,
        acceptor: Acceptor<V>,
        learner: Learner<V>,
    ) -> Self {
        let heard = acceptor.promised();
        Self {
            constants,
            me,
            incarnation: None,
            run,
            acceptor,
            learner,
            unsynced: Unsynced::default(),
            heard,
            suspects: false,
            told: None,
            asks_at_once: true,
            catch_up: None,
            serving: BTreeMap::new(),
            owed: BTreeMap::new(),
            told_room: None,
            full: BTreeSet::new(),
            other_histories: BTreeMap::new(),
            testimonies: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            hung: Hung::default(),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.constants.limits()
    }

    /// The configuration that governs the slots above the watermark.
    pub(crate) fn configuration(&self) -> &Configuration {
        self.learner.configuration()
    }

    pub(crate) fn watermark(&self) -> Slot {
        self.learner.watermark()
    }

    /// The other members, by ascending id.
    pub(crate) fn others(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.configuration().members().iter().copied().filter(|member| *member != self.me)
    }

    /// The replica to which submissions and reads are forwarded: the owner of the promised number,
    /// unless that is this replica, or votes no more.
    pub(crate) fn forwards_to(&self) -> Option<ReplicaId> {
        let owner = self.constants.owner(self.acceptor.promised());
        owner.filter(|owner| *owner != self.me && self.configuration().is_voter(*owner))
    }

    /// The sequence number under which this replica would stand for election now (Paxos Made Live,
    /// 4.1, footnote 1).
    pub(crate) fn next_number(&self) -> Option<SequenceNumber> {
        self.constants.next_number(self.me, self.heard)
    }

    /// Whether a correct peer could have sent these entries for the slots from `first` on.
    pub(crate) fn is_possible(&self, first: Slot, entries: &[Entry<V>]) -> bool {
        first > Slot::ZERO
            && !entries.is_empty()
            && first.plus(entries.len() as u64) <= Slot::MAX
            && is_one_frame(entries, FrameRoom::of(self.limits()))
            && entries.iter().all(|entry| entry.is_within(self.limits()))
    }

    /// Whether a correct peer could have sent a list of so many numbers.
    pub(crate) fn is_possible_list<T>(&self, list: &[T]) -> bool {
        list.len() as u64 <= self.limits().frame_entries_max
    }

    /// Cuts a list into as many as fit in one message each.
    pub(crate) fn in_lists<'a, T: Clone>(
        &self,
        list: &'a [T],
    ) -> impl Iterator<Item = Vec<T>> + use<'a, T, V> {
        let most = usize::try_from(self.limits().frame_entries_max).unwrap_or(usize::MAX);
        list.chunks(most.max(1)).map(<[T]>::to_vec)
    }

    /// Whether more is written and not durable than the limit allows.
    pub(crate) fn disk_is_stalled(&self) -> bool {
        self.unsynced.size_bytes() > self.limits().unsynced_bytes_max
    }

    /// Appends a record, with the watermark as it stands.
    pub(crate) fn write(&mut self, content: Content<V>, out: &mut Output<V>) {
        let (watermark, hash) = (self.watermark(), self.learner.hashes().hash());
        self.unsynced.write(Record { watermark, hash, content }, out);
    }

    /// Promises `s`, and writes that if it is new.
    pub(crate) fn promise(&mut self, s: SequenceNumber, out: &mut Output<V>) {
        if self.raise_promise(s) {
            self.write(Content::Promised(s), out);
        }
    }

    /// Promises `s` in memory, and says whether that is new. Then what was known of the coordinator of a
    /// lower number means nothing any more.
    pub(crate) fn raise_promise(&mut self, s: SequenceNumber) -> bool {
        let is_new = self.acceptor.raise_promise(s);
        if is_new {
            self.asks_at_once = true;
            self.told = None;
            self.told_room = None;
            self.owed.clear();
        }
        is_new
    }

    /// Holds `entries` as accepted under `s`, which is promised, and writes them.
    pub(crate) fn hold(
        &mut self,
        s: SequenceNumber,
        first: Slot,
        entries: Vec<Entry<V>>,
        out: &mut Output<V>,
    ) {
        for (slot, entry) in (first.0..).map(Slot).zip(&entries) {
            self.acceptor.hold(slot, s, entry.clone());
        }
        let configuration = self.configuration().id();
        self.write(Content::Accepted { s, configuration, first, entries }, out);
    }

    /// Everything written up to `through` is durable. Returns which accepted entries that makes
    /// durable, by number and slot, ascending.
    pub(crate) fn synced(&mut self, through: Position) -> Vec<(SequenceNumber, Slot)> {
        let mut accepted = Vec::new();
        while let Some(fact) = self.unsynced.pop(through) {
            self.hung.disk = false;
            match fact {
                Fact::Promised(s) => self.acceptor.promise_is_durable(s),
                Fact::Snapshot(slot) => {
                    self.learner.snapshot_is_durable(slot, self.constants.limits());
                    let later = self.owed.split_off(&slot.next());
                    let owed = core::mem::replace(&mut self.owed, later);
                    accepted.extend(owed.into_iter().map(|(slot, s)| (s, slot)));
                }
                Fact::Forgotten => {}
                Fact::Holds(s, slots) => {
                    self.acceptor.promise_is_durable(s);
                    for slot in slots.iter() {
                        let holds = self.acceptor.is_durable(slot, s)
                            || self.learner.is_durable(slot, s, self.constants.limits());
                        if holds {
                            let owed = self.owed.remove(&slot);
                            let numbers = Some(s).filter(|s| *s != SequenceNumber::NONE);
                            accepted.extend(numbers.into_iter().chain(owed).map(|s| (s, slot)));
                        }
                    }
                }
            }
        }
        // Mostly they ascend already: a set would cost several times as much.
        accepted.sort_unstable();
        accepted.dedup();
        accepted
    }

    /// The application has everything up to `through`.
    pub(crate) fn applied(&mut self, through: Slot) {
        let before = self.learner.applied();
        self.learner.apply(through);
        self.hung.application &= self.learner.applied() == before;
    }

    /// An order of this replica under `s`, as a message.
    pub(crate) fn order(&self, s: SequenceNumber, order: Order<V>) -> Message<V> {
        Message::Order { configuration: self.configuration().id(), s, order }
    }

    pub(crate) fn order_others(&self, s: SequenceNumber, order: Order<V>, out: &mut Output<V>) {
        out.send_to_others(self.order(s, order));
    }

    /// Tells the owner of `s` that these slots are durably accepted.
    pub(crate) fn acknowledge(
        &self,
        s: SequenceNumber,
        ranges: Vec<SlotRange>,
        out: &mut Output<V>,
    ) {
        let prefix = self.prefix();
        self.reply(s, Reply::Acknowledge { ranges, prefix }, out);
    }

    /// Replies to the owner of `s`.
    pub(crate) fn reply(&self, s: SequenceNumber, reply: Reply<V>, out: &mut Output<V>) {
        if let Some(owner) = self.constants.owner(s) {
            let configuration = self.configuration().id();
            out.send(owner, Message::Reply { configuration, s, reply });
        }
    }
}
