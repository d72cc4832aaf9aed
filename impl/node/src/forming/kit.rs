//! For tests: replicas of a small cluster, and a store in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use synod_model::{ClusterConstants, Configuration, ConfigurationId, Limits, ReplicaId};
use synod_wire::{ClusterId, Incarnation};

use super::{Store, StoreError};
use crate::identity::Identity;

/// A replica of the cluster "test" with these limits, whose members are the first `members` ids.
pub(crate) fn identity_with(
    limits: Limits,
    replica: u16,
    members: u16,
    incarnation: u128,
) -> Identity {
    let members = (0..members).map(ReplicaId).collect();
    let first = Configuration::new(ConfigurationId(1), members).expect("they differ");
    let cluster = ClusterConstants::new(65_536, first, limits).expect("a cluster");
    Identity {
        cluster_name: "test".into(),
        cluster_id: ClusterId::of("test", &cluster),
        replica: ReplicaId(replica),
        incarnation: Incarnation(incarnation),
        cluster,
    }
}

pub(crate) fn identity(replica: u16, members: u16, incarnation: u128) -> Identity {
    identity_with(Limits::default(), replica, members, incarnation)
}

/// Its clones share what they remember, as two runs share a disk.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore {
    remembered: Arc<Mutex<Remembered>>,
}

#[derive(Default)]
struct Remembered {
    incarnations: BTreeMap<ReplicaId, Incarnation>,
    is_formed: bool,
    is_broken: bool,
}

impl MemoryStore {
    /// What a replica remembers once its cluster is formed, if each member's incarnation is 10 more
    /// than its id.
    pub(crate) fn formed(identity: &Identity) -> Self {
        let store = Self::default();
        let members = identity.cluster.first_configuration().members();
        let others = members.iter().filter(|member| **member != identity.replica);
        let known = others.map(|member| (*member, Incarnation(10 + u128::from(member.0))));
        let remember = store.change(|it| {
            it.incarnations = known.collect();
            it.is_formed = true;
        });
        remember.expect("it is not broken");
        store
    }

    /// From now on nothing can be stored.
    pub(crate) fn break_down(&self) {
        self.remembered.lock().expect("no panic").is_broken = true;
    }

    fn change(&self, change: impl FnOnce(&mut Remembered)) -> Result<(), StoreError> {
        let mut remembered = self.remembered.lock().expect("no panic");
        if remembered.is_broken {
            return Err("the disk is full".into());
        }
        change(&mut remembered);
        Ok(())
    }
}

impl Store for MemoryStore {
    fn incarnations(&self) -> BTreeMap<ReplicaId, Incarnation> {
        self.remembered.lock().expect("no panic").incarnations.clone()
    }

    fn is_formed(&self) -> bool {
        self.remembered.lock().expect("no panic").is_formed
    }

    fn store_incarnation(
        &mut self,
        replica: ReplicaId,
        incarnation: Incarnation,
    ) -> Result<(), StoreError> {
        self.change(|it| assert_eq!(it.incarnations.insert(replica, incarnation), None))
    }

    fn store_formed(&mut self) -> Result<(), StoreError> {
        self.change(|it| assert!(!std::mem::replace(&mut it.is_formed, true)))
    }
}
