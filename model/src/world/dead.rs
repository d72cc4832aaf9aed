//! Dead messages leave the state.
//!
//! A message is dead if its recipient can never act on it again. To act on a message is to change state,
//! or to send a message that is not itself dead. "Never" means: not in the present state of the
//! recipient, and not after anything that may still happen, crashes included. A dead message is the
//! same as no message.
//!
//! The arguments rest on values that only grow: the *floors* of a [`Summary`]. If a replica may crash,
//! they are the promise and the watermark on its disk; if not, those in its memory. The arguments also
//! rest on one fact about sequence numbers. A replica takes its next number above all that it has
//! heard of. So if it does not use `s` now, and its floor of numbers heard of is at least `s`, it
//! never uses `s` again ([`is_over`]).
//!
//! Each case below gives its reason. The tests check all of them in the plain model, where dead messages
//! are marked and kept: no marked message ever acts.

use super::envelope::{Envelope, places};
use super::local::{LocalState, RoleKind, Summary, index};
use super::scenario::{MessageKind, SLOTS_MAX, Scenario};
use crate::message::{Message, Order, Reply};
use crate::numbers::{ReplicaId, SequenceNumber, Slot};
use crate::replica::Role;
use crate::testimony::{Testimony, ToldAccepted};

/// The sender or the recipient of a message.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) local: &'a LocalState,
    pub(crate) summary: &'a Summary,
}

/// Whether the owner will never again stand or coordinate under `s`.
fn is_over(owner: &Summary, s: SequenceNumber) -> bool {
    owner.own != s && owner.heard_floor >= s
}

/// The sender of an order, after its data directory was lost. No answer reaches it any more. So it is
/// like a replica that uses no number and has heard of all.
fn lost(owner: &Summary) -> Summary {
    let (role, own) = (RoleKind::Follower, SequenceNumber::NONE);
    Summary { role, own, heard_floor: SequenceNumber(u64::MAX), ..owner.clone() }
}

/// Whether `envelope`, from `sender` to `recipient`, can never be acted on again.
pub(crate) fn is_dead(
    scenario: &Scenario,
    envelope: &Envelope,
    sender: Side<'_>,
    recipient: Side<'_>,
) -> bool {
    // A directory that is lost never comes back.
    if !recipient.local.is_addressee(envelope) {
        return true;
    }
    if scenario.rollbacks > 0 && may_tell_of_another_history(envelope, recipient) {
        return false;
    }
    match &envelope.message {
        Message::Order { s, order, .. } if sender.local.is_sender(envelope) => {
            order_is_dead(scenario, *s, order, sender.summary, recipient)
        }
        Message::Order { s, order, .. } => {
            order_is_dead(scenario, *s, order, &lost(sender.summary), recipient)
        }
        // A replica that has lost something counts for nothing, as long as this run remembers.
        Message::Reply { s, reply, .. } => {
            let forgotten = &recipient.local.replica.common.forgotten;
            is_over(recipient.summary, *s)
                || forgotten.contains_key(&envelope.from)
                || (reply_is_dead(*s, reply, envelope.from, recipient)
                    && (!scenario.reminds() || is_known(*s, reply, envelope.from, recipient)))
        }
        // A rejection only makes its recipient step down below the number, or pick a higher one.
        Message::Reject { promised } => recipient.summary.heard_floor >= *promised,
        // The world serves committed slots unasked, so the first three are never kept in flight, and the
        // fourth is not needed. The fifth only makes its recipient ask. The last one has been found to tell
        // of no other history.
        Message::Ask { .. }
        | Message::Offer { .. }
        | Message::Committed { .. }
        | Message::CommittedThrough { .. }
        | Message::Submitted { .. }
        | Message::Compare { .. } => true,
        // Its disk holds for good what it is reminded of, as every disk does where none rolls back.
        Message::Remind { testimony } => {
            scenario.rollbacks == 0 || has_for_good(recipient.summary, testimony)
        }
        Message::Forgot { .. } => false,
        // Only a coordinator takes submissions and reads. A replica that never coordinates again
        // ignores them.
        Message::Submit { submissions } => {
            !may_coordinate(scenario, recipient)
                || submissions.iter().all(|entry| is_settled(entry, recipient))
        }
        Message::Read { .. } => !may_coordinate(scenario, recipient),
        // They matter only to one who forwards to the owner of `s`, and the promise never falls.
        Message::NotTaken { s, .. } | Message::Forward { s } | Message::NotReady { s, .. } => {
            *s < recipient.summary.promise_floor
        }
        // Only the coordinator of `s` makes anything of the answer.
        Message::AskReady { s, .. } => is_over(sender.summary, *s),
        Message::Ready { s, .. } => is_over(recipient.summary, *s),
        // An answer matters only to the run that asked, and only while it waits. A run asks once.
        Message::ReadAt { run, ids, .. } => {
            *run != recipient.summary.run
                || ids.iter().all(|id| !recipient.summary.reads.contains(id))
        }
    }
}

/// Whether a message, or the answer to it, may show that its sender has another history.
///
/// It cannot if the recipient has the same up to there for good. Then it could only end a doubt.
fn may_tell_of_another_history(envelope: &Envelope, recipient: Side<'_>) -> bool {
    if let Message::Order { order, .. } = &envelope.message
        && !matches!(order, Order::Canvass { .. } | Order::Commit { .. })
    {
        return true;
    }
    let common = &recipient.local.replica.common;
    let is_question = matches!(envelope.message, Message::Compare { is_question: true, .. });
    envelope.message.prefix().is_some_and(|prefix| {
        let mine = common.learner.hashes().at(prefix.through, common.limits());
        is_question
            || prefix.through > recipient.summary.watermark_floor
            || mine != Some(prefix.hash)
            || common.other_histories.contains_key(&envelope.from)
    })
}

fn order_is_dead(
    scenario: &Scenario,
    s: SequenceNumber,
    order: &Order<u8>,
    owner: &Summary,
    recipient: Side<'_>,
) -> bool {
    let to = recipient.summary;
    // The answer to an order below the promise is a rejection and nothing else, and the promise never
    // falls. The rejection is dead if the network loses it. It is also dead if the owner has heard of
    // the highest number of the scenario, since a rejection names no higher one.
    if s < to.promise_floor {
        let highest = scenario.numbers.iter().max().copied().unwrap_or_default();
        return scenario.loses.contains(MessageKind::Reject) || owner.heard_floor >= highest;
    }
    // An order at or above the promise ends a suspicion, whatever else it says. And an order that is
    // not rejected yet may be rejected later.
    let may_suspect = scenario.canvass;
    let may_reject = !scenario.loses.contains(MessageKind::Reject);
    if may_suspect || may_reject {
        return matches!(order, Order::Canvass { .. }) && is_over(owner, s) && !may_reject;
    }
    // From here on, `s` is at or above the promise floor. If the recipient has heard of `s` for good and
    // does not use a smaller number itself, hearing `s` once more changes nothing. Then only what the
    // order itself asks for can matter.
    let heard_for_good = to.heard_floor >= s && (to.own == SequenceNumber::NONE || to.own >= s);
    // An order of a coordinator makes its recipient forward what clients wait for. A new promise, above
    // `s`, leaves something to be forwarded again; and so does what was not taken.
    let may_forward = to.has_unforwarded || !scenario.loses.contains(MessageKind::NotTaken);
    if may_forward && !matches!(order, Order::Canvass { .. } | Order::Propose { .. }) {
        return false;
    }
    match order {
        Order::Canvass { .. } => true,
        // The number is promised for good, and the promise is durable. So the recipient would only
        // promise again, and a promise matters only to a candidate.
        Order::Propose { .. } => {
            to.promise_floor == s
                && to.durable_promise == s
                && heard_for_good
                && !(owner.own == s && owner.role == RoleKind::Candidate)
                && (is_over(owner, s) || owner.own == s)
        }
        // Every slot is held for good under this number, or committed for good, and the watermark is
        // not new. So the recipient would only acknowledge again. An acknowledgement matters only to a
        // coordinator, and only for slots that it has not committed.
        Order::Accept { first, entries, prefix } => {
            to.promise_floor == s
                && heard_for_good
                && prefix.through <= to.watermark_floor
                && places(*first, entries.len()).all(|slot| {
                    slot <= SLOTS_MAX
                        && (to.held_for_good[slot] == s || Slot(slot as u64) <= to.watermark_floor)
                })
                && (is_over(owner, s) || is_committed(owner, *first, entries.len()))
        }
        Order::Commit { prefix } => heard_for_good && prefix.through <= to.watermark_floor,
        // Apart from the watermark, a round asks for an answer. It matters only to the coordinator, and
        // only in its newest round.
        Order::Round { number, prefix } => {
            heard_for_good
                && prefix.through <= to.watermark_floor
                && (is_over(owner, s) || (owner.own == s && owner.round > number.0))
        }
        // It asks for an answer, and only the coordinator uses that.
        Order::Progress => heard_for_good && is_over(owner, s),
    }
}

/// Whether the coordinator has committed these slots, so that it needs no acknowledgement of them.
fn is_committed(owner: &Summary, first: Slot, count: usize) -> bool {
    owner.role == RoleKind::Coordinator && first.plus(count as u64) <= owner.watermark.next()
}

fn reply_is_dead(
    s: SequenceNumber,
    reply: &Reply<u8>,
    from: ReplicaId,
    recipient: Side<'_>,
) -> bool {
    let Side { local, summary: to } = recipient;
    match (reply, &local.replica.role) {
        // A promise matters only to a candidate. A coordinator was elected with it or without it.
        (Reply::Promise(_), Role::Coordinator(coordinator)) => coordinator.s == s,
        (Reply::Promise(promise), Role::Candidate(candidate)) => {
            candidate.s == s && candidate.knows(from, promise)
        }
        // Each slot has counted this acknowledgement, or is committed.
        (Reply::Acknowledge { ranges, .. }, Role::Coordinator(coordinator))
            if coordinator.s == s =>
        {
            ranges.iter().all(|range| {
                range.iter().all(|slot| match coordinator.open.get(&slot) {
                    Some(set) => local.replica.common.configuration().is_in(*set, from),
                    None => slot <= to.watermark,
                })
            })
        }
        // Only an answer to the newest round counts, and rounds only grow.
        (Reply::Obey { number, .. }, Role::Coordinator(coordinator)) if coordinator.s == s => {
            coordinator.rounds.newest() > *number
                || coordinator.rounds.has_obeyed(from, local.replica.common.configuration())
        }
        _ => false,
    }
}

/// Whether the replica has for good what it has told.
fn has_for_good(to: &Summary, testimony: &Testimony) -> bool {
    let has_accepted = |told: ToldAccepted| {
        told.slot <= to.watermark_floor
            || to.held_for_good.get(index(told.slot)).is_some_and(|s| *s >= told.s)
    };
    testimony.promised <= to.promise_floor && testimony.accepted.is_none_or(has_accepted)
}

/// Whether the recipient would remember nothing new of a reply.
fn is_known(s: SequenceNumber, reply: &Reply<u8>, from: ReplicaId, recipient: Side<'_>) -> bool {
    let common = &recipient.local.replica.common;
    let mut after = common.clone();
    after.remember(from, s, reply);
    after.testimonies == common.testimonies
}

/// Whether the replica coordinates now, or may coordinate later.
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
