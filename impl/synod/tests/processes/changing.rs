//! The members change at random, the coordinator included, while clients submit, replicas are killed, and logs are cut.
//!
//! Each change replaces a member by a new replica, which begins with nothing. The replaced one is killed at some point,
//! before or after its change, and comes back later as a replica that is no member any more. In the end nothing is
//! lost, doubled or out of order, all members have the same log, and no disk has grown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value as Json;
use synod_client::{ClientOptions, Endpoint, Following};
use synod_model::Slot;
use synod_wire::protocol::Follow;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::chaos::Crowd;
use crate::cluster::Cluster;
use crate::command::Begun;
use crate::members::joins;
use crate::wait::{SOON, chance, until};

/// After so much log a replica takes a snapshot. With the clients of this test, that is some thousand slots.
const SNAPSHOT_AFTER: &str = "2MiB";

/// How long a client waits before its next value, so that the log grows by no more than about 1 MiB in a second. A
/// recorder could not follow logs that are cut all the time.
const CLIENTS_PAUSE: Duration = Duration::from_millis(5);

/// So many replicas there are at most, one after another: a test has ports for so many.
const REPLICAS_MAX: u16 = 10;

#[test]
fn members_come_and_go_while_replicas_are_killed() {
    let mut cluster = Cluster::made(3);
    for id in 0..REPLICAS_MAX {
        let after = ["--snapshot-after-log-bytes".to_owned(), SNAPSHOT_AFTER.to_owned()];
        cluster.more_args.entry(id).or_default().extend(after);
    }
    cluster.start_all();
    cluster.settled();
    let runtime = Runtime::new().unwrap();
    let endpoints: Vec<Endpoint> =
        (0..REPLICAS_MAX).map(|id| cluster.endpoint(id).parse().unwrap()).collect();
    let members = Members::default();
    let recorder = Recorder::begin(&runtime, endpoints.clone(), members.clone());
    let crowd = Crowd::begin(&runtime, &endpoints, CLIENTS_PAUSE, &[b'.'; 400]);
    let changing = Changing::new(chance(), members);
    let (members, happened) = changing.make(&mut cluster, Duration::from_secs(14));

    let history = crowd.end(&runtime);
    let end = cluster.read(members.iter().copied());
    let log = recorder.end(&runtime, end);
    let counts = history.check(&log);
    println!("{happened:?}, {counts:?}, {end} slots");
    assert!(happened["replaced"] >= 3, "that shows little: {happened:?}");
    assert!(counts.done > 200, "that shows little: {counts:?} in spite of {happened:?}");

    let hashes = until("all members have the same log", || same_hashes(&cluster, &members));
    println!("the hash of all is {hashes}");
    for report in cluster.status(members.iter().copied()) {
        let log_starts_at = report["snapshots"]["log_starts_at"].as_u64().unwrap();
        assert!(log_starts_at > end / 3, "its log was cut, and again: {report}");
    }
    for (id, node) in &cluster.nodes {
        for wrong in [" ERROR ", "panicked", "contradicts"] {
            assert_eq!(node.lines_with(wrong), 0, "replica {id}:\n{}", node.told());
        }
    }
}

/// Who the members are, as far as the test knows.
#[derive(Clone)]
struct Members(Arc<Mutex<BTreeSet<u16>>>);

impl Default for Members {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((0..3).collect())))
    }
}

impl Members {
    fn get(&self) -> BTreeSet<u16> {
        self.0.lock().unwrap().clone()
    }

    fn replace(&self, old: u16, new: u16) {
        let mut members = self.0.lock().unwrap();
        members.remove(&old);
        members.insert(new);
    }
}

/// The hash of the log, if all members have equally much of it, and the same.
fn same_hashes(cluster: &Cluster, members: &BTreeSet<u16>) -> Option<String> {
    let reports = cluster.status(members.iter().copied());
    let of = |it: &Json| (it["committed"].as_u64(), it["committed_hash"].to_string());
    let all: BTreeSet<_> = reports.iter().map(of).collect();
    let (committed, hash) = all.first()?.clone();
    (all.len() == 1 && committed.is_some()).then_some(hash)
}

/// Follows the log from its beginning, at whichever replica there is, before it is cut.
struct Recorder {
    /// The last slot to record.
    end: Arc<AtomicU64>,
    task: JoinHandle<Vec<(u64, String)>>,
}

impl Recorder {
    /// A replica that was removed may have nothing more to tell. After so long without news the next one is asked.
    const PATIENCE: Duration = Duration::from_millis(200);

    fn begin(runtime: &Runtime, endpoints: Vec<Endpoint>, members: Members) -> Self {
        let end = Arc::new(AtomicU64::new(u64::MAX));
        let last = Arc::clone(&end);
        let task = runtime.spawn(async move {
            let mut log = Vec::new();
            let mut from = Slot(1);
            let mut turn = 0;
            while from.0 <= last.load(Ordering::Relaxed) {
                let follow = Follow { from, until_caught_up: false, everything: true };
                let options = ClientOptions { deadline: SOON, ..ClientOptions::default() };
                let members = members.get().into_iter().map(usize::from);
                let mut at: Vec<_> = members.map(|id| endpoints[id].clone()).collect();
                let count = at.len();
                at.rotate_left(turn % count);
                turn += 1;
                let mut following = Following::new(at, options, follow).unwrap();
                while let Ok(told) = timeout(Self::PATIENCE, following.next()).await {
                    for delivery in told.expect("some replica has the slot").expect("no end") {
                        assert_eq!(delivery.slot, from, "no slot is missing");
                        from = delivery.slot.next();
                        let value = delivery.first_value();
                        let text = |value: &synod_wire::Value| {
                            String::from_utf8_lossy(&value.0).trim_end_matches('.').to_owned()
                        };
                        log.extend(value.map(|value| (delivery.slot.0, text(value))));
                    }
                }
            }
            log
        });
        Self { end, task }
    }

    /// Ends when it has recorded everything up to slot `end`. There may be more.
    fn end(self, runtime: &Runtime, end: u64) -> Vec<(u64, String)> {
        self.end.store(end, Ordering::Relaxed);
        let ended = async { timeout(SOON, self.task).await };
        runtime.block_on(ended).expect("some replica has the slots").unwrap()
    }
}

/// A change under way.
struct Change {
    command: Begun,
    old: u16,
    new: u16,
}

/// The changes and the faults.
struct Changing {
    rng: Rng,
    members: Members,
    next_id: u16,
    change: Option<Change>,
    dead: BTreeMap<u16, Instant>,
    /// Replicas that are no members any more, and when they stop for good.
    removed: BTreeMap<u16, Instant>,
    happened: BTreeMap<&'static str, u32>,
}

impl Changing {
    fn new(rng: Rng, members: Members) -> Self {
        Self {
            rng,
            members,
            next_id: 3,
            change: None,
            dead: BTreeMap::new(),
            removed: BTreeMap::new(),
            happened: BTreeMap::from([("replaced", 0)]),
        }
    }

    /// Changes the members for so long. Returns who they are in the end, and what has happened.
    fn make(
        mut self,
        cluster: &mut Cluster,
        how_long: Duration,
    ) -> (BTreeSet<u16>, BTreeMap<&'static str, u32>) {
        let began = Instant::now();
        let mut next_kill = began + Duration::from_millis(500);
        while began.elapsed() < how_long || self.change.is_some() {
            let now = Instant::now();
            assert!(began.elapsed() < how_long + SOON, "a change never ends");
            self.mend(cluster, now);
            self.take_outcome(cluster);
            if self.change.is_none() && self.dead.is_empty() && began.elapsed() < how_long {
                self.begin_change(cluster);
            }
            if now >= next_kill {
                self.kill_one(cluster);
                next_kill = now + Duration::from_millis(self.rng.u64(300..1200));
            }
            sleep(Duration::from_millis(10));
        }
        self.mend(cluster, Instant::now() + SOON);
        (self.members.get(), self.happened)
    }

    fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    fn begin_change(&mut self, cluster: &mut Cluster) {
        if self.next_id == REPLICAS_MAX {
            return;
        }
        let members: Vec<_> = self.members.get().into_iter().collect();
        let old = members[self.rng.usize(0..members.len())];
        let new = self.next_id;
        let incarnation = joins(cluster, new, members[0]);
        let (address, endpoints) = (cluster.peer_address(new), cluster.endpoints(members));
        let (old_text, new_text) = (old.to_string(), new.to_string());
        let args = ["member", "replace", &old_text, &new_text, "--address", &address];
        let more = ["--incarnation", &incarnation, "--timeout", "15s", "--endpoints", &endpoints];
        let command = Begun::synod(&[&args[..], &more].concat());
        self.next_id += 1;
        self.change = Some(Change { command, old, new });
    }

    fn take_outcome(&mut self, cluster: &mut Cluster) {
        let Some(Change { mut command, old, new }) = self.change.take() else {
            return;
        };
        let Some(done) = command.ended() else {
            self.change = Some(Change { command, old, new });
            return;
        };
        assert_eq!(done.code, 0, "every change can be made in time: {done:?}");
        self.members.replace(old, new);
        self.count("replaced");
        // It comes back, and does not know, or does.
        if cluster.nodes.contains_key(&old) {
            cluster.kill(old);
        }
        self.dead.remove(&old);
        cluster.start(old);
        let until = Instant::now() + Duration::from_millis(self.rng.u64(500..2500));
        self.removed.insert(old, until);
    }

    fn kill_one(&mut self, cluster: &mut Cluster) {
        // One at a time, so that a majority is there for the clients and for the change.
        let running: Vec<_> = self.members.get().into_iter().collect();
        if !self.dead.is_empty() {
            return;
        }
        let id = running[self.rng.usize(0..running.len())];
        cluster.kill(id);
        self.count("killed");
        let until = Instant::now() + Duration::from_millis(self.rng.u64(0..700));
        self.dead.insert(id, until);
    }

    /// Ends the faults that are due by then.
    fn mend(&mut self, cluster: &mut Cluster, by: Instant) {
        for (id, _) in self.dead.extract_if(.., |_, until| *until <= by) {
            cluster.start(id);
        }
        for (id, _) in self.removed.extract_if(.., |_, until| *until <= by) {
            cluster.stop(id);
        }
    }
}
