//! For tests: replicas of a small cluster, what their data directories are made of, and a store in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use synod_model::{
    ClusterConstants, Configuration, ConfigurationId, Incarnation, KnownMembers, Limits, ReplicaId,
};
use synod_wire::ClusterId;

use super::{Store, StoreError};
use crate::identity::Identity;
use crate::storage::{LogLimits, NewReplica};

/// A replica of the cluster "test" with these limits, whose members are the first `members` ids.
pub(crate) fn identity_with(
    limits: Limits,
    replica: u16,
    members: u16,
    incarnation: u128,
) -> Identity {
    let members = (0..members).map(ReplicaId).collect();
    let first = Configuration::new(ConfigurationId(1), members).expect("they differ");
    let constants = ClusterConstants::new(65_536, first, limits).expect("a cluster");
    Identity {
        cluster_name: "test".into(),
        cluster_id: ClusterId::of("test", &constants),
        replica: ReplicaId(replica),
        incarnation: Incarnation(incarnation),
        constants,
    }
}

pub(crate) fn identity(replica: u16, members: u16, incarnation: u128) -> Identity {
    identity_with(Limits::default(), replica, members, incarnation)
}

/// What the data directory of this replica is made of. It knows no addresses.
pub(crate) fn new_replica(identity: Identity, log: LogLimits) -> NewReplica {
    let Identity { cluster_name, constants, replica, incarnation, .. } = identity;
    NewReplica { cluster_name, constants, replica, incarnation, log, peers: BTreeMap::new() }
}

/// Its clones share what is stored, as two runs share a disk.
#[derive(Clone)]
pub(crate) struct MemoryStore {
    stored: Arc<Mutex<Stored>>,
}

struct Stored {
    known: KnownMembers,
    is_broken: bool,
}

impl MemoryStore {
    /// The store of a new data directory.
    pub(crate) fn new(identity: &Identity) -> Self {
        Self::with(KnownMembers::new(identity.constants.first_configuration()))
    }

    /// The store of a replica in a formed cluster, where the incarnation of each member is 10 more than
    /// its id.
    pub(crate) fn formed(identity: &Identity) -> Self {
        let members = identity.constants.first_configuration().members();
        let others = members.iter().filter(|member| **member != identity.replica);
        let known = others.map(|member| (*member, Incarnation(10 + u128::from(member.0))));
        Self::with(KnownMembers { incarnations: known.collect(), is_formed: true })
    }

    fn with(known: KnownMembers) -> Self {
        Self { stored: Arc::new(Mutex::new(Stored { known, is_broken: false })) }
    }

    /// From now on nothing can be stored.
    pub(crate) fn break_down(&self) {
        self.stored.lock().expect("no panic").is_broken = true;
    }

    pub(crate) fn is_formed(&self) -> bool {
        self.known_members().is_formed
    }

    pub(crate) fn incarnations(&self) -> BTreeMap<ReplicaId, Incarnation> {
        self.known_members().incarnations
    }
}

impl Store for MemoryStore {
    fn known_members(&self) -> KnownMembers {
        self.stored.lock().expect("no panic").known.clone()
    }

    fn store_known_members(&mut self, known: KnownMembers) -> Result<(), StoreError> {
        let mut stored = self.stored.lock().expect("no panic");
        if stored.is_broken {
            return Err("the disk is full".into());
        }
        assert_ne!(stored.known, known, "there is something to store");
        stored.known = known;
        Ok(())
    }
}
