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
    Content, Forgotten, Incarnation, KnownMembers, PrefixHash, Record, ReplicaId, SequenceNumber,
    Slot, SlotRange,
};
use synod_wire::Value;
use synod_wire::codec::{self, DecodeError};

use super::batch::{BLOCK_BYTES, Flaw, Header};
use super::disk_error::DiskError;
use super::layout::{IDENTITY, INCARNATIONS, IdentityFile, LOCK, PEERS, is_known};
use super::recover_error::RecoverError;
use super::scan::Scanner;
use super::segment::{LOG, Listing, Place, segment_name};
use super::small_file::SmallFileError;
use super::survey::{Interrupted, SoundBatch, survey};
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
    for record in codec::records(payload) {
        match record {
            Ok(record) => found.push(RecordFound::from(&record)),
            Err(error) => return (found, Some(error)),
        }
    }
    (found, None)
}

impl From<&Record<Value>> for RecordFound {
    fn from(record: &Record<Value>) -> Self {
        let (kind, s) = match record.content {
            Content::Promised(s) => (RecordKind::Promised, Some(s)),
            Content::Accepted { s, .. } => (RecordKind::Accepted, Some(s)),
            Content::Committed { .. } => (RecordKind::Committed, None),
            Content::Snapshot { promised, .. } => (RecordKind::Snapshot, Some(promised)),
            Content::Forgotten(Forgotten { s, .. }) => (RecordKind::Forgotten, Some(s)),
        };
        let Record { watermark, hash, ref content } = *record;
        Self { watermark, hash, kind, s, slots: content.slots() }
    }
}

fn verdict(disk: &dyn Disk, file: &IdentityFile) -> Result<LogEnd, RecoverError> {
    let is_decodable = |batch: &SoundBatch| match records_found(batch.payload()).1 {
        None => Ok(()),
        Some(error) => Err(RecoverError::damage(disk, batch.place, Flaw::NoRecord(error), None)),
    };
    let survey = survey(disk, file.identity.incarnation, &file.log, |_, _| {}, is_decodable)?;
    survey.last.as_ref().map_or(Ok(()), is_decodable)?;
    Ok(LogEnd { end: survey.end, batches: survey.next.number - 1, interrupted: survey.interrupted })
}
