//! Snapshots: one replica cuts its log, offers its snapshot, and installs that of a peer.

mod replica;

use std::sync::Arc;

use replica::{OTHERS, Subject, V, request, request_of};
use synod_model::{
    ClientAnswer, Configuration, ConfigurationId, Content, Entry, Forgotten, Input, Limits,
    Message, Opening, Order, OtherHistory, Output, Prefix, PrefixHash, Promise, ReplicaId, Reply,
    RoleName, Run, SequenceNumber, SessionId, Slot, SlotRange, SnapshotHandle,
};

/// The tail has room for one entry, so that what is older than that is on the disk only.
fn short_tail() -> Limits {
    Limits { open_slots_max: 1, accepted_slots_max: 1, frame_entries_max: 1, ..Limits::default() }
}

/// A coordinator that has committed so many requests.
fn with(count: u64, limits: Limits) -> Subject {
    let mut it = Subject::coordinator(limits);
    it.commit((1..=count).map(|number| request(number, 1)));
    assert_eq!(it.status().watermark, Slot(count));
    it
}

fn handle(count: u64) -> Arc<SnapshotHandle> {
    with(count, Limits::default()).handle()
}

fn asks(it: &Subject) -> usize {
    it.sent().filter(|it| matches!(it, Message::Ask { .. })).count()
}

fn snapshot_record(it: &Subject) -> Option<Slot> {
    it.out.writes.iter().find_map(|record| match &record.content {
        Content::Snapshot { handle, .. } => Some(handle.slot),
        _ => None,
    })
}

fn offered(it: &Subject) -> Option<Slot> {
    it.sent().find_map(|message| match message {
        Message::Offer { slot } => Some(*slot),
        _ => None,
    })
}

fn ask(it: &mut Subject, first: u64) {
    let prefix = Prefix::default();
    it.receive(OTHERS[0], Message::Ask { from: Slot(first), through: Slot::MAX, prefix });
}

#[test]
fn the_log_is_cut_when_the_snapshot_is_there_and_not_before() {
    let mut it = with(3, short_tail());
    let handle = it.handle();
    assert_eq!((handle.slot, handle.hash()), (Slot(3), it.status().prefix.hash));
    ask(&mut it, 1);
    assert_eq!((offered(&it), it.out.serve.len()), (None, 1), "the disk has all of it");
    it.step(Input::Served { peer: OTHERS[0] });
    it.commit([request(4, 1)]);
    it.step(Input::SnapshotTaken { handle: handle.clone() });
    assert_eq!(snapshot_record(&it), Some(Slot(3)));
    ask(&mut it, 1);
    assert_eq!((offered(&it), it.out.serve.len()), (Some(Slot(3)), 0));
    ask(&mut it, 4);
    assert_eq!(offered(&it), None, "what comes after the snapshot is there");
    // It comes back again, late.
    it.step(Input::SnapshotTaken { handle });
    assert_eq!(it.out, Output::default());
}

#[test]
fn an_offer_makes_a_lagging_replica_fetch_and_ask_for_nothing_more() {
    let mut it = Subject::follower(Limits::default());
    it.receive(OTHERS[0], Message::Offer { slot: Slot(5) });
    assert_eq!(it.out.fetch, Some((OTHERS[0], Slot(5))));
    assert!(it.sent().next().is_none());
    // What is committed behind it comes, and is of no use yet.
    it.committed(7, [request(7, 1)]);
    assert!(it.out.writes.is_empty() && it.sent().next().is_none());
    it.step(Input::Resend);
    it.receive(OTHERS[0], Message::Offer { slot: Slot(0) });
    assert_eq!(it.out.fetch, None, "it has that");
}

#[test]
fn a_coordinator_that_is_offered_a_snapshot_has_been_overtaken() {
    let mut it = with(1, Limits::default());
    it.receive(OTHERS[1], Message::Offer { slot: Slot(1) });
    assert!(matches!(it.status().role, RoleName::Coordinator { .. }), "it has that");
    it.receive(OTHERS[1], Message::Offer { slot: Slot(9) });
    assert_eq!(it.status().role, RoleName::Follower);
}

fn install(it: &mut Subject, handle: &Arc<SnapshotHandle>) {
    it.step(Input::Install { from: OTHERS[0], handle: Arc::clone(handle) });
}

#[test]
fn a_snapshot_takes_the_place_of_the_log_up_to_its_slot() {
    let handle = with(3, Limits::default()).handle();
    let mut it = Subject::follower(Limits::default());
    let entries: Vec<Entry<V>> = [2, 4].map(|number| request(number, 1)).into();
    it.accept(2, [entries[0].clone()]);
    it.accept(4, [entries[1].clone()]);
    it.sync();
    install(&mut it, &handle);
    assert_eq!((it.out.restore, snapshot_record(&it)), (Some(Slot(3)), Some(Slot(3))));
    let status = it.status();
    assert_eq!((status.watermark, status.delivered, status.durable), (Slot(3), Slot(3), Slot(0)));
    assert_eq!(status.prefix.hash, handle.hash());
    it.sync();
    assert_eq!(it.status().durable, Slot(3), "once its record is durable");
    // The entry above it is still there.
    it.committed(4, [entries[1].clone()]);
    assert_eq!(it.status().watermark, Slot(4));
    assert_eq!(it.handle().slot, Slot(4));
    // An older one changes nothing.
    install(&mut it, &handle);
    assert_eq!(it.out, Output::default());
}

/// Slot 3 is durable already, and counts when the snapshot below it does. The tail has no room for it.
#[test]
fn what_lies_above_an_installed_snapshot_counts_as_durable_in_the_end() {
    let limits = Limits { open_slots_max: 2, accepted_slots_max: 2, ..Limits::default() };
    let handle = with(2, limits.clone()).handle();
    let mut it = Subject::follower(limits);
    it.committed(1, [request(1, 1)]);
    it.accept(3, [request(3, 1)]);
    it.sync();
    install(&mut it, &handle);
    let hash = it.status().prefix.hash.after(&request(3, 1));
    let prefix = Prefix { through: Slot(3), hash, ..Prefix::default() };
    let (configuration, s) = (ConfigurationId(1), SequenceNumber(4));
    it.receive(OTHERS[0], Message::Order { configuration, s, order: Order::Commit { prefix } });
    for slot in 4..=5 {
        it.committed(slot, [request(slot, 1)]);
    }
    assert_eq!((it.status().watermark, it.status().durable), (Slot(5), Slot(1)));
    it.sync();
    assert_eq!(it.status().durable, Slot(5));
}

/// The slots that were acknowledged in the last step, and what was committed here then.
fn acknowledged(it: &Subject) -> Vec<(u64, u64, Slot)> {
    let acknowledged = it.sent().filter_map(|message| match message {
        Message::Reply { reply: Reply::Acknowledge { ranges, prefix }, .. } => {
            Some(ranges.iter().map(|it| (it.first.0, it.last.0, prefix.through)))
        }
        _ => None,
    });
    acknowledged.flatten().collect()
}

/// Nothing is lost on the way, so nothing is repeated: the coordinator would wait until a resend.
#[test]
fn what_was_to_be_acknowledged_is_acknowledged_when_the_snapshot_is_durable() {
    // Slot 1 is committed, and slot 2 is not. Neither is durable.
    let mut it = Subject::follower(Limits::default());
    it.committed(1, [request(1, 1)]);
    it.accept(1, [request(1, 1), request(2, 1)]);
    let accepted = it.status().written;
    install(&mut it, &handle(3));
    it.step(Input::Synced { through: accepted });
    assert_eq!(acknowledged(&it), [], "the slots are in the snapshot, which is not durable");
    let installed = it.status().written;
    it.committed(4, [request(4, 1)]);
    it.accept(4, [request(4, 1)]);
    it.step(Input::Synced { through: installed });
    assert_eq!(acknowledged(&it), [(1, 2, Slot(4))]);
    it.sync();
    assert_eq!(acknowledged(&it), [(4, 4, Slot(4))], "its own record is durable later");
}

/// What is durable is acknowledged already, and what is promised to another one means nothing any more.
#[test]
fn an_installation_acknowledges_only_what_the_coordinator_waits_for() {
    let mut durable = Subject::follower(Limits::default());
    durable.accept(1, [request(1, 1)]);
    durable.sync();
    let mut promised = Subject::follower(Limits::default());
    promised.accept(1, [request(1, 1)]);
    let (configuration, s) = (ConfigurationId(1), SequenceNumber(5));
    let order = Order::Commit { prefix: Prefix::default() };
    promised.receive(OTHERS[1], Message::Order { configuration, s, order });
    for mut it in [durable, promised] {
        install(&mut it, &handle(3));
        it.sync();
        assert_eq!(acknowledged(&it), []);
    }
}

/// A follower with a snapshot votes for what is open here. It may have more than is open: then it was committed
/// under a higher number, and the vote does not count.
#[test]
fn an_acknowledgement_behind_a_snapshot_counts_if_the_coordinator_has_the_same() {
    let snapshot = |numbers: &[u64]| {
        let mut it = Subject::coordinator(Limits::default());
        it.commit(numbers.iter().map(|number| request(*number, 1)));
        it.status().prefix
    };
    for (prefix, committed) in [
        (snapshot(&[1]), 2),
        (snapshot(&[1, 2]), 2),
        (snapshot(&[1, 9]), 0),
        (snapshot(&[1, 2, 3]), 0),
    ] {
        let mut it = Subject::coordinator(Limits::default());
        it.submit([request(1, 1), request(2, 1)]);
        it.sync();
        let range = SlotRange { first: Slot(1), last: Slot(2) };
        it.reply(OTHERS[0], Reply::Acknowledge { ranges: vec![range], prefix });
        assert_eq!(it.status().watermark, Slot(committed), "{prefix:?}");
    }
}

#[test]
fn a_snapshot_of_another_history_is_not_installed() {
    let handle = with(3, Limits::default()).handle();
    let mut it = Subject::follower(Limits::default());
    it.committed(1, [request(9, 1)]);
    install(&mut it, &handle);
    assert_eq!((it.out.restore, it.status().watermark), (None, Slot(1)));
    let found = [OtherHistory { peer: OTHERS[0], slot: Slot(1) }];
    assert_eq!(
        (&it.out.other_histories[..], &it.status().other_histories[..]),
        (&found[..], &found[..])
    );
    let compares = it.sent().filter(|it| matches!(it, Message::Compare { is_question: true, .. }));
    assert_eq!(compares.count(), 2, "all others are asked");
}

/// A snapshot that is far ahead has a hash at the last checkpoint up to the watermark, and at no slot behind it.
#[test]
fn a_snapshot_that_is_far_ahead_is_compared_at_the_last_checkpoint() {
    let limits = Limits { frame_entries_max: 2, ..short_tail() };
    let handle = with(7, limits.clone()).handle();
    for (differs, is_installed) in [(1, false), (2, false), (3, true)] {
        let mut it = Subject::follower(limits.clone());
        for slot in 1..=3 {
            let number = if slot == differs { 99 } else { slot };
            it.committed(slot, [request(number, 1)]);
        }
        install(&mut it, &handle);
        assert_eq!(it.status().watermark == Slot(7), is_installed, "slot {differs} differs");
    }
}

/// Its session is in no table: it may have been evicted after the request was delivered.
#[test]
fn what_a_snapshot_does_not_know_is_unknown() {
    let handle = with(3, Limits::default()).handle();
    let mut it = Subject::follower(Limits::default());
    it.submit([request(1, 1)]);
    install(&mut it, &handle);
    let submission = request(1, 1).submission_id().expect("a request");
    assert_eq!(it.out.answers, [ClientAnswer::Unknown { submission }]);
}

/// The table knows the session, and none of its requests.
#[test]
fn a_request_of_a_session_that_ended_below_the_snapshot_is_unknown() {
    let mut other = Subject::coordinator(Limits::default());
    let session = SessionId(1);
    let open = Entry::Open(Opening { origin: ReplicaId(0), run: Run(1), count: 1 });
    other.commit([open, request_of(session, 1, 1), Entry::End { session }]);
    assert_eq!(other.status().watermark, Slot(3));
    let mut it = Subject::follower(Limits::default());
    it.submit([request_of(session, 1, 1), Entry::End { session }]);
    install(&mut it, &other.handle());
    let submission = request_of(session, 1, 1).submission_id().expect("a request");
    let end = Entry::<V>::End { session }.submission_id().expect("a submission");
    assert_eq!(
        it.out.answers,
        [
            ClientAnswer::Done { submission: end, slot: Slot(3) },
            ClientAnswer::Unknown { submission }
        ]
    );
}

/// A snapshot up to slot 3 says nothing of a session that is opened in slot 4.
#[test]
fn a_request_of_a_session_that_begins_above_the_snapshot_is_kept() {
    for (session, is_kept) in [(3, false), (4, true)] {
        let mut it = Subject::follower(Limits::default());
        it.submit([request_of(SessionId(session), 1, 1)]);
        install(&mut it, &handle(3));
        assert_eq!(it.out.answers.is_empty(), is_kept, "session {session}");
    }
}

#[test]
fn records_up_to_the_snapshot_may_be_cut() {
    let accepted = |first, count| Content::Accepted {
        s: SequenceNumber(3),
        configuration: ConfigurationId(1),
        first: Slot(first),
        entries: (0..count).map(|number| request(number, 1)).collect(),
    };
    let forgotten =
        Forgotten { replica: ReplicaId(0), told_to: OTHERS[0], s: SequenceNumber(3), slot: None };
    for (content, is_cut) in [
        (Content::Promised(SequenceNumber(3)), true),
        (accepted(1, 3), true),
        (accepted(3, 2), false),
        (accepted(4, 1), false),
        (Content::Committed { first: Slot(3), entries: vec![request(1, 1)] }, true),
        (Content::Forgotten(forgotten), false),
    ] {
        assert_eq!(content.may_be_cut(Slot(3)), is_cut, "{content:?}");
    }
}

/// The hash of the entries before a portion is computed from those at the last checkpoint. The log may begin
/// behind it.
#[test]
fn a_portion_from_the_disk_needs_no_slot_that_was_cut() {
    let limits = Limits { frame_entries_max: 4, ..short_tail() };
    let mut it = Subject::coordinator(limits);
    it.commit((1..=6).map(|number| request(number, 1)));
    let handle = it.handle();
    it.commit((7..=11).map(|number| request(number, 1)));
    it.step(Input::SnapshotTaken { handle: Arc::clone(&handle) });
    ask(&mut it, 8);
    let serve = it.out.serve.first().expect("a portion from the disk");
    assert_eq!((serve.checkpoint, serve.reads().first), ((Slot(6), handle.hash()), Slot(7)));
    assert_eq!(serve.slots.last, Slot(8), "up to the next checkpoint");
    it.step(Input::Served { peer: OTHERS[0] });
    let serve = it.out.serve.first().expect("a portion from the disk");
    assert_eq!((serve.checkpoint.0, serve.slots.first), (Slot(8), Slot(9)));
}

#[test]
fn what_is_cut_while_it_is_served_is_offered() {
    let mut it = with(3, short_tail());
    let handle = it.handle();
    it.commit([request(4, 1)]);
    ask(&mut it, 1);
    assert_eq!((offered(&it), it.out.serve.len()), (None, 1));
    it.step(Input::SnapshotTaken { handle });
    it.step(Input::Served { peer: OTHERS[0] });
    assert_eq!((offered(&it), it.out.serve.len()), (Some(Slot(3)), 0));
}

#[test]
fn a_snapshot_that_does_not_come_is_asked_for_again() {
    let mut it = Subject::follower(Limits::default());
    it.receive(OTHERS[0], Message::Offer { slot: Slot(5) });
    it.commit_told(6);
    assert_eq!(asks(&it), 0, "it waits for the snapshot");
    it.step(Input::NotFetched);
    it.commit_told(7);
    assert_eq!(asks(&it), 1);
}

/// No order comes to a candidate. So it asks at once.
#[test]
fn a_candidate_whose_snapshot_does_not_come_asks_anew() {
    let mut it = Subject::candidate(Limits::default());
    let prefix = Prefix { through: Slot(5), ..Prefix::default() };
    let (last, accepted) = (Slot(5), Vec::new());
    let promise = Promise { prefix, last, after: last, through: last, accepted };
    it.reply(OTHERS[0], Reply::Promise(promise));
    assert_eq!(asks(&it), 1);
    it.receive(OTHERS[0], Message::Offer { slot: Slot(5) });
    assert_eq!(it.out.fetch, Some((OTHERS[0], Slot(5))));
    it.step(Input::NotFetched);
    assert!(matches!(it.status().role, RoleName::Candidate { .. }));
    assert_eq!(asks(&it), 1);
}

/// A snapshot that is not taken in does not keep a replica waiting: what it lacks may be in a log.
#[test]
fn a_snapshot_that_is_refused_ends_the_wait_for_it() {
    let offered = |committed: &[u64]| {
        let mut it = Subject::follower(Limits::default());
        for (slot, number) in (1..).zip(committed) {
            it.committed(slot, [request(*number, 1)]);
        }
        it.receive(OTHERS[1], Message::Offer { slot: Slot(5) });
        it
    };
    let impossible = Arc::new(SnapshotHandle { slot: Slot(4), ..(*handle(3)).clone() });
    for (name, mut it, handle) in [
        ("of another history", offered(&[9]), handle(3)),
        ("impossible", offered(&[]), impossible),
        ("not newer", offered(&[1, 2, 3]), handle(3)),
    ] {
        let watermark = it.status().watermark;
        it.step(Input::Install { from: OTHERS[1], handle });
        assert_eq!(it.status().watermark, watermark, "{name}");
        it.commit_told(6);
        assert_eq!(asks(&it), 1, "{name}");
    }
}

/// The entries up to the slot of the offer come as accepts, and are committed before the snapshot is there.
#[test]
fn an_offer_that_commits_overtake_ends_the_wait_for_it() {
    let mut it = Subject::follower(Limits::default());
    it.receive(OTHERS[1], Message::Offer { slot: Slot(3) });
    let entries: Vec<_> = (1..=4).map(|number| request(number, 1)).collect();
    let hash = entries.iter().fold(PrefixHash::default(), PrefixHash::after);
    it.accept(1, entries);
    let (configuration, s) = (ConfigurationId(1), SequenceNumber(4));
    let tell = |it: &mut Subject, through, hash| {
        let prefix = Prefix { through: Slot(through), hash, ..Prefix::default() };
        let order = Order::Commit { prefix };
        it.receive(OTHERS[0], Message::Order { configuration, s, order });
    };
    tell(&mut it, 4, hash);
    assert_eq!(it.status().watermark, Slot(4));
    tell(&mut it, 8, PrefixHash::default());
    assert_eq!(asks(&it), 1, "slots 5 to 8 may have been told of while it waited");
}

/// Nothing that a peer sends makes a replica panic, or takes it where no log goes.
#[test]
fn an_impossible_snapshot_is_not_installed() {
    let handle = with(3, Limits::default()).handle();
    for slot in [Slot(4), Slot(2), Slot(u64::MAX)] {
        let mut it = Subject::follower(Limits::default());
        install(&mut it, &Arc::new(SnapshotHandle { slot, ..(*handle).clone() }));
        assert_eq!((it.out.restore, it.status().watermark), (None, Slot::ZERO));
    }
}

/// Under one id there is one configuration, and ids only grow.
#[test]
fn a_snapshot_of_another_configuration_is_not_installed() {
    let handle = handle(3);
    for (id, members) in [(0, vec![ReplicaId(2)]), (1, vec![ReplicaId(2)])] {
        let configuration = Configuration::new(ConfigurationId(id), members).expect("one member");
        let mut it = Subject::follower(Limits::default());
        install(&mut it, &Arc::new(SnapshotHandle { configuration, ..(*handle).clone() }));
        assert_eq!((it.out.restore, it.status().watermark), (None, Slot::ZERO));
    }
}

/// A request table that goes beyond the limits, or beyond the slot of its snapshot, and too many hashes.
#[test]
fn a_snapshot_beyond_the_limits_is_not_installed() {
    let ours = Limits {
        sessions_max: 2,
        session_requests_max: 2,
        open_slots_max: 3,
        accepted_slots_max: 3,
        ..Limits::default()
    };
    let of = |entries: Vec<Entry<V>>, limits: &Limits| {
        let mut it = Subject::coordinator(limits.clone());
        it.commit(entries);
        it.handle()
    };
    let open = |count| Entry::Open(Opening { origin: ReplicaId(0), run: Run(1), count });
    let sessions = |most| (1..=most).map(open).collect::<Vec<_>>();
    let requests = |most| {
        let requests = (1..=most).map(|number| request_of(SessionId(1), number, 1));
        [open(1)].into_iter().chain(requests).collect::<Vec<_>>()
    };
    let no_ops = |count| (0..count).map(|number| request(number, 1)).collect::<Vec<_>>();
    let long = of(requests(1), &ours);
    let longer = SnapshotHandle {
        table: Arc::clone(&of(sessions(2), &ours).table),
        ..(*of(sessions(1), &ours)).clone()
    };
    for (name, handle, is_installed) in [
        ("two sessions", of(sessions(2), &ours), true),
        ("three sessions", of(sessions(3), &Limits { sessions_max: 3, ..ours.clone() }), false),
        ("two requests", of(requests(2), &ours), true),
        (
            "three requests",
            of(requests(3), &Limits { session_requests_max: 3, ..ours.clone() }),
            false,
        ),
        ("hashes at four slots", of(no_ops(5), &ours), true),
        (
            "hashes at five slots",
            of(no_ops(5), &Limits { accepted_slots_max: 4, ..ours.clone() }),
            false,
        ),
        (
            "an ended session",
            of([requests(1), vec![Entry::End { session: SessionId(1) }]].concat(), &ours),
            true,
        ),
        ("a table of a later slot", Arc::new(longer), false),
        ("one session", long, true),
    ] {
        let mut it = Subject::follower(ours.clone());
        install(&mut it, &handle);
        assert_eq!(it.status().watermark == handle.slot, is_installed, "{name}");
    }
}

/// A crash may leave an application with more than its log knows to be committed. Its state is not that of the
/// watermark, so there is no handle, until the log knows as much.
#[test]
fn an_application_that_is_ahead_of_the_log_gets_no_handle() {
    let mut it = Subject::ahead(2);
    assert_eq!(it.snapshot_handle(), None);
    it.committed(1, [request(1, 1)]);
    assert_eq!(it.snapshot_handle(), None);
    it.committed(2, [request(2, 1)]);
    assert_eq!(it.handle().slot, Slot(2));
    assert!(it.out.delivered.is_empty(), "the application has it");
    // A snapshot that the application has already is not given to it.
    let mut it = Subject::ahead(3);
    install(&mut it, &with(3, Limits::default()).handle());
    assert_eq!((it.out.restore, it.status().watermark), (None, Slot(3)));
}
