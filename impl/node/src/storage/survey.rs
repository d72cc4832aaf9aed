//! What the log on disk amounts to: which batches are sound, where it ends, and whether what is
//! wrong with it is an interrupted write or damage. Reads, and changes nothing.
//!
//! Batch k+1 is written only after batch k is durable, and a segment is made only once the one before
//! it holds a durable batch. So a crash leaves one place at most in which anything but zeros and
//! sound batches can be: where the batch after the last sound one was being written. That is either
//! right behind it, or, if it did not fit there, at the beginning of the next segment; and it is no
//! longer than a batch can be. Anything that is wrong anywhere else, or with a later batch behind it,
//! is **damage**: somebody has changed what was durable.
//!
//! What remains is one case that nobody can tell apart: damage in the very last batch looks like an
//! interrupted write. If it had been acknowledged, it is forgotten.

use super::batch::{Flaw, Header, NoHeader};
use super::identity::Identity;
use super::recover::RecoverError;
use super::scan::{Expected, NotNext, Rest, Scanner};
use super::segment::{Listing, segment_name};
use crate::disk::Disk;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The number of the segment.
    pub segment: u32,
    /// The byte in it.
    pub offset: u64,
}

/// A sound batch.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) place: Place,
    pub(super) header: Header,
    /// All of its bytes.
    pub(super) span: Vec<u8>,
}

impl Batch {
    /// The records; the batch is sound.
    pub(super) fn payload(&self) -> &[u8] {
        let end = super::batch::HEADER_BYTES + self.header.payload_bytes as usize;
        self.span.get(super::batch::HEADER_BYTES..end).unwrap_or_default()
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

/// What the log amounts to.
#[derive(Debug)]
pub(super) struct Survey {
    /// The last sound batch.
    pub(super) last: Option<Batch>,
    /// Where the log ends: behind the last sound batch.
    pub(super) end: Place,
    /// What the next batch must be.
    pub(super) next: Expected,
    /// The segment that was made ahead of use, if there is one. What is in it was interrupted.
    pub(super) spare: Option<u32>,
    pub(super) interrupted: Option<Interrupted>,
}

/// Goes through the log. `on_batch` is given each sound batch in order but the last, each once the
/// batch after it is known to be sound: so it was durable before that one was written.
pub(super) fn survey(
    disk: &dyn Disk,
    identity: &Identity,
    mut on_batch: impl FnMut(&Batch) -> Result<(), RecoverError>,
) -> Result<Survey, RecoverError> {
    let segments = Listing::read(disk)?.segments;
    check_numbers(disk, &segments)?;
    let mut surveyor = Surveyor {
        disk,
        identity,
        scanner: Scanner::open(disk, segments[0])?,
        last: None,
        end: Place { segment: segments[0], offset: 0 },
        next: Expected {
            incarnation: identity.incarnation,
            number: 1,
            previous_checksum: 0,
            payload_bytes_max: identity.log.batch_bytes_max,
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
    }
    let Surveyor { last, end, next, suspect, .. } = surveyor;
    let interrupted = suspect.map(|it| it.interrupted);
    Ok(Survey { last, end, next, spare, interrupted })
}

/// Until there are snapshots no segment is ever removed.
fn check_numbers(disk: &dyn Disk, segments: &[u32]) -> Result<(), RecoverError> {
    for (segment, expected) in segments.iter().copied().zip(1..) {
        if segment != expected {
            return Err(RecoverError::SegmentMissing {
                path: disk.path(&segment_name(expected)),
                next: Some(disk.path(&segment_name(segment))),
            });
        }
    }
    if segments.is_empty() {
        let path = disk.path(&segment_name(1));
        return Err(RecoverError::SegmentMissing { path, next: None });
    }
    Ok(())
}

struct Surveyor<'a> {
    disk: &'a dyn Disk,
    identity: &'a Identity,
    scanner: Scanner<'a>,
    last: Option<Batch>,
    end: Place,
    next: Expected,
    suspect: Option<Suspect>,
}

/// What is an interrupted write, unless something is found behind it.
#[derive(Debug)]
struct Suspect {
    interrupted: Interrupted,
    /// Where the batch is that should be sound, or the first byte of what should be blank.
    place: Place,
    flaw: Flaw,
}

impl Surveyor<'_> {
    /// Goes through the scanner's segment, and says whether it holds a sound batch.
    fn segment(
        &mut self,
        on_batch: &mut impl FnMut(&Batch) -> Result<(), RecoverError>,
    ) -> Result<bool, RecoverError> {
        let segment = self.scanner.segment;
        let segment_bytes = self.identity.log.segment_bytes;
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
                    let mut batch = Batch { place, header, span: Vec::new() };
                    if let Some(before) = self.last.take() {
                        on_batch(&before)?;
                        // The buffer goes round.
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

    /// There is no next batch at `place`: is that where the log ends, or where it was damaged?
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
        if last - offset >= claims_bytes.unwrap_or(self.identity.log.span_bytes_max()) {
            return Err(RecoverError::damage(self.disk, interrupted.to, Flaw::NotBlank, None));
        }
        self.suspect = Some(suspect);
        Ok(())
    }
}

impl Suspect {
    /// Something is at `later` that was written after it.
    fn into_damage(self, disk: &dyn Disk, later: Place) -> RecoverError {
        RecoverError::damage(disk, self.place, self.flaw, Some(later))
    }
}
