//! The state of a cluster: a few numbers that name interned contents.

use std::hash::{Hash, Hasher};

use smallvec::SmallVec;

use super::intern::Id;
use super::property::Broken;
use super::scenario::{REPLICAS_MAX, SUBMISSIONS_MAX};
use super::snapshots::SnapshotsMade;

/// A state of the model of a cluster.
///
/// Two states are equal if their contents are. The numbers differ from run to run, so states are
/// hashed and compared by a digest of their contents.
#[derive(Clone, Debug)]
pub struct ClusterState {
    pub(crate) locals: [Id; REPLICAS_MAX],
    /// The messages in flight, in the order of their routes.
    pub(crate) in_flight: SmallVec<[Id; 24]>,
    pub(crate) history: Id,
    pub(crate) remaining: Remaining,
    pub(crate) broken: Broken,
    pub(crate) digest: u128,
}

/// What has happened so far of what the scenario allows, and so what may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Remaining {
    pub(crate) crashes: u8,
    pub(crate) rollbacks: u8,
    pub(crate) snapshots: SnapshotsMade,
    /// For each submission, the replicas where it was submitted, one bit for each.
    pub(crate) submitted: [u8; SUBMISSIONS_MAX],
    /// The reads that were asked, one bit for each.
    pub(crate) read: u8,
}

impl Remaining {
    /// The part of a state's digest for this and for `broken`.
    pub(crate) fn digest(self, broken: Broken) -> u128 {
        super::intern::digest(&(self, broken))
    }
}

impl PartialEq for ClusterState {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClusterState {}

impl Hash for ClusterState {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u128(self.digest);
    }
}
