//! Two histories: what a replica does about a peer that has committed other entries.

mod replica;

use replica::{OTHERS, Subject, V, request};
use synod_model::{
    Accepted, Base, ClusterConstants, Configuration, ConfigurationId, Content, Entry, Input,
    Limits, Message, Order, OtherHistory, Output, Prefix, PrefixHash, Promise, Record, RecordError,
    Recovery, ReplicaId, Reply, Run, SequenceNumber, Serve, Slot, SlotRange, To,
};

/// The prefix with these entries.
fn prefix_of(entries: &[Entry<V>]) -> Prefix {
    let hash = entries.iter().fold(PrefixHash::default(), PrefixHash::after);
    Prefix { through: Slot(entries.len() as u64), hash, checkpoint: PrefixHash::default() }
}

fn mine() -> Vec<Entry<V>> {
    vec![request(1, 1)]
}

fn theirs() -> Vec<Entry<V>> {
    vec![request(2, 1)]
}

/// An order of the first of the others.
fn commit(it: &mut Subject, prefix: Prefix) {
    let (configuration, s) = (ConfigurationId(1), SequenceNumber(4));
    it.receive(OTHERS[0], Message::Order { configuration, s, order: Order::Commit { prefix } });
}

fn tells(it: &mut Subject, peer: ReplicaId, entries: &[Entry<V>]) {
    let (prefix, is_question) = (prefix_of(entries), false);
    it.receive(peer, Message::Compare { prefix, is_question });
}

/// A follower that has committed [`mine`].
fn follower() -> Subject {
    let mut it = Subject::follower(Limits::default());
    it.accept(1, mine());
    it.sync();
    commit(&mut it, prefix_of(&mine()));
    assert_eq!(it.status().watermark, Slot(1));
    it
}

#[test]
fn equal_entries_keep_different_hashes_different() {
    let (mut one, mut other) = (prefix_of(&mine()).hash, prefix_of(&theirs()).hash);
    for number in 3..1_000 {
        assert_ne!(one, other);
        (one, other) = (one.after(&request(number, 1)), other.after(&request(number, 1)));
    }
}

/// The hash is on disks and on the wire. It must never change.
#[test]
fn a_hash_is_what_it_always_was() {
    let hash = prefix_of(&[Entry::NoOp, request(1, 3)]).hash;
    assert_eq!(hash.to_string(), "82c7176c6a873638");
}

#[test]
fn nothing_is_delivered_before_the_hashes_are_equal() {
    let mut it = Subject::follower(Limits::default());
    it.accept(1, mine());
    it.sync();
    commit(&mut it, prefix_of(&theirs()));
    assert!(it.out.delivered.is_empty());
    assert_eq!(it.status().watermark, Slot(0));
    let found = [OtherHistory { peer: OTHERS[0], slot: Slot(1) }];
    assert_eq!(
        (&it.out.other_histories[..], &it.status().other_histories[..]),
        (&found[..], &found[..])
    );
}

#[test]
fn a_peer_with_another_history_is_not_obeyed_and_everybody_is_asked() {
    let mut it = follower();
    let two = [theirs(), vec![request(3, 1)]].concat();
    commit(&mut it, prefix_of(&theirs()));
    let question = Message::Compare { prefix: prefix_of(&mine()), is_question: true };
    let asked = |peer| {
        let mut sent = it.out.messages.iter();
        sent.any(|sent| sent.to == To::One(peer) && sent.message == question)
    };
    assert!(OTHERS.into_iter().all(asked));
    let before = it.status();
    it.accept(2, [request(3, 1)]);
    commit(&mut it, prefix_of(&two));
    it.sync();
    assert_eq!(it.status(), before, "not one order of it counts");
    assert!(it.sent().next().is_none());
}

#[test]
fn a_replica_stops_only_when_a_majority_has_another_history() {
    let mut it = follower();
    tells(&mut it, OTHERS[0], &theirs());
    assert!(!it.status().is_stopped, "one against one: nobody knows who is right");
    it.submit([request(5, 1)]);
    assert!(it.out.answers.is_empty(), "it still takes what clients want");
    tells(&mut it, OTHERS[1], &theirs());
    assert!(it.status().is_stopped);
    let before = it.status();
    it.step(Input::Resend);
    it.step(Input::Elect { canvass: false });
    it.committed(2, [request(3, 1)]);
    assert_eq!(it.status(), before);
    assert_eq!(it.out, Output::default());
}

#[test]
fn a_question_is_answered_with_as_much_as_can_be_compared() {
    let mut it = follower();
    it.accept(2, [request(2, 1)]);
    it.sync();
    let both = [mine(), vec![request(2, 1)]].concat();
    commit(&mut it, prefix_of(&both));
    for (asked, answered) in [(mine(), mine()), (both.clone(), both.clone())] {
        let prefix = prefix_of(&asked);
        it.receive(OTHERS[1], Message::Compare { prefix, is_question: true });
        let answer = Message::Compare { prefix: prefix_of(&answered), is_question: false };
        assert_eq!(it.sent().collect::<Vec<_>>(), [&answer]);
    }
    assert!(it.status().other_histories.is_empty());
}

#[test]
fn a_new_connection_or_the_same_history_ends_the_doubt() {
    let mut it = follower();
    tells(&mut it, OTHERS[0], &theirs());
    it.step(Input::Reconnected { peer: OTHERS[0] });
    assert!(it.status().other_histories.is_empty());
    let is_question =
        |sent: &Message<V>| matches!(sent, Message::Compare { is_question: true, .. });
    assert!(it.sent().any(is_question), "it is asked what it has now");
    tells(&mut it, OTHERS[0], &theirs());
    tells(&mut it, OTHERS[0], &mine());
    assert!(it.status().other_histories.is_empty());
}

/// The coordinator does not know yet what the follower has committed. It has other entries open there.
#[test]
fn a_vote_counts_only_for_the_same_entries() {
    for (committed, counts) in [(vec![request(1, 1)], true), (vec![request(9, 1)], false)] {
        let mut it = Subject::coordinator(Limits::default());
        it.submit([request(1, 1), request(2, 1)]);
        it.sync();
        let ranges = vec![SlotRange { first: Slot(1), last: Slot(2) }];
        it.reply(OTHERS[0], Reply::Acknowledge { ranges, prefix: prefix_of(&committed) });
        assert_eq!(it.status().watermark, Slot(if counts { 2 } else { 0 }));
        // It may have been overtaken, so that is no other history.
        assert!(it.status().other_histories.is_empty());
    }
}

/// A promise of a replica that knows more is compared when the candidate has caught up.
#[test]
fn a_candidate_that_has_caught_up_forgets_promises_over_another_history() {
    let mut it = Subject::candidate(Limits::default());
    let last = Slot(2);
    let accepted = vec![Accepted { slot: last, s: SequenceNumber(1), entry: request(7, 1) }];
    let prefix = prefix_of(&theirs());
    let promise = Promise { prefix, last, after: Slot(1), through: last, accepted };
    it.reply(OTHERS[0], Reply::Promise(promise));
    // The other one serves it something else.
    let (log_starts_at, before, watermark) = (Slot(1), PrefixHash::default(), Slot(1));
    let served =
        Message::Committed { log_starts_at, first: Slot(1), before, entries: mine(), watermark };
    it.receive(OTHERS[1], served);
    assert_eq!(it.status().other_histories, [OtherHistory { peer: OTHERS[0], slot: Slot(1) }]);
    let proposes = |it: &Subject| {
        let is_propose =
            |sent: &Message<V>| matches!(sent, Message::Order { order: Order::Propose { .. }, .. });
        it.sent().any(is_propose)
    };
    assert!(proposes(&it), "the other promises are asked for again");
    // Nothing that the first one reported is proposed.
    let (prefix, last) = (prefix_of(&mine()), Slot(1));
    let promise = Promise { prefix, last, after: last, through: last, accepted: Vec::new() };
    it.reply(OTHERS[1], Reply::Promise(promise));
    let status = it.status();
    assert!(matches!(status.role, synod_model::RoleName::Coordinator { open_slots: 0, .. }));
}

#[test]
fn catch_up_behind_another_prefix_is_not_taken_in() {
    let mut it = follower();
    let (log_starts_at, first, watermark) = (Slot(1), Slot(2), Slot(2));
    let (before, entries) = (prefix_of(&theirs()).hash, vec![request(3, 1)]);
    it.receive(OTHERS[1], Message::Committed { log_starts_at, first, before, entries, watermark });
    assert!(it.out.delivered.is_empty() && it.out.writes.is_empty());
    assert_eq!(it.status().other_histories, [OtherHistory { peer: OTHERS[1], slot: Slot(1) }]);
}

/// Far behind, only checkpoints are remembered. They show an older difference.
#[test]
fn old_prefixes_are_compared_at_checkpoints() {
    let limits = Limits {
        open_slots_max: 4,
        accepted_slots_max: 4,
        frame_entries_max: 4,
        ..Limits::default()
    };
    let log: Vec<_> = (1..=20).map(|number| request(number, 1)).collect();
    let mut it = Subject::coordinator(limits);
    it.commit(log.iter().cloned());
    assert_eq!(it.status().watermark, Slot(20));
    let at = |slots: usize, checkpoint: usize| Prefix {
        checkpoint: prefix_of(&log[..checkpoint]).hash,
        ..prefix_of(&log[..slots])
    };
    let other = PrefixHash(1);
    for (prefix, differs_at) in [
        (at(6, 4), None),
        (Prefix { checkpoint: other, ..at(6, 4) }, Some(4)),
        // Between two checkpoints, nothing is known so far back.
        (Prefix { hash: other, ..at(6, 4) }, None),
        (Prefix { hash: other, ..at(8, 8) }, Some(8)),
        (Prefix { hash: other, ..at(17, 16) }, Some(17)),
        // It is longer, and differs in what is known here.
        (Prefix { through: Slot(22), checkpoint: other, hash: other }, Some(20)),
    ] {
        let mut it = it.clone();
        it.receive(OTHERS[1], Message::Compare { prefix, is_question: false });
        let found: Vec<_> = it.status().other_histories.iter().map(|it| it.slot.0).collect();
        assert_eq!(found, Vec::from_iter(differs_at), "{prefix:?}");
    }
}

/// What is read from the disk begins at a checkpoint, and the hash is told of what comes before.
#[test]
fn what_is_served_from_the_disk_tells_the_hash_before_it() {
    let log: Vec<_> = (1..=10).map(|number| request(number, 1)).collect();
    let slots = SlotRange { first: Slot(6), last: Slot(9) };
    let checkpoint = (Slot(4), prefix_of(&log[..4]).hash);
    let (to, log_starts_at, watermark) = (OTHERS[0], Slot(1), Slot(10));
    let mut rest = Some(Serve { to, slots, checkpoint, log_starts_at, watermark });
    let mut served = Vec::new();
    for count in [1, 2, 2] {
        let serve = rest.expect("more is to be read");
        let first = usize::try_from(serve.reads().first.0).expect("small") - 1;
        let (message, more) = serve.take(log[first..first + count].to_vec());
        if let Some(Message::Committed { first, before, entries, .. }) = message {
            served.push((first.0, before, entries.len()));
        }
        rest = more;
    }
    assert_eq!(rest, None);
    assert_eq!(served, [(6, prefix_of(&log[..5]).hash, 2), (8, prefix_of(&log[..7]).hash, 2)]);
}

#[test]
fn a_log_whose_entries_have_another_hash_than_its_records_is_refused() {
    let members = Configuration::new(ConfigurationId(1), vec![ReplicaId(0)]).expect("one member");
    let constants = ClusterConstants::new(1, members.clone(), Limits::default()).expect("right");
    let s = SequenceNumber(1);
    let configuration = members.id();
    let accepted = Content::Accepted { s, configuration, first: Slot(1), entries: mine() };
    let promised = Content::Promised(SequenceNumber(2));
    for (hash, is_right) in [(prefix_of(&mine()).hash, true), (PrefixHash(1), false)] {
        let mut out = Output::default();
        let (me, run, base) = (ReplicaId(0), Run(1), Base::new(members.clone()));
        let constants = constants.clone().into();
        let recovery = Recovery::new(constants, me, run, Slot::ZERO, base, &mut out);
        let mut recovery = recovery.expect("an empty disk");
        let none = PrefixHash::default();
        let first = Record { watermark: Slot(0), hash: none, content: accepted.clone() };
        recovery.record(first, &mut out).expect("a possible record");
        let second = Record { watermark: Slot(1), hash, content: promised.clone() };
        let refused = Err(RecordError::OtherPrefix { slot: Slot(1) });
        assert_eq!(recovery.record(second, &mut out), if is_right { Ok(()) } else { refused });
    }
}

/// A slot that was not pushed comes as committed. Then what is held before it is committed, too.
#[test]
fn what_the_coordinator_serves_commits_what_is_held_before_it() {
    for (others, delivered) in [(mine(), 2), (theirs(), 0)] {
        let mut it = Subject::follower(Limits::default());
        it.accept(1, mine());
        it.sync();
        let (log_starts_at, first, watermark) = (Slot(1), Slot(2), Slot(2));
        let (before, entries) = (prefix_of(&others).hash, vec![request(3, 1)]);
        let served = Message::Committed { log_starts_at, first, before, entries, watermark };
        it.receive(OTHERS[0], served);
        assert_eq!(it.out.delivered.len(), delivered);
        assert_eq!(it.status().other_histories.is_empty(), delivered > 0);
    }
}
