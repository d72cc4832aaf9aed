//! The id of a cluster.
//!
//! It is a hash of everything that all replicas of a cluster must agree on before they first speak: the
//! name, the members and the constants. It does not cover addresses, which may change. Two replicas with
//! different ids were not made for each other, and do not talk.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use synod_model::ClusterConstants;

/// A hash of what the replicas of a cluster must agree on before they first speak.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 32]);

impl ClusterId {
    /// The id of the cluster with this name and these constants.
    pub fn of(cluster_name: &str, cluster: &ClusterConstants) -> Self {
        let mut hash = Sha256::new();
        let mut line = |name: &str, value: &dyn fmt::Display| {
            hash.update(format!("{name} {value}\n"));
        };
        // The name is the last line, because it may contain anything but the end of a line.
        line("synod cluster", &1);
        line("stride", &cluster.stride());
        line("configuration", &cluster.first_configuration().id());
        for member in cluster.first_configuration().members() {
            line("member", member);
        }
        for (name, limit) in cluster.limits().named() {
            line(name, &limit);
        }
        line("name", &cluster_name);
        Self(hash.finalize().into())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
