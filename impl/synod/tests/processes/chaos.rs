//! Replicas are killed, sometimes all of them, and stopped and continued, while clients submit through
//! all of them. In the end all logs are the same, and agree with what the clients were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use synod_client::{Applied, Client, ClientOptions, Endpoint};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::history::History;
use crate::wait::{SOON, chance};

#[test]
fn three_replicas() {
    endure(3, Duration::from_secs(6));
}

#[test]
fn five_replicas() {
    endure(5, Duration::from_secs(6));
}

fn endure(size: u16, how_long: Duration) {
    let rng = chance();
    let (mut cluster, _) = Cluster::running(size);
    let runtime = Runtime::new().unwrap();
    let crowd = Crowd::begin(&runtime, &cluster.endpoints_from(0), Duration::ZERO, b"");
    let faults = Trouble::new(rng, size).make(&mut cluster, how_long);
    let history = crowd.end(&runtime);
    // Each replica on its own takes a submission and has it in its log.
    for id in cluster.ids() {
        let value = format!("afterwards, through {id}");
        history.begin(&value);
        let slot = cluster.submit([id], &[&value])[0];
        history.end(&value, &Ok(Applied::with_empty_response(synod_model::Slot(slot))));
    }
    let counts = history.check(&cluster.same_everywhere());
    println!("{faults:?}, {counts:?}");
    assert!(counts.done > 50, "that shows little: {counts:?} in spite of {faults:?}");

    for (id, node) in &cluster.nodes {
        for wrong in [" ERROR ", "panicked", "contradicts"] {
            assert_eq!(node.lines_with(wrong), 0, "replica {id}:\n{}", node.told());
        }
    }
}

/// Clients that submit one value after another, and sometimes read.
pub(crate) struct Crowd {
    history: Arc<History>,
    is_over: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    const CLIENTS: u16 = 4;
    const AT_ONCE: u16 = 3;

    /// They ask these replicas, and begin with different ones. What they submit ends with `padding`, and each value
    /// follows the one before after a `pause`.
    pub(crate) fn begin(
        runtime: &Runtime,
        endpoints: &[Endpoint],
        pause: Duration,
        padding: &'static [u8],
    ) -> Self {
        let (history, is_over) = (Arc::<History>::default(), Arc::<AtomicBool>::default());
        // A client asks the next replica before any fault has ended, and the last fault has ended
        // before any client gives up.
        let options = ClientOptions {
            deadline: SOON,
            connect_max: Duration::from_millis(300),
            silent_max: Duration::from_millis(600),
            ..ClientOptions::default()
        };
        let client = |number: u16| {
            let (history, is_over) = (Arc::clone(&history), Arc::clone(&is_over));
            let mut endpoints = endpoints.to_vec();
            let first = usize::from(number) % endpoints.len();
            endpoints.rotate_left(first);
            let options = options.clone();
            runtime.spawn(async move {
                let client = Client::new(endpoints, options).unwrap();
                let hands = (0..Self::AT_ONCE).map(|hand| {
                    let name = format!("{number}.{hand}");
                    submit_until(&is_over, &client, &history, name, (pause, padding))
                });
                futures_util::future::join_all(hands).await;
                client.close().await;
            })
        };
        let clients = (0..Self::CLIENTS).map(client).collect();
        Self { history, is_over, clients }
    }

    /// Waits until each of them was told what became of its last value.
    pub(crate) fn end(self, runtime: &Runtime) -> Arc<History> {
        self.is_over.store(true, Ordering::Relaxed);
        let all = futures_util::future::join_all(self.clients);
        let all = async { tokio::time::timeout(SOON * 2, all).await };
        let ended = runtime.block_on(all).expect("every client is told something");
        for client in ended {
            client.unwrap();
        }
        self.history
    }
}

async fn submit_until(
    is_over: &AtomicBool,
    client: &Client,
    history: &History,
    name: String,
    (pause, padding): (Duration, &[u8]),
) {
    const READ_EVERY: usize = 8;
    for count in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let value = format!("{name}.{count}");
        history.begin(&value);
        history.end(&value, &client.submit([value.as_bytes(), padding].concat()).await);
        tokio::time::sleep(pause).await;
        if count % READ_EVERY == 0 {
            let floor = history.floor();
            if let Ok(slot) = client.read().await {
                history.read(floor, slot);
            }
        }
    }
}

/// The faults, and when each of them ends.
struct Trouble {
    rng: Rng,
    size: u16,
    dead: BTreeMap<u16, Instant>,
    stopped: BTreeMap<u16, Instant>,
    faults: BTreeMap<&'static str, u32>,
}

impl Trouble {
    fn new(rng: Rng, size: u16) -> Self {
        let (dead, stopped, faults) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { rng, size, dead, stopped, faults }
    }

    /// Causes faults for this long, and ends all of them.
    fn make(mut self, cluster: &mut Cluster, how_long: Duration) -> BTreeMap<&'static str, u32> {
        let began = Instant::now();
        let mut next = began;
        // At least once, whatever the seed draws.
        let mut kills_all_at = Some(began + how_long.mul_f64(0.6));
        while began.elapsed() < how_long {
            self.mend(cluster, Instant::now());
            for (id, node) in &mut cluster.nodes {
                let ended = node.exit_status();
                assert_eq!(ended, None, "replica {id} ended by itself:\n{}", node.told());
            }
            if kills_all_at.is_some_and(|at| at <= Instant::now()) {
                kills_all_at = None;
                self.kill_all(cluster);
            } else if next <= Instant::now() {
                self.pick(cluster);
                next = Instant::now() + self.ms(150..800);
            }
            sleep(Duration::from_millis(10));
        }
        self.mend(cluster, Instant::now() + SOON);
        self.faults
    }

    fn ms(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    fn pick(&mut self, cluster: &mut Cluster) {
        let id = self.rng.u16(0..self.size);
        match self.rng.u8(0..10) {
            0..6 => self.kill(cluster, id),
            6..9 if !self.dead.contains_key(&id) && !self.stopped.contains_key(&id) => {
                cluster.node(id).signal(Signal::STOP);
                let until = Instant::now() + self.ms(1000..2000);
                self.stopped.insert(id, until);
                *self.faults.entry("stopped").or_default() += 1;
            }
            9 => self.kill_all(cluster),
            _ => {}
        }
    }

    fn kill(&mut self, cluster: &mut Cluster, id: u16) {
        // A process that is stopped can be killed too.
        self.stopped.remove(&id);
        if !self.dead.contains_key(&id) {
            cluster.kill(id);
            let until = Instant::now() + self.ms(0..900);
            self.dead.insert(id, until);
            *self.faults.entry("killed").or_default() += 1;
        }
    }

    fn kill_all(&mut self, cluster: &mut Cluster) {
        (0..self.size).for_each(|id| self.kill(cluster, id));
        *self.faults.entry("all killed").or_default() += 1;
    }

    /// Ends the faults that are due by then.
    fn mend(&mut self, cluster: &mut Cluster, by: Instant) {
        for (id, _) in self.dead.extract_if(.., |_, until| *until <= by) {
            cluster.start(id);
        }
        for (id, _) in self.stopped.extract_if(.., |_, until| *until <= by) {
            cluster.node(id).signal(Signal::CONT);
        }
    }
}
