//! The disk of a coordinator hangs: no sync of it ends. Another replica coordinates soon, the log and
//! `status` say what is the matter, and the replica takes part again when its disk does.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::command::synod;
use crate::process::Running;
use crate::wait::until;

/// Keeps all syncs of a process from beginning, until this is dropped.
///
/// A tracer holds each of them up. If the tracer dies, the process goes on by itself.
struct HungDisk {
    _tracer: Running,
}

impl HungDisk {
    fn new(pid: u32) -> Self {
        let mut strace = Command::new("strace");
        let syncs = "fdatasync,fsync,sync_file_range";
        // Longer than any test takes, in microseconds.
        let inject = format!("inject={syncs}:delay_enter=600000000");
        strace.args(["-f", "-e", &format!("trace={syncs}"), "-e", &inject]);
        strace.args(["-p", &pid.to_string()]);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let found = Command::new("strace").arg("--version").output();
        assert!(found.is_ok(), "`strace` is not installed, and this test needs it: {found:?}");
        let mut tracer = Running::start(&mut strace);
        let mut told = String::new();
        let mut lines = BufReader::new(tracer.0.stderr.take().unwrap());
        while !told.contains("attached") {
            let read = lines.read_line(&mut told).unwrap();
            assert!(read > 0, "this process may not trace another one (CAP_SYS_PTRACE): {told}");
        }
        // It goes on writing. Nobody may be held up by that.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { _tracer: tracer }
    }
}

/// Submits one more value. Returns how long that took.
fn submit_next(cluster: &Cluster, ids: &[u16], values: &mut Vec<String>) -> Duration {
    let (value, asked) = (format!("value {}", values.len()), Instant::now());
    cluster.submit(ids.iter().copied(), &[&value]);
    values.push(value);
    asked.elapsed()
}

#[test]
fn another_replica_coordinates_while_the_disk_of_the_first_one_hangs() {
    let (mut cluster, first) = Cluster::running_calmly(3);
    let others: Vec<_> = cluster.ids().filter(|id| *id != first.id).collect();
    let hung_first = [first.id, others[0], others[1]];
    cluster.submit(hung_first, &["before"]);
    let mut values = vec!["before".to_owned()];

    let disk = HungDisk::new(cluster.node(first.id).pid());
    let began = Instant::now();
    let mut longest = submit_next(&cluster, &hung_first, &mut values);
    cluster
        .node(first.id)
        .tells("this coordinator gives way once a majority of the others is further");
    cluster.node(first.id).tells("hung_after=3s");
    cluster.node(first.id).tells("gives way: its own resource hangs");
    longest = longest.max(submit_next(&cluster, &hung_first, &mut values));
    let second = cluster.settled();
    assert!(second.id != first.id && second.number > first.number, "{first:?}, {second:?}");
    let after = began.elapsed();
    assert!(after < Duration::from_secs(12), "another one coordinates only after {after:?}");

    // Everything goes on, also at the replica whose disk hangs.
    for _ in 0..5 {
        longest = longest.max(submit_next(&cluster, &hung_first, &mut values));
        longest = longest.max(submit_next(&cluster, &others, &mut values));
    }
    assert_eq!(cluster.settled(), second);
    assert!(longest < Duration::from_secs(8), "somebody waited for {longest:?}");

    let all = cluster.endpoints(cluster.ids());
    let what = format!("the disk of r{} hangs", first.id);
    let health = |args: &[&str]| synod(&[&["health", "--endpoints", &all], args].concat());
    let done = health(&[]);
    assert!(done.code == 0 && done.stdout.contains(&what), "{done:?}");
    assert_eq!(health(&["--all"]).code, 4);
    assert!(health(&["--json"]).stdout.contains("\"disk\""));
    let status = synod(&["status", "--endpoints", &all]).stdout();
    assert!(
        status
            .contains(&format!("{}: its disk hangs: no progress for", cluster.endpoint(first.id)))
    );
    let hang = &cluster.status([first.id])[0]["hangs"][0];
    assert!(hang["resource"] == "disk" && hang["no_progress_ms"].as_u64() > Some(3_000), "{hang}");
    assert_eq!(cluster.status(others.clone())[0]["hangs"], serde_json::json!([]));
    assert_eq!(cluster.node(first.id).lines_with("hangs: it has made no progress"), 1);

    drop(disk);
    cluster.node(first.id).tells("makes progress again");
    until("nothing hangs", || (health(&["--all"]).code == 0).then_some(()));
    submit_next(&cluster, &[first.id], &mut values);
    assert_eq!(cluster.settled(), second, "it disturbs nobody");
    assert!(cluster.same_everywhere().into_iter().map(|it| it.1).eq(values));
}

#[test]
fn a_replica_whose_disk_hangs_does_not_stand_and_loses_nothing_when_it_is_killed() {
    let (mut cluster, first) = Cluster::running_calmly(3);
    let hung = (first.id + 1) % 3;
    let others: Vec<_> = cluster.ids().filter(|id| *id != hung).collect();
    let disk = HungDisk::new(cluster.node(hung).pid());
    cluster.submit([hung, others[0], others[1]], &["a", "b"]);
    cluster.node(hung).tells("neither stands for election nor agrees to one");

    // Two of three are not enough if one of them can make nothing durable.
    cluster.kill(first.id);
    std::thread::sleep(Duration::from_secs(3));
    let third = others.iter().copied().find(|id| *id != first.id).unwrap();
    assert_ne!(cluster.status([hung])[0]["role"], "coordinator");
    assert_ne!(cluster.status([third])[0]["role"], "coordinator");
    cluster.start(first.id);
    cluster.submit(others.clone(), &["c"]);

    // It is gone before its disk works again. Its end is seen only when nobody traces it any more.
    cluster.node(hung).signal(Signal::KILL);
    drop(disk);
    drop(cluster.nodes.remove(&hung));
    cluster.start(hung);
    cluster.settled();
    cluster.submit([hung], &["d"]);
    let values: Vec<_> = cluster.same_everywhere().into_iter().map(|it| it.1).collect();
    assert_eq!(values, ["a", "b", "c", "d"]);
}
