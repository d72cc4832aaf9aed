//! The command as people and scripts use it: output, errors, exit codes.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use synod_checks::scenarios::{StateCount, TABLE};

fn synod_check(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod-check"));
    command.args(args).stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    synod_check(args).output().expect("the program starts")
}

/// The standard error of a command that cannot be carried out.
fn refusal(args: &[&str]) -> String {
    let output = output(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The name of the scenario with the most states.
fn largest() -> &'static str {
    let states = |row: &&synod_checks::scenarios::ScenarioRow| match row.states {
        StateCount::Counted(states) | StateCount::Estimated(states) => states,
    };
    TABLE.iter().max_by_key(states).expect("a scenario").name
}

#[test]
fn list_names_every_scenario() {
    let output = output(&["list"]);
    assert_eq!(output.status.code(), Some(0));
    let list = text(&output.stdout);
    for row in TABLE {
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(row.name));
        assert!(line.is_some_and(|line| line.contains(row.shows)), "{}:\n{list}", row.name);
    }
}

#[test]
fn help_tells_the_exit_codes() {
    for args in [&["--help"][..], &["run", "--help"], &["trace", "--help"]] {
        let output = output(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Exit codes:"), "{args:?}");
    }
    assert!(!text(&output(&["--help"]).stdout).contains("bench-workload"), "it is hidden");
}

#[test]
fn what_is_unknown_is_told_with_what_there_is() {
    let scenario = refusal(&["run", "no-such"]);
    assert!(scenario.contains("'no-such'") && scenario.contains(TABLE[0].name), "{scenario}");
    let property = refusal(&["trace", TABLE[0].name, "no-such"]);
    assert!(property.contains("has no property \"no-such\""), "{property}");
    assert!(property.contains("no step panics"), "{property}");
    let several = refusal(&["trace", TABLE[0].name, "no two"]);
    assert!(several.contains("several properties with \"no two\""), "{several}");
    let tier = refusal(&["run", "--tier", "no-such"]);
    assert!(tier.contains("quick, full, deep"), "{tier}");
    assert!(refusal(&["run", "--threads", "0"]).contains("--threads"));
    assert!(refusal(&["bench-workload", "no-such", "--threads", "1"]).contains("no workload"));
}

#[test]
fn a_scenario_of_another_tier_is_refused() {
    let row = TABLE.iter().find(|row| row.tier != TABLE[0].tier).expect("several tiers");
    let error = refusal(&["run", row.name, "--tier", "quick"]);
    assert!(error.starts_with(&format!("error: scenario {} is in tier ", row.name)), "{error}");
}

#[test]
fn too_little_memory_is_told() {
    let error = refusal(&["run", "--memory-max", "1MiB"]);
    assert!(error.starts_with("error: too little memory: the limit is 1.0 MiB\n  "), "{error}");
    assert!(refusal(&["run", "--memory-max", "much"]).contains("'much'"));
}

#[test]
fn an_address_that_cannot_be_served_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let error = refusal(&["explore", TABLE[0].name, "--address", &address]);
    assert!(error.starts_with(&format!("error: cannot serve at {address}: ")), "{error}");
    assert!(error.contains("in use"), "{error}");
    let error = refusal(&["explore", TABLE[0].name, "--address", "nowhere"]);
    assert!(error.contains("that is not an address"), "{error}");
}

#[test]
fn a_folder_that_would_replace_the_page_is_told() {
    let folder = tempfolder("ui");
    std::fs::create_dir_all(folder.join("ui")).expect("a folder");
    std::fs::write(folder.join("ui/app.js"), "").expect("a file");
    let mut command = synod_check(&["explore", TABLE[0].name, "--address", "127.0.0.1:0"]);
    let output = command.current_dir(&folder).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("./ui/app.js would replace a file"));
}

fn tempfolder(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn a_witness_is_traced_and_drawn() {
    let svg = tempfolder("trace").join("deeper/witness.svg");
    let file = svg.to_str().expect("plain letters");
    let output = output(&["trace", "crashes", "two replicas coordinate", "--svg", file]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let trace = text(&output.stdout);
    assert!(trace.starts_with("crashes: two replicas coordinate at once\nreached after "));
    assert!(trace.contains(", the fewest possible;"), "{trace}");
    assert!(trace.contains("http://127.0.0.1:3000/#/steps/0/"), "{trace}");
    assert!(trace.contains(&format!("picture   {file}\n")), "{trace}");
    assert!(std::fs::read_to_string(&svg).expect("a picture").contains("<svg"));
}

#[test]
fn the_explorer_serves_its_page_and_its_states() {
    let mut explorer = synod_check(&["explore", TABLE[0].name, "--address", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut told = String::new();
    let mut out = explorer.stdout.take().expect("a pipe");
    while !told.contains("/\n") {
        let mut byte = [0];
        out.read_exact(&mut byte).expect("it says where it is");
        told.push(char::from(byte[0]));
    }
    let address =
        told.split("http://").nth(1).expect("an address").trim_end().trim_end_matches('/');
    let page = get(address, "/");
    let states = get(address, "/.states/0");
    // It has a handler, so it ends also as the first process of a container.
    let pid = explorer.id().to_string();
    let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
    assert!(sent.expect("the program starts").success());
    let ended = explorer.wait().expect("it ends");
    assert_eq!(ended.code(), Some(130));
    assert!(page.contains("Run to completion"), "{page}");
    assert!(states.contains("\"actionIndex\":0"), "{states}");
}

fn get(address: &str, path: &str) -> String {
    use std::io::Write as _;
    let start = Instant::now();
    // The explorer prints its address just before it listens there.
    let mut stream = loop {
        match std::net::TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn ctrl_c_ends_a_run_which_then_still_reports() {
    for json in [false, true] {
        let mut args = vec!["run", largest()];
        args.extend(json.then_some("--json"));
        let mut run = synod_check(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(Duration::from_millis(1500));
        let signal = format!("kill -INT {}", run.id());
        let sent = Command::new("sh").args(["-c", &signal]).status().expect("a shell");
        assert!(sent.success());
        let start = Instant::now();
        while run.try_wait().expect("a child").is_none() {
            assert!(start.elapsed() < Duration::from_mins(1), "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = run.wait_with_output().expect("it ended");
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        let out = text(&output.stdout);
        if json {
            let document: serde_json::Value = serde_json::from_str(&out).expect("JSON");
            assert_eq!(document["complete"], false);
            let scenario = &document["scenarios"][0];
            assert_eq!(scenario["verdict"], "incomplete");
            assert_eq!(scenario["complete"], false);
            assert!(scenario["unique_states"].as_u64().expect("a number") > 0);
        } else {
            assert!(out.contains("INCOMPLETE: 0 of 1 frontiers emptied"), "{out}");
            assert!(out.contains("stopped by Ctrl-C"), "{out}");
        }
    }
}
