//! States and paths as text.
//!
//! - [`state_text`] prints a state as lines, and marks those that a step changed.
//! - [`path_text`] prints a path step by step, each with the lines that it changed.
use std::format;
use std::string::String;
use std::vec::Vec;

use super::lines::{NOTHING, StateLine, Topic, lines};
use super::sentence::sentence;
use super::words;
use crate::world::{Action, ClusterState, World};

/// Explains the signs in the text of a state.
const SIGNS: &str = "✓ committed   * not yet synced   1: a@3  slot 1 holds a, accepted under 3";

/// The width of the headings of lines.
const HEADING_COLUMNS: usize = 14;

/// The most columns for the texts of lines. So many fit in the explorer, in a window that is 1280 pixels
/// wide.
const TEXT_COLUMNS: usize = 84;

/// A state as text: for each replica its role, promise, log, unsynced records and the messages in flight
/// to it; then the cluster as a whole. With the state `before` a step, the lines that the step changed
/// are marked.
#[must_use]
pub fn state_text(world: &World, state: &ClusterState, before: Option<&ClusterState>) -> String {
    let before = before.map(|before| lines(world, before));
    let is_changed = |line: &StateLine| before.as_ref().is_some_and(|it| !it.contains(line));
    let mut rows = Vec::new();
    for line in lines(world, state) {
        // The first line about the cluster as a whole.
        if line.topic == Topic::Chosen {
            rows.push("  cluster".into());
        }
        let mark = if is_changed(&line) { '»' } else { ' ' };
        if let (Topic::Role, Some(replica)) = (line.topic, line.replica) {
            rows.push(format!("{mark} r{replica}  {}", line.text));
            continue;
        }
        let mut start = format!("{mark}     {:HEADING_COLUMNS$}", line.topic.heading());
        for text in words::wrapped(&line.text, TEXT_COLUMNS) {
            rows.push(format!("{start}{text}"));
            start = " ".repeat(6 + HEADING_COLUMNS);
        }
    }
    rows.push(format!("\n  {SIGNS}"));
    if before.is_some() {
        rows.push("  » changed by this step".into());
    }
    rows.join("\n") + "\n"
}

/// A path as text: for each step its number, the action as a sentence, and the lines that it changed.
/// `path` is the result of [`Path::into_vec`](stateright::Path::into_vec).
#[must_use]
pub fn path_text(world: &World, path: &[(ClusterState, Option<Action>)]) -> String {
    let mut rows = Vec::new();
    for (number, pair) in (1..).zip(path.windows(2)) {
        let [(before, Some(action)), (after, _)] = pair else {
            continue;
        };
        rows.push(format!("{number:3}  {}", sentence(world, before, *action)));
        let known = lines(world, before);
        // The sentence says already that a message has arrived.
        let arrived = |line: &StateLine| line.topic == Topic::InFlight && line.text == NOTHING;
        let lines = lines(world, after);
        let new = lines.iter().filter(|line| !arrived(line) && !known.contains(line));
        rows.extend(new.map(changed));
    }
    rows.push(format!("\n     {SIGNS}"));
    rows.join("\n") + "\n"
}

/// A changed line, after the replica that it is about.
fn changed(line: &StateLine) -> String {
    let who = line.replica.map_or_else(|| "cluster".into(), |it| format!("r{it}"));
    let heading = if line.topic == Topic::Role { "role" } else { line.topic.heading() };
    format!("       {who:9}{heading:HEADING_COLUMNS$}{}", line.text)
}
