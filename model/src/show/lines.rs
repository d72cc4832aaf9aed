//! A state as lines, for people.
//!
//! A line is about one topic of one replica, or of the cluster. So people read a state from top to
//! bottom, and two states are compared line by line.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::sentence::submission_text;
use super::words;
use crate::numbers::{SequenceNumber, Slot};
use crate::record::Content;
use crate::replica::{Replica, Role};
use crate::world::directory::Directory;
use crate::world::local::LocalState;
use crate::world::{ClusterState, MessageKind, ModelProperty, World};

/// One line of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateLine {
    /// The replica that it is about; `None` for the cluster as a whole.
    pub(super) replica: Option<usize>,
    pub(super) topic: Topic,
    pub(super) text: String,
}

/// The topic of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Role,
    Directory,
    Promised,
    Log,
    OpenSlots,
    Round,
    Clients,
    NotSynced,
    InFlight,
    Chosen,
    Committed,
    Submitted,
    Reads,
    CrashesLeft,
    Broken,
}

/// The text of a line with nothing to list.
pub(super) const NOTHING: &str = "nothing";

impl Topic {
    /// The heading of lines with this topic. A role has none: it is the heading of its replica.
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Role => "",
            Self::Directory => "directory",
            Self::Promised => "promised",
            Self::Log => "log",
            Self::OpenSlots => "open slots",
            Self::Round => "round",
            Self::Clients => "clients",
            Self::NotSynced => "not synced",
            Self::InFlight => "in flight",
            Self::Chosen => "chosen",
            Self::Committed => "committed",
            Self::Submitted => "submitted",
            Self::Reads => "reads",
            Self::CrashesLeft => "crashes left",
            Self::Broken => "BROKEN",
        }
    }
}

/// The lines of `state`: replica by replica, then the cluster.
pub(super) fn lines(world: &World, state: &ClusterState) -> Vec<StateLine> {
    let mut lines = Vec::new();
    for replica in world.replicas() {
        replica_lines(world, state, replica, &mut lines);
    }
    cluster_lines(world, state, &mut lines);
    lines
}

fn replica_lines(world: &World, state: &ClusterState, replica: usize, lines: &mut Vec<StateLine>) {
    let local = world.local(state, replica);
    let mut say = |topic, text| lines.push(StateLine { replica: Some(replica), topic, text });
    let hangs = if local.disk_hangs { "; its disk hangs" } else { "" };
    say(Topic::Role, role(&local.replica) + hangs);
    if let Some(it) = &local.directory {
        say(Topic::Directory, directory(it));
    }
    say(Topic::Promised, promised(&local.replica));
    say(Topic::Log, log(world, state, local));
    if let Role::Coordinator(coordinator) = &local.replica.role {
        let configuration = local.replica.common.configuration();
        if !coordinator.open.is_empty() {
            let open = coordinator.open.iter().map(|(slot, set)| {
                let who = configuration.members_of(*set).map(|it| usize::from(it.0));
                format!("{slot}: acknowledged by {}", names(who))
            });
            say(Topic::OpenSlots, joined(open));
        }
        if let Some(to_finish) = &coordinator.to_finish {
            say(Topic::OpenSlots, format!("to be opened first: up to slot {}", to_finish.through));
        }
        if coordinator.queue.count() > 0 {
            say(Topic::OpenSlots, format!("wait for the window: {}", entries(coordinator)));
        }
        let members = configuration.members().iter();
        let obeyed = members.filter(|it| coordinator.rounds.has_obeyed(**it, configuration));
        let round = coordinator.rounds.newest();
        if round.0 > 0 && !world.scenario().loses.contains(MessageKind::Round) {
            let who = names(obeyed.map(|it| usize::from(it.0)));
            say(Topic::Round, format!("{round}, obeyed by {who}"));
        }
    }
    if let Some(text) = clients(&local.replica) {
        say(Topic::Clients, text);
    }
    let unsynced = local.unsynced.iter().map(words::record);
    say(Topic::NotSynced, joined(unsynced));
    let mut arrives = false;
    for id in &state.in_flight {
        let envelope = world.envelope(*id);
        if usize::from(envelope.to.0) == replica {
            arrives = true;
            let message = words::message(&envelope.message);
            say(Topic::InFlight, format!("from r{}: {message}", envelope.from));
        }
    }
    if !arrives {
        say(Topic::InFlight, NOTHING.into());
    }
}

/// The log: what is committed and what is accepted. A star marks what a crash would lose.
fn log(world: &World, state: &ClusterState, local: &LocalState) -> String {
    let learner = &local.replica.common.learner;
    let history = world.history(state);
    let is_written = |slot: Slot| local.unsynced.iter().any(|it| holds(&it.content, slot));
    let star = |slot| if is_written(slot) { "*" } else { "" };
    let committed = learner.tail_from(Slot(1)).map(|(slot, entry)| {
        let entry = words::in_slot(slot, entry, SequenceNumber::NONE);
        let verdict = history.commit(slot).and_then(|it| words::verdict(it.verdict));
        let verdict = verdict.map_or(String::new(), |it| format!(" ({it})"));
        format!("{entry}{} ✓{verdict}", star(slot))
    });
    let accepted = local.replica.common.acceptor.accepted().iter().map(|(slot, held)| {
        let star = if held.durable { "" } else { "*" };
        format!("{}{star}", words::in_slot(*slot, &held.entry, held.s))
    });
    let text: Vec<_> = committed.chain(accepted).collect();
    if text.is_empty() { "empty".into() } else { text.join("   ") }
}

fn cluster_lines(world: &World, state: &ClusterState, lines: &mut Vec<StateLine>) {
    let mut say = |topic, text| lines.push(StateLine { replica: None, topic, text });
    let history = world.history(state);
    let entry = |id| world.entry(id).map_or_else(|| "?".into(), words::entry);
    let chosen = (1..).zip(&history.chosen);
    let chosen = chosen.flat_map(|(slot, all)| {
        all.iter().map(move |(configuration, it)| {
            let its = words::of_configuration(*configuration);
            format!("{slot}: {}{its}", entry(*it))
        })
    });
    say(Topic::Chosen, joined(chosen));
    let committed = (1..).zip(&history.committed).filter_map(|(slot, commit)| {
        let commit = commit.as_ref()?;
        let by = names(world.replicas().filter(|it| commit.by.contains(*it)));
        Some(format!("{slot}: {} by {by}", entry(commit.entry)))
    });
    say(Topic::Committed, joined(committed));
    let submitted = (0..world.scenario().submissions.len()).map(|index| {
        let places = state.remaining.submitted[index];
        let what = submission_text(world, index);
        if places == 0 {
            format!("{what} not yet")
        } else {
            let at = world.replicas().filter(|it| places & (1 << it) != 0);
            format!("{what} at {}", names(at))
        }
    });
    say(Topic::Submitted, joined(submitted));
    if !world.scenario().reads.is_empty() {
        let reads = (0..world.scenario().reads.len()).map(|index| {
            let asked = if state.remaining.read & (1 << index) == 0 { "not yet" } else { "asked" };
            format!("read {index} {asked}")
        });
        say(Topic::Reads, joined(reads));
    }
    if world.scenario().crashes > 0 {
        say(Topic::CrashesLeft, format!("{}", state.remaining.crashes));
    }
    let broken = broken(world, state);
    if !broken.is_empty() {
        say(Topic::Broken, broken.join("; "));
    }
}

/// The invariants that `state` breaks, of those that are checked in its scenario. Where disks roll back,
/// others are broken by that alone.
fn broken(world: &World, state: &ClusterState) -> Vec<&'static str> {
    let checked = world.scenario().properties().into_iter();
    let invariants = checked.filter(|it| matches!(it, ModelProperty::Invariant(_)));
    invariants.filter(|it| !world.holds(*it, state)).map(ModelProperty::name).collect()
}

fn role(replica: &Replica<u8>) -> String {
    let role = match &replica.role {
        _ if replica.common.is_stopped() => String::from("has stopped"),
        Role::Follower => String::from("follower"),
        Role::Canvassing(canvassing) => {
            let agreed = replica.common.configuration().members_of(canvassing.agreed);
            let agreed = names(agreed.map(|it| usize::from(it.0)));
            format!("canvasses under {}, followed by {agreed}", canvassing.s)
        }
        Role::Candidate(candidate) if !candidate.proposed => {
            format!("candidate under {}, its own promise not yet durable", candidate.s)
        }
        Role::Candidate(candidate) => {
            let watermark = replica.common.learner.watermark();
            let members = replica.common.configuration().members().iter();
            let promised = members.filter(|it| {
                **it == replica.common.me || candidate.missing_from(**it, watermark).is_none()
            });
            let promised = names(promised.map(|it| usize::from(it.0)));
            let lags = if replica.lags_as_candidate() { ", lacks what they committed" } else { "" };
            format!("candidate under {}, promised by {promised}{lags}", candidate.s)
        }
        Role::Coordinator(coordinator) => format!("coordinator under {}", coordinator.s),
    };
    let suspects = if replica.common.suspects { ", suspects that nobody coordinates" } else { "" };
    let run = if replica.common.run.0 > 1 {
        format!(", run {}", replica.common.run)
    } else {
        String::new()
    };
    format!("{role}{suspects}{run}")
}

/// Which data directory it is, which others it knows, and whether that is enough to take part.
fn directory(directory: &Directory) -> String {
    let known: Vec<_> = directory.known().map(|name| format!("{name}")).collect();
    let known = if known.is_empty() { "nobody".into() } else { known.join(" ") };
    let missing = directory.forming.missing();
    let part = if missing.is_empty() {
        "takes part".into()
    } else {
        format!("waits for {}", names(missing.iter().map(|it| usize::from(it.0))))
    };
    format!("{}, knows {known}, {part}", directory.name())
}

fn promised(replica: &Replica<u8>) -> String {
    let promised = replica.common.acceptor.promised();
    let text = match promised {
        SequenceNumber::NONE => NOTHING.into(),
        s if s > replica.common.acceptor.durable_promise() => format!("{s}*"),
        s => format!("{s}"),
    };
    if replica.common.heard > promised {
        format!("{text}, has heard of {}", replica.common.heard)
    } else {
        text
    }
}

/// The submissions and reads for which clients of this replica wait.
fn clients(replica: &Replica<u8>) -> Option<String> {
    let submissions = replica.clients.submissions().map(words::entry);
    let mut waits: Vec<_> = submissions.collect();
    waits.extend(replica.clients.reads.unanswered().iter().map(|id| format!("read {id}")));
    if !replica.clients.reads.told_is_empty() {
        waits.push("a read to be served".into());
    }
    (!waits.is_empty()).then(|| format!("wait for {}", waits.join(", ")))
}

fn entries(coordinator: &crate::replica::Coordinator<u8>) -> String {
    let queue: Vec<_> = coordinator.queue.iter().map(words::entry).collect();
    queue.join(", ")
}

/// Whether a record holds an entry of `slot`.
fn holds(content: &Content<u8>, slot: Slot) -> bool {
    match content {
        Content::Promised(_) | Content::Forgotten(_) | Content::Snapshot { .. } => false,
        Content::Accepted { first, entries, .. } | Content::Committed { first, entries } => {
            *first <= slot && slot < first.plus(entries.len() as u64)
        }
    }
}

/// The names of replicas: `r0 r2`.
fn names(replicas: impl Iterator<Item = usize>) -> String {
    let names: Vec<_> = replicas.map(|it| format!("r{it}")).collect();
    if names.is_empty() { "nobody".into() } else { names.join(" ") }
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<_> = texts.collect();
    if texts.is_empty() { NOTHING.into() } else { texts.join("; ") }
}
