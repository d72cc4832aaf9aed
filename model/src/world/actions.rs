//! What may happen in a state.
//!
//! The bounds of a scenario are enforced here, by the list of actions, and never within a step.
//!
//! Catch-up is a reduction: asks and their answers are not in flight. Instead, a replica may be served
//! the slot after its watermark at any time, if a replica that it hears has ever committed that slot.

use std::vec::Vec;

use super::directory::{Directory, welcomes};
use super::local::{EntryId, RoleKind, Summary};
use super::model::World;
use super::state::ClusterState;
use crate::entry::Entry;
use crate::message::Message;

/// Something that can happen to a cluster. Replicas, submissions and reads are named by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message in flight arrives.
    Deliver {
        /// The recipient.
        to: u8,
        /// The number of the message.
        envelope: u32,
    },
    /// The oldest unsynced records of a replica become durable.
    Sync {
        /// The replica.
        at: u8,
        /// The number of records.
        count: u8,
    },
    /// A client submits.
    Submit {
        /// The replica that receives the submission.
        at: u8,
        /// The submission.
        submission: u8,
    },
    /// A client reads.
    Read {
        /// The replica that receives the read.
        at: u8,
        /// The read.
        read: u8,
    },
    /// Catch-up brings a replica the slot after its watermark.
    Serve {
        /// The replica.
        to: u8,
        /// The replica that serves it.
        from: u8,
    },
    /// The failure detector of a replica suspects that no replica coordinates.
    Suspect {
        /// The replica.
        at: u8,
    },
    /// A replica stands for election.
    Elect {
        /// The replica.
        at: u8,
    },
    /// A replica repeats its unanswered messages.
    Resend {
        /// The replica.
        at: u8,
    },
    /// A replica stops, loses what it has not synced, and starts again.
    Crash {
        /// The replica.
        at: u8,
    },
    /// The disk of a replica stops answering, for good.
    HangDisk {
        /// The replica.
        at: u8,
    },
    /// A replica is told that its disk makes no progress, rightly or too soon.
    DiskHung {
        /// The replica.
        at: u8,
    },
    /// A greeting arrives, and what it tells is stored.
    Greet {
        /// Its recipient.
        to: u8,
        /// Its sender.
        from: u8,
        /// How many directories of the sender were lost before the one that it comes from.
        lost_before: u8,
        /// Whether it answers a hello of the recipient's directory. If not, it is a hello.
        is_welcome: bool,
    },
    /// A replica loses its data directory, and gets a new one.
    Lose {
        /// The replica.
        at: u8,
    },
    /// The disk of a replica loses what was synced last, and the replica starts again.
    RollBack {
        /// The replica.
        at: u8,
    },
    /// A snapshot of a replica's application is durable, and its handle is given back, early or late.
    Snapshot {
        /// The replica.
        at: u8,
        /// The last slot that the snapshot includes.
        slot: u8,
    },
    /// A snapshot that anybody made is durable at a replica, which installs it.
    Install {
        /// The replica.
        at: u8,
        /// The last slot that the snapshot includes.
        slot: u8,
    },
    /// A coordinator hears that slots above its watermark are in a snapshot. (What an offer does at other
    /// replicas is to make them ask.)
    Offer {
        /// The coordinator.
        to: u8,
        /// The last slot that the snapshot includes.
        slot: u8,
    },
}

impl Action {
    /// The replica at which the action happens.
    #[must_use]
    pub fn at(self) -> usize {
        let at = match self {
            Self::Deliver { to, .. }
            | Self::Serve { to, .. }
            | Self::Greet { to, .. }
            | Self::Offer { to, .. } => to,
            Self::Sync { at, .. }
            | Self::Submit { at, .. }
            | Self::Read { at, .. }
            | Self::Suspect { at }
            | Self::Elect { at }
            | Self::Resend { at }
            | Self::Crash { at }
            | Self::Lose { at }
            | Self::RollBack { at }
            | Self::HangDisk { at }
            | Self::Snapshot { at, .. }
            | Self::Install { at, .. }
            | Self::DiskHung { at } => at,
        };
        usize::from(at)
    }
}

impl World {
    /// Lists what may happen in `state`. The order depends only on contents, so it is the same in every
    /// run.
    pub(super) fn list_actions(&self, state: &ClusterState, actions: &mut Vec<Action>) {
        if self.is_stopped() {
            return;
        }
        for &envelope in &state.in_flight {
            let interned = self.envelopes.get(envelope);
            let to = interned.derived.to;
            let summary = self.summary(state, to);
            let is_within = match interned.content.message {
                Message::Submit { .. } => self.has_room(summary),
                Message::Read { .. } => self.may_begin_round(summary),
                _ => true,
            };
            if is_within && self.local(state, to).admits(&interned.content) {
                actions.push(Action::Deliver { to: small(to), envelope });
            }
        }
        for replica in self.replicas() {
            if self.local(state, replica).takes_part() {
                self.list_steps(replica, state, actions);
            }
            let hangs = self.local(state, replica).disk_hangs;
            // It could not read its disk when it starts again.
            if self.may_crash(replica, state.remaining.crashes) && !hangs {
                actions.push(Action::Crash { at: small(replica) });
            }
            self.list_greetings(replica, state, actions);
            if self.may_lose(replica, state) {
                actions.push(Action::Lose { at: small(replica) });
            }
            if self.may_roll_back(replica, state) {
                actions.push(Action::RollBack { at: small(replica) });
            }
        }
    }

    /// What a replica that takes part may do, besides receiving messages.
    fn list_steps(&self, replica: usize, state: &ClusterState, actions: &mut Vec<Action>) {
        let summary = self.summary(state, replica);
        if !self.local(state, replica).disk_hangs {
            self.list_syncs(replica, summary, actions);
        }
        self.list_hangs(replica, summary, state, actions);
        self.list_submits(replica, summary, state, actions);
        self.list_reads(replica, summary, state, actions);
        for (from, _) in self.servers(state, replica) {
            actions.push(Action::Serve { to: small(replica), from: small(from) });
        }
        self.list_snapshots(replica, state, actions);
        self.list_elections(replica, summary, actions);
        let begins_round = summary.round_is_answered;
        if self.scenario.resend && (!begins_round || self.may_begin_round(summary)) {
            actions.push(Action::Resend { at: small(replica) });
        }
    }

    /// The greetings that `to` may receive: a hello of each directory, lost or not, and a welcome of
    /// each that answers its own hello with one.
    fn list_greetings(&self, to: usize, state: &ClusterState, actions: &mut Vec<Action>) {
        let Some(recipient) = &self.local(state, to).directory else {
            return;
        };
        for from in self.replicas().filter(|from| *from != to) {
            let directories = self.local(state, from).directory.iter().flat_map(Directory::all);
            for (name, forming) in directories {
                let (to, from, lost_before) = (small(to), small(from), small(name.lost_before));
                actions.push(Action::Greet { to, from, lost_before, is_welcome: false });
                if welcomes(forming, recipient) {
                    actions.push(Action::Greet { to, from, lost_before, is_welcome: true });
                }
            }
        }
    }

    fn may_lose(&self, replica: usize, state: &ClusterState) -> bool {
        let lost: usize = self.directories(state).map(|it| it.lost.len()).sum();
        lost < self.scenario.losses && self.scenario.may_lose.contains(replica)
    }

    fn may_roll_back(&self, replica: usize, state: &ClusterState) -> bool {
        let rollback = self.local(state, replica).rollback.as_ref();
        state.remaining.rollbacks > 0 && rollback.is_some_and(|it| it.before.is_some())
    }

    fn list_syncs(&self, replica: usize, summary: &Summary, actions: &mut Vec<Action>) {
        let most = if self.scenario.sync_any { summary.unsynced } else { summary.unsynced.min(1) };
        for count in 1..=most {
            actions.push(Action::Sync { at: small(replica), count: small(count) });
        }
    }

    /// A disk that may hang, and a replica that is told that its disk hangs because it has something to
    /// sync. A coordinator then opens a slot, so this is bounded as submissions are.
    fn list_hangs(
        &self,
        replica: usize,
        summary: &Summary,
        state: &ClusterState,
        actions: &mut Vec<Action>,
    ) {
        if self.scenario.hangs == 0 || !self.scenario.may_hang.contains(replica) {
            return;
        }
        let at = small(replica);
        let hanging = self.replicas().filter(|it| self.local(state, *it).disk_hangs).count();
        let hangs = self.local(state, replica).disk_hangs;
        if hanging < self.scenario.hangs && !hangs {
            actions.push(Action::HangDisk { at });
        }
        if summary.unsynced > 0 && self.has_room(summary) {
            actions.push(Action::DiskHung { at });
        }
    }

    /// Whether a submission at this replica opens no slot beyond the bound.
    fn has_room(&self, summary: &Summary) -> bool {
        summary.role != RoleKind::Coordinator || summary.next_slot <= self.scenario.slots as u64
    }

    fn list_submits(
        &self,
        replica: usize,
        summary: &Summary,
        state: &ClusterState,
        actions: &mut Vec<Action>,
    ) {
        let coordinates = summary.role == RoleKind::Coordinator;
        if !(coordinates || self.scenario.submit_anywhere) || !self.has_room(summary) {
            return;
        }
        for (index, submission) in self.scenario.submissions.iter().enumerate() {
            let submitted = state.remaining.submitted[index];
            let is_committed = |before: usize| {
                let id = self.scenario.submissions[before].entry.submission_id();
                let commits = self.history(state).committed.iter().flatten();
                let opens = |entry: &Entry<u8>| matches!(entry, Entry::Open(_));
                commits.filter_map(|commit| self.entry(commit.entry)).any(|entry| {
                    entry.submission_id() == id
                        || (opens(entry) && opens(&self.scenario.submissions[before].entry))
                })
            };
            if submission.at.contains(replica)
                && submitted & (1 << replica) == 0
                && submitted.count_ones() < submission.places
                && submission.after.is_none_or(is_committed)
            {
                actions.push(Action::Submit { at: small(replica), submission: small(index) });
            }
        }
    }

    /// Whether a read at this replica begins no round beyond the bound.
    fn may_begin_round(&self, summary: &Summary) -> bool {
        summary.role != RoleKind::Coordinator || summary.round < self.scenario.rounds
    }

    fn list_reads(
        &self,
        replica: usize,
        summary: &Summary,
        state: &ClusterState,
        actions: &mut Vec<Action>,
    ) {
        if !self.may_begin_round(summary) {
            return;
        }
        for (index, at) in self.scenario.reads.iter().enumerate() {
            let run = index as u64 + 1;
            let is_asked = state.remaining.read & (1 << index) != 0;
            if at.contains(replica) && !is_asked && summary.run.0 == run {
                actions.push(Action::Read { at: small(replica), read: small(index) });
            }
        }
    }

    fn list_elections(&self, replica: usize, summary: &Summary, actions: &mut Vec<Action>) {
        let at = small(replica);
        if self.scenario.canvass {
            actions.push(Action::Suspect { at });
        }
        let may_stand = summary.next_number.is_some_and(|s| self.scenario.numbers.contains(&s));
        if may_stand && summary.role != RoleKind::Coordinator {
            actions.push(Action::Elect { at });
        }
    }

    /// The replicas that can serve `replica` the slot after its watermark, each with the entry of that
    /// slot.
    ///
    /// One may be any replica that has ever committed the slot, since its answer may have been in flight
    /// since then. All of them have the same, so the first one stands for all. Only with rollbacks may
    /// they differ, and then each that has the slot now may serve it.
    pub(crate) fn servers(&self, state: &ClusterState, replica: usize) -> Vec<(usize, EntryId)> {
        if self.keeps_asks || !self.scenario.catch_up.contains(replica) {
            return Vec::new();
        }
        let next = self.summary(state, replica).watermark.next();
        let heard = self.scenario.hears[replica];
        let mut others = self.replicas().filter(|it| *it != replica && heard.contains(*it));
        if self.scenario.rollbacks > 0 {
            let entry = |it: usize| self.local(state, it).committed(next);
            return others.filter_map(|it| Some((it, self.entry_id(entry(it)?)))).collect();
        }
        let commit = self.history(state).commit(next);
        let server = commit.and_then(|commit| {
            others.find(|it| commit.by.contains(*it)).map(|it| (it, commit.entry))
        });
        server.into_iter().collect()
    }
}

/// An index as a byte.
pub(super) fn small(index: usize) -> u8 {
    debug_assert!(index < 256, "models are small");
    u8::try_from(index).unwrap_or(u8::MAX)
}
