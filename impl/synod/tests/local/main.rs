//! `synod local` with real replicas: real processes, real sockets, real disks.

#[allow(dead_code)]
#[path = "../command/synod_command.rs"]
mod synod_command;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use synod_command::{Synod, in_time, run};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;

/// A `synod local` that is ready.
struct Local {
    synod: Synod,
    lines: Lines<BufReader<ChildStdout>>,
    directory: String,
    endpoints: String,
    process_ids: Vec<u32>,
}

impl Local {
    async fn start(args: &[&str]) -> Self {
        let mut synod = Synod::start(&[&["local", "--base-port", "0"], args].concat());
        let mut lines = BufReader::new(synod.stdout()).lines();
        let mut told = Vec::new();
        in_time(async {
            while !told.iter().any(|line: &String| line.starts_with("Ctrl-C")) {
                told.push(lines.next_line().await.unwrap().expect("it has ended"));
            }
        })
        .await;
        let word = |line: &String, at| line.split_whitespace().nth(at).unwrap().to_owned();
        let export = "  export SYNOD_ENDPOINTS=";
        let endpoints = told.iter().find_map(|line| line.strip_prefix(export)).unwrap();
        let replicas = told.iter().filter(|line| line.contains("  process "));
        Self {
            directory: word(&told[0], 3),
            endpoints: endpoints.to_owned(),
            process_ids: replicas.map(|line| word(line, 2).parse().unwrap()).collect(),
            synod,
            lines,
        }
    }

    /// Stops it with a signal; every replica must be gone then.
    async fn stop(self, signal: Signal) {
        send(self.synod.process_id(), signal);
        let done = self.synod.ended().await;
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        for process_id in self.process_ids {
            assert!(kill(pid(process_id), None).is_err(), "process {process_id} is still there");
        }
    }
}

fn pid(process_id: u32) -> Pid {
    Pid::from_raw(process_id.try_into().unwrap())
}

fn send(process_id: u32, signal: Signal) {
    kill(pid(process_id), signal).unwrap();
}

#[tokio::test]
async fn a_cluster_survives_the_death_of_each_replica_and_a_stop_of_all() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().to_str().unwrap();
    let mut local = Local::start(&["--data-dir", data]).await;
    assert_eq!(local.process_ids.len(), 3);
    let mut expected = Vec::new();
    for victim in 0..3 {
        let value = format!("before the death of r{victim}");
        let args = ["submit", "--endpoints", &local.endpoints, "--timeout", "15s", &value];
        let done = run(&args).await;
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{value}");
        expected.push(done.stdout);
        send(local.process_ids[victim], Signal::SIGKILL);
        let ended = in_time(local.lines.next_line()).await.unwrap().unwrap();
        assert!(ended.starts_with(&format!("r{victim}  process")), "{ended}");
        let started = in_time(local.lines.next_line()).await.unwrap().unwrap();
        let process_id = started.strip_prefix(&format!("r{victim}  is process ")).unwrap();
        local.process_ids[victim] = process_id.strip_suffix(" now").unwrap().parse().unwrap();
    }
    local.stop(Signal::SIGTERM).await;

    let local = Local::start(&["--data-dir", data]).await;
    let args = ["follow", "--endpoints", &local.endpoints, "--until-caught-up"];
    let done = run(&[&args[..], &["--timeout", "15s"]].concat()).await;
    assert_eq!((done.code, done.stdout), (0, expected.concat()));
    local.stop(Signal::SIGINT).await;
}

#[tokio::test]
async fn five_replicas_in_a_temporary_directory_leave_nothing() {
    let local = Local::start(&["--replicas", "5"]).await;
    assert_eq!(local.process_ids.len(), 5);
    let directory = local.directory.clone();
    assert!(Path::new(&directory).join("r4.log").exists());
    let args = ["submit", "--endpoints", &local.endpoints, "--timeout", "15s", "value"];
    assert_eq!(run(&args).await.code, 0);
    local.stop(Signal::SIGINT).await;
    assert!(!Path::new(&directory).exists());
}

#[tokio::test]
async fn replicas_do_not_outlive_one_that_is_killed() {
    let directory = TempDir::new().unwrap();
    let local = Local::start(&["--data-dir", directory.path().to_str().unwrap()]).await;
    send(local.synod.process_id(), Signal::SIGKILL);
    local.synod.gone().await;
    in_time(async {
        // The replicas have no parent that waits for them, so they are gone when they have ended.
        while local.process_ids.iter().any(|process_id| kill(pid(*process_id), None).is_ok()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for id in 0..3 {
        let log = directory.path().join(format!("r{id}.log"));
        let told = std::fs::read_to_string(log).unwrap();
        assert!(told.lines().any(|line| line.ends_with(" stops")), "{told}");
    }
}

#[tokio::test]
async fn a_signal_before_it_is_ready_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().to_str().unwrap().to_owned();
    for ms in [1, 30, 100, 200] {
        let synod = Synod::start(&["local", "--base-port", "0", "--data-dir", &data]);
        // Before it listens for signals, a signal ends it at once, as it ends any program.
        tokio::time::sleep(Duration::from_millis(50 + ms)).await;
        send(synod.process_id(), Signal::SIGTERM);
        synod.gone().await;
    }
    let processes = std::process::Command::new("ps").args(["-eo", "args"]).output();
    if let Ok(processes) = processes {
        let all = String::from_utf8_lossy(&processes.stdout).into_owned();
        assert!(!all.lines().any(|line| line.contains(" node ") && line.contains(&data)), "{all}");
    }
}

#[tokio::test]
async fn a_bench_that_is_interrupted_stops_soon_and_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().to_str().unwrap();
    let synod = Synod::start(&["bench", "--data-dir", data]);
    // By then it measures the floors, which takes some seconds.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let began = Instant::now();
    send(synod.process_id(), Signal::SIGINT);
    let done = synod.ended().await;
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("stopped before anything was measured"), "{}", done.stderr);
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0);
}

#[tokio::test]
async fn links_are_measured_and_nothing_is_left() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().to_str().unwrap();
    let args = "bench links --rates 50 --round-trips 0 --values 100 --seconds 200ms";
    let args: Vec<_> = args.split(' ').chain(["--data-dir", data]).collect();
    let done = run(&[&args[..], &["--json", "--no-catch-up"]].concat()).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    let report: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    for run in [&report["machine"][0], &report["goodput"][0]] {
        assert_eq!(run["value_bytes"], 100);
        assert!(run["commits"].as_u64() > Some(16), "{report:#}");
        assert!(run["wire_ratio"].as_f64() > Some(0.5), "{report:#}");
    }
    assert_eq!(report["goodput"][0]["bound_by"], "link");
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0);
}

#[tokio::test]
async fn links_that_are_measured_can_be_interrupted() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().to_str().unwrap();
    let synod = Synod::start(&["bench", "links", "--seconds", "30s", "--data-dir", data]);
    // By then the replicas run.
    tokio::time::sleep(Duration::from_secs(4)).await;
    send(synod.process_id(), Signal::SIGINT);
    let done = synod.ended().await;
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{}", done.stdout);
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0);
}
