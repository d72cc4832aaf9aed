//! The properties: what must hold in every state, and what must be reached.
//!
//! Each property is a variant. Scenarios, histories, reports and traces use the variant, so the compiler
//! finds a property that does not exist or was forgotten. Seeded faults and people use its
//! [name](ModelProperty::name). The module `conditions` says when a property holds in a state.

use core::fmt;

use stateright::{Model, Property};

/// A property of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelProperty {
    /// A property that holds in every reachable state.
    Invariant(Invariant),
    /// "a majority left in peace agrees", starting from every reachable state.
    Liveness,
    /// A property that holds in some reachable state.
    Witness(Witness),
}

/// What a property claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyKind {
    /// It holds in every reachable state.
    Always,
    /// It holds in some reachable state, so the scenario is not vacuous.
    Sometimes,
    /// From every reachable state, a cluster that is left in peace reaches it.
    Liveness,
}

/// Defines an enum of properties with their names.
macro_rules! properties {
    ($(#[$doc:meta])* $type:ident { $($variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $(#[doc = concat!("\"", $name, "\".")] $variant,)*
        }

        impl $type {
            /// All variants, in the order of reports.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in reports, on the command line and in seeded faults.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The condition for stateright. It is a plain function, which cannot capture the variant. So
            /// there is one function for each variant.
            fn condition<M: ChecksProperties>(self) -> fn(&M, &M::State) -> bool {
                match self {
                    $(Self::$variant => |model, state| {
                        model.condition(Self::$variant.into(), state)
                    },)*
                }
            }
        }

        impl From<$type> for ModelProperty {
            fn from(property: $type) -> Self {
                Self::$type(property)
            }
        }
    };
}

properties! {
    /// A property of every reachable state.
    Invariant {
        OneCommittedValue = "no two replicas commit different values in a slot",
        OneChosenValue = "no two values are chosen in a slot",
        CommittedIsChosen = "what is committed is chosen",
        CommittedIsOnMajorityOfDisks = "a committed value is on a majority of disks",
        CommittedWasSubmitted = "only what was submitted is committed",
        DurablePromiseNeverFalls = "a durable promise never goes down",
        NothingAcceptedBelowPromise = "nothing is accepted below a durable promise",
        OneValuePerNumberAndSlot = "one value per sequence number and slot",
        DeliveryInOrder = "delivery is in order, without gaps",
        FirstAtMostOnce = "a request is first at most once",
        VerdictFollowsFromLog = "every verdict follows from the log",
        OneSlotPerRequest = "a coordinator opens one slot for a request",
        ReadCoversCommitted = "a read covers what was committed when it was asked",
        NoStepPanics = "no step panics",
        NoPeerContradicts = "no peer contradicts what is committed",
        EveryDiskRecovers = "every disk can be recovered from",
        OnlyDurableIsServed = "only what is durable is served from the disk",
        DurableTailWithinLimits = "what is durable is in memory within the limits",
        AllDurableCounts = "what is durable counts as durable",
        CanvassOustsNobody = "a canvass does not oust a working coordinator",
        OneDirectoryTakesPart = "no two data directories take part under one id",
        FormedKnowOneAnother = "replicas that take part know one another",
        FormedStaysFormed = "a replica that takes part still does after a restart",
        VotesShareAPrefix = "nothing is committed by votes over different prefixes",
        NothingDeliveredAgainstMajority = "a replica that knows of a majority with another history delivers nothing",
        OnlyLossIsFound = "only a disk that has lost something is found to have",
        LossIsFound = "a replica that is reminded at its start of what its disk has lost stops",
        NoLostVoteCounts = "a vote that is known to be lost does not count",
        SnapshotEqualsLog = "a snapshot equals the log up to its slot",
        OneConfigurationGoverns = "no two configurations govern one slot",
        NumberOfOneConfiguration = "nobody coordinates two configurations under one number",
        CommittedByGovernors = "nothing is committed by members who do not govern the slot",
        FinishedChangeIsDurable = "a finished change is durable on a majority of the new voters",
        ChangeOpenedWhenReady = "a change is opened only if a majority of its voters is ready",
        OtherDirectoryIsSilent = "a directory that finds another one registered in its place takes no part",
    }
}

properties! {
    /// A property of some reachable state. Each scenario names the witnesses that it must reach. So it
    /// cannot pass without having shown what it is for.
    Witness {
        CommittedEverywhere = "everything is committed everywhere",
        TwoCoordinate = "two replicas coordinate at once",
        FinishesAnothersValue = "a coordinator finishes another's value",
        NoOpFillsGap = "a no-op fills a gap",
        UnsyncedWriteLost = "a crash has lost what was not synced",
        OrderRejected = "an order is rejected",
        RequestInLogTwice = "a request is in the log twice",
        ReadConfirmed = "a read is confirmed by a round",
        CanvassAgreedTo = "a canvass is agreed to",
        CandidateLags = "a candidate lacks what a promiser knows",
        AllCrashesHappened = "all crashes have happened",
        SubmissionForwarded = "a submission is forwarded",
        SubmissionNotTaken = "a coordinator has no room for a forwarded submission",
        RequestOvertakes = "a request overtakes an earlier one",
        LagsBehindTail = "a replica lags behind another's tail",
        AcceptHeldBack = "an accept is held back from a follower without room",
        DeadMessageInFlight = "a dead message is in flight",
        FinishesInPortions = "an election has more to finish than it opens at once",
        OvertakenWhileFinishing = "a coordinator is overtaken before it has opened all that it must finish",
        RequestGivenUp = "a request is given up before it is delivered",
        LateCopyAfterSessionEnd = "a session ends and a late copy follows",
        FormsWithRemadeDirectory = "a cluster forms with a directory made anew",
        DirectoryLostWhileForming = "a directory is lost while the cluster forms",
        DirectoryLostAfterForming = "a directory that took part is lost",
        RemadeDirectoryRefused = "a directory made anew is refused",
        HistoriesDiffer = "two replicas have different histories",
        VoteOverAnotherHistory = "a vote comes from a replica with another history",
        ReplicaStops = "a replica stops because a majority has another history",
        HungCoordinatorGivesWay = "a coordinator whose disk hangs gives way",
        LossFound = "a replica finds that its disk has lost what it told",
        LostVoteTakenBack = "a vote is taken back because a disk has lost it",
        BehindCutLog = "a replica lacks what another has in a snapshot only",
        CandidateBehindCutLog = "a candidate lacks what a promiser has in a snapshot only",
        TwoSnapshots = "two snapshots of different age are on their way",
        SnapshotInstalled = "a snapshot is installed",
        InstalledNotDurable = "a snapshot is installed, and the record of it is not durable",
        LateAcceptBelowSnapshot = "an accept comes late, below an installed snapshot",
        ReadWaitsForSnapshot = "a read waits for slots that are in a snapshot",
        ChangeFinished = "a change of the members is finished",
        TwoConfigurationsElect = "two configurations elect at once",
        CoordinatorRemoved = "a coordinator removes itself",
        RemovedDoesNotKnow = "a removed replica does not know",
        ChangeRefused = "a change is refused because another came first",
        AcceptedAboveChange = "an entry is accepted above a change that its acceptor lacks",
        ChangeNotOpened = "a change is given up, because too few of its voters are ready",
        OtherDirectoryStops = "a replica finds another directory registered in its place",
        NewMemberLearns = "a new replica comes to know that it is a member",
    }
}

/// A stateright model that checks these properties.
pub trait ChecksProperties: Model {
    /// Whether the condition of `property` holds in `state`.
    fn condition(&self, property: ModelProperty, state: &Self::State) -> bool;
}

impl ModelProperty {
    /// All properties, in the order of reports.
    pub fn all() -> impl Iterator<Item = Self> {
        let invariants = Invariant::ALL.iter().copied().map(Self::Invariant);
        let witnesses = Witness::ALL.iter().copied().map(Self::Witness);
        invariants.chain([Self::Liveness]).chain(witnesses)
    }

    /// The property with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|property| property.name() == name)
    }

    /// The name in reports, on the command line and in seeded faults.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invariant(invariant) => invariant.name(),
            Self::Liveness => "a majority left in peace agrees",
            Self::Witness(witness) => witness.name(),
        }
    }

    /// What it claims.
    #[must_use]
    pub const fn kind(self) -> PropertyKind {
        match self {
            Self::Invariant(_) => PropertyKind::Always,
            Self::Liveness => PropertyKind::Liveness,
            Self::Witness(_) => PropertyKind::Sometimes,
        }
    }

    /// The property for stateright, as it is checked in a model `M`.
    pub(crate) fn in_model<M: ChecksProperties>(self) -> Property<M> {
        let name = self.name();
        match self {
            Self::Invariant(invariant) => Property::always(name, invariant.condition()),
            Self::Liveness => {
                Property::always(name, |model: &M, state| model.condition(Self::Liveness, state))
            }
            Self::Witness(witness) => Property::sometimes(name, witness.condition()),
        }
    }
}

impl fmt::Display for ModelProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The invariants that were broken on the way to a state. It is part of every state.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Broken(u64);

const _: () = assert!(Invariant::ALL.len() <= u64::BITS as usize, "one bit for each invariant");

impl Broken {
    pub(crate) fn add(&mut self, invariant: Invariant) {
        self.0 |= 1 << invariant as u64;
    }

    pub(crate) fn add_all(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) const fn contains(self, invariant: Invariant) -> bool {
        self.0 & 1 << invariant as u64 != 0
    }
}

impl From<Invariant> for Broken {
    fn from(invariant: Invariant) -> Self {
        Self(1 << invariant as u64)
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let broken = Invariant::ALL.iter().filter(|it| self.contains(**it));
        f.debug_set().entries(broken).finish()
    }
}
