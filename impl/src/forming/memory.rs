//! A store in memory, for tests. Its clones share what they remember, as two runs share a disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use synod_model::ReplicaId;

use super::{Store, StoreError};
use crate::storage::Incarnation;

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
