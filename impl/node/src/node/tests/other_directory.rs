//! A change registers another data directory under the id of a node: that one votes, and the node stops.

use synod_model::{
    Change, Configuration, Entry, Incarnation, Message, Opening, PrefixHash, Registration,
    ReplicaId, Run, SessionId, Slot,
};
use synod_wire::Value;
use tokio::time::timeout;

use super::IN_TIME;
use super::two::{OTHER, Two};
use crate::forming::kit::identity;
use crate::node::{Node, NodeError, NodeOpenError};
use crate::peers::tests::harness::Setup;
use crate::state_machine::BareLog;

const ME: ReplicaId = ReplicaId(0);
const ANOTHER: Incarnation = Incarnation(77);

/// A change that names the same members, and registers them.
fn registers_another(before: &Configuration) -> Entry<Value> {
    let after = before.changed(before.members(), &[]).expect("the same members");
    let registration = |member: ReplicaId| {
        let incarnation = if member == ME { ANOTHER } else { Incarnation(11) };
        Registration { incarnation, address: format!("127.0.0.1:{}", 1 + member.0) }
    };
    let configuration = after.with_all_registered(registration).expect("short addresses");
    Entry::Change(Change { session: SessionId(1), number: 1, answered: 1, configuration })
}

#[tokio::test]
async fn a_node_whose_id_belongs_to_another_directory_stops_for_good() {
    let two = Two::new(Setup::new(identity(1, 2, 11)).formed()).await;
    let open = Entry::Open(Opening { origin: OTHER, run: Run(1), count: 1 });
    let entries = vec![open, registers_another(&two.setup.configuration)];
    // As a member does that serves what is committed: the record says so, and the next start knows.
    two.send(&Message::Committed {
        log_starts_at: Slot(1),
        first: Slot(1),
        before: PrefixHash::default(),
        entries,
        watermark: Slot(2),
    });
    let error = timeout(IN_TIME, two.node.ended()).await.expect("it ends").expect_err("it stops");
    let is_right = |replica: ReplicaId, registered| (replica, registered) == (ME, ANOTHER);
    match &error {
        NodeError::OtherDirectory { replica, registered } if is_right(*replica, *registered) => {}
        error => panic!("{error}"),
    }
    assert!(error.is_permanent());
    let text = "the members know replica 0 by another data directory than this one: incarnation \
                0000000000000000000000000000004d is registered\n";
    assert!(error.to_string().starts_with(text), "{error}");

    let error = Node::open(two.config(), BareLog).await.expect_err("it is in the log");
    assert!(matches!(error, NodeOpenError::OtherDirectory { .. }), "{error}");
    assert!(error.is_permanent());
}
