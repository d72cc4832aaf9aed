//! A replicated map: three replicas, for once in one process.
//!
//!     cargo run -p synod-node --example replicated_map
//!
//! A command is a line `key=value` and sets a key. Its response is the value that the key had before. A query
//! is a key, and its response is the value.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use synod_node::{
    Config, Consistency, Node, ReplicaId, Slot, Snapshot, StateMachine, Value, make_data_directory,
};

/// The state. A snapshot shares it: the first command after a snapshot copies it.
#[derive(Clone, Default)]
struct Map(Arc<BTreeMap<String, String>>);

impl StateMachine for Map {
    type Snapshot = Self;

    fn apply(&mut self, _slot: Slot, command: &Value) -> Value {
        // A client may send anything. Every replica must do the same with it: nothing.
        let line = str::from_utf8(&command.0).ok().filter(|it| !it.contains(['\n', '\r']));
        let Some((key, value)) = line.and_then(|line| line.split_once('=')) else {
            return "error: a command is key=value, in one line".into();
        };
        let before = Arc::make_mut(&mut self.0).insert(key.to_owned(), value.to_owned());
        before.unwrap_or_default().into()
    }

    fn query(&self, key: &Value) -> Value {
        let value = str::from_utf8(&key.0).ok().and_then(|key| self.0.get(key));
        value.cloned().unwrap_or_default().into()
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        *self = Self::default();
        for line in BufReader::new(snapshot).lines() {
            self.apply(Slot::ZERO, &line?.into());
        }
        Ok(())
    }
}

impl Snapshot for Map {
    fn write_to(self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|(key, value)| writeln!(out, "{key}={value}"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut members = BTreeMap::new();
    for id in 0..3 {
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        members.insert(ReplicaId(id), free.to_string());
    }
    let mut nodes = Vec::new();
    for &id in members.keys() {
        let data_dir = folder.path().join(format!("r{id}"));
        make_data_directory(&data_dir, "example", id, &members)?;
        nodes.push(Node::open(Config::new(data_dir), Map::default()).await?);
    }
    for node in &nodes {
        node.formed().await?;
    }

    nodes[0].submit("colour=red").await?;
    let before = nodes[1].submit("colour=blue").await?;
    println!("in slot {}, before: {:?}", before.slot, before.response);
    assert_eq!(before.response.value(), Some(&"red".into()));
    // It sees what was set before, at any replica.
    let colour = nodes[2].query("colour", Consistency::Linearizable).await?;
    assert_eq!(colour.response.value(), Some(&"blue".into()));

    // A majority goes on by itself, and a replica that comes back learns what it has missed.
    nodes[0].stop().await?;
    nodes[1].submit("shape=round").await?;
    let back = Node::open(Config::new(folder.path().join("r0")), Map::default()).await?;
    let shape = back.query("shape", Consistency::Linearizable).await?;
    println!("r0 was away, and sees shape: {:?}", shape.response);
    assert_eq!(shape.response.value(), Some(&"round".into()));
    Ok(())
}

#[test]
fn it_does_what_it_says() -> Result<(), Box<dyn Error>> {
    main()
}
