//! Making the data directory of a new replica.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use synod_model::{
    ClusterConstants, Configuration, ConfigurationError, ConfigurationId, ConstantsError,
    Incarnation, Limits, ReplicaId,
};
use thiserror::Error;

use crate::disk::RealDisk;
use crate::identity::Identity;
use crate::storage::{DataDirectory, InitError, LogLimits, NewReplica};

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
    let configuration = Configuration::new(ConfigurationId(1), members.keys().copied().collect())?;
    let mut incarnation = [0; 16];
    getrandom::fill(&mut incarnation).map_err(MakeError::Random)?;
    let replica = NewReplica {
        cluster_name: cluster_name.to_owned(),
        constants: ClusterConstants::new(STRIDE, configuration, Limits::default())?,
        replica: me,
        incarnation: Incarnation(u128::from_le_bytes(incarnation)),
        log: LogLimits::default(),
        peers: members.clone(),
    };
    let directory = DataDirectory::init(Arc::new(RealDisk::new(data_dir)), &replica)?;
    Ok(directory.identity().clone())
}
