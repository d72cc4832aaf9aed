//! The state of the log on disk: which batches are sound, where the log ends, and whether anything
//! wrong is an interrupted write or damage. A survey reads, and changes nothing.
//!
//! Batch k+1 is written only when batch k is durable, and a segment is made only when the one before
//! it holds a durable batch. So after a crash there is at most one place with anything but zeros and
//! sound batches: the place of the batch after the last sound one. It lies right behind the last sound
//! batch, or, if the next one did not fit there, at the beginning of the next segment. It is no longer
//! than a batch can be. Anything wrong in another place, or with a later batch behind it, is
//! **damage**: something has changed what was durable.
//!
//! The file `base` says where the log begins, and names a batch that was durable. So a log that ends
//! before that batch is damaged, whatever it looks like.
//!
//! One case cannot be decided: damage in the very last batch looks like an interrupted write. If that
//! batch was acknowledged, it is lost.

use synod_model::Incarnation;

use super::base::{BaseFile, LogStart};
use super::batch::{Flaw, HEADER_BYTES, Header, NoHeader};
use super::log_limits::LogLimits;
use super::recover_error::RecoverError;
use super::scan::{Expected, NotNext, Rest, Scanner};
use super::segment::{Listing, Place, segment_name};
use crate::disk::Disk;

/// A sound batch.
#[derive(Clone, Debug)]
pub(super) struct SoundBatch {
    pub(super) place: Place,
    pub(super) header: Header,
    /// All bytes of the batch.
    pub(super) span: Vec<u8>,
}

impl SoundBatch {
    /// The records of the batch.
    pub(super) fn payload(&self) -> &[u8] {
        let end = HEADER_BYTES + self.header.payload_bytes as usize;
        self.span.get(HEADER_BYTES..end).unwrap_or_default()
    }
}

/// What an interrupted write has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// The first byte that is not zero.
    pub from: Place,
    /// The last byte that is not zero.
    pub to: Place,
}

impl Interrupted {
    /// How many bytes it reaches over. Both places are in one segment.
    #[must_use]
    pub fn span_bytes(&self) -> u64 {
        self.to.offset.saturating_sub(self.from.offset).saturating_add(1)
    }
}

/// The state of a log.
#[derive(Debug)]
pub(super) struct Survey {
    /// The last sound batch.
    pub(super) last: Option<SoundBatch>,
    /// The end of the log: the place behind the last sound batch.
    pub(super) end: Place,
    /// What the next batch must be.
    pub(super) next: Expected,
    /// The segment that was made ahead of use, if there is one. Anything in it is an interrupted write.
    pub(super) spare: Option<u32>,
    pub(super) interrupted: Option<Interrupted>,
}

/// Where a survey begins, and how far the log reaches at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) start: LogStart,
    /// The number of a batch that was durable, as the file `base` says; 0 if there is none.
    pub(super) durable_batch: u64,
}

impl Bounds {
    pub(super) fn of(base: Option<&BaseFile>) -> Self {
        let whole = Self { start: LogStart::WHOLE, durable_batch: 0 };
        base.map_or(whole, |it| Self { start: it.log, durable_batch: it.record_batch })
    }
}

/// Reads the whole log. `on_batch` gets each sound batch but the last, in order, as soon as the batch
/// after it is known to be sound. So each was durable before the next was written.
/// `progress` is told how many segments are read, of how many.
pub(super) fn survey(
    disk: &dyn Disk,
    incarnation: Incarnation,
    limits: &LogLimits,
    bounds: Bounds,
    mut progress: impl FnMut(u64, u64),
    mut on_batch: impl FnMut(&SoundBatch) -> Result<(), RecoverError>,
) -> Result<Survey, RecoverError> {
    let LogStart { segment: first, batch, previous_checksum } = bounds.start;
    let mut segments = Listing::read(disk)?.segments;
    // A crash may have left some that were to be removed.
    segments.retain(|segment| *segment >= first);
    check_numbers(disk, first, &segments)?;
    progress(0, segments.len() as u64);
    let mut surveyor = Surveyor {
        disk,
        limits,
        scanner: Scanner::open(disk, segments[0])?,
        last: None,
        end: Place { segment: segments[0], offset: 0 },
        next: Expected {
            incarnation,
            number: batch,
            previous_checksum,
            payload_bytes_max: limits.batch_bytes_max,
        },
        suspect: None,
    };
    let mut spare = None;
    for (index, segment) in segments.iter().copied().enumerate() {
        if index > 0 {
            surveyor.scanner.switch(segment)?;
        }
        let is_empty = !surveyor.segment(&mut on_batch)?;
        let next = segments.get(index + 1).copied();
        if is_empty && let Some(next) = next {
            return Err(RecoverError::SegmentAfterEmpty {
                path: disk.path(&segment_name(segment)),
                next: disk.path(&segment_name(next)),
                root: disk.path(""),
            });
        }
        if is_empty && segment != segments[0] {
            spare = Some(segment);
        }
        progress(index as u64 + 1, segments.len() as u64);
    }
    let Surveyor { last, end, next, suspect, .. } = surveyor;
    if next.number <= bounds.durable_batch {
        return Err(match suspect {
            Some(suspect) => RecoverError::damage(disk, suspect.place, suspect.flaw, None),
            None => RecoverError::damage(disk, end, Flaw::Lost { number: next.number }, None),
        });
    }
    let interrupted = suspect.map(|it| it.interrupted);
    Ok(Survey { last, end, next, spare, interrupted })
}

/// Checks that no segment from the `first` on is missing.
fn check_numbers(disk: &dyn Disk, first: u32, segments: &[u32]) -> Result<(), RecoverError> {
    for (segment, expected) in segments.iter().copied().zip(first..) {
        if segment != expected {
            return Err(RecoverError::SegmentMissing {
                path: disk.path(&segment_name(expected)),
                next: Some(disk.path(&segment_name(segment))),
            });
        }
    }
    if segments.is_empty() {
        let path = disk.path(&segment_name(first));
        return Err(RecoverError::SegmentMissing { path, next: None });
    }
    Ok(())
}

struct Surveyor<'a> {
    disk: &'a dyn Disk,
    limits: &'a LogLimits,
    scanner: Scanner<'a>,
    last: Option<SoundBatch>,
    end: Place,
    next: Expected,
    suspect: Option<Suspect>,
}

/// Something that is an interrupted write, unless something later is found behind it.
#[derive(Debug)]
struct Suspect {
    interrupted: Interrupted,
    /// The place where a sound batch should begin, or the first byte of what should be blank.
    place: Place,
    flaw: Flaw,
}

impl Surveyor<'_> {
    /// Reads the scanner's segment, and returns whether it holds a sound batch.
    fn segment(
        &mut self,
        on_batch: &mut impl FnMut(&SoundBatch) -> Result<(), RecoverError>,
    ) -> Result<bool, RecoverError> {
        let segment = self.scanner.segment;
        let segment_bytes = self.limits.segment_bytes;
        if self.scanner.length_bytes != segment_bytes {
            return Err(RecoverError::SegmentLength {
                path: self.disk.path(&segment_name(segment)),
                found: self.scanner.length_bytes,
                expected: segment_bytes,
            });
        }
        let mut offset = 0;
        while offset < segment_bytes {
            let place = Place { segment, offset };
            match self.scanner.batch(offset, &self.next)? {
                Ok((header, span)) => {
                    if let Some(suspect) = self.suspect.take() {
                        return Err(suspect.into_damage(self.disk, place));
                    }
                    let mut batch = SoundBatch { place, header, span: Vec::new() };
                    if let Some(before) = self.last.take() {
                        on_batch(&before)?;
                        // The buffer is used again.
                        batch.span = before.span;
                        batch.span.clear();
                    }
                    batch.span.extend_from_slice(span);
                    self.last = Some(batch);
                    self.next.number += 1;
                    self.next.previous_checksum = header.checksum;
                    offset += header.span_bytes();
                }
                Err(not_next) => {
                    self.end_of_segment(place, not_next)?;
                    break;
                }
            }
        }
        if offset > 0 {
            self.end = Place { segment, offset };
        }
        Ok(offset > 0)
    }

    /// There is no next batch at `place`. Decides whether the log ends there or was damaged there.
    fn end_of_segment(&mut self, place: Place, not_next: NotNext) -> Result<(), RecoverError> {
        let Place { segment, offset } = place;
        let may_be_interrupted = not_next.may_be_interrupted();
        let NotNext { flaw, claims_bytes } = not_next;
        if !may_be_interrupted {
            return Err(match self.suspect.take() {
                Some(suspect) => suspect.into_damage(self.disk, place),
                None => RecoverError::damage(self.disk, place, flaw, None),
            });
        }
        let next = self.next;
        let rest = self.scanner.rest(offset, |at, header| {
            at > offset
                && header.incarnation == next.incarnation
                && header.segment == segment
                && header.number >= next.number
        })?;
        let Rest { first_byte: Some(first), last_byte: Some(last), later } = rest else {
            return Ok(());
        };
        if let Some(suspect) = self.suspect.take() {
            let later = later.map_or(first, |(at, _)| at);
            return Err(suspect.into_damage(self.disk, Place { segment, offset: later }));
        }
        let interrupted = Interrupted {
            from: Place { segment, offset: first },
            to: Place { segment, offset: last },
        };
        let suspect = match flaw {
            Flaw::NoHeader(NoHeader::Blank) => {
                Suspect { interrupted, place: interrupted.from, flaw: Flaw::NotBlank }
            }
            flaw => Suspect { interrupted, place, flaw },
        };
        if let Some((later, _)) = later {
            return Err(suspect.into_damage(self.disk, Place { segment, offset: later }));
        }
        if last - offset >= claims_bytes.unwrap_or(self.limits.span_bytes_max()) {
            return Err(RecoverError::damage(self.disk, interrupted.to, Flaw::NotBlank, None));
        }
        self.suspect = Some(suspect);
        Ok(())
    }
}

impl Suspect {
    /// The error if something at `later` was written after it.
    fn into_damage(self, disk: &dyn Disk, later: Place) -> RecoverError {
        RecoverError::damage(disk, self.place, self.flaw, Some(later))
    }
}
