//! Everything in a state, as text.
//!
//! This text is complete: two states have the same text if and only if they are the same. It consists of
//! the derived `Debug` texts, so that no new field of the core can be forgotten, and of the digest.
//! Constants of the cluster are left out.

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::world::{ClusterState, World};

/// The most columns of a line. So many fit in the explorer, on a screen of 1280 pixels.
const COLUMNS: usize = 90;

/// Everything that distinguishes `state` from other states.
#[must_use]
pub fn state_details(world: &World, state: &ClusterState) -> String {
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

/// A derived `Debug` text, without the structs in fields called `name`.
fn without_field(text: &str, name: &str) -> String {
    let start = format!("{name}: ");
    let mut ends_with: Option<String> = None;
    let mut kept = Vec::new();
    for line in text.lines() {
        match &ends_with {
            Some(end) if line.starts_with(end) => ends_with = None,
            Some(_) => {}
            // The struct in the field ends with a brace at the same indentation.
            None if line.trim_start().starts_with(&start) && line.ends_with('{') => {
                ends_with = Some(line.replace(line.trim_start(), "}"));
            }
            None => kept.push(line),
        }
    }
    kept.join("\n")
}

/// A derived `Debug` text, which has a line for every field. Each struct, list or tuple that fits on one
/// line is put on one.
fn folded(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        // `Debug` indents by four, which is too much for deep nesting.
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

/// The lines of one struct, list or tuple, joined.
fn on_one_line(lines: &[String]) -> String {
    let (first, rest) = lines.split_at(1);
    let mut one = first.concat();
    let is_struct = one.ends_with('{');
    for (index, line) in rest.iter().enumerate() {
        let is_last = index + 1 == rest.len();
        if is_last {
            // The last field has no comma.
            one.truncate(one.trim_end_matches(',').len());
        }
        if is_struct || (index > 0 && !is_last) {
            one.push(' ');
        }
        one += line.trim_start();
    }
    one
}
