//! A disk in memory that does the worst that a disk may do, and does the same for the same seed.
//!
//! Every write goes to the *cache* first, where the running process and its successors see it.
//! [`SimulatedDisk::kill`] ends the process: the cache stays. [`SimulatedDisk::lose_power`] ends the
//! machine, and what was not synced may be lost:
//!
//! - each sector of 512 bytes has its content as of the last sync, or as of any write after it;
//! - each file has any of the lengths that it had since the last sync;
//! - of the changes in a folder (files created, renamed, removed), any part survives, as if they had
//!   happened in any order.
//!
//! A sync that fails does what it does on Linux: each sector reached the disk or did not, and the cache
//! marks all of them as clean. So the next process reads sectors that a power loss would undo.
//!
//! The disk counts the operations that change something. So a test can end the process at each of
//! them in turn ([`SimulatedDisk::stop_at`]), or let one fail ([`SimulatedDisk::fail_at`]).

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
use self::folder::{Folder, Inode};
use self::world::{Fate, PARENT, ROOT_ENTRY, World};
use super::interface::{Access, Disk, DiskFile, DiskLock, Holder, LockError, ROOT};

/// The error of a full disk: `ENOSPC`.
const NO_SPACE: i32 = 28;

/// A data directory on a simulated disk, as one process sees it.
///
/// [`kill`](Self::kill) and [`lose_power`](Self::lose_power) end the process and return a new value
/// for its successor. After that, everything that was opened through the old value fails.
///
/// The disk keeps several copies of everything, so a log on it should have small segments. The log
/// should make them in line, not on another thread: the order in which two threads run does not come
/// from the seed.
#[derive(Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
    process: u64,
}

impl SimulatedDisk {
    /// An empty disk. Every random choice is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed))), process: 1 }
    }

    /// A copy of the disk with its caches and its running process, whose random choices are drawn from
    /// `seed`.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let mut world = self.world().clone();
        world.random = Rng::with_seed(seed);
        Self { world: Arc::new(Mutex::new(world)), process: self.process }
    }

    /// How many operations have changed something so far. They are: create, write, sync, rename and
    /// remove.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// How many bytes have been read so far.
    pub fn bytes_read(&self) -> u64 {
        self.world().bytes_read
    }

    /// Stops the process in this operation. The operation happens or does not; a write may happen in
    /// part. It and all operations after it fail.
    pub fn stop_at(&self, operation: u64) {
        self.world().stop_at = Some(operation);
    }

    /// Lets this operation fail with the operating system's error `os_error`: 28 is a full disk, 5 an
    /// input/output error.
    pub fn fail_at(&self, operation: u64, os_error: i32) {
        self.world().fail_at.insert(operation, os_error);
    }

    /// Fills the disk, or makes room on it. While it is full, no file can grow, and all else goes on.
    pub fn set_full(&self, is_full: bool) {
        self.world().is_full = is_full;
    }

    /// Ends the process and keeps the caches. Returns the disk for the next process.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut world = self.world();
        world.end_process();
        Self { world: Arc::clone(&self.world), process: world.process }
    }

    /// Ends the machine, and the process with it. Returns the disk for the next process.
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

    /// The content of every file as a process sees it, by name.
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
                    Inode::Folder(it) => folders.push((format!("{prefix}{name}/"), it)),
                    Inode::File(it) => {
                        files.insert(format!("{prefix}{name}"), world.files[it].cached().to_vec());
                    }
                }
            }
        }
        files
    }

    /// Changes what the disk holds, as damage does: `change` gets the content of the file. Returns
    /// whether the file exists.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut world = self.world();
        let Ok(Inode::File(file)) = world.find(name) else {
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

/// Without the contents, which are long. [`files`](SimulatedDisk::files) returns them.
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
            world.folders[PARENT].insert(ROOT_ENTRY, Inode::Folder(root))?;
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
        world.folders[folder].insert(name, Inode::Folder(new))?;
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
        world.folders[folder].insert(name, Inode::File(file))?;
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
        Ok(Box::new(SimulatedLock { disk: self.clone(), name: name.to_owned() }))
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
        let (mut world, mut fate) = self.begin()?;
        let grows = offset + bytes.len() as u64 > world.files[self.file].cached().len() as u64;
        if world.is_full && grows {
            fate = Fate::Failed(NO_SPACE);
        }
        let written = match fate {
            Fate::Failed(NO_SPACE) if world.is_full => 0,
            Fate::Done => bytes.len(),
            // Part of the bytes: there was no more room, or the process was stopped.
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
struct SimulatedLock {
    disk: SimulatedDisk,
    name: String,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        // The lock of a process that has ended is gone already, and another may hold the name.
        if world.process == self.disk.process {
            world.locked.remove(&self.name);
        }
    }
}

impl DiskLock for SimulatedLock {}
