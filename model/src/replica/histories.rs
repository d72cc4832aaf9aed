//! Histories: whether peers have committed the same entries as this replica.
//!
//! Every message that says what its sender has committed is compared when it arrives
//! ([`prefix`](crate::prefix)). If it differs, the two replicas have different histories. One of them is
//! wrong, and nobody knows which. From then on neither counts for the other: an order is not obeyed, a
//! vote is not counted, nothing is taken in. So nothing is committed by votes over different prefixes.
//!
//! Whoever finds a difference asks everybody else. A replica from which a majority differs stops: the
//! majority goes on without it. One against one, with nobody to decide, stand still.

use alloc::collections::btree_map::Entry;

use super::Replica;
use super::common::Common;
use crate::configuration::MemberSet;
use crate::entry::Value;
use crate::io::{OtherHistory, Output};
use crate::message::Message;
use crate::numbers::{ReplicaId, Slot};
use crate::prefix::{Prefix, PrefixCompared};

impl<V: Value> Common<V> {
    /// What this replica has committed.
    pub(crate) fn prefix(&self) -> Prefix {
        self.learner.hashes().prefix_at(self.watermark(), self.limits())
    }

    /// Whether a message of `peer` counts: it tells of no other history, and none is known; and its disk
    /// is not known to have lost anything.
    pub(super) fn counts(
        &mut self,
        peer: ReplicaId,
        message: &Message<V>,
        out: &mut Output<V>,
    ) -> bool {
        if self.forgotten.contains_key(&peer) {
            return false;
        }
        if let Some(prefix) = message.prefix() {
            self.compare(peer, prefix, out);
        }
        !self.other_histories.contains_key(&peer)
    }

    /// Compares what `peer` has committed with what is committed here.
    pub(super) fn compare(&mut self, peer: ReplicaId, prefix: &Prefix, out: &mut Output<V>) {
        match self.learner.hashes().compare(prefix, self.limits()) {
            PrefixCompared::Differs { slot } => self.note_other_history(peer, slot, out),
            // An operator may have put its directory right.
            PrefixCompared::Same
                if self.other_histories.get(&peer).is_some_and(|at| *at <= prefix.through) =>
            {
                self.other_histories.remove(&peer);
            }
            PrefixCompared::Same | PrefixCompared::Longer => {}
        }
    }

    /// What `peer` has committed up to `slot` is not what is committed here. If that is news, everybody
    /// is asked.
    pub(super) fn note_other_history(&mut self, peer: ReplicaId, slot: Slot, out: &mut Output<V>) {
        if let Entry::Vacant(place) = self.other_histories.entry(peer) {
            place.insert(slot);
            out.other_histories.push(OtherHistory { peer, slot });
            self.ask_for_histories(out);
        }
    }

    /// Asks all others what they have committed, if it is known to differ from one. One that is known to
    /// differ is told what it can compare: it may have committed less, and would not know.
    pub(super) fn ask_for_histories(&self, out: &mut Output<V>) {
        if self.other_histories.is_empty() {
            return;
        }
        for peer in self.others() {
            let differs_at = self.other_histories.get(&peer);
            let through = differs_at.copied().unwrap_or(self.watermark());
            let prefix = self.learner.hashes().prefix_at(through, self.limits());
            out.send(peer, Message::Compare { prefix, is_question: true });
        }
    }

    /// Whether this replica does nothing any more: its disk has lost something, another data directory is registered
    /// under its id, or a majority is known to have another history. A peer that has lost something is not counted
    /// among them.
    pub(crate) fn is_stopped(&self) -> bool {
        if self.forgotten.contains_key(&self.me) || self.other_directory().is_some() {
            return true;
        }
        let mut differ = MemberSet::default();
        for peer in self.other_histories.keys().filter(|it| !self.forgotten.contains_key(it)) {
            self.configuration().insert(&mut differ, *peer);
        }
        self.configuration().is_majority(differ)
    }
}

impl<V: Value> Replica<V> {
    /// `from` has committed `prefix`, and may want to know what is committed here.
    pub(super) fn take_comparison(
        &mut self,
        from: ReplicaId,
        prefix: &Prefix,
        is_question: bool,
        out: &mut Output<V>,
    ) {
        let common = &mut self.common;
        common.compare(from, prefix, out);
        if is_question {
            // As much as the other can compare.
            let prefix = common.learner.hashes().prefix_at(prefix.through, common.limits());
            out.send(from, Message::Compare { prefix, is_question: false });
        }
    }
}
