//! What is framed comes back, and what was changed on its way never passes.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    Arrived, FrameError, FrameReadError, FrameReader, HEADER_BYTES, READ_BYTES, append, split,
};
use crate::testing::check;

const MAX: usize = 300;

fn framed(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut buffer = Vec::new();
    for payload in payloads {
        let written = append(&mut buffer, MAX, |buffer, length_bytes_max| {
            assert_eq!(length_bytes_max, buffer.len() + MAX);
            buffer.extend_from_slice(payload);
            Ok::<_, Infallible>(())
        });
        let Ok(()) = written;
    }
    buffer
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 0..MAX), 1..6)
}

/// A connection that delivers its bytes in pieces of these lengths, and then ends.
struct Pieces {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
    largest_room_bytes: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.lengths.pop().unwrap_or(usize::MAX);
        let length = length.min(into.remaining()).min(self.bytes.len());
        self.largest_room_bytes = self.largest_room_bytes.max(into.remaining());
        let piece: Vec<u8> = self.bytes.drain(..length).collect();
        into.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

type AllRead = (Vec<Vec<u8>>, Result<(), FrameReadError>, usize);

/// Everything that can be read, how it ended, and how much room was allocated at most.
fn read(bytes: Vec<u8>, lengths: Vec<usize>, payload_bytes_max: usize) -> AllRead {
    let source = Pieces { bytes, lengths, largest_room_bytes: 0 };
    let mut reader = FrameReader::new(source, payload_bytes_max);
    let mut payloads = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let ended = runtime.block_on(async {
        while let Some(payload) = reader.next().await? {
            payloads.push(payload.to_vec());
        }
        Ok(())
    });
    (payloads, ended, reader.source.largest_room_bytes)
}

#[test]
fn what_is_framed_comes_back_in_any_pieces() {
    check(500, &(payloads(), vec(1..40_usize, 0..60)), |(payloads, lengths)| {
        let (found, ended, _) = read(framed(&payloads), lengths, MAX);
        assert_eq!(found, payloads);
        assert!(ended.is_ok());
    });
}

#[test]
fn a_cut_off_frame_is_incomplete() {
    check(300, &(vec(any::<u8>(), 0..MAX), any::<Index>()), |(payload, cut)| {
        let whole = framed(std::slice::from_ref(&payload));
        let cut = cut.index(whole.len());
        assert_eq!(split(&whole[..cut], MAX), Ok(None));
        let (found, ended, _) = read(whole[..cut].to_vec(), vec![], MAX);
        assert!(found.is_empty());
        assert!(if cut == 0 {
            ended.is_ok()
        } else {
            matches!(ended, Err(FrameReadError::CutOff))
        });
    });
}

/// Every read that does not make a frame whole is told.
#[test]
fn parts_of_a_frame_are_told() {
    let whole = framed(&[vec![1; 100], vec![2; 50]]);
    // The first frame has 108 bytes. Lengths are taken from the end.
    let source = Pieces { bytes: whole, lengths: vec![1_000, 60, 30], largest_room_bytes: 0 };
    let mut reader = FrameReader::new(source, MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut arrived = Vec::new();
        loop {
            match reader.next_part().await.expect("frames") {
                Arrived::Frame(payload) => arrived.push(payload.len()),
                Arrived::Part => arrived.push(0),
                Arrived::End => break,
            }
        }
        assert_eq!(arrived, [0, 0, 100, 50]);
    });
}

/// Frames before the change come out unchanged, and none after it.
#[test]
fn a_changed_frame_is_never_misread() {
    let changes = vec((any::<Index>(), 1..=u8::MAX), 1..5);
    check(5_000, &(payloads(), changes), |(payloads, changes)| {
        let whole = framed(&payloads);
        let mut bytes = whole.clone();
        for (place, change) in changes {
            bytes[place.index(whole.len())] ^= change;
        }
        let Some(first) = bytes.iter().zip(&whole).position(|(one, other)| one != other) else {
            return;
        };
        let (found, ended, _) = read(bytes, vec![], MAX);
        let ends = payloads.iter().scan(0, |end, payload| {
            *end += HEADER_BYTES + payload.len();
            Some(*end)
        });
        let sound = ends.take_while(|end| *end <= first).count();
        assert_eq!(found, payloads[..sound]);
        assert!(ended.is_err());
    });
}

#[test]
fn every_flipped_bit_is_found() {
    let whole = framed(&[b"promised 4711".to_vec()]);
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!matches!(split(&bytes, MAX), Ok(Some(_))), "bit {bit}");
    }
}

#[test]
fn garbage_is_refused() {
    check(5_000, &vec(any::<u8>(), 0..1000), |bytes| {
        assert!(!matches!(split(&bytes, usize::MAX), Ok(Some(_))));
        assert!(read(bytes, vec![], MAX).0.is_empty());
    });
    // Neither zeros nor another protocol are frames.
    assert_eq!(split(&[0; 100], MAX), Err(FrameError::Checksum));
    let http = split(b"GET / HTTP/1.1\r\n\r\n", MAX);
    let payload_bytes = u32::from_le_bytes(*b"GET ");
    assert_eq!(http, Err(FrameError::TooLong { payload_bytes, payload_bytes_max: MAX }));
}

/// Four bytes are enough to refuse a frame, and no room is made for what it announces.
#[test]
fn a_length_above_the_limit_is_refused() {
    let too_long = u32::try_from(MAX + 1).expect("small").to_le_bytes();
    assert!(matches!(split(&too_long, MAX), Err(FrameError::TooLong { .. })));
    let allowed = (256_u32 << 20).to_le_bytes().to_vec();
    let (_, ended, largest_room_bytes) = read([allowed, vec![7; 5_000]].concat(), vec![], 1 << 30);
    assert!(matches!(ended, Err(FrameReadError::CutOff)));
    assert!(largest_room_bytes <= 4 * READ_BYTES, "{largest_room_bytes}");
}

#[test]
fn the_limit_may_change_between_frames() {
    let bytes = framed(&[vec![1; 10], vec![2; 20]]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut reader = FrameReader::new(&bytes[..], 10);
        assert_eq!(reader.next().await.expect("short enough"), Some(&[1; 10][..]));
        assert!(reader.next().await.is_err());
        let mut reader = FrameReader::new(&bytes[..], 10);
        reader.next().await.expect("short enough");
        reader.allow(20);
        assert_eq!(reader.next().await.expect("short enough"), Some(&[2; 20][..]));
    });
}

#[test]
fn what_cannot_be_written_leaves_the_buffer_as_it_was() {
    let mut buffer = vec![1, 2, 3];
    let failed = append(&mut buffer, MAX, |buffer, _| {
        buffer.push(4);
        Err("no")
    });
    assert_eq!((failed, buffer), (Err("no"), vec![1, 2, 3]));
}
