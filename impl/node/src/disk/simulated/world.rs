//! The state of a simulated disk, and the fate of each operation on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use fastrand::Rng;

use super::file::File;
use super::folder::{Folder, Inode};
use crate::disk::interface::ROOT;

/// The name of the data directory in the folder that holds it.
pub(super) const ROOT_ENTRY: &str = "data";
/// The folder that holds the data directory.
pub(super) const PARENT: usize = 0;

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) random: Rng,
    pub(super) folders: Vec<Folder>,
    pub(super) files: Vec<File>,
    /// The number of the process that runs.
    pub(super) process: u64,
    pub(super) operations: u64,
    pub(super) bytes_read: u64,
    pub(super) stop_at: Option<u64>,
    pub(super) stopped: bool,
    pub(super) fail_at: BTreeMap<u64, i32>,
    /// No file may grow.
    pub(super) is_full: bool,
    pub(super) locked: BTreeSet<String>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            folders: vec![Folder::default()],
            files: Vec::new(),
            process: 1,
            operations: 0,
            bytes_read: 0,
            stop_at: None,
            stopped: false,
            fail_at: BTreeMap::new(),
            is_full: false,
            locked: BTreeSet::new(),
        }
    }

    pub(super) fn end_process(&mut self) {
        self.process += 1;
        self.stop_at = None;
        self.stopped = false;
        self.fail_at.clear();
        self.locked.clear();
    }

    pub(super) fn check_runs(&self, process: u64) -> io::Result<()> {
        if self.stopped || self.process != process {
            return Err(io::Error::other("simulated: the process has been stopped"));
        }
        Ok(())
    }

    /// Counts an operation that changes something, and decides its fate.
    pub(super) fn begin(&mut self, process: u64) -> io::Result<Fate> {
        self.check_runs(process)?;
        self.operations += 1;
        if self.stop_at.is_some_and(|at| at <= self.operations) {
            self.stopped = true;
            return Ok(Fate::Stopped);
        }
        Ok(self.fail_at.remove(&self.operations).map_or(Fate::Done, Fate::Failed))
    }

    /// Like [`begin`](Self::begin), for an operation that happens whole or not at all.
    pub(super) fn begin_whole(&mut self, process: u64) -> io::Result<Fate> {
        match self.begin(process)? {
            Fate::Failed(os_error) => Err(io::Error::from_raw_os_error(os_error)),
            Fate::Stopped if self.random.bool() => Err(stopped()),
            fate => Ok(fate),
        }
    }

    pub(super) fn find(&self, name: &str) -> io::Result<Inode> {
        let mut node = self.folders[PARENT].get(ROOT_ENTRY)?;
        for part in name.split('/').filter(|part| !part.is_empty()) {
            let Inode::Folder(folder) = node else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            node = self.folders[folder].get(part)?;
        }
        Ok(node)
    }

    pub(super) fn folder(&self, name: &str) -> io::Result<usize> {
        match self.find(name)? {
            Inode::Folder(folder) => Ok(folder),
            Inode::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn file(&self, name: &str) -> io::Result<usize> {
        match self.find(name)? {
            Inode::File(file) => Ok(file),
            Inode::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The folder of `name`, and the name within it.
    pub(super) fn place<'a>(&self, name: &'a str) -> io::Result<(usize, &'a str)> {
        let (folder, name) = name.rsplit_once('/').unwrap_or((ROOT, name));
        Ok((self.folder(folder)?, name))
    }
}

/// Whether an operation happens.
pub(super) enum Fate {
    Done,
    Stopped,
    Failed(i32),
}

impl Fate {
    /// The result of an operation that has happened.
    pub(super) fn answer(&self) -> io::Result<()> {
        match *self {
            Self::Done => Ok(()),
            Self::Stopped => Err(stopped()),
            Self::Failed(os_error) => Err(io::Error::from_raw_os_error(os_error)),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("simulated: the process is stopped here")
}
