//! A replicated counter: each command adds to it, and is answered with the new value.
//!
//!     cargo run -p synod-node --example replicated_counter
//!
//! The counter is on one replica only, which is a cluster too: it survives a restart.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read};
use std::net::TcpListener;

use synod_node::{
    Config, Consistency, Node, ReplicaId, Slot, StateMachine, Value, make_data_directory,
};

#[derive(Default)]
struct Counter(i64);

impl StateMachine for Counter {
    /// Eight bytes: they are encoded at once.
    type Snapshot = Vec<u8>;

    fn apply(&mut self, _slot: Slot, command: &Value) -> Value {
        let text = str::from_utf8(&command.0).ok();
        let Some(sum) = text.and_then(|it| it.parse().ok()).and_then(|it| self.0.checked_add(it))
        else {
            return "error: a command is a number, and the sum must fit 64 bits".into();
        };
        self.0 = sum;
        sum.to_string().into()
    }

    fn query(&self, _request: &Value) -> Value {
        self.0.to_string().into()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut bytes = [0; 8];
        snapshot.read_exact(&mut bytes)?;
        self.0 = i64::from_le_bytes(bytes);
        Ok(())
    }

    /// It never waits, so it needs no thread of its own.
    fn is_immediate(&self) -> bool {
        true
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().join("r0");
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let members = BTreeMap::from([(ReplicaId(0), free.to_string())]);
    make_data_directory(&data_dir, "example", ReplicaId(0), &members)?;

    let node = Node::open(Config::new(&data_dir), Counter::default()).await?;
    for (command, sum) in [("5", "5"), ("-2", "3"), ("39", "42")] {
        let applied = node.submit(command).await?;
        println!("{command} in slot {}: {:?}", applied.slot, applied.response);
        assert_eq!(applied.response.value(), Some(&sum.into()));
    }
    node.stop().await?;
    drop(node);

    let node = Node::open(Config::new(&data_dir), Counter::default()).await?;
    let counter = node.query("", Consistency::Linearizable).await?;
    println!("after a restart, in the state of slot {}: {:?}", counter.slot, counter.response);
    assert_eq!(counter.response.value(), Some(&"42".into()));
    Ok(())
}

#[test]
fn it_does_what_it_says() -> Result<(), Box<dyn Error>> {
    main()
}
