//! The data directory is where a node keeps what it knows of the other members.

use synod_model::KnownMembers;

use crate::forming::{Store, StoreError};
use crate::storage::DataDirectory;

impl Store for DataDirectory {
    fn known_members(&self) -> KnownMembers {
        Self::known_members(self).clone()
    }

    fn store_known_members(&mut self, known: KnownMembers) -> Result<(), StoreError> {
        Self::store_known_members(self, known).map_err(StoreError::from)
    }
}
