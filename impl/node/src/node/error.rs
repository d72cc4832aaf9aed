//! Why a node does not open, and why one ends.

use synod_model::{Forgotten, Incarnation, OtherHistory, ReplicaId, Slot};
use synod_wire::blocking::NotRun;
use thiserror::Error;

use crate::listen::ListenError;
use crate::peers::PeersError;
use crate::start::StartError;
use crate::storage::{
    AppendError, OpenError, ReadError, RecoverError, SmallFileError, SnapshotError,
};

/// Why a node cannot be opened.
#[derive(Debug, Error)]
pub enum NodeOpenError {
    /// The data directory cannot be opened.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// The addresses of the members cannot be stored.
    #[error(transparent)]
    Addresses(#[from] SmallFileError),
    /// The peers cannot be dialled.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// The log cannot be recovered.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An address is given for an id that no replica can have.
    #[error(
        "an address is given for replica {replica}, and ids in this cluster are below {stride}\n  \
         see which ids the members have: `synod status`"
    )]
    IdTooLarge {
        /// The replica that the address is for.
        replica: ReplicaId,
        /// Ids are below this.
        stride: u64,
    },
    /// This replica has no address.
    #[error(
        "nothing says where replica {replica} is\n  give its address: --peers {replica}=HOST:PORT"
    )]
    NoAddress {
        /// This replica.
        replica: ReplicaId,
    },
    /// Two replicas have the same address.
    #[error(
        "replicas {} and {} would have the same address, {address}\n  \
         each needs one of its own: --peers ID=HOST:PORT, for both if both have moved",
        replicas[0], replicas[1]
    )]
    SameAddress {
        /// Which replicas.
        replicas: [ReplicaId; 2],
        /// Where both are said to be.
        address: String,
    },
    /// The port for peers cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// A thread cannot be started, or has panicked.
    #[error(transparent)]
    NotRun(#[from] NotRun),
    /// The disk has lost something that this replica told, and a former run has noted that.
    #[error("{}", forgotten_text(.0))]
    Forgotten(Forgotten),
    /// A change of the members has registered another data directory under the id of this replica.
    #[error("{}", other_directory_text(*replica, *registered))]
    OtherDirectory {
        /// The id.
        replica: ReplicaId,
        /// The incarnation that is registered.
        registered: Incarnation,
    },
    /// The state machine has panicked.
    #[error(
        "the state machine panicked at slot {slot}, which it was given again at this start\n  \
         it is given the same at every start: mend the state machine first"
    )]
    StateMachine {
        /// The slot of the command that it was given.
        slot: Slot,
    },
}

impl NodeOpenError {
    /// Whether the next start would fail as this one did, unless a person does something before. So a
    /// service manager need not try.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Directory(
                OpenError::InUse(_)
                | OpenError::Disk(_)
                | OpenError::SmallFile(SmallFileError::Disk(_)),
            )
            | Self::Addresses(_)
            | Self::Listen(_)
            | Self::Random(_)
            | Self::NotRun(_) => false,
            Self::Start(StartError::Log(error)) => !matches!(
                **error,
                RecoverError::Disk(_)
                    | RecoverError::Base(SmallFileError::Disk(_))
                    | RecoverError::Snapshot { error: SnapshotError::Read(_), .. }
            ),
            Self::Directory(_)
            | Self::Peers(_)
            | Self::Start(StartError::Base(_) | StartError::Restore(_))
            | Self::IdTooLarge { .. }
            | Self::NoAddress { .. }
            | Self::SameAddress { .. }
            | Self::Forgotten(_)
            | Self::OtherDirectory { .. }
            | Self::StateMachine { .. } => true,
        }
    }
}

/// Why a node ended by itself.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The log cannot be appended to.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log cannot be read back.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The cluster cannot take this replica.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// A majority of the members has committed other entries.
    #[error(
        "a majority has another history: {}\n  \
         the disk of this replica has lost what was durable, or an older copy of its data directory was \
         put in place, or that happened to the others; nothing more is applied here, and a restart does \
         not help\n  \
         keep this data directory for inspection, for it may hold the only copy of acknowledged values, \
         and replace this replica: docs/operating.md#two-histories",
        listed(others)
    )]
    OtherHistories {
        /// Those of the majority that are known.
        others: Vec<OtherHistory>,
    },
    /// The disk has lost something that this replica told.
    #[error("{}", forgotten_text(.0))]
    Forgotten(Forgotten),
    /// A change of the members has registered another data directory under the id of this replica.
    #[error("{}", other_directory_text(*replica, *registered))]
    OtherDirectory {
        /// The id.
        replica: ReplicaId,
        /// The incarnation that is registered.
        registered: Incarnation,
    },
    /// The state machine has panicked.
    #[error(
        "the state machine panicked at slot {slot}\n  \
         every replica is given the same, so others may end likewise: mend the state machine first"
    )]
    StateMachine {
        /// The slot of the command that it was given.
        slot: Slot,
    },
    /// The state machine has panicked in a query.
    #[error(
        "the state machine panicked in a query, in the state after slot {slot}\n  \
         the client may ask other replicas the same: mend the state machine first"
    )]
    Query {
        /// The last slot that the state includes.
        slot: Slot,
    },
    /// The state machine has panicked when it was to give a snapshot.
    #[error(
        "the state machine panicked when it was to give a snapshot of its state after slot {slot}\n  \
         it does the same at the next snapshot: mend the state machine first"
    )]
    Snapshot {
        /// The last slot that the state includes.
        slot: Slot,
    },
    /// The state machine cannot be restored from a snapshot of a peer.
    #[error(
        "the state machine could not be restored from the snapshot of slot {slot}: {error}\n  \
         the snapshot is in this data directory, and the next start restores it again"
    )]
    Restore {
        /// The last slot that the snapshot includes.
        slot: Slot,
        /// What went wrong.
        error: String,
    },
    /// The runtime in which the node was opened has ended.
    #[error("the runtime of the node has ended before the node")]
    RuntimeEnded,
    /// A thread or a task of the node has panicked.
    #[error(
        "the thread `{thread}` of this node panicked, and said why above\n  \
         that is a fault of synod: please report it; nothing durable is lost"
    )]
    Panicked {
        /// Its name.
        thread: &'static str,
    },
}

impl NodeError {
    /// Whether the next run would end as this one did, unless a person does something before. So a
    /// service manager need not start it.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Peers(PeersError::OtherDirectory { .. })
            | Self::OtherDirectory { .. }
            | Self::OtherHistories { .. }
            | Self::Forgotten(_) => true,
            Self::Read(error) => !matches!(error, ReadError::Disk(_)),
            Self::Append(_)
            | Self::Peers(_)
            | Self::StateMachine { .. }
            | Self::Query { .. }
            | Self::Snapshot { .. }
            | Self::Restore { .. }
            | Self::RuntimeEnded
            | Self::Panicked { .. } => false,
        }
    }
}

fn forgotten_text(forgotten: &Forgotten) -> String {
    format!(
        "{forgotten}\n  \
         the disk has lost what was durable, or an older copy of the data directory was put in place; this \
         replica might now help to commit other values than it has helped to commit, so it takes no part \
         any more, and a restart does not help\n  \
         put the right data directory in place, or replace this replica: \
         docs/operating.md#a-disk-that-forgets"
    )
}

fn other_directory_text(replica: ReplicaId, registered: Incarnation) -> String {
    format!(
        "the members know replica {replica} by another data directory than this one: incarnation \
         {registered} is registered\n  \
         that one votes, and this one must not: stop this replica for good, and start replica {replica} \
         with the data directory that is registered\n  \
         to add a member, make a data directory with an id that was never used: `synod init --join`"
    )
}

fn listed(others: &[OtherHistory]) -> String {
    let one = |OtherHistory { peer, slot }: &OtherHistory| {
        format!("replica {peer} has committed other entries up to slot {slot}")
    };
    others.iter().map(one).collect::<Vec<_>>().join(", and ")
}
