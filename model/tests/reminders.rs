//! Reminders: what a replica does when it, or a peer, has lost what was told when it was durable.

mod replica;

use std::sync::Arc;

use replica::{ME, OTHERS, Subject, V, request};
use synod_model::{
    Base, ClusterConstants, Configuration, ConfigurationId, Content, Entry, Forgotten, Input,
    Limits, Message, Order, Output, Prefix, PrefixHash, Promise, Record, Recovery, ReplicaId,
    Reply, RoleName, RoundNumber, Run, SequenceNumber, Slot, SlotRange, Status, Testimony, To,
    ToldAccepted,
};

fn told(s: u64, accepted: Option<(u64, u64)>) -> Testimony {
    let accepted = accepted.map(|(slot, s)| ToldAccepted {
        configuration: ConfigurationId(1),
        s: SequenceNumber(s),
        slot: Slot(slot),
    });
    Testimony { promised: SequenceNumber(s), accepted }
}

/// The first of the others reminds it.
fn remind(it: &mut Subject, testimony: Testimony) {
    it.receive(OTHERS[0], Message::Remind { testimony });
}

/// What it reminds the first of the others of when a connection is made.
fn reminded(it: &mut Subject) -> Option<Testimony> {
    reminds(it, OTHERS[0])
}

fn reminds(it: &mut Subject, peer: ReplicaId) -> Option<Testimony> {
    it.step(Input::Reconnected { peer });
    it.sent().find_map(|message| match message {
        Message::Remind { testimony } => Some(*testimony),
        _ => None,
    })
}

/// A peer says that its disk has lost the first slot.
fn forgets(it: &mut Subject, peer: ReplicaId) -> Forgotten {
    let s = it.status().promised;
    let forgotten = Forgotten { replica: peer, told_to: ME, s, slot: Some(Slot(1)) };
    it.receive(peer, Message::Forgot { forgotten });
    forgotten
}

fn acknowledge(it: &mut Subject, peer: ReplicaId, last: u64) {
    let ranges = vec![SlotRange { first: Slot(1), last: Slot(last) }];
    it.reply(peer, Reply::Acknowledge { ranges, prefix: Prefix::default() });
}

/// A coordinator with two open slots, whose own votes are not durable yet.
fn coordinator() -> Subject {
    let mut it = Subject::coordinator(Limits::default());
    it.submit([request(1, 1), request(2, 1)]);
    it
}

/// A follower that has promised 4 and accepted slot 1 under it, durably.
fn follower() -> Subject {
    let mut it = Subject::follower(Limits::default());
    it.accept(1, [request(1, 1)]);
    it.sync();
    it
}

#[test]
fn a_replica_whose_disk_has_less_writes_that_tells_all_others_and_stops() {
    for (testimony, s, slot) in [
        (told(7, None), 7, None),
        (told(4, Some((2, 4))), 4, Some(2)),
        (told(0, Some((1, 7))), 7, Some(1)),
    ] {
        let mut it = follower();
        remind(&mut it, testimony);
        let (s, slot) = (SequenceNumber(s), slot.map(Slot));
        let forgotten = Forgotten { replica: ME, told_to: OTHERS[0], s, slot };
        assert_eq!(it.out.forgotten, [forgotten]);
        assert_eq!(it.status().forgotten, [forgotten]);
        let written: Vec<_> = it.out.writes.iter().map(|it| &it.content).collect();
        assert_eq!(written, [&Content::Forgotten(forgotten)]);
        let told = it.out.messages.iter().map(|it| (&it.to, &it.message)).collect::<Vec<_>>();
        assert_eq!(told, [(&To::Others, &Message::Forgot { forgotten })]);

        let before = it.status();
        assert!(before.is_stopped);
        it.accept(2, [request(2, 1)]);
        it.step(Input::Elect { canvass: false });
        it.sync();
        assert_eq!(it.out, Output::default(), "it does nothing any more");
        assert_eq!(it.status(), before);
        // But for this: a peer that it could not reach learns of it.
        it.step(Input::Reconnected { peer: OTHERS[1] });
        let told = it.out.messages.iter().map(|it| (&it.to, &it.message)).collect::<Vec<_>>();
        assert_eq!(told, [(&To::One(OTHERS[1]), &Message::Forgot { forgotten })]);
    }
}

#[test]
fn a_replica_that_has_what_it_told_goes_on() {
    for testimony in [told(4, None), told(1, Some((1, 4))), told(4, Some((1, 1)))] {
        let mut it = follower();
        let before = it.status();
        remind(&mut it, testimony);
        assert_eq!(it.out, Output::default(), "{testimony:?}");
        assert_eq!(it.status(), before);
    }
    // A committed entry has no number any more.
    let mut it = Subject::follower(Limits::default());
    it.committed(1, [request(1, 1)]);
    remind(&mut it, told(4, Some((1, 7))));
    assert!(!it.status().is_stopped);
}

#[test]
fn a_coordinator_reminds_of_promises_and_acknowledgements() {
    let mut it = coordinator();
    let s = it.status().promised;
    let promised = Testimony { promised: s, accepted: None };
    assert_eq!(reminded(&mut it), Some(promised));
    acknowledge(&mut it, OTHERS[0], 2);
    acknowledge(&mut it, OTHERS[0], 1);
    // Of a slot that nobody was asked to accept, nobody can tell.
    acknowledge(&mut it, OTHERS[0], 1000);
    let open = reminded(&mut it).and_then(|it| it.accepted);
    assert_eq!(open, Some(ToldAccepted { configuration: ConfigurationId(1), s, slot: Slot(2) }));
    it.sync();
    assert_eq!(it.status().watermark, Slot(2));
    let committed = reminded(&mut it).and_then(|it| it.accepted);
    assert_eq!(committed, open, "also when the slot is committed");
    it.step(Input::Reconnected { peer: OTHERS[1] });
    let reminds = |sent: &Message<V>| matches!(sent, Message::Remind { .. });
    assert!(!it.sent().any(reminds), "who told nothing is reminded of nothing");
}

/// It may have accepted the entry under a lower number, and forget in a crash that the entry is committed.
#[test]
fn an_acknowledgement_of_what_is_known_to_be_committed_is_not_held_against_a_replica() {
    let mut it = coordinator();
    let ranges = vec![SlotRange { first: Slot(1), last: Slot(1) }];
    let prefix = prefix_of(&request(1, 1));
    it.reply(OTHERS[0], Reply::Acknowledge { ranges, prefix });
    assert_eq!(reminded(&mut it).and_then(|it| it.accepted), None);
}

#[test]
fn a_follower_reminds_the_owner_of_the_number_that_it_has_promised() {
    let mut it = Subject::follower(Limits::default());
    assert_eq!(reminded(&mut it), Some(told(4, None)));
    it.step(Input::Resend);
    let remind = Message::Remind { testimony: told(4, None) };
    let to: Vec<_> = it.out.messages.iter().filter(|it| it.message == remind).collect();
    assert!(matches!(to[..], [sent] if sent.to == To::One(OTHERS[0])), "{to:?}");
}

#[test]
fn a_vote_that_is_lost_does_not_count() {
    // Of the other one it has a vote, and no promise.
    let [promised, voted] = OTHERS;
    let mut it = coordinator();
    acknowledge(&mut it, voted, 2);
    let forgotten = forgets(&mut it, voted);
    assert_eq!(it.out.forgotten, [forgotten]);
    it.sync();
    assert_eq!(it.status().watermark, Slot(0), "its own vote is no majority");
    acknowledge(&mut it, voted, 2);
    assert_eq!(it.status().watermark, Slot(0), "nothing that it says counts any more");
    forgets(&mut it, voted);
    assert!(it.out.forgotten.is_empty(), "that is no news");
    acknowledge(&mut it, promised, 2);
    assert_eq!(it.status().watermark, Slot(2));
}

#[test]
fn an_answer_to_a_round_does_not_count_when_the_disk_has_lost_something() {
    let answered = |it: &Subject| {
        let RoleName::Coordinator { round_is_answered, .. } = it.status().role else {
            return false;
        };
        round_is_answered
    };
    let mut it = coordinator();
    let (number, prefix) = (RoundNumber(1), Prefix::default());
    it.reply(OTHERS[1], Reply::Obey { number, last: Slot::ZERO, prefix });
    assert!(answered(&it));
    forgets(&mut it, OTHERS[1]);
    assert!(!answered(&it));
}

#[test]
fn a_promise_that_is_lost_does_not_elect() {
    let mut it = Subject::candidate(Limits::default());
    let hash = PrefixHash::default().after::<V>(&Entry::NoOp);
    let prefix = Prefix { through: Slot(1), hash, checkpoint: PrefixHash::default() };
    let last = prefix.through;
    let promise = Promise { prefix, last, after: last, through: last, accepted: Vec::new() };
    // The candidate lacks a slot that the promiser has, so it does not coordinate yet.
    it.reply(OTHERS[0], Reply::Promise(promise.clone()));
    let (elected, mut forgetful) = (it.clone(), it);
    forgets(&mut forgetful, OTHERS[0]);
    let served = Message::Committed {
        log_starts_at: Slot(1),
        first: Slot(1),
        before: PrefixHash::default(),
        entries: vec![Entry::NoOp],
        watermark: Slot(1),
    };
    for (mut it, is_elected) in [(elected, true), (forgetful, false)] {
        it.receive(OTHERS[1], served.clone());
        assert_eq!(coordinates(&it.status()), is_elected);
        it.reply(OTHERS[1], Reply::Promise(promise.clone()));
        assert!(coordinates(&it.status()), "the other promise counts");
    }
}

fn coordinates(status: &Status) -> bool {
    matches!(status.role, RoleName::Coordinator { .. })
}

#[test]
fn a_coordinator_that_a_lost_promise_has_elected_steps_down() {
    for (peer, stays) in [(OTHERS[0], false), (OTHERS[1], true)] {
        let mut it = coordinator();
        assert!(coordinates(&it.status()), "the first of the others has promised");
        forgets(&mut it, peer);
        assert_eq!(coordinates(&it.status()), stays);
    }
}

#[test]
fn a_new_run_of_a_peer_ends_what_is_known_of_it_and_it_is_reminded_again() {
    let mut it = coordinator();
    acknowledge(&mut it, OTHERS[1], 2);
    forgets(&mut it, OTHERS[1]);
    it.step(Input::Reconnected { peer: OTHERS[1] });
    assert_eq!(it.status().forgotten.len(), 1, "another connection with the same process");
    it.step(Input::Restarted { peer: OTHERS[1] });
    let testimony = reminds(&mut it, OTHERS[1]).expect("it has told something");
    assert_eq!(testimony.accepted.map(|it| it.slot), Some(Slot(2)));
    assert!(it.status().forgotten.is_empty());
    acknowledge(&mut it, OTHERS[1], 2);
    it.sync();
    assert_eq!(it.status().watermark, Slot(2), "somebody has put its directory right");
}

#[test]
fn nobody_tells_what_the_disk_of_another_has_lost() {
    let mut it = coordinator();
    let (s, slot) = (it.status().promised, Some(Slot(1)));
    for replica in [ME, OTHERS[1]] {
        let forgotten = Forgotten { replica, told_to: ME, s, slot };
        it.receive(OTHERS[0], Message::Forgot { forgotten });
        assert!(it.status().forgotten.is_empty() && !it.status().is_stopped);
    }
}

/// It may be the reason why the other's history differs.
#[test]
fn a_replica_does_not_stop_for_the_history_of_one_that_has_lost_something() {
    let mut it = follower();
    let commit = Order::Commit { prefix: Prefix { through: Slot(1), ..prefix_of(&request(1, 1)) } };
    let (configuration, s) = (ConfigurationId(1), SequenceNumber(4));
    it.receive(OTHERS[0], Message::Order { configuration, s, order: commit });
    assert_eq!(it.status().watermark, Slot(1));
    forgets(&mut it, OTHERS[1]);
    for peer in OTHERS {
        let prefix = prefix_of(&request(2, 1));
        it.receive(peer, Message::Compare { prefix, is_question: false });
    }
    assert!(!it.status().is_stopped);
}

fn prefix_of(entry: &Entry<V>) -> Prefix {
    let hash = PrefixHash::default().after(entry);
    Prefix { through: Slot(1), hash, checkpoint: PrefixHash::default() }
}

#[test]
fn a_restart_does_not_help() {
    let members = Configuration::new(ConfigurationId(1), [ME, OTHERS[0], OTHERS[1]].to_vec());
    let members = members.expect("three members");
    let limits = Limits::default();
    let constants = ClusterConstants::new(3, members.clone(), limits).expect("right limits");
    let mut out = Output::<V>::default();
    let base = Base::new(members);
    let recovery = Recovery::new(Arc::new(constants), ME, Run(2), Slot::ZERO, base, &mut out);
    let mut recovery = recovery.expect("an empty disk");
    let s = SequenceNumber(4);
    let forgotten = Forgotten { replica: ME, told_to: OTHERS[0], s, slot: None };
    let (watermark, hash) = (Slot::ZERO, PrefixHash::default());
    for content in [Content::Promised(SequenceNumber(3)), Content::Forgotten(forgotten)] {
        let record = Record { watermark, hash, content };
        recovery.record(record, &mut out).expect("a possible record");
    }
    let mut replica = recovery.finish().expect("a whole log");
    assert_eq!(replica.status().forgotten, [forgotten]);
    replica.step(Input::Elect { canvass: false }, &mut out);
    assert_eq!(out, Output::default());
}
