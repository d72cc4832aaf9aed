//! Ctrl-C and SIGTERM, also for the first process of a container.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use synod_wire::api::NotDone;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::fake::{Cluster, Manner, Running};
use crate::synod_command::{Synod, in_time, run};

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// Whether this machine lets these tests make a process the first one of a PID namespace.
async fn has_namespaces() -> bool {
    let made = Command::new("unshare").args(["--pid", "--fork", "true"]).output().await;
    let can = made.is_ok_and(|made| made.status.success());
    if !can {
        println!("no PID namespace can be made here: the command is not the first process");
    }
    can
}

/// Starts `synod` as the first process of a PID namespace, where no signal has a default action. Returns
/// it and the process that a signal must go to.
async fn first_process(args: &[&str]) -> (Synod, Pid) {
    if !has_namespaces().await {
        let synod = Synod::start(args);
        let pid = pid(synod.process_id());
        return (synod, pid);
    }
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_synod")]).args(args);
    let synod = Synod::spawn(command);
    let parent = synod.process_id();
    let children = format!("/proc/{parent}/task/{parent}/children");
    let child = in_time(async {
        loop {
            if let Ok(child) = std::fs::read_to_string(&children).unwrap().trim().parse() {
                return child;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    (synod, pid(child.await))
}

#[tokio::test]
async fn every_command_that_waits_obeys_as_the_first_process() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    let endpoint = replica.endpoint.as_str();
    assert_eq!(run(&["submit", "--endpoints", endpoint, "x"]).await.code, 0);
    replica.node.behave(Manner::Silent);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        for args in [
            ["follow", "--endpoints", endpoint, "--timeout", "60s"],
            ["read", "--endpoints", endpoint, "--timeout", "60s"],
        ] {
            let (synod, pid) = first_process(&args).await;
            // It has its handler before it asks.
            tokio::time::sleep(Duration::from_millis(500)).await;
            kill_process(pid, signal).unwrap();
            let done = synod.ended().await;
            assert_eq!((done.code, done.stderr.as_str()), (code, ""), "{args:?}");
        }
    }
}

#[tokio::test]
async fn a_submit_that_a_signal_ends_says_what_is_unknown() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    let args = ["submit", "--endpoints", replica.endpoint.as_str(), "--timeout", "60s", "-"];
    let (mut synod, pid) = first_process(&args).await;
    synod.input().write_all(b"answered\n").await.unwrap();
    in_time(replica.node.has_requests(1)).await;
    replica.node.behave(Manner::CommitAndSilent);
    synod.input().write_all(b"taken\n").await.unwrap();
    in_time(replica.node.has_requests(2)).await;
    replica.node.behave(Manner::Refuse(NotDone::TooMany));
    synod.input().write_all(b"refused\n").await.unwrap();
    in_time(replica.node.has_requests(3)).await;
    kill_process(pid, Signal::TERM).unwrap();
    let done = synod.ended().await;
    assert_eq!(done.stdout, "2\tanswered\n");
    assert_eq!(done.code, 4, "{}", done.stderr);
    assert!(done.stderr.contains("error: value 2, \"taken\": unknown"), "{}", done.stderr);
    assert!(done.stderr.contains("error: value 3, \"refused\": not done"), "{}", done.stderr);
    assert!(done.stderr.contains("a signal came: 2 values had no answer"), "{}", done.stderr);
}

/// A command that waits for the reader of its standard output does not look for signals there.
#[tokio::test]
async fn a_command_whose_output_nobody_reads_obeys_too() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    for _ in 0..50_000 {
        cluster.deliver(synod_model::Entry::NoOp);
    }
    let endpoint = replica.endpoint.as_str();
    let (synod, pid) = first_process(&["follow", "--everything", "--endpoints", endpoint]).await;
    // The pipe takes 64 KiB, and is full by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    kill_process(pid, Signal::TERM).unwrap();
    // Reading the rest only now does not matter: it has ended.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(synod.ended().await.code, 143);
}
