//! A cluster of one that begins with what a last survivor has.

mod lone;

use std::sync::Arc;

use lone::{Alone, V, alone, survivor};
use synod_model::{
    Base, Change, Configuration, ConfigurationId, Content, DeliveryRefused, Entry, Forgotten,
    Incarnation, LeftOut, Limits, Membership, NotAlone, Opening, PrefixHash, Record, RecordError,
    Registration, ReplicaId, Request, Run, SequenceNumber, SessionId, Slot, SnapshotHandle,
    SubmissionId, Verdict,
};

fn ids(ids: &[u16]) -> Vec<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

fn first() -> Configuration {
    Configuration::new(ConfigurationId(1), ids(&[0, 1, 2])).expect("members")
}

fn changed(before: &Configuration, voters: &[u16], learners: &[u16]) -> Configuration {
    let changed = before.changed(&ids(voters), &ids(learners));
    changed.and_then(|it| it.with_all_registered(Registration::first_of)).expect("a configuration")
}

fn open() -> Entry<V> {
    Entry::Open(Opening { origin: ReplicaId(0), run: Run(1), count: 1 })
}

/// A request of the session that slot 1 opens.
fn request(number: u64) -> Entry<V> {
    let value = Arc::from(number.to_le_bytes());
    Entry::Request(Request { session: SessionId(1), number, answered: 1, value })
}

fn change(number: u64, after: &Configuration) -> Entry<V> {
    let configuration = after.clone();
    Entry::Change(Change { session: SessionId(1), number, answered: 1, configuration })
}

/// The record of a log without a snapshot: these are accepted, and the first `committed` slots are committed.
fn accepted(
    committed: &[Entry<V>],
    in_configuration: u64,
    first: u64,
    entries: &[Entry<V>],
) -> Record<V> {
    let content = Content::Accepted {
        s: SequenceNumber(8),
        configuration: ConfigurationId(in_configuration),
        first: Slot(first),
        entries: entries.to_vec(),
    };
    with_watermark(committed, content)
}

fn with_watermark(committed: &[Entry<V>], content: Content<V>) -> Record<V> {
    let hash = committed.iter().fold(PrefixHash::default(), PrefixHash::after);
    Record { watermark: Slot(committed.len() as u64), hash, content }
}

fn verdict(alone: &Alone, slot: u64) -> Option<Verdict> {
    let it = alone.delivered.iter().find(|it| it.slot == Slot(slot));
    it.unwrap_or_else(|| panic!("slot {slot} is not delivered")).verdict
}

/// Two values are known to be committed, and two more are accepted. The last replica that is left goes on with all.
#[test]
fn what_is_accepted_without_a_gap_is_committed() {
    let log = [open(), request(1), request(2), request(3)];
    let records = [accepted(&[], 1, 1, &log[..2]), accepted(&log[..2], 1, 3, &log[2..])];
    let survivor = survivor(&first(), 2, &records).expect("it has something");
    assert_eq!((survivor.membership, survivor.committed), (Membership::Voter, Slot(2)));
    assert_eq!(survivor.adopted, log[2..]);
    assert_eq!((survivor.last(), survivor.left_out), (Slot(4), None));
    let governs = survivor.constants.first_configuration();
    assert_eq!((governs.members(), governs.id()), (&ids(&[2])[..], ConfigurationId(2)));
    assert_eq!(governs.next_replica_id(), 3, "an id is never used again");

    let mut alone = alone(&first(), 2, &records);
    assert_eq!(alone.log(), log);
    assert!((1..=4).all(|slot| verdict(&alone, slot) == Some(Verdict::First)));
    // It elects itself, and a retry of what it has is known.
    alone.elect();
    alone.submit(request(3));
    assert_eq!(alone.done.remove(&request(3).submission_id().expect("a request")), Some(Slot(4)));
    alone.submit(request(4));
    assert_eq!(alone.log()[4..], [request(4)]);
}

/// A value behind a gap would stand in the log without what came before it.
#[test]
fn what_is_behind_a_gap_is_left_out() {
    let log = [open(), request(1), request(2)];
    let records = [
        accepted(&[], 1, 1, &log[..2]),
        accepted(&log[..1], 1, 4, &[request(4), request(5)]),
        accepted(&log[..1], 1, 7, &[request(7)]),
    ];
    let survivor = survivor(&first(), 0, &records).expect("it has something");
    assert_eq!(survivor.adopted, log[1..2]);
    assert_eq!(survivor.left_out, Some(LeftOut { gap: Slot(3), slots: 3, last: Slot(7) }));
    let mut alone = alone(&first(), 0, &records);
    alone.elect();
    alone.submit(request(2));
    assert_eq!(alone.log(), log);
}

/// An accepted change may have been committed, and then the members that it leads to are lost. It stays in its slot,
/// and delivery refuses it, whichever configuration it leads to.
#[test]
fn an_accepted_change_is_refused() {
    for after in [changed(&first(), &[2, 3, 4], &[]), changed(&first(), &[2], &[])] {
        let log = [open(), change(1, &after), request(2)];
        let records = [accepted(&[], 1, 1, &log)];
        let mut alone = alone(&first(), 2, &records);
        let refused = Verdict::Refused { reason: DeliveryRefused::OtherConfiguration };
        assert_eq!(verdict(&alone, 2), Some(refused));
        assert_eq!(verdict(&alone, 3), Some(Verdict::First));
        assert_eq!(alone.replica.configuration().members(), ids(&[2]));
        assert_eq!(alone.replica.configuration().next_replica_id(), after.next_replica_id());
        alone.elect();
        alone.submit(request(3));
        // It grows as any cluster does. A change that is based on the old one is refused.
        alone.submit(change(4, &after));
        assert_eq!(alone.replica.configuration().members(), ids(&[2]));
        let grown = changed(alone.replica.configuration(), &[2], &[5]);
        alone.submit(change(5, &grown));
        assert_eq!(*alone.replica.configuration(), grown);
    }
}

/// Changes that were committed are refused as well. One that was refused because it came too early is not taken now.
#[test]
fn committed_changes_lead_nowhere() {
    let two = changed(&first(), &[0, 1, 2], &[3]);
    let three = changed(&two, &[0, 1, 3], &[]);
    let early = changed(&changed(&three, &[0, 1, 3], &[]), &[0, 1, 3, 9], &[]);
    assert_eq!(early.id(), ConfigurationId(5));
    let log = [open(), change(1, &two), change(2, &early), change(3, &three), request(4)];
    let records = [
        accepted(&[], 1, 1, &log[..2]),
        accepted(&log[..2], 2, 3, &log[2..4]),
        accepted(&log[..4], 3, 5, &log[4..]),
    ];
    for (me, membership) in
        [(3, Membership::Voter), (2, Membership::Outside), (7, Membership::Outside)]
    {
        let survivor = survivor(&first(), me, &records).expect("it has something");
        assert_eq!((survivor.membership, &survivor.configuration), (membership, &three));
        let governs = survivor.constants.first_configuration();
        assert_eq!(governs.id(), ConfigurationId(6), "above every change in the log");
        assert_eq!(governs.next_replica_id(), u32::from(me).max(3) + 1);
        let mut alone = alone(&first(), me, &records);
        assert_eq!(alone.replica.configuration(), governs);
        assert_eq!(alone.log(), log);
        alone.elect();
        alone.submit(request(5));
        assert_eq!(alone.log().len(), 6);
    }
}

/// What was accepted in a configuration that a committed change has ended counts for nothing.
#[test]
fn what_another_configuration_accepted_is_no_part_of_it() {
    let two = changed(&first(), &[0, 1], &[]);
    let log = [open(), change(1, &two)];
    let records = [
        accepted(&[], 1, 1, &log),
        accepted(&[], 1, 3, &[request(2)]),
        with_watermark(&log, Content::Promised(SequenceNumber(16))),
    ];
    let survivor = survivor(&first(), 1, &records).expect("it has something");
    assert_eq!((survivor.adopted.as_slice(), survivor.left_out), (&[][..], None));
}

#[test]
fn a_learner_may_be_all_that_is_left() {
    let members = Configuration::from_parts(ConfigurationId(4), ids(&[0, 1, 2]), ids(&[2]), 9);
    let members = members.expect("members");
    let records = [accepted(&[], 4, 1, &[open(), request(1)])];
    assert_eq!(survivor(&members, 2, &records).map(|it| it.membership), Ok(Membership::Learner));
    let mut alone = alone(&members, 2, &records);
    alone.elect();
    alone.submit(request(2));
    assert_eq!(alone.log().len(), 3);
    assert_eq!(alone.replica.configuration().next_replica_id(), 9);
}

/// The disk has forgotten something, or another directory took its place. Both may be all that is left, and are told.
#[test]
fn what_makes_a_replica_stop_does_not_stop_a_recovery() {
    let (replica, told_to) = (ReplicaId(0), ReplicaId(1));
    let forgotten = Forgotten { replica, told_to, s: SequenceNumber(9), slot: Some(Slot(3)) };
    let log = [open(), request(1)];
    let records = [accepted(&[], 1, 1, &log), with_watermark(&log, Content::Forgotten(forgotten))];
    let found = survivor(&first(), 0, &records).expect("it has something");
    assert_eq!(found.forgotten, Some(forgotten));
    let alone = alone(&first(), 0, &records);
    assert_eq!(alone.replica.status().forgotten, []);

    let registered = first().with_all_registered(|_| Registration {
        incarnation: Incarnation(77),
        address: String::new(),
    });
    let records = [accepted(&[], 1, 1, &log)];
    let found = survivor(&registered.expect("short addresses"), 0, &records);
    assert_eq!(found.map(|it| it.other_directory), Ok(Some(Incarnation(77))));
}

/// The log was cut. The new cluster begins with the snapshot, and goes on with what is behind it.
#[test]
fn a_snapshot_goes_over() {
    let log = [open(), request(1), request(2), request(3)];
    let whole = lone::recovered(
        &first(),
        1,
        &[
            accepted(&[], 1, 1, &log[..2]),
            with_watermark(&log[..2], Content::Promised(SequenceNumber(16))),
        ],
    );
    let handle = lone::handle(&whole);
    assert_eq!(handle.slot, Slot(2));
    let promised = SequenceNumber(16);
    let snapshot = Content::Snapshot { handle: Arc::clone(&handle), promised };
    let records = [
        accepted(&[], 1, 1, &log[..2]),
        with_watermark(&log[..2], Content::Promised(promised)),
        with_watermark(&log[..2], snapshot),
        Record {
            content: Content::Accepted {
                s: promised,
                configuration: ConfigurationId(1),
                first: Slot(3),
                entries: log[2..].to_vec(),
            },
            ..with_watermark(&log[..2], Content::Promised(promised))
        },
    ];
    let mut alone = alone(&first(), 1, &records);
    assert_eq!(alone.restored, Some(Slot(2)));
    assert_eq!(alone.log(), log[2..]);
    alone.elect();
    alone.submit(request(1));
    let known = SubmissionId::Request { session: SessionId(1), number: 1 };
    assert_eq!(alone.done.remove(&known), Some(Slot(2)), "the request table goes over");
    alone.submit(request(4));
    assert_eq!(alone.log()[2..], [request(4)]);
}

#[test]
fn what_needs_no_recovery_or_has_nothing_is_refused() {
    assert_eq!(survivor(&first(), 0, &[]).err(), Some(NotAlone::Empty));
    let one = Configuration::new(ConfigurationId(1), ids(&[0])).expect("a member");
    let records = [accepted(&[], 1, 1, &[open()])];
    let only = NotAlone::OnlyVoter { replica: ReplicaId(0) };
    assert_eq!(survivor(&one, 0, &records).err(), Some(only));
    // A change to members that are lost is accepted, and this voter alone may have committed it.
    let records = [accepted(&[], 1, 1, &[open(), change(1, &changed(&one, &[0, 1, 2], &[]))])];
    assert_eq!(survivor(&one, 0, &records).map(|it| it.last()), Ok(Slot(2)));

    let last = Configuration::from_parts(ConfigurationId(u64::MAX), ids(&[3]), Vec::new(), 4);
    let records = [accepted(&[], 1, 1, &[open(), change(1, &last.expect("a member"))])];
    assert_eq!(survivor(&first(), 0, &records).err(), Some(NotAlone::NoConfigurationId));

    let wrong = Record {
        hash: PrefixHash(7),
        ..with_watermark(&[open()], Content::Promised(SequenceNumber(16)))
    };
    let refused = survivor(&first(), 0, &[accepted(&[], 1, 1, &[open()]), wrong]).err();
    assert_eq!(refused, Some(NotAlone::Record(RecordError::OtherPrefix { slot: Slot(1) })));
}

/// Each record is at most one frame, as catch-up brings it.
#[test]
fn a_long_log_takes_many_records() {
    let limits = Limits { frame_entries_max: 3, ..Limits::default() };
    let entries: Vec<_> = std::iter::once(open()).chain((1..=9).map(request)).collect();
    let records = lone::laid_out(&SnapshotHandle::empty(first()), &entries, &limits);
    let counts = records.iter().map(|record| match &record.content {
        Content::Committed { entries, .. } => entries.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(counts.collect::<Vec<_>>(), [3, 3, 3, 1]);
    let mut base = Base::new(first());
    for record in records {
        base.apply(record).expect("a possible record");
    }
    assert_eq!(base.fold.watermark, Slot(10));
}
