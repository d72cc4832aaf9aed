//! Rounds, and the linearizable reads that rest on them.
//!
//! In a *round* the coordinator asks all others whether they still obey. Rounds are the heartbeat, and
//! they repeat the watermark. A round that began after a read arrived, and that a majority has
//! answered, proves that nobody coordinated under a higher number when the read arrived.
//!
//! A read is told a slot, and served when the application has everything up to it. The slot covers
//! everything that was committed when the read arrived. A read at a replica that does not coordinate
//! is forwarded, and repeated until it is answered. The answer names the run that asked, because an
//! earlier run may have used the same id.
//!
//! [`Reads`] is the side of the replica that a client asked. [`Rounds`] is the coordinator's side.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::clients::Clients;
use super::common::Common;
use super::coordinator::Coordinator;
use super::{Replica, Role};
use crate::configuration::{Configuration, MemberSet};
use crate::entry::Value;
use crate::io::{ClientAnswer, Output};
use crate::message::{Message, Order};
use crate::numbers::{ReadId, ReplicaId, RoundNumber, Run, Slot};

/// The newest round of a coordinator, and the reads that wait for a round.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rounds {
    /// Which round is the newest.
    number: RoundNumber,
    /// Who has answered it.
    obeyed: MemberSet,
    /// Reads that the newest round confirms once it is answered, each with the slot to read at.
    confirmed_by_this: BTreeMap<WaitingRead, Slot>,
    /// Reads that arrived after the newest round began.
    confirmed_by_next: BTreeMap<WaitingRead, Slot>,
}

/// A read that waits for the answers to a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct WaitingRead {
    from: ReplicaId,
    run: Run,
    id: ReadId,
}

impl Rounds {
    /// The number of the newest round.
    #[cfg(feature = "stateright")]
    pub(crate) fn newest(&self) -> RoundNumber {
        self.number
    }

    /// Whether a majority has answered the newest round.
    pub(crate) fn are_answered(&self, configuration: &Configuration) -> bool {
        configuration.is_majority(self.obeyed)
    }

    /// Whether `replica` has answered the newest round.
    #[cfg(feature = "stateright")]
    pub(crate) fn has_obeyed(&self, replica: ReplicaId, configuration: &Configuration) -> bool {
        configuration.is_in(self.obeyed, replica)
    }

    /// Begins a round. The coordinator itself, `me`, obeys.
    fn begin(&mut self, me: ReplicaId, configuration: &Configuration) {
        self.number.0 = self.number.0.saturating_add(1);
        self.obeyed = MemberSet::default();
        configuration.insert(&mut self.obeyed, me);
        self.confirmed_by_this.append(&mut self.confirmed_by_next);
    }

    /// Takes in a read that arrives now, to be read at `slot`, unless it waits already or as many
    /// wait as the limit allows.
    fn add_read(&mut self, read: WaitingRead, slot: Slot, reads_max: u64) {
        let waiting = self.confirmed_by_this.len() + self.confirmed_by_next.len();
        if (waiting as u64) < reads_max && !self.confirmed_by_this.contains_key(&read) {
            self.confirmed_by_next.entry(read).or_insert(slot);
        }
    }
}

impl<V: Value> Coordinator<V> {
    pub(super) fn begin_round(&mut self, common: &Common<V>, out: &mut Output<V>) {
        self.rounds.begin(common.me, &common.configuration);
        self.send_round(common, out);
    }

    pub(super) fn send_round(&self, common: &Common<V>, out: &mut Output<V>) {
        let (number, watermark) = (self.rounds.number, common.watermark());
        common.order_others(self.s, Order::Round { number, watermark }, out);
    }

    /// `replica` obeyed in round `number`, and has accepted nothing above `last`. Only an answer to the
    /// newest round counts.
    pub(super) fn take_obey(
        &mut self,
        replica: ReplicaId,
        number: RoundNumber,
        last: Slot,
        common: &mut Common<V>,
        out: &mut Output<V>,
    ) {
        let rounds = &mut self.rounds;
        let was_answered = rounds.are_answered(&common.configuration);
        let is_news =
            number == rounds.number && common.configuration.insert(&mut rounds.obeyed, replica);
        if !is_news {
            return;
        }
        // A coordinator hears no orders. That a majority obeys tells it that there is a coordinator.
        if !was_answered && rounds.are_answered(&common.configuration) {
            out.coordinator_heard = true;
        }
        self.fill_up_to(last, common, out);
    }

    /// Takes in reads of the run `run` of `from`.
    ///
    /// Everything that any replica has committed by now is at or below the larger of two slots. This
    /// replica's watermark covers what was committed under its own number. What was committed before
    /// was reported by the promises that made it coordinator.
    pub(super) fn take_reads(
        &mut self,
        from: ReplicaId,
        run: Run,
        ids: &[ReadId],
        common: &Common<V>,
    ) {
        let slot = common.watermark().max(self.last_promised);
        for &id in ids {
            let read = WaitingRead { from, run, id };
            self.rounds.add_read(read, slot, common.limits().reads_max);
        }
    }

    /// Tells the reads that the newest round confirms their slot, and begins a round for those that
    /// arrived after it began.
    ///
    /// It waits until the slots that the election must finish are committed. Until then such a slot may
    /// be lost with this coordinator, and a read that was told of it would wait for ever.
    pub(super) fn confirm_reads(
        &mut self,
        common: &Common<V>,
        clients: &mut Clients<V>,
        out: &mut Output<V>,
    ) {
        while self.rounds.are_answered(&common.configuration)
            && self.last_promised <= common.watermark()
        {
            let confirmed = core::mem::take(&mut self.rounds.confirmed_by_this);
            answer_reads(confirmed, common, clients, out);
            if self.rounds.confirmed_by_next.is_empty() {
                return;
            }
            self.begin_round(common, out);
        }
    }
}

/// Tells the replicas that asked at which slots their reads are served: one message for all reads of
/// one run at one slot.
fn answer_reads<V: Value>(
    confirmed: BTreeMap<WaitingRead, Slot>,
    common: &Common<V>,
    clients: &mut Clients<V>,
    out: &mut Output<V>,
) {
    let mut confirmed = confirmed.into_iter().peekable();
    while let Some((WaitingRead { from, run, id }, slot)) = confirmed.next() {
        let mut ids = alloc::vec![id];
        while let Some((next, _)) =
            confirmed.next_if(|(next, at)| (next.from, next.run, *at) == (from, run, slot))
        {
            ids.push(next.id);
        }
        if from == common.me {
            clients.reads.tell(&ids, slot);
        } else {
            out.send(from, Message::ReadAt { run, ids, slot });
        }
    }
}

/// The reads of this replica's clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reads {
    /// Reads that no slot is known for.
    asked: BTreeSet<ReadId>,
    /// Reads whose slot is known, by slot.
    told: BTreeSet<(Slot, ReadId)>,
}

impl Reads {
    /// Takes in a new read, unless there are `reads_max` already.
    fn ask(&mut self, id: ReadId, reads_max: u64) -> bool {
        let room = ((self.asked.len() + self.told.len()) as u64) < reads_max;
        if room {
            self.asked.insert(id);
        }
        room
    }

    /// The reads that no answer has come for.
    pub(crate) fn unanswered(&self) -> Vec<ReadId> {
        self.asked.iter().copied().collect()
    }

    /// Whether no read waits for anything.
    #[cfg(feature = "stateright")]
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.told.is_empty()
    }

    /// Whether no read waits for its slot to be applied.
    #[cfg(feature = "stateright")]
    pub(crate) fn told_is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// These reads are to be served at `slot`. A read that nobody waits for is ignored.
    pub(super) fn tell(&mut self, ids: &[ReadId], slot: Slot) {
        for &id in ids {
            if self.asked.remove(&id) {
                self.told.insert((slot, id));
            }
        }
    }

    /// Answers the reads whose slot is applied.
    pub(super) fn answer<V>(&mut self, applied: Slot, out: &mut Output<V>) {
        while let Some(&(slot, id)) = self.told.first().filter(|(slot, _)| *slot <= applied) {
            self.told.remove(&(slot, id));
            out.answers.push(ClientAnswer::Read { id, slot });
        }
    }
}

impl<V: Value> Replica<V> {
    /// Clients of this replica want to read.
    pub(super) fn read(&mut self, ids: Vec<ReadId>, out: &mut Output<V>) {
        let reads_max = self.common.limits().reads_max;
        let mut taken = Vec::new();
        for id in ids {
            if self.clients.reads.ask(id, reads_max) {
                taken.push(id);
            } else {
                out.answers.push(ClientAnswer::ReadRefused { id });
            }
        }
        self.pass_on_reads(&taken, out);
    }

    /// Passes reads of this replica's clients on to the coordinator: this replica, or another if one
    /// is known.
    pub(super) fn pass_on_reads(&mut self, ids: &[ReadId], out: &mut Output<V>) {
        let common = &self.common;
        if let Role::Coordinator(coordinator) = &mut self.role {
            coordinator.take_reads(common.me, common.run, ids, common);
        } else if let Some(coordinator) = common.forwards_to() {
            let frame = usize::try_from(common.limits().frame_entries_max).unwrap_or(usize::MAX);
            for ids in ids.chunks(frame.max(1)) {
                out.send(coordinator, Message::Read { run: common.run, ids: ids.to_vec() });
            }
        }
    }

    /// Takes in reads that `from` forwards. Only a coordinator does.
    pub(super) fn take_forwarded_reads(&mut self, from: ReplicaId, run: Run, ids: &[ReadId]) {
        if let Role::Coordinator(coordinator) = &mut self.role {
            coordinator.take_reads(from, run, ids, &self.common);
        }
    }
}
