//! What the frames between two replicas hold, after the handshake.
//!
//! The first byte of a payload says what the rest is:
//!
//! ```text
//!  0   a message, in bincode
//!  1   a ping: its number, little-endian; only from a dialer, on the control lane
//!  2   a pong: the number of the ping that it answers; only from an acceptor
//!  3   a piece of a message of catch-up, and more follow
//!  4   the last piece of it
//!  5   the dialer's replica knows that messages pass on this connection: once, from a dialer
//! ```
//!
//! A long message of catch-up leaves in pieces, and whole messages may leave between two of them. So an
//! accept waits for one piece at most.

use bytes::Bytes;
use synod_model::{Entry, Message, Order, Promise, Reply};
use synod_wire::Value;
use synod_wire::codec::{self, DecodeError, EncodeError};
use synod_wire::frame;

use super::lane::Traffic;
use super::limits::PIECE_BYTES;

const MESSAGE: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;
const PIECE: u8 = 3;
const LAST_PIECE: u8 = 4;
const OPEN: u8 = 5;

/// What a frame has around a message: one byte.
pub(super) const KIND_BYTES: usize = 1;

/// The content of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    Message(&'a [u8]),
    Ping(u64),
    Pong(u64),
    Piece { bytes: &'a [u8], is_last: bool },
    Open,
}

impl<'a> Content<'a> {
    /// The content of a frame with this payload. None if it has none that this version knows.
    pub(super) fn of(payload: &'a [u8]) -> Option<Self> {
        let (kind, rest) = payload.split_first()?;
        let number = || rest.try_into().ok().map(u64::from_le_bytes);
        match *kind {
            MESSAGE => Some(Self::Message(rest)),
            PING => number().map(Self::Ping),
            PONG => number().map(Self::Pong),
            PIECE => Some(Self::Piece { bytes: rest, is_last: false }),
            LAST_PIECE => Some(Self::Piece { bytes: rest, is_last: true }),
            OPEN => rest.is_empty().then_some(Self::Open),
            _ => None,
        }
    }
}

/// A message, ready to be sent to any number of peers, which share its bytes.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub(super) traffic: Traffic,
    pub(super) first: Bytes,
    /// The frames of the other pieces. Most messages have none.
    pub(super) rest: Vec<Bytes>,
}

impl Encoded {
    /// Encodes a message of up to `message_bytes_max`.
    pub(super) fn new(
        message: &Message<Value>,
        message_bytes_max: usize,
    ) -> Result<Self, EncodeError> {
        let traffic = Traffic::of(message);
        let mut buffer = Vec::with_capacity(expected_bytes(message));
        let payload_bytes_max = message_bytes_max.saturating_add(KIND_BYTES);
        frame::append(&mut buffer, payload_bytes_max, |buffer, length_bytes_max| {
            buffer.push(MESSAGE);
            codec::encode(message, buffer, length_bytes_max)
        })?;
        let message_start = frame::HEADER_BYTES + KIND_BYTES;
        if traffic == Traffic::CatchUp && buffer.len() - message_start > PIECE_BYTES {
            return in_pieces(&buffer[message_start..]);
        }
        Ok(Self { traffic, first: buffer.into(), rest: Vec::new() })
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

fn in_pieces(message: &[u8]) -> Result<Encoded, EncodeError> {
    let count = message.len().div_ceil(PIECE_BYTES);
    let mut frames = (1..).zip(message.chunks(PIECE_BYTES)).map(|(number, piece)| {
        let kind = if number == count { LAST_PIECE } else { PIECE };
        framed(kind, piece)
    });
    let first = frames.next().unwrap_or(Err(EncodeError::TooLong))?;
    let rest = frames.collect::<Result<_, _>>()?;
    Ok(Encoded { traffic: Traffic::CatchUp, first, rest })
}

/// The frame of a ping.
pub(super) fn ping(number: u64) -> Result<Bytes, EncodeError> {
    framed(PING, &number.to_le_bytes())
}

/// The frame of the pong that answers it.
pub(super) fn pong(number: u64) -> Result<Bytes, EncodeError> {
    framed(PONG, &number.to_le_bytes())
}

/// The frame that says that the dialer's replica knows of the connection.
pub(super) fn open() -> Result<Bytes, EncodeError> {
    framed(OPEN, &[])
}

fn framed(kind: u8, rest: &[u8]) -> Result<Bytes, EncodeError> {
    let payload_bytes = rest.len() + KIND_BYTES;
    let mut buffer = Vec::with_capacity(frame::HEADER_BYTES + payload_bytes);
    frame::append(&mut buffer, payload_bytes, |buffer, _| {
        buffer.push(kind);
        buffer.extend_from_slice(rest);
        Ok(())
    })?;
    Ok(buffer.into())
}

/// Decodes all of `bytes` as a message.
pub(super) fn decode(bytes: &[u8]) -> Result<Message<Value>, DecodeError> {
    let (message, taken) = codec::decode(bytes)?;
    if taken == bytes.len() {
        Ok(message)
    } else {
        Err(DecodeError::BytesLeft(bytes.len() - taken))
    }
}

/// About how long the encoding of a message is, and rather more. With enough room from the start, its
/// values are copied once, and not again each time the buffer grows.
fn expected_bytes(message: &Message<Value>) -> usize {
    const MESSAGE_BYTES: u64 = 128;
    const ENTRY_BYTES: u64 = 32;
    const NUMBER_BYTES: u64 = 9;
    let of = |entry: &Entry<Value>| entry.size_bytes().saturating_add(ENTRY_BYTES);
    let bytes: u64 = match message {
        Message::Order { order: Order::Accept { entries, .. }, .. }
        | Message::Committed { entries, .. }
        | Message::Submit { submissions: entries } => entries.iter().map(of).sum(),
        Message::Reply { reply: Reply::Promise(Promise { accepted, .. }), .. } => {
            accepted.iter().map(|it| of(&it.entry)).sum()
        }
        Message::Reply { reply: Reply::Acknowledge { ranges, .. }, .. } => {
            2 * NUMBER_BYTES * ranges.len() as u64
        }
        Message::Read { ids, .. } | Message::ReadAt { ids, .. } => NUMBER_BYTES * ids.len() as u64,
        _ => 0,
    };
    usize::try_from(bytes.saturating_add(MESSAGE_BYTES)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use synod_model::{PrefixHash, Slot};
    use synod_wire::testing::{check, entry};

    use super::*;

    const MAX: usize = 1 << 24;

    fn committed(value_bytes: usize) -> Message<Value> {
        Message::Committed {
            log_starts_at: Slot(1),
            first: Slot(5),
            before: PrefixHash(7),
            entries: vec![entry(3, value_bytes)],
            watermark: Slot(9),
        }
    }

    fn payload(frame: &Bytes) -> &[u8] {
        let found = frame::split(frame, MAX).expect("a frame").expect("a whole one");
        assert_eq!(found.whole_bytes, frame.len());
        found.payload
    }

    #[test]
    fn catch_up_of_any_length_comes_back_from_its_pieces() {
        for value_bytes in [0, 10, PIECE_BYTES - 100, PIECE_BYTES, PIECE_BYTES * 3 - 7, 1_000_000] {
            let message = committed(value_bytes);
            let encoded = Encoded::new(&message, MAX).expect("short enough");
            let mut whole = Vec::new();
            let mut is_whole = false;
            for frame in encoded.frames() {
                assert!(!is_whole);
                assert!(payload(frame).len() <= PIECE_BYTES + KIND_BYTES);
                match Content::of(payload(frame)).expect("a content") {
                    Content::Message(bytes) => (whole, is_whole) = (bytes.to_vec(), true),
                    Content::Piece { bytes, is_last } => {
                        whole.extend_from_slice(bytes);
                        is_whole = is_last;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(is_whole);
            assert_eq!(decode(&whole), Ok(message));
        }
    }

    /// A message that somebody waits for stays in one piece, since nothing may pass between.
    #[test]
    fn other_messages_are_one_frame() {
        let message = Message::Submit { submissions: vec![entry(3, 1_000_000)] };
        let encoded = Encoded::new(&message, MAX).expect("short enough");
        assert_eq!(encoded.frames().count(), 1);
        let Some(Content::Message(bytes)) = Content::of(payload(&encoded.first)) else {
            panic!("it is a message");
        };
        assert_eq!(decode(bytes), Ok(message));
    }

    #[test]
    fn a_message_above_the_limit_is_not_encoded() {
        assert_eq!(Encoded::new(&committed(1_000), 1_000).err(), Some(EncodeError::TooLong));
    }

    #[test]
    fn pings_and_pongs_have_numbers() {
        let question = ping(7).expect("short");
        let answer = pong(u64::MAX).expect("short");
        assert_eq!(Content::of(payload(&question)), Some(Content::Ping(7)));
        assert_eq!(Content::of(payload(&answer)), Some(Content::Pong(u64::MAX)));
    }

    #[test]
    fn nonsense_has_no_content() {
        check(1_000, &proptest::collection::vec(proptest::num::u8::ANY, 0..20), |bytes| {
            let kind = bytes.first().copied();
            let is_number = bytes.len() == 9 && matches!(kind, Some(PING | PONG));
            let is_free = matches!(kind, Some(MESSAGE | PIECE | LAST_PIECE)) || bytes == [OPEN];
            assert_eq!(Content::of(&bytes).is_some(), is_number || is_free, "{bytes:?}");
        });
    }
}
