//! What all errors of storage have in common: which file, which operation, and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;

use crate::disk::Disk;

/// A call to the disk that has failed.
#[derive(Debug, Error)]
#[error("cannot {doing} {}: {error}\n  {}", path.display(), advice(doing, error))]
pub struct DiskError {
    /// The operation: "write", "sync".
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The error of the operating system.
    pub error: io::Error,
}

impl DiskError {
    /// For `map_err`: the operation `doing` on the file `name` has failed.
    pub(super) fn at(
        disk: &dyn Disk,
        name: &str,
        doing: &'static str,
    ) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { doing, path: disk.path(name), error }
    }

    /// What has failed and why, where the advice would not fit.
    pub(super) fn brief(&self) -> String {
        format!("cannot {} {}: {}", self.doing, self.path.display(), self.error)
    }

    /// Whether the disk was full.
    pub(super) fn is_full(&self) -> bool {
        is_full(&self.error)
    }

    /// Whether this process, or the machine, had too many files open. Such an error says nothing about
    /// the disk.
    pub(super) fn is_want_of_descriptors(&self) -> bool {
        is_want_of_descriptors(&self.error)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn is_want_of_descriptors(error: &io::Error) -> bool {
    let error = error.raw_os_error();
    [Errno::EMFILE, Errno::ENFILE].into_iter().any(|it| error == Some(it as i32))
}

fn advice(doing: &str, error: &io::Error) -> &'static str {
    // Only an operation that changes something leaves the content of the disk unknown.
    let changes = matches!(doing, "write" | "sync" | "fill" | "rename" | "replace" | "remove");
    match error.kind() {
        _ if is_want_of_descriptors(error) => {
            "too many files are open: raise the limit of this process, with LimitNOFILE= in its unit \
             or `ulimit -n`"
        }
        _ if is_full(error) => "the disk is full: make room on it, then start the replica again",
        io::ErrorKind::PermissionDenied if doing == "make" => {
            "the user that runs synod may not make it there: let root make the directory, and give \
             it to that user"
        }
        io::ErrorKind::PermissionDenied => {
            "the user that runs synod must own the data directory and everything in it"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "a replica must be able to write: see whether the file system was made read-only after an error"
        }
        io::ErrorKind::NotFound => "the file, or the folder that it should be in, is not there",
        io::ErrorKind::NotADirectory => {
            "there should be a directory, and something else is in its place: see what it is, or \
             name another data directory"
        }
        io::ErrorKind::IsADirectory => {
            "there should be a file, and a directory is in its place: synod did not make it, so find \
             out who did"
        }
        io::ErrorKind::InvalidInput if !changes => {
            "there should be a file, and something else is in its place: synod did not make it, so \
             find out who did"
        }
        _ if changes => {
            "nothing more is written, since what is on the disk now is unknown: see what the \
             system's log says about the drive, then start the replica again"
        }
        io::ErrorKind::UnexpectedEof => {
            "the file is shorter than it was a moment ago: find out what else writes to it"
        }
        _ => "nothing was written; the system's log may say more",
    }
}

/// A number of bytes with its digits in groups: 81920 is 81,920.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(doing: &'static str, kind: io::ErrorKind) -> String {
        DiskError { doing, path: "r0/LOCK".into(), error: kind.into() }.to_string()
    }

    #[test]
    fn only_a_change_that_failed_leaves_the_disk_unknown() {
        for doing in ["write", "sync", "fill", "rename", "replace", "remove"] {
            let text = told(doing, io::ErrorKind::Other);
            assert!(text.contains("what is on the disk now is unknown"), "{text}");
        }
        for doing in ["list", "open", "read", "lock", "look at", "make", "create"] {
            let text = told(doing, io::ErrorKind::Other);
            assert!(text.contains("nothing was written"), "{text}");
        }
    }

    #[test]
    fn advice_fits_what_is_wrong() {
        for (doing, kind, advice) in [
            ("list", io::ErrorKind::NotADirectory, "there should be a directory"),
            ("lock", io::ErrorKind::IsADirectory, "there should be a file, and a directory"),
            ("open", io::ErrorKind::InvalidInput, "there should be a file, and something else"),
            ("lock", io::ErrorKind::PermissionDenied, "must own the data directory"),
            ("make", io::ErrorKind::PermissionDenied, "let root make the directory"),
            ("write", io::ErrorKind::StorageFull, "make room on it"),
        ] {
            let text = told(doing, kind);
            assert!(text.contains(advice), "{text}");
        }
    }
}
