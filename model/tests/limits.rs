//! Every limit, reached exactly: what is at the limit is taken, and one more is not.
//!
//! Each test has a replica of three whose limits are so small that the one in question is reached
//! first. An entry counts 32 bytes and its value.

mod replica;

use synod_model::{
    ClientAnswer, Configuration, ConfigurationId, DeliveryRefused, Input, Limits, Message, Opening,
    Order, Prefix, ReadRefused, Reply, RequestTable, RoleName, Run, SequenceNumber, Slot,
    SlotRange, SubmitRefused, Verdict,
};
use synod_model::{Content, Entry, ReadId, ReplicaId, SessionId};

use replica::{ME, OTHERS, Subject, request, request_of};

const ROOMY: Limits = Limits {
    open_slots_max: 100,
    accepted_slots_max: 100,
    accepted_bytes_max: 1 << 20,
    frame_entries_max: 100,
    frame_bytes_max: 1 << 20,
    value_bytes_max: 100,
    resend_bytes_max: 1 << 20,
    submissions_max: 100,
    submissions_bytes_max: 1 << 20,
    queued_submissions_max: 100,
    queued_bytes_max: 1 << 20,
    session_requests_max: 100,
    sessions_max: 100,
    reads_max: 100,
    unsynced_bytes_max: 1 << 20,
};

/// The slots of the accepts that were sent, and how many entries the longest has.
fn opened(subject: &Subject) -> (Vec<u64>, usize) {
    let accepts = subject.sent().filter_map(|message| match message {
        Message::Order { order: Order::Accept { first, entries, .. }, .. } => {
            Some((first.0, entries.len()))
        }
        _ => None,
    });
    let accepts: Vec<_> = accepts.collect();
    let slots = accepts.iter().flat_map(|(first, count)| *first..first + *count as u64);
    (slots.collect(), accepts.iter().map(|it| it.1).max().unwrap_or(0))
}

fn open_and_queued(subject: &Subject) -> (u64, u64) {
    match subject.status().role {
        RoleName::Coordinator { open_slots, queued, .. } => (open_slots, queued),
        other => panic!("{other:?}"),
    }
}

fn refused(subject: &Subject) -> Vec<SubmitRefused> {
    let answers = subject.out.answers.iter();
    let reasons = answers.filter_map(|answer| match answer {
        ClientAnswer::Refused { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

/// The slots that the last step wrote.
fn written(subject: &Subject) -> Vec<u64> {
    let slots = subject.out.writes.iter().filter_map(|record| record.content.slots());
    slots.flat_map(SlotRange::iter).map(|slot| slot.0).collect()
}

#[test]
fn open_slots_max() {
    let mut it = Subject::coordinator(Limits { open_slots_max: 3, ..ROOMY });
    it.submit((1..=3).map(|number| request(number, 1)));
    assert_eq!((opened(&it).0, open_and_queued(&it)), (vec![1, 2, 3], (3, 0)));
    it.submit([request(4, 1)]);
    assert_eq!((opened(&it).0, open_and_queued(&it)), (vec![], (3, 1)));
    // What a follower holds is filled up as far, and no further.
    let mut it = Subject::coordinator(Limits { open_slots_max: 3, ..ROOMY });
    it.obey_of_round_1(Slot(4));
    assert_eq!((opened(&it).0, open_and_queued(&it)), (vec![1, 2, 3], (3, 0)));
}

#[test]
fn accepted_slots_max() {
    let limits = Limits { open_slots_max: 3, accepted_slots_max: 3, ..ROOMY };
    let mut it = Subject::follower(limits.clone());
    it.accept(3, [request(1, 1)]);
    assert_eq!((written(&it), it.told_room()), (vec![3], vec![]));
    it.accept(4, [request(2, 1)]);
    assert_eq!((written(&it), it.told_room()), (vec![], vec![Slot(3)]));
    // The tail has as many slots. What is older is read from the disk.
    let mut it = Subject::coordinator(limits);
    it.commit((1..=4).map(|number| request(number, 1)));
    it.ask(2);
    assert_eq!((it.served_from_memory(), it.served_from_disk()), (vec![3], vec![]));
    it.ask(1);
    assert_eq!((it.served_from_memory(), it.served_from_disk()), (vec![], vec![1..=1]));
}

#[test]
fn accepted_bytes_max() {
    let limits = |accepted_bytes_max| Limits { accepted_bytes_max, value_bytes_max: 8, ..ROOMY };
    for (most, taken) in [(80, vec![2, 3]), (79, vec![2])] {
        let mut it = Subject::follower(limits(most));
        it.accept(2, [request(1, 8), request(2, 8)]);
        assert_eq!(written(&it), taken, "{most}");
        // The slot after the watermark is taken in any case.
        it.accept(1, [request(3, 8)]);
        assert_eq!(written(&it), [1]);
    }
    // A coordinator opens one more while its acceptor holds no more than half.
    for (most, open) in [(80, (2, 1)), (79, (1, 2))] {
        let mut it = Subject::coordinator(limits(most));
        it.submit((1..=3).map(|number| request(number, 8)));
        assert_eq!(open_and_queued(&it), open, "{most}");
    }
    // The tail has as many bytes.
    for (most, from_memory) in [(80, vec![2]), (79, vec![])] {
        let mut it = Subject::coordinator(limits(most));
        it.commit((1..=3).map(|number| request(number, 8)));
        it.ask(2);
        assert_eq!(it.served_from_memory(), from_memory, "{most}");
    }
}

#[test]
fn frame_entries_max() {
    let limits = Limits { frame_entries_max: 3, ..ROOMY };
    for (count, taken) in [(3, vec![1, 2, 3]), (4, vec![])] {
        let mut it = Subject::follower(limits.clone());
        it.accept(1, (1..=count).map(|number| request(number, 1)));
        assert_eq!(written(&it), taken);
        let mut it = Subject::follower(limits.clone());
        it.committed(1, (1..=count).map(|number| request(number, 1)));
        assert_eq!(written(&it), taken);
        let mut it = Subject::coordinator(limits.clone());
        it.forwarded((1..=count).map(|number| request(number, 1)));
        assert_eq!(opened(&it).0, taken);
    }
    let mut it = Subject::coordinator(limits);
    it.submit((1..=4).map(|number| request(number, 1)));
    assert_eq!(opened(&it), (vec![1, 2, 3, 4], 3));
    it.acknowledge_open();
    it.ask(1);
    assert_eq!(it.served_from_memory(), [3]);
}

#[test]
fn frame_bytes_max() {
    // Two entries of 40 bytes.
    let limits = |frame_bytes_max| Limits { frame_bytes_max, ..ROOMY };
    for (most, taken) in [(80, vec![1, 2]), (79, vec![])] {
        let entries = || [request(1, 8), request(2, 8)];
        let mut it = Subject::follower(limits(most));
        it.accept(1, entries());
        assert_eq!(written(&it), taken, "{most}");
        let mut it = Subject::follower(limits(most));
        it.committed(1, entries());
        assert_eq!(written(&it), taken, "{most}");
        let mut it = Subject::coordinator(limits(most));
        it.forwarded(entries());
        assert_eq!(opened(&it).0, taken, "{most}");
        let mut it = Subject::coordinator(limits(most));
        it.submit(entries());
        assert_eq!(opened(&it), (vec![1, 2], taken.len().max(1)), "{most}");
        it.acknowledge_open();
        it.ask(1);
        assert_eq!(it.served_from_memory(), [taken.len().max(1)], "{most}");
    }
    // One entry may be longer.
    let mut it = Subject::follower(limits(1));
    it.accept(1, [request(1, 8)]);
    assert_eq!(written(&it), [1]);
}

#[test]
fn value_bytes_max() {
    let limits = Limits { value_bytes_max: 8, ..ROOMY };
    let mut it = Subject::coordinator(limits.clone());
    it.submit([request(1, 8)]);
    assert_eq!((opened(&it).0, refused(&it)), (vec![1], vec![]));
    it.submit([request(2, 9)]);
    assert_eq!((opened(&it).0, refused(&it)), (vec![], vec![SubmitRefused::TooLarge]));
    it.forwarded([request(3, 8), request(4, 9)]);
    assert_eq!(opened(&it).0, [2]);
    for (length, taken) in [(8, vec![1]), (9, vec![])] {
        let mut it = Subject::follower(limits.clone());
        it.accept(1, [request(1, length)]);
        assert_eq!(written(&it), taken);
        let mut it = Subject::follower(limits.clone());
        it.committed(1, [request(1, length)]);
        assert_eq!(written(&it), taken);
    }
}

#[test]
fn submissions_max() {
    let mut it = Subject::follower(Limits { submissions_max: 3, ..ROOMY });
    it.submit((1..=3).map(|number| request(number, 1)));
    assert_eq!(refused(&it), []);
    it.submit([request(4, 1)]);
    assert_eq!(refused(&it), [SubmitRefused::TooMany]);
}

#[test]
fn submissions_bytes_max() {
    let limits = Limits { value_bytes_max: 8, submissions_bytes_max: 80, ..ROOMY };
    let mut it = Subject::follower(limits.clone());
    it.submit([request(1, 8), request(2, 8)]);
    assert_eq!(refused(&it), []);
    let mut it = Subject::follower(Limits { submissions_bytes_max: 79, ..limits });
    it.submit([request(1, 8), request(2, 8)]);
    assert_eq!(refused(&it), [SubmitRefused::TooMany]);
}

#[test]
fn queued_submissions_max() {
    let limits = Limits { open_slots_max: 1, queued_submissions_max: 3, ..ROOMY };
    let mut it = Subject::coordinator(limits);
    it.submit([request(1, 1)]);
    it.forwarded((2..=4).map(|number| request(number, 1)));
    assert_eq!(open_and_queued(&it), (1, 3));
    it.forwarded([request(5, 1)]);
    assert_eq!(open_and_queued(&it), (1, 3));
}

#[test]
fn queued_bytes_max() {
    for (most, queued) in [(80, 2), (79, 1)] {
        let limits = Limits { open_slots_max: 1, value_bytes_max: 8, ..ROOMY };
        let mut it = Subject::coordinator(Limits { queued_bytes_max: most, ..limits });
        it.submit([request(1, 8)]);
        it.forwarded([request(2, 8), request(3, 8)]);
        assert_eq!(open_and_queued(&it), (1, queued), "{most}");
    }
}

#[test]
fn reads_max() {
    let limits = Limits { reads_max: 3, ..ROOMY };
    let ids = |ids: std::ops::RangeInclusive<u64>| ids.map(ReadId).collect::<Vec<_>>();
    let mut it = Subject::follower(limits.clone());
    it.step(Input::Read(ids(1..=3)));
    assert_eq!(it.out.answers, []);
    it.step(Input::Read(ids(4..=4)));
    assert_eq!(
        it.out.answers,
        [ClientAnswer::ReadRefused { id: ReadId(4), reason: ReadRefused::TooMany }]
    );
    // And at a coordinator, for all.
    let mut it = Subject::coordinator(limits);
    it.receive(OTHERS[0], Message::Read { run: Run(1), ids: ids(1..=2) });
    it.receive(OTHERS[1], Message::Read { run: Run(1), ids: ids(3..=4) });
    it.answer_rounds();
    let told = it.sent().filter_map(|message| match message {
        Message::ReadAt { ids, .. } => Some(ids.iter().map(|id| id.0).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(told.flatten().collect::<Vec<_>>(), [1, 2, 3]);
}

/// An answer to reads, and an acknowledgement, name no more than a frame has entries.
#[test]
fn lists_of_numbers_are_as_long_as_frames() {
    let limits = Limits { frame_entries_max: 3, ..ROOMY };
    let mut it = Subject::coordinator(limits.clone());
    for ids in [[1, 2, 3], [4, 5, 6]] {
        it.receive(OTHERS[0], Message::Read { run: Run(1), ids: ids.map(ReadId).to_vec() });
    }
    it.answer_rounds();
    let lengths = |it: &Subject| {
        let lists = it.sent().filter_map(|message| match message {
            Message::ReadAt { ids, .. } => Some(ids.len()),
            Message::Reply { reply: Reply::Acknowledge { ranges, .. }, .. } => Some(ranges.len()),
            _ => None,
        });
        lists.collect::<Vec<_>>()
    };
    assert_eq!(lengths(&it), [3, 3]);
    // A disk that is behind syncs four ranges at once.
    let mut it = Subject::follower(limits.clone());
    for slot in [1, 3, 5, 7] {
        it.accept(slot, [request(slot, 1)]);
    }
    it.sync();
    assert_eq!(lengths(&it), [3, 1]);
    // Longer lists are forged.
    for count in [3, 4] {
        let mut it = Subject::coordinator(limits.clone());
        it.submit((1..=4).map(|number| request(number, 1)));
        it.sync();
        let range = |slot| SlotRange { first: Slot(slot), last: Slot(slot) };
        let (ranges, prefix) = ((1..=count).map(range).collect(), Prefix::default());
        it.reply(OTHERS[0], Reply::Acknowledge { ranges, prefix });
        assert_eq!(it.status().watermark.0, if count == 3 { 3 } else { 0 });
        let mut it = Subject::coordinator(limits.clone());
        it.receive(
            OTHERS[0],
            Message::Read { run: Run(1), ids: (1..=count).map(ReadId).collect() },
        );
        it.answer_rounds();
        assert_eq!(lengths(&it), if count == 3 { vec![3] } else { vec![] });
    }
}

#[test]
fn unsynced_bytes_max() {
    // The disk is stalled with more than the limit, so one entry more than fills it is written.
    for (most, taken) in [(79, vec![2]), (80, vec![2, 3])] {
        let limits = Limits { value_bytes_max: 8, unsynced_bytes_max: most, ..ROOMY };
        let mut it = Subject::follower(limits.clone());
        it.accept(1, [request(1, 8)]);
        it.accept(2, [request(2, 8)]);
        let mut slots = written(&it);
        it.accept(3, [request(3, 8)]);
        slots.extend(written(&it));
        assert_eq!(
            (it.status().unsynced_bytes, slots),
            (40 * (1 + taken.len() as u64), taken.clone())
        );
        let mut it = Subject::coordinator(limits);
        it.submit((1..=4).map(|number| request(number, 8)));
        assert_eq!(opened(&it).0.len(), 1 + taken.len());
    }
}

#[test]
fn resend_bytes_max() {
    for (most, count) in [(80, 2), (79, 1), (1, 1)] {
        let mut it = Subject::follower(Limits { resend_bytes_max: most, ..ROOMY });
        it.submit((1..=3).map(|number| request(number, 8)));
        it.step(Input::Resend);
        let sent = it.sent().filter_map(|message| match message {
            Message::Submit { submissions } => Some(submissions.len()),
            _ => None,
        });
        assert_eq!(sent.sum::<usize>(), count, "{most}");
    }
}

fn open(table: &mut RequestTable, slot: u64, limits: &Limits) -> Option<Verdict> {
    let opening = Opening { origin: ME, run: Run(1), count: slot };
    table.deliver(Slot(slot), &Entry::<replica::V>::Open(opening), &one_member(), limits)
}

fn one_member() -> Configuration {
    Configuration::new(ConfigurationId(1), vec![ME]).expect("one member")
}

#[test]
fn session_requests_max() {
    let limits = Limits { session_requests_max: 3, ..ROOMY };
    let mut table = RequestTable::default();
    open(&mut table, 1, &limits);
    let session = SessionId(1);
    let mut deliver = |number, slot| {
        let request = request_of(session, number, 1);
        table.deliver(Slot(slot), &request, &one_member(), &limits).expect("a verdict")
    };
    assert_eq!(deliver(3, 2), Verdict::First);
    assert_eq!(deliver(4, 3), Verdict::Refused { reason: DeliveryRefused::TooFarAhead });
}

#[test]
fn sessions_max() {
    let limits = Limits { sessions_max: 3, ..ROOMY };
    let mut table = RequestTable::default();
    for slot in 1..=3 {
        assert_eq!(open(&mut table, slot, &limits), Some(Verdict::First));
    }
    let mut first = table.clone();
    let request = request_of(SessionId(1), 1, 1);
    let verdict = first.deliver(Slot(4), &request, &one_member(), &limits);
    assert_eq!(verdict, Some(Verdict::First));
    open(&mut table, 4, &limits);
    let verdict = table.deliver(Slot(5), &request, &one_member(), &limits);
    assert_eq!(verdict, Some(Verdict::Refused { reason: DeliveryRefused::NoSession }));
}

/// Each field of the status, while no two of them are equal.
#[test]
fn status() {
    let mut it = Subject::coordinator(Limits { open_slots_max: 4, ..ROOMY });
    it.commit((1..=2).map(|number| request(number, 1)));
    it.step(Input::Applied { through: Slot(1) });
    it.submit((3..=7).map(|number| request(number, 1)));
    let status = it.status();
    let s = status.promised;
    assert_eq!((status.me, status.run, status.coordinator), (ME, Run(1), Some(ME)));
    let (open_slots, queued) = (4, 1);
    let round_is_answered = false;
    let role = RoleName::Coordinator { s, open_slots, queued, round_is_answered };
    assert_eq!((status.role, s.0 % 3), (role, u64::from(ME.0)));
    assert_eq!((status.watermark, status.durable, status.applied), (Slot(2), Slot(2), Slot(1)));
    assert_eq!((status.written.0, status.synced.0, status.unsynced_bytes), (4, 3, 4 * 33));
    assert!(!status.suspects);
    it.answer_rounds();
    let role = RoleName::Coordinator { s, open_slots, queued, round_is_answered: true };
    assert_eq!(it.status().role, role);

    let mut it = Subject::follower(ROOMY);
    it.committed(1, [request(1, 1)]);
    let status = it.status();
    assert_eq!((status.watermark, status.durable), (Slot(1), Slot(0)));
    assert_eq!((status.role, status.coordinator), (RoleName::Follower, Some(OTHERS[0])));
    it.step(Input::Suspect);
    assert!(it.status().suspects);
    it.step(Input::Elect { canvass: true });
    let s = SequenceNumber(status.promised.0 / 3 * 3 + 3);
    assert_eq!(it.status().role, RoleName::Canvassing { s });
    it.step(Input::Elect { canvass: false });
    let s = SequenceNumber(s.0 + 3);
    assert_eq!(it.status().role, RoleName::Candidate { s });
    assert!(!it.status().suspects);
    let promise = it.out.writes.iter().any(|it| it.content == Content::Promised(s));
    assert!(promise && it.status().promised == s && ME == ReplicaId(0));
}
