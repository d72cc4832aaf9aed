//! A user's own bounds: as flags, as a file, and as a change of a scenario of the table.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use synod_checks::bounds::scenario::Contradiction;
use synod_checks::bounds::{Bounds, read, to_toml};
use synod_checks::list::as_toml;
use synod_checks::scenarios::{self, TABLE};
use synod_checks::subject::{OwnBounds, Subject};
use synod_model::world::{REPLICAS_MAX, Replicas, Scenario, Witness};

fn synod_check(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod-check"));
    command.args(args).stdin(Stdio::null()).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn file(name: &str, content: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, content).expect("a file");
    file
}

/// The scenario as text, without what replicas hear that do not exist.
fn shown(scenario: &Scenario) -> String {
    let mut scenario = scenario.clone();
    for hears in &mut scenario.hears[scenario.replicas..REPLICAS_MAX] {
        *hears = Replicas::ALL;
    }
    format!("{scenario:#?}")
}

#[test]
fn every_scenario_of_the_table_is_a_file_that_means_the_same() {
    for row in TABLE {
        let scenario = (row.scenario)();
        let file = file(&format!("{}.toml", row.name), &as_toml(row));
        let bounds = read(&file).expect("what is printed can be read");
        assert_eq!(
            shown(&bounds.scenario().expect("it is possible")),
            shown(&scenario),
            "{}",
            row.name
        );
        // The flags say the same.
        let flags = bounds.flags();
        let again = from_flags(&flags).scenario().expect("it is possible");
        assert_eq!(shown(&again), shown(&scenario), "{flags}");
    }
}

/// The bounds from the flags of a command line, where a word may stand in quotation marks.
fn from_flags(flags: &str) -> Bounds {
    use clap::{Args as _, FromArgMatches as _};
    let parts = flags.split('"').enumerate().flat_map(|(place, part)| {
        if place % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }
    });
    let command = OwnBounds::augment_args(clap::Command::new("bounds"));
    let matches = command.try_get_matches_from(std::iter::once("bounds").chain(parts));
    let matches = matches.unwrap_or_else(|error| panic!("{flags}\n{error}"));
    let own = OwnBounds::from_arg_matches(&matches).expect("they match");
    own.bounds
}

/// The smallest scenarios, run from what `list --toml` prints.
#[test]
fn what_list_prints_has_the_count_of_the_table_when_it_is_run() {
    for name in ["sessions", "window", "late-read"] {
        let row = scenarios::find(name).expect("a scenario");
        let printed = synod_check(&["list", "--toml", name]);
        assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
        let file = file(&format!("{name}-run.toml"), &text(&printed.stdout));
        let run = synod_check(&["run", "--json", "--scenario", file.to_str().expect("UTF-8")]);
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
        let scenario = &report["scenarios"][0];
        assert_eq!(scenario["name"], format!("{name}-run"));
        assert_eq!(scenario["unique_states"], row.states.number());
        assert_eq!(scenario["verdict"], "holds");
    }
}

#[test]
fn flags_alone_are_a_scenario_of_which_nobody_knows_the_count() {
    let flags = ["--replicas", "3", "--slots", "1", "--numbers", "3..4", "--submissions", "a@0"];
    let run = synod_check(&[&["run"], &flags[..]].concat());
    let out = text(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{out}{}", text(&run.stderr));
    assert!(out.contains("own-bounds") && out.contains("every frontier emptied"), "{out}");
    assert!(out.contains("reached:\n    everything is committed everywhere"), "{out}");
    let not_reached = out.split("not reached:").nth(1).expect("what is not reached");
    assert!(not_reached.contains("all crashes have happened"), "{out}");

    // Any witness can be traced, and the explorer is told how to find it.
    let trace = synod_check(&[&["trace", "committed everywhere"], &flags[..]].concat());
    let out = text(&trace.stdout);
    assert_eq!(trace.status.code(), Some(0), "{out}{}", text(&trace.stderr));
    assert!(out.contains("own-bounds: everything is committed everywhere\nreached after"), "{out}");
    let numbers = "synod-check explore --numbers 3,4 --replicas 3 --slots 1 --submissions a@0";
    assert!(out.contains(numbers), "{out}");
    let trace = synod_check(&[&["trace", "all crashes"], &flags[..]].concat());
    assert_eq!(trace.status.code(), Some(0), "{}", text(&trace.stderr));
    assert!(text(&trace.stdout).contains("nor must it be"), "{}", text(&trace.stdout));
}

#[test]
fn every_witness_can_be_traced_in_any_scenario() {
    let trace = synod_check(&["trace", "sessions", "all crashes have happened"]);
    assert_eq!(trace.status.code(), Some(0), "{}", text(&trace.stderr));
    assert!(text(&trace.stdout).contains("nor must it be"));
    let demanded = synod_check(&["trace", "sessions", "two replicas coordinate"]);
    assert_eq!(demanded.status.code(), Some(0), "{}", text(&demanded.stderr));
}

#[test]
fn a_scenario_of_the_table_can_be_changed() {
    let own = OwnBounds { file: None, bounds: from_flags("--crashes 2 --canvass") };
    let row = scenarios::find("crashes").expect("a scenario");
    let subject = own.subject(Some(row)).expect("it is possible");
    assert_eq!(subject.name, "crashes-changed");
    assert_eq!(subject.states.number(), 0, "nobody knows the count");
    assert_eq!(subject.scenario.crashes, 2);
    assert_eq!(subject.scenario.numbers, (row.scenario)().numbers);
    assert!(subject.scenario.reaches.contains(&Witness::TwoCoordinate));
    // What the canvass needs is no longer lost.
    let kinds = synod_model::world::MessageKind::NAMED;
    let (canvass, _) = kinds.iter().find(|(_, name)| *name == "canvass").expect("a kind");
    assert!((row.scenario)().loses.contains(*canvass));
    assert!(!subject.scenario.loses.contains(*canvass));
}

#[test]
fn the_count_in_a_file_is_demanded() {
    let content = "numbers = [3]\nsubmissions = [\"a@0\"]\nstates = 7\nreaches = []\n";
    let file = file("counted.toml", content);
    let run = synod_check(&["run", "--scenario", file.to_str().expect("UTF-8")]);
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
    assert!(text(&run.stdout).contains("unique states, but 7"), "{}", text(&run.stdout));
}

#[test]
fn an_error_in_a_file_names_the_file_the_line_and_the_key() {
    for (content, parts) in [
        ("crashs = 1\n", &["line 1: ", "`crashs`", "`crashes`"][..]),
        ("slots = 1\ncrashes = \"many\"\n", &["line 2: crashes: ", "0 to 100 are allowed"]),
        ("replicas = 6\n", &["line 1: replicas: 6 is not allowed: 1 to 5 are allowed"]),
        ("replicas = true\n", &["line 1: replicas: ", "expected"]),
        ("numbers = [0]\n", &["line 1: numbers: ", "1 to 1000"]),
        ("loses = [\n  \"commit\",\n  \"comit\",\n]\n", &["line 3: loses: ", "commit, round"]),
        ("limits = [\"slots=1\"]\n", &["line 1: limits: ", "open_slots_max"]),
        ("reaches = [\"heaven\"]\n", &["line 1: reaches: ", "two replicas coordinate at once"]),
        ("submissions = [\"a\"]\n", &["line 1: submissions: ", "a@REPLICAS"]),
        ("submissions = [\"a@0 after=1\"]\n", &["line 1: submissions: a@0 after=1: ", "before it"]),
        ("replicas = 3\nmay-crash = [3]\n", &["line 2: may-crash: ", "allowed are 0 to 2"]),
        ("hears = [\"4=0\"]\n", &["line 1: hears: ", "there is no replica 4"]),
        ("losses = 1\n", &["line 1: losses: ", "`forming`"]),
        ("slots =\n", &["line 1: "]),
    ] {
        let file = file("wrong.toml", content);
        let run = synod_check(&["run", "--scenario", file.to_str().expect("UTF-8")]);
        let error = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{content}: {error}");
        assert!(error.starts_with(&format!("error: {}, line ", file.display())), "{error}");
        for part in parts {
            assert!(error.contains(part), "{content}: {error}");
        }
    }
    let missing = synod_check(&["run", "--scenario", "no/such.toml"]);
    assert!(text(&missing.stderr).contains("cannot read the scenario in no/such.toml"));
    let flag = synod_check(&["run", "--replicas", "3", "--may-crash", "4"]);
    assert!(text(&flag.stderr).contains("--may-crash: there is no replica 4"));
    let value = synod_check(&["run", "--slots", "9"]);
    assert!(text(&value.stderr).contains("1 to 8 are allowed"), "{}", text(&value.stderr));
}

#[test]
fn bounds_go_with_one_scenario() {
    for args in [
        &["run", "rivals", "crashes", "--slots", "2"][..],
        &["run", "--tier", "quick", "--slots", "2"],
        &["run", "rivals", "--scenario", "any.toml"],
        &["explore"],
        &["trace", "two replicas"],
    ] {
        let output = synod_check(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stdout));
    }
}

#[test]
fn by_default_values_compete() {
    let scenario = Bounds::default().scenario().expect("it is possible");
    let at: Vec<_> = scenario.submissions.iter().map(|it| it.at).collect();
    assert_eq!(at, [Replicas::of(&[0, 2]), Replicas::of(&[1])]);
    assert_eq!(scenario.numbers.len(), 3);
    let contradiction = from_flags("--losses 1").scenario();
    assert!(matches!(contradiction, Err(Contradiction { key: "losses", .. })));
    assert!(to_toml(&from_flags("--slots 2"), "heading").contains("\nslots = 2\n"));
    assert!(Subject::from(&TABLE[0]).demands_witnesses);
}
