//! Dead messages leave the set.
//!
//! A message that its recipient can never act on again is the same as an absent one: not in its
//! present state, nor after anything that may still happen to it, a crash included. To act is to
//! change the recipient's state, or to send a message that is not itself dead.
//!
//! "Never again" rests on what only grows, the *floors* of [`Summary`]: the durable promise and the
//! durable watermark of a replica that may crash, the promise and the watermark in memory of one that
//! may not. And on one fact about sequence numbers: a replica that does not stand or coordinate under
//! `s`, and whose floor of numbers heard of is at least `s`, never uses `s` again ([`is_over`]),
//! for it picks its next number above.
//!
//! Each case below says why. That none of it is wrong is tested in the plain model, where dead
//! messages are marked and kept: no marked message ever acts.

use super::envelope::{Envelope, places};
use super::local::{LocalState, RoleKind, Summary};
use super::scenario::{MessageKind, SLOTS_MAX, Scenario};
use crate::message::{Message, Order, Reply};
use crate::numbers::{SequenceNumber, Slot};
use crate::replica::Role;

/// A replica as this module looks at it.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) local: &'a LocalState,
    pub(crate) summary: &'a Summary,
}

/// Whether the owner will never again stand or coordinate under `s`.
fn is_over(owner: &Summary, s: SequenceNumber) -> bool {
    owner.own != s && owner.heard_floor >= s
}

/// Whether `envelope`, from `sender` to `recipient`, can never be acted on again.
pub(crate) fn is_dead(
    scenario: &Scenario,
    envelope: &Envelope,
    sender: Side<'_>,
    recipient: Side<'_>,
) -> bool {
    match &envelope.message {
        Message::Order { s, order, .. } => {
            order_is_dead(scenario, *s, order, sender.summary, recipient)
        }
        Message::Reply { s, reply, .. } => reply_is_dead(*s, reply, envelope.from, recipient),
        // A rejection only makes its recipient step down below the number, or pick above it.
        Message::Reject { promised } => recipient.summary.heard_floor >= *promised,
        // The world serves whatever is committed to anybody, unasked, so these are never stored: the
        // last only makes its recipient ask.
        Message::Ask { .. } | Message::Committed { .. } | Message::Submitted { .. } => true,
        // Only a coordinator takes submissions and reads: one who never coordinates again ignores
        // them.
        Message::Submit { submissions } => {
            !may_coordinate(scenario, recipient)
                || submissions.iter().all(|entry| is_settled(entry, recipient))
        }
        Message::Read { .. } => !may_coordinate(scenario, recipient),
        // An answer matters to the run that asked, as long as it waits. A run asks only once.
        Message::ReadAt { run, ids, .. } => {
            *run != recipient.summary.run
                || ids.iter().all(|id| !recipient.summary.reads.contains(id))
        }
    }
}

fn order_is_dead(
    scenario: &Scenario,
    s: SequenceNumber,
    order: &Order<u8>,
    owner: &Summary,
    recipient: Side<'_>,
) -> bool {
    let to = recipient.summary;
    // An order below the promise draws a rejection and nothing else, and the promise never goes
    // down again. The rejection is dead if it is lost, or tells its recipient nothing new ever: it
    // names at most the largest number that anybody may stand under.
    if s < to.promise_floor {
        let highest = scenario.numbers.iter().max().copied().unwrap_or_default();
        return scenario.loses.contains(MessageKind::Reject) || owner.heard_floor >= highest;
    }
    // Whatever else it says, an order at or above the promise ends a suspicion; and one that nobody
    // rejects yet may come to be rejected.
    let may_suspect = scenario.canvass;
    let may_reject = !scenario.loses.contains(MessageKind::Reject);
    if may_suspect || may_reject {
        return matches!(order, Order::Canvass) && is_over(owner, s) && !may_reject;
    }
    // Below, `s` is at or above the promise floor. If it is heard of for good, and the recipient
    // does not use a smaller one, then hearing it once more changes nothing; what is left is what
    // the order itself asks for.
    let heard_for_good = to.heard_floor >= s && (to.own == SequenceNumber::NONE || to.own >= s);
    match order {
        Order::Canvass => true,
        // Promised for good, and durable, so that nothing is owed: it would only be promised again,
        // and a promise interests a candidate alone.
        Order::Propose { .. } => {
            to.promise_floor == s
                && to.durable_promise == s
                && heard_for_good
                && !(owner.own == s && owner.role == RoleKind::Candidate)
                && (is_over(owner, s) || owner.own == s)
        }
        // Held for good in every slot, or committed for good: it would only be acknowledged again,
        // which interests a coordinator alone, and only for slots that it has not committed. And its
        // watermark says nothing new.
        Order::Accept { first, entries, watermark } => {
            to.promise_floor == s
                && heard_for_good
                && *watermark <= to.watermark_floor
                && places(*first, entries.len()).all(|slot| {
                    slot <= SLOTS_MAX
                        && (to.held_for_good[slot] == s || Slot(slot as u64) <= to.watermark_floor)
                })
                && (is_over(owner, s) || is_committed(owner, *first, entries.len()))
        }
        Order::Commit { watermark } => heard_for_good && *watermark <= to.watermark_floor,
        // Besides the watermark it asks for an answer, which interests the coordinator in its newest
        // round.
        Order::Round { number, watermark } => {
            heard_for_good
                && *watermark <= to.watermark_floor
                && (is_over(owner, s) || (owner.own == s && owner.round > number.0))
        }
    }
}

/// Whether the coordinator needs no acknowledgement of these slots any more: they are committed.
fn is_committed(owner: &Summary, first: Slot, count: usize) -> bool {
    owner.role == RoleKind::Coordinator && first.plus(count as u64) <= owner.watermark.next()
}

fn reply_is_dead(
    s: SequenceNumber,
    reply: &Reply<u8>,
    from: crate::numbers::ReplicaId,
    recipient: Side<'_>,
) -> bool {
    let Side { local, summary: to } = recipient;
    if is_over(to, s) {
        return true;
    }
    match (reply, &local.replica.role) {
        // A promise interests a candidate, and one who coordinates already was elected by it or
        // without it.
        (Reply::Promise(_), Role::Coordinator(coordinator)) => coordinator.s == s,
        (Reply::Promise(promise), Role::Candidate(candidate)) => {
            candidate.s == s && candidate.knows(from, promise)
        }
        // Counted, or committed without it.
        (Reply::Acknowledge { ranges }, Role::Coordinator(coordinator)) if coordinator.s == s => {
            ranges.iter().all(|range| {
                range.iter().all(|slot| match coordinator.open.get(&slot) {
                    Some(set) => local.replica.common.configuration.is_in(*set, from),
                    None => slot <= to.watermark,
                })
            })
        }
        // An answer to another round than the newest says nothing, and rounds only grow.
        (Reply::Obey { number, .. }, Role::Coordinator(coordinator)) if coordinator.s == s => {
            coordinator.rounds.newest() > *number
                || coordinator.rounds.has_obeyed(from, &local.replica.common.configuration)
        }
        _ => false,
    }
}

/// Whether the replica coordinates, or may come to.
fn may_coordinate(scenario: &Scenario, replica: Side<'_>) -> bool {
    let Side { local, summary } = replica;
    let mut numbers = scenario.numbers.iter();
    summary.role != RoleKind::Follower
        || numbers.any(|s| *s > summary.heard_floor && scenario.owner(*s) == local.me())
}

/// Whether the recipient has delivered this submission for good.
fn is_settled(entry: &crate::entry::Entry<u8>, recipient: Side<'_>) -> bool {
    let Side { local, summary } = recipient;
    summary.watermark_floor == summary.watermark
        && entry.submission_id().is_none_or(|id| {
            local.replica.common.learner.table().look_up(id) != crate::sessions::Known::Nothing
        })
}
