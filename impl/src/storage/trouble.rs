//! What every error of storage has in common: which file, what was being done, and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;

use crate::disk::Disk;

/// A call to the disk that failed.
#[derive(Debug, Error)]
#[error("cannot {doing} {}: {error}\n  {}", path.display(), advice(error))]
pub struct DiskError {
    /// What was being done: "write", "sync".
    pub doing: &'static str,
    /// To which file or folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub error: io::Error,
}

impl DiskError {
    /// For `map_err`: `name` could not be ... what `doing` says.
    pub(super) fn at(
        disk: &dyn Disk,
        name: &str,
        doing: &'static str,
    ) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { doing, path: disk.path(name), error }
    }

    /// Whether it failed because this process, or the machine, has too many files open. That says
    /// nothing of the disk.
    pub(super) fn is_want_of_descriptors(&self) -> bool {
        is_want_of_descriptors(&self.error)
    }
}

fn is_want_of_descriptors(error: &io::Error) -> bool {
    let error = error.raw_os_error();
    [Errno::EMFILE, Errno::ENFILE].into_iter().any(|it| error == Some(it as i32))
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if is_want_of_descriptors(error) => {
            "too many files are open: let this process have more, with LimitNOFILE= in its unit or \
             `ulimit -n`"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: make room on it, then start the replica again"
        }
        io::ErrorKind::PermissionDenied => {
            "the user that runs synod must own the data directory and everything in it"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "a replica must be able to write: see whether the file system was made read-only after an error"
        }
        io::ErrorKind::NotFound => "the file, or the folder that it should be in, is not there",
        _ => {
            "nothing more is written after this, since what is on the disk now is unknown: \
             see what the system's log says of the drive, then start the replica again"
        }
    }
}

/// A number of bytes for people: 81920 is 81,920.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grouped(pub(super) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        f.pad(&grouped)
    }
}
