//! Who is in a cluster, as its replicas agree.

use serde::{Deserialize, Serialize};
use synod_model::{ClusterConstants, Configuration, Slot};

use crate::ClusterId;

/// The members of a cluster, and what a replica that joins it must be made with.
///
/// It is what a linearizable read gives: who has seen a change in it never gets an older answer, whichever
/// replica is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its name, for people.
    pub cluster_name: String,
    /// The stride, the first members and the limits. They are the same for as long as the cluster is there.
    pub constants: ClusterConstants,
    /// The newest configuration. The members of a first one are registered here as the replica knows them, although
    /// no change has registered them yet. Who is not registered here is one of whom the replica does not know enough.
    pub configuration: Configuration,
    /// The slot of the change that made this configuration. 0 for the first one.
    pub changed_at: Slot,
    /// Whether a slot after that change is committed. Before that, the former members are still needed.
    pub is_finished: bool,
}
