//! What an election must finish: it is opened in portions, in order, and before anything else.

mod replica;

use replica::{OTHERS, Subject, V, request};
use synod_model::{
    Accepted, Change, ClientAnswer, Configuration, ConfigurationId, Entry, Input, Limits, Message,
    NotTakenReason, Order, Prefix, Promise, ReadId, Registration, ReplicaId, Reply, Resource,
    RoleName, Run, SequenceNumber, SessionId, Slot, SlotRange,
};

/// A portion has the bytes of two requests.
fn limits() -> Limits {
    Limits { value_bytes_max: 8, resend_bytes_max: 80, ..Limits::default() }
}

fn report(slots: std::ops::RangeInclusive<u64>, s: u64) -> Promise<V> {
    let through = Slot(*slots.end());
    let accepted = slots.map(|slot| Accepted {
        slot: Slot(slot),
        s: SequenceNumber(s),
        entry: request(slot, 8),
    });
    let accepted = accepted.collect();
    Promise { prefix: Prefix::default(), last: through, after: Slot::ZERO, through, accepted }
}

/// Coordinates, and must finish the slots up to `last`. A majority has answered its round.
fn elected(limits: Limits, last: u64) -> Subject {
    let mut it = Subject::candidate(limits);
    it.reply(OTHERS[0], Reply::Promise(report(1..=last, 1)));
    it
}

/// The slots that the last step asks somebody to accept, each with whether it is a no-op.
fn opened(it: &Subject) -> Vec<(u64, bool)> {
    let mut slots = Vec::new();
    for message in it.sent() {
        if let Message::Order { order: Order::Accept { first, entries, .. }, .. } = message {
            slots.extend((first.0..).zip(entries.iter().map(|it| *it == Entry::NoOp)));
        }
    }
    slots
}

fn slots(it: &Subject) -> Vec<u64> {
    opened(it).into_iter().map(|(slot, _)| slot).collect()
}

/// `replica`, with `prefix` committed, has durably accepted these slots.
fn acknowledge(
    it: &mut Subject,
    replica: usize,
    slots: std::ops::RangeInclusive<u64>,
    prefix: Prefix,
) {
    let ranges = vec![SlotRange { first: Slot(*slots.start()), last: Slot(*slots.end()) }];
    it.reply(OTHERS[replica], Reply::Acknowledge { ranges, prefix });
}

fn open_and_queued(it: &Subject) -> (u64, u64) {
    match it.status().role {
        RoleName::Coordinator { open_slots, queued, .. } => (open_slots, queued),
        other => panic!("{other:?}"),
    }
}

/// However much it is: here, a hundred times a portion.
#[test]
fn no_step_opens_more_than_a_portion() {
    let mut it = elected(limits(), 200);
    let mut portions = vec![slots(&it)];
    while it.status().watermark < Slot(200) {
        it.sync();
        portions.push(slots(&it));
        let watermark = it.status().watermark.0;
        acknowledge(&mut it, 0, watermark + 1..=200, Prefix::default());
        portions.push(slots(&it));
    }
    assert!(portions.iter().all(|slots| slots.len() <= 2), "{portions:?}");
    assert_eq!(portions.concat(), (1..=200).collect::<Vec<_>>());
}

/// An entry that is longer than a portion has one to itself.
#[test]
fn a_portion_has_at_least_one_entry() {
    let it = elected(Limits { resend_bytes_max: 1, ..limits() }, 3);
    assert_eq!(slots(&it), [1]);
}

/// The disk of any replica is enough: this one's may hang.
#[test]
fn the_next_portion_follows_when_a_replica_has_the_last_one() {
    for by_another in [false, true] {
        let mut it = elected(limits(), 6);
        assert_eq!(slots(&it), [1, 2]);
        for input in [Input::Heartbeat, Input::Resend, Input::Applied { through: Slot(1) }] {
            it.step(input);
            assert!(slots(&it).iter().all(|slot| *slot <= 2));
        }
        if by_another {
            acknowledge(&mut it, 0, 1..=1, Prefix::default());
            assert!(slots(&it).is_empty());
            acknowledge(&mut it, 0, 2..=2, Prefix::default());
        } else {
            it.sync();
        }
        assert_eq!(slots(&it), [3, 4]);
    }
}

#[test]
fn what_must_be_finished_waits_for_the_window() {
    let mut it = elected(Limits { open_slots_max: 3, ..limits() }, 5);
    assert_eq!(slots(&it), [1, 2]);
    it.sync();
    assert_eq!(slots(&it), [3]);
    it.sync();
    assert!(slots(&it).is_empty());
    acknowledge(&mut it, 0, 1..=1, Prefix::default());
    assert_eq!(slots(&it), [4]);
    acknowledge(&mut it, 0, 2..=3, Prefix::default());
    assert!(slots(&it).is_empty());
    it.sync();
    assert_eq!(slots(&it), [5]);
}

/// The highest number decides, whether it was reported or accepted here, and when its turn comes.
#[test]
fn the_choice_is_that_of_the_election() {
    let mut it = Subject::follower(limits());
    it.accept(3, [request(30, 8)]);
    it.accept(5, [request(50, 8)]);
    it.sync();
    it.step(Input::Elect { canvass: false });
    it.sync();
    // Slot 5 was reported under a higher number than it has here, slot 3 under a lower one, slot 4 not.
    let mut promise = report(1..=3, 1);
    let entry = request(5, 8);
    promise.accepted.push(Accepted { slot: Slot(5), s: SequenceNumber(5), entry });
    (promise.last, promise.through) = (Slot(5), Slot(5));
    it.reply(OTHERS[0], Reply::Promise(promise));
    let mut entries = Vec::new();
    for _ in 0..3 {
        for message in it.sent() {
            if let Message::Order { order: Order::Accept { entries: more, .. }, .. } = message {
                entries.extend(more.iter().cloned());
            }
        }
        it.sync();
    }
    let chosen = [1, 2, 30].map(|number| request(number, 8));
    assert_eq!(entries, [&chosen[..], &[Entry::NoOp, request(5, 8)]].concat());
}

#[test]
fn a_change_waits_until_the_rest_is_open() {
    let mut it = elected(limits(), 4);
    let first: Vec<_> = [0, 1, 2].map(ReplicaId).into();
    let before = Configuration::new(ConfigurationId(1), first.clone()).expect("the members differ");
    let next =
        before.changed(&first, &[]).and_then(|it| it.with_all_registered(Registration::first_of));
    let configuration = next.expect("a change of nobody");
    let (session, number, answered) = (SessionId(1), 10, 1);
    it.forwarded([Entry::Change(Change { session, number, answered, configuration })]);
    let is_refused = |message: &Message<V>| matches!(message, Message::NotTaken { .. });
    assert!(it.sent().any(is_refused) && open_and_queued(&it) == (4, 0));
    let asks = |message: &Message<V>| matches!(message, Message::AskReady { .. });
    assert!(!it.sent().any(asks));
}

/// Not the clients of this replica, and not those of others. They are taken up when all is open.
#[test]
fn nothing_is_taken_in_before_all_is_open_that_must_be_finished() {
    let mut it = elected(limits(), 4);
    it.submit([request(10, 8), request(4, 8)]);
    assert_eq!((slots(&it), open_and_queued(&it)), (vec![], (4, 0)));
    it.forwarded([request(11, 8), request(3, 8)]);
    let not_taken = it.sent().find_map(|message| match message {
        Message::NotTaken { reason, submissions, .. } => Some((*reason, submissions.len())),
        _ => None,
    });
    assert_eq!((slots(&it), not_taken), (vec![], Some((NotTakenReason::NoRoom, 2))));
    it.sync();
    // What must be finished, and then what this replica's own clients wait for. Request 4 has a slot.
    assert_eq!(slots(&it), [3, 4, 5]);
    assert!(it.sent().any(|message| matches!(message, Message::Forward { .. })));
    it.forwarded([request(11, 8), request(3, 8)]);
    assert_eq!(slots(&it), [6]);
}

/// A read covers what the election must finish, whether it is open or not.
#[test]
fn a_read_waits_for_all_that_must_be_finished() {
    let mut it = elected(limits(), 4);
    it.step(Input::Read(vec![ReadId(7)]));
    it.receive(OTHERS[1], Message::Read { run: Run(1), ids: vec![ReadId(8)] });
    it.answer_rounds();
    it.sync();
    acknowledge(&mut it, 0, 1..=2, Prefix::default());
    it.answer_rounds();
    assert!(it.out.answers.is_empty());
    it.sync();
    acknowledge(&mut it, 0, 3..=4, Prefix::default());
    let told = |it: &Subject| {
        it.sent().any(|it| matches!(it, Message::ReadAt { slot, .. } if *slot >= Slot(4)))
    };
    let mut was_told = told(&it);
    it.answer_rounds();
    was_told |= told(&it);
    it.step(Input::Applied { through: Slot(4) });
    let is_read = |answer: &ClientAnswer| matches!(answer, ClientAnswer::Read { slot, .. } if *slot == Slot(4));
    assert!(was_told && it.out.answers.iter().any(is_read), "{:?}", it.out.answers);
}

/// A follower that has committed more than is open here votes all the same: what it has committed is
/// what this replica must finish.
#[test]
fn a_vote_counts_though_its_replica_has_committed_more_than_is_open() {
    let all = {
        let mut it = elected(Limits { resend_bytes_max: 1 << 20, ..limits() }, 6);
        it.sync();
        acknowledge(&mut it, 0, 1..=6, Prefix::default());
        it.status().prefix
    };
    assert_eq!(all.through, Slot(6));
    let mut it = elected(limits(), 6);
    it.sync();
    acknowledge(&mut it, 1, 1..=2, all);
    assert_eq!(it.status().watermark, Slot(2));
    // But not one that has committed something else.
    let mut it = elected(limits(), 6);
    it.sync();
    let other = Prefix { hash: it.status().prefix.hash, ..all };
    acknowledge(&mut it, 1, 1..=2, other);
    assert_eq!(it.status().watermark, Slot::ZERO);
}

/// No-ops up to a follower's last slot are no more in one step, and nothing comes between them.
#[test]
fn a_gap_is_filled_in_portions() {
    // A no-op has 32 bytes.
    let mut it = Subject::coordinator(limits());
    it.submit([request(1, 8)]);
    it.obey_of_round_1(Slot(5));
    assert_eq!(opened(&it), [(2, true), (3, true)]);
    it.submit([request(2, 8)]);
    assert!(opened(&it).is_empty());
    it.sync();
    assert_eq!(opened(&it), [(4, true), (5, true), (6, false)]);
}

/// The probe would take the place of what must be finished.
#[test]
fn a_probe_waits_until_all_is_open_that_must_be_finished() {
    let mut it = elected(limits(), 3);
    it.step(Input::Hung { resource: Resource::Disk });
    assert!(slots(&it).is_empty());
    acknowledge(&mut it, 0, 1..=2, Prefix::default());
    assert_eq!(opened(&it), [(3, false)]);
    it.step(Input::Hung { resource: Resource::Disk });
    assert_eq!(opened(&it), [(4, true)]);
}

/// What its own clients have waiting is taken up in portions, too.
#[test]
fn an_election_takes_up_a_portion_of_what_its_clients_wait_for() {
    let mut it = Subject::candidate(limits());
    it.submit((1..=5).map(|number| request(number, 8)));
    let nothing = Slot::ZERO;
    let promise = Promise {
        prefix: Prefix::default(),
        last: nothing,
        after: nothing,
        through: nothing,
        accepted: Vec::new(),
    };
    it.reply(OTHERS[0], Reply::Promise(promise));
    assert_eq!(slots(&it), [1, 2]);
    it.sync();
    assert_eq!(slots(&it), [3, 4]);
    it.sync();
    assert_eq!(slots(&it), [5]);
}
