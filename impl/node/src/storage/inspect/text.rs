//! The text of findings. What belongs to something is indented below it.

use std::collections::BTreeMap;
use std::fmt;

use synod_model::ReplicaId;

use super::{Finding, LogEnd, RecordFound, RecordKind};
use crate::identity::Identity;
use crate::storage::base::BaseFile;
use crate::storage::disk_error::Grouped;
use crate::storage::layout::IdentityFile;
use crate::storage::segment::segment_name;
use crate::storage::snapshot::SnapshotFile;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, lock } => {
                write!(f, "data directory {}\n  ", path.display())?;
                match lock {
                    Ok(None) => write!(f, "no process has it open"),
                    Ok(Some(holder)) => write!(
                        f,
                        "{} has it open: what follows of the end of the log may have changed while \
                         it was read",
                        holder.0
                    ),
                    Err(error) => write!(f, "{error}"),
                }
            }
            Self::Identity(Ok(file)) => write_identity(f, file),
            Self::Incarnations(Ok(known)) => {
                write!(f, "members met so far:")?;
                write_members(f, &known.incarnations)?;
                let formed = if known.is_formed { "formed" } else { "not formed yet" };
                write!(f, "\nthe cluster is {formed}")
            }
            Self::Peers(Ok(known)) => {
                write!(f, "addresses of peers:")?;
                write_members(f, known)
            }
            Self::Base(Ok(base)) => {
                let BaseFile { snapshot, record_batch, log } = base;
                write!(
                    f,
                    "the log begins behind the snapshot of slot {}, with batch {} in {}\n  \
                     the record of the snapshot is in batch {}",
                    snapshot.slot,
                    Grouped(log.batch),
                    segment_name(log.segment),
                    Grouped(*record_batch),
                )
            }
            Self::Snapshot { checked: Err(error), .. } => write!(f, "{error}"),
            Self::Snapshot { path, checked: Ok((file, application_bytes)) } => write!(
                f,
                "{}, {} bytes, {} of them of the application, checksum {:016x}",
                path.display(),
                Grouped(file.length_bytes),
                Grouped(*application_bytes),
                file.checksum,
            ),
            Self::Part { path, part } => write!(
                f,
                "{} is a part of a peer's snapshot, {} bytes as a whole: the replica goes on with it if it \
                 still needs it",
                path.display(),
                Grouped(part.length_bytes)
            ),
            Self::Unfinished { path } => {
                write!(f, "{} is not finished: a start removes it", path.display())
            }
            Self::Identity(Err(error))
            | Self::Base(Err(error))
            | Self::Incarnations(Err(error))
            | Self::Peers(Err(error)) => write!(f, "{error}"),
            Self::Unknown { path } => write!(f, "{} does not belong here", path.display()),
            Self::Segment { path, length_bytes } => {
                write!(f, "{}, {} bytes", path.display(), Grouped(*length_bytes))
            }
            Self::Batch { place, header, records, error } => {
                write!(
                    f,
                    "  at byte {}: batch {}, {} bytes",
                    Grouped(place.offset),
                    header.number,
                    Grouped(header.payload_bytes.into()),
                )?;
                for record in records {
                    write!(f, "\n    {record}")?;
                }
                error.as_ref().map_or(Ok(()), |error| write!(f, "\n    then no record: {error}"))
            }
            Self::Flawed { place, to, flaw } => write!(
                f,
                "  at byte {}: no sound batch, up to byte {}: {flaw}",
                Grouped(place.offset),
                Grouped(*to),
            ),
            Self::Blank { from } => {
                write!(f, "  at byte {}: blank to the end", Grouped(from.offset))
            }
            Self::Unreadable(error) => write!(f, "{error}"),
            Self::Verdict(Ok(end)) => write!(f, "{end}"),
            Self::Verdict(Err(error)) => write!(f, "a start of this replica would fail:\n{error}"),
        }
    }
}

fn write_identity(f: &mut fmt::Formatter<'_>, file: &IdentityFile) -> fmt::Result {
    let IdentityFile { identity, log } = file;
    let Identity { cluster_name, cluster_id, replica, incarnation, constants } = identity;
    write!(
        f,
        "replica {replica} of cluster {cluster_name:?}\n  \
         cluster id {cluster_id}\n  \
         incarnation {incarnation}\n  \
         first members {:?}, stride {}\n  \
         segment_bytes = {}, batch_bytes_max = {}\n  \
         limits of the cluster:",
        constants.first_configuration().members(),
        Grouped(constants.stride()),
        Grouped(log.segment_bytes),
        Grouped(log.batch_bytes_max),
    )?;
    let limits = constants.limits().named();
    limits.iter().try_for_each(|(name, limit)| write!(f, "\n    {name} = {}", Grouped(*limit)))
}

fn write_members<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    members: &BTreeMap<ReplicaId, T>,
) -> fmt::Result {
    if members.is_empty() {
        return write!(f, " none");
    }
    members.iter().try_for_each(|(replica, it)| write!(f, "\n  replica {replica}: {it}"))
}

impl fmt::Display for RecordFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { watermark, hash, kind, s, slots, snapshot } = self;
        match kind {
            RecordKind::Promised => write!(f, "promised")?,
            RecordKind::Accepted => write!(f, "accepted")?,
            RecordKind::Committed => write!(f, "committed")?,
            RecordKind::Snapshot => write!(f, "snapshot, promised")?,
            RecordKind::Forgotten => write!(f, "the disk has lost what was told under")?,
        }
        s.map_or(Ok(()), |s| write!(f, " s={s}"))?;
        slots.map_or(Ok(()), |slots| write!(f, " slots {slots:?}"))?;
        snapshot.map_or(Ok(()), |it| {
            let SnapshotFile { slot, length_bytes, checksum } = it;
            let length_bytes = Grouped(length_bytes);
            write!(f, ", slots up to {slot}, {length_bytes} bytes, checksum {checksum:016x}")
        })?;
        write!(f, ", watermark {watermark}, hash {hash}")
    }
}

impl fmt::Display for LogEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first_batch, end, batches, interrupted } = self;
        write!(f, "the log is sound: {} batches, to {end}", Grouped(*batches))?;
        if *first_batch > 1 {
            write!(f, ", the first of which is batch {}", Grouped(*first_batch))?;
        }
        interrupted.map_or(Ok(()), |it| {
            write!(
                f,
                "\n  behind it a write was interrupted, from {} to {}: a start cuts that off",
                it.from, it.to
            )
        })
    }
}
