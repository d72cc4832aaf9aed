//! Who may take part, and who may not any more.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::ReplicaId;
use synod_wire::Incarnation;
use synod_wire::testing::check;

use super::kit::{MemoryStore, identity};
use super::{Acquaintance, Forming, Gate, GateError, OtherIncarnation};
use crate::identity::Identity;

const R1: ReplicaId = ReplicaId(1);
const R2: ReplicaId = ReplicaId(2);

#[test]
fn a_cluster_is_formed_when_everybody_has_met_everybody() {
    let mut forming = Forming::new(&identity(0, 3, 10), BTreeMap::new(), false);
    assert_eq!(forming.missing(), [R1, R2]);
    assert_eq!(forming.meet(R1, Incarnation(11)), Ok(Acquaintance::New));
    forming.stored(R1, Incarnation(11));
    assert_eq!(forming.missing(), [R1, R2], "it has not confirmed yet");
    assert!(!forming.confirmed(R1));
    assert_eq!(forming.missing(), [R2]);
    forming.stored(R2, Incarnation(12));
    assert!(forming.confirmed(R2));
    assert!(!forming.is_formed(), "that is to be stored first");
    forming.formed();
    assert!(forming.is_formed() && forming.missing().is_empty());
    assert_eq!(forming.meet(R1, Incarnation(11)), Ok(Acquaintance::Known));
    let (known, found) = (Incarnation(11), Incarnation(13));
    assert_eq!(forming.meet(R1, found), Err(OtherIncarnation { known, found }));
}

#[test]
fn what_was_confirmed_to_an_earlier_run_is_asked_again_until_the_cluster_is_formed() {
    let known = BTreeMap::from([(R1, Incarnation(11)), (R2, Incarnation(12))]);
    let forming = Forming::new(&identity(0, 3, 10), known.clone(), false);
    assert_eq!((forming.is_formed(), forming.missing()), (false, vec![R1, R2]));
    let forming = Forming::new(&identity(0, 3, 10), known, true);
    assert_eq!((forming.is_formed(), forming.missing()), (true, vec![]));
    // That cannot be; but if it is, it is not believed.
    assert!(!Forming::new(&identity(0, 3, 10), BTreeMap::new(), true).is_formed());
}

#[test]
fn who_is_alone_has_nobody_to_meet() {
    assert!(Forming::new(&identity(0, 1, 10), BTreeMap::new(), false).is_formed());
}

/// What happens to a cluster while it forms.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The first replica dials the second; whether it hears the answer.
    Dial { from: usize, to: usize, is_answered: bool },
    /// What was not stored is forgotten.
    Restart(usize),
    /// The data directory is lost, and made anew under the same id.
    Remake(usize),
}

fn happenings(replicas: usize, remakes: u32) -> impl Strategy<Value = Happening> {
    let dial = (0..replicas, 0..replicas, prop::bool::weighted(0.8))
        .prop_map(|(from, to, is_answered)| Happening::Dial { from, to, is_answered });
    prop_oneof![
        20 => dial,
        2 => (0..replicas).prop_map(Happening::Restart),
        remakes => (0..replicas).prop_map(Happening::Remake),
    ]
}

struct Replica {
    identity: Identity,
    known: BTreeMap<ReplicaId, Incarnation>,
    is_formed: bool,
    forming: Forming,
    /// A peer knows it under another incarnation, so it has stopped, for good.
    is_stopped: bool,
    /// Which incarnation of each other member has confirmed.
    confirmed: BTreeMap<ReplicaId, Incarnation>,
}

impl Replica {
    fn new(replica: u16, members: u16, incarnation: u128) -> Self {
        let identity = identity(replica, members, incarnation);
        let forming = Forming::new(&identity, BTreeMap::new(), false);
        Self {
            identity,
            known: BTreeMap::new(),
            is_formed: false,
            forming,
            is_stopped: false,
            confirmed: BTreeMap::new(),
        }
    }

    fn meet(
        &mut self,
        member: ReplicaId,
        incarnation: Incarnation,
    ) -> Result<(), OtherIncarnation> {
        if self.forming.meet(member, incarnation)? == Acquaintance::New {
            assert_eq!(self.known.insert(member, incarnation), None);
            self.forming.stored(member, incarnation);
        }
        Ok(())
    }
}

/// A data directory that took part, and how it came to.
struct TookPart {
    replica: ReplicaId,
    incarnation: Incarnation,
    /// Which directories of the others had confirmed it.
    confirmed: BTreeMap<ReplicaId, Incarnation>,
    /// Who of all had been made anew by then.
    remade: Vec<bool>,
}

fn run(replicas: u16, happenings: &[Happening]) -> (Vec<Replica>, Vec<TookPart>) {
    let mut count = 0;
    let mut new = |replica| {
        count += 1;
        Replica::new(replica, replicas, count)
    };
    let mut cluster: Vec<_> = (0..replicas).map(&mut new).collect();
    let mut took_part = Vec::new();
    for happening in happenings {
        match *happening {
            Happening::Dial { from, to, is_answered } => {
                if from == to || cluster[from].is_stopped || cluster[to].is_stopped {
                    continue;
                }
                let caller = (cluster[from].identity.replica, cluster[from].identity.incarnation);
                let other = (cluster[to].identity.replica, cluster[to].identity.incarnation);
                let met = cluster[to].meet(caller.0, caller.1);
                if !is_answered {
                    continue;
                }
                let dialer = &mut cluster[from];
                if met.is_err() {
                    // Only who is what it is known to be is believed.
                    dialer.is_stopped = dialer.forming.meet(other.0, other.1).is_ok();
                } else if dialer.meet(other.0, other.1).is_ok() {
                    dialer.confirmed.insert(other.0, other.1);
                    if dialer.forming.confirmed(other.0) {
                        dialer.is_formed = true;
                        dialer.forming.formed();
                        let (replica, incarnation) = caller;
                        let confirmed = dialer.confirmed.clone();
                        let first = |it: &Replica| it.identity.incarnation.0 <= replicas.into();
                        let remade = cluster.iter().map(|it| !first(it)).collect();
                        took_part.push(TookPart { replica, incarnation, confirmed, remade });
                    }
                }
            }
            Happening::Restart(at) => {
                let replica = &mut cluster[at];
                let Replica { identity, known, is_formed, .. } = replica;
                replica.forming = Forming::new(identity, known.clone(), *is_formed);
            }
            Happening::Remake(at) => cluster[at] = new(u16::try_from(at).expect("few")),
        }
    }
    (cluster, took_part)
}

/// Two data directories under one id take part only if every other one was lost in between: as long
/// as one member remembers the first, the second never does.
#[test]
fn nobody_takes_part_in_anothers_place() {
    check(20_000, &vec(happenings(3, 2), 0..120), |happenings| {
        let (_, took_part) = run(3, &happenings);
        for (index, second) in took_part.iter().enumerate() {
            let same_id = took_part[..index].iter().filter(|it| it.replica == second.replica);
            for first in same_id.filter(|it| it.incarnation != second.incarnation) {
                assert!(second.remade.iter().all(|remade| *remade));
                for (member, by) in &second.confirmed {
                    assert_ne!(first.confirmed.get(member), Some(by));
                }
            }
        }
    });
}

/// If nothing is lost, a cluster forms, however often its members restart meanwhile.
#[test]
fn a_cluster_forms() {
    check(2_000, &vec(happenings(4, 0), 0..60), |mut happenings| {
        let all = (0..4).flat_map(|from| (0..4).map(move |to| (from, to)));
        happenings.extend(all.map(|(from, to)| Happening::Dial { from, to, is_answered: true }));
        let (cluster, took_part) = run(4, &happenings);
        assert!(cluster.iter().all(|it| it.forming.is_formed() && !it.is_stopped));
        assert_eq!(took_part.len(), 4);
    });
}

#[tokio::test]
async fn the_gate_stores_before_it_lets_pass() {
    let store = MemoryStore::default();
    let gate = Gate::new(&identity(0, 3, 10), store.clone());
    let formed = gate.watch_formed();
    gate.met(R1, Incarnation(11)).await.expect("new");
    gate.welcomed(R1, Incarnation(11)).await.expect("known");
    let error = gate.welcomed(R1, Incarnation(13)).await.expect_err("another");
    assert!(matches!(error, GateError::OtherIncarnation(_)));
    assert_eq!((gate.is_formed(), gate.missing()), (false, vec![R2]));
    gate.welcomed(R2, Incarnation(12)).await.expect("new");
    assert!(gate.is_formed() && *formed.borrow());
    gate.check(R2, Incarnation(12)).expect("known");

    // Another run, from what is stored.
    let gate = Gate::new(&identity(0, 3, 10), store);
    assert!(gate.is_formed());
    gate.met(R1, Incarnation(11)).await.expect("known");
    let error = gate.met(R2, Incarnation(13)).await.expect_err("another");
    assert!(matches!(error, GateError::OtherIncarnation(_)));
}

#[tokio::test]
async fn what_could_not_be_stored_does_not_pass() {
    let store = MemoryStore::default();
    let gate = Gate::new(&identity(0, 2, 10), store.clone());
    gate.met(R1, Incarnation(11)).await.expect("new");
    store.break_down();
    let error = gate.welcomed(R1, Incarnation(11)).await.expect_err("a broken store");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(!gate.is_formed());
    // And it is not tried again.
    let error = gate.welcomed(R1, Incarnation(11)).await.expect_err("an unknown disk");
    assert!(matches!(error, GateError::Closed));

    let gate = Gate::new(&identity(0, 2, 10), MemoryStore::default());
    gate.close().await;
    let error = gate.met(R1, Incarnation(11)).await.expect_err("closed");
    assert!(matches!(error, GateError::Closed));
}
