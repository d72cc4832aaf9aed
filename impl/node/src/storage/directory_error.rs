//! Why a data directory is not made, is not opened, or does not store what it should.

use std::path::PathBuf;

use thiserror::Error;

use super::disk_error::DiskError;
use super::log_limits::LogLimitsError;
use super::small_file::SmallFileError;
use crate::disk::Holder;
use crate::identity::{IdentityError, REPLACEMENT_ADVICE};

/// Why a data directory could not be locked.
#[derive(Debug, Error)]
pub enum InUse {
    /// Another process has it.
    #[error(
        "data directory {} is in use by {}\n  \
         every replica needs a directory of its own: stop that process, or choose another --data-dir",
        path.display(), holder.0
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// There is nothing to lock.
    #[error(
        "{} is not there, so nobody can tell whether a process has the data directory open\n  \
         it is made with the directory and never removed, so something else removed it\n  \
         if no process has the directory open, make an empty file of that name",
        path.display()
    )]
    NoLockFile {
        /// The file.
        path: PathBuf,
    },
    /// The disk refuses.
    #[error(transparent)]
    Disk(DiskError),
}

/// A log holds records, and it is unknown which replica wrote them.
#[derive(Debug, Error)]
#[error(
    "{} holds records, and the file `identity` of its data directory is gone\n  \
     a replica that starts anew under its old id would forget its promises: nothing was \
     changed\n  \
     {REPLACEMENT_ADVICE}",
    path.display()
)]
pub struct IdentityGone {
    /// The first segment that holds something.
    pub path: PathBuf,
}

/// Why a data directory was not made.
#[derive(Debug, Error)]
pub enum InitError {
    /// A replica cannot have this identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A log cannot have these sizes.
    #[error(transparent)]
    LogLimits(#[from] LogLimitsError),
    /// The directory is made already.
    #[error(
        "{} is the data directory of a replica already\n  \
         `synod node` runs it; a new replica needs another directory, and an id that no replica of \
         its cluster ever had",
        path.display()
    )]
    AlreadyMade {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something else.
    #[error(
        "{} is not empty: there is {name}\n  \
         nothing was changed; a data directory is made where there is nothing yet",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// A name in the directory.
        name: String,
    },
    /// It was a data directory, and its identity is lost.
    #[error(transparent)]
    IdentityGone(#[from] IdentityGone),
    /// Another process has the directory.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// A small file could not be written.
    #[error(transparent)]
    SmallFile(#[from] SmallFileError),
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a data directory was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory is empty.
    #[error(
        "{} is empty, or not there\n  \
         if this replica is new, `synod init` makes its data directory\n  \
         if it is not, see whether its disk is mounted; a replica whose disk is lost never comes back \
         under its old id\n  \
         {REPLACEMENT_ADVICE}",
        path.display()
    )]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// Making the directory was interrupted.
    #[error(
        "{} is an unfinished data directory: making it was interrupted\n  \
         run `synod init` again, with the same arguments, to finish it",
        path.display()
    )]
    InitInterrupted {
        /// The directory.
        path: PathBuf,
    },
    /// Restoring the directory was interrupted.
    #[error(
        "{} is an unfinished data directory: restoring it was interrupted\n  \
         run `synod snapshot restore` or `synod recover-alone` again, with the same arguments: it begins anew",
        path.display()
    )]
    RestoreInterrupted {
        /// The directory.
        path: PathBuf,
    },
    /// It was a data directory, and its identity is lost.
    #[error(transparent)]
    IdentityGone(#[from] IdentityGone),
    /// It is not a data directory.
    #[error(
        "{} is not the data directory of a replica: there is no file `identity` in it\n  \
         if this replica is new, `synod init` makes its data directory where there is nothing yet",
        path.display()
    )]
    NotADataDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has it.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// A small file is damaged or missing.
    #[error(transparent)]
    SmallFile(#[from] SmallFileError),
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
