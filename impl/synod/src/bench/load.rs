//! Clients that submit as fast as they get answers.
//!
//! Each client has a session and one request in flight. The caller decides how many clients share a
//! connection. One task drives all clients of a connection, and sends their next requests in one write.
//! So the load costs the machine as little as possible, and the measurement shows the cluster.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hdrhistogram::Histogram;
use synod_client::{Connection, Endpoint};
use synod_model::SessionId;
use synod_wire::Value;
use synod_wire::api::{Request, SubmitError};
use synod_wire::protocol::{Answer, Ask};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{self, Instant};

/// How long connecting may take, and how long the last answers may: 10 s.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a client waits after it was refused because a queue was full: 1 ms.
const AGAIN: Duration = Duration::from_millis(1);

/// The longest latency that is recorded as it is: 60 s.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// A load.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Connections go to these in turn.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) clients: usize,
    pub(super) connections: usize,
    pub(super) value_bytes: usize,
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Measured {
    /// In nanoseconds, for each request that was answered during the measurement.
    pub(super) latencies: Histogram<u64>,
    pub(super) elapsed: Duration,
    /// How many requests were not done, and were submitted again.
    pub(super) not_done: u64,
    /// How many requests have an unknown outcome.
    pub(super) unknown: u64,
}

impl Measured {
    fn new() -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_max(LATENCY_NS_MAX, 3)?;
        Ok(Self { latencies, elapsed: Duration::ZERO, not_done: 0, unknown: 0 })
    }

    pub(super) fn per_second(&self) -> f64 {
        let count = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        f64::from(count) / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency that this share of the requests did not exceed.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(share))
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_nanos(self.latencies.max())
    }
}

/// Clients that are connected and have their sessions.
pub(super) struct Clients {
    tasks: JoinSet<anyhow::Result<()>>,
    phase: watch::Sender<Phase>,
    tally: Arc<Tally>,
}

/// What all clients measure together. A histogram for each would take megabytes.
struct Tally {
    measured: Mutex<Measured>,
    /// How many requests were answered in all.
    answered: Arc<AtomicU64>,
}

impl Tally {
    fn measured(&self) -> MutexGuard<'_, Measured> {
        // A thread that panicked cannot have left wrong numbers.
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request was sent yet.
    Ready,
    /// Answers from one time to the other count.
    Measured { from: Instant, to: Instant },
}

impl Clients {
    /// Connects all clients, and opens their sessions.
    pub(super) async fn connect(load: &Load) -> anyhow::Result<Self> {
        let (phase, _) = watch::channel(Phase::Ready);
        let measured = Mutex::new(Measured::new()?);
        let tally = Arc::new(Tally { measured, answered: Arc::default() });
        let mut connecting = JoinSet::new();
        for at in 0..load.connections {
            let endpoint = load.endpoints[at % load.endpoints.len()].clone();
            // If the numbers do not divide evenly, the first connections have one more.
            let spare = usize::from(at < load.clients % load.connections);
            let clients = load.clients / load.connections + spare;
            connecting.spawn(Driver::connect(endpoint, clients, load.value_bytes));
        }
        let mut tasks = JoinSet::new();
        while let Some(driver) = connecting.join_next().await {
            tasks.spawn(driver??.run(phase.subscribe(), tally.clone()));
        }
        Ok(Self { tasks, phase, tally })
    }

    /// The number of answers so far.
    pub(super) fn answered(&self) -> Arc<AtomicU64> {
        self.tally.answered.clone()
    }

    /// Starts the load. Answers count from `warm_up` on, for `measured`.
    pub(super) fn begin(&self, warm_up: Duration, measured: Duration) {
        let from = Instant::now() + warm_up;
        self.tally.measured().elapsed = measured;
        self.phase.send_replace(Phase::Measured { from, to: from + measured });
    }

    /// Waits until a client fails. If none does, this never returns.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(error) => return error.into(),
            }
        }
        std::future::pending().await
    }

    /// Waits until all clients have ended. Returns what they measured.
    pub(super) async fn end(mut self) -> anyhow::Result<Measured> {
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let nothing = Measured::new()?;
        Ok(mem::replace(&mut *self.tally.measured(), nothing))
    }
}

/// The error for an answer after which a client cannot go on.
fn unexpected(answer: &Answer) -> anyhow::Error {
    match answer {
        Answer::NoSlot(error) => (*error).into(),
        _ => anyhow!("the answer is one to another question"),
    }
}

/// The clients of one connection.
struct Driver {
    connection: Connection,
    endpoint: Endpoint,
    clients: Vec<Client>,
    value: Value,
    asks: u64,
    waiting: usize,
}

struct Client {
    session: SessionId,
    number: u64,
    asked: Instant,
}

impl Driver {
    async fn connect(
        endpoint: Endpoint,
        clients: usize,
        value_bytes: usize,
    ) -> anyhow::Result<Self> {
        let mut connection = Connection::connect(&endpoint, WAIT_MAX).await?;
        // Random bytes, which no disk or network can compress.
        let value = Value::from((0..value_bytes).map(|_| fastrand::u8(..)).collect::<Vec<_>>());
        let mut sessions = Vec::new();
        let open = async {
            for id in 0..clients as u64 {
                connection.put(id, Ask::OpenSession)?;
            }
            while sessions.len() < clients {
                match connection.answer().await?.answer {
                    Answer::Opened(session) => sessions.push(session),
                    answer => return Err(unexpected(&answer)),
                }
            }
            Ok(())
        };
        let opened = time::timeout(WAIT_MAX, open).await;
        let opened = opened.context("there was no answer").flatten();
        opened.with_context(|| format!("{endpoint}: no session could be opened"))?;
        let client = |session| Client { session, number: 0, asked: Instant::now() };
        let clients: Vec<_> = sessions.into_iter().map(client).collect();
        // The id of each ask, modulo the number of clients, is the index of its client.
        Ok(Self { connection, endpoint, clients, value, asks: 1, waiting: 0 })
    }

    async fn run(
        mut self,
        mut phase: watch::Receiver<Phase>,
        tally: Arc<Tally>,
    ) -> anyhow::Result<()> {
        phase.wait_for(|phase| *phase != Phase::Ready).await?;
        let Phase::Measured { from, to } = *phase.borrow() else {
            return Ok(());
        };
        let ran = time::timeout_at(to + WAIT_MAX, self.load(from, to, &tally));
        let ran = ran.await.context("the last answers did not come").flatten();
        ran.with_context(|| self.endpoint.to_string())
    }

    async fn load(&mut self, from: Instant, to: Instant, tally: &Tally) -> anyhow::Result<()> {
        let mut latencies_ns = Vec::new();
        let mut refused = Vec::new();
        for client in 0..self.clients.len() {
            self.ask(client, Instant::now())?;
        }
        while self.waiting > 0 {
            self.connection.exchange().await?;
            let now = Instant::now();
            let mut unknown = 0;
            while let Some(answer) = self.connection.take()? {
                let client = usize::try_from(answer.id % self.clients.len() as u64)?;
                self.waiting -= 1;
                match answer.answer {
                    Answer::Done(_) => {
                        let latency = now - self.clients[client].asked;
                        latencies_ns.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
                    }
                    Answer::NoSlot(SubmitError::NotDone(reason)) if reason.may_pass() => {
                        refused.push(client);
                        continue;
                    }
                    Answer::NoSlot(SubmitError::Unknown(_)) => unknown += 1,
                    answer => return Err(unexpected(&answer)),
                }
                if now < to {
                    self.ask(client, now)?;
                }
            }
            tally.answered.fetch_add(latencies_ns.len() as u64, Ordering::Relaxed);
            if from <= now && now < to {
                let mut measured = tally.measured();
                measured.unknown += unknown;
                measured.not_done += refused.len() as u64;
                for latency in &latencies_ns {
                    measured.latencies.saturating_record(*latency);
                }
            }
            latencies_ns.clear();
            if !refused.is_empty() && now < to {
                time::sleep(AGAIN).await;
                for client in refused.drain(..) {
                    self.ask(client, Instant::now())?;
                }
            }
            refused.clear();
        }
        for (client, id) in self.clients.iter().zip(0..) {
            self.connection.put(u64::MAX - id, Ask::EndSession(client.session))?;
        }
        for _ in 0..self.clients.len() {
            self.connection.answer().await?;
        }
        Ok(())
    }

    fn ask(&mut self, at: usize, now: Instant) -> anyhow::Result<()> {
        let client = &mut self.clients[at];
        client.number += 1;
        client.asked = now;
        let (session, number, value) = (client.session, client.number, self.value.clone());
        // All requests before this one have their answers.
        let request = Request { session, number, answered: number, value };
        let id = self.asks * self.clients.len() as u64 + at as u64;
        self.asks += 1;
        self.waiting += 1;
        self.connection.put(id, Ask::Request(request))?;
        Ok(())
    }
}
