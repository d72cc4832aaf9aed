//! Standard output takes no more: its reader has read enough, or a disk is full.

use std::fs::OpenOptions;
use std::io;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::fake::{Cluster, Running};
use crate::synod_command::{Synod, in_time, run, run_into};

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

#[tokio::test]
async fn values_without_a_printed_answer_are_unknown() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    let mut synod = Synod::start(&["submit", "--endpoints", replica.endpoint.as_str(), "-"]);
    let mut lines = BufReader::new(synod.stdout()).lines();
    synod.input().write_all(b"first\n").await.unwrap();
    assert_eq!(in_time(lines.next_line()).await.unwrap(), Some("2\tfirst".to_owned()));
    // As `| head -1` does.
    drop(lines);
    synod.input().write_all(b"second\n").await.unwrap();
    let done = synod.ended().await;
    assert_eq!(done.code, 4, "{}", done.stderr);
    assert!(done.stderr.starts_with("error: unknown: standard output could"), "{}", done.stderr);
    assert!(done.stderr.contains("the last values, 1 at least,"), "{}", done.stderr);
    assert_eq!(cluster.values().len(), 2, "it is there all the same");

    let args = ["submit", "--endpoints", replica.endpoint.as_str(), "third"];
    let done = run_into(&args, full()).await;
    assert_eq!(done.code, 4, "{}", done.stderr);
    assert!(done.stderr.contains("No space left on device"), "{}", done.stderr);
}

#[tokio::test]
async fn inspect_ends_quietly_with_its_reader_and_reports_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("r0").to_str().unwrap().to_owned();
    let made = run(&["init", "--data-dir", &data_dir, "--id", "0", "--peers", "0=a:1"]).await;
    assert_eq!(made.code, 0, "{}", made.stderr);
    // The exit code is not affected: a replica could start from the directory.
    let done = run_into(&["inspect", &data_dir], closed()).await;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let done = run_into(&["inspect", &data_dir], full()).await;
    assert_eq!(done.code, 1);
    assert!(
        done.stderr.starts_with("error: standard output could not be written: No space left"),
        "{}",
        done.stderr
    );
}
