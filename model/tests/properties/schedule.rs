//! Random schedules: the acts that happen to a cluster, in order.

use std::fmt;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{
    Change, Entry, Input, Limits, Opening, ReadId, Registration, ReplicaId, Request, Resource,
    SessionId, Slot, Verdict,
};

use crate::cluster::{Cluster, SESSION, V};

/// A cluster, and the acts that happen to it.
#[derive(Clone)]
pub(crate) struct Schedule {
    pub(crate) replicas: u16,
    /// How many of them are members from the start.
    pub(crate) members: u16,
    pub(crate) limits: Limit,
    pub(crate) applies_at_once: bool,
    pub(crate) acts: Vec<Act>,
}

/// Which limits a cluster keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Default,
    /// Few slots: windows fill, promises take several frames, and replicas lag behind the tail.
    FewSlots,
    /// Small portions: an election finishes many slots, a few at a time.
    SmallPortions,
    /// Few bytes: an acceptor is full before its slots are used up.
    FewBytes,
    /// Few sessions, submissions and reads: some are evicted or refused.
    FewClients,
    /// Each limit as small as the others allow.
    Least,
}

/// One act. Indices are taken modulo the number of things that there are.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Submits a request whose number is `ahead` of the last committed slot. So it is a new request,
    /// or a retry of a recent one.
    Submit {
        at: usize,
        ahead: u64,
    },
    Open {
        at: usize,
        count: u64,
    },
    Request {
        at: usize,
        session: usize,
        number: u64,
        answered: u64,
    },
    End {
        at: usize,
        session: usize,
    },
    Read {
        at: usize,
    },
    /// Delivers one pending message.
    Deliver {
        which: usize,
    },
    /// Delivers one message of all that were ever sent.
    Repeat {
        which: usize,
    },
    /// Loses one pending message.
    Lose {
        which: usize,
    },
    /// Delivers all pending messages, but loses one in `one_in`.
    Flush {
        backwards: bool,
        one_in: usize,
    },
    /// Delivers the pending messages among some replicas, and those that follow, until there are no
    /// more. The bits of `some` name the replicas. With `syncs` it also syncs them.
    Among {
        some: usize,
        syncs: bool,
    },
    Sync {
        at: usize,
        count: usize,
    },
    SyncAll,
    /// Syncs and delivers until nothing is pending.
    Calm,
    Crash {
        at: usize,
        keep: usize,
        forgets: bool,
    },
    Restart {
        at: usize,
    },
    Isolate {
        at: usize,
    },
    Heal {
        at: usize,
    },
    Suspect {
        at: usize,
    },
    Elect {
        at: usize,
        canvass: bool,
    },
    Resend {
        at: usize,
    },
    Heartbeat {
        at: usize,
    },
    /// The shell says that the disk or the application of a replica hangs, rightly or not.
    Hung {
        at: usize,
        resource: Resource,
    },
    /// News of the way from `at` to a peer.
    Way {
        at: usize,
        peer: u16,
        news: Way,
    },
    Apply {
        at: usize,
        through: u64,
    },
    /// The application asks for a handle.
    AskForHandle {
        at: usize,
    },
    /// A snapshot is durable, and its handle is given back.
    SnapshotTaken {
        at: usize,
        which: usize,
    },
    /// A client wants other members: those whose bits are set. Of these, `learners` are to be learners.
    Change {
        at: usize,
        members: u16,
        learners: u16,
    },
    /// A snapshot that anybody ever made is durable at a replica.
    Install {
        at: usize,
        which: usize,
    },
}

/// What a shell says of the way to a peer. None of it need be true.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Reconnected,
    Full,
    Drained,
    Served,
    NotServed,
}

impl Way {
    fn input(self, peer: ReplicaId) -> Input<V> {
        match self {
            Self::Reconnected => Input::Reconnected { peer },
            Self::Full => Input::Full { peer },
            Self::Drained => Input::Drained { peer },
            Self::Served => Input::Served { peer },
            Self::NotServed => Input::NotServed { peer },
        }
    }
}

pub(crate) fn schedules(acts: std::ops::Range<usize>) -> impl Strategy<Value = Schedule> {
    schedules_of(acts, act())
}

/// Schedules in which disks and applications are also said to hang.
pub(crate) fn schedules_with_hangs(
    acts: std::ops::Range<usize>,
) -> impl Strategy<Value = Schedule> {
    let hung = (0..5usize, any::<bool>()).prop_map(|(at, is_disk)| Act::Hung {
        at,
        resource: if is_disk { Resource::Disk } else { Resource::Application },
    });
    schedules_of(acts, prop_oneof![40 => act(), 1 => hung])
}

/// Schedules in which snapshots are taken, early or late, and installed anywhere.
pub(crate) fn schedules_with_snapshots(
    acts: std::ops::Range<usize>,
) -> impl Strategy<Value = Schedule> {
    schedules_of(acts, prop_oneof![6 => act(), 1 => snapshot()])
}

fn snapshot() -> impl Strategy<Value = Act> {
    (0..7usize, 0..8usize, 0..4u8).prop_map(|(at, which, kind)| match kind {
        0 | 1 => Act::AskForHandle { at },
        2 => Act::SnapshotTaken { at, which },
        _ => Act::Install { at, which },
    })
}

/// Schedules in which members come and go, and snapshots are taken and installed. Some replicas are no members
/// at the start.
pub(crate) fn schedules_with_changes(
    acts: std::ops::Range<usize>,
) -> impl Strategy<Value = Schedule> {
    let change = (0..7usize, 1..128u16, any::<u16>(), any::<u16>());
    let change = change.prop_map(|(at, members, some, few)| Act::Change {
        at,
        members,
        learners: some & few,
    });
    let acts = schedules_of(acts, prop_oneof![12 => act(), 1 => change, 1 => snapshot()]);
    (acts, 3..=7u16, 1..=4u16).prop_map(|(schedule, replicas, members)| Schedule {
        replicas,
        members: members.min(replicas),
        ..schedule
    })
}

fn schedules_of(
    acts: std::ops::Range<usize>,
    act: impl Strategy<Value = Act>,
) -> impl Strategy<Value = Schedule> {
    let replicas = prop_oneof![3 => Just(3), 2 => Just(5), 1 => 1..=4u16];
    let limits = prop_oneof![
        3 => Just(Limit::Default),
        3 => Just(Limit::FewSlots),
        2 => Just(Limit::SmallPortions),
        2 => Just(Limit::FewBytes),
        1 => Just(Limit::FewClients),
        1 => Just(Limit::Least),
    ];
    (replicas, limits, prop::bool::weighted(0.8), vec(act, acts)).prop_map(
        |(replicas, limits, applies_at_once, acts)| Schedule {
            replicas,
            members: replicas,
            limits,
            applies_at_once,
            acts,
        },
    )
}

pub(crate) fn act() -> impl Strategy<Value = Act> {
    let at = || 0..5usize;
    let which = || any::<u16>().prop_map(usize::from);
    prop_oneof![
        16 => (at(), 0..6u64).prop_map(|(at, ahead)| Act::Submit { at, ahead }),
        2 => (at(), 0..2u64).prop_map(|(at, count)| Act::Open { at, count }),
        4 => (at(), 0..9usize, 0..6u64, 0..4u64).prop_map(|(at, session, number, answered)| {
            Act::Request { at, session, number, answered }
        }),
        1 => (at(), 0..9usize).prop_map(|(at, session)| Act::End { at, session }),
        4 => at().prop_map(|at| Act::Read { at }),
        30 => which().prop_map(|which| Act::Deliver { which }),
        6 => which().prop_map(|which| Act::Repeat { which }),
        3 => which().prop_map(|which| Act::Lose { which }),
        24 => (any::<bool>(), 2..20usize)
            .prop_map(|(backwards, one_in)| Act::Flush { backwards, one_in }),
        16 => (1..32usize, any::<bool>()).prop_map(|(some, syncs)| Act::Among { some, syncs }),
        12 => (at(), 1..4usize).prop_map(|(at, count)| Act::Sync { at, count }),
        12 => Just(Act::SyncAll),
        3 => Just(Act::Calm),
        2 => (at(), 0..3usize, prop::bool::weighted(0.2))
            .prop_map(|(at, keep, forgets)| Act::Crash { at, keep, forgets }),
        6 => at().prop_map(|at| Act::Restart { at }),
        1 => at().prop_map(|at| Act::Isolate { at }),
        5 => at().prop_map(|at| Act::Heal { at }),
        2 => at().prop_map(|at| Act::Suspect { at }),
        4 => (at(), any::<bool>()).prop_map(|(at, canvass)| Act::Elect { at, canvass }),
        6 => at().prop_map(|at| Act::Resend { at }),
        4 => at().prop_map(|at| Act::Heartbeat { at }),
        6 => (at(), 0..6u16, way()).prop_map(|(at, peer, news)| Act::Way { at, peer, news }),
        3 => (at(), 0..20u64).prop_map(|(at, through)| Act::Apply { at, through }),
    ]
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        4 => Just(Way::Reconnected),
        3 => Just(Way::Full),
        3 => Just(Way::Drained),
        1 => Just(Way::Served),
        1 => Just(Way::NotServed),
    ]
}

impl Limit {
    pub(crate) fn limits(self) -> Limits {
        let limits = Limits { value_bytes_max: 8, ..Limits::default() };
        match self {
            Self::Default => limits,
            Self::FewSlots => Limits {
                open_slots_max: 2,
                accepted_slots_max: 3,
                frame_entries_max: 2,
                frame_bytes_max: 72,
                // Some single entries are larger.
                resend_bytes_max: 34,
                ..limits
            },
            Self::SmallPortions => Limits {
                open_slots_max: 4,
                accepted_slots_max: 10,
                frame_entries_max: 3,
                // Two no-ops, or one submission.
                resend_bytes_max: 66,
                ..limits
            },
            Self::FewBytes => Limits { accepted_bytes_max: 110, unsynced_bytes_max: 70, ..limits },
            Self::FewClients => Limits {
                submissions_max: 4,
                submissions_bytes_max: 110,
                queued_submissions_max: 2,
                queued_bytes_max: 70,
                session_requests_max: 3,
                sessions_max: 2,
                reads_max: 2,
                ..limits
            },
            Self::Least => Limits {
                open_slots_max: 1,
                accepted_slots_max: 1,
                accepted_bytes_max: 40,
                frame_entries_max: 1,
                frame_bytes_max: 1,
                value_bytes_max: 8,
                resend_bytes_max: 1,
                submissions_max: 1,
                submissions_bytes_max: 40,
                queued_submissions_max: 1,
                queued_bytes_max: 40,
                session_requests_max: 1,
                sessions_max: 1,
                reads_max: 1,
                unsynced_bytes_max: 40,
            },
        }
    }
}

/// One line for each act, also in the alternate form.
impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replicas, members, limits, applies_at_once, acts } = self;
        write!(f, "replicas={replicas} members={members} ")?;
        writeln!(f, "limits={limits:?} applies_at_once={applies_at_once}")?;
        acts.iter().try_for_each(|act| writeln!(f, "    {act:?}"))
    }
}

impl Schedule {
    pub(crate) fn cluster(&self) -> Cluster {
        let members = (0..self.members).collect();
        let mut cluster = Cluster::of(self.replicas, members, self.limits.limits());
        cluster.applies_at_once = self.applies_at_once;
        cluster
    }

    /// Runs all acts on a new cluster.
    pub(crate) fn run(&self) -> Cluster {
        let mut cluster = self.cluster();
        for act in &self.acts {
            act.happen(&mut cluster);
        }
        cluster
    }
}

impl Act {
    pub(crate) fn happen(&self, cluster: &mut Cluster) {
        let replicas = cluster.nodes.len();
        match *self {
            Self::Submit { at, ahead } => {
                let committed = cluster.monitor.committed.0;
                let answered = if ahead == 5 { committed } else { 1 };
                submit(cluster, at % replicas, request(SESSION, committed + ahead + 1, answered));
            }
            Self::Open { at, count } => {
                let node = &cluster.nodes[at % replicas];
                let open = Entry::Open(Opening { origin: node.id, run: node.run, count });
                submit(cluster, at % replicas, open);
            }
            Self::Request { at, session, number, answered } => {
                let session = some_session(cluster, session).unwrap_or(SESSION);
                submit(cluster, at % replicas, request(session, number, answered));
            }
            Self::End { at, session } => {
                if let Some(session) = some_session(cluster, session) {
                    submit(cluster, at % replicas, Entry::End { session });
                }
            }
            Self::Read { at } => {
                let at = at % replicas;
                // The number of messages so far, which is an id that is not in use.
                let ids = vec![ReadId(cluster.network.sent.len() as u64)];
                if cluster.nodes[at].reads.is_disjoint(&ids.iter().copied().collect()) {
                    cluster.step(at, Input::Read(ids));
                }
            }
            Self::Deliver { which } => {
                let pending = cluster.network.pending();
                if !pending.is_empty() {
                    cluster.deliver(pending[which % pending.len()]);
                }
            }
            Self::Repeat { which } => {
                let sent = cluster.network.sent.len();
                if sent > 0 {
                    cluster.deliver(which % sent);
                }
            }
            Self::Lose { which } => {
                let pending = cluster.network.pending();
                if !pending.is_empty() {
                    cluster.network.sent[pending[which % pending.len()]].pending = false;
                }
            }
            Self::Flush { backwards, one_in } => {
                let mut pending = cluster.network.pending();
                if backwards {
                    pending.reverse();
                }
                for (count, index) in pending.into_iter().enumerate() {
                    if count % one_in == one_in - 1 {
                        cluster.network.sent[index].pending = false;
                    } else {
                        cluster.deliver(index);
                    }
                }
            }
            Self::Among { some, syncs } => among(cluster, some, syncs),
            Self::Sync { at, count } => cluster.sync(at % replicas, count),
            Self::SyncAll => (0..replicas).for_each(|at| cluster.sync(at, usize::MAX)),
            Self::Calm => cluster.stabilize(),
            Self::Crash { at, keep, forgets } => {
                let at = at % replicas;
                cluster.crash(at, keep);
                if forgets {
                    cluster.nodes[at].applied = Slot::ZERO;
                }
            }
            Self::Restart { at } => {
                if cluster.nodes[at % replicas].replica.is_none() {
                    cluster.restart(at % replicas);
                }
            }
            Self::Isolate { at } => cluster.nodes[at % replicas].isolated = true,
            Self::Heal { at } => cluster.nodes[at % replicas].isolated = false,
            Self::Suspect { at } => cluster.step(at % replicas, Input::Suspect),
            Self::Elect { at, canvass } => cluster.step(at % replicas, Input::Elect { canvass }),
            Self::Resend { at } => cluster.step(at % replicas, Input::Resend),
            Self::Hung { at, resource } => cluster.step(at % replicas, Input::Hung { resource }),
            Self::Heartbeat { at } => cluster.step(at % replicas, Input::Heartbeat),
            Self::Way { at, peer, news } => {
                cluster.step(at % replicas, news.input(ReplicaId(peer)));
            }
            Self::Change { at, members, learners } => {
                change(cluster, at % replicas, members, learners);
            }
            Self::AskForHandle { at } => cluster.ask_for_handle(at % replicas),
            Self::SnapshotTaken { at, which } => cluster.snapshot_taken(at % replicas, which),
            Self::Install { at, which } => cluster.install(at % replicas, which),
            Self::Apply { at, through } => cluster.apply(at % replicas, Slot(through)),
        }
    }
}

fn among(cluster: &mut Cluster, some: usize, syncs: bool) {
    let is_one = |at: usize| some & (1 << at) != 0;
    // This is enough for correct members. Members that lie may cause messages without end.
    for _ in 0..50 {
        for at in (0..cluster.nodes.len()).filter(|at| syncs && is_one(*at)) {
            cluster.sync(at, usize::MAX);
        }
        let mut pending = cluster.network.pending();
        pending.retain(|index| {
            let envelope = &cluster.network.sent[*index];
            is_one(envelope.from.0.into()) && is_one(envelope.to.0.into())
        });
        if pending.is_empty() {
            return;
        }
        for index in pending {
            cluster.deliver(index);
        }
    }
}

/// A change of the configuration that replica `at` knows, if it is one: ids are never used again.
fn change(cluster: &mut Cluster, at: usize, members: u16, learners: u16) {
    let Some(replica) = &cluster.nodes[at].replica else {
        return;
    };
    let ids = (0..cluster.nodes.len()).filter_map(|id| u16::try_from(id).ok());
    let ids = ids.filter(|id| members & (1 << id) != 0);
    let (learners, voters): (Vec<_>, Vec<_>) = ids.partition(|id| learners & (1 << id) != 0);
    let ids = |ids: Vec<u16>| ids.into_iter().map(ReplicaId).collect::<Vec<_>>();
    let changed = replica.configuration().changed(&ids(voters), &ids(learners));
    let registered = changed.and_then(|it| it.with_all_registered(Registration::first_of));
    if let Ok(configuration) = registered {
        let (session, answered) = (SESSION, 1);
        // No request has this number.
        let number = cluster.monitor.committed.0 + 7;
        submit(cluster, at, Entry::Change(Change { session, number, answered, configuration }));
    }
}

fn submit(cluster: &mut Cluster, at: usize, entry: Entry<V>) {
    cluster.step(at, Input::Submit(vec![entry]));
}

/// A request. Its number determines its value. Some values are longer than the limit allows.
pub(crate) fn request(session: SessionId, number: u64, answered: u64) -> Entry<V> {
    let length = if number % 20 == 9 { 9 } else { 1 + number % 4 };
    let letter = b'a' + u8::try_from(number % 26).expect("a letter");
    let value = Arc::from(vec![letter; usize::try_from(length).expect("a length")]);
    Entry::Request(Request { session, number, answered, value })
}

/// A session that a client has opened, ended or not. Sometimes it is one that does not exist.
fn some_session(cluster: &Cluster, which: usize) -> Option<SessionId> {
    let mut sessions = Vec::new();
    for (slot, (entry, verdict)) in &cluster.monitor.log {
        if matches!(entry, Entry::Open(_)) && *verdict == Some(Verdict::First) {
            sessions.push(SessionId(slot.0));
        }
    }
    match which {
        0 => Some(SessionId(1_000)),
        _ => sessions.get(which % sessions.len().max(1)).copied(),
    }
}
