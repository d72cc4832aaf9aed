//! A cluster of one says who its members are, and takes a learner in.

use synod_model::{Change, Registration};
use synod_wire::api::Membership;

use super::*;
use crate::backend::Backend as _;

#[tokio::test]
async fn a_replica_registers_itself_and_a_learner_joins_it() {
    let data_dir = tempfile::tempdir().unwrap();
    let node = alone(data_dir.path()).await;
    let first = timeout(IN_TIME, node.members()).await.unwrap().unwrap();
    assert_eq!((first.changed_at, first.is_finished), (Slot::ZERO, true));
    let own = Registration { incarnation: Incarnation(1), address: "127.0.0.1:1".into() };
    assert_eq!(first.configuration.registration(ReplicaId(0)), Some(&own));
    assert_eq!(node.status().membership, Membership::Voter);

    let joining = Registration { incarnation: Incarnation(7), address: "127.0.0.1:9".into() };
    let next = first.configuration.changed(&[ReplicaId(0)], &[ReplicaId(1)]).unwrap();
    let configuration = next.with_registration(ReplicaId(1), joining).unwrap();
    let session = node.open_session().await.unwrap();
    let change = Change { session, number: 1, answered: 1, configuration: configuration.clone() };
    let slot = timeout(IN_TIME, node.change(change.clone())).await.unwrap().unwrap();
    assert_eq!(node.change(change).await, Ok(slot), "a retry is the same change");

    node.submit("the slot after the change").await.unwrap();
    let members = node.members().await.unwrap();
    assert_eq!(members.configuration, configuration);
    assert_eq!((members.changed_at, members.is_finished), (slot, true));
    assert_eq!(node.status().configuration, configuration.id());

    let other = configuration.changed(&[ReplicaId(0)], &[]).unwrap();
    let stale = Change { session, number: 2, answered: 1, configuration: first.configuration };
    let refused = node.change(stale).await.unwrap_err();
    let expected = synod_model::DeliveryRefused::OtherConfiguration;
    assert_eq!(refused, SubmitError::Unknown(Unknown::Refused(expected)));
    let change = Change { session, number: 3, answered: 3, configuration: other };
    node.change(change).await.unwrap();
    assert_eq!(node.members().await.unwrap().configuration.members(), [ReplicaId(0)]);
}
