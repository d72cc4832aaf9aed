//! The rows of a picture: one for each step, with its marks and its arrow.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::signs::{ArrowStyle, Sign};
use crate::numbers::{SequenceNumber, Slot};
use crate::record::{Content, Record};
use crate::show::sentence::{sentence, submission_text};
use crate::show::words;
use crate::world::local::RoleKind;
use crate::world::{Action, ClusterState, World};

/// A step of a path.
pub(super) struct Row {
    /// The replica where it happens.
    pub(super) at: usize,
    /// What happens, as a sentence.
    pub(super) sentence: String,
    /// Its effects at that replica, in order.
    pub(super) marks: Vec<Mark>,
    /// The message that arrives.
    pub(super) arrow: Option<Arrow>,
    /// What the last row says about the property, and in which colour.
    pub(super) verdict: Option<(String, &'static str)>,
    /// The role of each replica after the step.
    pub(super) roles: Vec<RoleKind>,
}

/// Something that happens to a replica.
pub(super) struct Mark {
    pub(super) sign: Sign,
    pub(super) label: String,
}

/// A message.
pub(super) struct Arrow {
    pub(super) from: usize,
    /// The row of the step that sent it; `None` if catch-up brings it.
    pub(super) sent: Option<usize>,
    pub(super) style: ArrowStyle,
}

/// The rows of a path.
pub(super) fn rows(world: &World, path: &[(ClusterState, Option<Action>)]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, pair) in path.windows(2).enumerate() {
        let [(before, Some(action)), (after, _)] = pair else {
            continue;
        };
        let roles = world.replicas().map(|it| world.summary(after, it).role);
        rows.push(Row {
            at: action.at(),
            sentence: sentence(world, before, *action),
            marks: marks(world, before, after, *action),
            arrow: arrow(world, path, index, *action),
            verdict: None,
            roles: roles.collect(),
        });
    }
    rows
}

/// The arrow of the message that step `index` delivers.
fn arrow(
    world: &World,
    path: &[(ClusterState, Option<Action>)],
    index: usize,
    action: Action,
) -> Option<Arrow> {
    match action {
        Action::Deliver { envelope, .. } => {
            let content = world.envelope(envelope);
            // It was sent by the last step after which it was in flight and before which it was not.
            let is_in_flight = |at: usize| path[at].0.in_flight.contains(&envelope);
            let sent = (0..index).rev().find(|step| is_in_flight(step + 1) && !is_in_flight(*step));
            Some(Arrow {
                from: usize::from(content.from.0),
                sent,
                style: ArrowStyle::of(content.kind()),
            })
        }
        Action::Serve { from, .. } => {
            Some(Arrow { from: usize::from(from), sent: None, style: ArrowStyle::CatchUp })
        }
        _ => None,
    }
}

fn marks(world: &World, before: &ClusterState, after: &ClusterState, action: Action) -> Vec<Mark> {
    let at = action.at();
    let (was, is) = (world.local(before, at), world.local(after, at));
    let mut marks = Vec::new();
    let mut mark = |sign, label: String| marks.push(Mark { sign, label });

    let mut synced = 0;
    match action {
        Action::Submit { submission, .. } => {
            mark(Sign::Client, submission_text(world, usize::from(submission)));
        }
        Action::Read { read, .. } => mark(Sign::Client, format!("read {read}")),
        Action::Suspect { .. } => mark(Sign::Client, "suspects".into()),
        Action::Sync { count, .. } => {
            synced = usize::from(count);
            for record in was.unsynced.iter().take(synced) {
                for label in words::short_record(record) {
                    mark(Sign::Sync, label);
                }
            }
        }
        Action::Crash { .. } => {
            let lost = was.unsynced.len();
            let label = if lost == 0 { "crash".into() } else { format!("forgets {lost}") };
            mark(Sign::Crash, label);
            // What it recovers has happened before.
            return marks;
        }
        Action::Deliver { .. } | Action::Serve { .. } | Action::Elect { .. } => {}
        Action::Resend { .. } => mark(Sign::Client, "resend".into()),
        Action::Snapshot { slot, .. } => mark(Sign::Client, format!("snapshot …{slot}")),
        Action::Install { slot, .. } => mark(Sign::Client, format!("gets snapshot …{slot}")),
        Action::Offer { slot, .. } => mark(Sign::Client, format!("is offered …{slot}")),
        Action::HangDisk { .. } => mark(Sign::Crash, "disk hangs".into()),
        Action::DiskHung { .. } => mark(Sign::Client, "disk hung?".into()),
        Action::Greet { from, is_welcome, .. } => {
            let what = if is_welcome { "welcome" } else { "hello" };
            mark(Sign::Client, format!("{what} of r{from}"));
            if is.takes_part() && !was.takes_part() {
                mark(Sign::Client, "takes part".into());
            }
            return marks;
        }
        Action::RollBack { .. } => {
            mark(Sign::Crash, "rolled back".into());
            return marks;
        }
        Action::Lose { .. } => {
            mark(Sign::Crash, "directory lost".into());
            return marks;
        }
    }

    let (old, new) = (world.summary(before, at), world.summary(after, at));
    if (old.role, old.own) != (new.role, new.own) {
        let own = new.own;
        match new.role {
            RoleKind::Follower => mark(Sign::StepDown, "steps down".into()),
            RoleKind::Canvassing => mark(Sign::Stand, format!("canvasses {own}")),
            RoleKind::Candidate => mark(Sign::Stand, format!("stands {own}")),
            RoleKind::Coordinator => mark(Sign::Coordinate, format!("under {own}")),
        }
    }
    for record in is.unsynced.iter().skip(was.unsynced.len() - synced) {
        let sign = sign_of(record);
        for label in words::short_record(record) {
            mark(sign, label);
        }
    }
    let watermark = was.replica.common.learner.watermark();
    for (slot, entry) in is.replica.common.learner.tail_from(Slot(1)).filter(|it| it.0 > watermark)
    {
        mark(Sign::Commit, words::in_slot(slot, entry, SequenceNumber::NONE));
    }
    if is.replica.clients.reads.is_empty() && !was.replica.clients.reads.is_empty() {
        mark(Sign::Client, "read served".into());
    }
    marks
}

fn sign_of(record: &Record<u8>) -> Sign {
    match record.content {
        Content::Promised(_) => Sign::Promise,
        Content::Accepted { .. }
        | Content::Committed { .. }
        | Content::Forgotten(_)
        | Content::Snapshot { .. } => Sign::Write,
    }
}
