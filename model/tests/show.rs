//! How the model is shown: as text and as pictures.
#![cfg(feature = "stateright")]

use std::collections::HashMap;

use stateright::Model;
use synod_model::show::{
    Caption, path_svg, path_text, sentence, state_details, state_summary, state_text,
};
use synod_model::world::{
    ASIDE, Action, ClusterState, Invariant, MessageKind, MessageKinds, ModelProperty, Replicas,
    Scenario, ScenarioSubmission, Witness, World,
};
use synod_model::{Entry, Opening, ReplicaId, Request, Run, SessionId};

type Path = Vec<(ClusterState, Option<Action>)>;

/// Walks along a path. Each action is the first one whose sentence begins with the given words.
fn walk(world: &World, sentences: &[&str]) -> Path {
    let mut path = Vec::new();
    let mut state = world.init_states().remove(0);
    for begins in sentences {
        let steps = world.next_steps(&state);
        let possible: Vec<_> = steps.iter().map(|step| sentence(world, &state, step.0)).collect();
        let index = possible.iter().position(|sentence| sentence.starts_with(begins));
        let index = index.unwrap_or_else(|| panic!("{begins} is none of {possible:#?}"));
        path.push((state, Some(steps[index].0)));
        state = steps[index].1.clone();
    }
    path.push((state, None));
    path
}

/// A random path of at most `steps_max` steps.
fn wander(world: &World, steps_max: usize, mut seed: u64) -> Path {
    let mut path = Vec::new();
    let mut state = world.init_states().remove(0);
    for _ in 0..steps_max {
        let mut steps = world.next_steps(&state);
        if steps.is_empty() {
            break;
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let choice = usize::try_from(seed >> 33).expect("31 bits") % steps.len();
        let (action, next) = steps.swap_remove(choice);
        path.push((state, Some(action)));
        state = next;
    }
    path.push((state, None));
    path
}

fn scenario(replicas: usize, numbers: &[u64]) -> Scenario {
    Scenario {
        submissions: vec![ScenarioSubmission::request(1, b'a', Replicas::of(&[0, 2]))],
        crashes: 1,
        liveness: false,
        ..Scenario::new(replicas, 1, numbers)
    }
}

/// A scenario that has all kinds of state and message.
fn rich_scenario(replicas: usize) -> Scenario {
    let session = SessionId(1);
    let open = Entry::Open(Opening { origin: ReplicaId(0), run: Run(1), count: 0 });
    let submission =
        |entry, after| ScenarioSubmission { entry, at: Replicas::ALL, places: 2, after };
    let request = Entry::Request(Request { session, number: 1, answered: 1, value: b'b' });
    Scenario {
        slots: 4,
        canvass: true,
        submissions: vec![
            ScenarioSubmission { places: 2, ..ScenarioSubmission::request(1, b'a', Replicas::ALL) },
            submission(open, None),
            submission(request, Some(1)),
            submission(Entry::End { session }, Some(2)),
        ],
        submit_anywhere: true,
        reads: vec![Replicas::ALL, Replicas::ALL],
        crashes: 2,
        sync_any: true,
        resend: true,
        loses: MessageKinds::of(&[]),
        ..scenario(replicas, &(1..30).collect::<Vec<_>>())
    }
}

/// r0 is elected by r1 and commits `a` with r1. r2 crashes, and learns of the commit by catch-up.
const STORY: &[&str] = &[
    "r0 stands",
    "r0's oldest write",
    "r0 tells r1: propose",
    "r1's oldest write",
    "r1 answers r0: promise",
    "a client submits a at r0",
    "r0 tells r1: accept",
    "r0 tells r2: accept",
    "r1's oldest write",
    "r0's oldest write",
    "r1 answers r0: acknowledge",
    "r2 crashes",
    "r0 tells r2: committed",
];

#[test]
fn a_path_is_told_by_what_each_step_changes() {
    let world = World::new(scenario(3, &[3]));
    let told = path_text(&world, &walk(&world, STORY));
    assert_eq!(
        told,
        "
  1  r0 stands for election under 3
       r0       role          candidate under 3, its own promise not yet durable
       r0       promised      3*
       r0       not synced    promised 3
  2  r0's oldest write becomes durable: promised 3
       r0       role          candidate under 3, promised by r0
       r0       promised      3
       r0       not synced    nothing
       r1       in flight     from r0: propose 3
       r2       in flight     from r0: propose 3
  3  r0 tells r1: propose 3
       r1       promised      3*
       r1       not synced    promised 3
  4  r1's oldest write becomes durable: promised 3
       r0       in flight     from r1: promise 3, nothing accepted
       r1       promised      3
       r1       not synced    nothing
  5  r1 answers r0: promise 3, nothing accepted
       r0       role          coordinator under 3
  6  a client submits a at r0
       r0       log           1: a@3*
       r0       open slots    1: acknowledged by nobody
       r0       clients       wait for a
       r0       not synced    accepted a in slot 1 under 3
       r1       in flight     from r0: accept a in slot 1 under 3
       r2       in flight     from r0: accept a in slot 1 under 3
       cluster  submitted     a at r0
  7  r0 tells r1: accept a in slot 1 under 3
       r1       log           1: a@3*
       r1       not synced    accepted a in slot 1 under 3
  8  r0 tells r2: accept a in slot 1 under 3
       r2       promised      3*
       r2       log           1: a@3*
       r2       not synced    accepted a in slot 1 under 3
  9  r1's oldest write becomes durable: accepted a in slot 1 under 3
       r0       in flight     from r1: acknowledge slot 1 under 3
       r1       log           1: a@3
       r1       not synced    nothing
 10  r0's oldest write becomes durable: accepted a in slot 1 under 3
       r0       log           1: a@3
       r0       open slots    1: acknowledged by r0
       r0       not synced    nothing
       cluster  chosen        1: a
 11  r1 answers r0: acknowledge slot 1 under 3
       r0       log           1: a ✓
       r1       in flight     from r0: commit up to slot 1 under 3
       r2       in flight     from r0: commit up to slot 1 under 3
       cluster  committed     1: a by r0
 12  r2 crashes and forgets 1 unsynced write
       r2       role          follower, run 2
       r2       promised      nothing
       r2       log           empty
       r2       not synced    nothing
       cluster  crashes left  0
 13  r0 tells r2: committed a in slot 1 (catch-up)
       r2       log           1: a* ✓
       r2       not synced    learned that a in slot 1 is committed
       cluster  committed     1: a by r0 r2

     ✓ committed   * not yet synced   1: a@3  slot 1 holds a, accepted under 3
"
        .trim_start_matches('\n')
    );
}

#[test]
fn a_step_marks_the_lines_that_it_changes() {
    let world = World::new(scenario(3, &[3]));
    let path = walk(&world, &STORY[..7]);
    let described = state_text(&world, &path[7].0, Some(&path[6].0));
    let expected = "
  r0  coordinator under 3
      promised      3
      log           1: a@3*
      open slots    1: acknowledged by nobody
      clients       wait for a
      not synced    accepted a in slot 1 under 3
      in flight     nothing
  r1  follower
      promised      3
»     log           1: a@3*
»     not synced    accepted a in slot 1 under 3
      in flight     from r0: accept a in slot 1 under 3
  r2  follower
      promised      nothing
      log           empty
      not synced    nothing
      in flight     from r0: propose 3
      in flight     from r0: accept a in slot 1 under 3
  cluster
      chosen        nothing
      committed     nothing
      submitted     a at r0
      crashes left  1

  ✓ committed   * not yet synced   1: a@3  slot 1 holds a, accepted under 3
  » changed by this step
";
    assert_eq!(described, expected.trim_start_matches('\n'));
}

/// No sentence contains a derived `Debug` text.
#[test]
fn sentences_are_words() {
    for seed in 0..300 {
        let world = World::new(rich_scenario(3));
        let path = wander(&world, 60, seed);
        for (state, action) in &path {
            let Some(action) = action else { continue };
            let sentence = sentence(&world, state, *action);
            assert!(!sentence.contains(['{', '[', '"']), "{sentence}");
        }
    }
}

#[test]
fn a_picture_has_a_line_for_each_replica_and_a_row_for_each_step() {
    for replicas in [3, 5] {
        for seed in 0..20 {
            let world = World::new(rich_scenario(replicas));
            let path = wander(&world, 60, seed);
            let svg = path_svg(&world, &path, None);
            let document = roxmltree::Document::parse(&svg).expect("well-formed XML");
            let named = |name: &'static str| {
                document.descendants().filter(move |node| node.tag_name().name() == name)
            };
            let is_time_line =
                |node: &roxmltree::Node<'_, '_>| node.attribute("class") == Some("time-line");
            assert_eq!(named("line").filter(is_time_line).count(), replicas);
            assert_eq!(named("script").count(), 0);
            let texts: Vec<_> =
                named("text").filter_map(|node| Some(node.text()?.trim())).collect();
            for number in 1..path.len() {
                assert!(texts.contains(&number.to_string().as_str()), "step {number}");
            }
            let pixels = document.root_element().attribute("width").expect("a width");
            let pixels: f64 = pixels.parse().expect("a number");
            assert!((600.0..1000.0).contains(&pixels), "{pixels} pixels");
        }
    }
}

#[test]
fn a_picture_of_nothing_is_a_picture() {
    let world = World::new(scenario(3, &[3]));
    let svg = path_svg(&world, &walk(&world, &[]), None);
    assert!(roxmltree::Document::parse(&svg).is_ok());
}

#[test]
fn a_picture_names_its_scenario_and_property_and_marks_the_last_row() {
    let world = World::new(scenario(3, &[3]));
    let path = walk(&world, STORY);
    for (property, verdict) in [
        (ModelProperty::from(Invariant::OneCommittedValue), "✗ violated: no two replicas commit"),
        (Witness::CommittedEverywhere.into(), "✓ reached: everything is committed"),
    ] {
        let caption = Caption { scenario: "rivals", property };
        let svg = path_svg(&world, &path, Some(&caption));
        let document = roxmltree::Document::parse(&svg).expect("well-formed XML");
        let text = |class: &'static str| {
            let nodes =
                document.descendants().filter(move |it| it.attribute("class") == Some(class));
            nodes.filter_map(|it| it.text()).map(str::trim).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text("caption"), format!("rivals: {property}"));
        assert!(text("verdict").starts_with(verdict), "{}", text("verdict"));
        let shades = document.descendants().filter(|it| it.attribute("fill") == Some("#ffebe9"));
        let is_violated = usize::from(verdict.starts_with('✗'));
        assert_eq!(shades.count(), is_violated, "the violating row alone is red");
    }
    assert!(!path_svg(&world, &path, None).contains("caption"));
}

#[test]
fn a_summary_says_what_each_replica_holds() {
    let world = World::new(scenario(3, &[3]));
    let path = walk(&world, STORY);
    let summary = state_summary(&world, &path[13].0);
    let expected = "
  r0  coordinator under 3  promised 3        log 1: a ✓
  r1  follower             promised 3        log 1: a@3
  r2  follower, run 2      promised nothing  log 1: a* ✓
  chosen  1: a
";
    assert_eq!(summary, expected.trim_start_matches('\n'));
}

/// A disk that rolls back breaks what is not checked there. Nothing of that is called broken.
#[test]
fn a_replica_that_has_lost_something_is_shown_and_only_what_is_checked_is_called_broken() {
    let reminders = MessageKinds::of(&[MessageKind::Remind, MessageKind::Forgot]);
    let world = World::new(Scenario {
        crashes: 0,
        rollbacks: 1,
        may_roll_back: Replicas::of(&[2]),
        resend: true,
        loses: ASIDE.without(reminders),
        ..scenario(3, &[3])
    });
    let path = walk(
        &world,
        &[
            "r0 stands",
            "r0's oldest write",
            "r0 tells r2: propose",
            "r2's oldest write",
            "r2 answers r0: promise",
            "r0 repeats",
            "the disk of r2 loses",
            "r0 tells r2: you told me: promised 3",
        ],
    );
    let (state, _) = path.last().expect("a state");
    assert!(!world.holds(Invariant::DurablePromiseNeverFalls.into(), state));
    let summary = state_summary(&world, state);
    assert!(summary.contains("r2  has stopped, run 2"), "{summary}");
    assert!(!summary.contains("broken"), "{summary}");
}

#[test]
fn text_is_escaped() {
    let submissions = vec![ScenarioSubmission::request(1, b'<', Replicas::of(&[0]))];
    let world = World::new(Scenario { submissions, ..scenario(3, &[3]) });
    let story = [&STORY[..5], &["a client submits < at r0"]].concat();
    let svg = path_svg(&world, &walk(&world, &story), None);
    let document = roxmltree::Document::parse(&svg).expect("well-formed XML");
    assert!(
        document
            .descendants()
            .any(|it| it.text().map(str::trim) == Some("a client submits < at r0"))
    );
}

/// Two states have the same text if and only if they are the same, in the whole state space.
#[test]
fn the_text_of_a_state_is_complete() {
    let world = World::new(scenario(3, &[3]));
    let mut texts: HashMap<ClusterState, String> = HashMap::new();
    let mut states: HashMap<String, ClusterState> = HashMap::new();
    let mut queue = world.init_states();
    while let Some(state) = queue.pop() {
        let text = state_details(&world, &state);
        // The text must be complete without the digest, which distinguishes all states.
        let (readable, _) = text.rsplit_once("digest ").expect("a digest");
        if let Some(there) = texts.get(&state) {
            assert_eq!(there, readable, "a state has two texts");
            continue;
        }
        texts.insert(state.clone(), readable.into());
        let there = states.insert(readable.into(), state.clone());
        assert!(there.is_none(), "two states have one text:\n{text}");
        queue.extend(world.next_states(&state));
    }
    assert!(texts.len() > 1_000, "{} states", texts.len());
}

#[test]
fn what_cannot_fail_in_a_scenario_is_known() {
    let cannot = |scenario: Scenario| {
        let world = World::new(scenario);
        let properties = world.scenario().properties().into_iter();
        properties.filter(|it| !world.can_fail(*it)).map(ModelProperty::name).collect::<Vec<_>>()
    };
    let read = "a read covers what was committed when it was asked";
    let canvass = "a canvass does not oust a working coordinator";
    assert_eq!(cannot(scenario(3, &[3])), [read, canvass]);
    let without_crashes = cannot(Scenario { crashes: 0, ..scenario(3, &[3]) });
    assert!(without_crashes.contains(&"every disk can be recovered from"), "{without_crashes:?}");
    assert_eq!(cannot(rich_scenario(3)), [] as [&str; 0]);
    let forming = cannot(Scenario { forming: true, ..Scenario::new(3, 1, &[]) });
    assert!(forming.contains(&"no two values are chosen in a slot"), "{forming:?}");
    assert!(!forming.contains(&"no two data directories take part under one id"), "{forming:?}");
}
