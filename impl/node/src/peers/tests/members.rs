//! Members that change while a replica runs, and guests.

use std::time::Duration;

use synod_model::{Configuration, Incarnation, Registration, ReplicaId, Slot, To};
use synod_wire::api::Membership;
use tokio::time::{Instant, sleep, timeout_at};

use super::harness::{Node, Port, Setup, TIMING, Wire, addresses, ask, identity, test, until};
use crate::peers::introduction::{Hello, HelloReply, Refusal};
use crate::peers::lane::Lane;
use crate::peers::limits::GUESTS_MAX;
use crate::peers::{Addresses, PeerEvent};

/// Replica `replica` of a cluster that began with replica 0 alone. Its incarnation is 10 more than its id.
fn setup(replica: u16) -> Setup {
    Setup::new(identity(replica, 1, 10 + u128::from(replica))).formed()
}

/// The configuration after `before`, with these voters and learners. Each is registered where it listens.
fn changed(
    before: &Configuration,
    voters: &[(u16, &Port)],
    learners: &[(u16, &Port)],
) -> Configuration {
    let ids = |members: &[(u16, &Port)]| members.iter().map(|it| ReplicaId(it.0)).collect();
    let (voter_ids, learner_ids): (Vec<_>, Vec<_>) = (ids(voters), ids(learners));
    let after = before.changed(&voter_ids, &learner_ids).expect("ids that are new");
    let members = voters.iter().chain(learners);
    let registered = members.fold(after, |it, (member, port)| {
        let incarnation = Incarnation(10 + u128::from(*member));
        let registration = Registration { incarnation, address: port.address().to_string() };
        it.with_registration(ReplicaId(*member), registration).expect("a short address")
    });
    assert!(registered.follows(before));
    registered
}

fn at(replica: u16, port: &Port) -> (ReplicaId, String) {
    (ReplicaId(replica), port.address().to_string())
}

impl Node {
    fn govern(&self, newest: &Configuration) {
        self.peers.govern(newest, None);
    }

    fn knows(&self) -> Vec<(u16, Membership)> {
        let status = self.peers.status().into_iter();
        status.map(|it| (it.replica.0, it.membership)).collect()
    }
}

#[test]
fn a_member_comes_and_goes_while_a_replica_runs() {
    test(async {
        let ports = [Port::new(), Port::new()];
        let first = setup(0).configuration;
        let mut zero = setup(0).start(&ports[0], addresses(&[&ports[0]]));
        assert_eq!(zero.knows(), []);
        let mut one = setup(1).start(&ports[1], addresses(&[&ports[0], &ports[1]]));
        let two = changed(&first, &[(0, &ports[0])], &[(1, &ports[1])]);
        zero.peers.govern(&two, Some(&first));
        zero.until_connected(&[1]).await;
        assert_eq!(zero.knows(), [(1, Membership::Learner)]);
        one.until_connected(&[0]).await;
        zero.peers.send(To::Others, &ask(1));
        assert_eq!(one.receive().await, (0, ask(1)));
        let three = changed(&two, &[(0, &ports[0]), (1, &ports[1])], &[]);
        zero.peers.govern(&three, Some(&two));
        assert_eq!(zero.knows(), [(1, Membership::Voter)]);

        // It is removed, and told of that until the change is finished.
        let alone = changed(&three, &[(0, &ports[0])], &[]);
        zero.peers.govern(&alone, Some(&three));
        assert_eq!(zero.knows(), [(1, Membership::Outside)]);
        zero.peers.send(To::Others, &ask(2));
        zero.ask(1, 3);
        assert_eq!(one.receive().await, (0, ask(3)), "the others are the members");
        // Then it is a guest, for as long as it comes.
        zero.govern(&alone);
        sleep(2 * TIMING.guest_kept).await;
        assert!(zero.status_of(1).is_connected, "its connections have stayed");
        one.ask(0, 4);
        assert_eq!(zero.receive().await, (1, ask(4)));
        one.peers.stop().await;
        until(|| zero.knows().is_empty()).await;
        assert!(zero.peers.have_been_told());
        zero.peers.stop().await;
    });
}

#[test]
fn a_member_that_moves_is_looked_for_elsewhere() {
    test(async {
        let (port, elsewhere) = (Port::new(), Port::new());
        let (former, newer) = (Port::new(), Port::new());
        let (listens_before, listens_after) = (former.listener(), newer.listener());
        let zero = setup(0).start(&port, addresses(&[&port]));
        let before = changed(&setup(0).configuration, &[(0, &port), (1, &former)], &[]);
        zero.govern(&before);
        let welcome = HelloReply::Welcome(setup(1).introduction());
        let wires = Wire::answer_both(&listens_before, &welcome).await;
        zero.until_connected(&[1]).await;
        // This replica moves as well.
        let after = changed(&before, &[(0, &elsewhere), (1, &newer)], &[]);
        zero.govern(&after);
        for wire in wires {
            wire.until_closed().await;
        }
        let (wire, hello) = Wire::answer(&listens_after, &welcome).await;
        assert_eq!(hello.address, Some(elsewhere.address().to_string()));
        drop(wire);
        let [mut wire, _bulk] = Wire::answer_both(&listens_after, &welcome).await;
        zero.until_connected(&[1]).await;
        assert_eq!(zero.status_of(1).address, Some(newer.address().to_string()));
        zero.ask(1, 1);
        assert_eq!(wire.receive().await, ask(1));
    });
}

/// Where it is registered it cannot be reached from here, perhaps.
#[test]
fn an_address_that_the_operator_gives_goes_before_the_registered_one() {
    test(async {
        let (port, given, registered) = (Port::new(), Port::new(), Port::new());
        let listener = given.listener();
        let addresses = Addresses { given: [at(1, &given)].into(), stored: [at(0, &port)].into() };
        let zero = setup(0).start_with(&port, addresses);
        assert_eq!(zero.knows(), [], "an address makes no member");
        zero.govern(&changed(&setup(0).configuration, &[(0, &port), (1, &registered)], &[]));
        let welcome = HelloReply::Welcome(setup(1).introduction());
        let _wires = Wire::answer_both(&listener, &welcome).await;
        zero.until_connected(&[1]).await;
    });
}

/// Else one typing error in a change could take the majority away.
#[test]
fn a_member_that_is_registered_where_it_is_not_is_found_where_it_said() {
    test(async {
        let (ports, nobody) = ([Port::new(), Port::new()], Port::new());
        let zero = setup(0).start(&ports[0], [at(0, &ports[0])].into());
        let mut one = setup(1).start(&ports[1], [at(0, &ports[0]), at(1, &ports[1])].into());
        zero.until_connected(&[1]).await;
        zero.govern(&changed(&setup(0).configuration, &[(0, &ports[0]), (1, &nobody)], &[]));
        until(|| zero.status_of(1).address == Some(nobody.address().to_string())).await;
        // The connection to where it was before ends, and another one is made.
        tokio::time::sleep(TIMING.backoff_max).await;
        zero.until_connected(&[1]).await;
        zero.ask(1, 1);
        assert_eq!(one.receive().await, (0, ask(1)));
    });
}

#[test]
fn a_replica_that_joins_asks_everybody_and_is_dialled_back() {
    test(async {
        let ports = [Port::new(), Port::new(), Port::new()];
        // Replica 0 is the only first member, and is gone. Replicas 1 and 2 have never heard of replica 5.
        let newest = changed(&setup(0).configuration, &[(1, &ports[0]), (2, &ports[1])], &[]);
        let member = |replica: u16, port: &Port| {
            let setup = Setup { configuration: newest.clone(), ..setup(replica) };
            setup.start(port, [at(replica, port)].into())
        };
        let mut one = member(1, &ports[0]);
        let mut two = member(2, &ports[1]);
        let stored = [at(1, &ports[0]), at(2, &ports[1]), at(5, &ports[2])];
        let mut joins = setup(5).start(&ports[2], stored.into());
        let outside = Membership::Outside;
        assert_eq!(joins.knows(), [(0, Membership::Voter), (1, outside), (2, outside)]);
        for node in [&mut one, &mut two] {
            node.until_connected(&[5]).await;
            node.until_told(PeerEvent::Reconnected(ReplicaId(5))).await;
            assert!(node.knows().contains(&(5, outside)));
            assert_eq!(node.status_of(5).address, Some(ports[2].address().to_string()));
        }
        joins.until_connected(&[1, 2]).await;
        joins.ask(1, 1);
        assert_eq!(one.receive().await, (5, ask(1)));
        one.ask(5, 2);
        assert_eq!(joins.receive().await, (1, ask(2)));
        one.peers.send(To::Others, &ask(3));
        assert_eq!(two.receive().await, (1, ask(3)));
        assert!(joins.has_no_message(), "it is none of the others");

        // It is a member now, and nobody else is a member for it any more but those that are.
        let three = [(1, &ports[0]), (2, &ports[1]), (5, &ports[2])];
        let newest = changed(&newest, &three, &[]);
        for node in [&one, &two, &joins] {
            node.govern(&newest);
        }
        until(|| joins.knows() == [(1, Membership::Voter), (2, Membership::Voter)]).await;
        one.peers.send(To::Others, &ask(4));
        assert_eq!(joins.receive().await, (1, ask(4)));
    });
}

#[test]
fn a_guest_fetches_a_snapshot() {
    test(async {
        let ports = [Port::new(), Port::new()];
        let (of_zero, of_guest) = (setup(0), setup(5));
        of_zero.snapshots.add(70, 200_000);
        let zero = of_zero.start(&ports[0], [at(0, &ports[0])].into());
        let guest = of_guest.start(&ports[1], [at(0, &ports[0]), at(5, &ports[1])].into());
        guest.peers.fetch_snapshot(ReplicaId(0), Slot(60));
        until(|| !of_guest.snapshots.finished().is_empty()).await;
        assert_eq!(of_guest.snapshots.finished(), [(0, 70)]);
        // The other way round, a member may need what a replica has that was removed.
        of_guest.snapshots.add(90, 200_000);
        zero.peers.fetch_snapshot(ReplicaId(5), Slot(90));
        until(|| !of_zero.snapshots.finished().is_empty()).await;
        assert_eq!(of_zero.snapshots.finished(), [(5, 90)]);
    });
}

#[test]
fn a_guest_that_is_away_for_long_is_dropped() {
    test(async {
        let ports = [Port::new(), Port::new()];
        let zero = setup(0).start(&ports[0], [at(0, &ports[0])].into());
        let with_five = || [at(0, &ports[0]), at(5, &ports[1])].into();
        let guest = setup(5).start(&ports[1], with_five());
        zero.until_connected(&[5]).await;
        guest.peers.stop().await;
        let away = Instant::now();
        until(|| zero.knows().is_empty()).await;
        assert!(away.elapsed() >= TIMING.guest_kept);
        zero.ask(5, 1);
        // It comes back.
        let mut guest = setup(5).start(&ports[1], with_five());
        zero.until_connected(&[5]).await;
        zero.ask(5, 2);
        assert_eq!(guest.receive().await, (0, ask(2)));
    });
}

#[test]
fn so_many_guests_are_there_at_once_and_members_are_none() {
    test(async {
        let (port, nobody) = (Port::new(), Port::new());
        let zero = setup(0).start(&port, addresses(&[&port]));
        zero.govern(&changed(&setup(0).configuration, &[(0, &port), (1, &nobody)], &[]));
        let mut guests = Vec::new();
        for replica in (100..).take(GUESTS_MAX) {
            guests.push(Wire::welcomed(&port, &setup(replica).hello(0)).await);
        }
        let (refused, answer) = Wire::greet(&port, &setup(99).hello(0)).await;
        let refusal = Refusal::TooManyGuests { guests_max: GUESTS_MAX as u64 };
        assert_eq!(answer, HelloReply::Refused(setup(0).introduction(), refusal));
        refused.until_closed().await;
        let _member = Wire::welcomed(&port, &setup(1).hello(0)).await;
        // A guest has one place, whatever it dials for.
        let _again = Wire::welcomed(&port, &setup(100).hello_on(Lane::Bulk, 0)).await;
        drop(guests.pop());
        until(|| zero.knows().len() == GUESTS_MAX).await;
        let _last = Wire::welcomed(&port, &setup(99).hello(0)).await;
        assert_eq!(zero.status_of(99).address, None, "it has not said where it is");
    });
}

/// Two directories were made for one id. One of them is registered.
#[test]
fn a_directory_that_is_not_the_registered_one_is_cut_off_and_refused() {
    test(async {
        let (port, nobody) = (Port::new(), Port::new());
        let mut zero = setup(0).start(&port, addresses(&[&port]));
        let other = Setup::new(identity(1, 1, 66)).hello(0);
        let cut_off = Wire::welcomed(&port, &other).await;
        // As long as nobody knows which one is right, the two do not push each other out.
        let (refused, answer) = Wire::greet(&port, &setup(1).hello(0)).await;
        assert_eq!(answer, HelloReply::Refused(setup(0).introduction(), Refusal::IdTaken));
        refused.until_closed().await;
        zero.govern(&changed(&setup(0).configuration, &[(0, &port), (1, &nobody)], &[]));
        cut_off.until_closed().await;
        let (refused, answer) = Wire::greet(&port, &other).await;
        let refusal = Refusal::OtherIncarnation { known: Incarnation(11) };
        assert_eq!(answer, HelloReply::Refused(setup(0).introduction(), refusal));
        refused.until_closed().await;
        let mut right = Wire::welcomed(&port, &setup(1).hello(0)).await;
        right.open().await;
        zero.until_told(PeerEvent::Reconnected(ReplicaId(1))).await;
    });
}

/// Otherwise any caller could have this replica dial anybody, as often as it calls.
#[test]
fn a_caller_does_not_decide_how_often_it_is_dialled() {
    test(async {
        let (port, told) = (Port::new(), Port::new());
        let listener = told.listener();
        let mut zero = setup(0);
        zero.timing.backoff_min = Duration::from_millis(20);
        zero.timing.backoff_max = Duration::from_secs(100);
        let zero = zero.start(&port, addresses(&[&port]));
        let address = Some(told.address().to_string());
        let hello = Hello { address, ..setup(5).hello(0) };
        let refused = HelloReply::Refused(setup(6).introduction(), Refusal::NoPeer);
        let ends = Instant::now() + Duration::from_millis(600);
        let (mut calls, mut dials) = (0, 0);
        while Instant::now() < ends {
            drop(Wire::welcomed(&port, &hello).await);
            calls += 1;
            let soon = Instant::now() + Duration::from_millis(2);
            if timeout_at(soon, Wire::answer(&listener, &refused)).await.is_ok() {
                dials += 1;
            }
        }
        // The waits of both dialers double, from 10 ms on at least.
        assert!(0 < dials && dials <= 14, "{dials} dials after {calls} calls");
        zero.error_with(5, "is replica 6, and replica 5 was looked for").await;
    });
}
