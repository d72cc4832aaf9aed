//! The file that a snapshot is saved in.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// How often a file is synced that is being written. 8 MiB: the system then keeps little that is not on the disk.
const SYNC_BYTES: u64 = 8 << 20;

/// A file that is written under another name, and has its own only when it is whole and durable. If it does not get
/// that far, what was written is removed.
pub(super) struct Target {
    path: PathBuf,
    part: PathBuf,
    /// Locked, so that no other save writes to it.
    file: Flock<File>,
    unsynced_bytes: u64,
    is_placed: bool,
}

/// Why a snapshot cannot be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error(
        "{} exists\n  a saved snapshot never takes the place of another file: choose another name",
        .0.display()
    )]
    Exists(PathBuf),
    #[error(
        "{} is being written by another process\n  wait until that has ended, or choose another name",
        .0.display()
    )]
    InUse(PathBuf),
    #[error("{} names no file\n  give the name of the file to save the snapshot in", .0.display())]
    NoFile(PathBuf),
    #[error("cannot {doing} {}: {error}\n  nothing was saved", path.display())]
    Io { doing: &'static str, path: PathBuf, error: io::Error },
}

impl Target {
    /// Begins the file at `path`, which must not exist.
    pub(super) fn begin(path: &Path) -> Result<Self, TargetError> {
        let Some(name) = path.file_name() else {
            return Err(TargetError::NoFile(path.to_owned()));
        };
        if fs::symlink_metadata(path).is_ok() {
            return Err(TargetError::Exists(path.to_owned()));
        }
        let mut part_name = OsString::from(name);
        part_name.push(".part");
        let part = path.with_file_name(part_name);
        let at = |doing| at(&part, doing);
        let mut options = OpenOptions::new();
        // What another save has left is overwritten, once it is known that nobody writes to it.
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&part).map_err(at("create"))?;
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => return Err(TargetError::InUse(part)),
            Err((_, error)) => return Err(at("lock")(error.into())),
        };
        file.set_len(0).map_err(at("write"))?;
        Ok(Self { path: path.to_owned(), part, file, unsynced_bytes: 0, is_placed: false })
    }

    /// Where it is until it is whole.
    pub(super) fn part(&self) -> &Path {
        &self.part
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), TargetError> {
        self.file.write_all(bytes).map_err(at(&self.part, "write"))?;
        self.unsynced_bytes += bytes.len() as u64;
        if self.unsynced_bytes < SYNC_BYTES {
            return Ok(());
        }
        self.unsynced_bytes = 0;
        self.file.sync_data().map_err(at(&self.part, "sync"))
    }

    /// Begins anew, with nothing in it.
    pub(super) fn clear(&mut self) -> Result<(), TargetError> {
        self.file.set_len(0).map_err(at(&self.part, "write"))?;
        io::Seek::rewind(&mut &*self.file).map_err(at(&self.part, "write"))
    }

    /// Everything is written: makes it durable, and gives it its name.
    pub(super) fn place(mut self) -> Result<(), TargetError> {
        self.file.sync_all().map_err(at(&self.part, "sync"))?;
        // Unlike a rename, a link never takes the place of another file.
        match fs::hard_link(&self.part, &self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(TargetError::Exists(self.path.clone()));
            }
            // Some file systems have no links.
            Err(_) if fs::symlink_metadata(&self.path).is_err() => {
                fs::rename(&self.part, &self.path).map_err(at(&self.part, "rename"))?;
            }
            Err(error) => return Err(at(&self.path, "link")(error)),
        }
        let _ = fs::remove_file(&self.part);
        self.is_placed = true;
        let folder = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(at(folder, "sync"))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn at(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> TargetError {
    let path = path.to_owned();
    move |error| TargetError::Io { doing, path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("saved");
        let names = || {
            let names = fs::read_dir(folder.path()).expect("a folder").flatten();
            let mut names: Vec<_> = names.map(|it| it.file_name()).collect();
            names.sort();
            names
        };
        let mut target = Target::begin(&path).expect("room");
        target.write(b"something that is not kept").expect("room");
        let other = Target::begin(&path).err().expect("one at a time").to_string();
        assert!(other.contains("saved.part is being written by another process"), "{other}");
        target.clear().expect("room");
        target.write(b"one").expect("room");
        assert_eq!(names(), ["saved.part"]);
        target.place().expect("room");
        assert_eq!(
            (names(), fs::read(&path).expect("it is there")),
            (vec!["saved".into()], b"one".to_vec())
        );

        let exists = Target::begin(&path).err().expect("it exists").to_string();
        assert!(exists.contains("saved exists\n"), "{exists}");
        // It comes to be meanwhile.
        let path = folder.path().join("other");
        let mut target = Target::begin(&path).expect("room");
        target.write(b"two").expect("room");
        fs::write(&path, b"mine").expect("room");
        let exists = target.place().expect_err("it exists").to_string();
        assert!(exists.contains("other exists\n"), "{exists}");
        assert_eq!(fs::read(&path).expect("it is there"), b"mine");
        // What is given up leaves nothing, and what was left is no hindrance.
        assert_eq!(names(), ["other", "saved"]);
        fs::write(folder.path().join("third.part"), b"left by a save that was killed")
            .expect("room");
        drop(Target::begin(&folder.path().join("third")).expect("room"));
        assert_eq!(names(), ["other", "saved"]);
    }
}
