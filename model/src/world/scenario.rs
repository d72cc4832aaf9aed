//! A scenario: the bounds within which the model explores everything.
//!
//! Paxos has no last state, so every check is bounded. A scenario says by data alone what may
//! happen: who may stand under which number, what is submitted where, who may crash and how often,
//! who hears whom, which kinds of message the network loses. What one scenario leaves out, another
//! carries.

use std::vec::Vec;

use super::property::{ModelProperty, Witness};
use crate::entry::{Entry, Request};
use crate::limits::Limits;
use crate::numbers::{ReadId, ReplicaId, SequenceNumber, SessionId};

/// The most replicas that a model can have.
pub const REPLICAS_MAX: usize = 5;
/// The most slots that a model can have.
pub const SLOTS_MAX: usize = 8;

/// A set of replicas of a model, one bit for each id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replicas(pub u8);

impl Replicas {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(0xff);

    /// The replicas with these ids.
    #[must_use]
    pub const fn of(ids: &[u16]) -> Self {
        let mut set = 0;
        let mut index = 0;
        while index < ids.len() {
            set |= 1 << ids[index];
            index += 1;
        }
        Self(set)
    }

    /// Whether `replica` is among them.
    #[must_use]
    pub const fn contains(self, replica: usize) -> bool {
        self.0 & (1 << replica) != 0
    }

    /// How many there are.
    #[must_use]
    pub const fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// The kinds of message, for the table of what a network loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// "Would you follow me?"
    Canvass,
    /// Phase 1.
    Propose,
    /// Phase 2.
    Accept,
    /// Phase 3.
    Commit,
    /// "Do you still obey?"
    Round,
    /// Answers a canvass.
    Agree,
    /// Answers a propose.
    Promise,
    /// Answers an accept.
    Acknowledge,
    /// Answers a round.
    Obey,
    /// Answers any order below the promise.
    Reject,
    /// Asks for committed slots.
    Ask,
    /// Brings committed slots.
    Committed,
    /// Forwards submissions.
    Submit,
    /// Answers a forwarded submission.
    Submitted,
    /// Forwards reads.
    Read,
    /// Answers forwarded reads.
    ReadAt,
}

impl MessageKind {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageKinds(u32);

impl MessageKinds {
    /// These kinds.
    #[must_use]
    pub const fn of(kinds: &[MessageKind]) -> Self {
        let mut set = 0;
        let mut index = 0;
        while index < kinds.len() {
            set |= kinds[index].bit();
            index += 1;
        }
        Self(set)
    }

    /// Whether `kind` is among them.
    #[must_use]
    pub const fn contains(self, kind: MessageKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What only matters to a failure detector, to readers and to clients elsewhere. A scenario that is
/// not about these loses them, and is small.
pub const ASIDE: MessageKinds = MessageKinds::of(&[
    MessageKind::Canvass,
    MessageKind::Agree,
    MessageKind::Round,
    MessageKind::Obey,
    MessageKind::Reject,
    MessageKind::Submit,
    MessageKind::Submitted,
    MessageKind::Read,
    MessageKind::ReadAt,
]);

/// Something that a client may submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioSubmission {
    /// What is submitted.
    pub entry: Entry<u8>,
    /// Where it may be submitted.
    pub at: Replicas,
    /// At how many of these places: more than one is a client that retries elsewhere.
    pub places: u32,
    /// It may be submitted only once this one (by index) is committed somewhere, and that is how its
    /// client knows its session, or has the answer that it waits for.
    pub after: Option<usize>,
}

impl ScenarioSubmission {
    /// A request of the session that is open from the start, with `value`, at one of `at`.
    #[must_use]
    pub const fn request(number: u64, value: u8, at: Replicas) -> Self {
        let entry = Entry::Request(Request { session: OPEN_SESSION, number, answered: 1, value });
        Self { entry, at, places: 1, after: None }
    }
}

/// The session that is open in every scenario from the start, so that small models need not open
/// one.
pub const OPEN_SESSION: SessionId = SessionId(0);

/// The reads of all runs have the same id: so it is with a shell that counts anew in every run.
pub(super) const READ: ReadId = ReadId(0);

/// The bounds of a model.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "bounds are independent of one another")]
pub struct Scenario {
    /// How many replicas there are.
    pub replicas: usize,
    /// Submissions open no slot above this one. (Elections may.)
    pub slots: usize,
    /// The limits that the replicas keep.
    pub limits: Limits,
    /// The numbers under which replicas may stand.
    pub numbers: Vec<SequenceNumber>,
    /// Whether a replica canvasses before it stands. Without, nobody suspects either.
    pub canvass: bool,
    /// What clients may submit.
    pub submissions: Vec<ScenarioSubmission>,
    /// Whether something may be submitted where nobody coordinates. Without, clients wait until the
    /// replica that they ask coordinates, which leaves out the ways to wait but none to commit.
    pub submit_anywhere: bool,
    /// Where a read may be asked: the first in a replica's first run, the second in its second.
    pub reads: Vec<Replicas>,
    /// How many crashes there may be in all ...
    pub crashes: u8,
    /// ... and whose.
    pub may_crash: Replicas,
    /// Whether the application keeps what it has over a crash. Without, it begins anew.
    pub durable_application: bool,
    /// Whether one sync may cover any number of records, not only the oldest.
    pub sync_any: bool,
    /// Whether replicas may repeat what is unanswered.
    pub resend: bool,
    /// Reads and resends begin no round of a coordinator above this one.
    pub rounds: u64,
    /// Who may be brought committed slots by catch-up.
    pub catch_up: Replicas,
    /// For each replica, whom it hears.
    pub hears: [Replicas; REPLICAS_MAX],
    /// Kinds of message that the network loses.
    pub loses: MessageKinds,
    /// Whether messages stay in flight once they are dead. That nothing comes of them is then not
    /// taken from `dead`, but found out.
    pub keeps_dead: bool,
    /// What must be reached.
    pub reaches: Vec<Witness>,
    /// Whether liveness is checked from every state.
    pub liveness: bool,
}

impl Scenario {
    /// Three or five replicas that hear one another, may stand under `numbers`, and open `slots`
    /// slots; nothing else happens, and nothing is submitted yet.
    #[must_use]
    pub fn new(replicas: usize, slots: usize, numbers: &[u64]) -> Self {
        Self {
            replicas,
            slots,
            limits: small_limits(),
            numbers: numbers.iter().copied().map(SequenceNumber).collect(),
            canvass: false,
            submissions: Vec::new(),
            submit_anywhere: false,
            reads: Vec::new(),
            crashes: 0,
            may_crash: Replicas::ALL,
            durable_application: false,
            sync_any: false,
            resend: false,
            rounds: 2,
            catch_up: Replicas::ALL,
            hears: [Replicas::ALL; REPLICAS_MAX],
            loses: ASIDE,
            keeps_dead: false,
            reaches: Vec::new(),
            liveness: true,
        }
    }

    /// What is checked within these bounds, in the order of reports.
    #[must_use]
    pub fn properties(&self) -> Vec<ModelProperty> {
        let is_checked = |property: &ModelProperty| match property {
            ModelProperty::Invariant(_) => true,
            ModelProperty::Liveness => self.liveness,
            ModelProperty::Witness(witness) => self.reaches.contains(witness),
        };
        ModelProperty::all().filter(is_checked).collect()
    }

    /// The replica that owns `s`.
    #[must_use]
    pub fn owner(&self, s: SequenceNumber) -> ReplicaId {
        let owner = s.0 % self.replicas as u64;
        ReplicaId(u16::try_from(owner).unwrap_or(u16::MAX))
    }
}

/// Limits for models: one entry a message, so that every interleaving is explored, and the window
/// wide enough for every slot that a model has.
#[must_use]
pub fn small_limits() -> Limits {
    Limits {
        open_slots_max: SLOTS_MAX as u64,
        accepted_slots_max: SLOTS_MAX as u64,
        frame_entries_max: 1,
        session_requests_max: 4,
        sessions_max: 4,
        ..Limits::default()
    }
}
