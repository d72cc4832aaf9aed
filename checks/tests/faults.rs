//! The heads of the seeded faults in `checks/faults/`, and the rules without one in `docs/faults.md`, name
//! what exists.
//!
//! `checks/faults/run` builds the checker once for every fault, and compares names as text. A wrong
//! name in a head would be found only there, minutes later. This test finds it at once.

use std::fs;
use std::path::{Path, PathBuf};

use synod_checks::scenarios::find;
use synod_model::world::{ModelProperty, PropertyKind};

fn patches() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults");
    let files = fs::read_dir(folder).expect("the folder of seeded faults");
    let files = files.map(|file| file.expect("a file").path());
    files.filter(|path| path.extension().is_some_and(|it| it == "patch")).collect()
}

/// The value of a field in the head of a patch, which ends where the diff begins.
fn field<'a>(patch: &'a str, name: &str) -> Option<&'a str> {
    let mut head = patch.lines().take_while(|line| !line.starts_with("---"));
    head.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn heads_name_a_rule_a_scenario_a_property_and_its_steps() {
    let patches = patches();
    assert!(!patches.is_empty(), "no seeded faults");
    for path in patches {
        let file = path.display();
        let patch = fs::read_to_string(&path).expect("a patch");
        let field = |name| field(&patch, name).unwrap_or_else(|| panic!("{file} has no {name}"));
        assert!(!field("Rule").is_empty(), "{file}: the rule is empty");
        let steps = field("Steps");
        assert!(steps.parse::<usize>().is_ok(), "{file}: {steps:?} is no number of steps");
        let name = field("Scenario");
        let row = find(name).unwrap_or_else(|| panic!("{file}: there is no scenario {name:?}"));
        let name = field("Property");
        let property = ModelProperty::from_name(name);
        let property = property.unwrap_or_else(|| panic!("{file}: there is no property {name:?}"));
        assert!(
            (row.scenario)().properties().contains(&property),
            "{file}: {} does not check {name:?}",
            row.name
        );
        // A fault is found by what it violates, not by what it no longer reaches.
        assert_ne!(property.kind(), PropertyKind::Sometimes, "{file}: {name:?}");
    }
}

/// The text of all tests of the core and of the node, and the names of the golden scripts.
fn tests() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let mut text = String::new();
    let mut folders = vec![root.join("model"), root.join("impl/node/src")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).expect("a folder") {
            let path = file.expect("a file").path();
            let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.extend((name != "target").then_some(path));
            } else if path.extension().is_some_and(|it| it == "rs") {
                text += &fs::read_to_string(path).expect("a source file");
            } else if path.parent().is_some_and(|it| it.ends_with("tests/scripts")) {
                text.extend(["fn ", name, "()\n"]);
            }
        }
    }
    text
}

#[test]
fn rules_without_a_seeded_fault_name_tests_that_exist() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    let page = fs::read_to_string(page).expect("the page");
    let rules = page.split("<!-- rules -->").nth(1).and_then(|it| it.split("<!-- /rules").next());
    let rows =
        rules.expect("the table of rules").lines().filter(|line| line.starts_with('|')).skip(2);
    let tests = tests();
    let mut count = 0;
    for row in rows {
        let fails = row.rsplit('|').nth(1).expect("a last column");
        for name in fails.split('`').skip(1).step_by(2).filter(|name| !name.contains('/')) {
            assert!(tests.contains(&format!("fn {name}(")), "there is no test {name:?}: {row}");
            count += 1;
        }
    }
    assert!(count > 20, "{count} tests are named");
}

#[test]
fn the_head_ends_where_the_diff_begins() {
    let patch = "Rule: a\nSteps: 3\n\n--- a/file\n+++ b/file\nProperty: b\n";
    assert_eq!(field(patch, "Steps"), Some("3"));
    assert_eq!(field(patch, "Property"), None);
}

#[test]
fn every_property_has_a_name_of_its_own() {
    for property in ModelProperty::all() {
        assert_eq!(ModelProperty::from_name(property.name()), Some(property));
    }
}
