//! An action as a sentence.
//!
//! An [`Action`] is a few numbers; what it comes to depends on the state that it happens in, so the
//! sentence is made from both.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::words;
use crate::entry::Entry;
use crate::replica::Role;
use crate::world::local::Local;
use crate::world::{Action, ClusterState, World};

impl World {
    /// What happens when `action` is taken in `state`, as a sentence.
    #[must_use]
    pub fn sentence(&self, state: &ClusterState, action: Action) -> String {
        let at = action.at();
        let local = self.local(state, at);
        match action {
            Action::Deliver { envelope, .. } => {
                words::envelope(&self.envelopes.get(envelope).content)
            }
            Action::Sync { count, .. } => sync(at, local, usize::from(count)),
            Action::Submit { submission, .. } => {
                let index = usize::from(submission);
                let is_first = state.left.submitted[index] == 0;
                let does = match (&self.scenario.submissions[index].entry, is_first) {
                    (Entry::Open(_), true) => "opens a session".into(),
                    (Entry::Open(_), false) => "retries to open its session".into(),
                    (Entry::End { session }, true) => format!("ends session {session}"),
                    (entry, true) => format!("submits {}", words::entry(entry)),
                    (entry, false) => format!("retries {}", words::entry(entry)),
                };
                format!("a client {does} at r{at}")
            }
            Action::Read { read, .. } => format!("a client asks r{at} for read {read}"),
            Action::Serve { .. } => match self.served(state, at) {
                Some((server, entry)) => {
                    let slot = local.replica.learner.watermark().next();
                    let entry = words::entry(entry);
                    format!("r{server} tells r{at}: committed {entry} in slot {slot} (catch-up)")
                }
                None => format!("catch-up brings r{at} nothing"),
            },
            Action::Suspect { .. } => match local.replica.role {
                Role::Coordinator(_) => format!("r{at} is told that its round goes unanswered"),
                _ => format!("r{at} suspects that nobody coordinates"),
            },
            Action::Elect { .. } => {
                let verb = if self.scenario.canvass { "canvasses" } else { "stands for election" };
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
        }
    }

    /// The replica with this id and its disk.
    pub(in crate::world) fn local(&self, state: &ClusterState, replica: usize) -> &Local {
        &self.locals.get(state.locals[replica]).content
    }

    /// What is submitted, by its place in the scenario.
    pub(in crate::world) fn submission_text(&self, index: usize) -> String {
        match &self.scenario.submissions[index].entry {
            // Who opens a session is not known before somebody is asked.
            Entry::Open(_) => "open".into(),
            entry => words::entry(entry),
        }
    }

    /// Who brings `replica` the slot after its watermark by catch-up, and what is in it.
    pub(in crate::world) fn served(
        &self,
        state: &ClusterState,
        replica: usize,
    ) -> Option<(usize, &Entry<u8>)> {
        let next = self.local(state, replica).replica.learner.watermark().next();
        let commit = self.ghosts.get(state.ghost).content.commit(next)?;
        let heard = self.scenario.hears[replica];
        let mut servers = self.replicas().filter(|server| *server != replica);
        let server = servers.find(|it| commit.by.contains(*it) && heard.contains(*it))?;
        Some((server, self.entry(commit.entry)?))
    }
}

impl Action {
    /// The replica that this happens at.
    #[must_use]
    pub fn at(self) -> usize {
        let at = match self {
            Self::Deliver { to, .. } | Self::Serve { to } => to,
            Self::Sync { at, .. }
            | Self::Submit { at, .. }
            | Self::Read { at, .. }
            | Self::Suspect { at }
            | Self::Elect { at }
            | Self::Resend { at }
            | Self::Crash { at } => at,
        };
        usize::from(at)
    }
}

fn sync(at: usize, local: &Local, count: usize) -> String {
    let records: Vec<_> = local.unsynced.iter().take(count).map(words::record).collect();
    let records = records.join("; ");
    match count {
        1 => format!("r{at}'s oldest write becomes durable: {records}"),
        _ => format!("r{at}'s oldest {count} writes become durable: {records}"),
    }
}
