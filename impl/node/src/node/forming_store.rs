//! The data directory stores how far the forming of its cluster has come.

use std::collections::BTreeMap;

use synod_model::ReplicaId;
use synod_wire::Incarnation;

use crate::forming::{Store, StoreError};
use crate::storage::DataDirectory;

impl Store for DataDirectory {
    fn incarnations(&self) -> BTreeMap<ReplicaId, Incarnation> {
        self.known_members().incarnations.clone()
    }

    fn is_formed(&self) -> bool {
        self.known_members().is_formed
    }

    fn store_incarnation(
        &mut self,
        replica: ReplicaId,
        incarnation: Incarnation,
    ) -> Result<(), StoreError> {
        Self::store_incarnation(self, replica, incarnation).map_err(StoreError::from)
    }

    fn store_formed(&mut self) -> Result<(), StoreError> {
        Self::store_formed(self).map_err(StoreError::from)
    }
}
