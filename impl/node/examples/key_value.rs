//! A replicated map: three replicas, in one process for once, that agree on what is set to what.
//!
//!     cargo run -p synod-node --example key_value
//!
//! This is all that it takes to make something fault-tolerant: what is to be done goes into the log as
//! bytes, and a callback does it, on every replica, in the same order. Here that is `key=value`.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use synod_node::{
    Application, Backend, Config, Delivery, Log, ReplicaId, SubmitError, make_data_directory,
};

/// The map of one replica. Whoever holds a clone of it reads the same map.
#[derive(Clone, Debug, Default)]
struct Map(Arc<Mutex<BTreeMap<String, String>>>);

impl Application for Map {
    fn deliver(&mut self, delivery: Delivery) {
        // The log also holds what is no client's, and a second copy of what a client tried twice.
        let Some(value) = delivery.first_value() else {
            return;
        };
        // It came from a client, so it may be anything. All replicas must do the same with it: nothing.
        if let Some((key, value)) = str::from_utf8(&value.0).ok().and_then(|it| it.split_once('='))
        {
            self.0.lock().expect("nobody panics with it").insert(key.to_owned(), value.to_owned());
        }
    }
}

impl Map {
    fn get(&self, key: &str) -> Option<String> {
        self.0.lock().expect("nobody panics with it").get(key).cloned()
    }
}

/// A replica of the map.
struct Replica {
    log: Log,
    map: Map,
}

impl Replica {
    async fn open(data_dir: &Path) -> Result<Self, Box<dyn Error>> {
        let map = Map::default();
        let log = Log::open(Config::new(data_dir), map.clone()).await?;
        Ok(Self { log, map })
    }

    /// Sets `key`, on all replicas.
    async fn set(&self, key: &str, value: &str) -> Result<(), Box<dyn Error>> {
        loop {
            match self.log.submit(format!("{key}={value}").into_bytes()).await {
                Ok(_slot) => return Ok(()),
                // The members have not met yet, or too much is under way: nothing was done.
                Err(SubmitError::NotDone(reason)) if reason.may_pass() => {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What `key` is set to now: it covers everything that was set, anywhere, before this was called.
    async fn get(&self, key: &str) -> Result<Option<String>, Box<dyn Error>> {
        self.log.read().await?;
        Ok(self.map.get(key))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut members = BTreeMap::new();
    for id in 0..3 {
        members.insert(ReplicaId(id), free_address()?);
    }
    let mut replicas = Vec::new();
    for &id in members.keys() {
        let data_dir = folder.path().join(format!("r{id}"));
        make_data_directory(&data_dir, "example", id, &members)?;
        replicas.push(Replica::open(&data_dir).await?);
    }

    replicas[0].set("colour", "red").await?;
    replicas[1].set("colour", "blue").await?;
    let colour = replicas[2].get("colour").await?;
    println!("r2 reads colour: {colour:?}");
    assert_eq!(colour.as_deref(), Some("blue"), "a read sees what was set before, wherever");

    // A majority goes on by itself ...
    replicas[0].log.stop().await?;
    replicas[1].set("shape", "round").await?;

    // ... and whoever comes back learns what it has missed.
    let back = Replica::open(&folder.path().join("r0")).await?;
    let shape = back.get("shape").await?;
    println!("r0 was away, and reads shape: {shape:?}");
    assert_eq!(shape.as_deref(), Some("round"));

    for replica in [&back, &replicas[1], &replicas[2]] {
        replica.log.stop().await?;
    }
    Ok(())
}

/// An address on this machine that nobody uses.
fn free_address() -> std::io::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// So that `cargo test` runs it.
#[test]
fn it_does_what_it_says() -> Result<(), Box<dyn Error>> {
    main()
}
