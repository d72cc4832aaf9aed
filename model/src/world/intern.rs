//! Interning: each content is kept once, and a small number names it.
//!
//! So a cluster state is a few words, and what is computed from a content is computed once. Numbers
//! are given in the order of discovery, which differs from run to run when threads race. So texts and
//! fingerprints depend on contents and their hashes, and never on the numbers.

use std::hash::{Hash, Hasher};

use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, DashSet};
use rustc_hash::FxBuildHasher;
use siphasher::sip128::{Hasher128, SipHasher13};

/// The number of an interned content.
pub(crate) type Id = u32;

/// A set of digests.
pub(crate) type DigestSet = DashSet<u128, FxBuildHasher>;

/// A strong hash of `content`. It is the same in every run and on every thread.
pub(crate) fn digest<T: Hash>(content: &T) -> u128 {
    let mut hasher = SipHasher13::new();
    content.hash(&mut hasher);
    hasher.write_u8(0xff);
    hasher.finish128().as_u128()
}

/// Contents of type `C`, each with a value of type `D` that is derived from it once.
pub(crate) struct Interner<C, D> {
    contents: boxcar::Vec<Interned<C, D>>,
    ids: DashMap<u128, Id, FxBuildHasher>,
}

/// A content with its digest and what is derived from it.
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
    /// The number of `content`. If the content is new, `derive` is called.
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

    /// The number of contents.
    pub(crate) fn len(&self) -> usize {
        self.contents.count()
    }
}
