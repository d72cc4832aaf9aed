//! Parts that the rows of the table share: who hears whom, and what is submitted.

use synod_model::world::{
    MessageKind, MessageKinds, REPLICAS_MAX, Replicas, Scenario, ScenarioSubmission, Witness,
    small_limits,
};
use synod_model::{Entry, Limits, Opening, ReplicaId, Request, Run, SessionId};

pub(super) const CANVASS_MESSAGES: MessageKinds =
    MessageKinds::of(&[MessageKind::Canvass, MessageKind::Agree]);

pub(super) const NONE: Replicas = Replicas::NONE;

/// r1 and r2 hear r0, but not each other.
pub(super) const AROUND_0: [Replicas; REPLICAS_MAX] = around(0);

/// r0 and r2 hear r1, but not each other.
pub(super) const AROUND_1: [Replicas; REPLICAS_MAX] = around(1);

/// r0 and r1 hear r2, but not each other.
pub(super) const AROUND_2: [Replicas; REPLICAS_MAX] = around(2);

pub(super) const fn around(middle: u16) -> [Replicas; REPLICAS_MAX] {
    let mut hears = [Replicas::of(&[middle]); REPLICAS_MAX];
    hears[middle as usize] = Replicas::ALL;
    hears
}

pub(super) const ROUND_MESSAGES: MessageKinds =
    MessageKinds::of(&[MessageKind::Round, MessageKind::Obey]);

pub(super) const READ_MESSAGES: MessageKinds = MessageKinds::of(&[
    MessageKind::Round,
    MessageKind::Obey,
    MessageKind::Read,
    MessageKind::ReadAt,
]);

/// Value `a` of replicas 0 and 2, and value `b` of replica 1.
pub(super) fn two_values() -> Vec<ScenarioSubmission> {
    vec![request(1, &[0, 2]), request(2, &[1])]
}

/// Request `number`, submitted at one of these replicas. Its value is a letter.
pub(super) fn request(number: u8, at: &[u16]) -> ScenarioSubmission {
    ScenarioSubmission::request(u64::from(number), b'a' + number - 1, Replicas::of(at))
}

pub(super) fn submission(entry: Entry<u8>, at: &[u16]) -> ScenarioSubmission {
    ScenarioSubmission { entry, at: Replicas::of(at), places: 1, after: None }
}

/// Opens a session. The replica that receives the submission fills in the origin and the run.
pub(super) fn open_session(at: &[u16]) -> ScenarioSubmission {
    submission(Entry::Open(Opening { origin: ReplicaId(0), run: Run(0), count: 1 }), at)
}

/// The session that is opened in slot 1.
pub(super) const OPENED: SessionId = SessionId(1);

/// A request of the opened session. The client submits it once the session is open.
pub(super) fn in_session(number: u8, at: &[u16]) -> ScenarioSubmission {
    let (number, value) = (u64::from(number), b'a' + number - 1);
    let entry = Entry::Request(Request { session: OPENED, number, answered: 1, value });
    ScenarioSubmission { after: Some(0), ..submission(entry, at) }
}

/// Ends the opened session. The client does so once its request is answered.
pub(super) fn end_session(at: &[u16]) -> ScenarioSubmission {
    ScenarioSubmission { after: Some(1), ..submission(Entry::End { session: OPENED }, at) }
}

/// Ends the opened session as soon as it is open, without a request before.
pub(super) fn end_opened(at: &[u16]) -> ScenarioSubmission {
    ScenarioSubmission { after: Some(0), ..end_session(at) }
}

/// The same request, by a client that gives up all of its earlier requests.
pub(super) fn giving_up(submission: ScenarioSubmission) -> ScenarioSubmission {
    let Entry::Request(Request { session, number, value, .. }) = submission.entry else {
        return submission;
    };
    let entry = Entry::Request(Request { session, number, answered: number, value });
    ScenarioSubmission { entry, ..submission }
}

/// Five replicas and two coordinators: r1 coordinates under 1 with r0 and r3, and r2 coordinates under
/// 2 with r3 and r4. So each hears of the other through r3 alone, and r0 obeys only r1.
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
        reaches: vec![Witness::TwoCoordinate],
        ..Scenario::new(5, 1, &[1, 2])
    }
}

/// The tail has room for one entry, so that what is older than that is on the disk only.
pub(super) fn short_tail() -> Limits {
    Limits { open_slots_max: 1, accepted_slots_max: 1, ..small_limits() }
}
