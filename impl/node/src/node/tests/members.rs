//! A cluster of one says who its members are, and takes a learner in.

use synod_model::{Change, Registration};
use synod_wire::api::Membership;

use super::*;
use crate::backend::Backend as _;
use crate::join_data_directory;

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

#[tokio::test]
async fn a_directory_for_a_replica_that_joins_is_made_from_what_a_member_says() {
    let (data_dir, joins) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let members = alone(data_dir.path()).await.members().await.unwrap();
    let join = |me| join_data_directory(joins.path(), &members, ReplicaId(me), "127.0.0.1:9");
    let used = join(0).unwrap_err().to_string();
    assert!(used.contains("the id 0 cannot be given any more"), "{used}");
    assert!(used.contains("the next free id is 1"), "{used}");

    let identity = join(1).unwrap();
    assert_eq!(identity.cluster_id, members.cluster_id);
    let directory = DataDirectory::open(Arc::new(RealDisk::new(joins.path()))).unwrap();
    assert_eq!(directory.identity(), &identity);
    let known = directory.known_members();
    assert!(known.is_formed);
    assert_eq!(known.incarnations[&ReplicaId(0)], Incarnation(1));
    assert_eq!(directory.peers()[&ReplicaId(0)], "127.0.0.1:1");
    assert_eq!(directory.peers()[&ReplicaId(1)], "127.0.0.1:9");
}
