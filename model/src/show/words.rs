//! Entries, records and messages in words. Values are letters.
//!
//! A request of the session that is open from the start is its value alone: `a`. A request of another
//! session names the session, too: `a#3`.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::entry::{Change, Entry, Opening, Request, SubmissionId};
use crate::message::{Message, NotTakenReason, Order, Promise, Reply};
use crate::numbers::{ConfigurationId, ReadId, Run, SequenceNumber, Slot};
use crate::prefix::Prefix;
use crate::record::{Content, Record};
use crate::sessions::Verdict;
use crate::testimony::{Forgotten, Testimony};
use crate::world::OPEN_SESSION;
use crate::world::envelope::Envelope;

/// An entry: `a`, `no-op`, `open(r0)`.
pub(crate) fn entry(entry: &Entry<u8>) -> String {
    match entry {
        Entry::NoOp => "no-op".into(),
        Entry::Request(Request { session, value, .. }) if *session == OPEN_SESSION => {
            letter(*value)
        }
        Entry::Request(Request { session, value, .. }) => format!("{}#{session}", letter(*value)),
        Entry::Open(Opening { origin, run, .. }) if run.0 == 1 => format!("open(r{origin})"),
        Entry::Open(Opening { origin, run, .. }) => format!("open(r{origin} run {run})"),
        Entry::End { session } => format!("end#{session}"),
        Entry::Change(Change { configuration, .. }) => {
            let voters: Vec<_> = configuration.voters().map(|it| format!("r{it}")).collect();
            let learners = configuration.learners().iter().map(|it| format!(" +r{it}"));
            format!("members({}{})", voters.join(" "), learners.collect::<String>())
        }
    }
}

/// Names a configuration, unless it is the first one.
pub(crate) fn of_configuration(id: ConfigurationId) -> String {
    if id.0 <= 1 { String::new() } else { format!(" of configuration {id}") }
}

fn letter(value: u8) -> String {
    if value.is_ascii_graphic() { char::from(value).into() } else { value.to_string() }
}

/// An entry in its slot, with the number under which it was accepted: `1: a@3`.
pub(crate) fn in_slot(slot: Slot, it: &Entry<u8>, s: SequenceNumber) -> String {
    if s == SequenceNumber::NONE {
        format!("{slot}: {}", entry(it))
    } else {
        format!("{slot}: {}@{s}", entry(it))
    }
}

/// The verdict on a delivered entry, unless it is the first copy.
pub(crate) fn verdict(verdict: Option<Verdict>) -> Option<String> {
    match verdict {
        None | Some(Verdict::First) => None,
        Some(Verdict::Duplicate { first_slot }) => Some(format!("duplicate of {first_slot}")),
        Some(Verdict::Refused { .. }) => Some("refused".into()),
    }
}

/// A record, as something that has happened: `accepted a in slot 1 under 3`.
pub(crate) fn record(record: &Record<u8>) -> String {
    match &record.content {
        Content::Promised(s) => format!("promised {s}"),
        Content::Accepted { s, first, entries, configuration: _ } => {
            format!("accepted {} under {s}", in_slots(*first, entries))
        }
        Content::Committed { first, entries } => {
            format!("learned that {} is committed", in_slots(*first, entries))
        }
        Content::Snapshot { handle, .. } => {
            format!("cut the log behind a snapshot up to slot {}", handle.slot)
        }
        Content::Forgotten(_) => "noted that the disk has lost something".into(),
    }
}

/// A record in as few letters as possible, for a picture: `1: a@3`.
pub(crate) fn short_record(record: &Record<u8>) -> Vec<String> {
    let all = |s, first: &Slot, entries: &[Entry<u8>]| {
        let slots = (first.0..).map(Slot).zip(entries);
        slots.map(|(slot, it)| in_slot(slot, it, s)).collect()
    };
    match &record.content {
        Content::Promised(s) => Vec::from([format!("promise {s}")]),
        Content::Snapshot { handle, .. } => Vec::from([format!("…{}", handle.slot)]),
        Content::Forgotten(_) => Vec::from(["stopped".into()]),
        Content::Accepted { s, first, entries, configuration: _ } => all(*s, first, entries),
        Content::Committed { first, entries } => all(SequenceNumber::NONE, first, entries),
    }
}

/// A message with its sender and recipient: `r1 tells r2: accept b in slot 1 under 4`.
pub(crate) fn envelope(envelope: &Envelope) -> String {
    let Envelope { from, to, message, connection: _ } = envelope;
    let verb = match message {
        Message::Order {
            order: Order::Canvass { .. } | Order::Round { .. } | Order::Progress,
            ..
        }
        | Message::Ask { .. }
        | Message::AskReady { .. }
        | Message::Read { .. } => "asks",
        Message::Order { .. }
        | Message::Committed { .. }
        | Message::Submit { .. }
        | Message::Compare { .. }
        | Message::CommittedThrough { .. }
        | Message::Remind { .. }
        | Message::Forgot { .. }
        | Message::Forward { .. } => "tells",
        Message::Reply { .. }
        | Message::Reject { .. }
        | Message::Submitted { .. }
        | Message::Offer { .. }
        | Message::ReadAt { .. }
        | Message::Ready { .. }
        | Message::NotReady { .. }
        | Message::NotTaken { .. } => "answers",
    };
    format!("r{from} {verb} r{to}: {}", self::message(message))
}

/// A message: `accept b in slot 1 under 4`.
pub(crate) fn message(message: &Message<u8>) -> String {
    match message {
        Message::Order { s, order, .. } => self::order(*s, order),
        Message::Reply { s, reply, .. } => match reply {
            Reply::Agree { .. } => format!("agree to {s}"),
            Reply::Promise(it) => promise(*s, it),
            Reply::Acknowledge { ranges, prefix } => {
                let slots = ranges.iter().flat_map(|range| range.iter());
                let slots = slots_text(&slots.collect::<Vec<_>>());
                format!("acknowledge {slots} under {s}{}", prefix_text(prefix))
            }
            Reply::Room { through } => format!("room up to slot {through} under {s}"),
            Reply::Obey { number, last, prefix } => {
                let prefix = prefix_text(prefix);
                format!("obey {s} in round {number}, holding up to slot {last}{prefix}")
            }
            Reply::Applied { through } => format!("applied up to slot {through} under {s}"),
        },
        Message::Reject { promised } => format!("reject, promised {promised}"),
        Message::CommittedThrough { prefix } => format!("committed{}", prefix_text(prefix)),
        Message::AskReady { s, number, prefix } => {
            format!("ready for change {number} under {s}?{}", prefix_text(prefix))
        }
        Message::Ready { s, number, incarnation: _, through } => {
            format!("ready for change {number} under {s}, with slots up to {through}")
        }
        Message::NotReady { s, submission: it, ready: _ } => {
            format!("{} not opened under {s}: too few are ready", submission(*it))
        }
        Message::Ask { from, through, prefix: _ } => {
            format!("ask for what is committed in slots {from} to {through}")
        }
        Message::Committed { first, entries, watermark, .. } => {
            format!("committed {}{}", in_slots(*first, entries), watermark_text(*watermark))
        }
        Message::Compare { prefix, is_question } => {
            let question = if *is_question { "; and you?" } else { "" };
            format!("I have slots up to {} as {}{question}", prefix.through, prefix.hash)
        }
        Message::Offer { slot } => format!("that is in my snapshot up to slot {slot} only"),
        Message::Remind { testimony: Testimony { promised, accepted } } => {
            let promised =
                (*promised != SequenceNumber::NONE).then(|| format!("promised {promised}"));
            let accepted = accepted.map(|it| format!("accepted slot {} under {}", it.slot, it.s));
            let told: Vec<_> = promised.into_iter().chain(accepted).collect();
            format!("you told me: {}", told.join(", "))
        }
        Message::Forgot { forgotten: Forgotten { told_to, s, slot, .. } } => {
            let what = match slot {
                Some(slot) => format!("slot {slot} under {s}"),
                None => format!("the promise of {s}"),
            };
            format!("my disk has lost {what}, which I told r{told_to}")
        }
        Message::Submit { submissions } => {
            let entries: Vec<_> = submissions.iter().map(entry).collect();
            format!("submit {}", entries.join(", "))
        }
        Message::Submitted { submission: it, slot } => {
            format!("submitted {} is in slot {slot} already", submission(*it))
        }
        Message::Read { run, ids } => format!("{}{}", reads(ids), run_text(*run)),
        Message::ReadAt { run, ids, slot } => {
            format!("{} at slot {slot}{}", reads(ids), run_text(*run))
        }
        Message::NotTaken { s, reason, submissions, reads } => {
            let reads = reads.then(|| "reads".into());
            let what: Vec<_> = submissions.iter().map(|it| submission(*it)).chain(reads).collect();
            let reason = match reason {
                NotTakenReason::Stands => "no coordinator yet",
                NotTakenReason::NoRoom => "no room",
            };
            format!("{} not taken under {s}: {reason}", what.join(", "))
        }
        Message::Forward { s } => format!("room again under {s}"),
    }
}

fn order(s: SequenceNumber, order: &Order<u8>) -> String {
    match order {
        Order::Canvass { .. } => format!("canvass for {s}"),
        Order::Propose { from } if *from <= Slot(1) => format!("propose {s}"),
        Order::Propose { from } => format!("propose {s}, from slot {from} on"),
        Order::Accept { first, entries, prefix } => {
            let what = in_slots(*first, entries);
            format!("accept {what} under {s}{}", prefix_text(prefix))
        }
        Order::Commit { prefix } => format!("commit up to slot {} under {s}", prefix.through),
        Order::Round { number, prefix } => {
            format!("round {number} under {s}{}", prefix_text(prefix))
        }
        Order::Progress => format!("how far applied under {s}"),
    }
}

fn promise(s: SequenceNumber, promise: &Promise<u8>) -> String {
    let Promise { prefix, last, after, through, accepted } = promise;
    let accepted: Vec<_> = accepted.iter().map(|it| in_slot(it.slot, &it.entry, it.s)).collect();
    let accepted = match accepted.as_slice() {
        [] => "nothing accepted".into(),
        all => format!("accepted {}", all.join("  ")),
    };
    // If the promise has several frames, each says which slots it reports.
    let frame = if *after > prefix.through || through < last {
        format!(" (slots {} to {through}, last {last})", after.next())
    } else {
        String::new()
    };
    format!("promise {s}, {accepted}{frame}{}", prefix_text(prefix))
}

fn prefix_text(prefix: &Prefix) -> String {
    watermark_text(prefix.through)
}

fn watermark_text(watermark: Slot) -> String {
    if watermark == Slot::ZERO { String::new() } else { format!(", watermark {watermark}") }
}

/// The run to which a read belongs, unless it is the first one.
fn run_text(run: Run) -> String {
    if run.0 == 1 { String::new() } else { format!(", for run {run}") }
}

/// Entries of consecutive slots: `a in slot 1`, `a, b in slots 1 to 2`.
fn in_slots(first: Slot, entries: &[Entry<u8>]) -> String {
    let texts: Vec<_> = entries.iter().map(entry).collect();
    let slots: Vec<_> = (first.0..).map(Slot).take(entries.len()).collect();
    format!("{} in {}", texts.join(", "), slots_text(&slots))
}

/// Ascending slots: `slot 1`, `slots 1 to 3`, `slots 1, 3`.
fn slots_text(slots: &[Slot]) -> String {
    match slots {
        [] => "no slot".into(),
        [slot] => format!("slot {slot}"),
        [first, .., last] if last.above(*first) == slots.len() as u64 - 1 => {
            format!("slots {first} to {last}")
        }
        slots => {
            let slots: Vec<_> = slots.iter().map(Slot::to_string).collect();
            format!("slots {}", slots.join(", "))
        }
    }
}

fn submission(submission: SubmissionId) -> String {
    match submission {
        SubmissionId::Request { session, number } if session == OPEN_SESSION => {
            format!("request {number}")
        }
        SubmissionId::Request { session, number } => {
            format!("request {number} of session {session}")
        }
        SubmissionId::Open(Opening { origin, .. }) => format!("open(r{origin})"),
        SubmissionId::End { session } => format!("end#{session}"),
    }
}

fn reads(ids: &[ReadId]) -> String {
    let ids: Vec<_> = ids.iter().map(ReadId::to_string).collect();
    format!("read {}", ids.join(", "))
}

/// A text in lines of at most `columns` letters. A longer word has a line of its own.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn a_text_is_broken_between_words_and_nothing_of_it_is_lost() {
        let text = "1: a ✓   2: b ✓   a-word-that-is-too-long";
        let lines = wrapped(text, 11);
        assert_eq!(lines, ["1: a ✓   2:", "b ✓  ", "a-word-that-is-too-long"]);
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrapped(text, 80), [text]);
    }
}
