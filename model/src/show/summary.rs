//! What each replica holds in a state: the end of a path in a few lines.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::lines::{Topic, lines};
use super::words;
use crate::numbers::Slot;
use crate::world::{ClusterState, World};

/// A line for each replica, with its role, its promise and its log; then what is chosen, and each slot in
/// which replicas disagree; then the invariants that the state breaks.
#[must_use]
pub fn state_summary(world: &World, state: &ClusterState) -> String {
    let lines = lines(world, state);
    let text = |replica: Option<usize>, topic: Topic| {
        let line = lines.iter().find(|line| (line.replica, line.topic) == (replica, topic));
        line.map(|line| line.text.as_str())
    };
    let of = |replica: usize| {
        let text = |topic| text(Some(replica), topic).unwrap_or_default();
        [
            String::from(text(Topic::Role)),
            format!("promised {}", text(Topic::Promised)),
            format!("log {}", text(Topic::Log)),
        ]
    };
    let rows: Vec<_> = world.replicas().map(of).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let (roles, promises) = (width(0).unwrap_or(0), width(1).unwrap_or(0));
    let mut summary = Vec::new();
    for (replica, [role, promised, log]) in rows.iter().enumerate() {
        summary.push(format!("r{replica}  {role:roles$}  {promised:promises$}  {log}"));
    }
    summary.push(format!("chosen  {}", text(None, Topic::Chosen).unwrap_or_default()));
    summary.extend(disagreements(world, state));
    if let Some(broken) = text(None, Topic::Broken) {
        summary.push(format!("broken  {broken}"));
    }
    format!("  {}\n", summary.join("\n  "))
}

/// A line for each slot whose committed entries differ, from one another or from what is chosen.
fn disagreements(world: &World, state: &ClusterState) -> Vec<String> {
    let history = world.history(state);
    let slots = (1..=history.committed.len().max(history.chosen.len()) as u64).map(Slot);
    let of_slot = |slot: Slot| {
        let committed: Vec<_> = world
            .replicas()
            .filter_map(|it| {
                let learner = &world.local(state, it).replica.common.learner;
                let (_, entry) = learner.tail_from(Slot(1)).find(|(held, _)| *held == slot)?;
                Some((it, words::entry(entry)))
            })
            .collect();
        let (_, first) = committed.first()?;
        let place = usize::try_from(slot.0 - 1).unwrap_or(usize::MAX);
        let chosen = history.chosen.get(place).and_then(|all| world.entry(all.last()?.1));
        let chosen = chosen.map(words::entry);
        let agree = committed.iter().all(|(_, entry)| entry == first);
        if agree && chosen.as_ref() == Some(first) {
            return None;
        }
        let who = committed.iter().map(|(it, entry)| format!("r{it} has committed {entry}"));
        let who = who.collect::<Vec<_>>().join(", ");
        let chosen = chosen.map_or_else(|| "nothing is".into(), |entry| format!("{entry} is"));
        Some(format!("slot {slot}  {who}; {chosen} chosen by a majority of disks"))
    };
    slots.filter_map(of_slot).collect()
}
