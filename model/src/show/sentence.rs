//! An action as a sentence.
//!
//! An [`Action`] is a few numbers, and its effect depends on the state in which it happens. So the
//! sentence is made from both.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::words;
use crate::entry::Entry;
use crate::numbers::ReplicaId;
use crate::replica::Role;
use crate::world::directory::{Directory, DirectoryName};
use crate::world::local::LocalState;
use crate::world::{Action, ClusterState, World};

/// A sentence that says what happens when `action` is taken in `state`.
#[must_use]
pub fn sentence(world: &World, state: &ClusterState, action: Action) -> String {
    let at = action.at();
    let local = world.local(state, at);
    match action {
        Action::Deliver { envelope, .. } => words::envelope(world.envelope(envelope)),
        Action::Sync { count, .. } => sync(at, local, usize::from(count)),
        Action::Submit { submission, .. } => {
            let index = usize::from(submission);
            let is_first = state.remaining.submitted[index] == 0;
            let does = match (&world.scenario().submissions[index].entry, is_first) {
                (Entry::Open(_), true) => "opens a session".into(),
                (Entry::Open(_), false) => "retries to open its session".into(),
                (Entry::End { session }, true) => format!("ends session {session}"),
                (entry, true) => format!("submits {}", words::entry(entry)),
                (entry, false) => format!("retries {}", words::entry(entry)),
            };
            format!("a client {does} at r{at}")
        }
        Action::Read { read, .. } => format!("a client asks r{at} for read {read}"),
        Action::Serve { from, .. } => {
            let servers = world.servers(state, at);
            let served = servers.into_iter().find(|(it, _)| *it == usize::from(from));
            let entry = served.and_then(|(_, entry)| world.entry(entry));
            let entry = entry.map_or_else(|| "?".into(), words::entry);
            let slot = local.replica.common.learner.watermark().next();
            format!("r{from} tells r{at}: committed {entry} in slot {slot} (catch-up)")
        }
        Action::Suspect { .. } => match local.replica.role {
            Role::Coordinator(_) => format!("r{at} is told that its round goes unanswered"),
            _ => format!("r{at} suspects that nobody coordinates"),
        },
        Action::Elect { .. } => {
            let verb = if world.scenario().canvass { "canvasses" } else { "stands for election" };
            match local.replica.next_number() {
                Some(s) => format!("r{at} {verb} under {s}"),
                None => format!("r{at} cannot stand: there is no larger number"),
            }
        }
        Action::Resend { .. } => format!("r{at} repeats what is unanswered"),
        Action::Crash { .. } => match local.unsynced.len() {
            0 => format!("r{at} crashes; all it wrote was synced"),
            1 => format!("r{at} crashes and forgets 1 unsynced write"),
            count => format!("r{at} crashes and forgets {count} unsynced writes"),
        },
        Action::Greet { from, lost_before, is_welcome, .. } => {
            let (replica, lost_before) = (ReplicaId(from.into()), lost_before.into());
            let from = DirectoryName { replica, lost_before };
            let verb = if is_welcome { "welcomes" } else { "says hello to" };
            format!("{from} {verb} {}", directory(local))
        }
        Action::RollBack { .. } => {
            format!("the disk of r{at} loses what was synced last, and r{at} starts again")
        }
        Action::Snapshot { slot, .. } => {
            format!("a snapshot of r{at} up to slot {slot} is durable")
        }
        Action::Install { slot, .. } => {
            format!("a snapshot up to slot {slot} has come to r{at}")
        }
        Action::Offer { slot, .. } => {
            format!("r{at} hears that all up to slot {slot} is in a snapshot")
        }
        Action::Lose { .. } => format!("{} loses its data directory", directory(local)),
        Action::HangDisk { .. } => format!("r{at}'s disk stops answering"),
        Action::DiskHung { .. } => format!("r{at} is told that its disk makes no progress"),
    }
}

fn directory(local: &LocalState) -> String {
    let name = local.directory.as_ref().map(Directory::name);
    name.map_or_else(|| format!("r{}", local.me()), |name| format!("{name}"))
}

/// The text of a submission of the scenario.
pub(super) fn submission_text(world: &World, index: usize) -> String {
    match &world.scenario().submissions[index].entry {
        // The origin is not known before a replica receives the submission.
        Entry::Open(_) => "open".into(),
        entry => words::entry(entry),
    }
}

fn sync(at: usize, local: &LocalState, count: usize) -> String {
    let records: Vec<_> = local.unsynced.iter().take(count).map(words::record).collect();
    let records = records.join("; ");
    match count {
        1 => format!("r{at}'s oldest write becomes durable: {records}"),
        _ => format!("r{at}'s oldest {count} writes become durable: {records}"),
    }
}
