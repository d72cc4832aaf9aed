//! What is encoded comes back, and everything else is refused.

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{
    ConfigurationId, Content, Entry, Record, Request, SequenceNumber, SessionId, Slot, SlotRange,
};

use super::{
    DecodeError, EncodeError, decode, decode_from, decode_small, encode, encode_into, records,
};
use crate::Value;
use crate::testing::{self, check};

fn encoded(records: &[Record<Value>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        encode(record, &mut bytes, usize::MAX).expect("memory");
    }
    bytes
}

fn decoded(bytes: &[u8]) -> Result<Vec<Record<Value>>, DecodeError> {
    records(bytes).collect()
}

fn any_record() -> impl Strategy<Value = Record<Value>> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (testing::records(), numbers, vec(any::<u8>(), 0..300), any::<bool>()).prop_map(
        |(mut record, (s, first, session, number), value, keep)| {
            let value = Value::from(value);
            let entries = vec![Entry::Request(Request {
                session: SessionId(session),
                number,
                answered: s,
                value,
            })];
            if !keep {
                let (s, first) = (SequenceNumber(s), Slot(first));
                let configuration = ConfigurationId(number);
                record.content = Content::Accepted { s, configuration, first, entries };
                record.watermark = Slot(number);
            }
            record
        },
    )
}

#[test]
fn what_is_encoded_comes_back() {
    check(2_000, &vec(any_record(), 0..6), |records| {
        let bytes = encoded(&records);
        assert_eq!(decoded(&bytes).as_ref(), Ok(&records));
        // Cut anywhere, it yields fewer records, or an error.
        for cut in 0..bytes.len() {
            if let Ok(fewer) = decoded(&bytes[..cut]) {
                assert_eq!(fewer, records[..fewer.len()]);
                assert!(fewer.len() < records.len());
            }
        }
    });
}

/// Nothing panics, and memory stays in proportion to the input. A test that allocated what these lengths
/// say would not end.
#[test]
fn mutations_are_decoded_or_refused() {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    check(20_000, &(vec(any_record(), 1..4), changes), |(records, changes)| {
        let mut bytes = encoded(&records);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(records) = decoded(&bytes) {
            // An entry takes at least a byte.
            let entries = records.iter().filter_map(|it| it.content.slots());
            assert!(entries.map(SlotRange::count).sum::<u64>() <= bytes.len() as u64);
        }
    });
    check(20_000, &vec(any::<u8>(), 0..100), |bytes| {
        let _ = decoded(&bytes);
        let _ = decode_small::<String>(&bytes);
        let _ = decode_small::<std::collections::BTreeMap<u16, String>>(&bytes);
    });
}

#[test]
fn lengths_are_not_believed() {
    // A number of eight bytes, and none of what it counts.
    let length: &[u8] = &[253, 255, 255, 255, 255, 255, 255, 255, 255];
    let request = [&[0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1], length].concat();
    let entries = [&[0, 0, 1, 1, 1, 1], length].concat();
    for bytes in [request, entries] {
        assert!(matches!(decoded(&bytes), Err(DecodeError::Impossible(_))));
    }
    assert!(decode::<Value>(length).is_err());
    assert!(decode_small::<String>(length).is_err());
    assert_eq!(decode_small::<u8>(&[1, 2]), Err(DecodeError::BytesLeft(1)));
}

/// A configuration that names a member twice is refused, even if its checksum is right.
#[test]
fn an_impossible_configuration_is_refused() {
    let configuration = [0, 0, 1, 1, 1, 1, 1, 4, 1, 1, 1, 7, 2, 5, 5, 0, 6, 0];
    let error = decoded(&configuration).expect_err("a member twice").to_string();
    assert!(error.contains("member 5 is named twice"), "{error}");
}

#[test]
fn what_does_not_fit_leaves_the_buffer_as_it_was() {
    check(300, &(any_record(), 0..400_usize), |(record, length_bytes_max)| {
        let mut buffer = vec![1, 2, 3];
        let length_bytes = 3 + encoded(std::slice::from_ref(&record)).len();
        match encode(&record, &mut buffer, length_bytes_max) {
            Ok(()) => assert!(buffer.len() == length_bytes && length_bytes <= length_bytes_max),
            Err(error) => {
                assert_eq!((error, &buffer[..]), (EncodeError::TooLong, &[1, 2, 3][..]));
                assert!(length_bytes > length_bytes_max);
            }
        }
    });
}

/// A stream has the same encoding, and nothing behind it is read. Its errors are its own.
#[test]
fn a_stream_is_encoded_like_a_buffer() {
    check(300, &(any_record(), any::<prop::sample::Index>()), |(record, cut)| {
        let mut stream = Vec::new();
        encode_into(&record, &mut stream).expect("memory");
        assert_eq!(stream, encoded(std::slice::from_ref(&record)));
        let cut = cut.index(stream.len());
        let error = decode_from::<Record<Value>>(&mut &stream[..cut]).expect_err("cut off");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        let error = encode_into(&record, &mut &mut [0; 3][..cut.min(3)]).expect_err("no room");
        assert_eq!(error.kind(), std::io::ErrorKind::WriteZero);

        stream.push(7);
        let mut rest = &stream[..];
        assert_eq!(decode_from::<Record<Value>>(&mut rest).expect("whole"), record);
        assert_eq!(rest, [7]);
    });
    let forged: &[u8] = &[0, 0, 99];
    let error = decode_from::<Record<Value>>(&mut &forged[..]).expect_err("no such kind");
    assert!(error.downcast::<DecodeError>().is_ok());
}
