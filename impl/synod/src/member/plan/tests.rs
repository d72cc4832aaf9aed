//! Each change, and each reason for which there can be none.

use synod_model::{ConfigurationId, Incarnation};

use super::*;

const STRIDE: u64 = 65_536;

fn ids(ids: impl IntoIterator<Item = u16>) -> Vec<ReplicaId> {
    ids.into_iter().map(ReplicaId).collect()
}

/// The data directory and the address of a replica.
fn at(id: u16) -> Registration {
    let address = format!("10.0.0.{id}:7000");
    Registration { incarnation: Incarnation(id.into()), address }
}

/// The first so many replicas.
fn cluster(count: u16) -> Configuration {
    let first = Configuration::new(ConfigurationId(1), ids(0..count)).expect("members");
    first.with_all_registered(|id| at(id.0)).expect("short addresses")
}

fn add(id: u16, is_learner: bool) -> Wish {
    Wish::Add { id: ReplicaId(id), registration: at(id), is_learner }
}

fn replace(old: u16, new: u16) -> Wish {
    Wish::Replace { old: ReplicaId(old), new: ReplicaId(new), registration: Some(at(new)) }
}

fn moves(id: u16, address: &str) -> Wish {
    Wish::Move { id: ReplicaId(id), address: address.to_owned() }
}

/// The members after a change, which can follow `before`.
fn after(before: &Configuration, wish: &Wish) -> Configuration {
    match plan(before, STRIDE, wish) {
        Ok(Plan::Change(next)) => {
            assert!(next.follows(before), "the core takes it: {next:?}");
            next
        }
        other => panic!("{other:?}"),
    }
}

fn refused(before: &Configuration, wish: &Wish) -> Refused {
    plan(before, STRIDE, wish).expect_err("it is refused")
}

fn already(before: &Configuration, wish: &Wish) -> String {
    match plan(before, STRIDE, wish) {
        Ok(Plan::AlreadySo(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn voters(configuration: &Configuration) -> Vec<ReplicaId> {
    configuration.voters().collect()
}

#[test]
fn a_voter_and_a_learner_are_added_and_the_learner_is_promoted() {
    let four = after(&cluster(3), &add(3, false));
    assert_eq!((voters(&four), four.learners().len()), (ids(0..4), 0));
    assert_eq!(four.registration(ReplicaId(3)), Some(&at(3)));

    let learns = after(&four, &add(5, true));
    assert_eq!((voters(&learns), learns.learners()), (ids(0..4), &ids([5])[..]));
    assert_eq!(learns.next_replica_id(), 6, "4 is never used");
    let promoted = after(&learns, &Wish::Promote { id: ReplicaId(5) });
    assert_eq!(voters(&promoted), ids([0, 1, 2, 3, 5]));
    assert_eq!(promoted.registration(ReplicaId(5)), Some(&at(5)));
}

#[test]
fn what_is_so_already_is_said() {
    let learns = after(&cluster(3), &add(3, true));
    assert_eq!(already(&learns, &add(3, true)), "r3 is a learner already");
    assert_eq!(already(&learns, &add(1, false)), "r1 is a voter already");
    let promote = Wish::Promote { id: ReplicaId(1) };
    assert_eq!(already(&learns, &promote), "r1 is a voter already");
    let removed = after(&learns, &Wish::Remove { id: ReplicaId(3) });
    let again = Wish::Remove { id: ReplicaId(3) };
    assert_eq!(already(&removed, &again), "r3 is no member any more");
    let replaced = after(&removed, &replace(2, 4));
    let again = already(&replaced, &replace(2, 4));
    assert_eq!(again, "r2 is no member any more, and r4 is a voter");
    assert_eq!(already(&replaced, &moves(0, "10.0.0.0:7000")), "r0 is at 10.0.0.0:7000 already");
}

#[test]
fn a_member_is_replaced_by_a_new_one_or_by_a_learner() {
    let replaced = after(&cluster(3), &replace(1, 3));
    assert_eq!((voters(&replaced), replaced.learners().len()), (ids([0, 2, 3]), 0));

    let learns = after(&cluster(3), &add(3, true));
    let by_learner = Wish::Replace { old: ReplicaId(0), new: ReplicaId(3), registration: None };
    let replaced = after(&learns, &by_learner);
    assert_eq!((voters(&replaced), replaced.learners().len()), (ids(1..4), 0));

    let other_learner = after(&learns, &replace(3, 4));
    assert_eq!((voters(&other_learner), other_learner.learners()), (ids(0..3), &ids([4])[..]));
    let expected = Refused::NotRegistered { id: ReplicaId(4) };
    let unknown = Wish::Replace { old: ReplicaId(0), new: ReplicaId(4), registration: None };
    assert_eq!(refused(&learns, &unknown), expected);
    assert_eq!(refused(&learns, &replace(0, 1)), Refused::AlreadyVoter { id: ReplicaId(1) });
}

#[test]
fn an_address_moves_and_no_two_are_the_same() {
    let moved = after(&cluster(3), &moves(1, "h:1"));
    let registration = moved.registration(ReplicaId(1)).expect("it is a member");
    assert_eq!((registration.incarnation, &*registration.address), (at(1).incarnation, "h:1"));
    assert_eq!(moved.members(), ids(0..3));

    let same =
        |address: &str| Refused::SameAddress { other: ReplicaId(2), address: address.into() };
    assert_eq!(refused(&cluster(3), &moves(1, "10.0.0.02:7000")), same("10.0.0.02:7000"));
    let registration = Registration { address: "10.0.0.2:7000".into(), ..at(3) };
    let wish = Wish::Add { id: ReplicaId(3), registration, is_learner: true };
    assert_eq!(refused(&cluster(3), &wish), same("10.0.0.2:7000"));
    // The address of the member that goes is free.
    let registration = Some(Registration { address: "10.0.0.2:7000".into(), ..at(3) });
    let wish = Wish::Replace { old: ReplicaId(2), new: ReplicaId(3), registration };
    assert_eq!(voters(&after(&cluster(3), &wish)), ids([0, 1, 3]));
}

#[test]
fn an_id_is_never_used_again() {
    let two = after(&cluster(3), &Wish::Remove { id: ReplicaId(2) });
    let used = |id| Refused::IdUsedBefore { id: ReplicaId(id), next: 3 };
    assert_eq!(refused(&two, &add(2, false)), used(2));
    assert!(used(2).to_string().contains("the next free id is 3"));
    assert_eq!(refused(&two, &replace(0, 2)), used(2));
    assert_eq!(refused(&two, &replace(1, 1)), Refused::OwnPlace { id: ReplicaId(1) });
    let too_large = Refused::IdTooLarge { id: ReplicaId(9), stride: 9 };
    assert_eq!(plan(&two, 9, &add(9, false)), Err(too_large));
}

#[test]
fn only_members_change() {
    let members = || ids(0..3);
    let expected = Refused::NotAMember { id: ReplicaId(7), members: members() };
    assert_eq!(expected.to_string(), "r7 is no member of the cluster; the members are r0, r1, r2");
    for wish in [
        Wish::Promote { id: ReplicaId(7) },
        Wish::Remove { id: ReplicaId(7) },
        replace(7, 8),
        moves(7, "h:1"),
    ] {
        assert_eq!(refused(&cluster(3), &wish), expected, "{wish:?}");
    }
}

#[test]
fn a_member_keeps_its_directory_and_its_address_where_it_is_added_again() {
    let registration = Registration { incarnation: Incarnation(99), ..at(1) };
    let wish = Wish::Add { id: ReplicaId(1), registration, is_learner: false };
    assert!(matches!(refused(&cluster(3), &wish), Refused::OtherDirectory { .. }));
    let registration = Registration { address: "h:1".into(), ..at(1) };
    let wish = Wish::Add { id: ReplicaId(1), registration, is_learner: false };
    assert!(matches!(refused(&cluster(3), &wish), Refused::OtherAddress { .. }));
    assert_eq!(refused(&cluster(3), &add(1, true)), Refused::AlreadyVoter { id: ReplicaId(1) });
    let learns = after(&cluster(3), &add(3, true));
    assert_eq!(refused(&learns, &add(3, false)), Refused::AlreadyLearner { id: ReplicaId(3) });
}

#[test]
fn a_cluster_keeps_a_voter_and_has_room() {
    let learns = after(&cluster(1), &add(1, true));
    let last = Refused::LastVoter { id: ReplicaId(0) };
    assert_eq!(refused(&learns, &Wish::Remove { id: ReplicaId(0) }), last);
    assert_eq!(refused(&cluster(16), &add(16, false)), Refused::TooMany { count: 17 });
}

/// A change must name the directory of every member, or another one could take its place.
#[test]
fn nothing_changes_while_a_member_is_not_known() {
    let first = Configuration::new(ConfigurationId(1), ids(0..2)).expect("members");
    let partly = first.with_registration(ReplicaId(0), at(0)).expect("a member");
    let expected = Refused::Unregistered { members: ids([1]) };
    assert_eq!(refused(&partly, &add(2, false)), expected);
}
