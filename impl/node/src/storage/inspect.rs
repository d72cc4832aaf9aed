//! A report of what is in a data directory, for people, whatever state it is in.
//!
//! Inspecting changes nothing and needs no lock. The directory may be damaged or in use. While it is in
//! use, the report on the end of the log may be out of date: a batch that is being written looks like
//! an interrupted write. So the report says first whether a process holds the lock.
//!
//! Findings are reported one by one, so a log of any length takes the memory of one batch. After
//! something damaged, the inspection goes on at the next header that it finds. The last finding says
//! what a start of the replica would make of the log. It comes from the code that a start runs.

mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

use synod_model::{
    Forgotten, Incarnation, KnownMembers, PrefixHash, ReplicaId, SequenceNumber, Slot, SlotRange,
};
use synod_wire::codec::DecodeError;

use super::base::BaseFile;
use super::batch::{BLOCK_BYTES, Flaw, Header};
use super::disk_error::DiskError;
use super::layout::{BASE, IDENTITY, INCARNATIONS, IdentityFile, LOCK, PEERS, is_known};
use super::recover_error::RecoverError;
use super::scan::Scanner;
use super::segment::{LOG, Listing, Place, segment_name};
use super::small_file::SmallFileError;
use super::snapshot::{
    SnapshotError, SnapshotFile, SnapshotListing, check_whole, handle_in, part_name, snapshot_name,
};
use super::stored_record::{StoredContent, StoredRecord, records};
use super::survey::{Bounds, Interrupted, SoundBatch, survey};
use super::unread::read_base;
use crate::disk::{Disk, Holder, ROOT};

/// Something that is in a data directory. Its text has one line or several.
#[derive(Debug)]
pub enum Finding {
    /// The directory, and whether a process has it open.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Who holds the lock, if anybody does, or why that is unknown.
        lock: Result<Option<Holder>, DiskError>,
    },
    /// Who the replica is.
    Identity(Result<Box<IdentityFile>, SmallFileError>),
    /// Which data directory each other member was first met with, and whether the cluster is formed.
    Incarnations(Result<KnownMembers, SmallFileError>),
    /// The addresses of the other replicas.
    Peers(Result<BTreeMap<ReplicaId, String>, SmallFileError>),
    /// Where the log begins. Only if it was cut.
    Base(Result<BaseFile, SmallFileError>),
    /// A snapshot file. All of it was read and checked.
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What it is, and how many bytes the application has in it.
        checked: Result<(SnapshotFile, u64), SnapshotError>,
    },
    /// A part of a peer's snapshot. If the replica still needs it, it goes on with the newest of these.
    Part {
        /// The file.
        path: PathBuf,
        /// The snapshot.
        part: SnapshotFile,
    },
    /// A file that an interruption has left. A start removes it.
    Unfinished {
        /// The file.
        path: PathBuf,
    },
    /// Something that does not belong in the directory.
    Unknown {
        /// The file or folder.
        path: PathBuf,
    },
    /// A segment, whose batches follow.
    Segment {
        /// The file.
        path: PathBuf,
        /// Its length.
        length_bytes: u64,
    },
    /// A batch whose checksums are right.
    Batch {
        /// Its place.
        place: Place,
        /// Its header.
        header: Header,
        /// Its records.
        records: Vec<RecordFound>,
        /// Why the next record could not be read, unless the batch ended there.
        error: Option<DecodeError>,
    },
    /// Something that is neither a batch nor blank.
    Flawed {
        /// Its place.
        place: Place,
        /// The place of the next batch, or the end of the segment.
        to: u64,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The rest of a segment, which holds nothing.
    Blank {
        /// Where the rest begins.
        from: Place,
    },
    /// A file of the log could not be read.
    Unreadable(DiskError),
    /// What a start of the replica would make of the log.
    Verdict(Result<LogEnd, RecoverError>),
}

/// A record, without its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFound {
    /// Every slot up to here is committed.
    pub watermark: Slot,
    /// The running hash of what is committed.
    pub hash: PrefixHash,
    /// What it records.
    pub kind: RecordKind,
    /// The sequence number that it was written under, if any.
    pub s: Option<SequenceNumber>,
    /// The slots that it has entries for.
    pub slots: Option<SlotRange>,
    /// The snapshot file that it names.
    pub snapshot: Option<SnapshotFile>,
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A promise.
    Promised,
    /// Entries that were accepted.
    Accepted,
    /// Entries that came by catch-up.
    Committed,
    /// That the disk has lost something that was told under a number.
    Forgotten,
    /// That everything up to a slot is in a snapshot.
    Snapshot,
}

/// The end of a log that is not damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The place behind the last sound batch.
    pub end: Place,
    /// The number of the first batch: 1, unless the log was cut.
    pub first_batch: u64,
    /// How many batches there are.
    pub batches: u64,
    /// What an interrupted write has left. A start would cut it off.
    pub interrupted: Option<Interrupted>,
}

/// Reports everything that is in the data directory, in order.
///
/// # Errors
///
/// If the directory itself cannot be read. Any other failure is one of the findings.
pub fn inspect(disk: &dyn Disk, mut report: impl FnMut(Finding)) -> Result<(), DiskError> {
    let names = disk.list(ROOT).map_err(DiskError::at(disk, ROOT, "list"))?;
    let lock = disk.lock_holder(LOCK).map_err(DiskError::at(disk, LOCK, "look at"));
    report(Finding::Directory { path: disk.path(ROOT), lock });

    let identity: Result<Box<IdentityFile>, _> = IDENTITY.read(disk).map(Box::new);
    let known = identity.as_deref().ok().cloned();
    report(Finding::Identity(identity));
    report(Finding::Incarnations(INCARNATIONS.read(disk)));
    report(Finding::Peers(PEERS.read(disk)));
    if names.iter().any(|name| name == BASE.name) {
        report(Finding::Base(BASE.read(disk)));
    }
    inspect_snapshots(disk, known.as_ref(), &mut report);
    for name in names.iter().filter(|name| !is_known(name)) {
        report(Finding::Unknown { path: disk.path(name) });
    }
    match Listing::read(disk) {
        Err(error) => report(Finding::Unreadable(error)),
        Ok(listing) => {
            for name in &listing.unknown {
                report(Finding::Unknown { path: disk.path(&format!("{LOG}/{name}")) });
            }
            for segment in listing.segments {
                let inspected = inspect_segment(
                    disk,
                    segment,
                    known.as_ref().map(|it| it.identity.incarnation),
                    &mut report,
                );
                inspected.unwrap_or_else(|error| report(Finding::Unreadable(error)));
            }
        }
    }
    if let Some(identity) = known {
        report(Finding::Verdict(verdict(disk, &identity)));
    }
    Ok(())
}

/// Without the identity, nobody knows to which cluster a snapshot should belong.
fn inspect_snapshots(
    disk: &dyn Disk,
    known: Option<&IdentityFile>,
    report: &mut impl FnMut(Finding),
) {
    let listing = match SnapshotListing::read(disk) {
        Ok(listing) => listing,
        Err(error) => return report(Finding::Unreadable(error)),
    };
    if let Some(IdentityFile { identity, .. }) = known {
        for slot in listing.slots {
            let path = disk.path(&snapshot_name(slot));
            let checked = check_whole(disk, &identity.cluster_id, slot);
            report(Finding::Snapshot { path, checked });
        }
    }
    for part in listing.parts {
        report(Finding::Part { path: disk.path(&part_name(part)), part });
    }
    for name in listing.unfinished {
        report(Finding::Unfinished { path: disk.path(&name) });
    }
    for name in listing.unknown {
        report(Finding::Unknown { path: disk.path(&name) });
    }
}

fn inspect_segment(
    disk: &dyn Disk,
    segment: u32,
    incarnation: Option<Incarnation>,
    report: &mut impl FnMut(Finding),
) -> Result<(), DiskError> {
    let mut scanner = Scanner::open(disk, segment)?;
    let length_bytes = scanner.length_bytes;
    report(Finding::Segment { path: disk.path(&segment_name(segment)), length_bytes });
    // A value can look like a batch of another log. If the identity is lost, any batch may be ours.
    let is_ours = |header: &Header| incarnation.is_none_or(|it| it == header.incarnation);
    let mut offset = 0;
    while offset < length_bytes {
        let place = Place { segment, offset };
        let flaw = match scanner.any_batch(offset, length_bytes)? {
            Ok((header, span)) => {
                let (records, error) = records_found(header.payload(span).unwrap_or_default());
                report(Finding::Batch { place, header, records, error });
                offset += header.span_bytes();
                continue;
            }
            Err(flaw) => flaw,
        };
        if scanner.is_blank_from(offset)? {
            report(Finding::Blank { from: place });
            break;
        }
        let next = scanner.next_header(offset + BLOCK_BYTES, is_ours)?;
        let to = next.unwrap_or(length_bytes);
        report(Finding::Flawed { place, to, flaw });
        offset = to;
    }
    Ok(())
}

fn records_found(payload: &[u8]) -> (Vec<RecordFound>, Option<DecodeError>) {
    let mut found = Vec::new();
    for record in records(payload) {
        match record {
            Ok(record) => found.push(RecordFound::from(&record)),
            Err(error) => return (found, Some(error)),
        }
    }
    (found, None)
}

impl From<&StoredRecord> for RecordFound {
    fn from(record: &StoredRecord) -> Self {
        let (kind, s) = match record.content {
            StoredContent::Promised(s) => (RecordKind::Promised, Some(s)),
            StoredContent::Accepted { s, .. } => (RecordKind::Accepted, Some(s)),
            StoredContent::Committed { .. } => (RecordKind::Committed, None),
            StoredContent::Snapshot { promised, .. } => (RecordKind::Snapshot, Some(promised)),
            StoredContent::Forgotten(Forgotten { s, .. }) => (RecordKind::Forgotten, Some(s)),
        };
        let StoredRecord { watermark, hash, .. } = *record;
        Self { watermark, hash, kind, s, slots: record.slots(), snapshot: record.snapshot() }
    }
}

fn verdict(disk: &dyn Disk, file: &IdentityFile) -> Result<LogEnd, RecoverError> {
    let IdentityFile { identity, log } = file;
    let base = read_base(disk).map_err(RecoverError::Base)?;
    let check_named = |by: &str, named: SnapshotFile| {
        let handle = handle_in(disk, &identity.cluster_id, named);
        let path = disk.path(by);
        handle.map(drop).map_err(|error| RecoverError::Snapshot { path, error })
    };
    let oldest = base.map_or(Slot::ZERO, |base| base.snapshot.slot);
    if let Some(base) = base {
        check_named(BASE.name, base.snapshot)?;
    }
    let check = |batch: &SoundBatch| {
        let (found, error) = records_found(batch.payload());
        for snapshot in found.iter().filter_map(|it| it.snapshot) {
            if snapshot.slot > oldest {
                check_named(&segment_name(batch.place.segment), snapshot)?;
            }
        }
        error.map_or(Ok(()), |error| {
            Err(RecoverError::damage(disk, batch.place, Flaw::NoRecord(error), None))
        })
    };
    let bounds = Bounds::of(base.as_ref());
    let survey = survey(disk, identity.incarnation, log, bounds, |_, _| {}, check)?;
    survey.last.as_ref().map_or(Ok(()), check)?;
    Ok(LogEnd {
        first_batch: bounds.start.batch,
        end: survey.end,
        batches: survey.next.number - bounds.start.batch,
        interrupted: survey.interrupted,
    })
}
