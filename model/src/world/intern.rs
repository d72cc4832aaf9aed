//! Each content is kept once and named by a small number.
//!
//! A cluster state is then a few words, and whatever is computed from contents is computed once.
//! Numbers are given out in the order of discovery, which differs from run to run when threads race;
//! so nothing that a person or a fingerprint sees depends on them, only on the content and its hash.

use std::hash::{Hash, Hasher};

use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, DashSet};
use rustc_hash::FxBuildHasher;
use siphasher::sip128::{Hasher128, SipHasher13};

/// The number of an interned content.
pub(crate) type Id = u32;

/// A set of digests.
pub(crate) type DigestSet = DashSet<u128, FxBuildHasher>;

/// A strong hash of `content`, the same in every run and on every thread.
pub(crate) fn digest<T: Hash>(content: &T) -> u128 {
    let mut hasher = SipHasher13::new();
    content.hash(&mut hasher);
    hasher.write_u8(0xff);
    hasher.finish128().as_u128()
}

/// Contents of one type `C`, each with what is derived from it once, a `D`.
pub(crate) struct Interner<C, D> {
    contents: boxcar::Vec<Interned<C, D>>,
    ids: DashMap<u128, Id, FxBuildHasher>,
}

/// A content.
pub(crate) struct Interned<C, D> {
    pub(crate) content: C,
    pub(crate) digest: u128,
    pub(crate) derived: D,
}

impl<C, D> Default for Interner<C, D> {
    fn default() -> Self {
        Self { contents: boxcar::Vec::new(), ids: DashMap::with_hasher(FxBuildHasher) }
    }
}

impl<C: Hash + Eq, D> Interner<C, D> {
    /// The number of `content`; what is derived from it is made if it is new.
    pub(crate) fn intern(&self, content: C, derive: impl FnOnce(&C, u128) -> D) -> Id {
        let digest = digest(&content);
        match self.ids.entry(digest) {
            Entry::Occupied(occupied) => {
                let id = *occupied.get();
                let there = &self.get(id).content;
                assert!(*there == content, "two contents share the digest {digest:x}");
                id
            }
            Entry::Vacant(vacant) => {
                let derived = derive(&content, digest);
                let index = self.contents.push(Interned { content, digest, derived });
                let id = Id::try_from(index).unwrap_or_else(|_| panic!("more than 2^32 contents"));
                vacant.insert(id);
                id
            }
        }
    }

    /// The content with this number.
    pub(crate) fn get(&self, id: Id) -> &Interned<C, D> {
        &self.contents[id as usize]
    }

    /// How many contents there are.
    pub(crate) fn len(&self) -> usize {
        self.contents.count()
    }
}
