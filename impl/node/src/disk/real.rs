//! The operating system's files. No other module uses fs2.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fs2::FileExt as _;

use super::interface::{Access, Disk, DiskFile, DiskLock, Holder, LockError};

/// The error for a pipe, a socket or a device in the place of a file.
const NO_FILE: io::ErrorKind = io::ErrorKind::InvalidInput;

/// How much of a lock file is read to learn who holds it. A process id has at most ten digits.
const HOLDER_BYTES_MAX: usize = 32;

/// A data directory in the file system.
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: PathBuf,
    /// The folders that were synced. They stay open. If a folder had to be opened for each sync, and
    /// too many files were open, nobody could find out whether a renamed file is durable.
    folders: Arc<Mutex<BTreeMap<String, Arc<File>>>>,
}

impl RealDisk {
    /// The data directory at `root`. This reads and makes nothing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), folders: Arc::default() }
    }

    fn folder(&self, name: &str) -> io::Result<Arc<File>> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folders.get(name) {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(File::open(self.path(name))?);
        Ok(Arc::clone(folders.entry(name.to_owned()).or_insert(folder)))
    }
}

impl Disk for RealDisk {
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }

    fn make_root(&self) -> io::Result<()> {
        let made = match fs::create_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            made => made.map(|()| true)?,
        };
        // Also if the directory exists: an earlier run may have made it and stopped before this sync.
        let root = fs::canonicalize(&self.root)?;
        fs::read_dir(&root)?;
        match root.parent().map_or(Ok(()), sync) {
            // The parent belongs to another user, who has also made this directory.
            Err(error) if !made && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    }

    fn create_folder(&self, name: &str) -> io::Result<()> {
        fs::create_dir(self.path(name))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(folder))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let options = &mut OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(self.path(name))?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let write = access == Access::Write;
        let file = OpenOptions::new().read(true).write(write).open(self.path(name))?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Box::new(RealFile(file)))
    }

    fn check_is_file(&self, name: &str) -> io::Result<()> {
        check_is_file(&self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.folder(folder)?.sync_all()
    }

    fn lock(&self, name: &str) -> Result<Box<dyn DiskLock>, LockError> {
        let path = self.path(name);
        check_is_file(&path).map_err(LockError::Disk)?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(LockError::Disk)?;
        match file.try_lock_exclusive() {
            Err(error) if is_held(&error) => return Err(LockError::Held(holder(&file))),
            locked => locked.map_err(LockError::Disk)?,
        }
        // The text need not be durable: it is for people, and only the lock itself counts.
        let text = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.write_all_at(text.as_bytes(), 0))
            .map_err(LockError::Disk)?;
        Ok(Box::new(RealLock(file)))
    }

    fn lock_holder(&self, name: &str) -> io::Result<Option<Holder>> {
        let path = self.path(name);
        check_is_file(&path)?;
        let file = File::open(path)?;
        match fs2::FileExt::try_lock_shared(&file) {
            Err(error) if is_held(&error) => Ok(Some(holder(&file))),
            Err(error) => Err(error),
            Ok(()) => {
                drop(RealLock(file));
                Ok(None)
            }
        }
    }
}

fn check_is_file(path: &Path) -> io::Result<()> {
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if kind.is_file() { Ok(()) } else { Err(io::Error::new(NO_FILE, "not a regular file")) }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn is_held(error: &io::Error) -> bool {
    error.raw_os_error() == fs2::lock_contended_error().raw_os_error()
}

fn holder(file: &File) -> Holder {
    let mut text = [0; HOLDER_BYTES_MAX];
    let length = file.read_at(&mut text, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]);
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        // The process holds the lock and has not written its id yet.
        Holder("another process".into())
    } else {
        Holder(format!("process {digits}"))
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn length_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// The lock of a file, until this is dropped.
///
/// Closing the file would not be enough. If another thread is starting a process, the new process has
/// the file open too, and with it the lock, until it executes its program.
#[derive(Debug)]
struct RealLock(File);

impl Drop for RealLock {
    fn drop(&mut self) {
        // If unlocking fails, closing the file is all that is left to do.
        let _ = fs2::FileExt::unlock(&self.0);
    }
}

impl DiskLock for RealLock {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_just_being_started_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("lock");
        let open = || OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = open().expect("a file");
        // A process that is being started has the same open file.
        let inherited = file.try_clone().expect("another handle");
        file.try_lock_exclusive().expect("nobody has it");
        let lock = RealLock(file);
        let other = open().expect("the file");
        assert!(is_held(&other.try_lock_exclusive().expect_err("it is held")));
        drop(lock);
        other.try_lock_exclusive().expect("it was given back");
        drop(inherited);
    }
}
