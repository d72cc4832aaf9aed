//! Making a data directory, so that being interrupted anywhere leaves either none or all of it.
//!
//! The identity comes last, when everything else is durable. Without it nothing was ever promised
//! from this directory, and so an `init` that finds the remains of another one may begin again, if
//! remains are all that there is: no names but those that it makes itself, and not a byte in any
//! segment.

use std::io;

use super::directory::{
    INCARNATIONS, IdentityGone, InitError, LOCK, Met, NewReplica, PEERS, SMALL_FILES, lock,
};
use super::identity::{IDENTITY, Identity};
use super::scan::{Rest, Scanner};
use super::segment::{LOG, Listing, prepare, segment_name};
use super::trouble::DiskError;
use crate::disk::{Disk, DiskLock, ROOT};

/// Makes the data directory of `replica`, and locks it.
pub(super) fn make(
    disk: &dyn Disk,
    replica: &NewReplica,
) -> Result<(Box<dyn DiskLock>, Identity), InitError> {
    let identity = replica.identity()?;
    // Before anything is made: where there is something else, not even a lock file is left.
    check_names(disk)?;
    disk.make_root().map_err(DiskError::at(disk, ROOT, "make"))?;
    match disk.create(LOCK) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => drop(created.map_err(DiskError::at(disk, LOCK, "create"))?),
    }
    let lock = lock(disk)?;
    // Again, for somebody else may have been here in between.
    check_names(disk)?;

    make_log(disk, replica.log.segment_bytes)?;
    // Each syncs the directory, and with it the names of what was made before.
    PEERS.write(disk, &replica.peers)?;
    INCARNATIONS.write(disk, &Met::nobody_yet(&replica.cluster))?;
    IDENTITY.write(disk, &identity)?;
    Ok((lock, identity))
}

/// Whether something of this name belongs into a data directory.
pub(super) fn is_known(name: &str) -> bool {
    let is_small_file = SMALL_FILES.iter().any(|it| name == it.name || name == it.new_name);
    is_small_file || name == LOCK || name == LOG
}

/// Checks that there is nothing, or what an interrupted `init` leaves.
fn check_names(disk: &dyn Disk) -> Result<(), InitError> {
    let names = match disk.list(ROOT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(DiskError::at(disk, ROOT, "list"))?,
    };
    let path = disk.path(ROOT);
    if names.iter().any(|name| name == IDENTITY.name) {
        return Err(InitError::AlreadyMade { path });
    }
    if let Some(name) = names.iter().find(|name| !is_known(name)) {
        return Err(InitError::NotEmpty { path, name: name.clone() });
    }
    if !names.iter().any(|name| name == LOG) {
        return Ok(());
    }
    let listing = Listing::read(disk)?;
    if let Some(name) = listing.unknown.first() {
        return Err(InitError::NotEmpty { path, name: format!("{LOG}/{name}") });
    }
    match remains(disk, &listing)? {
        Some(gone) => Err(gone.into()),
        None => Ok(()),
    }
}

/// The first segment that holds something. Without one, nothing was ever promised from a directory
/// that has no identity: making it was interrupted.
pub(super) fn remains(
    disk: &dyn Disk,
    listing: &Listing,
) -> Result<Option<IdentityGone>, DiskError> {
    for &segment in &listing.segments {
        let rest = Scanner::open(disk, segment)?.rest(0, |_, _| false)?;
        if rest != Rest::default() {
            return Ok(Some(IdentityGone { path: disk.path(&segment_name(segment)) }));
        }
    }
    Ok(None)
}

/// Makes the folder of the log, with one segment and nothing else in it.
fn make_log(disk: &dyn Disk, segment_bytes: u64) -> Result<(), DiskError> {
    match disk.create_folder(LOG) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => created.map_err(DiskError::at(disk, LOG, "create"))?,
    }
    let listing = Listing::read(disk)?;
    listing.remove_unfinished(disk)?;
    // They hold nothing, and may have been made with another length.
    for segment in listing.segments {
        let name = segment_name(segment);
        disk.remove(&name).map_err(DiskError::at(disk, &name, "remove"))?;
    }
    prepare(disk, 1, segment_bytes).map(drop)
}
