//! What the rows of the table are made of: what is to be reached, who hears whom, what is submitted.

use synod_model::world::{Kind, Kinds, REPLICAS_MAX, Replicas, Scenario, Submission};
use synod_model::{Entry, Opening, ReplicaId, Request, Run, SessionId};

pub(super) const COMMITTED_EVERYWHERE: &str = "everything is committed everywhere";
pub(super) const TWO_COORDINATE: &str = "two replicas coordinate at once";
pub(super) const FINISHES: &str = "a coordinator finishes another's value";
pub(super) const NO_OP: &str = "a no-op fills a gap";
pub(super) const LOSES: &str = "a crash has lost what was not synced";
pub(super) const REJECTED: &str = "an order is rejected";
pub(super) const TWICE: &str = "a request is in the log twice";
pub(super) const OVERTAKES: &str = "a request overtakes an earlier one";
pub(super) const BEHIND_TAIL: &str = "a replica lags behind another's tail";
pub(super) const READ: &str = "a read is confirmed by a round";
pub(super) const AGREED: &str = "a canvass is agreed to";
pub(super) const LAGS: &str = "a candidate lacks what a promiser knows";
pub(super) const ALL_CRASHED: &str = "all crashes have happened";
pub(super) const FORWARDED: &str = "a submission is forwarded";
pub(super) const SESSION_ENDED: &str = "a session ends and a late copy follows";
pub(super) const BEYOND_WINDOW: &str = "an election finishes more slots than the window has";
pub(super) const GIVEN_UP: &str = "a request is given up before it is delivered";
pub(super) const DEAD: &str = "a dead message is in flight";

pub(super) const CANVASS: Kinds = Kinds::of(&[Kind::Canvass, Kind::Agree]);

pub(super) const NONE: Replicas = Replicas::NONE;

/// Three replicas of which r1 and r2 hear r0, and not one another.
pub(super) const AROUND_0: [Replicas; REPLICAS_MAX] = around(0);

/// Three replicas of which r0 and r2 hear r1, and not one another.
pub(super) const AROUND_1: [Replicas; REPLICAS_MAX] = around(1);

pub(super) const fn around(middle: u16) -> [Replicas; REPLICAS_MAX] {
    let mut hears = [Replicas::of(&[middle]); REPLICAS_MAX];
    hears[middle as usize] = Replicas::ALL;
    hears
}

pub(super) const ROUNDS: Kinds = Kinds::of(&[Kind::Round, Kind::Obey]);

pub(super) const READS: Kinds = Kinds::of(&[Kind::Round, Kind::Obey, Kind::Read, Kind::ReadAt]);

/// Value `a` of replicas 0 and 2, and value `b` of replica 1.
pub(super) fn two_values() -> Vec<Submission> {
    vec![request(1, &[0, 2]), request(2, &[1])]
}

/// Request `number`, whose value is a letter, at one of these replicas.
pub(super) fn request(number: u8, at: &[u16]) -> Submission {
    Submission::request(u64::from(number), b'a' + number - 1, Replicas::of(at))
}

pub(super) fn submission(entry: Entry<u8>, at: &[u16]) -> Submission {
    Submission { entry, at: Replicas::of(at), places: 1, after: None }
}

/// Opens a session. The replica that is asked puts itself and its run in the entry.
pub(super) fn open_session(at: &[u16]) -> Submission {
    submission(Entry::Open(Opening { origin: ReplicaId(0), run: Run(0), count: 1 }), at)
}

/// The session that is opened in slot 1.
pub(super) const OPENED: SessionId = SessionId(1);

/// A request of the opened session, once its client knows that it is open.
pub(super) fn in_session(number: u8, at: &[u16]) -> Submission {
    let (number, value) = (u64::from(number), b'a' + number - 1);
    let entry = Entry::Request(Request { session: OPENED, number, answered: 1, value });
    Submission { after: Some(0), ..submission(entry, at) }
}

/// Ends the opened session, once its request is answered.
pub(super) fn end_session(at: &[u16]) -> Submission {
    Submission { after: Some(1), ..submission(Entry::End { session: OPENED }, at) }
}

/// The same when it is open, with no request in between.
pub(super) fn end_opened(at: &[u16]) -> Submission {
    Submission { after: Some(0), ..end_session(at) }
}

/// The same request, of a client that wants to hear nothing of those before it any more.
pub(super) fn giving_up(submission: Submission) -> Submission {
    let Entry::Request(Request { session, number, value, .. }) = submission.entry else {
        return submission;
    };
    let entry = Entry::Request(Request { session, number, answered: number, value });
    Submission { entry, ..submission }
}

/// Five replicas, of which r1 coordinates under 1 with r0 and r3, and r2 under 2 with r3 and r4, so
/// that neither hears of the other but through r3, and r0 takes orders of r1 alone.
pub(super) fn five(catch_up: Replicas, may_crash: Replicas) -> Scenario {
    Scenario {
        submissions: vec![request(1, &[1]), request(2, &[2])],
        hears: [
            Replicas::of(&[1, 3]),
            Replicas::of(&[0, 3]),
            Replicas::of(&[3, 4]),
            Replicas::of(&[1, 2]),
            Replicas::of(&[2]),
        ],
        catch_up,
        crashes: u8::from(may_crash != Replicas::NONE),
        may_crash,
        reaches: vec![TWO_COORDINATE],
        ..Scenario::new(5, 1, &[1, 2])
    }
}
