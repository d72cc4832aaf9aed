//! One step of one replica with its disk.
//!
//! It is pure: the result depends only on the local state and the event. A panic of the core is
//! caught, and is a violation.

use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::vec::Vec;

use super::directory::DirectoryName;
use super::envelope::Envelope;
use super::history::{CommitSeen, Effects, VoteSeen};
use super::local::{EntryId, LocalState, Lost, Rollback};
use super::property::{Broken, Invariant};
use crate::configuration::Configuration;
use crate::constants::ClusterConstants;
use crate::entry::Entry;
use crate::forming::{Greeting, Incarnation};
use crate::io::{ClientAnswer, Input, Outgoing, Output, To};
use crate::message::Message;
use crate::numbers::{Position, ReplicaId, Run, Slot};
use crate::prefix::PrefixHash;
use crate::record::{Base, Content, Record};
use crate::recovery::Recovery;
use crate::replica::Replica;

/// What happens to one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaEvent {
    /// The replica receives an input.
    Input(Input<u8>),
    /// This many of its oldest unsynced records become durable, and it is told so.
    Sync(usize),
    /// The replica stops, loses what was not durable, and starts again.
    Crash {
        /// Whether the application keeps its state.
        durable_application: bool,
    },
    /// The replica cannot crash any more, so its disk is removed.
    Survive,
    /// Its disk stops answering.
    HangDisk,
    /// A greeting arrives.
    Greet(DirectoryName, Greeting),
    /// Its disk loses what was synced last, and it starts again.
    RollBack,
    /// Its data directory is lost. It begins anew in this state, but for the directory.
    Lose(Box<LocalState>),
}

/// The result of a step.
pub(crate) struct Stepped {
    pub(crate) local: LocalState,
    pub(crate) sent: Vec<Envelope>,
    pub(crate) effects: Effects,
    /// The replica from which a snapshot is to be fetched, and the last slot of that snapshot.
    pub(crate) fetch: Option<(usize, Slot)>,
}

/// The result of `event` at `before`.
///
/// Unless replicas are to be asked who is ready for a change (`asks_ready`), all voters answer in the step that asks
/// them. That leaves out no behaviour but how long a change is kept aside: to submit it later is the same.
pub(crate) fn step(
    constants: &Arc<ClusterConstants>,
    asks_ready: bool,
    before: &LocalState,
    event: ReplicaEvent,
    entry_id: &dyn Fn(&Entry<u8>) -> EntryId,
) -> Stepped {
    let result = catch_unwind(AssertUnwindSafe(|| {
        step_or_panic(constants, asks_ready, before, event, entry_id)
    }));
    result.unwrap_or_else(|_| {
        let effects = Effects { broken: Invariant::NoStepPanics.into(), ..Effects::default() };
        Stepped { local: before.clone(), sent: Vec::new(), effects, fetch: None }
    })
}

fn step_or_panic(
    constants: &Arc<ClusterConstants>,
    asks_ready: bool,
    before: &LocalState,
    event: ReplicaEvent,
    entry_id: &dyn Fn(&Entry<u8>) -> EntryId,
) -> Stepped {
    let mut local = before.clone();
    let mut out = Output::default();
    let mut effects = Effects::default();
    let mut delivered_before = before.replica.common.learner.delivered();
    let received = match &event {
        ReplicaEvent::Input(Input::Receive { from, message }) if local.rollback.is_some() => {
            Some((*from, message.clone()))
        }
        _ => None,
    };
    let is_reminder = matches!(received, Some((_, Message::Remind { .. })));
    if let Some(rollback) = local.rollback.as_mut().filter(|_| !is_reminder) {
        rollback.lost = None;
    }
    match event {
        ReplicaEvent::Input(input) => local.replica.step(input, &mut out),
        ReplicaEvent::Sync(count) => {
            sync(before, &mut local, count, entry_id, &mut effects);
            let through = Position(count as u64);
            local.replica.step(Input::Synced { through }, &mut out);
        }
        ReplicaEvent::Crash { .. } | ReplicaEvent::RollBack => {
            local.unsynced.clear();
            effects.starts_anew = true;
            let applied = match event {
                ReplicaEvent::Crash { durable_application: true } => {
                    before.replica.common.learner.applied()
                }
                _ => Slot::ZERO,
            };
            if let (ReplicaEvent::RollBack, Some(rollback)) = (&event, &mut local.rollback) {
                (rollback.may_happen, rollback.has_happened) = (false, true);
                rollback.lost = before
                    .disk
                    .as_ref()
                    .zip(rollback.before.as_ref())
                    .map(|(before, after)| Lost::between(&before.fold, &after.fold));
                local.disk = rollback.before.take();
            }
            delivered_before = applied;
            let run = Run(before.replica.common.run.0 + 1);
            let (me, incarnation) = (before.me(), before.replica.common.incarnation);
            if let Some(directory) = &mut local.directory {
                directory.restart(constants.first_configuration());
            }
            let disk = local.disk.as_deref().cloned();
            match disk
                .map(|disk| recover(constants, (me, incarnation), run, applied, disk, &mut out))
            {
                Some(Ok(replica)) => local.replica = replica,
                _ => effects.broken.add(Invariant::EveryDiskRecovers),
            }
        }
        ReplicaEvent::Survive => local.disk = None,
        ReplicaEvent::HangDisk => local.disk_hangs = true,
        ReplicaEvent::Greet(from, greeting) => return greeted(local, from, greeting),
        ReplicaEvent::Lose(first) => return remade(local, *first, constants.first_configuration()),
    }
    // All that is served leaves at once.
    while let Some((&peer, _)) = local.replica.common.serving.first_key_value() {
        local.replica.step(Input::Served { peer }, &mut out);
    }
    while !asks_ready && let Some((from, message)) = answer_to_ask(&local, &mut out) {
        local.replica.step(Input::Receive { from, message }, &mut out);
    }
    // Delivered entries are applied at once.
    let through = local.replica.common.learner.watermark();
    local.replica.step(Input::Applied { through }, &mut out);
    // Positions are only compared with one another, so it does not matter where counting starts.
    local.replica.common.unsynced.renumber();
    observe(before, &local, delivered_before, &out, entry_id, &mut effects);
    local.unsynced.append(&mut out.writes);
    if let Some(rollback) = &local.rollback {
        observe_losses(&local, rollback, received.as_ref(), &mut effects);
        observe_history(before, &local, received.as_ref(), entry_id, &mut effects);
    }
    if !local.replica.common.learner.tail_is_within(constants.limits()) {
        effects.broken.add(Invariant::DurableTailWithinLimits);
    }
    if !local.counts_what_is_durable() {
        effects.broken.add(Invariant::AllDurableCounts);
    }
    let fetch = out.fetch.map(|(from, slot)| (usize::from(from.0), slot));
    let sent = envelopes(&local, out, &mut effects.broken);
    Stepped { local, sent, effects, fetch }
}

/// Takes a question out whether another replica is ready for a change, and says that it is.
fn answer_to_ask(asker: &LocalState, out: &mut Output<u8>) -> Option<(ReplicaId, Message<u8>)> {
    let is_question = |it: &Outgoing<u8>| matches!(it.message, Message::AskReady { .. });
    let index = out.messages.iter().position(is_question)?;
    match out.messages.remove(index) {
        Outgoing { to: To::One(to), message: Message::AskReady { s, number, .. } } => {
            let incarnation = Some(Incarnation::first_of(to));
            let through = asker.replica.common.watermark();
            Some((to, Message::Ready { s, number, incarnation, through }))
        }
        _ => None,
    }
}

/// The oldest `count` records become durable.
fn sync(
    before: &LocalState,
    local: &mut LocalState,
    count: usize,
    entry_id: &dyn Fn(&Entry<u8>) -> EntryId,
    effects: &mut Effects,
) {
    if let Some(rollback) = local.rollback.as_mut().filter(|it| it.may_happen) {
        rollback.before.clone_from(&local.disk);
    }
    let synced: Vec<_> = local.unsynced.drain(..count).collect();
    let mut promised = before.replica.common.acceptor.durable_promise();
    for record in &synced {
        if let Content::Promised(s) | Content::Accepted { s, .. } = &record.content {
            if *s < promised {
                effects.broken.add(Invariant::NothingAcceptedBelowPromise);
            }
            promised = promised.max(*s);
        }
        if let Content::Accepted { s, configuration, first, entries } = &record.content {
            let (s, configuration) = (*s, *configuration);
            for (slot, entry) in (first.0..).map(Slot).zip(entries) {
                let entry = entry_id(entry);
                effects.votes.push(VoteSeen { s, configuration, slot, entry });
            }
        }
        if let Some(disk) = &mut local.disk
            && Arc::make_mut(disk).apply(record.clone()).is_err()
        {
            effects.broken.add(Invariant::EveryDiskRecovers);
        }
    }
}

/// Records whether a replica has rightly stopped, or goes on, for what its disk has lost.
fn observe_losses(
    after: &LocalState,
    rollback: &Rollback,
    received: Option<&(ReplicaId, Message<u8>)>,
    effects: &mut Effects,
) {
    let common = &after.replica.common;
    if common.forgotten.contains_key(&common.me) && !rollback.has_happened {
        effects.broken.add(Invariant::OnlyLossIsFound);
    }
    if let Some((_, Message::Remind { testimony })) = received
        && !common.is_stopped()
        && rollback.lost.as_ref().is_some_and(|lost| lost.includes(testimony))
    {
        effects.broken.add(Invariant::LossIsFound);
    }
}

/// Records what a replica has committed, and whether it was told of another history.
fn observe_history(
    before: &LocalState,
    after: &LocalState,
    received: Option<&(ReplicaId, Message<u8>)>,
    entry_id: &dyn Fn(&Entry<u8>) -> EntryId,
    effects: &mut Effects,
) {
    let told = received.and_then(|(from, message)| Some((*from, history_told(message)?)));
    effects.heard_of_another = told.and_then(|(from, (through, hash))| {
        let mut log = before.log();
        let hashes = (1..=through.0)
            .try_fold(PrefixHash::default(), |hash, _| Some(hash.after(log.next()?)));
        hashes.filter(|mine| *mine != hash).map(|_| usize::from(from.0))
    });
    if !effects.votes.is_empty() || !effects.committed.is_empty() {
        effects.log = Some(after.log().map(entry_id).collect());
    }
}

/// What the sender of a message has committed: up to which slot, and with which hash.
fn history_told(message: &Message<u8>) -> Option<(Slot, PrefixHash)> {
    match message {
        Message::Committed { first, before, .. } => Some((Slot(first.0 - 1), *before)),
        _ => message.prefix().map(|prefix| (prefix.through, prefix.hash)),
    }
}

/// The replica after a greeting. The protocol does not see greetings.
fn greeted(mut local: LocalState, from: DirectoryName, greeting: Greeting) -> Stepped {
    if let Some(directory) = &mut local.directory {
        directory.receive(from, greeting);
    }
    Stepped { local, sent: Vec::new(), effects: Effects::default(), fetch: None }
}

/// The replica with a new data directory, and for the rest as `first`.
fn remade(before: LocalState, first: LocalState, members: &Configuration) -> Stepped {
    let directory = before.directory.map(|mut directory| {
        directory.lose(members);
        directory
    });
    let local = LocalState { disk: before.disk.and(first.disk), directory, ..first };
    let effects = Effects { starts_anew: true, ..Effects::default() };
    Stepped { local, sent: Vec::new(), effects, fetch: None }
}

fn recover(
    constants: &Arc<ClusterConstants>,
    (me, incarnation): (ReplicaId, Option<Incarnation>),
    run: Run,
    applied: Slot,
    base: Base<u8>,
    out: &mut Output<u8>,
) -> Result<Replica<u8>, crate::record::RecordError> {
    let recovery = Recovery::new(Arc::clone(constants), me, run, applied, base, out)?;
    match incarnation {
        Some(incarnation) => recovery.of_directory(incarnation).finish(),
        None => recovery.finish(),
    }
}

/// Records what history and the properties need to know about a step.
fn observe(
    before: &LocalState,
    after: &LocalState,
    delivered_before: Slot,
    out: &Output<u8>,
    entry_id: &dyn Fn(&Entry<u8>) -> EntryId,
    effects: &mut Effects,
) {
    let crashed = after.replica.common.run != before.replica.common.run;
    let promise_before = before.replica.common.acceptor.durable_promise();
    let promise_after = after.replica.common.acceptor.durable_promise();
    let own = |local: &LocalState| {
        let id = local.replica.common.configuration().id();
        local.replica.role.number().map(|s| (s, id))
    };
    effects.stands = own(after).filter(|it| Some(*it) != own(before));
    effects.promise_rose = promise_after > promise_before;
    if promise_after < promise_before {
        effects.broken.add(Invariant::DurablePromiseNeverFalls);
    }
    if !out.contradictions.is_empty() {
        effects.broken.add(Invariant::NoPeerContradicts);
    }
    // Delivery continues slot by slot, from where the application stopped, or behind a snapshot that goes
    // further.
    let mut next = delivered_before.next();
    if let Some(slot) = out.restore {
        if slot < next {
            effects.broken.add(Invariant::DeliveryInOrder);
        }
        next = slot.next();
    }
    for delivered in &out.delivered {
        if delivered.slot != next {
            effects.broken.add(Invariant::DeliveryInOrder);
        }
        next = delivered.slot.next();
    }
    let watermark = |local: &LocalState| local.replica.common.learner.watermark();
    let goes_back = !crashed && watermark(after) < watermark(before);
    if next <= watermark(after) || goes_back {
        effects.broken.add(Invariant::DeliveryInOrder);
    }
    // The commits that recovery repeats are in history already.
    if !crashed {
        // What a snapshot includes is not committed slot by slot.
        let known = before.replica.common.learner.watermark().max(snapshot_written(out));
        let committed = known.next().0..=after.replica.common.learner.watermark().0;
        for slot in committed.map(Slot) {
            let delivered = out.delivered.iter().find(|delivered| delivered.slot == slot);
            // If the application had the entry before a crash, it is not delivered again.
            let entry = delivered.map(|it| &it.entry).or_else(|| after.committed(slot));
            match entry {
                Some(entry) => {
                    let had_already = out.had_already.iter().find(|it| it.0 == slot);
                    let verdict = delivered.map_or(had_already.map(|it| it.1), |it| it.verdict);
                    effects.committed.push(CommitSeen { slot, entry: entry_id(entry), verdict });
                }
                None => effects.broken.add(Invariant::DeliveryInOrder),
            }
        }
    }
    for answer in &out.answers {
        if let ClientAnswer::Read { id, slot } = answer {
            // A read sees the state of the application.
            effects.reads.push((*id, (*slot).min(after.replica.common.learner.applied())));
        }
    }
}

/// The last slot of the snapshot of which a record is written.
fn snapshot_written(out: &Output<u8>) -> Slot {
    let slot = |record: &Record<u8>| match &record.content {
        Content::Snapshot { handle, .. } => Some(handle.slot),
        _ => None,
    };
    out.writes.iter().filter_map(slot).max().unwrap_or_default()
}

/// One envelope for each recipient of each message, and one for each answer that the shell reads from
/// the disk. (Without a disk there are no such answers: the tail is as long as the log.)
fn envelopes(local: &LocalState, out: Output<u8>, broken: &mut Broken) -> Vec<Envelope> {
    let from = local.me();
    let members = local.replica.common.configuration().members();
    let mut sent = Vec::new();
    let mut post = |to, message| sent.extend(local.envelope(to, message));
    for outgoing in out.messages {
        match outgoing.to {
            To::One(to) => post(to, outgoing.message),
            To::Others => {
                for &to in members.iter().filter(|member| **member != from) {
                    post(to, outgoing.message.clone());
                }
            }
        }
    }
    for serve in out.serve {
        let (to, mut rest) = (serve.to, Some(serve));
        while let Some(serve) = rest {
            let first = serve.reads().first;
            let Some(stored) = local.disk.as_ref().and_then(|it| it.fold.entries.get(&first))
            else {
                broken.add(Invariant::OnlyDurableIsServed);
                break;
            };
            let (message, more) = serve.take(Vec::from([stored.entry.clone()]));
            if let Some(message) = message {
                post(to, message);
            }
            rest = more;
        }
    }
    sent
}
