//! Arbitrary messages, possible and impossible ones.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{
    Accepted, Change, Configuration, ConfigurationId, Entry, Forgotten, Incarnation, MemberSet,
    Message, NotTakenReason, Opening, Order, Prefix, PrefixHash, Promise, ReadId, ReplicaId, Reply,
    Request, RoundNumber, Run, SequenceNumber, SessionId, Slot, SlotRange, SubmissionId, Testimony,
    ToldAccepted,
};

use crate::cluster::V;

/// Small numbers, which are likely to exist, and very large ones.
fn number() -> BoxedStrategy<u64> {
    prop_oneof![
        12 => 0..12u64,
        1 => (0..3u64).prop_map(|less| u64::MAX - less),
        1 => (0..5u64).prop_map(|more| u64::MAX / 2 - 2 + more),
        1 => (0..3u64).prop_map(|more| (1 << 60) + more),
    ]
    .boxed()
}

pub(crate) fn slot() -> impl Strategy<Value = Slot> {
    number().prop_map(Slot)
}

pub(crate) fn sequence_number() -> impl Strategy<Value = SequenceNumber> {
    number().prop_map(SequenceNumber)
}

fn submission() -> impl Strategy<Value = SubmissionId> {
    entry().prop_map(|entry| {
        entry.submission_id().unwrap_or(SubmissionId::End { session: SessionId(3) })
    })
}

pub(crate) fn entry() -> BoxedStrategy<Entry<V>> {
    let request = (number(), number(), number(), 0..12usize).prop_map(
        |(session, number, answered, length)| {
            Entry::Request(Request {
                session: SessionId(session),
                number,
                answered,
                value: Arc::from(vec![b'z'; length]),
            })
        },
    );
    prop_oneof![
        1 => Just(Entry::NoOp),
        6 => request,
        1 => (0..4u16, number(), number()).prop_map(|(origin, run, count)| {
            Entry::Open(Opening { origin: ReplicaId(origin), run: Run(run), count })
        }),
        1 => number().prop_map(|session| Entry::End { session: SessionId(session) }),
        1 => number().prop_map(|id| {
            let members = vec![ReplicaId(1), ReplicaId(9)];
            let configuration = Configuration::new(ConfigurationId(id), members);
            let configuration = configuration.expect("members differ");
            let session = SessionId(id);
            Entry::Change(Change { session, number: id, answered: id, configuration })
        }),
    ]
    .boxed()
}

pub(crate) fn entries() -> impl Strategy<Value = Vec<Entry<V>>> {
    vec(entry(), 0..5)
}

/// The empty prefix, which every replica has, or an arbitrary one, which nearly none has.
pub(crate) fn prefix() -> impl Strategy<Value = Prefix> {
    let arbitrary = (slot(), number(), number()).prop_map(|(through, hash, checkpoint)| Prefix {
        through,
        hash: PrefixHash(hash),
        checkpoint: PrefixHash(checkpoint),
    });
    prop_oneof![9 => Just(Prefix::default()), 1 => arbitrary]
}

pub(crate) fn order() -> impl Strategy<Value = Order<V>> {
    prop_oneof![
        1 => (1..4_u64).prop_map(|run| Order::Canvass { run: Run(run) }),
        2 => slot().prop_map(|from| Order::Propose { from }),
        5 => (slot(), entries(), prefix())
            .prop_map(|(first, entries, prefix)| Order::Accept { first, entries, prefix }),
        1 => prefix().prop_map(|prefix| Order::Commit { prefix }),
        1 => (number(), prefix()).prop_map(|(number, prefix)| {
            Order::Round { number: RoundNumber(number), prefix }
        }),
        1 => Just(Order::Progress),
    ]
}

fn promise() -> impl Strategy<Value = Promise<V>> {
    let accepted = || {
        let parts = (slot(), sequence_number(), entry());
        parts.prop_map(|(slot, s, entry)| Accepted { slot, s, entry })
    };
    // A promise of four arbitrary slots is usually impossible, and the core drops it at once.
    let any = (slot(), slot(), slot(), slot(), vec(accepted(), 0..5));
    let ordered = (slot(), 0..6u64, 0..3u64, 0..6u64, vec(accepted(), 0..3));
    prop_oneof![
        1 => any.prop_map(|(watermark, last, after, through, accepted)| {
            let prefix = Prefix { through: watermark, ..Prefix::default() };
            Promise { prefix, last, after, through, accepted }
        }),
        3 => ordered.prop_map(|(watermark, more, after, through, mut accepted)| {
            let last = watermark.plus(more);
            let after = watermark.plus(after).min(last);
            let through = after.plus(through).min(last);
            for (more, it) in (1..).zip(&mut accepted) {
                it.slot = after.plus(more);
            }
            let prefix = Prefix { through: watermark, ..Prefix::default() };
            Promise { prefix, last, after, through, accepted }
        }),
    ]
}

pub(crate) fn reply() -> impl Strategy<Value = Reply<V>> {
    let range = (slot(), slot()).prop_map(|(first, last)| SlotRange { first, last });
    prop_oneof![
        1 => (1..4_u64).prop_map(|run| Reply::Agree { run: Run(run) }),
        4 => promise().prop_map(Reply::Promise),
        2 => (vec(range, 0..4), prefix())
            .prop_map(|(ranges, prefix)| Reply::Acknowledge { ranges, prefix }),
        1 => slot().prop_map(|through| Reply::Room { through }),
        1 => slot().prop_map(|through| Reply::Applied { through }),
        1 => (number(), slot(), prefix()).prop_map(|(number, last, prefix)| {
            Reply::Obey { number: RoundNumber(number), last, prefix }
        }),
    ]
}

pub(crate) fn message() -> impl Strategy<Value = Message<V>> {
    let configuration = prop_oneof![9 => Just(1), 1 => number()].prop_map(ConfigurationId);
    let ids = || vec(number().prop_map(ReadId), 0..8);
    prop_oneof![
        8 => (configuration.clone(), sequence_number(), order())
            .prop_map(|(configuration, s, order)| Message::Order { configuration, s, order }),
        8 => (configuration, sequence_number(), reply())
            .prop_map(|(configuration, s, reply)| Message::Reply { configuration, s, reply }),
        1 => sequence_number().prop_map(|promised| Message::Reject { promised }),
        1 => (slot(), slot(), prefix())
            .prop_map(|(from, through, prefix)| Message::Ask { from, through, prefix }),
        1 => (prefix(), any::<bool>())
            .prop_map(|(prefix, is_question)| Message::Compare { prefix, is_question }),
        5 => (slot(), slot(), entries(), slot()).prop_map(
            |(log_starts_at, first, entries, watermark)| {
                let before = PrefixHash::default();
                Message::Committed { log_starts_at, first, before, entries, watermark }
            }
        ),
        2 => entries().prop_map(|submissions| Message::Submit { submissions }),
        1 => (submission(), slot())
            .prop_map(|(submission, slot)| Message::Submitted { submission, slot }),
        1 => slot().prop_map(|slot| Message::Offer { slot }),
        1 => testimony().prop_map(|testimony| Message::Remind { testimony }),
        1 => (0..7u16, sequence_number(), slot()).prop_map(|(replica, s, slot)| {
            let (replica, told_to) = (ReplicaId(replica), ReplicaId(0));
            Message::Forgot { forgotten: Forgotten { replica, told_to, s, slot: Some(slot) } }
        }),
        1 => not_taken(),
        1 => sequence_number().prop_map(|s| Message::Forward { s }),
        1 => (sequence_number(), 0..3_u64, prefix())
            .prop_map(|(s, number, prefix)| Message::AskReady { s, number, prefix }),
        1 => (sequence_number(), 0..3_u64, slot()).prop_map(|(s, number, through)| {
            let incarnation = Some(Incarnation::first_of(ReplicaId(1)));
            Message::Ready { s, number, incarnation, through }
        }),
        1 => (sequence_number(), submission()).prop_map(|(s, submission)| {
            Message::NotReady { s, submission, ready: MemberSet::default() }
        }),
        1 => (number(), ids()).prop_map(|(run, ids)| Message::Read { run: Run(run), ids }),
        1 => (number(), ids(), slot())
            .prop_map(|(run, ids, slot)| Message::ReadAt { run: Run(run), ids, slot }),
    ]
}

/// Mostly of something that every replica has, or the replicas would soon do nothing any more.
fn testimony() -> impl Strategy<Value = Testimony> {
    let configuration = ConfigurationId(1);
    let accepted = move |slot, s| Some(ToldAccepted { configuration, s, slot });
    let any = (sequence_number(), slot(), sequence_number())
        .prop_map(move |(promised, slot, s)| Testimony { promised, accepted: accepted(slot, s) });
    prop_oneof![9 => Just(Testimony::default()), 1 => any]
}

fn not_taken() -> impl Strategy<Value = Message<V>> {
    let reason = prop_oneof![Just(NotTakenReason::Stands), Just(NotTakenReason::NoRoom)];
    (sequence_number(), reason, vec(submission(), 0..4), any::<bool>()).prop_map(
        |(s, reason, submissions, reads)| Message::NotTaken { s, reason, submissions, reads },
    )
}
