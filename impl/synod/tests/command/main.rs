//! The commands that talk to a cluster: what they print, and their exit codes.

#[allow(dead_code)]
#[path = "../../../client/tests/client/fake.rs"]
mod fake;
mod outputs;
mod signals;
#[allow(dead_code)]
mod synod_command;

use std::time::Duration;

use synod_wire::api::NotDone;

use fake::{Cluster, Manner, Running};
use synod_command::{Synod, nobody, run, run_with_input};
use synod_model::{Entry, Slot};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

#[tokio::test]
async fn submit_prints_slot_and_value_escaped() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    let ends = ["--endpoints", replica.endpoint.as_str()];
    let done = run(&["submit", ends[0], ends[1], "hello", "a\tb\\c\r\nd", "", "--", "--x"]).await;
    assert_eq!(done.stdout, "2\thello\n3\ta\\tb\\\\c\\r\\nd\n4\t\n5\t--x\n");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    // No session is left behind.
    assert_eq!(cluster.count(|entry| matches!(entry, Entry::End { .. })), 1);

    let done = run_with_input(&["submit", ends[0], ends[1], "-"], b"one\n\nth\xffree\r\n-").await;
    assert_eq!(done.stdout, "8\tone\n9\t\n10\tth\\xffree\\r\n11\t-\n");
    assert_eq!(done.code, 0);

    let done = run(&["follow", ends[0], ends[1], "--until-caught-up", "--from", "4"]).await;
    assert_eq!(done.stdout, "4\t\n5\t--x\n8\tone\n9\t\n10\tth\\xffree\\r\n11\t-\n");
    assert_eq!(done.code, 0);

    let done = run(&["follow", ends[0], ends[1], "--until-caught-up", "--everything"]).await;
    assert!(done.stdout.starts_with("1\topen\tsession 0 of r0\n2\tvalue\thello\n"));
    assert!(done.stdout.ends_with("12\tend\tsession 7\n"), "{}", done.stdout);

    let done = run(&["read", ends[0], ends[1]]).await;
    assert_eq!((done.code, done.stdout.as_str()), (0, "12\n"));
}

#[tokio::test]
async fn each_line_of_standard_input_is_answered_as_soon_as_it_is_delivered() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    let mut synod = Synod::start(&["submit", "--endpoints", replica.endpoint.as_str(), "-"]);
    let mut lines = BufReader::new(synod.stdout()).lines();
    for slot in 2..5 {
        synod.input().write_all(b"line\n").await.unwrap();
        let line = synod_command::in_time(lines.next_line()).await.unwrap();
        assert_eq!(line, Some(format!("{slot}\tline")), "before the next one is given");
    }
    synod.end_input();
    assert_eq!(synod.ended().await.code, 0);
}

#[tokio::test]
async fn a_long_input_is_pipelined_and_keeps_its_order() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    replica.node.behave(Manner::Serve(Duration::from_millis(20)));
    let input: Vec<_> = (0..5000).map(|number: u32| number.to_string()).collect();
    let input = input.join("\n");
    let args = ["submit", "--endpoints", replica.endpoint.as_str(), "-"];
    // One after another, they would take 100 s.
    let done = run_with_input(&args, input.as_bytes()).await;
    assert_eq!(done.code, 0);
    let values: Vec<_> = done.stdout.lines().map(|line| line.split_once('\t').unwrap().1).collect();
    assert_eq!(values.join("\n"), input);
    assert_eq!(cluster.values().len(), 5000);
}

#[tokio::test]
async fn exit_codes_tell_not_done_from_unknown() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    let nobody = nobody().await;
    let submit = async |endpoint: &str| {
        run(&["submit", "--endpoints", endpoint, "--timeout", "500ms", "a", "b"]).await
    };
    let done = submit(&nobody).await;
    assert_eq!(done.code, 3);
    assert_eq!(done.stdout, "");
    assert_eq!(done.stderr.matches("not done: no replica could be asked").count(), 2);
    assert!(done.stderr.contains("error: value 2, \"b\":"), "{}", done.stderr);

    replica.node.behave(Manner::Refuse(NotDone::TooMany));
    assert_eq!(submit(replica.endpoint.as_str()).await.code, 3);

    // The session is open before the replica falls silent. Otherwise no value would be taken.
    replica.node.behave(Manner::Serve(Duration::ZERO));
    let args = ["submit", "--endpoints", replica.endpoint.as_str(), "--timeout", "500ms", "-"];
    let mut synod = Synod::start(&args);
    synod.input().write_all(b"taken and answered\n").await.unwrap();
    synod_command::in_time(replica.node.has_requests(1)).await;
    replica.node.behave(Manner::CommitAndSilent);
    synod.input().write_all(b"taken\n").await.unwrap();
    synod_command::in_time(replica.node.has_requests(2)).await;
    replica.node.behave(Manner::Refuse(NotDone::TooMany));
    synod.input().write_all(b"refused\n").await.unwrap();
    synod.end_input();
    let done = synod.ended().await;
    assert_eq!(done.code, 4, "one unknown counts more than any not done: {}", done.stderr);
    assert_eq!(done.stdout, "2\ttaken and answered\n");
    assert!(done.stderr.contains("error: value 2, \"taken\": unknown"), "{}", done.stderr);
    assert!(done.stderr.contains("error: value 3, \"refused\": not done"), "{}", done.stderr);
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_passed_over() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    let endpoints = format!("{},{}", nobody().await, replica.endpoint);
    let done = run(&["submit", "--endpoints", &endpoints, "a"]).await;
    assert_eq!((done.code, done.stdout.as_str()), (0, "2\ta\n"));
    assert_eq!(run(&["read", "--endpoints", &endpoints]).await.stdout, "3\n");
}

#[tokio::test]
async fn invalid_command_lines_are_reported() {
    let done = run(&["submit", "--endpoints", "nowhere", "a"]).await;
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("an endpoint is host:port"), "{}", done.stderr);
    assert_eq!(run(&["submit", "--endpoints", "127.0.0.1:1"]).await.code, 2);
    assert_eq!(run(&["submit", "a"]).await.code, 2);
    assert_eq!(run(&["read", "--endpoints", "127.0.0.1:1", "--timeout", "0"]).await.code, 2);
    let done = run(&["submit", "--endpoints", "127.0.0.1:1", "a", "-"]).await;
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("takes no other value beside it"), "{}", done.stderr);
}

#[tokio::test]
async fn a_closed_standard_output_ends_the_command_quietly() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    for _ in 0..5000 {
        cluster.deliver(Entry::NoOp);
    }
    let mut synod =
        Synod::start(&["follow", "--everything", "--endpoints", replica.endpoint.as_str()]);
    let mut stdout = synod.stdout();
    stdout.read_exact(&mut [0; 10]).await.unwrap();
    drop(stdout);
    // It notices, although it has nothing to write.
    let done = synod.ended().await;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn follow_goes_on_as_the_log_grows() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    let mut synod = Synod::start(&["follow", "--endpoints", replica.endpoint.as_str()]);
    let mut lines = BufReader::new(synod.stdout()).lines();
    for slot in [2, 5] {
        let endpoints = replica.endpoint.as_str();
        assert_eq!(run(&["submit", "--endpoints", endpoints, "x"]).await.code, 0);
        let line = synod_command::in_time(lines.next_line()).await.unwrap();
        assert_eq!(line, Some(format!("{slot}\tx")));
    }
}

#[tokio::test]
async fn status_tells_of_each_replica_also_of_one_that_is_not_there() {
    let cluster = Cluster::new();
    let (first, second) = (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
    cluster.deliver(Entry::NoOp);
    let nobody = nobody().await;
    let endpoints = format!("{},{},{nobody}", first.endpoint, second.endpoint);
    let done = run(&["status", "--endpoints", &endpoints]).await;
    assert_eq!(done.code, 0);
    assert!(!done.stdout.contains('\x1b'), "no colours in a pipe: {}", done.stdout);
    let lines: Vec<_> = done.stdout.lines().map(str::split_whitespace).collect();
    let words: Vec<Vec<_>> = lines.into_iter().map(Iterator::collect).collect();
    assert_eq!(words[1][1..3], ["r0", "coordinator"]);
    assert_eq!(words[2][1..4], ["r1", "follows", "r0"]);
    assert_eq!(words[3][1..3], ["-", "unreachable"]);

    let done = run(&["status", "--json", "--endpoints", &endpoints]).await;
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(json[0]["reachable"], true);
    assert_eq!(json[0]["replica"], 0);
    assert_eq!(json[0]["role"], "coordinator");
    assert_eq!(json[1]["committed"], Slot(1).0);
    assert_eq!(json[2]["reachable"], false);
    assert!(json[2]["error"].as_str().unwrap().contains("no connection"), "{json}");

    assert_eq!(run(&["status", "--endpoints", &nobody]).await.code, 1);
}

#[tokio::test]
async fn bench_measures_floors_and_load_and_leaves_no_session() {
    let cluster = Cluster::new();
    let (first, second) = (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
    let endpoints = format!("{},{}", first.endpoint, second.endpoint);
    let args = ["bench", "--endpoints", &endpoints, "--seconds", "200ms", "--json"];
    let shape = ["--clients", "5", "--connections", "2", "--value-bytes", "7"];
    let done = run(&[&args[..], &shape].concat()).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("warning: this writes to the cluster"), "{}", done.stderr);
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let floors = [
        "fdatasync_us",
        "loopback_round_trip_us",
        "bare_replication_us",
        "echo_requests_per_second",
    ];
    for floor in floors {
        assert!(json["floors"][floor].as_f64().unwrap() > 0.0, "{floor}: {json}");
    }
    let run = &json["runs"][0];
    assert_eq!(run["clients"], 5);
    assert_eq!(run["connections"], 2);
    for field in ["commits_per_second", "p50_us", "p99_us", "max_us"] {
        assert!(run[field].as_f64().unwrap() > 0.0, "{field}: {json}");
    }
    assert_eq!(run["fdatasyncs_per_commit"], 0.0, "there is no disk");
    assert!(cluster.values().iter().all(|(_, value)| value.0.len() == 7));
    let opened = cluster.count(|entry| matches!(entry, Entry::Open(_)));
    let ended = cluster.count(|entry| matches!(entry, Entry::End { .. }));
    assert_eq!((opened, ended), (5, 5));
}

#[tokio::test]
async fn bench_says_why_it_cannot_measure() {
    let nobody = nobody().await;
    let args = ["bench", "--seconds", "100ms", "--data-dir", "/nowhere", "--endpoints", &nobody];
    let done = run(&args).await;
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("no directory could be made in /nowhere"), "{}", done.stderr);

    let cluster = Cluster::new();
    let (_first, second) = (Running::start(&cluster, 0).await, Running::start(&cluster, 1).await);
    let began = std::time::Instant::now();
    let both = format!("{},{nobody}", second.endpoint);
    for (endpoints, says) in [
        (both.as_str(), format!("{nobody} does not report its status: no connection")),
        (second.endpoint.as_str(), "r0 coordinates, and is not among --endpoints".to_owned()),
    ] {
        let done = run(&["bench", "--endpoints", endpoints]).await;
        assert_eq!(done.code, 1);
        assert!(done.stderr.contains(&says), "{}", done.stderr);
    }
    assert!(began.elapsed() < Duration::from_secs(8), "and soon: {:?}", began.elapsed());
}

#[tokio::test]
async fn bench_refuses_what_no_cluster_takes() {
    for (args, says) in [
        (["--value-bytes", "1048577", "--clients", "1"], "not a number from 0 to 1048576"),
        (
            ["--value-bytes", "99999999999999999", "--clients", "1"],
            "not a number from 0 to 1048576",
        ),
        (["--clients", "2", "--connections", "5"], "--connections 5 is more than --clients 2"),
    ] {
        let done = run(&[&["bench"], &args[..]].concat()).await;
        assert_eq!(done.code, 2, "{}", done.stderr);
        assert!(done.stderr.contains(says), "{}", done.stderr);
    }
}

/// The runtime would panic. Where no thread has the stack that it is to have, none can be started.
#[tokio::test]
async fn a_want_of_threads_is_an_error() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(["status", "--endpoints", "localhost:1"]);
    command.env("RUST_MIN_STACK", (1_u64 << 50).to_string());
    let done = Synod::spawn(command).ended().await;
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(done.stderr.starts_with("error: the threads of this program could not be started"));
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
}

#[tokio::test]
async fn answers_are_also_there_as_json() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    let endpoint = replica.endpoint.as_str();
    let done = run(&["submit", "--json", "--endpoints", endpoint, "a", "b"]).await;
    let lines: Vec<serde_json::Value> =
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], serde_json::json!({ "outcome": "done", "number": 1, "slot": 2 }));
    assert_eq!(lines[1]["slot"], 3);
    let done = run(&["read", "--json", "--endpoints", endpoint]).await;
    let read: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(read, serde_json::json!({ "slot": 4 }));

    let nobody = nobody().await;
    let args = ["submit", "--json", "--timeout", "500ms", "--endpoints", &nobody, "c"];
    let done = run(&args).await;
    let line: serde_json::Value = serde_json::from_str(done.stdout.trim()).unwrap();
    assert_eq!((done.code, &line["outcome"]), (3, &"not_done".into()), "{line}");
    assert!(line["why"].as_str().unwrap().contains("no replica could be asked"), "{line}");
}

#[tokio::test]
async fn endpoints_come_from_the_environment_and_each_counts_once() {
    let cluster = Cluster::new();
    let replica = Running::start(&cluster, 0).await;
    let endpoint = replica.endpoint.as_str();
    let other_spelling = endpoint.replace("127.0.0.1", "localhost");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(["status", "--json"]);
    command.env("SYNOD_ENDPOINTS", format!("{endpoint},{other_spelling}"));
    let done = Synod::spawn(command).ended().await;
    let reports: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 1, "{reports}");

    // A benchmark writes, so it takes no cluster that it is not given.
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(["bench", "--help"]).env("SYNOD_ENDPOINTS", endpoint);
    assert!(!Synod::spawn(command).ended().await.stdout.contains("SYNOD_ENDPOINTS"));
}
