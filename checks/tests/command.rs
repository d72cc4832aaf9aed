//! The command as people and scripts use it: output, errors, exit codes.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use synod_checks::cli::tier_name;
use synod_checks::scenarios::TABLE;

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
    TABLE.iter().max_by_key(|row| row.states.number()).expect("a scenario").name
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
fn list_prints_json() {
    let output = synod_check(&["list", "--json"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = list.as_array().expect("a list");
    assert_eq!(rows.len(), TABLE.len());
    for (json, row) in rows.iter().zip(TABLE) {
        assert_eq!((&json["name"], &json["shows"]), (&row.name.into(), &row.shows.into()));
        assert_eq!(json["tier"], tier_name(row.tier));
        let known = &json["states"];
        let known = if known.is_null() { &json["states_estimated"] } else { known };
        assert_eq!(known.as_u64(), Some(row.states.number()), "{json}");
        assert_eq!(json["bounds"]["replicas"], (row.scenario)().replicas);
    }
}

#[test]
fn help_tells_the_exit_codes() {
    for args in [&["--help"][..], &["run", "--help"], &["trace", "--help"]] {
        let output = output(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Exit codes:"), "{args:?}");
    }
    for command in ["", "run", "trace", "explore", "list", "bench"] {
        for help in ["-h", "--help"] {
            let args: Vec<_> = [command, help].into_iter().filter(|it| !it.is_empty()).collect();
            let help = text(&output(&args).stdout);
            let long: Vec<_> = help.lines().filter(|line| line.chars().count() > 80).collect();
            assert!(long.is_empty(), "{args:?}: {long:#?}");
        }
    }
    assert!(!text(&output(&["--help"]).stdout).contains("bench-workload"), "it is hidden");
}

#[test]
fn what_is_unknown_is_told_with_what_there_is() {
    let scenario = refusal(&["run", "no-such"]);
    assert!(scenario.contains("'no-such'") && scenario.contains(TABLE[0].name), "{scenario}");
    assert!(refusal(&["run", "crahses"]).contains("did you mean crashes"));
    assert!(refusal(&["explore", "read"]).contains("did you mean reads"));
    assert!(!scenario.contains("did you mean"), "{scenario}");
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
    assert!(trace.contains("http://127.0.0.1:3000/crashes/#/steps/0/"), "{trace}");
    assert!(trace.contains(&format!("picture   {file}\n")), "{trace}");
    assert!(std::fs::read_to_string(&svg).expect("a picture").contains("<svg"));
}

/// An explorer as a process, and where it serves. It ends with this value.
struct Explorer {
    process: std::process::Child,
    /// The process would end if this were closed while it writes.
    _out: std::process::ChildStdout,
    /// `127.0.0.1:1234`.
    host: String,
    /// The first part of the path of its page.
    slug: String,
}

impl Explorer {
    fn start(args: &[&str]) -> Self {
        let mut process = synod_check(&[&["explore", "--address", "127.0.0.1:0"], args].concat())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut told = String::new();
        let mut out = process.stdout.take().expect("a pipe");
        while !told.contains("/\n") {
            let mut byte = [0];
            out.read_exact(&mut byte).expect("it says where it is");
            told.push(char::from(byte[0]));
        }
        let address = told.split("http://").nth(1).expect("an address").trim_end();
        let (host, slug) = address.split_once('/').expect("a path");
        let slug = slug.trim_end_matches('/').into();
        Self { process, host: host.into(), slug, _out: out }
    }

    fn get(&self, path: &str) -> String {
        request("GET", &self.host, &format!("/{}/{path}", self.slug))
    }
}

impl Drop for Explorer {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[test]
fn the_explorer_serves_its_page_and_its_states_at_the_address_of_its_scenario() {
    let explorer = Explorer::start(&["rivals"]);
    assert_eq!(explorer.slug, "rivals");
    assert!(explorer.get("").contains("Search all states"));
    let state = explorer.get("states/0");
    assert!(state.starts_with("HTTP/1.1 200") && state.contains("stands for election"), "{state}");
    let nowhere = explorer.get("states/0/99");
    assert!(nowhere.starts_with("HTTP/1.1 404"), "{nowhere}");
    assert!(nowhere.contains("step 1 of the path does not exist"), "{nowhere}");
    let other = request("GET", &explorer.host, "/crashes/");
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
    assert!(other.contains("synod-check explore crashes"), "{other}");
    let home = request("GET", &explorer.host, "/");
    assert!(home.starts_with("HTTP/1.1 302") && home.contains("Location: /rivals/"), "{home}");

    // Other bounds have another address.
    let own = Explorer::start(&["rivals", "--crashes", "1"]);
    assert!(own.slug.starts_with("rivals-changed-"), "{}", own.slug);
    let more = Explorer::start(&["rivals", "--crashes", "2"]);
    assert_ne!(own.slug, more.slug);
}

#[test]
fn the_explorer_stops_its_search_at_the_memory_limit_and_goes_on() {
    let explorer = Explorer::start(&[largest(), "--memory-max", "80MiB"]);
    request("POST", &explorer.host, &format!("/{}/search", explorer.slug));
    let start = Instant::now();
    loop {
        let status = explorer.get("status");
        if status.contains("the memory limit; --memory-max allows more") {
            break;
        }
        assert!(start.elapsed() < Duration::from_mins(2), "{status}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(explorer.get("states/0").starts_with("HTTP/1.1 200"));
    assert!(refusal(&["explore", "rivals", "--memory-max", "1MiB"]).contains("too little memory"));
}

fn request(method: &str, address: &str, path: &str) -> String {
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
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
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
