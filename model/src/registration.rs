//! What a configuration says of a member besides its id.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::forming::Incarnation;
use crate::numbers::ReplicaId;

/// The most bytes that an address has: the longest name of a host has 253 (RFC 1035), and a port five digits.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// Which data directory a member has, and where its peers find it.
///
/// A directory draws its incarnation before a configuration can name it. So two directories that are made for one id
/// never both take part: only one of them is registered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Registration {
    /// Its data directory. It stays the same for as long as the member is one.
    pub incarnation: Incarnation,
    /// Where its peers look for it, as `host:port`. Another change may move it. The core makes nothing of it.
    pub address: String,
}

impl Registration {
    /// For models and tests, where replicas have no addresses: that of the first data directory of `replica`.
    #[must_use]
    pub fn first_of(replica: ReplicaId) -> Self {
        Self { incarnation: Incarnation::first_of(replica), address: String::new() }
    }
}
