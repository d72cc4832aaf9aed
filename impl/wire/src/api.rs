//! The vocabulary between clients and nodes, independent of any transport.
//!
//! A client submits commands, queries the state machine, reads where the log ends, follows the log, and
//! asks for the status of a replica.
//!
//! A submission has one of three outcomes. No answer claims more than is known:
//!
//! - *done*: the command was applied, once, in this slot;
//! - *not done*: no replica took the command. It is in no slot and will be in none;
//! - *unknown*: a replica took the command, and this one does not know what became of it. It may be in
//!   the log, or may get there later. The client may ask again with the same session and number. That
//!   is the same request, and is applied at most once, however often it was taken.

mod hexadecimal;
mod members;
mod response;
mod save;

use serde::{Deserialize, Serialize};
use synod_model::{
    ConfigurationId, DeliveryRefused, Entry, MemberSet, Position, PrefixHash, ReadRefused,
    ReplicaId, RoleName, Run, SequenceNumber, Slot, SubmitRefused, Verdict,
};
use thiserror::Error;

pub use members::Members;
pub use synod_model::Membership;

pub use response::{
    Answered, Applied, Consistency, QUERY_BYTES_MAX, QueryError, RESPONSE_BYTES_MAX, Response,
};

pub use save::{SaveBegun, SaveError, SaveId};

use crate::{ClusterId, Value};

/// A client's request: the same type from the client to the entry in the log.
pub type Request = synod_model::Request<Value>;

/// What a node says of itself before a client asks for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The cluster. A session or a slot of one cluster means nothing in another.
    pub cluster_id: ClusterId,
    /// The replica.
    pub replica: ReplicaId,
    /// Its run.
    pub run: Run,
    /// How many bytes one value may have.
    pub value_bytes_max: u64,
    /// How many requests of one session may be in flight.
    pub session_requests_max: u64,
}

/// A committed entry, and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The slot.
    pub slot: Slot,
    /// The entry.
    pub entry: Entry<Value>,
    /// Whether it is the first copy of its submission. No-ops and configurations have no verdict.
    pub verdict: Option<Verdict>,
}

impl Delivery {
    /// The command, if this entry is the first copy of a request. A state machine applies these and
    /// nothing else.
    pub fn first_value(&self) -> Option<&Value> {
        match (&self.entry, self.verdict) {
            (Entry::Request(Request { value, .. }), Some(Verdict::First)) => Some(value),
            _ => None,
        }
    }
}

/// Why a submission has no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum SubmitError {
    /// No replica took it. It is in no slot and will be in none.
    #[error("not done: {0}")]
    NotDone(NotDone),
    /// It may be in the log, or may get there.
    #[error("unknown: {0}")]
    Unknown(Unknown),
}

/// Why a submission was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum NotDone {
    /// Too many submissions wait, or too many clients for this one. It may be taken later, or by
    /// another replica.
    #[error("too many submissions wait at this replica already")]
    TooMany,
    /// The value has more bytes than the limit of the cluster.
    #[error("the value has more bytes than the cluster allows")]
    TooLarge,
    /// Clients may not submit this kind of entry.
    #[error("that is nothing that a client may submit")]
    NotASubmission,
    /// The replica is stopping. Another replica may take it.
    #[error("the replica is stopping")]
    Stopping,
    /// The cluster is new, and its members have not all met.
    #[error("the cluster is still forming: not all of its members have met")]
    Forming,
    /// The replica has not read its log yet. Another replica may be ready.
    #[error("the replica is starting: it reads its log")]
    Starting,
    /// The deadline passed before it was taken.
    #[error("the deadline passed before it was taken")]
    Deadline,
    /// The replica is no member of the cluster. A member may take it.
    #[error("the replica is no member of the cluster")]
    NotAMember,
    /// The change of members names a replica id beyond those that the cluster can have.
    #[error("the cluster cannot have a replica with so large an id")]
    IdTooLarge,
}

impl NotDone {
    /// Whether the same submission may be taken later, or by another replica.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::TooMany | Self::Stopping | Self::Forming | Self::Starting | Self::NotAMember
        )
    }
}

impl From<SubmitRefused> for NotDone {
    fn from(refused: SubmitRefused) -> Self {
        match refused {
            SubmitRefused::TooMany => Self::TooMany,
            SubmitRefused::TooLarge => Self::TooLarge,
            SubmitRefused::NotASubmission => Self::NotASubmission,
            SubmitRefused::NotAMember => Self::NotAMember,
            SubmitRefused::IdTooLarge => Self::IdTooLarge,
        }
    }
}

/// Why this replica does not know what became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Unknown {
    /// The replica that took it stops, or has stopped. Another replica can answer.
    #[error("the replica that took it stops")]
    Stopping,
    /// A copy was delivered and refused. Another copy may have been delivered before.
    #[error("a copy was delivered and refused: {}", refusal(*.0))]
    Refused(DeliveryRefused),
    /// With a later request the client has said that it does not wait for this one.
    #[error("the client has given it up")]
    GivenUp,
    /// There was no answer before the deadline.
    #[error("there was no answer before the deadline")]
    Deadline,
    /// A snapshot took the place of the slots in which it may be, and its session is no longer known.
    #[error("the replica has taken in a snapshot since, and the session is no longer known")]
    InSnapshot,
    /// The coordinator does not open the change now: too few of those who would vote after it are ready.
    #[error(
        "too few of those who would vote have answered, or have nearly everything that is committed"
    )]
    NotReady {
        /// Which members of the new configuration are ready.
        ready: MemberSet,
    },
    /// The replica that took it was removed from the cluster. A member can answer.
    #[error("the replica that took it was removed from the cluster")]
    Removed,
}

impl Unknown {
    /// Whether the client can learn more if it asks again with the same session and number.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Stopping | Self::Removed | Self::NotReady { .. })
    }
}

/// Why a delivery was refused, for people.
fn refusal(reason: DeliveryRefused) -> &'static str {
    match reason {
        DeliveryRefused::NoSession => "its session has ended, or was evicted to make room",
        DeliveryRefused::GivenUp => "the client had given it up",
        DeliveryRefused::TooFarAhead => "too many requests of its session were in flight",
        DeliveryRefused::OtherConfiguration => "another change of the members came first",
    }
}

/// Why a read has no slot. A read changes nothing, so it can be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ReadError {
    /// Too many reads wait.
    #[error("too many reads wait at this replica already")]
    TooMany,
    /// The replica is stopping.
    #[error("the replica is stopping")]
    Stopping,
    /// The cluster is new, and its members have not all met.
    #[error("the cluster is still forming: not all of its members have met")]
    Forming,
    /// The replica has not read its log yet. Another replica may be ready.
    #[error("the replica is starting: it reads its log")]
    Starting,
    /// There was no answer before the deadline.
    #[error("there was no answer before the deadline")]
    Deadline,
    /// The replica is no member of the cluster. A member will take it.
    #[error("the replica is no member of the cluster")]
    NotAMember,
}

impl From<ReadRefused> for ReadError {
    fn from(refused: ReadRefused) -> Self {
        match refused {
            ReadRefused::TooMany => Self::TooMany,
            ReadRefused::NotAMember => Self::NotAMember,
        }
    }
}

/// Why the log cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum SubscribeError {
    /// The log does not have that slot any more, or the verdicts of its entries are forgotten.
    #[error("this replica tells the log from slot {log_starts_at} on only")]
    Gone {
        /// The first slot that can be followed.
        log_starts_at: Slot,
    },
    /// The client follows the log on this connection already.
    #[error("the log is followed on this connection already")]
    AlreadyFollowing,
    /// The disk could not be read.
    #[error("the log could not be read: {0}")]
    Disk(String),
    /// The replica is stopping.
    #[error("the replica is stopping")]
    Stopping,
    /// The replica has not read its log yet.
    #[error("the replica is starting: it reads its log")]
    Starting,
}

/// A snapshot that a replica has taken. It is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotTaken {
    /// The last slot that it includes.
    pub slot: Slot,
    /// The length of its file.
    pub bytes: u64,
    /// Its file, on the machine of the replica.
    pub file: String,
}

/// Why a replica has taken no snapshot. Its log is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum TakeSnapshotError {
    /// Nothing is committed yet.
    #[error("its log is empty")]
    Empty,
    /// It could not be written.
    #[error("{0}")]
    Failed(String),
    /// The replica is stopping.
    #[error("it is stopping")]
    Stopping,
    /// The cluster is new, and its members have not all met.
    #[error("its cluster is still forming: not all of its members have met")]
    Forming,
    /// The replica has not read its log yet.
    #[error("it is starting: it reads its log")]
    Starting,
}

/// A replica that reads its log. It does nothing else before it has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("reading the log, {segments_read} of {segments} segments")]
pub struct Starting {
    /// Its id.
    pub replica: ReplicaId,
    /// Its run.
    pub run: Run,
    /// How many segments it has read.
    pub segments_read: u64,
    /// How many segments its log has. 0 before it has looked.
    pub segments: u64,
}

/// The status of a replica, as the replica sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Its id.
    pub replica: ReplicaId,
    /// Its run.
    pub run: Run,
    /// Whether all members have met.
    pub forming: Forming,
    /// The newest configuration that it knows.
    pub configuration: ConfigurationId,
    /// What it is in that configuration.
    pub membership: Membership,
    /// What it does besides accepting and learning.
    pub role: Role,
    /// The sequence number under which it coordinates or stands for election. None for a follower.
    pub sequence_number: SequenceNumber,
    /// The replica that it takes for the coordinator.
    pub coordinator: Option<ReplicaId>,
    /// It obeys no coordinator below this number.
    pub promised: SequenceNumber,
    /// Every slot up to here is committed, as far as it knows.
    pub committed: Slot,
    /// The running hash of everything up to `committed`. Two replicas with one history have the same
    /// hash at the same slot.
    #[serde(with = "hexadecimal")]
    pub committed_hash: PrefixHash,
    /// Its state machine has applied every slot up to here.
    pub applied: Slot,
    /// How many slots are committed, as far as it knows, and not applied yet. It learns of commits from
    /// its peers too. None if it cannot know, because it is not in touch with a coordinator.
    pub lag_slots: Option<u64>,
    /// For how long it has been out of touch with a coordinator that has a majority. None while it is in
    /// touch.
    pub out_of_touch_ms: Option<u64>,
    /// What hangs, of what it needs for its work. Empty, if all is well.
    pub hangs: Vec<Hang>,
    /// The peers that have committed other entries than this replica. Neither counts for the other.
    pub other_histories: Vec<OtherHistory>,
    /// The replicas whose disks have lost something. Each counts for nothing until it begins another run.
    pub forgotten: Vec<Forgotten>,
    /// Its disk.
    pub disk: DiskStatus,
    /// Its snapshots.
    pub snapshots: SnapshotStatus,
    /// How much of its memory is resident.
    pub resident_bytes: u64,
    /// The other members, and who else is connected.
    pub peers: Vec<PeerStatus>,
}

/// Something that a replica needs for its work, and that makes no progress while there is work for it. The
/// replica does not stand for election meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hang {
    /// What it is.
    pub resource: Resource,
    /// For how long it has made no progress.
    pub no_progress_ms: u64,
}

/// Something besides the network that a replica needs for its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// The disk.
    Disk,
    /// The state machine.
    Application,
}

impl Resource {
    /// The resource's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Application => "application",
        }
    }
}

impl From<synod_model::Resource> for Resource {
    fn from(resource: synod_model::Resource) -> Self {
        match resource {
            synod_model::Resource::Disk => Self::Disk,
            synod_model::Resource::Application => Self::Application,
        }
    }
}

/// A peer that has committed other entries. A disk has lost what was durable, or an older copy of a data
/// directory was put in place, and either side may be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherHistory {
    /// The peer.
    pub peer: ReplicaId,
    /// The entries up to this slot differ.
    pub slot: Slot,
}

impl From<synod_model::OtherHistory> for OtherHistory {
    fn from(other: synod_model::OtherHistory) -> Self {
        let synod_model::OtherHistory { peer, slot } = other;
        Self { peer, slot }
    }
}

/// A replica whose disk has lost something that it told another one when it was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Whose disk it is.
    pub replica: ReplicaId,
    /// The replica that was told.
    pub told_to: ReplicaId,
    /// The number that it has promised, or under which it has accepted an entry.
    pub sequence_number: SequenceNumber,
    /// The slot of that entry. `None` if it is the promise that is lost.
    pub slot: Option<Slot>,
}

impl From<synod_model::Forgotten> for Forgotten {
    fn from(forgotten: synod_model::Forgotten) -> Self {
        let synod_model::Forgotten { replica, told_to, s: sequence_number, slot } = forgotten;
        Self { replica, told_to, sequence_number, slot }
    }
}

/// Whether the members of a cluster have met. Until then the cluster does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forming {
    /// Some have not met yet.
    Forming {
        /// The members that are missing.
        missing: Vec<ReplicaId>,
    },
    /// All have met.
    Formed,
}

/// What a replica does besides accepting and learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes orders.
    Follower,
    /// Asks who would follow it.
    Canvassing,
    /// Gathers promises.
    Candidate,
    /// Gives orders.
    Coordinator,
}

impl Role {
    /// The role, and the number that it is held under.
    pub fn of(role: RoleName) -> (Self, SequenceNumber) {
        match role {
            RoleName::Follower => (Self::Follower, SequenceNumber::NONE),
            RoleName::Canvassing { s } => (Self::Canvassing, s),
            RoleName::Candidate { s } => (Self::Candidate, s),
            RoleName::Coordinator { s, .. } => (Self::Coordinator, s),
        }
    }

    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::Canvassing => "canvassing",
            Self::Candidate => "candidate",
            Self::Coordinator => "coordinator",
        }
    }
}

/// The log of a replica on its disk, and what this run has done to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// How many bytes the log has, without the zeros written ahead of use.
    pub log_bytes: u64,
    /// How many segments the log has.
    pub segments: u64,
    /// How many bytes of values wait for a sync.
    pub unsynced_bytes: u64,
    /// The position of the newest durable record of this run.
    pub synced: Position,
    /// How many fdatasyncs this run has made of the log.
    pub fdatasyncs: u64,
    /// How many bytes this run has written to the log.
    pub bytes_written: u64,
}

/// The snapshots of a replica, and what is under way with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotStatus {
    /// The last slot that its newest snapshot includes. None if it has none.
    pub newest: Option<Slot>,
    /// The first slot that its log has. What is before is in snapshots only.
    pub log_starts_at: Slot,
    /// How many bytes its snapshots have.
    pub bytes: u64,
    /// The snapshot that it takes now.
    pub taking: Option<SnapshotProgress>,
    /// The snapshot that it gets from a peer.
    pub receiving: Option<SnapshotTransfer>,
    /// The snapshots that peers get from it.
    pub sending: Vec<SnapshotTransfer>,
}

/// A snapshot that is being taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotProgress {
    /// The last slot that it includes.
    pub slot: Slot,
    /// How many of its bytes are written. How many it will have is not known.
    pub written_bytes: u64,
}

/// A snapshot on its way from one replica to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotTransfer {
    /// The other replica.
    pub peer: ReplicaId,
    /// The last slot that it includes.
    pub slot: Slot,
    /// How many of its bytes have come, or were sent.
    pub transferred_bytes: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// What a replica knows of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its id.
    pub replica: ReplicaId,
    /// Its address: host and port.
    pub address: String,
    /// What it is in the newest configuration that this replica knows.
    pub membership: Membership,
    /// Whether there is a connection.
    pub connected: bool,
    /// How many messages to it were dropped, because its queue was full or there was no connection.
    pub dropped: u64,
}
