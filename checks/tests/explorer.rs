//! The explorer as people use it: in a browser.
//!
//! For three scenarios, Chromium opens the page of `synod-check explore`, searches all states, reads the
//! verdicts, and opens a state for each property that has one. The test checks that the page shows what
//! the model says, that it can be read in a window of 1280x800 pixels, and that it requests nothing from
//! any other server. Its pictures are in `target/synod-check/explorer/`.

#[path = "explorer/chromium.rs"]
mod chromium;
#[path = "explorer/served.rs"]
mod served;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use stateright::Model as _;
use synod_checks::scenarios::{ScenarioRow, StateCount, find};
use synod_model::show::state_text;
use synod_model::world::{ClusterState, ModelProperty, PropertyKind, World};

use chromium::Chromium;
use served::Served;

/// The time limit for what a page does at once.
const SOON: Duration = Duration::from_secs(20);
/// The time limit for a search.
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
    assert!(served.address.ends_with(&format!("/{name}/")), "{}", served.address);
    let mut page = Chromium::start();

    page.go_to(&served.address);
    page.wait_for("look.isLoaded() && look.isAt(1)", SOON);
    assert_eq!(page.ask("document.title"), format!("{name} – Synod explorer"));
    assert_eq!(page.ask("look.words('home')"), name);
    assert_eq!(page.ask("look.words('shows')"), row.shows);
    page.screenshot(&picture_file(name, "first"));
    page.click("look.button()");
    page.wait_for("look.isDone()", SEARCH);
    let progress = page.ask("look.words('progress')");
    let counted = text(&progress).split_whitespace().nth(1).expect("a number").replace(',', "");
    assert_eq!(counted, states.to_string(), "unique states of {name}");

    let witnesses = verdicts(row, &page.ask("look.properties()"));
    assert_legible(&mut page, &["Lists"]);
    page.screenshot(&picture_file(name, "properties"));
    assert!(!witnesses.is_empty(), "{name} has nothing to step into");
    for witness in &witnesses {
        step_into(row, witness, &mut page);
        // Back to the first state.
        page.click("look.title()");
        page.wait_for("look.isAt(1) && look.isDone()", SOON);
    }

    let elsewhere: Vec<_> =
        page.requested.iter().filter(|it| !it.starts_with(&served.address)).collect();
    assert_eq!(elsewhere, Vec::<&String>::new(), "requested of others");
    for file in ["", "page.css", "page.js", "status", "search", "states/0"] {
        let address = format!("{}{file}", served.address);
        assert!(page.requested.contains(&address), "{address} was not requested");
    }
    assert_eq!(page.errors, Vec::<String>::new(), "what went wrong in the page");
    page.end();
    served.end();
}

/// A link that leads nowhere, or to another scenario, says so.
#[test]
fn bad_links() {
    let served = Served::start("sessions");
    let mut page = Chromium::start();
    page.go_to(&format!("{}#/steps/0/0/77", served.address));
    page.wait_for("look.notice() != ''", SOON);
    let notice = page.ask("look.notice()");
    assert!(text(&notice).starts_with("This link leads nowhere: step 2 of the path"), "{notice}");
    page.screenshot(&picture_file("bad-link", "nowhere"));
    page.click("document.querySelector('#path a')");
    page.wait_for("look.isAt(1) && look.notice() == ''", SOON);

    // Along the path and back, by keys.
    page.click("look.choice()");
    page.wait_for("look.isAt(2)", SOON);
    page.ask("void dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowUp' }))");
    page.wait_for("look.isAt(1) && look.path().length == 2", SOON);
    page.ask("void dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown' }))");
    page.wait_for("look.isAt(2)", SOON);

    page.go_to(&served.address.replace("/sessions/", "/rivals/#/steps/0/1"));
    page.wait_for("document.querySelector('h1') != null", SOON);
    let other = page.ask("document.body.innerText");
    assert!(text(&other).contains("This link is for another scenario"), "{other}");
    assert!(text(&other).contains("synod-check explore rivals"), "{other}");
    page.screenshot(&picture_file("bad-link", "other-scenario"));
    page.end();
    served.end();
}

/// A state that shows a property.
struct Witness {
    property: ModelProperty,
    /// The path to it: the index of each action.
    path: Vec<usize>,
}

/// Asserts that every property holds or was reached, and that the page says so: first what was reached,
/// last, and without a tick, what cannot fail.
fn verdicts(row: &ScenarioRow, shown: &Value) -> Vec<Witness> {
    let world = World::new((row.scenario)());
    let shown = shown.as_array().expect("a list");
    let mut properties = (row.scenario)().properties();
    properties.sort_by_key(|it| (it.kind() != PropertyKind::Sometimes, !world.can_fail(*it)));
    assert_eq!(shown.len(), properties.len(), "{shown:#?}");
    let mut witnesses = Vec::new();
    for (property, shown) in properties.into_iter().zip(shown) {
        let said = match property.kind() {
            PropertyKind::Sometimes => format!("✅reached: {property} (sometimes)"),
            PropertyKind::Liveness => format!("✅holds from every state: {property} (liveness)"),
            PropertyKind::Always if world.can_fail(property) => {
                format!("✅holds: {property} (always)")
            }
            PropertyKind::Always => format!("–cannot fail in this scenario: {property} (always)"),
        };
        assert_eq!(text(&shown["text"]), said, "{}", row.name);
        if property.kind() == PropertyKind::Sometimes {
            let path = text(&shown["path"]);
            let path = path.split('/').map(|it| it.parse().expect("an index")).collect();
            witnesses.push(Witness { property, path });
        }
    }
    witnesses
}

/// Opens the state that shows a property, checks it, and takes one step more.
fn step_into(row: &ScenarioRow, witness: &Witness, page: &mut Chromium) {
    let Witness { property, path } = witness;
    page.click(&format!("look.property({:?})", property.name()));
    page.wait_for(&format!("look.isAt({}) && look.picture() != null", path.len()), SOON);

    let shown = page.ask("look.stateBox().textContent");
    let world = World::new((row.scenario)());
    let [.., before, state] = &walk(&world, path)[..] else { panic!("no way to {property}") };
    assert_eq!(text(&shown), state_text(&world, state, Some(before)), "{}: {property}", row.name);
    assert!(world.holds(*property, state), "{}: the state does not show that {property}", row.name);
    assert_tells_of_replicas(text(&shown), (row.scenario)().replicas);
    // The first index is that of the first state.
    assert_eq!(page.ask("look.lastStepSeen()"), path.len() - 1, "the last step of the picture");
    assert_legible(page, &["Lists", "State", "Picture"]);
    page.screenshot(&picture_file(
        row.name,
        &property.name().replace(|c: char| !c.is_alphanumeric(), "-"),
    ));

    if page.ask("!look.choice()") != true {
        page.click("look.choice()");
        page.wait_for(&format!("look.isAt({})", path.len() + 1), SOON);
        let further = page.ask("look.stateBox().textContent");
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
