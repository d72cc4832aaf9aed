//! States, steps and whole paths as text.
//!
//! A cluster state is a few numbers behind which contents stand, so nothing of it can be read
//! without the [`World`] that it belongs to. Here it becomes text:
//!
//! - [`state_text`] says what a state is, in lines, and marks those that a step changed;
//! - [`path_text`] tells a path, step by step, and of each step only what it changed.
use std::format;
use std::string::String;
use std::vec::Vec;

use super::lines::{NOTHING, StateLine, Topic, lines};
use super::sentence::sentence;
use super::words;
use crate::world::{Action, ClusterState, World};

/// Explains the signs in a state's text.
const SIGNS: &str = "✓ committed   * not yet synced   1: a@3  slot 1 holds a, accepted under 3";

/// Where the texts of lines begin.
const HEADING_COLUMNS: usize = 14;

/// How broad the texts of lines may be: as the explorer has room for, in a window that is 1280
/// pixels wide.
const TEXT_COLUMNS: usize = 84;

/// `state` for people: what each replica is, has promised, holds, has not synced, and is sent;
/// and what the cluster as a whole has come to. With the state `before` a step, the lines that
/// the step changed are marked.
#[must_use]
pub fn state_text(world: &World, state: &ClusterState, before: Option<&ClusterState>) -> String {
    let before = before.map(|before| lines(world, before));
    let is_changed = |line: &StateLine| before.as_ref().is_some_and(|it| !it.contains(line));
    let mut rows = Vec::new();
    for line in lines(world, state) {
        // The first thing that is said of the cluster as a whole.
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

/// A path as text: for each step its number, the action as a sentence, and the lines that it
/// changed. `path` is what [`Path::into_vec`](stateright::Path::into_vec) gives.
#[must_use]
pub fn path_text(world: &World, path: &[(ClusterState, Option<Action>)]) -> String {
    let mut rows = Vec::new();
    for (number, pair) in (1..).zip(path.windows(2)) {
        let [(before, Some(action)), (after, _)] = pair else {
            continue;
        };
        rows.push(format!("{number:3}  {}", sentence(world, before, *action)));
        let known = lines(world, before);
        // That a message has arrived is what the sentence says.
        let arrived = |line: &StateLine| line.topic == Topic::InFlight && line.text == NOTHING;
        let lines = lines(world, after);
        let new = lines.iter().filter(|line| !arrived(line) && !known.contains(line));
        rows.extend(new.map(changed));
    }
    rows.push(format!("\n     {SIGNS}"));
    rows.join("\n") + "\n"
}

/// A line by itself, behind whom it is about.
fn changed(line: &StateLine) -> String {
    let who = line.replica.map_or_else(|| "cluster".into(), |it| format!("r{it}"));
    let heading = if line.topic == Topic::Role { "role" } else { line.topic.heading() };
    format!("       {who:9}{heading:HEADING_COLUMNS$}{}", line.text)
}
