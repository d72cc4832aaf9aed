//! Who a replica is: what is fixed when its data directory is made, and never changes.
//!
//! The *incarnation* distinguishes a replica from one that was made anew under its id: the core admits
//! members by it. It is a random number, drawn with the data directory. Every batch of the log carries
//! it too. So a segment that was copied from another directory is recognized. And no value can imitate a
//! batch, because clients never learn the incarnation.
//!
//! The id of the cluster has a meaning outside of the node, and is defined in [`synod_wire::identity`].

use serde::{Deserialize, Serialize};
use synod_model::{ClusterConstants, Incarnation, ReplicaId};
use synod_wire::ClusterId;
use thiserror::Error;

/// The length of the longest name of a cluster: 64 bytes, so that it fits in a line of any message.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// What every error about a lost or damaged data directory says in the end.
pub(crate) const REPLACEMENT_ADVICE: &str =
    "another replica can take its place: docs/operating.md#replace-a-machine says how";

/// Who a replica is, from `synod init` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster's name, for people.
    pub cluster_name: String,
    /// A hash of what all replicas of the cluster agree on.
    pub cluster_id: ClusterId,
    /// Which replica of the cluster this is.
    pub replica: ReplicaId,
    /// Which of the data directories that were made under this id this is.
    pub incarnation: Incarnation,
    /// The stride, the first members, and the limits that all replicas keep.
    pub constants: ClusterConstants,
}

impl Identity {
    /// Checks the name of the cluster, and that the replica can have its id. It need not be one of the first
    /// members: others may join later.
    pub(crate) fn check(&self) -> Result<(), IdentityError> {
        let name = &self.cluster_name;
        if name.is_empty()
            || name.len() > CLUSTER_NAME_BYTES_MAX
            || name.chars().any(char::is_control)
        {
            return Err(IdentityError::Name { name: name.clone() });
        }
        let stride = self.constants.stride();
        if u64::from(self.replica.0) >= stride {
            return Err(IdentityError::IdTooLarge { replica: self.replica, stride });
        }
        Ok(())
    }

    /// Checks that the replica is one of the first members. A cluster forms of these.
    pub(crate) fn check_first_member(&self) -> Result<(), IdentityError> {
        let members = self.constants.first_configuration();
        if !members.contains(self.replica) {
            let members = members.members().to_vec();
            return Err(IdentityError::NotAMember { replica: self.replica, members });
        }
        Ok(())
    }
}

/// Why a replica cannot have an identity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The name is empty, too long, or not printable.
    #[error(
        "{name:?} cannot be the name of a cluster\n  \
         it takes 1 to {CLUSTER_NAME_BYTES_MAX} bytes, all of them printable"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The id of the replica is too large.
    #[error(
        "{replica} is too large for the id of a replica: ids in this cluster are below {stride}\n  \
         the next free id is the smallest that was never used"
    )]
    IdTooLarge {
        /// The replica.
        replica: ReplicaId,
        /// Ids are below this.
        stride: u64,
    },
    /// The replica is made for a new cluster, and is not a member of it.
    #[error(
        "replica {replica} is not among the members of its cluster, which are {members:?}\n  \
         every replica is made with the same members, and its own id is one of them"
    )]
    NotAMember {
        /// The replica.
        replica: ReplicaId,
        /// The members.
        members: Vec<ReplicaId>,
    },
}
