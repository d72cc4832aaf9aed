//! The id of a cluster.
//!
//! It is a hash of everything that all replicas of a cluster must agree on before they first speak: the
//! name, the members and the constants. It does not cover addresses, which may change. Two replicas with
//! different ids were not made for each other, and do not talk.
//!
//! The id of a cluster that is restored from a snapshot covers the snapshot, too. So it differs from that of
//! the cluster that the snapshot is of, and replicas that were restored from different snapshots do not
//! talk either.
//!
//! The id of a cluster that begins with what a last replica has is drawn at random: nobody else may ever come to the
//! same one.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use synod_model::{ClusterConstants, Slot};

/// A hash of what the replicas of a cluster must agree on before they first speak.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 32]);

/// The snapshot that a cluster is restored from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredFrom {
    /// The cluster whose snapshot it is.
    pub cluster_id: ClusterId,
    /// The last slot that it includes.
    pub slot: Slot,
    /// The length of its file.
    pub length_bytes: u64,
    /// The checksum of its file.
    pub checksum: u64,
}

impl ClusterId {
    /// The id of the new cluster with this name and these constants, whose log is empty.
    pub fn of(cluster_name: &str, cluster: &ClusterConstants) -> Self {
        Self::of_new(cluster_name, cluster, None)
    }

    /// The id of the new cluster with this name and these constants, whose log begins with a snapshot.
    pub fn of_restored(
        cluster_name: &str,
        cluster: &ClusterConstants,
        snapshot: &RestoredFrom,
    ) -> Self {
        Self::of_new(cluster_name, cluster, Some(snapshot))
    }

    fn of_new(
        cluster_name: &str,
        cluster: &ClusterConstants,
        snapshot: Option<&RestoredFrom>,
    ) -> Self {
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
        if let Some(RestoredFrom { cluster_id, slot, length_bytes, checksum }) = snapshot {
            line("restored from", cluster_id);
            line("snapshot slot", slot);
            line("snapshot bytes", length_bytes);
            line("snapshot checksum", &format_args!("{checksum:016x}"));
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

#[cfg(test)]
mod tests {
    use synod_model::{Configuration, ConfigurationId, Limits, ReplicaId};

    use super::*;

    /// Whatever differs makes another cluster.
    #[test]
    fn a_restored_cluster_is_another_one() {
        let members = Configuration::new(ConfigurationId(1), vec![ReplicaId(0)]).expect("a member");
        let constants = ClusterConstants::new(7, members, Limits::default()).expect("right limits");
        let first = ClusterId::of("orders", &constants);
        let from = RestoredFrom { cluster_id: first, slot: Slot(9), length_bytes: 1, checksum: 2 };
        let all = [
            first,
            ClusterId::of_restored("orders", &constants, &from),
            ClusterId::of_restored("others", &constants, &from),
            ClusterId::of_restored("orders", &constants, &RestoredFrom { slot: Slot(8), ..from }),
            ClusterId::of_restored("orders", &constants, &RestoredFrom { length_bytes: 3, ..from }),
            ClusterId::of_restored("orders", &constants, &RestoredFrom { checksum: 3, ..from }),
            ClusterId::of_restored(
                "orders",
                &constants,
                &RestoredFrom { cluster_id: ClusterId([7; 32]), ..from },
            ),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all[1], ClusterId::of_restored("orders", &constants, &from));
    }
}
