//! A disk in memory that does the worst that a disk may do, the same for the same seed.
//!
//! Everything written is in the *cache* first, where the running process and its successors see it.
//! [`SimulatedDisk::kill`] ends the process: the cache stays. [`SimulatedDisk::lose_power`] ends the
//! machine: of what was not synced, each sector of 512 bytes has its content as it was at the last
//! sync, or as it was after any write since; each file has any of the lengths that it had since; and
//! of what happened in a folder that was not synced (files created, renamed, removed), any part
//! survives, as if it had happened in any order.
//!
//! A failed sync is modelled as Linux has it: each sector reached the disk or did not, and the cache
//! takes all of them for clean. So the next process reads what is not there after a power loss.
//!
//! Operations that change something are counted, so that a test can end the process at each of them
//! in turn ([`SimulatedDisk::stop_at`]) or have one fail ([`SimulatedDisk::fail_at`]).

mod file;
mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

use self::file::File;
use self::folder::{Folder, Node};
use super::{Access, Disk, DiskFile, DiskLock, Holder, LockError, ROOT};

/// The name of the data directory in the folder that holds it.
const ROOT_ENTRY: &str = "data";
/// The folder that holds the data directory.
const PARENT: usize = 0;

/// A data directory on a simulated disk, as one process sees it.
///
/// When the process is ended by [`kill`](Self::kill) or [`lose_power`](Self::lose_power), everything
/// that was opened through this value fails from then on, and the successor is given a new one.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
    process: u64,
}

#[derive(Clone, Debug)]
struct World {
    random: Rng,
    folders: Vec<Folder>,
    files: Vec<File>,
    /// The process that runs.
    process: u64,
    operations: u64,
    stop_at: Option<u64>,
    stopped: bool,
    fail_at: BTreeMap<u64, i32>,
    locked: BTreeSet<String>,
}

impl SimulatedDisk {
    /// An empty disk. Everything that happens by chance is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let world = World {
            random: Rng::with_seed(seed),
            folders: vec![Folder::default()],
            files: Vec::new(),
            process: 1,
            operations: 0,
            stop_at: None,
            stopped: false,
            fail_at: BTreeMap::new(),
            locked: BTreeSet::new(),
        };
        Self { world: Arc::new(Mutex::new(world)), process: 1 }
    }

    /// A copy of the disk with its caches, and of the process that runs on it, with chances of its
    /// own.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let mut world = self.world().clone();
        world.random = Rng::with_seed(seed);
        Self { world: Arc::new(Mutex::new(world)), process: self.process }
    }

    /// How many operations have changed something so far: creating, writing, syncing, renaming,
    /// removing.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// The process will be stopped in this operation: it may have happened or not, a write in part,
    /// and that one and all after it fail.
    pub fn stop_at(&self, operation: u64) {
        self.world().stop_at = Some(operation);
    }

    /// This operation will fail with the operating system's error `os_error`: 28 is a full disk, 5 an
    /// input/output error.
    pub fn fail_at(&self, operation: u64, os_error: i32) {
        self.world().fail_at.insert(operation, os_error);
    }

    /// Ends the process and keeps the caches. The disk as the next process sees it.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut world = self.world();
        world.end_process();
        Self { world: Arc::clone(&self.world), process: world.process }
    }

    /// Ends the machine, and the process with it. The disk as the next process sees it.
    #[must_use]
    pub fn lose_power(&self) -> Self {
        let mut world = self.world();
        let World { random, folders, files, .. } = &mut *world;
        for folder in folders {
            folder.lose_power(random);
        }
        for file in files {
            file.lose_power(random);
        }
        world.end_process();
        Self { world: Arc::clone(&self.world), process: world.process }
    }

    /// What every file holds, by its name, as a process sees it.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let world = self.world();
        let mut files = BTreeMap::new();
        let Ok(root) = world.folder(ROOT) else {
            return files;
        };
        let mut folders = vec![(String::new(), root)];
        while let Some((prefix, folder)) = folders.pop() {
            for (name, node) in world.folders[folder].entries() {
                match *node {
                    Node::Folder(it) => folders.push((format!("{prefix}{name}/"), it)),
                    Node::File(it) => {
                        files.insert(format!("{prefix}{name}"), world.files[it].cached().to_vec());
                    }
                }
            }
        }
        files
    }

    /// Changes what the disk holds behind everybody's back: `change` is given the content of the
    /// file. Whether there is such a file.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut world = self.world();
        let Ok(Node::File(file)) = world.find(name) else {
            return false;
        };
        world.files[file].replace(change);
        true
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world, for an operation that changes nothing.
    fn look(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.world();
        world.check_runs(self.process)?;
        Ok(world)
    }
}

impl World {
    fn end_process(&mut self) {
        self.process += 1;
        self.stop_at = None;
        self.stopped = false;
        self.fail_at.clear();
        self.locked.clear();
    }

    fn check_runs(&self, process: u64) -> io::Result<()> {
        if self.stopped || self.process != process {
            return Err(io::Error::other("simulated: the process has been stopped"));
        }
        Ok(())
    }

    /// Counts an operation that changes something, and says what becomes of it.
    fn begin(&mut self, process: u64) -> io::Result<Fate> {
        self.check_runs(process)?;
        self.operations += 1;
        if self.stop_at.is_some_and(|at| at <= self.operations) {
            self.stopped = true;
            return Ok(Fate::Stopped);
        }
        Ok(self.fail_at.remove(&self.operations).map_or(Fate::Done, Fate::Failed))
    }

    /// Like [`begin`](Self::begin), for what happens whole or not at all.
    fn begin_whole(&mut self, process: u64) -> io::Result<Fate> {
        match self.begin(process)? {
            Fate::Failed(os_error) => Err(io::Error::from_raw_os_error(os_error)),
            Fate::Stopped if self.random.bool() => Err(stopped()),
            fate => Ok(fate),
        }
    }

    fn find(&self, name: &str) -> io::Result<Node> {
        let mut node = self.folders[PARENT].get(ROOT_ENTRY)?;
        for part in name.split('/').filter(|part| !part.is_empty()) {
            let Node::Folder(folder) = node else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            node = self.folders[folder].get(part)?;
        }
        Ok(node)
    }

    fn folder(&self, name: &str) -> io::Result<usize> {
        match self.find(name)? {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        match self.find(name)? {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The folder that `name` is in, and its name there.
    fn place<'a>(&self, name: &'a str) -> io::Result<(usize, &'a str)> {
        let (folder, name) = name.rsplit_once('/').unwrap_or((ROOT, name));
        Ok((self.folder(folder)?, name))
    }
}

/// What becomes of an operation.
enum Fate {
    Done,
    Stopped,
    Failed(i32),
}

impl Fate {
    /// The answer of an operation that has happened.
    fn answer(&self) -> io::Result<()> {
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

impl Disk for SimulatedDisk {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(ROOT_ENTRY).join(name)
    }

    fn make_root(&self) -> io::Result<()> {
        let mut world = self.world();
        if world.folders[PARENT].get(ROOT_ENTRY).is_err() {
            let fate = world.begin_whole(self.process)?;
            let root = world.folders.len();
            world.folders.push(Folder::default());
            world.folders[PARENT].insert(ROOT_ENTRY, Node::Folder(root))?;
            fate.answer()?;
        }
        let fate = world.begin_whole(self.process)?;
        world.folders[PARENT].sync();
        fate.answer()
    }

    fn create_folder(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        let fate = world.begin_whole(self.process)?;
        let (folder, name) = world.place(name)?;
        let new = world.folders.len();
        world.folders[folder].insert(name, Node::Folder(new))?;
        world.folders.push(Folder::default());
        fate.answer()
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let world = self.look()?;
        let folder = world.folder(folder)?;
        Ok(world.folders[folder].entries().map(|(name, _)| name.clone()).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        let fate = world.begin_whole(self.process)?;
        let (folder, name) = world.place(name)?;
        let file = world.files.len();
        world.folders[folder].insert(name, Node::File(file))?;
        world.files.push(File::default());
        fate.answer()?;
        Ok(Box::new(OpenFile { disk: self.clone(), file, access: Access::Write }))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let file = self.look()?.file(name)?;
        Ok(Box::new(OpenFile { disk: self.clone(), file, access }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        let fate = world.begin_whole(self.process)?;
        let (folder, from) = world.place(from)?;
        let (to_folder, to) = world.place(to)?;
        if folder != to_folder {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        world.folders[folder].rename(from, to)?;
        fate.answer()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        let fate = world.begin_whole(self.process)?;
        let (folder, name) = world.place(name)?;
        world.folders[folder].remove(name)?;
        fate.answer()
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut world = self.world();
        let folder = world.folder(folder)?;
        let fate = world.begin(self.process)?;
        match fate {
            Fate::Done => world.folders[folder].sync(),
            Fate::Stopped => {}
            Fate::Failed(_) => {
                let World { random, folders, .. } = &mut *world;
                folders[folder].fail_sync(random);
            }
        }
        fate.answer()
    }

    fn lock(&self, name: &str) -> Result<Box<dyn DiskLock>, LockError> {
        let mut world = self.look().map_err(LockError::Disk)?;
        world.file(name).map_err(LockError::Disk)?;
        if !world.locked.insert(name.to_owned()) {
            return Err(LockError::Held(Holder(format!("process {}", self.process))));
        }
        Ok(Box::new(Lock { disk: self.clone(), name: name.to_owned() }))
    }

    fn lock_holder(&self, name: &str) -> io::Result<Option<Holder>> {
        let world = self.look()?;
        world.file(name)?;
        let held = world.locked.contains(name);
        Ok(held.then(|| Holder(format!("process {}", self.process))))
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: SimulatedDisk,
    file: usize,
    access: Access,
}

impl OpenFile {
    fn begin(&self) -> io::Result<(MutexGuard<'_, World>, Fate)> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut world = self.disk.world();
        let fate = world.begin(self.disk.process)?;
        Ok((world, fate))
    }
}

impl DiskFile for OpenFile {
    fn length_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.look()?.files[self.file].cached().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.look()?.files[self.file].read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut world, fate) = self.begin()?;
        let written = match fate {
            Fate::Done => bytes.len(),
            // As much of it as fits, or as was done when the process was stopped.
            Fate::Stopped | Fate::Failed(_) => world.random.usize(0..=bytes.len()),
        };
        world.files[self.file].write_at(&bytes[..written], offset);
        fate.answer()
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut world, fate) = self.begin()?;
        match fate {
            Fate::Done => world.files[self.file].sync(),
            Fate::Stopped => {}
            Fate::Failed(_) => {
                let World { random, files, .. } = &mut *world;
                files[self.file].fail_sync(random);
            }
        }
        fate.answer()
    }
}

#[derive(Debug)]
struct Lock {
    disk: SimulatedDisk,
    name: String,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        // A lock of a process that has ended is gone already; its name may be held by another.
        if world.process == self.disk.process {
            world.locked.remove(&self.name);
        }
    }
}

impl DiskLock for Lock {}
