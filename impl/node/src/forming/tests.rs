//! The gate stores what the core says, and answers what the core says.

use synod_model::{Configuration, Greeting, Incarnation, KnownMembers, Registration, ReplicaId};

use super::kit::{MemoryStore, identity};
use super::{Gate, GateError, Store, StoreError};

fn first(members: u16) -> Configuration {
    identity(0, members, 10).constants.first_configuration().clone()
}

const R0: ReplicaId = ReplicaId(0);
const R1: ReplicaId = ReplicaId(1);
const R2: ReplicaId = ReplicaId(2);

#[tokio::test]
async fn the_gate_stores_before_it_lets_pass() {
    let store = MemoryStore::new(&identity(0, 3, 10));
    let gate = Gate::new(&identity(0, 3, 10), &first(3), store.clone());
    let formed = gate.watch_formed();
    gate.receive(R1, Incarnation(11), Greeting::Hello).await.expect("new");
    gate.receive(R1, Incarnation(11), Greeting::Welcome).await.expect("known");
    let error = gate.receive(R1, Incarnation(13), Greeting::Welcome).await.expect_err("another");
    assert!(matches!(error, GateError::OtherIncarnation(_)));
    assert_eq!((gate.is_formed(), gate.missing()), (false, vec![R2]));
    gate.receive(R2, Incarnation(12), Greeting::Welcome).await.expect("new");
    assert!(gate.is_formed() && *formed.borrow());
    gate.check(R2, Incarnation(12)).expect("known");
    let known = Incarnation(14);
    let error = gate.receive(R1, Incarnation(11), Greeting::Refusal { known }).await;
    assert!(matches!(error, Err(GateError::MadeAnew { known: it }) if it == known));
    let error = gate.receive(R0, Incarnation(10), Greeting::Hello).await;
    assert!(matches!(error, Err(GateError::NoPeer)));

    // Another run, from what is stored.
    let gate = Gate::new(&identity(0, 3, 10), &first(3), store);
    assert!(gate.is_formed());
    gate.receive(R1, Incarnation(11), Greeting::Hello).await.expect("known");
    let error = gate.receive(R2, Incarnation(13), Greeting::Hello).await.expect_err("another");
    assert!(matches!(error, GateError::OtherIncarnation(_)));
}

/// Replicas outside the configuration pass once the cluster is formed. Nothing of them is stored.
#[tokio::test]
async fn a_change_of_the_members_says_who_passes_from_now_on() {
    let store = MemoryStore::formed(&identity(0, 2, 10));
    let gate = Gate::new(&identity(0, 2, 10), &first(2), store.clone());
    for incarnation in [12, 13] {
        gate.receive(R2, Incarnation(incarnation), Greeting::Hello).await.expect("outside");
    }
    assert_eq!((gate.knows(R2), store.incarnations().get(&R2)), (None, None));
    let registration = |member: ReplicaId| Registration {
        incarnation: Incarnation(10 + u128::from(member.0)),
        address: "127.0.0.1:1".to_owned(),
    };
    let after = first(2).changed(&[R0, R1, R2], &[]).expect("an id that is new");
    gate.govern(&after.with_all_registered(registration).expect("short addresses"));
    assert_eq!(gate.knows(R2), Some(Incarnation(12)));
    gate.check(R2, Incarnation(12)).expect("it is registered");
    gate.check(R2, Incarnation(13)).expect_err("it is another one");
    let error = gate.receive(R2, Incarnation(13), Greeting::Hello).await.expect_err("another");
    assert!(matches!(error, GateError::OtherIncarnation(_)));
}

#[tokio::test]
async fn what_could_not_be_stored_does_not_pass() {
    let store = MemoryStore::new(&identity(0, 2, 10));
    let gate = Gate::new(&identity(0, 2, 10), &first(2), store.clone());
    gate.receive(R1, Incarnation(11), Greeting::Hello).await.expect("new");
    store.break_down();
    let error =
        gate.receive(R1, Incarnation(11), Greeting::Welcome).await.expect_err("a broken store");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(!gate.is_formed());
    // And it is not tried again.
    let error =
        gate.receive(R1, Incarnation(11), Greeting::Welcome).await.expect_err("an unknown disk");
    assert!(matches!(error, GateError::Closed));

    let gate = Gate::new(&identity(0, 2, 10), &first(2), MemoryStore::new(&identity(0, 2, 10)));
    gate.close().await;
    let error = gate.receive(R1, Incarnation(11), Greeting::Hello).await.expect_err("closed");
    assert!(matches!(error, GateError::Closed));
}

struct Panics(MemoryStore);

impl Store for Panics {
    fn known_members(&self) -> KnownMembers {
        self.0.known_members()
    }

    fn store_known_members(&mut self, _: KnownMembers) -> Result<(), StoreError> {
        panic!("it is a defect")
    }
}

/// It is unknown what is stored then, and the replica must stop.
#[tokio::test]
async fn a_store_that_panics_is_an_error_and_is_not_called_again() {
    let store = Panics(MemoryStore::new(&identity(0, 2, 10)));
    let gate = Gate::new(&identity(0, 2, 10), &first(2), store);
    let error = gate.receive(R1, Incarnation(11), Greeting::Hello).await.expect_err("a panic");
    assert!(matches!(error, GateError::Store(_)), "{error}");
    let error = gate.receive(R1, Incarnation(11), Greeting::Hello).await.expect_err("a panic");
    assert!(matches!(error, GateError::Closed), "{error}");
}
