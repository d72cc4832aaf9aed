//! All of a state, for those who want to know everything, and for the explorer, which takes two
//! states for the same if their texts are.
//!
//! It is made of what the compiler derives, so that a new field of the core cannot be forgotten, and
//! of the digest. What a cluster never changes is left out.

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::world::{ClusterState, World};

/// The width of the text: what stateright's explorer shows in a line on a screen of 1280 pixels.
const COLUMNS: usize = 90;

/// Everything that tells `state` from other states.
pub(super) fn details(world: &World, state: &ClusterState) -> String {
    let ClusterState { locals: _, in_flight, history: _, remaining, broken, digest } = state;
    let mut parts = Vec::new();
    for replica in world.replicas() {
        let local = world.local(state, replica);
        let local = folded(&without_field(&format!("{local:#?}"), "constants"));
        parts.push(format!("r{replica} {local}"));
    }
    for id in in_flight {
        parts.push(folded(&format!("{:#?}", world.envelope(*id))));
    }
    parts.push(folded(&format!("{:#?}", world.history(state))));
    parts.push(folded(&format!("{remaining:#?}")));
    parts.push(format!("broken {broken:?}"));
    parts.push(format!("digest {digest:032x}\n"));
    parts.join("\n")
}

/// `text`, which the compiler laid out, without the structs that fields called `name` hold.
fn without_field(text: &str, name: &str) -> String {
    let start = format!("{name}: ");
    let mut ends_with: Option<String> = None;
    let mut kept = Vec::new();
    for line in text.lines() {
        match &ends_with {
            Some(end) if line.starts_with(end) => ends_with = None,
            Some(_) => {}
            // The struct that the field holds ends with a brace that is indented as far.
            None if line.trim_start().starts_with(&start) && line.ends_with('{') => {
                ends_with = Some(line.replace(line.trim_start(), "}"));
            }
            None => kept.push(line),
        }
    }
    kept.join("\n")
}

/// `text`, which the compiler laid out with a line for every field, with everything that has room on
/// one line on one line.
fn folded(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        // The compiler indents by four, which is much where things are nested.
        let indentation = (line.len() - trimmed.len()) / 2;
        lines.push(format!("{:indentation$}{trimmed}", ""));
        if !trimmed.starts_with(['}', ']', ')']) {
            continue;
        }
        let opened = lines.iter().rposition(|it| {
            it.len() - it.trim_start().len() == indentation && it.ends_with(['{', '[', '('])
        });
        if let Some(opened) = opened {
            let one = on_one_line(&lines[opened..]);
            if one.chars().count() <= COLUMNS {
                lines.truncate(opened);
                lines.push(one);
            }
        }
    }
    lines.join("\n")
}

/// The lines of one struct, list or tuple, put behind one another.
fn on_one_line(lines: &[String]) -> String {
    let (first, rest) = lines.split_at(1);
    let mut one = first.concat();
    let is_struct = one.ends_with('{');
    for (index, line) in rest.iter().enumerate() {
        let is_last = index + 1 == rest.len();
        if is_last {
            // The comma of the last field goes.
            one.truncate(one.trim_end_matches(',').len());
        }
        if is_struct || (index > 0 && !is_last) {
            one.push(' ');
        }
        one += line.trim_start();
    }
    one
}
