//! The state machine of a coordinator hangs, in a process that embeds the node. Disk and network work. So
//! nobody but its own clients would notice, if it did not give way.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use synod_model::Slot;
use synod_node::{Config, Node, StateMachine};
use synod_wire::Value;
use synod_wire::api::{Resource, Response, Role};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;
use crate::wait::SOON;

/// Whether a state machine stands still.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn close(&self) {
        *self.0.0.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(closed, |closed| *closed).unwrap());
    }
}

/// Counts commands, as long as its gate is open.
struct Counter {
    gate: Gate,
    count: u64,
}

impl StateMachine for Counter {
    type Snapshot = ();

    fn apply(&mut self, _slot: Slot, _command: &Value) -> Value {
        self.gate.pass();
        self.count += 1;
        self.count.to_string().into()
    }

    fn query(&self, _request: &Value) -> Value {
        self.count.to_string().into()
    }

    fn snapshot(&self) {}

    fn restore(&mut self, _snapshot: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until `look` finds something.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < SOON, "waited for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The index of the node that coordinates, if exactly one does.
fn coordinator(nodes: &[Node]) -> Option<usize> {
    let coordinates = |it: &usize| nodes[*it].status().role == Role::Coordinator;
    let mut all = (0..nodes.len()).filter(coordinates);
    all.next().filter(|_| all.next().is_none())
}

async fn is_replaced(cluster: &Cluster) {
    let gates: Vec<_> = cluster.ids().map(|_| Gate::default()).collect();
    let mut nodes = Vec::new();
    for (id, gate) in cluster.ids().zip(&gates) {
        let machine = Counter { gate: gate.clone(), count: 0 };
        nodes.push(Node::open(Config::new(cluster.data_dir(id)), machine).await.unwrap());
    }
    for node in &nodes {
        node.formed().await.unwrap();
    }
    let first = until("a coordinator", || coordinator(&nodes)).await;
    let other = &nodes[(first + 1) % 3];
    let before = nodes[first].submit("before").await.unwrap();
    assert_eq!(before.response, Response::Known("1".into()));

    gates[first].close();
    let waits = tokio::spawn({
        let node = nodes[first].clone();
        async move { node.submit("waits for its state machine").await }
    });
    other.submit("goes on").await.unwrap();
    until("another coordinator", || coordinator(&nodes).filter(|it| *it != first)).await;
    let hangs = nodes[first].status().hangs;
    assert!(hangs.len() == 1 && hangs[0].resource == Resource::Application, "{hangs:?}");
    assert!(hangs[0].no_progress_ms >= 3_000, "{hangs:?}");

    // More than the replica keeps for its state machine. It waits, and says why; the others go on.
    for count in 0..100 {
        other.submit(format!("more {count}")).await.unwrap();
    }
    assert_ne!(until("a coordinator", || coordinator(&nodes)).await, first);
    assert_eq!(nodes[first].status().hangs.len(), 1);
    assert!(!waits.is_finished());

    gates[first].open();
    waits.await.unwrap().unwrap();
    until("nothing hangs", || nodes[first].status().hangs.is_empty().then_some(())).await;
    let last = nodes[first].submit("afterwards").await.unwrap();
    assert_eq!(last.response, Response::Known("104".into()), "every command was applied once");
    assert!(other.read().await.unwrap() >= last.slot);
    for node in &nodes {
        node.stop().await.unwrap();
    }
}

#[test]
fn another_replica_coordinates_while_the_state_machine_of_the_first_one_hangs() {
    let cluster = Cluster::made(3);
    let test = async { timeout(3 * SOON, is_replaced(&cluster)).await.expect("it ends") };
    Runtime::new().unwrap().block_on(test);
}
