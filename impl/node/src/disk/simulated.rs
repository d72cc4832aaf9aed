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
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

use self::file::File;
use self::folder::{Folder, Node};
use self::world::{Fate, PARENT, ROOT_ENTRY, World};
use super::{Access, Disk, DiskFile, DiskLock, Holder, LockError, ROOT};

/// A data directory on a simulated disk, as one process sees it.
///
/// When the process is ended by [`kill`](Self::kill) or [`lose_power`](Self::lose_power), everything
/// that was opened through this value fails from then on, and the successor is given a new one.
///
/// Everything is kept several times over, so a log on it is to have small segments; and it should
/// make them [`InLine`](crate::storage::Preparation::InLine), for what two threads do at once is not
/// the same for the same seed.
#[derive(Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
    process: u64,
}

impl SimulatedDisk {
    /// An empty disk. Everything that happens by chance is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed))), process: 1 }
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

    /// How many bytes have been read so far.
    pub fn bytes_read(&self) -> u64 {
        self.world().bytes_read
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

/// What is on it is long: [`files`](SimulatedDisk::files) tells.
impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedDisk(process {}, {} operations)", self.process, self.operations())
    }
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

    fn check_is_file(&self, name: &str) -> io::Result<()> {
        self.look()?.file(name).map(drop)
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
        let mut world = self.disk.look()?;
        world.bytes_read += buffer.len() as u64;
        world.files[self.file].read_at(buffer, offset)
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
