//! Who a replica is: what is fixed when its data directory is made, and never changes after.
//!
//! Two parts of it have a meaning outside of this directory, and are defined in
//! [`synod_wire::identity`]: the id of the cluster, and the incarnation.

use serde::{Deserialize, Serialize};
use synod_model::{ClusterConstants, Limits, ReplicaId};
use synod_wire::{ClusterId, Incarnation};
use thiserror::Error;

use super::batch::{BLOCK_BYTES, span_bytes};
use super::small_file::Kind;
use super::trouble::Grouped;

pub(super) const IDENTITY: Kind =
    Kind { name: "identity", new_name: "identity.new", letters: *b"SYNODidn" };

/// How long a cluster's name may be: 64 bytes, so that it fits in a line of any message.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// How long a segment may be: 1 GiB. A start reads what is unused of the last one.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

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
    /// The sizes of the log in this directory. They may differ between replicas.
    pub log: LogLimits,
}

impl Identity {
    pub(super) fn check(&self) -> Result<(), IdentityError> {
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
        self.log.check(self.cluster.limits())
    }
}

/// The sizes of a log on disk, fixed when its data directory is made: recovery rests on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// How long each segment file is. Default 64 MiB: long enough that a new one is rarely waited
    /// for, short enough that filling the next with zeros does not keep the disk busy for long.
    pub segment_bytes: u64,
    /// How many bytes of records one batch carries, that is, one write and one sync. Default 4 MiB:
    /// far more than it takes to make a sync worth its while, and little enough that what is first
    /// in a batch does not wait long for what is last. A start rewrites as much behind the end of
    /// the log.
    pub batch_bytes_max: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, batch_bytes_max: 4 << 20 }
    }
}

impl LogLimits {
    /// How much of a segment the largest batch takes.
    pub(super) fn span_bytes_max(&self) -> u64 {
        span_bytes(self.batch_bytes_max)
    }

    fn check(&self, limits: &Limits) -> Result<(), IdentityError> {
        let Self { segment_bytes, batch_bytes_max } = *self;
        let is_possible = segment_bytes.is_multiple_of(BLOCK_BYTES)
            && segment_bytes <= SEGMENT_BYTES_MAX
            && batch_bytes_max <= segment_bytes
            && self.span_bytes_max() <= segment_bytes;
        if !is_possible {
            return Err(IdentityError::Segment { segment_bytes, batch_bytes_max });
        }
        let record_bytes_max = record_bytes_max(limits);
        if record_bytes_max > batch_bytes_max {
            return Err(IdentityError::Batch { batch_bytes_max, record_bytes_max });
        }
        Ok(())
    }
}

/// How long the encoding of a record can get, at most: as many entries as a frame has, or a single
/// one that is longer; and what is around the values.
fn record_bytes_max(limits: &Limits) -> u64 {
    /// The kind of an entry and at most four numbers; or a configuration of sixteen members.
    const ENTRY_BYTES_MAX: u64 = 64;
    let values = limits.frame_bytes_max.max(limits.value_bytes_max);
    let around = limits.frame_entries_max.saturating_add(1).saturating_mul(ENTRY_BYTES_MAX);
    values.saturating_add(around)
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
    /// Segments consist of blocks, and hold a batch.
    #[error(
        "segment_bytes = {} is impossible with batch_bytes_max = {}\n  \
         a segment consists of whole blocks of {BLOCK_BYTES} bytes, is at most {} bytes long, and \
         holds the largest batch with its header",
        Grouped(*segment_bytes), Grouped(*batch_bytes_max), Grouped(SEGMENT_BYTES_MAX)
    )]
    Segment {
        /// The length of a segment.
        segment_bytes: u64,
        /// The length of a batch.
        batch_bytes_max: u64,
    },
    /// A record is never spread over two batches.
    #[error(
        "batch_bytes_max = {} is too small for the limits of the cluster\n  \
         with frame_bytes_max, frame_entries_max and value_bytes_max a record can take {} bytes, and \
         one batch must hold it",
        Grouped(*batch_bytes_max), Grouped(*record_bytes_max)
    )]
    Batch {
        /// The length of a batch.
        batch_bytes_max: u64,
        /// The length of the longest record.
        record_bytes_max: u64,
    },
}
