//! Messages that no correct peer sends, mixed into real runs.
//!
//! If a member lies, the cluster may disagree. But no message may make a replica:
//!
//! - panic,
//! - write a record that it cannot read again,
//! - hold or send more than the limits allow,
//! - change what is committed.

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{
    ConfigurationId, Entry, Input, Limits, Message, Opening, Order, OtherHistory, Outgoing, Output,
    Prefix, PrefixHash, Promise, ReplicaId, Reply, Request, RoleName, SequenceNumber, Slot,
    Testimony, To,
};

use crate::check;
use crate::cluster::{Cluster, V, abort_if_stuck};
use crate::messages::{entry, message, order, reply, slot};
use crate::schedule::{Act, Limit, Schedule, act, schedules};

/// A message to `to` with the sender `from`, which may be no member.
#[derive(Clone, Debug)]
struct Forged {
    from: u16,
    to: usize,
    message: Message<V>,
    /// Whether its sequence number is one that `to` does not ignore.
    fits: bool,
    /// How often it arrives, each time with higher slots and ids.
    times: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Real(Act),
    Forged(Forged),
    /// A message that was really sent, with one part changed.
    Twisted {
        which: usize,
        to: usize,
        entry: Entry<V>,
        slot: Slot,
        watermark: Slot,
    },
}

#[test]
fn no_replica_panics_or_exceeds_a_limit() {
    let steps = vec(step(), 20..300);
    check(1_500, &(prop_oneof![Just(3), Just(5)], steps), |(replicas, steps)| {
        let mut cluster = Cluster::new(replicas, limits());
        cluster.monitor.honest = false;
        abort_if_stuck("a forged message", || {
            for (count, step) in steps.iter().enumerate() {
                step.happen(&mut cluster);
                if count % 8 == 0 {
                    Act::SyncAll.happen(&mut cluster);
                }
            }
            assert_holds_little(&cluster);
        });
    });
}

/// An entry that differs from the committed entry of a slot is reported, and changes nothing.
#[test]
fn no_message_changes_what_is_committed() {
    let forged = entry().prop_filter("a possible value", |it| it.size_bytes() <= 32 + 8);
    check(500, &(schedules(20..300), forged), |(schedule, forged): (Schedule, _)| {
        let mut cluster = schedule.run();
        cluster.monitor.honest = false;
        for at in 0..cluster.nodes.len() {
            contradict(&mut cluster, at, &forged);
        }
    });
}

/// A replica ignores an order whose sender does not own the number, and every reply of another
/// configuration. An order of another configuration is answered with what is committed, and changes nothing.
#[test]
fn no_replica_obeys_a_stranger() {
    let forged = (order(), reply(), 1..12u64, 2..5u64);
    check(500, &(schedules(20..100), forged), |(schedule, forged): (Schedule, _)| {
        let cluster = schedule.run();
        let stride = cluster.nodes.len() as u64;
        for node in cluster.nodes.iter().filter(|_| stride > 1) {
            let Some(replica) = &node.replica else {
                continue;
            };
            let (order, reply, more, other) = forged.clone();
            let from = ReplicaId(u16::from(node.id == ReplicaId(0)));
            let status = replica.status();
            let owned =
                status.promised.0 / stride * stride + stride * (1 + more) + u64::from(from.0);
            let used = match status.role {
                RoleName::Follower => status.promised,
                RoleName::Canvassing { s }
                | RoleName::Candidate { s }
                | RoleName::Coordinator { s, .. } => s,
            };
            let ordered = |configuration, s| Message::Order {
                configuration: ConfigurationId(configuration),
                s: SequenceNumber(s),
                order: order.clone(),
            };
            let replied = Message::Reply { configuration: ConfigurationId(other), s: used, reply };
            let not_owned = owned + 1 + more % (stride - 1);
            let prefix = replica.status().prefix;
            let told =
                Outgoing { to: To::One(from), message: Message::CommittedThrough { prefix } };
            let answered = Output { messages: vec![told], ..Output::default() };
            let cases = [
                (ordered(1, not_owned), Output::default()),
                (ordered(other, owned), answered),
                (replied, Output::default()),
            ];
            for (message, answer) in cases {
                // What a peer has committed is compared in any case.
                if message.prefix().is_some_and(|prefix| *prefix != Prefix::default()) {
                    continue;
                }
                let mut after = replica.clone();
                let mut out = Output::default();
                after.step(Input::Receive { from, message }, &mut out);
                let answer = if status.is_stopped { Output::default() } else { answer };
                assert_eq!((&after, out), (replica, answer));
            }
        }
    });
}

fn contradict(cluster: &mut Cluster, at: usize, forged: &Entry<V>) {
    let from = ReplicaId(u16::from(at == 0));
    let node = &cluster.nodes[at];
    let Some(replica) = node.replica.clone().filter(|_| cluster.nodes.len() > 1) else {
        return;
    };
    let watermark = replica.status().watermark;
    let limits = cluster.constants.limits();
    let log = node.disk.log();
    // The tail. Older entries are not in memory, so the replica cannot compare them.
    let mut bytes_left = limits.accepted_bytes_max;
    let newest_first = log.range(..=watermark).rev();
    let tail = newest_first.zip(0..limits.accepted_slots_max).map_while(|(it, _)| {
        bytes_left = bytes_left.checked_sub(it.1.entry.size_bytes())?;
        Some(it)
    });
    for (&slot, _) in tail.filter(|(_, held)| held.entry != *forged) {
        let told = Message::Committed {
            log_starts_at: Slot(1),
            first: slot,
            before: log
                .range(..slot)
                .fold(PrefixHash::default(), |hash, (_, it)| hash.after(&it.entry)),
            entries: vec![forged.clone()],
            watermark: slot,
        };
        let mut after = replica.clone();
        let mut out = Output::default();
        after.step(Input::Receive { from, message: told }, &mut out);
        // It takes nothing in, reports the peer, and asks the others what they have.
        assert_eq!(out.other_histories, [OtherHistory { peer: from, slot }]);
        assert!(out.writes.is_empty() && out.delivered.is_empty(), "slot {slot}");
        assert_eq!(after.status().prefix, replica.status().prefix);

        // A correct old coordinator may send an accept with another entry. So the accept is not
        // reported, and the slot keeps its entry.
        let stride = cluster.nodes.len() as u64;
        let s = SequenceNumber(
            replica.status().promised.0 / stride * stride + stride + u64::from(from.0),
        );
        let accept = Message::Order {
            configuration: ConfigurationId(1),
            s,
            order: Order::Accept {
                first: slot,
                entries: vec![forged.clone()],
                prefix: Prefix::default(),
            },
        };
        let written = cluster.nodes[at].disk.records().len();
        cluster.step(at, Input::Receive { from, message: accept });
        let after = cluster.nodes[at].disk.log();
        assert_eq!(after[&slot].entry, log[&slot].entry);
        assert!(cluster.nodes[at].disk.records().len() <= written + 1, "a promise at most");
    }
}

/// Limits that are small enough to show a leak.
fn limits() -> Limits {
    Limits {
        open_slots_max: 3,
        accepted_slots_max: 4,
        accepted_bytes_max: 160,
        submissions_max: 4,
        submissions_bytes_max: 140,
        queued_submissions_max: 4,
        queued_bytes_max: 140,
        session_requests_max: 4,
        sessions_max: 4,
        reads_max: 4,
        ..Limit::FewSlots.limits()
    }
}

/// Checks that a replica that keeps its limits has a short `Debug` text. (The core does not count what
/// it holds. The text contains every field.)
fn assert_holds_little(cluster: &Cluster) {
    for node in &cluster.nodes {
        let log = node.disk.log();
        let watermark = node.replica.as_ref().map(|it| it.status().watermark);
        let above = log.range(watermark.unwrap_or(Slot::MAX).next()..).count() as u64;
        assert!(above <= 2 * cluster.constants.limits().accepted_slots_max, "{above} accepted");
        let length = format!("{:?}", node.replica).len();
        assert!(length < 9_000, "r{} holds too much: {length}\n{:#?}", node.id, node.replica);
    }
}

impl Step {
    fn happen(&self, cluster: &mut Cluster) {
        let replicas = cluster.nodes.len();
        match self {
            Self::Real(Act::Calm) => (0..3).for_each(|_| {
                Act::SyncAll.happen(cluster);
                Act::Flush { backwards: false, one_in: 1_000 }.happen(cluster);
            }),
            Self::Real(act) => act.happen(cluster),
            Self::Forged(forged) => forged.arrive(cluster),
            Self::Twisted { which, to, entry, slot, watermark } => {
                let sent = cluster.network.sent.len();
                if sent > 0 {
                    let envelope = &cluster.network.sent[which % sent];
                    let (from, mut message) = (envelope.from, envelope.message.clone());
                    twist(&mut message, entry, *slot, *watermark);
                    cluster.step(to % replicas, Input::Receive { from, message });
                }
            }
        }
    }
}

impl Forged {
    fn arrive(&self, cluster: &mut Cluster) {
        let Self { from, ref message, fits, times, .. } = *self;
        let to = self.to % cluster.nodes.len();
        for more in 0..times {
            let mut message = message.clone();
            raise(&mut message, more);
            if let Message::Order { s, .. } | Message::Reply { s, .. } = &message
                && fits
                && let Some(s) = number_that_fits(cluster, from, to, &message, *s)
            {
                set_number(&mut message, s);
            }
            cluster.step(to, Input::Receive { from: ReplicaId(from), message });
            cluster.sync(to, usize::MAX);
        }
    }
}

/// For a reply: the number under which replica `to` expects replies. For an order: the next number of
/// `from` that `to` obeys.
fn number_that_fits(
    cluster: &Cluster,
    from: u16,
    to: usize,
    message: &Message<V>,
    s: SequenceNumber,
) -> Option<SequenceNumber> {
    let status = cluster.nodes[to].replica.as_ref()?.status();
    if let Message::Reply { .. } = message {
        match status.role {
            RoleName::Follower => None,
            RoleName::Canvassing { s }
            | RoleName::Candidate { s }
            | RoleName::Coordinator { s, .. } => Some(s),
        }
    } else {
        let seen = SequenceNumber(status.promised.0.saturating_sub(s.0 % 2));
        cluster.constants.next_number(ReplicaId(from), seen)
    }
}

fn set_number(message: &mut Message<V>, number: SequenceNumber) {
    if let Message::Order { s, .. } | Message::Reply { s, .. } = message {
        *s = number;
    }
}

/// Raises all slots and ids of a message.
fn raise(message: &mut Message<V>, more: u64) {
    let up = |slot: &mut Slot| *slot = slot.plus(more);
    match message {
        Message::Order { order, .. } => match order {
            Order::Canvass { .. } | Order::Progress => {}
            Order::Propose { from } => up(from),
            Order::Accept { first, prefix, .. } => {
                up(first);
                up(&mut prefix.through);
            }
            Order::Commit { prefix } => up(&mut prefix.through),
            Order::Round { number, prefix } => {
                number.0 = number.0.saturating_add(more);
                up(&mut prefix.through);
            }
        },
        Message::Reply { reply, .. } => match reply {
            Reply::Agree { .. } => {}
            Reply::Promise(promise) => {
                let Promise { prefix, last, after, through, accepted } = promise;
                let slots = accepted.iter_mut().map(|it| &mut it.slot);
                [&mut prefix.through, last, after, through].into_iter().chain(slots).for_each(up);
            }
            Reply::Acknowledge { ranges, prefix } => {
                up(&mut prefix.through);
                ranges.iter_mut().flat_map(|it| [&mut it.first, &mut it.last]).for_each(up);
            }
            Reply::Room { through } | Reply::Applied { through } => up(through),
            Reply::Obey { number, last, prefix } => {
                number.0 = number.0.saturating_add(more);
                up(last);
                up(&mut prefix.through);
            }
        },
        Message::Reject { promised: s }
        | Message::NotTaken { s, .. }
        | Message::NotReady { s, .. }
        | Message::Forward { s } => {
            s.0 = s.0.saturating_add(more);
        }
        Message::Submitted { slot, .. } | Message::Offer { slot } => up(slot),
        Message::Ask { from, through, prefix } => {
            up(from);
            up(through);
            up(&mut prefix.through);
        }
        Message::AskReady { number, prefix, .. } => {
            *number = number.saturating_add(more);
            up(&mut prefix.through);
        }
        Message::Ready { through, .. } => up(through),
        Message::Compare { prefix, .. } | Message::CommittedThrough { prefix } => {
            up(&mut prefix.through);
        }
        Message::Remind { testimony: Testimony { accepted, .. } } => {
            if let Some(accepted) = accepted {
                up(&mut accepted.slot);
            }
        }
        Message::Forgot { forgotten } => forgotten.slot.iter_mut().for_each(up),
        Message::Committed { first, watermark, .. } => {
            up(first);
            up(watermark);
        }
        Message::Submit { submissions } => {
            for submission in submissions {
                match submission {
                    Entry::Request(Request { number: it, .. })
                    | Entry::Open(Opening { count: it, .. }) => {
                        *it = it.saturating_add(more);
                    }
                    _ => {}
                }
            }
        }
        Message::Read { ids, .. } | Message::ReadAt { ids, .. } => {
            for id in ids.iter_mut() {
                id.0 = id.0.saturating_add(more);
            }
        }
    }
}

/// Changes one part of a message: an entry if it has one, or else a slot.
fn twist(message: &mut Message<V>, entry: &Entry<V>, slot: Slot, watermark: Slot) {
    match message {
        Message::Order { order: Order::Accept { entries, prefix, .. }, .. } => {
            entries[0] = entry.clone();
            prefix.through = watermark;
        }
        Message::Order {
            order: Order::Round { prefix, .. } | Order::Commit { prefix }, ..
        } => {
            prefix.through = watermark;
        }
        Message::Reply { reply: Reply::Promise(promise), .. } => match promise.accepted.first_mut()
        {
            Some(accepted) if slot.0.is_multiple_of(2) => accepted.entry = entry.clone(),
            _ => (promise.last, promise.prefix.through) = (slot, watermark),
        },
        Message::Committed { entries, first, watermark: theirs, .. } => {
            match entries.first_mut() {
                Some(first) if slot.0.is_multiple_of(2) => *first = entry.clone(),
                _ => *first = slot,
            }
            *theirs = watermark;
        }
        Message::ReadAt { slot: theirs, .. } | Message::Submitted { slot: theirs, .. } => {
            *theirs = slot;
        }
        _ => {}
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => act().prop_map(Step::Real),
        4 => forged(Just(1)),
        1 => forged(30..100u64),
        2 => (any::<u16>(), 0..5usize, entry(), slot(), slot()).prop_map(
            |(which, to, entry, slot, watermark)| {
                Step::Twisted { which: which.into(), to, entry, slot, watermark }
            }
        ),
    ]
}

fn forged(times: impl Strategy<Value = u64>) -> impl Strategy<Value = Step> {
    let parts = (0..7u16, 0..5usize, message(), prop::bool::weighted(0.9), times);
    parts.prop_map(|(from, to, message, fits, times)| {
        Step::Forged(Forged { from, to, message, fits, times })
    })
}
