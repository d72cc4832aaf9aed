//! Scripts: each tells one story of a small cluster.
//!
//! A script consists of blocks. A block has some commands, and then their output: deliveries, answers,
//! and one line for each replica. `UPDATE_GOLDENFILES=1 cargo test` writes the output of a new script.
//! Compare it with `docs/` before you keep it.
//!
//! The values `a`, `b`, ... are the requests 1, 2, ... of a session that is always open. So a letter
//! that is submitted again is a retry. In a log, `a@4` was accepted under 4, and `a` alone came by
//! catch-up. A star marks what is not durable yet.

mod cluster;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use goldenscript::Context;
use synod_model::{
    Entry, Input, Limits, Message, Opening, Prefix, ReadId, ReplicaId, Request, Resource,
    SessionId, Slot,
};

use cluster::network::{Envelope, kind};
use cluster::{Cluster, Node, change, request, text};

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        /// The scripts that have a test. Another test compares them with the files.
        const SCRIPTS: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts! {
    acknowledged_when_durable,
    candidate_behind_a_cut_log,
    candidate_catches_up,
    candidate_is_not_answered,
    candidate_learns_of_a_commit,
    candidate_with_a_hung_disk,
    change_and_a_retry,
    change_in_a_snapshot,
    change_that_would_strand,
    coordinator_removes_itself,
    nothing_above_a_change,
    learner_of_nothing,
    one_becomes_three,
    removed_and_away,
    canvass_after_isolation,
    catch_up,
    catch_up_from_the_disk,
    clean_run,
    committed_slot_is_offered_again,
    coordinator_crashes_before_sync,
    coordinator_with_a_hung_application,
    coordinator_with_a_hung_disk,
    coordinator_with_a_stalled_disk,
    coordinator_without_answers,
    crash_before_accept_is_synced,
    crash_before_promise_is_synced,
    crash_while_installing,
    cut_log,
    dead_coordinators_value,
    finished_in_portions,
    flow_control,
    follower_with_a_stalled_disk,
    forwarded_once,
    forwarded_to_a_candidate,
    full_acceptor,
    full_queue,
    gap_gets_a_no_op,
    given_up_frees_its_place,
    late_accept_below_a_snapshot,
    late_accept_of_an_old_coordinator,
    left_over,
    lost_messages,
    overtaken_coordinator,
    promise_in_any_order,
    promise_in_frames,
    read_during_a_change_of_coordinator,
    read_of_a_former_run,
    reads,
    repeated_and_reordered,
    request_in_a_snapshot,
    requests_overtake,
    retry_at_a_lagging_replica,
    retry_elsewhere,
    refused_before_a_crash,
    rival_coordinators,
    sessions_and_late_copies,
    slow_disks,
    standing_again,
    told_and_forgotten,
    two_copies_are_finished,
    two_histories,
    window,
}

fn run(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
    goldenscript::run(&mut Story { cluster: None }, path).expect("a script that runs");
}

#[test]
fn every_script_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let files = std::fs::read_dir(folder).expect("the scripts");
    let mut names: Vec<_> =
        files.map(|it| it.expect("a file").file_name().into_string().expect("a name")).collect();
    names.sort();
    let mut listed = SCRIPTS.to_vec();
    listed.sort_unstable();
    assert_eq!(names, listed);
}

/// The commands of a script. A command without a replica is one for all replicas.
#[derive(goldenscript::Command)]
enum Command {
    /// Makes a new cluster, with limits of its own if they are given.
    Cluster {
        #[arg(key)]
        replicas: u16,
        /// How many of them are members, from 0 on; all of them if it is not said.
        #[arg(key)]
        members: Option<u16>,
        #[arg(key)]
        open_slots: Option<u64>,
        #[arg(key)]
        accepted_slots: Option<u64>,
        #[arg(key)]
        accepted_bytes: Option<u64>,
        #[arg(key)]
        unsynced_bytes: Option<u64>,
        #[arg(key)]
        frame_entries: Option<u64>,
        #[arg(key)]
        resend_bytes: Option<u64>,
        #[arg(key)]
        sessions: Option<u64>,
        #[arg(key)]
        submissions: Option<u64>,
        #[arg(key)]
        queued: Option<u64>,
        #[arg(key)]
        reads: Option<u64>,
        /// Whether applications wait for the command `apply`.
        #[arg(key, optional)]
        applies_later: bool,
    },
    /// The failure detector suspects the coordinator.
    Suspect(#[arg(optional)] Vec<usize>),
    /// A replica stands for election without a canvass.
    Elect(usize),
    /// A replica begins a canvass, and stands for election if a majority agrees.
    Canvass(usize),
    /// Clients of a replica submit these values.
    Submit(usize, Vec<String>),
    /// A client of a replica opens a session.
    Open {
        at: usize,
        #[arg(key)]
        count: u64,
        #[arg(key)]
        origin: Option<u16>,
    },
    /// A client submits a request of a session that it has opened.
    Request {
        at: usize,
        #[arg(key)]
        session: u64,
        #[arg(key)]
        number: u64,
        #[arg(key)]
        answered: Option<u64>,
        #[arg(key)]
        value: String,
    },
    /// A client ends its session.
    End {
        at: usize,
        #[arg(key)]
        session: u64,
    },
    /// Clients of a replica begin reads.
    Read(usize, Vec<u64>),
    /// Delivers messages and prints them. It chooses pending messages by kind, sender, recipient, or
    /// a text that they contain. With `again` it chooses messages that are no longer pending.
    Deliver {
        kind: Option<String>,
        #[arg(key)]
        from: Option<u16>,
        #[arg(key)]
        to: Option<u16>,
        #[arg(key)]
        with: Option<String>,
        #[arg(key, optional)]
        again: bool,
    },
    /// Loses messages, chosen in the same way. `deliver again=true` can still deliver them.
    Drop {
        kind: Option<String>,
        #[arg(key)]
        from: Option<u16>,
        #[arg(key)]
        to: Option<u16>,
        #[arg(key)]
        with: Option<String>,
    },
    /// Prints the pending messages: those that were neither delivered nor dropped.
    Messages,
    /// Makes records durable, all or the oldest few.
    Sync {
        at: Option<usize>,
        #[arg(key)]
        count: Option<usize>,
    },
    /// An application applies its deliveries.
    Apply {
        at: usize,
        #[arg(key)]
        through: Option<u64>,
    },
    /// A replica stops, and loses what it has not synced.
    Crash(usize),
    /// The disk of a replica that is down loses its newest records, which were durable.
    RollBack {
        at: usize,
        #[arg(key)]
        records: usize,
    },
    /// A replica begins a new run from its disk.
    Restart(usize),
    /// A client wants these to be the voters, in place of those that the replica knows. Its number in its
    /// session is 1 if it is not said.
    Change {
        at: usize,
        voters: Vec<u16>,
        #[arg(key)]
        number: Option<u64>,
    },
    /// The application of a replica asks for a handle, for a snapshot of all that it was given.
    Handle(usize),
    /// The snapshot of the oldest handle of a replica is durable, and the handle is given back.
    Snapshot(usize),
    /// A replica gets the snapshot that it wants to fetch.
    Fetch(usize),
    /// A replica gets a snapshot, counted from 0 in the order in which they were made.
    Install {
        at: usize,
        #[arg(key)]
        snapshot: usize,
    },
    /// A replica repeats all messages that are not answered.
    Resend(#[arg(optional)] Vec<usize>),
    /// A coordinator asks whether it is still obeyed.
    Heartbeat(usize),
    /// Much waits on the way from a replica to a peer.
    Full {
        #[arg(key)]
        from: usize,
        #[arg(key)]
        to: u16,
    },
    /// Little waits on that way any more.
    Drained {
        #[arg(key)]
        from: usize,
        #[arg(key)]
        to: u16,
    },
    /// A replica asks another for committed slots, as it may have done long ago.
    Ask {
        #[arg(key)]
        from: u16,
        #[arg(key)]
        to: usize,
        #[arg(key)]
        through: u64,
    },
    /// The connections between a replica and all others are made anew.
    Reconnect(usize),
    /// The network loses all messages to and from a replica from now on.
    Isolate(usize),
    /// The disk of a replica makes nothing durable from now on.
    Hang(usize),
    /// It does again.
    Release(usize),
    /// The shell of a replica says that its disk, or its application, makes no progress.
    Hung(usize, String),
    /// Ends the isolation of a replica, and makes its connections anew. Messages sent to or from it
    /// meanwhile are lost.
    Heal(usize),
    /// Syncs and delivers until nothing is left to sync or to deliver.
    Stabilize,
}

/// A script that runs.
struct Story {
    cluster: Option<Cluster>,
}

impl goldenscript::Runner for Story {
    type Command = Command;

    #[expect(clippy::too_many_lines, reason = "one arm for each command")]
    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        if let Command::Cluster { replicas, members, applies_later, .. } = command {
            let members = (0..members.unwrap_or(*replicas)).collect();
            let mut cluster = Cluster::of(*replicas, members, limits(command));
            cluster.applies_at_once = !applies_later;
            self.cluster = Some(cluster);
            return Ok(String::new());
        }
        let cluster = self.cluster.as_mut().ok_or("there is no cluster yet")?;
        let mut output = String::new();
        match command {
            Command::Cluster { .. } => {}
            Command::Suspect(at) => each(cluster, at, &Input::Suspect),
            Command::Elect(at) => cluster.step(*at, Input::Elect { canvass: false }),
            Command::Canvass(at) => cluster.step(*at, Input::Elect { canvass: true }),
            Command::Submit(at, values) => {
                let entries = values.iter().map(|value| request(value.as_bytes()[0])).collect();
                cluster.step(*at, Input::Submit(entries));
            }
            Command::Change { at, voters, number } => {
                let replica = cluster.nodes[*at].replica.as_ref().ok_or("it is down")?;
                let change = change(replica.configuration(), number.unwrap_or(1), voters);
                cluster.step(*at, Input::Submit(vec![change]));
            }
            Command::Open { at, count, origin } => {
                let Node { id, run, .. } = cluster.nodes[*at];
                let origin = origin.map_or(id, ReplicaId);
                let open = Entry::Open(Opening { origin, run, count: *count });
                cluster.step(*at, Input::Submit(vec![open]));
            }
            Command::Request { at, session, number, answered, value } => {
                let request = Entry::Request(Request {
                    session: SessionId(*session),
                    number: *number,
                    answered: answered.unwrap_or(1),
                    value: Arc::from(value.as_bytes()),
                });
                cluster.step(*at, Input::Submit(vec![request]));
            }
            Command::End { at, session } => {
                let end = Entry::End { session: SessionId(*session) };
                cluster.step(*at, Input::Submit(vec![end]));
            }
            Command::Read(at, ids) => {
                cluster.step(*at, Input::Read(ids.iter().copied().map(ReadId).collect()));
            }
            Command::Deliver { kind, from, to, with, again } => {
                let chosen = choose(cluster, kind.as_deref(), *from, *to, with.as_deref(), *again);
                for index in chosen? {
                    writeln!(output, "{}", text::envelope(&cluster.network.sent[index]))?;
                    cluster.deliver(index);
                    output += &events(cluster);
                }
            }
            Command::Drop { kind, from, to, with } => {
                let chosen = choose(cluster, kind.as_deref(), *from, *to, with.as_deref(), false);
                for index in chosen? {
                    cluster.network.sent[index].pending = false;
                }
            }
            Command::Messages => output += &text::pending(cluster),
            Command::Sync { at, count } => {
                let all = 0..cluster.nodes.len();
                for at in at.map_or(all, |at| at..at + 1) {
                    cluster.sync(at, count.unwrap_or(usize::MAX));
                }
            }
            Command::Apply { at, through } => {
                cluster.apply(*at, Slot(through.unwrap_or(u64::MAX)));
            }
            Command::Crash(at) => cluster.crash(*at, 0),
            Command::RollBack { at, records } => cluster.roll_back(*at, *records),
            Command::Restart(at) => {
                cluster.restart(*at);
                cluster.reconnect(*at);
            }
            Command::Handle(at) => cluster.ask_for_handle(*at),
            Command::Snapshot(at) => cluster.snapshot_taken(*at, 0),
            Command::Fetch(at) => cluster.fetch(*at),
            Command::Install { at, snapshot } => cluster.install(*at, *snapshot),
            Command::Resend(at) => each(cluster, at, &Input::Resend),
            Command::Heartbeat(at) => cluster.step(*at, Input::Heartbeat),
            Command::Full { from, to } => {
                cluster.step(*from, Input::Full { peer: ReplicaId(*to) });
            }
            Command::Drained { from, to } => {
                cluster.step(*from, Input::Drained { peer: ReplicaId(*to) });
            }
            Command::Ask { from, to, through } => {
                let prefix = Prefix::default();
                let message = Message::Ask { from: Slot(1), through: Slot(*through), prefix };
                cluster.step(*to, Input::Receive { from: ReplicaId(*from), message });
            }
            Command::Reconnect(at) => cluster.reconnect(*at),
            Command::Isolate(at) => cluster.nodes[*at].isolated = true,
            Command::Hang(at) => cluster.nodes[*at].disk_hangs = true,
            Command::Release(at) => cluster.nodes[*at].disk_hangs = false,
            Command::Hung(at, what) => {
                cluster.step(*at, Input::Hung { resource: resource(what)? });
            }
            Command::Heal(at) => {
                cluster.nodes[*at].isolated = false;
                let id = cluster.nodes[*at].id;
                for envelope in &mut cluster.network.sent {
                    envelope.pending &= envelope.from != id && envelope.to != id;
                }
                cluster.reconnect(*at);
            }
            Command::Stabilize => cluster.stabilize(),
        }
        output += &events(cluster);
        Ok(output)
    }

    fn end_block(&mut self, _: &goldenscript::Block) -> Result<String, Box<dyn Error>> {
        Ok(self.cluster.as_ref().map_or_else(String::new, text::status))
    }
}

fn resource(name: &str) -> Result<Resource, Box<dyn Error>> {
    match name {
        "disk" => Ok(Resource::Disk),
        "application" => Ok(Resource::Application),
        _ => Err("a disk or an application".into()),
    }
}

fn limits(command: &Command) -> Limits {
    // Values in a script are letters, so limits of bytes may be small.
    let mut limits = Limits { value_bytes_max: 8, ..Limits::default() };
    if let &Command::Cluster {
        open_slots,
        accepted_slots,
        accepted_bytes,
        unsynced_bytes,
        frame_entries,
        resend_bytes,
        sessions,
        submissions,
        queued,
        reads,
        ..
    } = command
    {
        limits.open_slots_max = open_slots.unwrap_or(limits.open_slots_max);
        limits.accepted_slots_max = accepted_slots.unwrap_or(limits.accepted_slots_max);
        limits.accepted_bytes_max = accepted_bytes.unwrap_or(limits.accepted_bytes_max);
        limits.unsynced_bytes_max = unsynced_bytes.unwrap_or(limits.unsynced_bytes_max);
        limits.frame_entries_max = frame_entries.unwrap_or(limits.frame_entries_max);
        limits.resend_bytes_max = resend_bytes.unwrap_or(limits.resend_bytes_max);
        limits.sessions_max = sessions.unwrap_or(limits.sessions_max);
        limits.submissions_max = submissions.unwrap_or(limits.submissions_max);
        limits.queued_submissions_max = queued.unwrap_or(limits.queued_submissions_max);
        limits.reads_max = reads.unwrap_or(limits.reads_max);
    }
    limits
}

/// Gives the same input to the replicas `at`, or to all if there are none.
fn each(cluster: &mut Cluster, at: &[usize], input: &Input<cluster::V>) {
    let all: Vec<usize> = (0..cluster.nodes.len()).collect();
    for &at in if at.is_empty() { &all } else { at } {
        cluster.step(at, input.clone());
    }
}

/// The indices of the messages that a command chooses, oldest first.
fn choose(
    cluster: &Cluster,
    of_kind: Option<&str>,
    from: Option<u16>,
    to: Option<u16>,
    with: Option<&str>,
    again: bool,
) -> Result<Vec<usize>, Box<dyn Error>> {
    let is_meant = |envelope: &Envelope| {
        of_kind.is_none_or(|it| it == kind(&envelope.message))
            && from.is_none_or(|it| ReplicaId(it) == envelope.from)
            && to.is_none_or(|it| ReplicaId(it) == envelope.to)
            && with.is_none_or(|it| text::message(&envelope.message).contains(it))
            && envelope.pending != again
    };
    let sent = cluster.network.sent.iter().enumerate();
    let chosen: Vec<usize> = sent.filter(|(_, it)| is_meant(it)).map(|(index, _)| index).collect();
    if chosen.is_empty() {
        return Err("there is no such message".into());
    }
    Ok(chosen)
}

/// Prints the events since the last time.
fn events(cluster: &mut Cluster) -> String {
    let events = std::mem::take(&mut cluster.events);
    events
        .iter()
        .fold(String::new(), |told, (id, event)| format!("{told}r{id} {}\n", text::event(event)))
}
