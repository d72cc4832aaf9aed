//! A scenario: the bounds within which the model explores everything.
//!
//! Paxos has no last state, so every check is bounded. A scenario is data and says what may happen:
//! the numbers under which replicas may stand, what is submitted and where, how often replicas crash
//! and which, who hears whom, and which kinds of message the network loses. What one scenario leaves
//! out, another one has.

use std::vec::Vec;

use super::property::{Invariant, ModelProperty, Witness};
use crate::configuration::Configuration;
use crate::entry::{Change, Entry, Request};
use crate::limits::Limits;
use crate::numbers::{ConfigurationId, ReadId, ReplicaId, SequenceNumber, SessionId};
use crate::registration::Registration;

/// The most replicas that a model can have.
pub const REPLICAS_MAX: usize = 5;
/// The most slots that a model can have.
pub const SLOTS_MAX: usize = 8;
/// The most submissions that a model can have.
pub const SUBMISSIONS_MAX: usize = 6;
/// The most reads that a model can have.
pub const READS_MAX: usize = 8;

/// A set of replicas of a model, one bit for each id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replicas(pub u8);

impl Replicas {
    /// No replica.
    pub const NONE: Self = Self(0);
    /// All replicas.
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

    /// Whether `replica` is in the set.
    #[must_use]
    pub const fn contains(self, replica: usize) -> bool {
        self.0 & (1 << replica) != 0
    }

    /// The number of replicas in the set.
    #[must_use]
    pub const fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// A kind of message. A scenario names the kinds that its network loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// Asks who would follow the sender.
    Canvass,
    /// Phase 1: asks for promises.
    Propose,
    /// Phase 2: asks to accept entries.
    Accept,
    /// Phase 3: tells what is committed.
    Commit,
    /// Asks who still obeys the coordinator.
    Round,
    /// Answers a canvass.
    Agree,
    /// Answers a propose.
    Promise,
    /// Answers an accept.
    Acknowledge,
    /// Tells how far there is room for entries.
    Room,
    /// Answers a round.
    Obey,
    /// Answers any order below the promise.
    Reject,
    /// Asks for committed slots.
    Ask,
    /// Brings committed slots.
    Committed,
    /// Tells what is committed, to be compared.
    Compare,
    /// Reminds a replica of what it has told.
    Remind,
    /// Tells that a disk has lost what was told.
    Forgot,
    /// Forwards submissions.
    Submit,
    /// Answers a forwarded submission.
    Submitted,
    /// Forwards reads.
    Read,
    /// Answers forwarded reads.
    ReadAt,
    /// Answers what was forwarded and not taken.
    NotTaken,
    /// Tells that there is room for what is forwarded.
    Forward,
    /// Asks how far applications have come.
    Progress,
    /// Tells how far an application has come.
    Applied,
    /// Tells that what is asked for is in a snapshot only.
    Offer,
    /// Tells what is committed, to one who may not know of a change of the members.
    CommittedThrough,
    /// Asks who could vote after a change.
    AskReady,
    /// Answers that.
    Ready,
    /// Tells that a change is not opened.
    NotReady,
}

impl MessageKind {
    /// All kinds, with the names that a description of a scenario uses.
    pub const NAMED: [(Self, &str); Self::LAST as usize + 1] = [
        (Self::Canvass, "canvass"),
        (Self::Propose, "propose"),
        (Self::Accept, "accept"),
        (Self::Commit, "commit"),
        (Self::Round, "round"),
        (Self::Agree, "agree"),
        (Self::Promise, "promise"),
        (Self::Acknowledge, "acknowledge"),
        (Self::Room, "room"),
        (Self::Obey, "obey"),
        (Self::Reject, "reject"),
        (Self::Ask, "ask"),
        (Self::Committed, "committed"),
        (Self::Compare, "compare"),
        (Self::Remind, "remind"),
        (Self::Forgot, "forgot"),
        (Self::Submit, "submit"),
        (Self::Submitted, "submitted"),
        (Self::Read, "read"),
        (Self::ReadAt, "read-at"),
        (Self::NotTaken, "not-taken"),
        (Self::Forward, "forward"),
        (Self::Progress, "progress"),
        (Self::Applied, "applied"),
        (Self::Offer, "offer"),
        (Self::CommittedThrough, "committed-through"),
        (Self::AskReady, "ask-ready"),
        (Self::Ready, "ready"),
        (Self::NotReady, "not-ready"),
    ];

    /// The last variant. A kind that is added makes the list above too short, and does not compile.
    const LAST: Self = Self::NotReady;

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageKinds(u32);

impl MessageKinds {
    /// The set of these kinds.
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

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: MessageKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// The union of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the kinds in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The kinds of message that matter only to failure detectors, to reads, to clients at followers, and
/// where disks lose what they had. A scenario about something else loses them, and stays small.
pub const ASIDE: MessageKinds = MessageKinds::of(&[
    MessageKind::Canvass,
    MessageKind::Agree,
    MessageKind::Round,
    MessageKind::Room,
    MessageKind::Obey,
    MessageKind::Reject,
    MessageKind::Submit,
    MessageKind::Submitted,
    MessageKind::Read,
    MessageKind::ReadAt,
    MessageKind::NotTaken,
    MessageKind::Forward,
    MessageKind::Progress,
    MessageKind::Applied,
    MessageKind::Remind,
    MessageKind::Forgot,
    MessageKind::NotReady,
]);

/// Something that a client may submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioSubmission {
    /// The entry that is submitted.
    pub entry: Entry<u8>,
    /// The replicas where it may be submitted.
    pub at: Replicas,
    /// At how many of these replicas it is submitted. With more than one, the client retries elsewhere.
    pub places: u32,
    /// The submission (by index) that must be committed somewhere before this one. So a client waits
    /// until it knows its session, or has an answer.
    pub after: Option<usize>,
}

impl ScenarioSubmission {
    /// A request with `value`, submitted at one of `at`, in the session that is open from the start.
    #[must_use]
    pub const fn request(number: u64, value: u8, at: Replicas) -> Self {
        let entry = Entry::Request(Request { session: OPEN_SESSION, number, answered: 1, value });
        Self { entry, at, places: 1, after: None }
    }
}

/// The session that is open from the start of every scenario. So small models need not open one.
pub const OPEN_SESSION: SessionId = SessionId(0);

/// The id of every read. A shell counts its reads anew in each run, so ids repeat.
pub(super) const READ: ReadId = ReadId(0);

/// The bounds of a model.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "bounds are independent of one another")]
pub struct Scenario {
    /// The number of replicas.
    pub replicas: usize,
    /// The replicas that are members from the start.
    pub members: Replicas,
    /// Those among them that only learn.
    pub learners: Replicas,
    /// The highest slot that a submission may open. (Elections may open higher ones.)
    pub slots: usize,
    /// The limits of the replicas.
    pub limits: Limits,
    /// The numbers under which replicas may stand.
    pub numbers: Vec<SequenceNumber>,
    /// Whether replicas canvass before they stand. If not, no replica suspects the coordinator either.
    pub canvass: bool,
    /// What clients may submit.
    pub submissions: Vec<ScenarioSubmission>,
    /// Whether clients may submit at replicas that do not coordinate. If not, a client waits until its
    /// replica coordinates. That leaves out ways to wait, but no way to commit.
    pub submit_anywhere: bool,
    /// The replicas where each read may be asked: the first read in the first run of a replica, the
    /// second one in its second run.
    pub reads: Vec<Replicas>,
    /// How many crashes may happen in all.
    pub crashes: u8,
    /// The replicas that may crash.
    pub may_crash: Replicas,
    /// Whether a coordinator asks, message by message, who is ready for a change. If not, all are ready at once.
    pub readiness: bool,
    /// The replicas whose data directories are not those that changes register.
    pub other_directories: Replicas,
    /// Whether replicas must greet one another, and be formed, before they take part. If not, they take
    /// part from the start, and none loses its data directory.
    pub forming: bool,
    /// How many data directories may be lost in all.
    pub losses: usize,
    /// The replicas that may lose theirs.
    pub may_lose: Replicas,
    /// How often, in all, a disk loses the end of its durable log: what was synced last. To replicas, a
    /// data directory that is replaced by an older copy is the same.
    pub rollbacks: u8,
    /// The replicas whose disks may do that.
    pub may_roll_back: Replicas,
    /// How many snapshots may be made in all.
    pub snapshots: u8,
    /// The replicas that may make them.
    pub may_snapshot: Replicas,
    /// The replicas that may install snapshots.
    pub may_install: Replicas,
    /// How many disks may stop answering, for good.
    pub hangs: usize,
    /// The replicas whose disks may.
    pub may_hang: Replicas,
    /// Whether the application keeps its state over a crash. If not, it begins anew.
    pub durable_application: bool,
    /// Whether one sync may cover several records, not only the oldest.
    pub sync_any: bool,
    /// Whether replicas may repeat what is unanswered.
    pub resend: bool,
    /// The highest round that a read or a resend may begin.
    pub rounds: u64,
    /// The replicas to which catch-up may bring committed slots.
    pub catch_up: Replicas,
    /// For each replica, the replicas that it hears.
    pub hears: [Replicas; REPLICAS_MAX],
    /// The kinds of message that the network loses.
    pub loses: MessageKinds,
    /// Whether dead messages stay in flight. Then the checker does not rely on `dead`: it delivers
    /// them, and finds out what happens.
    pub keeps_dead: bool,
    /// The witnesses that must be reached.
    pub reaches: Vec<Witness>,
    /// Whether liveness is checked.
    pub liveness: bool,
}

impl Scenario {
    /// Replicas that hear one another, may stand under `numbers`, and open slots up to `slots`. Nothing
    /// is submitted, and nothing else happens.
    #[must_use]
    pub fn new(replicas: usize, slots: usize, numbers: &[u64]) -> Self {
        Self {
            replicas,
            members: Replicas::ALL,
            learners: Replicas::NONE,
            slots,
            limits: small_limits(),
            numbers: numbers.iter().copied().map(SequenceNumber).collect(),
            canvass: false,
            submissions: Vec::new(),
            submit_anywhere: false,
            reads: Vec::new(),
            crashes: 0,
            may_crash: Replicas::ALL,
            readiness: false,
            other_directories: Replicas::NONE,
            forming: false,
            losses: 0,
            may_lose: Replicas::ALL,
            rollbacks: 0,
            may_roll_back: Replicas::ALL,
            snapshots: 0,
            may_snapshot: Replicas::ALL,
            may_install: Replicas::ALL,
            hangs: 0,
            may_hang: Replicas::ALL,
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

    /// The properties that are checked within these bounds, in the order of reports.
    #[must_use]
    pub fn properties(&self) -> Vec<ModelProperty> {
        let is_checked = |property: &ModelProperty| match property {
            // Who takes part does not depend on messages, so it is checked where there are none. In
            // other scenarios a fault of forming is found by what follows from it.
            ModelProperty::Invariant(
                Invariant::OneDirectoryTakesPart | Invariant::FormedKnowOneAnother,
            ) => self.forming && self.numbers.is_empty(),
            ModelProperty::Invariant(Invariant::FormedStaysFormed) => self.forming,
            // No protocol agrees when disks lose what was durable. What is checked then is that the
            // damage is seen, and goes no further.
            ModelProperty::Invariant(
                Invariant::VotesShareAPrefix | Invariant::NothingDeliveredAgainstMajority,
            ) => self.rollbacks > 0,
            ModelProperty::Invariant(
                Invariant::OnlyLossIsFound | Invariant::LossIsFound | Invariant::NoLostVoteCounts,
            ) => self.reminds(),
            ModelProperty::Invariant(
                Invariant::SnapshotEqualsLog | Invariant::AllDurableCounts,
            ) => self.snapshots > 0,
            ModelProperty::Invariant(Invariant::ChangeOpenedWhenReady) => self.readiness,
            ModelProperty::Invariant(Invariant::OtherDirectoryIsSilent) => {
                self.other_directories != Replicas::NONE
            }
            ModelProperty::Invariant(
                Invariant::OneConfigurationGoverns
                | Invariant::NumberOfOneConfiguration
                | Invariant::CommittedByGovernors
                | Invariant::FinishedChangeIsDurable,
            ) => self.submissions.iter().any(|it| matches!(it.entry, Entry::Change(_))),
            ModelProperty::Invariant(
                Invariant::CommittedWasSubmitted
                | Invariant::DeliveryInOrder
                | Invariant::NoStepPanics
                | Invariant::EveryDiskRecovers
                | Invariant::OnlyDurableIsServed
                | Invariant::DurableTailWithinLimits,
            ) => true,
            ModelProperty::Invariant(_) if self.rollbacks > 0 => false,
            ModelProperty::Invariant(_) => true,
            ModelProperty::Liveness => self.liveness,
            ModelProperty::Witness(witness) => self.reaches.contains(witness),
        };
        ModelProperty::all().filter(is_checked).collect()
    }

    /// The configuration that the cluster starts with.
    ///
    /// # Panics
    ///
    /// If no replica is a voter.
    #[must_use]
    pub fn first_configuration(&self) -> Configuration {
        let among = |set: Replicas| {
            let ids = (0..self.replicas).filter(move |it| set.contains(*it));
            ids.filter_map(|id| u16::try_from(id).ok()).map(ReplicaId).collect::<Vec<_>>()
        };
        let (members, learners) = (among(self.members), among(self.learners));
        let next_replica_id = members.last().map_or(0, |last| u32::from(last.0) + 1);
        let id = ConfigurationId(1);
        let configuration = Configuration::from_parts(id, members, learners, next_replica_id);
        configuration.unwrap_or_else(|error| panic!("{error}"))
    }

    /// A change of the first configuration, which may be submitted at one of `at`: from then on, these
    /// replicas vote.
    ///
    /// # Panics
    ///
    /// If that is no configuration.
    #[must_use]
    pub fn change(&self, number: u64, voters: &[u16], at: Replicas) -> ScenarioSubmission {
        Self::change_of(&self.first_configuration(), number, voters, at)
    }

    /// The same for a change of `before`.
    ///
    /// # Panics
    ///
    /// If that is no configuration.
    #[must_use]
    pub fn change_of(
        before: &Configuration,
        number: u64,
        voters: &[u16],
        at: Replicas,
    ) -> ScenarioSubmission {
        let voters: Vec<_> = voters.iter().copied().map(ReplicaId).collect();
        let changed = before.changed(&voters, &[]);
        let registered = changed.and_then(|it| it.with_all_registered(Registration::first_of));
        let configuration = registered.unwrap_or_else(|error| panic!("{error}"));
        let (session, answered) = (OPEN_SESSION, 1);
        let entry = Entry::Change(Change { session, number, answered, configuration });
        ScenarioSubmission { entry, at, places: 1, after: None }
    }

    /// Whether replicas are reminded of what they have told. That matters only where disks lose what was
    /// durable.
    #[must_use]
    pub fn reminds(&self) -> bool {
        self.rollbacks > 0 && !self.loses.contains(MessageKind::Remind)
    }

    /// The replica that owns `s`.
    #[must_use]
    pub fn owner(&self, s: SequenceNumber) -> ReplicaId {
        let owner = s.0 % self.replicas as u64;
        ReplicaId(u16::try_from(owner).unwrap_or(u16::MAX))
    }
}

/// Limits for models. A message carries one entry, so that every interleaving is explored. The window
/// has room for every slot of a model.
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
