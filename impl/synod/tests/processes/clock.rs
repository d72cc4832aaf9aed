//! The time of day may be set back or forward at any time. Nothing that a node does depends on it: a
//! node counts monotonic time. Only its log lines begin with the time of day, and nothing reads that.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use crate::cluster::Cluster;

/// The library to preload into a process, so that its time of day can be set by itself. None if there
/// is no `faketime`.
fn clock_of_its_own() -> Option<String> {
    let asked =
        Command::new("faketime").args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]).output();
    let library = asked.ok().filter(|it| it.status.success());
    if library.is_none() {
        let test = std::thread::current();
        let test = test.name().unwrap_or_default();
        // Not through the test harness, which hides the output of a test that passes.
        let _ = writeln!(io::stderr(), "NOT TESTED: {test}: `faketime` is not installed");
    }
    Some(String::from_utf8(library?.stdout).unwrap().trim().to_owned())
}

/// The year in the last log line that contains this.
fn year_of(told: &str, part: &str) -> i32 {
    let line = told.lines().rfind(|line| line.contains(part));
    let line = line.unwrap_or_else(|| panic!("{part}: {told}"));
    line[..4].parse().unwrap_or_else(|_| panic!("{line}"))
}

#[test]
fn a_clock_that_is_set_back_or_forward_changes_nothing() {
    let Some(library) = clock_of_its_own() else {
        return;
    };
    let mut cluster = Cluster::made(3);
    cluster.calm();
    let clock = cluster.file("clock", "+0");
    cluster.environment.extend([
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", clock.clone()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]);
    cluster.start_all();
    let before = cluster.settled();
    let this_year = year_of(&cluster.node(0).told(), "recovered");

    let mut values = Vec::new();
    for set in ["-2h", "+3d", "-10y", "+10y", "-10y"] {
        fs::write(&clock, set).unwrap();
        let value = format!("with the clock at {set}");
        cluster.submit(cluster.ids(), &[&value]);
        values.push(value);
        assert_eq!(cluster.settled(), before, "{set}");
    }
    // A node that starts with its time far back goes on where it was.
    let restarted = (before.id + 1) % 3;
    cluster.kill(restarted);
    cluster.start(restarted);
    assert_eq!(cluster.settled(), before);
    cluster.submit([restarted], &["afterwards"]);
    values.push("afterwards".to_owned());
    assert!(cluster.same_everywhere().into_iter().map(|it| it.1).eq(values));

    let year = year_of(&cluster.node(restarted).told(), "recovered");
    assert!((9..=11).contains(&(this_year - year)), "the clock was not set: {year}");
}

#[test]
fn no_source_of_the_node_or_the_core_reads_the_clock_on_the_wall() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = ["../wire", "../node", "../client", ".", "../../model"];
    let mut folders = packages.map(|package| here.join(package).join("src")).to_vec();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                seen += 1;
                let text = fs::read_to_string(&path).unwrap();
                for clock in ["SystemTime", "UNIX_EPOCH", "clock_gettime", "chrono::"] {
                    assert!(!text.contains(clock), "{} names {clock}", path.display());
                }
            }
        }
    }
    assert!(seen > 50, "{seen} sources cannot be all of them");
}
