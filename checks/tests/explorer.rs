//! The explorer as people use it: in a browser.
//!
//! For three scenarios, Chromium opens the page of `synod-check explore`, runs the search to its end,
//! reads the verdicts, and opens a state for each property that has one. The test checks that the page
//! shows what the model says, that it can be read in a window of 1280x800 pixels, and that it requests
//! nothing from any other server. Its pictures are in `target/synod-check/explorer/`.
//!
//! The page is stateright's. If this test fails after an update of stateright, look at those pictures
//! first, and then at `model/src/show/explorer.css`, which depends on the structure of that page.

#[path = "explorer/chromium.rs"]
mod chromium;
#[path = "explorer/served.rs"]
mod served;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use stateright::{Expectation, Model as _};
use synod_checks::scenarios::{ScenarioRow, StateCount, find};
use synod_model::show::state_text;
use synod_model::world::{ClusterState, World};

use chromium::Chromium;
use served::Served;

/// The time limit for what a page does at once.
const SOON: Duration = Duration::from_secs(20);
/// The time limit for a search. The page polls for its end every 5 seconds.
const SEARCH: Duration = Duration::from_mins(2);

#[test]
fn pipeline() {
    explore("pipeline");
}

#[test]
fn sessions() {
    explore("sessions");
}

#[test]
fn overtaken() {
    explore("overtaken");
}

fn explore(name: &str) {
    let row = find(name).expect("a scenario");
    let StateCount::Counted(states) = row.states else { panic!("{name} was never counted") };
    assert!(states < 100_000, "{name} has too many states for this test");
    let served = Served::start(name);
    let mut page = Chromium::start();

    page.go_to(&served.address);
    page.wait_for("look.isLoaded()", SOON);
    page.click("look.button()");
    page.wait_for("look.isDone()", SEARCH);
    let found = page.ask("look.status('Unique States:')");
    let digits: String = text(&found).chars().filter(char::is_ascii_digit).collect();
    assert_eq!(digits, states.to_string(), "unique states of {name}");

    let witnesses = verdicts(row, &page.ask("look.properties()"));
    assert_legible(&mut page, &["Lists"]);
    page.screenshot(&picture_file(name, "properties"));
    assert!(!witnesses.is_empty(), "{name} has nothing to step into");
    for witness in &witnesses {
        step_into(row, witness, &mut page);
        // Back to the first page.
        page.click("look.title()");
        page.wait_for("look.isAt(0) && look.isDone()", SOON);
    }

    let elsewhere: Vec<_> =
        page.requested.iter().filter(|it| !it.starts_with(&served.address)).collect();
    assert_eq!(elsewhere, Vec::<&String>::new(), "requested of others");
    for file in ["", "app.css", "app.js", ".status", ".runtocompletion", ".states"] {
        let address = format!("{}{file}", served.address);
        assert!(page.requested.contains(&address), "{address} was not requested");
    }
    assert_eq!(page.errors, Vec::<String>::new(), "what went wrong in the page");
    page.end();
    served.end();
}

/// A state that shows a property.
struct Witness {
    property: &'static str,
    /// The path to it: the index of each action.
    path: Vec<usize>,
}

/// Asserts that every property holds or was reached, and that the page says so.
fn verdicts(row: &ScenarioRow, shown: &Value) -> Vec<Witness> {
    let properties = World::new((row.scenario)()).properties();
    let shown = shown.as_array().expect("a list");
    assert_eq!(shown.len(), properties.len(), "{shown:#?}");
    let mut witnesses = Vec::new();
    for (property, shown) in properties.iter().zip(shown) {
        let verdict = match property.expectation {
            Expectation::Always => format!("✅ Safety holds: Always {}", property.name),
            Expectation::Sometimes => format!("✅ Example found: Sometimes {}", property.name),
            Expectation::Eventually => panic!("not in our models: {}", property.name),
        };
        assert_eq!(shown["text"], verdict, "{}", row.name);
        if property.expectation == Expectation::Sometimes {
            let path = text(&shown["path"]);
            let path = path.split('/').map(|it| it.parse().expect("an index")).collect();
            witnesses.push(Witness { property: property.name, path });
        }
    }
    witnesses
}

/// Opens the state that shows a property, checks it, and takes one step more.
fn step_into(row: &ScenarioRow, witness: &Witness, page: &mut Chromium) {
    let Witness { property, path } = witness;
    page.click(&format!("look.property({property:?})"));
    page.wait_for(&format!("look.isAt({}) && look.picture() != null", path.len()), SOON);

    let shown = page.ask("look.stateBox().innerText");
    let world = World::new((row.scenario)());
    let [.., before, state] = &walk(&world, path)[..] else { panic!("no way to {property}") };
    assert_eq!(text(&shown), state_text(&world, state, Some(before)), "{}: {property}", row.name);
    let all = world.properties();
    let condition = all.iter().find(|it| it.name == *property).expect("a property").condition;
    assert!(condition(&world, state), "{}: the state does not show that {property}", row.name);
    assert_tells_of_replicas(text(&shown), (row.scenario)().replicas);
    // The first index is that of the first state.
    assert_eq!(page.ask("look.lastStepSeen()"), path.len() - 1, "the last step of the picture");
    assert_legible(page, &["Lists", "State", "Picture"]);
    page.screenshot(&picture_file(
        row.name,
        &property.replace(|c: char| !c.is_alphanumeric(), "-"),
    ));

    if page.ask("!look.choice()") != true {
        page.click("look.choice()");
        page.wait_for(&format!("look.isAt({})", path.len() + 1), SOON);
        let further = page.ask("look.stateBox().innerText");
        assert!(text(&further).contains('»'), "a step changes something:\n{further}");
        assert_legible(page, &["Lists", "State", "Picture"]);
    }
}

/// The states along a path of the page.
fn walk(world: &World, path: &[usize]) -> Vec<ClusterState> {
    let (first, rest) = path.split_first().expect("a state to begin with");
    let mut states = vec![world.init_states().remove(*first)];
    for index in rest {
        let state = states.last().expect("the first");
        let mut actions = Vec::new();
        world.actions(state, &mut actions);
        let next = world.next_state(state, actions[*index]).expect("a step");
        states.push(next);
    }
    states
}

/// Asserts that the text of a state gives the role, the promise and the log of each replica.
fn assert_tells_of_replicas(text: &str, replicas: usize) {
    let mut lines = text.lines().map(|line| line.trim_start_matches(['»', ' '])).peekable();
    for replica in 0..replicas {
        let start = format!("r{replica}  ");
        let role = lines.find_map(|line| line.strip_prefix(&start)).expect("a role");
        assert!(!role.is_empty(), "r{replica} has no role:\n{text}");
        for heading in ["promised", "log"] {
            let line = lines.next().expect("a line");
            let what = line.strip_prefix(heading).map(str::trim);
            assert!(what.is_some_and(|it| !it.is_empty()), "r{replica}, {heading}: {line}");
        }
    }
}

fn assert_legible(page: &mut Chromium, parts: &[&str]) {
    for part in parts {
        let complaints = page.ask(&format!("look.complaintsOf{part}()"));
        if complaints != Value::Array(Vec::new()) {
            let file = picture_file("not", "legible");
            page.screenshot(&file);
            panic!("hard to read, see {}: {complaints:#}", file.display());
        }
    }
}

/// The file for a picture of the page.
fn picture_file(scenario: &str, name: &str) -> PathBuf {
    // Cargo makes this folder within the target directory.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    target.join("synod-check/explorer").join(format!("{scenario}-{name}.png"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}
