//! Which callers a replica talks to, and what the others are told.

use std::time::Duration;

use synod_model::{Incarnation, Limits, ReplicaId, Run};
use synod_wire::ClusterId;
use synod_wire::frame;
use tokio::time::{Instant, timeout};

use super::harness::{
    Port, Setup, TIMING, Wire, addresses, ask, identity, identity_with, test, until,
};
use crate::identity::Identity;
use crate::peers::PeersError;
use crate::peers::handshake::to_frame;
use crate::peers::introduction::{Hello, HelloReply, Introduction, Purpose, Refusal};
use crate::peers::lane::Lane;
use crate::peers::limits::STRANGERS_MAX;

/// A replica 1 on its own, which others call.
fn one() -> (Port, Setup, super::harness::Node) {
    let (port, nobody) = (Port::new(), Port::new());
    let setup = Setup::of_three(1);
    let node = setup.start(&port, addresses(&[&nobody, &port, &nobody]));
    (port, setup, node)
}

/// A payload in a frame.
fn framed(payload: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::new();
    let framed = frame::append(&mut buffer, usize::MAX, |buffer, _| {
        buffer.extend_from_slice(payload);
        Ok::<_, ()>(())
    });
    framed.expect("it never fails");
    buffer
}

fn hello_of(identity: &Identity, to: u16) -> Hello {
    Hello {
        from: Introduction::new(identity, Run(1)),
        address: None,
        to: ReplicaId(to),
        purpose: Purpose::Messages(Lane::Control),
    }
}

fn named(name: &str, mut identity: Identity) -> Identity {
    identity.cluster_name = name.into();
    identity.cluster_id = ClusterId::of(name, &identity.constants);
    identity
}

#[test]
fn a_dialer_is_stored_before_it_is_welcomed() {
    test(async {
        let (port, setup, node) = one();
        let (wire, answer) = Wire::greet(&port, &Setup::of_three(0).hello(1)).await;
        assert_eq!(answer, HelloReply::Welcome(setup.introduction()));
        assert_eq!(setup.store.incarnations(), [(ReplicaId(0), Incarnation(10))].into());
        let bulk = Wire::welcomed(&port, &Setup::of_three(0).hello_on(Lane::Bulk, 1)).await;
        until(|| node.status_of(0).is_heard).await;
        assert_eq!(node.status_of(0).run, Some(Run(1)));
        drop(bulk);
        until(|| !node.status_of(0).is_heard).await;
        let _bulk = Wire::welcomed(&port, &Setup::of_three(0).hello_on(Lane::Bulk, 1)).await;
        until(|| node.status_of(0).is_heard).await;
        drop(wire);
        until(|| !node.status_of(0).is_heard).await;
    });
}

#[test]
fn a_caller_that_does_not_belong_is_told_why() {
    test(async {
        let (port, setup, _node) = one();
        let first = identity(0, 3, 10);
        let (_wire, _) = Wire::greet(&port, &hello_of(&first, 1)).await;
        let fewer_reads = Limits { reads_max: 7, ..Limits::default() };
        let cases = [
            (hello_of(&named("other", first.clone()), 1), Refusal::OtherCluster),
            (hello_of(&identity(0, 2, 10), 1), Refusal::OtherCluster),
            (hello_of(&identity_with(fewer_reads, 0, 3, 10), 1), Refusal::OtherCluster),
            (hello_of(&first, 2), Refusal::WrongReplica),
            (hello_of(&setup.identity, 1), Refusal::NoPeer),
            (hello_of(&Identity { replica: ReplicaId(7), ..first.clone() }, 1), Refusal::NoPeer),
            (
                hello_of(&identity(0, 3, 66), 1),
                Refusal::OtherIncarnation { known: Incarnation(10) },
            ),
        ];
        for (hello, refusal) in cases {
            let (wire, answer) = Wire::greet(&port, &hello).await;
            assert_eq!(answer, HelloReply::Refused(setup.introduction(), refusal));
            wire.until_closed().await;
        }
        assert_eq!(setup.store.incarnations().len(), 1);
        // A member is still welcome.
        Wire::welcomed(&port, &hello_of(&identity(2, 3, 12), 1)).await;
    });
}

#[test]
fn two_versions_tell_each_other_that_they_are_two_versions() {
    test(async {
        let (port, setup, node) = one();
        let mut wire = Wire::dial(&port).await;
        wire.send(&framed(b"SYNODnet\x09\0\0\0nothing that version 5 knows")).await;
        let answer = wire.frames.next().await.expect("a frame").expect("an answer");
        assert!(answer.starts_with(b"SYNODnet\x07\0\0\0"));
        wire.until_closed().await;

        let other = Port::new();
        let listener = other.listener();
        node.peers.stop().await;
        let node = setup.start(&port, addresses(&[&other, &port, &other]));
        let mut wire = Wire::accept(&listener).await;
        wire.send(&framed(b"SYNODnet\x09\0\0\0nothing that version 5 knows")).await;
        let error = node.error_with(0, "speaks").await;
        assert!(error.starts_with("speaks version 9 of the protocol, and this replica speaks 7\n"));
    });
}

#[test]
fn garbage_closes_the_connection_and_never_the_node() {
    test(async {
        let (port, _, _node) = one();
        let hello = to_frame(&Setup::of_three(0).hello(1)).expect("short");
        let mut damaged = hello.clone();
        damaged[20] ^= 1;
        let too_long = [&1025_u32.to_le_bytes()[..], &[7; 2000]].concat();
        let cases: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\nHost: synod\r\n\r\n",
            &[0; 300],
            &damaged,
            &too_long,
            &framed(b""),
            &framed(b"SYNODcli\x01\0\0\0"),
            &framed(b"SYNODnet\x07\0\0\0\xff\xff\xff\xff"),
        ];
        for garbage in cases {
            let mut wire = Wire::dial(&port).await;
            wire.send(garbage).await;
            wire.until_closed().await;
        }
        // Cut off anywhere.
        for bytes in 0..hello.len() {
            let mut wire = Wire::dial(&port).await;
            wire.send(&hello[..bytes]).await;
            drop(wire);
        }
        Wire::welcomed(&port, &Setup::of_three(0).hello(1)).await;
    });
}

#[test]
fn a_silent_caller_is_disconnected() {
    test(async {
        let (port, nobody) = (Port::new(), Port::new());
        let mut setup = Setup::of_three(1);
        setup.timing.handshake_max = Duration::from_millis(100);
        let _node = setup.start(&port, addresses(&[&nobody, &port, &nobody]));
        let begin = Instant::now();
        let silent = Wire::dial(&port).await;
        let mut amid = Wire::dial(&port).await;
        amid.send(&to_frame(&Setup::of_three(0).hello(1)).expect("short")[..30]).await;
        tokio::join!(silent.until_closed(), amid.until_closed());
        assert!(begin.elapsed() >= Duration::from_millis(100));
    });
}

#[test]
fn silent_strangers_keep_nobody_out() {
    test(async {
        let (port, nobody) = (Port::new(), Port::new());
        let mut setup = Setup::of_three(1);
        setup.timing.handshake_max = Duration::from_secs(1_000);
        let _node = setup.start(&port, addresses(&[&nobody, &port, &nobody]));
        let oldest = Wire::dial(&port).await;
        let mut others = Vec::new();
        for _ in 0..STRANGERS_MAX {
            others.push(Wire::dial(&port).await);
        }
        oldest.until_closed().await;
        // A member takes the place of a stranger, and gives it back.
        let member = Wire::welcomed(&port, &Setup::of_three(0).hello(1)).await;
        others.remove(0).until_closed().await;
        let last = Wire::dial(&port).await;
        let hello = Setup::of_three(2).hello(1);
        let mut second = others.remove(0);
        second.send(&to_frame(&hello).expect("short")).await;
        second.frames.next().await.expect("it is still there").expect("an answer");
        drop((member, last, others));
    });
}

/// What a dialer makes of each reply.
#[test]
fn a_dialer_reports_what_is_wrong() {
    test(async {
        let (port, other, nobody) = (Port::new(), Port::new(), Port::new());
        let listener = other.listener();
        let setup = Setup::of_three(0);
        let node = setup.start(&port, addresses(&[&port, &other, &nobody]));
        let right = identity(1, 3, 11);
        let welcome =
            |identity: &Identity| HelloReply::Welcome(Introduction::new(identity, Run(1)));
        let fewer_reads = Limits { reads_max: 7, ..Limits::default() };
        let cases = [
            (
                welcome(&named("other", right.clone())),
                "is of cluster \"other\", and this replica of \"test\"\n",
            ),
            (
                welcome(&identity(1, 2, 11)),
                "is of another cluster: both are named \"test\", but its members are [0, 1] and not \
                 [0, 1, 2]\n",
            ),
            (
                welcome(&identity_with(fewer_reads, 1, 3, 11)),
                "is of another cluster: both are named \"test\" and have the same members, but they \
                 were made with other limits\n",
            ),
            (welcome(&identity(2, 3, 12)), "is replica 2, and replica 1 was looked for\n"),
            (welcome(&setup.identity), "is replica 0, and replica 1 was looked for\n"),
            (
                HelloReply::Refused(Introduction::new(&right, Run(1)), Refusal::NoPeer),
                "refuses this replica, which is none of its peers",
            ),
        ];
        for (answer, text) in cases {
            let (wire, hello) = Wire::answer(&listener, &answer).await;
            let address = Some(port.address().to_string());
            assert_eq!(hello, Hello { address, purpose: hello.purpose, ..setup.hello(1) });
            node.error_with(1, text).await;
            wire.until_closed().await;
        }
        let mut wire = Wire::accept(&listener).await;
        wire.send(b"SSH-2.0-OpenSSH_9.6\r\n").await;
        node.error_with(1, "sends something that is not a message of a replica: a frame says")
            .await;
        let mut wire = Wire::accept(&listener).await;
        wire.send(&framed(b"hello, hello")).await;
        node.error_with(1, "does not speak as a replica does\n").await;
        let mut wire = Wire::accept(&listener).await;
        wire.frames.next().await.expect("a frame").expect("a hello");
        drop(wire);
        node.error_with(1, "has closed the connection").await;
        assert!(setup.store.incarnations().is_empty());

        // At last, the right reply.
        let _wires = Wire::answer_both(&listener, &welcome(&right)).await;
        node.until_connected(&[1]).await;
        assert_eq!(node.status_of(1).last_error, None);
        assert_eq!(setup.store.incarnations(), [(ReplicaId(1), Incarnation(11))].into());
    });
}

#[test]
fn a_dialer_waits_for_nobody_for_ever() {
    test(async {
        let (port, silent) = (Port::new(), Port::new());
        let mut setup = Setup::of_three(0);
        setup.timing.handshake_max = Duration::from_millis(50);
        let gone = Port::new().address().to_string();
        let mut members = addresses(&[&port, &silent]);
        members.insert(ReplicaId(2), gone);
        let node = setup.start(&port, members);
        node.error_with(1, "took longer than 50 ms to say who it is").await;
        node.error_with(2, "cannot be reached: ").await;
    });
}

#[test]
fn an_address_may_be_a_name() {
    test(async {
        let (port, other) = (Port::new(), Port::new());
        let listener = other.listener();
        let setup = Setup::of_three(0);
        let mut members = addresses(&[&port, &other]);
        members.insert(ReplicaId(1), format!("localhost:{}", other.address().port()));
        members.insert(ReplicaId(2), "no-such-host.invalid:1".into());
        let node = setup.start(&port, members);
        let welcome = HelloReply::Welcome(Setup::of_three(1).introduction());
        let _wires = Wire::answer_both(&listener, &welcome).await;
        node.until_connected(&[1]).await;
        until(|| node.status_of(2).last_error.is_some()).await;
    });
}

/// A replica that was never told where a member is, is told by the member.
#[test]
fn a_member_without_an_address_is_dialled_where_it_says() {
    test(async {
        let (port, other) = (Port::new(), Port::new());
        let listener = other.listener();
        let setup = Setup::of_three(0);
        let node = setup.start(&port, addresses(&[&port]));
        node.error_with(1, "has no address that is known here\n").await;
        assert_eq!(node.status_of(1).address, None);
        let address = other.address().to_string();
        for told in ["nowhere", &address] {
            let hello = Hello { address: Some(told.to_owned()), ..Setup::of_three(1).hello(0) };
            let _called = Wire::welcomed(&port, &hello).await;
        }
        let welcome = HelloReply::Welcome(Setup::of_three(1).introduction());
        let _wires = Wire::answer_both(&listener, &welcome).await;
        node.until_connected(&[1]).await;
        assert_eq!(node.status_of(1).address, Some(address));
    });
}

/// Replica 1 was made anew. Nobody talks to it, and nothing is wrong with this replica.
#[test]
fn a_peer_with_another_data_directory_is_not_talked_to() {
    test(async {
        let (port, other, nobody) = (Port::new(), Port::new(), Port::new());
        let listener = other.listener();
        let setup = Setup::of_three(0).formed();
        let node = setup.start(&port, addresses(&[&port, &other, &nobody]));
        let anew = Introduction::new(&identity(1, 3, 66), Run(1));
        let refusal = Refusal::OtherIncarnation { known: Incarnation(77) };
        // Whatever it says, even that it has met another replica 0.
        for answer in [HelloReply::Welcome(anew.clone()), HelloReply::Refused(anew, refusal)] {
            let (wire, _) = Wire::answer(&listener, &answer).await;
            let text = "has another data directory than the one this cluster knows replica 1 by: \
                        incarnation 00000000000000000000000000000042, and not \
                        0000000000000000000000000000000b\n";
            node.error_with(1, text).await;
            wire.until_closed().await;
        }
        let right = Setup::of_three(1).introduction();
        let [mut wire, _bulk] = Wire::answer_both(&listener, &HelloReply::Welcome(right)).await;
        node.until_connected(&[1]).await;
        node.ask(1, 5);
        assert_eq!(wire.receive().await, ask(5));
    });
}

/// Replica 0 was made anew. A peer that is the right one has met another replica 0.
#[test]
fn a_replica_that_a_peer_has_met_with_another_directory_stops() {
    test(async {
        let (port, other, nobody) = (Port::new(), Port::new(), Port::new());
        let listener = other.listener();
        let node = Setup::of_three(0).start(&port, addresses(&[&port, &other, &nobody]));
        let refusal = Refusal::OtherIncarnation { known: Incarnation(77) };
        let answer = HelloReply::Refused(Setup::of_three(1).introduction(), refusal);
        let (wire, _) = Wire::answer(&listener, &answer).await;
        let error = node.peers.fatal().await;
        assert!(matches!(
            error,
            PeersError::OtherDirectory { by: ReplicaId(1), mine: Incarnation(10), .. }
        ));
        let text = format!(
            "replica 1 at {} knows this replica under another data directory: that one is \
             incarnation 0000000000000000000000000000004d, this one 0000000000000000000000000000000a\n",
            other.address()
        );
        assert!(error.to_string().starts_with(&text), "{error}");
        wire.until_closed().await;
        // It does not dial that peer any more. The call of the other lane may have come before.
        let pause = 10 * TIMING.backoff_max;
        let mut calls = 0;
        while timeout(pause, Wire::accept(&listener)).await.is_ok() {
            calls += 1;
        }
        assert!(calls <= 1, "it goes on");
    });
}
