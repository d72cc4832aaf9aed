//! Records as they are in the log.
//!
//! They are the core's records, but for the record of a snapshot. That one names the file of the snapshot
//! by its length and its checksum. The handle, which may be long, is in the file. The file is durable
//! before the record is appended, so whoever reads the record finds it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use synod_model::{
    ConfigurationId, Content, Entry, Forgotten, PrefixHash, Record, SequenceNumber, Slot,
    SlotRange, SnapshotHandle,
};
use synod_wire::Value;
use synod_wire::codec::{self, DecodeError, EncodeError};

use super::snapshot::SnapshotFile;

/// A record, read from the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct StoredRecord {
    pub(super) watermark: Slot,
    pub(super) hash: PrefixHash,
    pub(super) content: StoredContent,
}

/// What a record records. The kinds are numbered in this order, from 0 on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum StoredContent {
    Promised(SequenceNumber),
    Accepted {
        s: SequenceNumber,
        configuration: ConfigurationId,
        first: Slot,
        entries: Vec<Entry<Value>>,
    },
    Committed {
        first: Slot,
        entries: Vec<Entry<Value>>,
    },
    Forgotten(Forgotten),
    Snapshot {
        promised: SequenceNumber,
        file: SnapshotFile,
    },
}

impl StoredRecord {
    /// The record for the core. `handle` returns the handle in the file of a snapshot.
    pub(super) fn into_record<E>(
        self,
        handle: impl FnOnce(SnapshotFile) -> Result<Arc<SnapshotHandle>, E>,
    ) -> Result<Record<Value>, E> {
        let Self { watermark, hash, content } = self;
        let content = match content {
            StoredContent::Promised(s) => Content::Promised(s),
            StoredContent::Accepted { s, configuration, first, entries } => {
                Content::Accepted { s, configuration, first, entries }
            }
            StoredContent::Committed { first, entries } => Content::Committed { first, entries },
            StoredContent::Forgotten(forgotten) => Content::Forgotten(forgotten),
            StoredContent::Snapshot { promised, file } => {
                Content::Snapshot { handle: handle(file)?, promised }
            }
        };
        Ok(Record { watermark, hash, content })
    }

    /// The file of the snapshot that it names, if it names one.
    pub(super) fn snapshot(&self) -> Option<SnapshotFile> {
        match self.content {
            StoredContent::Snapshot { file, .. } => Some(file),
            _ => None,
        }
    }

    /// The slots that it has entries for, if it has any.
    pub(super) fn slots(&self) -> Option<SlotRange> {
        let (first, entries) = match &self.content {
            StoredContent::Promised(_)
            | StoredContent::Forgotten(_)
            | StoredContent::Snapshot { .. } => return None,
            StoredContent::Accepted { first, entries, .. }
            | StoredContent::Committed { first, entries } => (first, entries),
        };
        let more = (entries.len() as u64).checked_sub(1)?;
        Some(SlotRange { first: *first, last: first.plus(more) })
    }
}

/// The records of a batch, one by one. Ends after the first error.
pub(super) fn records(
    payload: &[u8],
) -> impl Iterator<Item = Result<StoredRecord, DecodeError>> + '_ {
    codec::records(payload)
}

/// Appends the encoding of `record` to `buffer`, which may grow up to `length_bytes_max`. `snapshot` is the
/// file of the snapshot that the record names, if it names one.
pub(super) fn encode(
    record: &Record<Value>,
    snapshot: Option<SnapshotFile>,
    buffer: &mut Vec<u8>,
    length_bytes_max: usize,
) -> Result<(), EncodeError> {
    let Record { watermark, hash, content } = record;
    let content = match content {
        Content::Promised(s) => ToStore::Promised(*s),
        Content::Accepted { s, configuration, first, entries } => {
            let (s, configuration, first) = (*s, *configuration, *first);
            ToStore::Accepted { s, configuration, first, entries }
        }
        Content::Committed { first, entries } => ToStore::Committed { first: *first, entries },
        Content::Forgotten(forgotten) => ToStore::Forgotten(*forgotten),
        Content::Snapshot { promised, .. } => {
            let file = snapshot.ok_or_else(|| {
                EncodeError::Impossible("it names a snapshot that has no file".into())
            })?;
            ToStore::Snapshot { promised: *promised, file }
        }
    };
    let record = RecordToStore { watermark: *watermark, hash: *hash, content };
    codec::encode(&record, buffer, length_bytes_max)
}

/// A [`StoredRecord`] that borrows its entries.
#[derive(Serialize)]
struct RecordToStore<'a> {
    watermark: Slot,
    hash: PrefixHash,
    content: ToStore<'a>,
}

/// A [`StoredContent`] that borrows its entries.
#[derive(Serialize)]
enum ToStore<'a> {
    Promised(SequenceNumber),
    Accepted {
        s: SequenceNumber,
        configuration: ConfigurationId,
        first: Slot,
        entries: &'a [Entry<Value>],
    },
    Committed {
        first: Slot,
        entries: &'a [Entry<Value>],
    },
    Forgotten(Forgotten),
    Snapshot {
        promised: SequenceNumber,
        file: SnapshotFile,
    },
}
