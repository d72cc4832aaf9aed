//! The members change while the cluster runs: it grows and shrinks, a lost machine is replaced, an address moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value as Json;
use synod_client::{Client, ClientOptions, Endpoint};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::command::{Done, synod};
use crate::history::History;
use crate::wait::until;

/// Longer than a replica takes to get the few entries of these tests, and shorter than a test waits for a command.
const TIMEOUT: &str = "18s";

/// Makes a replica that joins the cluster, by a member, and starts it. Returns its incarnation.
pub(crate) fn joins(cluster: &mut Cluster, id: u16, by: u16) -> String {
    let (data_dir, address) = (cluster.data_dir(id), cluster.peer_address(id));
    let (data_dir, by) = (data_dir.to_str().unwrap(), cluster.endpoint(by));
    let id_text = id.to_string();
    let args = ["init", "--join", &by, "--data-dir", data_dir, "--address", &address];
    let told = synod(&[&args[..], &["--id", &id_text]].concat()).stdout();
    cluster.start(id);
    let (_, rest) = told.split_once("--incarnation ").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

/// Runs `synod member`, at these replicas.
fn member(cluster: &Cluster, at: &[u16], args: &[&str]) -> Done {
    let endpoints = cluster.endpoints(at.iter().copied());
    let more = ["--timeout", TIMEOUT, "--endpoints", &endpoints];
    synod(&[&["member"], args, &more[..]].concat())
}

/// The same. It must succeed, and say that the change is finished.
#[track_caller]
fn changes(cluster: &Cluster, at: &[u16], args: &[&str]) {
    let done = member(cluster, at, args);
    assert_eq!(done.code, 0, "{args:?}: {done:?}");
    assert!(done.stdout.contains("finished"), "{args:?}: {done:?}");
}

/// Takes a replica in that has joined.
fn add(cluster: &Cluster, at: &[u16], id: u16, incarnation: &str, more: &[&str]) {
    let (id, address) = (id.to_string(), cluster.peer_address(id));
    let args = ["add", &id, "--address", &address, "--incarnation", incarnation];
    changes(cluster, at, &[&args[..], more].concat());
}

/// The members by id, and whether each votes.
fn members(cluster: &Cluster, at: &[u16]) -> Vec<(u64, bool)> {
    let list = member(cluster, at, &["list", "--json"]).stdout();
    let list: Json = serde_json::from_str(&list).unwrap();
    let members = list["members"].as_array().unwrap().iter();
    members.map(|it| (it["id"].as_u64().unwrap(), it["membership"] == "voter")).collect()
}

fn voters(ids: impl IntoIterator<Item = u64>) -> Vec<(u64, bool)> {
    ids.into_iter().map(|id| (id, true)).collect()
}

/// Waits until a replica has the same values as another one.
fn has_all(cluster: &Cluster, id: u16, of: u16) {
    until(&format!("replica {id} has what replica {of} has"), || {
        (cluster.status([id])[0]["committed"] == cluster.status([of])[0]["committed"]).then_some(())
    });
    assert_eq!(cluster.values(id), cluster.values(of));
}

/// Clients that submit one value after another until they are told to stop, and what they were told.
struct Clients {
    stops: Arc<AtomicBool>,
    history: Arc<History>,
    threads: Vec<thread::JoinHandle<usize>>,
}

impl Clients {
    fn start(cluster: &Cluster, at: &[u16]) -> Self {
        let (stops, history) = (Arc::<AtomicBool>::default(), Arc::<History>::default());
        let endpoints: Vec<Endpoint> =
            at.iter().map(|id| cluster.endpoint(*id).parse().unwrap()).collect();
        let threads = (0..2).map(|number| {
            let (stops, history) = (Arc::clone(&stops), Arc::clone(&history));
            let endpoints = endpoints.clone();
            thread::spawn(move || {
                Runtime::new().unwrap().block_on(async {
                    let client = Client::new(endpoints, ClientOptions::default()).unwrap();
                    let mut count = 0;
                    while !stops.load(Ordering::Relaxed) {
                        let value = format!("value {count} of client {number}");
                        history.begin(&value);
                        let outcome = client.submit(value.clone()).await;
                        history.end(&value, &outcome);
                        count += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    client.close().await;
                    count
                })
            })
        });
        let threads = threads.collect();
        Self { stops, history, threads }
    }

    /// Stops them. The log of this replica must agree with what they were told, and with nothing being unknown.
    fn stop(self, cluster: &Cluster, at: u16) {
        self.stops.store(true, Ordering::Relaxed);
        let submitted: usize = self.threads.into_iter().map(|it| it.join().unwrap()).sum();
        let counts = self.history.check(&cluster.values(at));
        println!("{submitted} values: {counts:?}");
        assert!(counts.done > 0, "{counts:?}");
        assert_eq!(counts.not_done + counts.unknown, 0, "each client could go on: {counts:?}");
    }
}

#[test]
fn one_replica_grows_to_three_and_then_goes_on_without_the_first() {
    let (mut cluster, _) = Cluster::running(1);
    cluster.submit([0], &["alone"]);
    for id in [1, 2] {
        let incarnation = joins(&mut cluster, id, 0);
        add(&cluster, &[0], id, &incarnation, &[]);
    }
    cluster.size = 3;
    assert_eq!(members(&cluster, &[1, 2]), voters(0..3));
    cluster.submit([2], &["as three"]);
    cluster.kill(0);
    cluster.submit([1, 2], &["without the first"]);
    cluster.settled_among(&[1, 2]);
    cluster.start(0);
    cluster.settled();
    let values: Vec<_> = cluster.same_everywhere().into_iter().map(|it| it.1).collect();
    assert_eq!(values, ["alone", "as three", "without the first"]);
}

#[test]
fn a_lost_machine_is_replaced_while_clients_work() {
    let (mut cluster, _) = Cluster::running(3);
    let clients = Clients::start(&cluster, &[0, 1]);
    cluster.kill(2);
    let incarnation = joins(&mut cluster, 3, 0);
    let address = cluster.peer_address(3);
    let args = ["replace", "2", "3", "--address", &address, "--incarnation", &incarnation];
    changes(&cluster, &[0, 1], &args);
    assert_eq!(members(&cluster, &[3]), voters([0, 1, 3]));
    // The new one is needed now.
    cluster.kill(1);
    cluster.read([0, 3]);
    cluster.start(1);
    clients.stop(&cluster, 0);
    has_all(&cluster, 3, 0);

    // The lost one comes back, and finds out that it is no member any more.
    cluster.start(2);
    until("replica 2 knows that it is outside", || {
        (cluster.status([2])[0]["membership"] == "outside").then_some(())
    });
    let done = synod(&["submit", "--timeout", "1s", "--endpoints", &cluster.endpoint(2), "x"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stderr.contains("no member"), "{done:?}");
}

#[test]
fn the_replica_that_coordinates_is_removed_and_stopped() {
    let (mut cluster, coordination) = Cluster::running(3);
    let clients = Clients::start(&cluster, &[0, 1, 2]);
    let gone = coordination.id;
    let others = [(gone + 1) % 3, (gone + 2) % 3];
    let name = gone.to_string();
    changes(&cluster, &[gone, others[0], others[1]], &["remove", &name]);
    cluster.stop(gone);
    cluster.settled_among(&others);
    cluster.read(others);
    clients.stop(&cluster, others[0]);
    has_all(&cluster, others[1], others[0]);

    let again = member(&cluster, &others, &["remove", &name]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.contains("is no member any more"), "{again:?}");
    let health = synod(&["health", "--all", "--endpoints", &cluster.endpoints(others)]);
    assert_eq!(health.code, 0, "nobody misses it: {health:?}");
    assert!(health.stdout.contains("2 of 2 members are there"), "{health:?}");
}

#[test]
fn five_shrink_to_three_which_go_on_without_one() {
    let (mut cluster, coordination) = Cluster::running(5);
    cluster.submit([0], &["as five"]);
    let gone = [coordination.id, (coordination.id + 1) % 5];
    let stay: Vec<_> = cluster.ids().filter(|id| !gone.contains(id)).collect();
    for id in gone {
        changes(&cluster, &stay, &["remove", &id.to_string()]);
    }
    for id in gone {
        cluster.stop(id);
    }
    cluster.submit(stay.clone(), &["as three"]);
    assert_eq!(members(&cluster, &stay), voters(stay.iter().map(|id| (*id).into())));
    cluster.kill(stay[0]);
    cluster.submit(stay[1..].to_vec(), &["as two of three"]);
    has_all(&cluster, stay[2], stay[1]);
    let values: Vec<_> = cluster.values(stay[1]).into_iter().map(|it| it.1).collect();
    assert_eq!(values, ["as five", "as three", "as two of three"]);
}

#[test]
fn a_learner_gets_everything_counts_for_nothing_and_takes_a_members_place() {
    let (mut cluster, _) = Cluster::running(3);
    cluster.submit([0], &["before"]);
    let incarnation = joins(&mut cluster, 3, 1);
    add(&cluster, &[0, 1, 2], 3, &incarnation, &["--learner"]);
    cluster.submit([0], &["after"]);
    has_all(&cluster, 3, 0);
    assert_eq!(cluster.status([3])[0]["membership"], "learner");
    assert_eq!(members(&cluster, &[3]).last(), Some(&(3, false)));

    // Two of three voters make a majority, and the learner is none of them.
    cluster.kill(2);
    cluster.submit([0, 1], &["without one voter"]);
    let args = ["replace", "2", "3"];
    changes(&cluster, &[0, 1], &args);
    assert_eq!(members(&cluster, &[0, 1, 3]), voters([0, 1, 3]));
    cluster.kill(0);
    cluster.submit([1, 3], &["with its vote"]);
}

#[test]
fn a_member_moves_to_another_address() {
    let (mut cluster, _) = Cluster::running(3);
    cluster.stop(1);
    // Where a replica with that id would be, which there is none.
    let address = cluster.peer_address(7);
    changes(&cluster, &[0, 2], &["move", "1", &address]);
    let more = ["--listen-peer".to_owned(), address.clone()];
    cluster.more_args.entry(1).or_default().extend(more);
    cluster.start(1);
    cluster.settled();
    cluster.kill(2);
    cluster.submit([0, 1], &["with the one that moved"]);
    assert_eq!(cluster.values(1), cluster.values(0));
    let list = member(&cluster, &[1], &["list"]).stdout();
    assert!(list.contains(&address), "{list}");
}

#[test]
fn what_cannot_be_is_refused_with_advice_and_changes_nothing() {
    let (cluster, _) = Cluster::running(1);
    let before = members(&cluster, &[0]);
    let hex = "0123456789abcdef0123456789abcdef";
    let refused = |args: &[&str], parts: &[&str]| {
        let done = member(&cluster, &[0], args);
        assert_eq!(done.code, 3, "{done:?}");
        for part in parts {
            assert!(done.stderr.contains(part), "not in it: {part}: {done:?}");
        }
    };
    refused(&["remove", "0"], &["r0 is the last voter", "synod member replace"]);
    refused(&["remove", "9"], &["r9 is no member", "the members are r0"]);
    refused(
        &["replace", "0", "0", "--address", "h:1", "--incarnation", hex],
        &["r0 cannot take its own place"],
    );
    let same = cluster.peer_address(0);
    refused(
        &["add", "1", "--address", &same, "--incarnation", hex],
        &["r0 has the address", "one of its own"],
    );
    let data_dir = cluster.data_dir(1).to_str().unwrap().to_owned();
    let endpoint = cluster.endpoint(0);
    let args = ["init", "--join", &endpoint, "--address", "h:1", "--data-dir", &data_dir];
    synod(&[&args[..], &["--id", "0"]].concat())
        .failed_with(&["the id 0 cannot be given any more", "the next free id is 1"]);
    assert_eq!(members(&cluster, &[0]), before);
}

/// It would leave the cluster without a majority.
#[test]
fn a_voter_that_is_not_there_is_not_taken_in() {
    let (mut cluster, _) = Cluster::running(1);
    let before = members(&cluster, &[0]);
    let incarnation = joins(&mut cluster, 1, 0);
    cluster.kill(1);
    let address = cluster.peer_address(1);
    let args = ["add", "1", "--address", &address, "--incarnation", &incarnation];
    let endpoint = cluster.endpoint(0);
    // The coordinator asks the new voter three times before it says that nobody is ready.
    let endpoints = ["--timeout", "12s", "--endpoints", &endpoint];
    let done = synod(&[&["member"], &args[..], &endpoints].concat());
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stderr.contains("1 of the 2 who would vote are ready"), "{done:?}");
    assert!(done.stderr.contains("r1 at"), "{done:?}");
    assert_eq!(members(&cluster, &[0]), before);
    cluster.submit([0], &["as before"]);
}
