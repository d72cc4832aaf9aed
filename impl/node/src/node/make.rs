//! Making the data directory of a new replica, with an empty log or from a saved snapshot.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use synod_model::{
    ClusterConstants, Configuration, ConfigurationError, ConfigurationId, ConstantsError,
    Incarnation, Limits, ReplicaId,
};
use synod_wire::address::canonical;
use synod_wire::api::Members;
use thiserror::Error;

use crate::disk::RealDisk;
use crate::identity::Identity;
use crate::state_machine::skip_responses;
use crate::storage::{
    DataDirectory, InitError, Joining, LogLimits, NewReplica, RestoreDirectoryError, SavedSnapshot,
    SnapshotError, SoundSnapshot, verify_snapshot,
};

/// The stride of every deployed cluster: as many ids as there can ever be, so it never has to change.
const STRIDE: u64 = 1 << 16;

/// Why a data directory was not made.
#[derive(Debug, Error)]
pub enum MakeError {
    /// These cannot be the members of a cluster.
    #[error("these cannot be the members of a cluster: {0}")]
    Members(#[from] ConfigurationError),
    /// These cannot be the constants of a cluster.
    #[error("these cannot be the constants of a cluster: {0}")]
    Constants(#[from] ConstantsError),
    /// The directory cannot be made, or is not empty.
    #[error(transparent)]
    Directory(#[from] InitError),
    /// The directory cannot be made from the snapshot.
    #[error(transparent)]
    Restore(#[from] RestoreDirectoryError),
    /// A replica that joins a cluster needs an id that no other replica ever had.
    #[error(
        "the id {replica} cannot be given any more in cluster {cluster}: ids ascend, and none is given twice\n  \
         the next free id is {next}"
    )]
    IdUsedBefore {
        /// The id.
        replica: ReplicaId,
        /// The name of the cluster.
        cluster: String,
        /// The next free one.
        next: u32,
    },
    /// It is not known where a member is, or which data directory it has.
    #[error(
        "the replica that was asked does not know the address of {member}\n  \
         start it again with --peers, or ask another replica"
    )]
    Unregistered {
        /// The member.
        member: ReplicaId,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Makes the data directory of replica `me`, once, as `synod init` does.
///
/// `members` has the address at which its peers look for each member, `me` among them. The same members
/// and the same name make the same cluster. Addresses may change later ([`Config::peers`]).
///
/// # Errors
///
/// If the directory is not empty, or cannot be made.
///
/// [`Config::peers`]: crate::Config::peers
pub fn make_data_directory(
    data_dir: &Path,
    cluster_name: &str,
    me: ReplicaId,
    members: &BTreeMap<ReplicaId, String>,
) -> Result<Identity, MakeError> {
    let replica = new_replica(cluster_name, me, members)?;
    let directory = DataDirectory::init(Arc::new(RealDisk::new(data_dir)), &replica)?;
    Ok(directory.identity().clone())
}

/// Makes the data directory of replica `me`, which joins the cluster that has these `members`, once, as
/// `synod init --join` does. Its peers will look for it at `address`.
///
/// The replica may run at once. It counts for nothing until a change of the members names it, with the incarnation in
/// the identity that this returns.
///
/// # Errors
///
/// If `me` was used before, or the directory is not empty, or cannot be made.
pub fn join_data_directory(
    data_dir: &Path,
    members: &Members,
    me: ReplicaId,
    address: &str,
) -> Result<Identity, MakeError> {
    let configuration = &members.configuration;
    let next = configuration.next_replica_id();
    if u32::from(me.0) < next {
        let cluster = members.cluster_name.clone();
        return Err(MakeError::IdUsedBefore { replica: me, cluster, next });
    }
    let mut incarnations = BTreeMap::new();
    let mut peers = BTreeMap::from([(me, address.to_owned())]);
    for &member in configuration.members() {
        let registration = configuration.registration(member);
        let registration = registration.ok_or(MakeError::Unregistered { member })?;
        incarnations.insert(member, registration.incarnation);
        // The new replica may take the place of one that is not there any more.
        if canonical(&registration.address) != canonical(address) {
            peers.insert(member, registration.address.clone());
        }
    }
    let replica = NewReplica {
        cluster_name: members.cluster_name.clone(),
        constants: members.constants.clone(),
        replica: me,
        incarnation: new_incarnation()?,
        log: LogLimits::default(),
        peers,
    };
    let joining = Joining { cluster_id: members.cluster_id, members: incarnations };
    let directory = DataDirectory::join(Arc::new(RealDisk::new(data_dir)), &replica, &joining)?;
    Ok(directory.identity().clone())
}

/// How far a restore is: it reads the snapshot twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreProgress {
    /// The snapshot is checked, before anything is made.
    Checks {
        /// How many bytes are read.
        bytes: u64,
        /// How many there are.
        of: u64,
    },
    /// The application's bytes are written to the data directory.
    Writes {
        /// How many are written.
        bytes: u64,
        /// How many there are.
        of: u64,
    },
}

/// Makes the data directory of replica `me` of a new cluster, once, as `synod snapshot restore` does. The log of
/// the new cluster begins with the saved snapshot in the file `snapshot`.
///
/// `members` has the address at which its peers look for each member, `me` among them. The same snapshot, the same
/// members and the same name make the same cluster. The state machine of the replica is restored from the snapshot
/// when it [opens](crate::Node::open).
///
/// # Errors
///
/// If the snapshot is damaged, or the directory is not empty, or cannot be made.
pub fn restore_data_directory(
    snapshot: &Path,
    data_dir: &Path,
    cluster_name: &str,
    me: ReplicaId,
    members: &BTreeMap<ReplicaId, String>,
    mut progress: impl FnMut(RestoreProgress),
) -> Result<(Identity, SoundSnapshot), MakeError> {
    let replica = new_replica(cluster_name, me, members)?;
    let failed = |error: SnapshotError| MakeError::Restore(error.into());
    let checks = |bytes, of| progress(RestoreProgress::Checks { bytes, of });
    let verified = verify_snapshot(snapshot, checks).map_err(failed)?;
    let sound = verified.map_err(|flaws| failed(flaws.into_error(snapshot)))?;
    let opened = SavedSnapshot::open(snapshot).map_err(failed)?;
    let of = sound.application_bytes;
    let disk = Arc::new(RealDisk::new(data_dir));
    let writes = |bytes| progress(RestoreProgress::Writes { bytes, of });
    let directory = DataDirectory::restore(disk, &replica, opened, writes)?;
    Ok((directory.identity().clone(), sound))
}

/// How many bytes of a saved snapshot the state machine itself has written. None, of a bare log: what it has is in
/// its entries, and a snapshot has none of them.
///
/// It reads what the node has written before these, and leaves the rest unread.
///
/// # Errors
///
/// If the snapshot cannot be read, or what is in it is no state of a node.
pub fn state_bytes(path: &Path, snapshot: &SoundSnapshot) -> io::Result<u64> {
    let opened = SavedSnapshot::open(path)?;
    let mut application = opened.into_application().take(snapshot.application_bytes);
    skip_responses(&mut application)?;
    Ok(application.limit())
}

fn new_replica(
    cluster_name: &str,
    me: ReplicaId,
    members: &BTreeMap<ReplicaId, String>,
) -> Result<NewReplica, MakeError> {
    let configuration = Configuration::new(ConfigurationId(1), members.keys().copied().collect())?;
    Ok(NewReplica {
        cluster_name: cluster_name.to_owned(),
        constants: ClusterConstants::new(STRIDE, configuration, Limits::default())?,
        replica: me,
        incarnation: new_incarnation()?,
        log: LogLimits::default(),
        peers: members.clone(),
    })
}

fn new_incarnation() -> Result<Incarnation, MakeError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(MakeError::Random)?;
    Ok(Incarnation(u128::from_le_bytes(bytes)))
}
