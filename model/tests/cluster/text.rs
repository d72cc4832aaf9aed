//! A cluster as text: one line for each replica, each event and each message.

use std::fmt::Write as _;

use synod_model::{
    Change, ClientAnswer, DeliveryRefused, ElectRefused, Entry, Forgotten, Message, NotTakenReason,
    Opening, Order, OtherHistory, Prefix, ReadId, Reply, Request, Resource, RoleName, Slot,
    SubmissionId, SubmitRefused, Testimony, Verdict,
};

use super::network::{Envelope, kind};
use super::{Cluster, Event, SESSION, V};

/// One line for each replica: role, promise, log, and the last committed slot. A star marks what is
/// not durable yet. An entry without a number came by catch-up.
pub(crate) fn status(cluster: &Cluster) -> String {
    let mut rows = Vec::new();
    for node in &cluster.nodes {
        let mut row = [format!("r{}", node.id), String::new(), String::new(), String::new()];
        let Some(replica) = &node.replica else {
            row[1] = "down".into();
            rows.push(row);
            continue;
        };
        let status = replica.status();
        row[1] = match status.role {
            RoleName::Follower => String::new(),
            RoleName::Canvassing { s } => format!("canvasses s={s}"),
            RoleName::Candidate { s } => format!("stands s={s}"),
            RoleName::Coordinator { s, .. } => format!("coordinates s={s}"),
        };
        if status.suspects && status.role == RoleName::Follower {
            row[1].push_str("suspects");
        }
        match status.hung.any() {
            Some(Resource::Disk) => row[1].push_str(" (disk hangs)"),
            Some(Resource::Application) => row[1].push_str(" (application hangs)"),
            None => {}
        }
        let star = if node.disk.fold().promised < status.promised { "*" } else { "" };
        row[2] = format!("promised={}{star}", status.promised);
        let log = node.disk.log();
        let last = log.last_key_value().map_or(0, |(slot, _)| slot.0);
        // What is in a snapshot is not in the log.
        let cut = status.log_starts_at.0 - 1;
        let snapshot = (cut > 0).then(|| format!("..{cut}"));
        let slots =
            snapshot.into_iter().chain((cut + 1..=last).map(|slot| match log.get(&Slot(slot)) {
                None => "_".into(),
                Some(it) => {
                    let number = it.s.map_or(String::new(), |s| format!("@{s}"));
                    let star = if it.durable { "" } else { "*" };
                    format!("{}{number}{star}", entry(&it.entry))
                }
            }));
        let slots: Vec<String> = slots.collect();
        row[3] = format!("log=[{}]  committed={}", slots.join(" "), status.watermark);
        if node.applied < status.watermark {
            write!(row[3], "  applied={}", node.applied).expect("a string");
        }
        if status.is_stopped {
            row[3].push_str("  stopped");
        }
        rows.push(row);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [name, role, promise, rest] in &rows {
        let line = format!(
            "{name:<0$}  {role:<1$}  {promise:<2$}  {rest}",
            widths[0], widths[1], widths[2]
        );
        writeln!(text, "{}", line.trim_end()).expect("a string");
    }
    text
}

/// The messages that are neither delivered nor dropped.
pub(crate) fn pending(cluster: &Cluster) -> String {
    let sent = cluster.network.sent.iter().filter(|envelope| envelope.pending);
    sent.map(|it| envelope(it) + "\n").collect()
}

pub(crate) fn envelope(it: &Envelope) -> String {
    format!("r{} -> r{}: {}", it.from, it.to, message(&it.message))
}

pub(crate) fn message(message: &Message<V>) -> String {
    let kind = kind(message);
    match message {
        Message::Order { s, order, .. } => match order {
            Order::Canvass { .. } | Order::Progress => format!("{kind} s={s}"),
            Order::Propose { from } => format!("{kind} s={s} from={from}"),
            Order::Accept { first, entries: it, prefix } => {
                format!("{kind} s={s} {} committed={}", entries(*first, it), prefix.through)
            }
            Order::Commit { prefix } => format!("{kind} s={s} committed={}", prefix.through),
            Order::Round { number, prefix } => {
                format!("{kind} s={s} number={number} committed={}", prefix.through)
            }
        },
        Message::Reply { s, reply, .. } => match reply {
            Reply::Agree { .. } => format!("{kind} s={s}"),
            Reply::Promise(it) => {
                let mut text = format!("{kind} s={s} committed={}", it.prefix.through);
                if it.prefix.through < it.last {
                    let first = it.after.next();
                    write!(text, " slots {first}-{} of {}:", it.through, it.last)
                        .expect("a string");
                }
                for it in &it.accepted {
                    write!(text, " {}:{}@{}", it.slot, entry(&it.entry), it.s).expect("a string");
                }
                text
            }
            Reply::Acknowledge { ranges, .. } => {
                let ranges: Vec<_> = ranges.iter().map(|range| format!("{range:?}")).collect();
                format!("{kind} s={s} {}", ranges.join(" "))
            }
            Reply::Room { through } | Reply::Applied { through } => {
                format!("{kind} s={s} through={through}")
            }
            Reply::Obey { number, last, .. } => format!("{kind} s={s} number={number} last={last}"),
        },
        Message::Reject { promised } => format!("{kind} promised={promised}"),
        Message::Ask { from, through, .. } => format!("{kind} from={from} through={through}"),
        Message::Committed { first, entries: it, watermark, .. } => {
            format!("{kind} {} committed={watermark}", entries(*first, it))
        }
        Message::Compare { prefix: Prefix { through, hash, .. }, is_question } => {
            let question = if *is_question { " ?" } else { "" };
            format!("{kind} committed={through} hash={hash}{question}")
        }
        Message::Offer { slot } => format!("{kind} slot={slot}"),
        Message::CommittedThrough { prefix } => format!("{kind} {}", prefix.through),
        Message::AskReady { s, number, prefix } => {
            format!("{kind} s={s} change={number} committed={}", prefix.through)
        }
        Message::Ready { s, number, through, .. } => {
            format!("{kind} s={s} change={number} durable={through}")
        }
        Message::NotReady { s, submission: it, .. } => {
            format!("{kind} s={s} {}", submission(*it))
        }
        Message::Remind { testimony: Testimony { promised, accepted } } => {
            let accepted = accepted.map(|it| format!(" accepted={}@{}", it.slot, it.s));
            format!("{kind} promised={promised}{}", accepted.unwrap_or_default())
        }
        Message::Forgot { forgotten: Forgotten { told_to, s, slot, .. } } => {
            let slot = slot.map(|slot| format!(" slot={slot}"));
            format!("{kind} s={s}{} told to r{told_to}", slot.unwrap_or_default())
        }
        Message::Submit { submissions } => {
            let submissions: Vec<_> = submissions.iter().map(entry).collect();
            format!("{kind} {}", submissions.join(" "))
        }
        Message::Submitted { submission: it, slot } => {
            format!("{kind} {} at={slot}", submission(*it))
        }
        Message::Read { run, ids } => format!("{kind} {} run={run}", reads(ids)),
        Message::ReadAt { run, ids, slot } => {
            format!("{kind} {} run={run} at={slot}", reads(ids))
        }
        Message::NotTaken { s, reason, submissions, reads } => {
            let submissions = submissions.iter().map(|it| submission(*it) + " ");
            let reads = if *reads { "reads " } else { "" };
            let reason = match reason {
                NotTakenReason::Stands => "stands",
                NotTakenReason::NoRoom => "no room",
            };
            format!("{kind} s={s} {}{reads}({reason})", submissions.collect::<String>())
        }
        Message::Forward { s } => format!("{kind} s={s}"),
    }
}

fn reads(ids: &[ReadId]) -> String {
    let ids: Vec<_> = ids.iter().map(ReadId::to_string).collect();
    ids.join(" ")
}

fn entries(first: Slot, entries: &[Entry<V>]) -> String {
    let slots = (first.0..).zip(entries);
    let texts: Vec<_> = slots.map(|(slot, it)| format!("{slot}:{}", entry(it))).collect();
    texts.join(" ")
}

/// An entry: its value, and its session and number unless the session is [`SESSION`].
pub(crate) fn entry(entry: &Entry<V>) -> String {
    match entry {
        Entry::NoOp => "no-op".into(),
        Entry::Request(Request { session, number, value, .. }) => {
            let value = String::from_utf8_lossy(value);
            if *session == SESSION { value.into() } else { format!("{value}#{session}.{number}") }
        }
        Entry::Open(_) | Entry::End { .. } => {
            entry.submission_id().map_or_else(String::new, submission)
        }
        Entry::Change(Change { configuration, .. }) => {
            let voters: Vec<_> = configuration.voters().map(|it| it.to_string()).collect();
            format!("members({})", voters.join(","))
        }
    }
}

fn submission(submission: SubmissionId) -> String {
    match submission {
        SubmissionId::Request { session: SESSION, number } => u8::try_from(number)
            .map_or_else(|_| number.to_string(), |it| char::from(b'a' + it - 1).into()),
        SubmissionId::Request { session, number } => format!("#{session}.{number}"),
        SubmissionId::Open(Opening { origin, run, count }) => {
            format!("open({origin}.{run}.{count})")
        }
        SubmissionId::End { session } => format!("end#{session}"),
    }
}

pub(crate) fn event(event: &Event) -> String {
    match event {
        Event::Restored(slot) => format!("is given the snapshot up to {slot}"),
        Event::Delivered(it) => {
            let what = format!("delivers {}:{}", it.slot, entry(&it.entry));
            match it.verdict {
                None | Some(Verdict::First) => what,
                Some(Verdict::Duplicate { first_slot }) => {
                    format!("{what}, a duplicate of slot {first_slot}")
                }
                Some(Verdict::Refused { reason }) => {
                    let reason = match reason {
                        DeliveryRefused::NoSession => "no such session",
                        DeliveryRefused::GivenUp => "given up",
                        DeliveryRefused::TooFarAhead => "too far ahead",
                        DeliveryRefused::OtherConfiguration => "another change came first",
                    };
                    format!("{what}, refused: {reason}")
                }
            }
        }
        Event::Answered(answer) => match answer {
            ClientAnswer::Read { id, slot } => format!("serves read {id} at {slot}"),
            ClientAnswer::ReadRefused { id, .. } => format!("refuses read {id}"),
            ClientAnswer::Done { submission: it, slot } => {
                format!("answers {}: done at {slot}", submission(*it))
            }
            ClientAnswer::GivenUp { submission: it } => {
                format!("answers {}: given up", submission(*it))
            }
            ClientAnswer::Unknown { submission: it } => {
                format!("answers {}: unknown", submission(*it))
            }
            ClientAnswer::NotReady { submission: it, .. } => {
                format!("answers {}: not ready", submission(*it))
            }
            ClientAnswer::Removed { submission: it } => {
                format!("answers {}: removed", submission(*it))
            }
            ClientAnswer::Refused { submission: it, reason } => {
                let reason = match reason {
                    SubmitRefused::TooMany => "too many",
                    SubmitRefused::TooLarge => "too large",
                    SubmitRefused::NotASubmission => "not a submission",
                    SubmitRefused::NotAMember => "no member",
                    SubmitRefused::IdTooLarge => "the id is too large",
                };
                format!("refuses {}: {reason}", it.map_or_else(|| "it".into(), submission))
            }
        },
        Event::Served(it) => format!("reads {:?} from its disk for r{}", it.slots, it.to),
        Event::ElectRefused(reason) => {
            let reason = match reason {
                ElectRefused::Coordinates => "it coordinates already",
                ElectRefused::NotAVoter => "it does not vote",
                ElectRefused::NoLargerNumber => "there is no larger number",
                ElectRefused::Hangs { resource: Resource::Disk } => "its disk hangs",
                ElectRefused::Hangs { resource: Resource::Application } => "its application hangs",
            };
            format!("does not stand: {reason}")
        }
        Event::Forgotten(Forgotten { replica, told_to, s, slot }) => {
            let what = match slot {
                Some(slot) => format!("slot {slot} under {s}"),
                None => format!("the promise of {s}"),
            };
            format!("finds that the disk of r{replica} has lost {what}, told to r{told_to}")
        }
        Event::OtherHistory(OtherHistory { peer, slot }) => {
            format!("finds that r{peer} has another history, up to slot {slot}")
        }
        Event::GaveWay(Resource::Disk) => "gives way: its disk hangs".into(),
        Event::GaveWay(Resource::Application) => "gives way: its application hangs".into(),
        Event::Contradiction(it) => {
            format!("is contradicted by r{} in slot {} under {}", it.from, it.slot, it.s)
        }
    }
}
