//! The names in the folder of the snapshots, and what a file there is.

use std::io;

use synod_model::{Slot, SnapshotHandle};
use synod_wire::ClusterId;

use super::error::SnapshotError;
use super::format::SnapshotFile;
use super::reader::{Chunks, unreadable};
use crate::disk::{Access, Disk};
use crate::storage::disk_error::DiskError;

/// The folder that the snapshot files are in.
pub(in crate::storage) const SNAPSHOTS: &str = "snapshots";

const SUFFIX: &str = ".snapshot";
/// Ends the name of a file that this replica writes.
pub(super) const NEW_SUFFIX: &str = ".snapshot.new";
/// Ends the name of a file that comes from a peer.
const PART_SUFFIX: &str = ".snapshot.part";

/// The name of the snapshot of the slots up to `slot`: `snapshots/00000000000000000042.snapshot`.
pub(in crate::storage) fn snapshot_name(slot: Slot) -> String {
    name(slot, SUFFIX)
}

pub(super) fn name(slot: Slot, suffix: &str) -> String {
    format!("{SNAPSHOTS}/{:020}{suffix}", slot.0)
}

/// The name of what is here of a peer's snapshot. It says which one that is, so that a later run can go on with it:
/// `snapshots/00000000000000000042-1000-0123456789abcdef.snapshot.part`.
pub(in crate::storage) fn part_name(file: SnapshotFile) -> String {
    let SnapshotFile { slot, length_bytes, checksum } = file;
    format!("{SNAPSHOTS}/{:020}-{length_bytes}-{checksum:016x}{PART_SUFFIX}", slot.0)
}

/// The snapshot that the file with this path is a part of.
fn part_of(path: &str) -> Option<SnapshotFile> {
    let name = path.strip_prefix(SNAPSHOTS)?.strip_prefix('/')?.strip_suffix(PART_SUFFIX)?;
    let [slot, length_bytes, checksum] = name.splitn(3, '-').collect::<Vec<_>>().try_into().ok()?;
    let (slot, length_bytes) = (Slot(slot.parse().ok()?), length_bytes.parse().ok()?);
    let file =
        SnapshotFile { slot, length_bytes, checksum: u64::from_str_radix(checksum, 16).ok()? };
    (part_name(file) == path).then_some(file)
}

/// The slot of the file with this name in the folder of the snapshots.
fn slot_of(name: &str, suffix: &str) -> Option<Slot> {
    let digits = name.strip_suffix(suffix)?;
    let slot: u64 = digits.parse().ok()?;
    (format!("{slot:020}") == digits).then_some(Slot(slot))
}

/// The names in the folder of the snapshots.
#[derive(Debug, Default)]
pub(in crate::storage) struct SnapshotListing {
    /// The last slots of the snapshots, in order.
    pub(in crate::storage) slots: Vec<Slot>,
    /// What is here of the snapshots of peers, in the order of their slots.
    pub(in crate::storage) parts: Vec<SnapshotFile>,
    /// Files that an interruption has left, with their folder.
    pub(in crate::storage) unfinished: Vec<String>,
    /// Names that do not belong there, with their folder.
    pub(in crate::storage) unknown: Vec<String>,
}

impl SnapshotListing {
    pub(in crate::storage) fn read(disk: &dyn Disk) -> Result<Self, DiskError> {
        let mut listing = Self::default();
        let names = match disk.list(SNAPSHOTS) {
            // Data directories of the first clusters have none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(DiskError::at(disk, SNAPSHOTS, "list"))?,
        };
        for name in names {
            let path = format!("{SNAPSHOTS}/{name}");
            if let Some(slot) = slot_of(&name, SUFFIX) {
                listing.slots.push(slot);
            } else if let Some(part) = part_of(&path) {
                listing.parts.push(part);
            } else if [NEW_SUFFIX, PART_SUFFIX].iter().any(|it| slot_of(&name, it).is_some()) {
                listing.unfinished.push(path);
            } else {
                listing.unknown.push(path);
            }
        }
        listing.slots.sort_unstable();
        listing.parts.sort_unstable();
        Ok(listing)
    }
}

/// Opens the snapshot of the slots up to `slot`, and checks its header.
pub(super) fn open(
    disk: &dyn Disk,
    cluster_id: &ClusterId,
    slot: Slot,
) -> Result<Chunks, SnapshotError> {
    let name = snapshot_name(slot);
    let path = disk.path(&name);
    match disk.check_is_file(&name).and_then(|()| disk.open(&name, Access::Read)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(SnapshotError::Missing { path, slot })
        }
        opened => {
            let file = opened.map_err(unreadable(&path, "open"))?;
            Chunks::new(path, file, cluster_id, slot)
        }
    }
}

/// The handle in the file that a record names.
pub(in crate::storage) fn handle_in(
    disk: &dyn Disk,
    cluster_id: &ClusterId,
    named: SnapshotFile,
) -> Result<SnapshotHandle, SnapshotError> {
    let mut chunks = open(disk, cluster_id, named.slot)?;
    chunks.check_end(named)?;
    chunks.handle()
}

/// Reads and checks a whole file. Returns what it is, and how many bytes the application has in it.
pub(in crate::storage) fn check_whole(
    disk: &dyn Disk,
    cluster_id: &ClusterId,
    slot: Slot,
) -> Result<(SnapshotFile, u64), SnapshotError> {
    let mut chunks = open(disk, cluster_id, slot)?;
    let file = chunks.end()?.file(slot);
    chunks.handle()?;
    let application_bytes = chunks.skip_to_end()?;
    Ok((file, application_bytes))
}
