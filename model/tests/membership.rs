//! Members that change: what no scenario of the checker shows.

use std::sync::Arc;

use synod_model::{
    Base, Change, ClientAnswer, ClusterConstants, Configuration, ConfigurationError,
    ConfigurationId, Content, Entry, Incarnation, Input, Limits, MemberSet, Message, Opening,
    Order, Outgoing, Output, Prefix, PrefixHash, Promise, Record, RecordError, Recovery,
    Registration, Replica, ReplicaId, Reply, Resource, RoleName, Run, SequenceNumber, SessionId,
    Slot, SubmitRefused, To,
};

type V = Arc<[u8]>;

const STRIDE: u64 = 8;

fn ids(ids: &[u16]) -> Vec<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

fn first(members: &[u16]) -> Configuration {
    Configuration::new(ConfigurationId(1), ids(members)).expect("members")
}

fn changed(before: &Configuration, voters: &[u16], learners: &[u16]) -> Configuration {
    let changed = before.changed(&ids(voters), &ids(learners));
    changed.and_then(|it| it.with_all_registered(Registration::first_of)).expect("a configuration")
}

/// Replica `me` of a cluster that begins with this configuration, after these records.
fn recovered(
    configuration: &Configuration,
    me: u16,
    records: Vec<Record<V>>,
) -> Result<Replica<V>, RecordError> {
    let constants = ClusterConstants::new(STRIDE, configuration.clone(), Limits::default());
    let constants = Arc::new(constants.expect("right constants"));
    let base = Base::new(configuration.clone());
    let mut out = Output::default();
    let mut recovery = Recovery::new(constants, ReplicaId(me), Run(1), Slot::ZERO, base, &mut out)?;
    for record in records {
        recovery.record(record, &mut out)?;
    }
    recovery.finish()
}

/// The same for a replica with nothing, and this data directory.
fn of_directory(configuration: &Configuration, me: u16, incarnation: Incarnation) -> Replica<V> {
    let constants = ClusterConstants::new(STRIDE, configuration.clone(), Limits::default());
    let constants = Arc::new(constants.expect("right constants"));
    let base = Base::new(configuration.clone());
    let mut out = Output::default();
    let recovery = Recovery::new(constants, ReplicaId(me), Run(1), Slot::ZERO, base, &mut out);
    recovery.expect("an empty disk").of_directory(incarnation).finish().expect("an empty disk")
}

fn step(replica: &mut Replica<V>, input: Input<V>) -> Output<V> {
    let mut out = Output::default();
    replica.step(input, &mut out);
    out
}

/// A log that begins with the opening of session 1 and a change of its members, both committed.
fn log_with_change(before: &Configuration, after: &Configuration) -> (Vec<Entry<V>>, Record<V>) {
    let open = Entry::Open(Opening { origin: ReplicaId(0), run: Run(1), count: 1 });
    let (session, number, answered) = (SessionId(1), 1, 1);
    let change = Entry::Change(Change { session, number, answered, configuration: after.clone() });
    let entries = vec![open, change];
    let content = Content::Accepted {
        s: SequenceNumber(STRIDE),
        configuration: before.id(),
        first: Slot(1),
        entries: entries.clone(),
    };
    (entries, Record { watermark: Slot::ZERO, hash: PrefixHash::default(), content })
}

/// What a replica reports that has accepted slot 3 in the configuration `tag`, above a change to configuration 2.
fn reported(tag: u64) -> Result<usize, RecordError> {
    let before = first(&[0, 1, 2]);
    let after = changed(&before, &[0, 1, 3], &[]);
    let (entries, log) = log_with_change(&before, &after);
    let hash = entries.iter().fold(PrefixHash::default(), PrefixHash::after);
    let above = Content::Accepted {
        s: SequenceNumber(STRIDE),
        configuration: ConfigurationId(tag),
        first: Slot(3),
        entries: vec![Entry::NoOp],
    };
    let (promised, s) = (SequenceNumber(2 * STRIDE), SequenceNumber(3 * STRIDE));
    let records = vec![
        log,
        Record { watermark: Slot::ZERO, hash: PrefixHash::default(), content: above },
        Record { watermark: Slot(2), hash, content: Content::Promised(promised) },
    ];
    let mut replica = recovered(&before, 1, records)?;
    assert_eq!(*replica.configuration(), after);
    let order = Order::Propose { from: Slot(3) };
    let message = Message::Order { configuration: after.id(), s, order };
    let written = step(&mut replica, Input::Receive { from: ReplicaId(0), message }).writes.len();
    let through = synod_model::Position(written as u64);
    let out = step(&mut replica, Input::Synced { through });
    let counts = out.messages.iter().filter_map(|it| match &it.message {
        Message::Reply { reply: Reply::Promise(Promise { accepted, .. }), .. } => {
            Some(accepted.len())
        }
        _ => None,
    });
    Ok(counts.sum())
}

#[test]
fn what_another_configuration_accepted_is_void_after_a_restart() {
    assert_eq!(reported(1), Ok(0));
    assert_eq!(reported(2), Ok(1));
    assert_eq!(reported(3), Err(RecordError::UnknownConfiguration { slot: Slot(3) }));
}

/// A learner may have promised more than the voters. A replica that it rejects stands again at once: nobody
/// else need take its place.
#[test]
fn a_learner_deposes_nobody() {
    let id = ConfigurationId(1);
    let members = Configuration::from_parts(id, ids(&[0, 1, 2]), ids(&[2]), 3).expect("members");
    for (from, stays) in [(2, true), (1, false)] {
        let mut replica = recovered(&members, 0, Vec::new()).expect("an empty disk");
        step(&mut replica, Input::Elect { canvass: false });
        let rejected = Message::Reject { promised: SequenceNumber(2 * STRIDE + 2) };
        step(&mut replica, Input::Receive { from: ReplicaId(from), message: rejected });
        let stands = matches!(replica.status().role, RoleName::Candidate { .. });
        assert_eq!(stands, stays, "rejected by r{from}");
        assert!(replica.next_number() > Some(SequenceNumber(2 * STRIDE + 2)));
    }
}

#[test]
fn a_learner_does_not_stand() {
    let id = ConfigurationId(1);
    let members = Configuration::from_parts(id, ids(&[0, 1]), ids(&[1]), 2).expect("members");
    let mut replica = recovered(&members, 1, Vec::new()).expect("an empty disk");
    let out = step(&mut replica, Input::Elect { canvass: false });
    assert_eq!(out.elect_refused, Some(synod_model::ElectRefused::NotAVoter));
    assert!(out.writes.is_empty());
}

/// Two replicas would own the same sequence numbers.
#[test]
fn an_id_beyond_the_stride_is_refused() {
    let members = first(&[0]);
    for (member, is_refused) in [(7, false), (8, true)] {
        let mut replica = recovered(&members, 0, Vec::new()).expect("an empty disk");
        let configuration = changed(&members, &[0, member], &[]);
        let change = Change { session: SessionId(1), number: 1, answered: 1, configuration };
        let out = step(&mut replica, Input::Submit(vec![Entry::Change(change)]));
        let refused = |answer: &ClientAnswer| {
            matches!(answer, ClientAnswer::Refused { reason: SubmitRefused::IdTooLarge, .. })
        };
        assert_eq!(out.answers.iter().any(refused), is_refused, "r{member}");
    }
}

/// Both know the newest configuration, but one of them has obeyed no order in it. It says what it has, and the
/// order is repeated.
#[test]
fn who_comes_to_know_that_it_is_a_member_gets_the_order_again() {
    let mut replica = recovered(&first(&[0, 1, 2]), 0, Vec::new()).expect("an empty disk");
    let writes = step(&mut replica, Input::Elect { canvass: false }).writes.len();
    step(&mut replica, Input::Synced { through: synod_model::Position(writes as u64) });
    let message = Message::CommittedThrough { prefix: Prefix::default() };
    let out = step(&mut replica, Input::Receive { from: ReplicaId(1), message });
    let proposes = out
        .messages
        .iter()
        .filter(|it| matches!(it.message, Message::Order { order: Order::Propose { .. }, .. }));
    assert_eq!(proposes.count(), 1);
}

/// Else two of three could be chosen to go on of which one has stopped.
#[test]
fn a_replica_whose_disk_hangs_is_not_ready_for_a_change() {
    let mut replica = recovered(&first(&[0, 1]), 0, Vec::new()).expect("an empty disk");
    let answers = |replica: &mut Replica<V>| {
        let (s, number, prefix) = (SequenceNumber(9), 1, Prefix::default());
        let message = Message::AskReady { s, number, prefix };
        let out = step(replica, Input::Receive { from: ReplicaId(1), message });
        out.messages.iter().any(|it| matches!(it.message, Message::Ready { .. }))
    };
    assert!(answers(&mut replica));
    // It has a promise to write, and never does.
    let (configuration, s, order) =
        (ConfigurationId(1), SequenceNumber(9), Order::Propose { from: Slot(1) });
    let message = Message::Order { configuration, s, order };
    step(&mut replica, Input::Receive { from: ReplicaId(1), message });
    step(&mut replica, Input::Hung { resource: Resource::Disk });
    assert!(!answers(&mut replica));
}

/// It would commit the change, and stop in the same step.
#[test]
fn a_coordinator_does_not_open_a_change_that_registers_another_directory_for_itself() {
    for (registered, is_opened) in [(Incarnation(5), true), (Incarnation(6), false)] {
        let alone = first(&[0]);
        let mut replica = of_directory(&alone, 0, Incarnation(5));
        let out = step(&mut replica, Input::Elect { canvass: false });
        let through = synod_model::Position(out.writes.len() as u64);
        step(&mut replica, Input::Synced { through });
        let registration = |_| Registration { incarnation: registered, address: String::new() };
        let next = alone.changed(&ids(&[0]), &[]).expect("a configuration");
        let configuration = next.with_all_registered(registration).expect("no addresses");
        let change = Change { session: SessionId(1), number: 1, answered: 1, configuration };
        let out = step(&mut replica, Input::Submit(vec![Entry::Change(change)]));
        assert_eq!(!out.writes.is_empty(), is_opened);
    }
}

#[test]
fn a_majority_is_one_of_the_voters() {
    let id = ConfigurationId(1);
    let some = |voters: &[u16], learners: &[u16]| {
        let members = [voters, learners].concat();
        Configuration::from_parts(id, ids(&members), ids(learners), 9).expect("members")
    };
    let is_majority = |members: &Configuration, set: &[u16]| {
        let mut counted = MemberSet::default();
        for replica in ids(set) {
            members.insert(&mut counted, replica);
        }
        members.is_majority(counted)
    };
    let one = some(&[0], &[1, 2, 3]);
    assert!(is_majority(&one, &[0]) && !is_majority(&one, &[1, 2, 3]));
    let three = some(&[2, 4, 6], &[1, 3, 5]);
    assert!(is_majority(&three, &[2, 6]) && !is_majority(&three, &[1, 3, 4, 5, 7]));
}

#[test]
fn ids_are_never_used_again() {
    let one = first(&[0, 1, 2]);
    let two = changed(&one, &[0, 1], &[3]);
    assert_eq!((two.next_replica_id(), two.is_voter(ReplicaId(3))), (4, false));
    assert!(two.contains(ReplicaId(3)) && two.follows(&one) && !one.follows(&two));
    // Replica 2 was removed.
    let again = two.changed(&ids(&[0, 1, 2]), &[]);
    assert_eq!(again, Err(ConfigurationError::IdUsedBefore { member: ReplicaId(2) }));
    let three = changed(&two, &[0, 1, 3], &[]);
    assert!(three.follows(&two) && !three.follows(&one));
    assert_eq!(two.changed(&[], &ids(&[0])), Err(ConfigurationError::NoVoters));
    let twice = two.changed(&ids(&[0, 1]), &ids(&[1]));
    assert_eq!(twice, Err(ConfigurationError::MemberTwice { member: ReplicaId(1) }));
    // Nobody is a member without a data directory, and none gets another one.
    let unregistered = two.changed(&ids(&[0, 1, 4]), &[]).expect("a configuration");
    assert!(!unregistered.follows(&two));
    let other = Registration { incarnation: Incarnation(7), address: String::new() };
    let moved = unregistered.clone().with_registration(ReplicaId(4), other.clone());
    assert!(moved.expect("a member").follows(&two));
    let replaced = two.changed(&ids(&[0, 1]), &[]).expect("a configuration");
    let replaced = replaced.with_registration(ReplicaId(1), other).expect("a member");
    assert!(!replaced.follows(&two));
    // One that gives an id to somebody else does not follow, whoever made it.
    let forged = Configuration::from_parts(ConfigurationId(3), ids(&[0, 2]), Vec::new(), 4);
    assert!(!forged.expect("well formed").follows(&two));
}

/// A replica that joins knows the first members at most, and they may be gone.
#[test]
fn a_replica_outside_that_connects_is_told_what_is_committed() {
    let before = first(&[0, 1, 2]);
    let after = changed(&before, &[0, 1, 3], &[]);
    let (entries, log) = log_with_change(&before, &after);
    let hash = entries.iter().fold(PrefixHash::default(), PrefixHash::after);
    let promised = Content::Promised(SequenceNumber(2 * STRIDE));
    let records = vec![log, Record { watermark: Slot(2), hash, content: promised }];
    let mut replica = recovered(&before, 1, records).expect("a log");
    for (peer, is_told) in [(2, true), (5, true), (3, false), (1, false)] {
        let out = step(&mut replica, Input::Reconnected { peer: ReplicaId(peer) });
        let prefix = replica.status().prefix;
        let told = |it: &Outgoing<V>| {
            it.to == To::One(ReplicaId(peer)) && it.message == Message::CommittedThrough { prefix }
        };
        assert_eq!(out.messages.iter().any(told), is_told, "r{peer}");
        assert!(out.messages.iter().all(|it| told(it) == is_told), "nothing else is for r{peer}");
    }
    // What it lacks it asks for, whoever has told it.
    let mut joins = recovered(&before, 4, Vec::new()).expect("an empty disk");
    let prefix = replica.status().prefix;
    let message = Message::CommittedThrough { prefix };
    let out = step(&mut joins, Input::Receive { from: ReplicaId(3), message });
    let asks = |it: &Outgoing<V>| {
        it.to == To::One(ReplicaId(3)) && matches!(it.message, Message::Ask { .. })
    };
    assert!(out.messages.iter().any(asks), "{:?}", out.messages);
}
