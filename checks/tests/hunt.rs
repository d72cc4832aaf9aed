//! A hunt finds the nearest state, and the path to it can be replayed.

use std::num::NonZeroUsize;
use std::time::Instant;

use synod_checks::hunt::{Indices, hunt};
use synod_checks::interrupt::Interrupt;
use synod_checks::memory::MemoryLimit;
use synod_checks::paths;
use synod_checks::scenarios::StateCount;
use synod_checks::search::{SearchLimits, StopReason};
use synod_checks::subject::Subject;
use synod_model::world::{
    Invariant, ModelProperty, Replicas, Scenario, ScenarioSubmission, Witness,
};

const COMMITTED: ModelProperty = ModelProperty::Witness(Witness::CommittedEverywhere);

fn scenario() -> Scenario {
    Scenario {
        submissions: vec![ScenarioSubmission::request(1, b'a', Replicas::of(&[0]))],
        reaches: vec![Witness::CommittedEverywhere, Witness::TwoCoordinate],
        ..Scenario::new(3, 1, &[3])
    }
}

fn limits() -> SearchLimits {
    let memory = MemoryLimit::new(None).expect("a machine with memory");
    SearchLimits { interrupt: Interrupt::default(), memory, deadline: None }
}

#[test]
fn the_nearest_state_is_found() {
    let limits = limits();
    let hunted = hunt(&scenario(), COMMITTED, NonZeroUsize::MIN, &limits, None, |_| ());
    assert!(hunted.is_shortest && hunted.stopped.is_none());
    let path = hunted.path.expect("a path");
    let file = paths::default_file("tiny", COMMITTED);
    let subject = Subject {
        name: "tiny".into(),
        shows: String::new(),
        states: StateCount::Unknown,
        scenario: scenario(),
        demands_witnesses: true,
        is_of_table: true,
        arguments: "tiny".into(),
    };
    let text = paths::described(&subject, COMMITTED, &path, Some(&file));
    let text = text.expect("the target directory can be written to");
    assert!(text.contains(&format!("\n{:3}  ", path.steps())), "{text}");
    assert!(!text.contains(&format!("\n{:3}  ", path.steps() + 1)), "{text}");
    assert!(text.contains(&path.page("127.0.0.1:3000", "tiny")), "{text}");
    assert!(text.starts_with("in the last state\n  r0  coordinator under 3  promised 3"), "{text}");
    let svg = std::fs::read_to_string(&file).expect("the picture");
    assert!(svg.contains("<svg") && svg.contains("tiny: everything is committed"), "{svg}");

    // No state is nearer: a depth-first search finds no shorter path either.
    let passed = SearchLimits { deadline: Some(Instant::now()), ..limits.clone() };
    let two = NonZeroUsize::new(2).expect("two");
    let any = hunt(&scenario(), COMMITTED, two, &passed, Some(&limits), |_| ());
    assert!(any.path.is_none_or(|any| any.steps() >= path.steps()));
}

#[test]
fn what_is_not_there_is_not_found() {
    for property in [Witness::TwoCoordinate.into(), Invariant::OneChosenValue.into()] {
        let hunted = hunt(&scenario(), property, NonZeroUsize::MIN, &limits(), None, |_| ());
        assert_eq!((hunted.path, hunted.stopped), (None, None), "{property}");
    }
}

#[test]
fn a_hunt_that_was_stopped_says_so() {
    let limits = limits();
    limits.interrupt.set();
    let large = Scenario { crashes: 2, ..Scenario::new(3, 2, &[1, 2, 3, 4]) };
    let property = Invariant::OneChosenValue.into();
    let hunted = hunt(&large, property, NonZeroUsize::MIN, &limits, Some(&limits), |_| ());
    assert_eq!((hunted.path, hunted.stopped), (None, Some(StopReason::Interrupted)));
}

#[test]
fn a_path_is_named_as_the_explorer_names_it() {
    let path = Indices::decode("0/12/3");
    assert_eq!(path.steps(), 2);
    assert_eq!(path.page("127.0.0.1:3000", "tiny"), "http://127.0.0.1:3000/tiny/#/steps/0/12/3");
}
