//! Who a replica is: what is fixed when its data directory is made, and never changes after.
//!
//! Two parts of it have a meaning outside of this directory, and are defined in
//! [`synod_wire::identity`]: the id of the cluster, and the incarnation.

use serde::{Deserialize, Serialize};
use synod_model::{ClusterConstants, ReplicaId};
use synod_wire::{ClusterId, Incarnation};
use thiserror::Error;

/// How long a cluster's name may be: 64 bytes, so that it fits in a line of any message.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// What every error says of a replica whose data directory is lost or damaged.
pub(crate) const REPLACEMENT_ADVICE: &str =
    "a replica cannot be replaced yet; docs/storage.md#damage says what can be done now";

/// What a replica is, from `synod init` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster's name, for people.
    pub cluster_name: String,
    /// The hash of what the cluster agrees on.
    pub cluster_id: ClusterId,
    /// Which of its replicas this is.
    pub replica: ReplicaId,
    /// Which data directory under that id this is.
    pub incarnation: Incarnation,
    /// The stride, the first members, and the limits that all replicas keep.
    pub cluster: ClusterConstants,
}

impl Identity {
    /// Checks the name of the cluster, and that the replica is a member of it.
    pub(crate) fn check(&self) -> Result<(), IdentityError> {
        let name = &self.cluster_name;
        if name.is_empty()
            || name.len() > CLUSTER_NAME_BYTES_MAX
            || name.chars().any(char::is_control)
        {
            return Err(IdentityError::Name { name: name.clone() });
        }
        let members = self.cluster.first_configuration();
        if !members.contains(self.replica) {
            let members = members.members().to_vec();
            return Err(IdentityError::NotAMember { replica: self.replica, members });
        }
        Ok(())
    }
}

/// Why a replica cannot be what it is asked to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The name of a cluster is for people, in messages.
    #[error(
        "{name:?} cannot be the name of a cluster\n  \
         it takes 1 to {CLUSTER_NAME_BYTES_MAX} bytes, all of them printable"
    )]
    Name {
        /// What was to be the name.
        name: String,
    },
    /// A cluster begins with its members.
    #[error(
        "replica {replica} is not among the members of its cluster, which are {members:?}\n  \
         every replica is made with the same members, and its own id is one of them"
    )]
    NotAMember {
        /// The id.
        replica: ReplicaId,
        /// The members.
        members: Vec<ReplicaId>,
    },
}
