//! A small file system in memory, which can be full or read-only.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::wait::until;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// A mounted tmpfs. It is unmounted when this is dropped.
#[derive(Debug)]
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts `bytes` of memory at `path`, which is made. None where that is not allowed: to users other
    /// than root, and even to root in many containers.
    pub(crate) fn new(path: PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let options = CString::new(format!("size={bytes}")).unwrap();
        let mounted = mount("none", &path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()));
        if let Err(error) = mounted {
            let test = std::thread::current();
            let test = test.name().unwrap_or_default();
            // Not through the test harness, which hides the output of a test that passes.
            let _ = writeln!(io::stderr(), "NOT TESTED: {test}: nothing can be mounted: {error}");
            return None;
        }
        Some(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn make_read_only(&self) {
        // It is busy as long as a process that was just killed has a file open for writing.
        until("a read-only mount", || mount_remount(&self.0, MountFlags::RDONLY, "").ok());
    }

    /// Writes a file until there is no room left.
    pub(crate) fn fill(&self) {
        let mut file = fs::File::create(self.filler()).unwrap();
        let error = io::copy(&mut io::repeat(1), &mut file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    /// Removes that file.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Also if a process has a file open there. That process is killed as well.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}
