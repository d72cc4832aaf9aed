//! Rounds: the coordinator's heartbeat, and the linearizable reads that rest on it.
//!
//! In a *round* the coordinator asks all others whether they still obey. Rounds are the heartbeat, and
//! they repeat the watermark. A round that began after a read arrived, and that a majority has
//! answered, proves that nobody coordinated under a higher number when the read arrived.
//!
//! A read at slot `n` sees everything that was committed when the read arrived at the coordinator, if
//! `n` covers that, and if nobody else can have committed more by then. The larger of two slots covers
//! it: the coordinator's watermark, and the last slot that the promises for its number reported. An
//! answered round proves the rest.

use alloc::collections::BTreeMap;

use super::common::Common;
use super::reads::Reads;
use crate::configuration::{Configuration, MemberSet};
use crate::entry::Value;
use crate::io::Output;
use crate::message::{Message, Order};
use crate::numbers::{ReadId, ReplicaId, RoundNumber, Run, SequenceNumber, Slot};

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

    /// What `replica` has answered counts no more.
    pub(super) fn forget(&mut self, replica: ReplicaId, configuration: &Configuration) {
        configuration.remove(&mut self.obeyed, replica);
    }

    /// Begins a round of the coordinator of `s`, which itself obeys.
    pub(super) fn begin<V: Value>(
        &mut self,
        s: SequenceNumber,
        common: &Common<V>,
        out: &mut Output<V>,
    ) {
        self.number.0 = self.number.0.saturating_add(1);
        self.obeyed = MemberSet::default();
        common.configuration().insert(&mut self.obeyed, common.me);
        self.confirmed_by_this.append(&mut self.confirmed_by_next);
        self.send(s, common, out);
    }

    /// Asks the others whether they obey in the newest round.
    pub(super) fn send<V: Value>(
        &self,
        s: SequenceNumber,
        common: &Common<V>,
        out: &mut Output<V>,
    ) {
        let (number, prefix) = (self.number, common.prefix());
        common.order_others(s, Order::Round { number, prefix }, out);
    }

    /// Asks one of the others whether it obeys in the newest round.
    pub(super) fn send_to<V: Value>(
        &self,
        member: ReplicaId,
        s: SequenceNumber,
        common: &Common<V>,
        out: &mut Output<V>,
    ) {
        let (number, prefix) = (self.number, common.prefix());
        out.send(member, common.order(s, Order::Round { number, prefix }));
    }

    /// `replica` obeyed in round `number`. False if that is no news: only an answer to the newest round
    /// counts.
    pub(super) fn take_obey<V>(
        &mut self,
        replica: ReplicaId,
        number: RoundNumber,
        configuration: &Configuration,
        out: &mut Output<V>,
    ) -> bool {
        let was_answered = self.are_answered(configuration);
        let is_news = number == self.number && configuration.insert(&mut self.obeyed, replica);
        // A coordinator hears no orders. That a majority obeys tells it that there is a coordinator.
        if !was_answered && self.are_answered(configuration) {
            out.coordinator_heard = true;
        }
        is_news
    }

    /// How many reads wait for a round.
    pub(super) fn reads(&self) -> u64 {
        (self.confirmed_by_this.len() + self.confirmed_by_next.len()) as u64
    }

    /// Takes in reads that arrive now from the run `run` of `from`, to be read at `slot`. It leaves out
    /// those that wait already, and those beyond the limit. False if there were any beyond the limit.
    pub(super) fn take_reads(
        &mut self,
        from: ReplicaId,
        run: Run,
        ids: &[ReadId],
        slot: Slot,
        reads_max: u64,
    ) -> bool {
        let mut room_for_all = true;
        for &id in ids {
            let read = WaitingRead { from, run, id };
            if self.confirmed_by_this.contains_key(&read)
                || self.confirmed_by_next.contains_key(&read)
            {
                continue;
            }
            if self.reads() < reads_max {
                self.confirmed_by_next.insert(read, slot);
            } else {
                room_for_all = false;
            }
        }
        room_for_all
    }

    /// If the newest round is answered, tells the reads that it confirms their slots, and begins a round
    /// for the reads that arrived after it began.
    pub(super) fn confirm_reads<V: Value>(
        &mut self,
        s: SequenceNumber,
        common: &Common<V>,
        reads: &mut Reads,
        out: &mut Output<V>,
    ) {
        while self.are_answered(common.configuration()) {
            let confirmed = core::mem::take(&mut self.confirmed_by_this);
            tell_reads(confirmed, common, reads, out);
            if self.confirmed_by_next.is_empty() {
                return;
            }
            self.begin(s, common, out);
        }
    }
}

/// Tells the replicas that asked at which slots their reads are served: the reads of one run at one
/// slot together, in as few messages as they fit in.
fn tell_reads<V: Value>(
    confirmed: BTreeMap<WaitingRead, Slot>,
    common: &Common<V>,
    reads: &mut Reads,
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
            reads.tell(&ids, slot);
        } else {
            for ids in common.in_lists(&ids) {
                out.send(from, Message::ReadAt { run, ids, slot });
            }
        }
    }
}
