//! Snapshots: logs are cut, by themselves and by order, and what was cut away comes back as a snapshot.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value as Json;
use synod_client::protocol::{Answer, Ask};
use synod_client::{
    Applied, Client, ClientOptions, Connection, Consistency, Endpoint, Response, Slot,
};
use synod_node::client_port::{ServerLimits, serve};
use synod_node::{
    Config, Node, Request, SessionId, Snapshot, SnapshotOptions, StateMachine, Value,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::command::synod;
use crate::process::Running;
use crate::wait::{SOON, until};

pub(crate) const MIB: u64 = 1 << 20;

/// How many bytes the files of a data directory have.
fn disk_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(it) if it.is_dir() => disk_bytes(&entry.path()),
        Ok(it) => it.len(),
        // It has been removed meanwhile.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// What the status of a replica says of its snapshots.
pub(crate) fn snapshots(cluster: &Cluster, id: u16) -> Json {
    cluster.status([id])[0]["snapshots"].clone()
}

/// Takes snapshots of these replicas, and returns their slots.
fn take(cluster: &Cluster, ids: &[u16]) -> Vec<u64> {
    let endpoints = cluster.endpoints(ids.iter().copied());
    let taken = synod(&["snapshot", "take", "--json", "--endpoints", &endpoints]).stdout();
    let taken: Vec<Json> = serde_json::from_str(&taken).unwrap();
    let slot = |(id, it): (&u16, &Json)| {
        let file = Path::new(it["file"].as_str().unwrap());
        assert!(file.starts_with(cluster.data_dir(*id)), "{it}");
        // A newer one may have taken its place.
        if let Ok(file) = fs::metadata(file) {
            assert_eq!(file.len(), it["bytes"].as_u64().unwrap(), "{it}");
        }
        it["slot"].as_u64().unwrap()
    };
    ids.iter().zip(&taken).map(slot).collect()
}

fn submit(cluster: &Cluster, values: impl IntoIterator<Item = Vec<u8>>) {
    Runtime::new().unwrap().block_on(async {
        let client = Client::new(cluster.endpoints_from(0), ClientOptions::default()).unwrap();
        for value in values {
            client.submit(value).await.unwrap();
        }
        client.close().await;
    });
}

#[test]
fn logs_are_cut_by_themselves_and_the_disk_has_a_bound() {
    const AFTER: u64 = 4 * MIB;
    // The log that is due to be cut, what was written meanwhile, a segment that fills and one ahead of use, and
    // two snapshots.
    const BOUND: u64 = AFTER + 6 * 2 * MIB;
    let mut cluster = Cluster::made(3);
    for id in cluster.ids() {
        let args = ["--snapshot-after-log-bytes", "4MiB"].map(str::to_owned);
        cluster.more_args.insert(id, args.into());
    }
    cluster.start_all();
    cluster.settled();
    for _ in 0..8 {
        submit(&cluster, (0..20).map(|_| vec![b'x'; 250_000]));
        for id in cluster.ids() {
            let what = format!("replica {id} has little more than {AFTER} bytes of log");
            until(&what, || (disk_bytes(&cluster.data_dir(id)) < BOUND).then_some(()));
        }
    }
    for id in cluster.ids() {
        let told = snapshots(&cluster, id);
        let (newest, log_starts_at) = (&told["newest"], &told["log_starts_at"]);
        assert!(newest.as_u64().unwrap() > 50, "{told}");
        assert!(log_starts_at.as_u64().unwrap() > 50, "{told}");
        assert!(told["bytes"].as_u64().unwrap() > 0, "{told}");
    }
    // All of them start from their snapshots.
    let end = cluster.read(cluster.ids());
    cluster.ids().for_each(|id| cluster.kill(id));
    cluster.start_all();
    cluster.settled();
    assert!(cluster.submit([1], &["afterwards"])[0] > end);
    for id in cluster.ids() {
        let before = snapshots(&cluster, id)["log_starts_at"].as_u64().unwrap();
        assert!(before > 50, "the log of {id} starts at {before}");
    }
}

#[test]
fn a_log_is_cut_by_order_and_its_followers_are_told_where_it_begins() {
    let (mut cluster, _) = Cluster::running(3);
    let empty = synod(&["snapshot", "take", "--endpoints", &cluster.endpoint(0)]);
    assert!(empty.code == 1 && empty.stderr.contains("is empty") || empty.code == 0, "{empty:?}");
    let values: Vec<_> = (0..30).map(|count| count.to_string()).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let last = *cluster.submit([0], &values).last().unwrap();
    // Its answer may be known elsewhere before the log is there.
    for id in cluster.ids() {
        until("it has all", || {
            (cluster.status([id])[0]["applied"].as_u64()? >= last).then_some(())
        });
    }
    let slots = take(&cluster, &[0, 1, 2]);
    assert!(slots.iter().all(|slot| *slot >= last), "{slots:?}");
    for id in cluster.ids() {
        until("it says so", || {
            let told = snapshots(&cluster, id);
            (told["log_starts_at"].as_u64()? > last && told["newest"].as_u64()? >= last)
                .then_some(())
        });
        let args = ["follow", "--from", "1", "--until-caught-up", "--endpoints"];
        let gone = synod(&[&args[..], &[&cluster.endpoint(id)]].concat());
        assert_eq!(gone.code, 1, "{gone:?}");
        let begins = snapshots(&cluster, id)["log_starts_at"].to_string();
        assert!(gone.stderr.contains(&begins), "{gone:?} does not tell {begins}");
    }
    let status = synod(&["status", "--endpoints", &cluster.endpoints(cluster.ids())]).stdout();
    let (_, table) = status.split_once("\n\nid  snapshot ").expect("a table of snapshots");
    for (id, slot) in cluster.ids().zip(&slots) {
        let row = table.lines().find(|row| row.starts_with(&format!("r{id}"))).expect("its row");
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!([cells[1], cells[3]], [slot.to_string(), (slot + 1).to_string()], "{status}");
    }
    let log_starts_at = slots[1] + 1;
    let after = cluster.submit([1], &["behind it"])[0];
    let args = ["follow", "--until-caught-up", "--from", &log_starts_at.to_string(), "--endpoints"];
    let followed = synod(&[&args[..], &[&cluster.endpoint(1)]].concat()).stdout();
    assert_eq!(followed, format!("{after}\tbehind it\n"));
    // Another one includes it.
    let newest = take(&cluster, &[1])[0];
    assert!(newest >= after, "{newest}");

    cluster.ids().for_each(|id| cluster.kill(id));
    cluster.start_all();
    cluster.settled();
    let last = cluster.submit([1], &["after the restart"])[0];
    let from = (newest + 1).to_string();
    let args = ["follow", "--until-caught-up", "--from", &from, "--endpoints"];
    let followed = synod(&[&args[..], &[&cluster.endpoint(1)]].concat()).stdout();
    assert_eq!(followed, format!("{last}\tafter the restart\n"));
}

// A state machine whose states can be compared, in processes of their own.

const DATA_DIR: &str = "SYNOD_TEST_SNAPSHOTS_DATA_DIR";
const LISTEN_CLIENT: &str = "SYNOD_TEST_SNAPSHOTS_LISTEN_CLIENT";
pub(crate) const SENT_BYTES_PER_SECOND: &str = "SYNOD_TEST_SNAPSHOTS_SENT";
const AFTER_LOG_BYTES: &str = "SYNOD_TEST_SNAPSHOTS_AFTER";

/// A running hash of all commands. A command `ballast N` makes its snapshots N bytes longer.
#[derive(Clone, Default)]
struct Ledger {
    hash: u64,
    commands: u64,
    ballast: Arc<Vec<u8>>,
}

impl Ledger {
    fn text(&self) -> Value {
        let ballast = self.ballast.iter().fold(7, |hash, byte| mix(hash, u64::from(*byte)));
        format!("{} commands, {:016x}, {ballast:016x}", self.commands, self.hash).into()
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl StateMachine for Ledger {
    type Snapshot = Self;

    fn apply(&mut self, slot: Slot, command: &Value) -> Value {
        let bytes = command.0.iter().fold(slot.0, |hash, byte| mix(hash, u64::from(*byte)));
        self.hash = mix(self.hash, bytes);
        self.commands += 1;
        let text = String::from_utf8_lossy(&command.0);
        if let Some(length) = text.strip_prefix("ballast ").and_then(|it| it.parse().ok()) {
            let mut rng = fastrand::Rng::with_seed(self.hash);
            self.ballast = Arc::new(std::iter::repeat_with(|| rng.u8(..)).take(length).collect());
        }
        format!("{} after {:016x}", self.commands, self.hash).into()
    }

    fn query(&self, _request: &Value) -> Value {
        self.text()
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut numbers = [0; 16];
        snapshot.read_exact(&mut numbers)?;
        let (hash, commands) = numbers.split_at(8);
        self.hash = u64::from_le_bytes(hash.try_into().map_err(io::Error::other)?);
        self.commands = u64::from_le_bytes(commands.try_into().map_err(io::Error::other)?);
        let mut ballast = Vec::new();
        snapshot.read_to_end(&mut ballast)?;
        self.ballast = Arc::new(ballast);
        Ok(())
    }
}

impl Snapshot for Ledger {
    fn write_to(self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.hash.to_le_bytes())?;
        out.write_all(&self.commands.to_le_bytes())?;
        out.write_all(&self.ballast)
    }
}

/// The test that a process of a ledger runs, as the harness names it.
const OF_LEDGERS: &str = "snapshots::a_process_of_a_ledger";

/// Runs a node until this process is killed, if that is what the process was started for.
#[test]
fn a_process_of_a_ledger() {
    let (Some(data_dir), Ok(listen_client)) = (env::var_os(DATA_DIR), env::var(LISTEN_CLIENT))
    else {
        return;
    };
    let number = |name| env::var(name).ok().and_then(|it| it.parse().ok());
    let default = SnapshotOptions::default();
    Runtime::new().unwrap().block_on(async {
        let snapshots = SnapshotOptions {
            after_log_bytes: number(AFTER_LOG_BYTES).or(default.after_log_bytes),
            sent_bytes_per_second: number(SENT_BYTES_PER_SECOND)
                .unwrap_or(default.sent_bytes_per_second),
            ..default
        };
        let config = Config { snapshots, ..Config::new(data_dir) };
        let prepared = Node::prepare(config).await.unwrap();
        let listener = TcpListener::bind(&listen_client).await.unwrap();
        let backend = prepared.backend();
        let limits = ServerLimits::default();
        tokio::spawn(serve(listener, backend, limits, std::future::pending()));
        let node = prepared.open(Ledger::default()).await.unwrap();
        println!("{:?}", node.ended().await);
        std::process::exit(1);
    });
}

/// Three replicas of a ledger.
pub(crate) struct Ledgers {
    pub(crate) cluster: Cluster,
    processes: [Option<Running>; 3],
    options: Vec<(&'static str, u64)>,
}

impl Ledgers {
    fn running(options: &[(&'static str, u64)]) -> Self {
        Self::running_in(Cluster::made(3), options)
    }

    /// The data directories of the cluster are made.
    pub(crate) fn running_in(cluster: Cluster, options: &[(&'static str, u64)]) -> Self {
        let mut ledgers =
            Self { cluster, processes: [None, None, None], options: options.to_vec() };
        (0..3).for_each(|id| ledgers.start(id));
        ledgers
    }

    pub(crate) fn start(&mut self, id: u16) {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", OF_LEDGERS, "--nocapture"]);
        command.env(DATA_DIR, self.cluster.data_dir(id));
        command.env(LISTEN_CLIENT, self.cluster.endpoint(id));
        command.envs(self.options.iter().map(|(name, value)| (name, value.to_string())));
        let log = fs::OpenOptions::new().create(true).append(true).open(self.cluster.log(id));
        let log = log.unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.processes[usize::from(id)] = Some(Running::start(&mut command));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, id: u16) {
        self.processes[usize::from(id)] = None;
    }

    /// Submits values through these replicas.
    pub(crate) fn submit(&self, ids: &[u16], values: impl IntoIterator<Item = String>) {
        let endpoints = ids.iter().map(|id| self.cluster.endpoint(*id).parse().unwrap());
        Runtime::new().unwrap().block_on(async {
            let options = ClientOptions { deadline: SOON, ..ClientOptions::default() };
            let client = Client::new(endpoints.collect(), options).unwrap();
            let all = values.into_iter().map(|value| client.submit(value.into_bytes()));
            for outcome in futures_util::future::join_all(all).await {
                outcome.unwrap();
            }
            client.close().await;
        });
    }

    /// Takes snapshots of replicas 0 and 1, and starts both again. So they have nothing in memory of what is in
    /// their snapshots. Returns the last slots of these.
    pub(crate) fn cut(&mut self) -> Vec<u64> {
        let slots = take(&self.cluster, &[0, 1]);
        until("both logs are cut", || {
            let begins = |id| snapshots(&self.cluster, id)["log_starts_at"].as_u64();
            (begins(0)? > slots[0] && begins(1)? > slots[1]).then_some(())
        });
        (0..2).for_each(|id| self.kill(id));
        (0..2).for_each(|id| self.start(id));
        self.submit(&[0, 1], ["behind the snapshots".to_owned()]);
        slots
    }

    fn applied(&self, id: u16) -> Option<u64> {
        self.cluster.status([id])[0]["applied"].as_u64()
    }

    /// Waits until these replicas have applied the same. Returns up to which slot.
    pub(crate) fn agree(&self, ids: &[u16]) -> u64 {
        until("they have applied the same", || {
            let first = self.applied(ids[0])?;
            ids.iter().all(|id| self.applied(*id) == Some(first)).then_some(first)
        })
    }

    /// Checks that all three have the same state.
    pub(crate) fn same_everywhere(&self) {
        self.agree(&[0, 1, 2]);
        let state = |id| self.query(id);
        let states = [state(0), state(1), state(2)];
        assert!(states[0] == states[1] && states[1] == states[2], "{states:?}");
    }

    /// What the state machine of a replica says of itself.
    pub(crate) fn query(&self, id: u16) -> String {
        let endpoint: Endpoint = self.cluster.endpoint(id).parse().unwrap();
        Runtime::new().unwrap().block_on(async {
            let options = ClientOptions { deadline: SOON, ..ClientOptions::default() };
            let client = Client::new(vec![endpoint], options).unwrap();
            let answered = client.query("", Consistency::Linearizable).await.unwrap();
            client.close().await;
            match answered.response {
                Response::Known(Value(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
                other => panic!("{other:?}"),
            }
        })
    }

    /// How many bytes of a snapshot a replica has received, and from whom.
    fn receiving(&self, id: u16) -> Option<(u16, u64)> {
        let receiving = &snapshots(&self.cluster, id)["receiving"];
        let from = u16::try_from(receiving["peer"].as_u64()?).unwrap();
        Some((from, receiving["transferred_bytes"].as_u64()?))
    }

    /// Waits until a replica has everything.
    fn has_caught_up(&self, id: u16, through: u64) {
        until(&format!("replica {id} has applied {through}"), || {
            (self.applied(id)? >= through).then_some(())
        });
    }
}

/// Clients that submit through two replicas until they are told to end.
pub(crate) struct AtWork {
    ends: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    client: JoinHandle<()>,
}

impl AtWork {
    pub(crate) fn begin(endpoints: Vec<Endpoint>) -> Self {
        let (ends, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (told, counted) = (Arc::clone(&ends), Arc::clone(&done));
        let client = std::thread::spawn(move || {
            Runtime::new().unwrap().block_on(async {
                let options = ClientOptions { deadline: SOON, ..ClientOptions::default() };
                let client = Client::new(endpoints, options).unwrap();
                while !told.load(Ordering::Relaxed) {
                    let value = format!("meanwhile {}", counted.load(Ordering::Relaxed));
                    client.submit(value.into_bytes()).await.unwrap();
                    counted.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                client.close().await;
            });
        });
        Self { ends, done, client }
    }

    pub(crate) fn end(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        self.client.join().unwrap();
        self.done.load(Ordering::Relaxed)
    }
}

#[test]
fn a_replica_that_was_away_comes_back_by_snapshot_while_clients_are_at_work() {
    let mut ledgers = Ledgers::running(&[]);
    let first = Runtime::new().unwrap().block_on(first_request(&ledgers.cluster));
    ledgers.submit(&[0, 1], ["ballast 3000000".to_owned()]);
    ledgers.kill(2);
    ledgers.submit(&[0, 1], (0..500).map(|count| format!("while it is away {count}")));
    ledgers.agree(&[0, 1]);
    let slots = ledgers.cut();
    let endpoints = [0, 1].map(|id| ledgers.cluster.endpoint(id).parse().unwrap());
    let at_work = AtWork::begin(endpoints.into());
    ledgers.start(2);
    ledgers.has_caught_up(2, slots[0].min(slots[1]) + 10);
    let told = snapshots(&ledgers.cluster, 2);
    assert!(told["newest"].as_u64().unwrap() >= slots[0].min(slots[1]), "{told}");
    assert!(at_work.end() > 10, "clients were at work");
    ledgers.same_everywhere();
    // The responses came with the snapshot.
    let (request, told) = first;
    let again = Runtime::new().unwrap().block_on(ask(&ledgers.cluster, 2, request));
    assert_eq!(again, told);
    // It starts from the snapshot that it has got.
    ledgers.kill(2);
    ledgers.start(2);
    ledgers.submit(&[2], ["afterwards".to_owned()]);
    ledgers.same_everywhere();
}

#[test]
fn a_receiver_that_is_killed_in_the_middle_goes_on_where_it_was() {
    let mut ledgers = Ledgers::running(&[(SENT_BYTES_PER_SECOND, 2 * MIB)]);
    ledgers.submit(&[0, 1], ["ballast 4000000".to_owned()]);
    ledgers.kill(2);
    ledgers.submit(&[0, 1], (0..50).map(|count| format!("while it is away {count}")));
    let end = ledgers.agree(&[0, 1]);
    ledgers.cut();
    let mut before = 0;
    for _ in 0..3 {
        ledgers.start(2);
        let (_, begun_at) = until("it receives", || ledgers.receiving(2));
        assert!(begun_at + MIB / 4 > before, "from byte {begun_at} on, but it had {before}");
        let has_a_part = || Some(ledgers.receiving(2)?.1).filter(|bytes| *bytes > MIB);
        before = until("it has a part", has_a_part);
        ledgers.kill(2);
    }
    ledgers.start(2);
    ledgers.has_caught_up(2, end);
    ledgers.same_everywhere();
}

#[test]
fn when_a_sender_is_killed_in_the_middle_the_other_one_goes_on() {
    let mut ledgers = Ledgers::running(&[(SENT_BYTES_PER_SECOND, 2 * MIB)]);
    ledgers.submit(&[0, 1], ["ballast 8000000".to_owned()]);
    ledgers.kill(2);
    ledgers.submit(&[0, 1], (0..50).map(|count| format!("while it is away {count}")));
    let end = ledgers.agree(&[0, 1]);
    // Nobody submits, so both are of the same slot.
    let slots = ledgers.cut();
    assert_eq!(slots[0], slots[1]);
    ledgers.start(2);
    let (sender, before) = until("it has a part", || {
        let (sender, received) = ledgers.receiving(2)?;
        (received > 2 * MIB).then_some((sender, received))
    });
    ledgers.kill(sender);
    let (_, after) = until("the other one sends", || {
        let (from, received) = ledgers.receiving(2)?;
        (from != sender && received > before).then_some((from, received))
    });
    assert!(after >= before, "it went on where it was");
    ledgers.has_caught_up(2, end);
    ledgers.start(sender);
    ledgers.same_everywhere();
}

/// A request, and what was told.
pub(crate) async fn first_request(cluster: &Cluster) -> (Request, Applied) {
    let endpoint: Endpoint = cluster.endpoint(0).parse().unwrap();
    let session: SessionId = loop {
        if let Ok(mut connection) = Connection::connect(&endpoint, SOON).await {
            connection.put(1, Ask::OpenSession).unwrap();
            if let Ok(answer) = connection.answer().await
                && let Answer::Opened(session) = answer.answer
            {
                break session;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let request = Request { session, number: 1, answered: 1, value: "the first".into() };
    let told = ask(cluster, 0, request.clone()).await;
    (request, told)
}

pub(crate) async fn ask(cluster: &Cluster, id: u16, request: Request) -> Applied {
    let endpoint: Endpoint = cluster.endpoint(id).parse().unwrap();
    let mut connection = Connection::connect(&endpoint, SOON).await.unwrap();
    connection.put(1, Ask::Request(request)).unwrap();
    match connection.answer().await.unwrap().answer {
        Answer::Done(applied) => applied,
        other => panic!("{other:?}"),
    }
}
