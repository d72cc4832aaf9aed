//! A folder of the simulated disk: which files are in it, durably and in the cache.

use std::collections::BTreeMap;
use std::io;

use fastrand::Rng;

use super::file::Outcome;

/// What a name refers to: an index into all files or all folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inode {
    File(usize),
    Folder(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    durable: BTreeMap<String, Inode>,
    cached: BTreeMap<String, Inode>,
    /// The changes since the last sync.
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Insert { name: String, node: Inode },
    Rename { from: String, to: String, node: Inode },
    Remove { name: String, node: Inode },
}

impl Folder {
    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &Inode)> {
        self.cached.iter()
    }

    pub(super) fn get(&self, name: &str) -> io::Result<Inode> {
        self.cached.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn insert(&mut self, name: &str, node: Inode) -> io::Result<()> {
        if self.cached.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.make(Change::Insert { name: name.to_owned(), node });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let node = self.get(from)?;
        self.make(Change::Rename { from: from.to_owned(), to: to.to_owned(), node });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let node = self.get(name)?;
        self.make(Change::Remove { name: name.to_owned(), node });
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        // Only the changes since then: a failed sync has lost earlier ones for good.
        for change in std::mem::take(&mut self.changes) {
            change.apply(&mut self.durable);
        }
    }

    /// Part of the changes reached the disk, and the cache marks all of them as synced.
    pub(super) fn fail_sync(&mut self, random: &mut Rng) {
        self.durable = self.after_power_loss(random);
        self.changes.clear();
    }

    pub(super) fn lose_power(&mut self, random: &mut Rng) {
        self.durable = self.after_power_loss(random);
        self.cached.clone_from(&self.durable);
        self.changes.clear();
    }

    fn make(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.changes.push(change);
    }

    fn after_power_loss(&self, random: &mut Rng) -> BTreeMap<String, Inode> {
        let outcome = Outcome::draw(random);
        let mut entries = self.durable.clone();
        let mut changes: Vec<&Change> = self.changes.iter().collect();
        if matches!(outcome, Outcome::Any) {
            random.shuffle(&mut changes);
        }
        for change in changes {
            if outcome.draw_one_of(2, random) == 1 {
                change.apply(&mut entries);
            }
        }
        entries
    }
}

impl Change {
    /// Applies to any state of the folder: a rename may survive where the creation before it did not.
    fn apply(&self, entries: &mut BTreeMap<String, Inode>) {
        let mut forget = |name: &String, node: &Inode| {
            if entries.get(name) == Some(node) {
                entries.remove(name);
            }
        };
        match self {
            Self::Insert { name, node } => {
                entries.insert(name.clone(), *node);
            }
            Self::Rename { from, to, node } => {
                forget(from, node);
                entries.insert(to.clone(), *node);
            }
            Self::Remove { name, node } => forget(name, node),
        }
    }
}
