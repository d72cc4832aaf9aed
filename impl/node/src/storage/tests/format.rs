//! The format, byte by byte, as docs/storage.md has it and an older program has written it.

use synod_model::{
    Content, Entry, Opening, Record, ReplicaId, Request, Run, SequenceNumber, SessionId, Slot,
};
use synod_wire::Value;

use super::fixtures::{append, new_disk, recover};
use crate::disk::SimulatedDisk;

fn records() -> Vec<Record<Value>> {
    let value = Value::from(&b"hello"[..]);
    vec![
        Record { watermark: Slot(0), content: Content::Promised(SequenceNumber(65_537)) },
        Record {
            watermark: Slot(1),
            content: Content::Accepted {
                s: SequenceNumber(65_537),
                first: Slot(2),
                entries: vec![
                    Entry::NoOp,
                    Entry::Request(Request {
                        session: SessionId(1),
                        number: 2,
                        answered: 1,
                        value,
                    }),
                ],
            },
        },
        Record {
            watermark: Slot(5),
            content: Content::Committed {
                first: Slot(4),
                entries: vec![
                    Entry::Open(Opening { origin: ReplicaId(2), run: Run(300), count: 1 }),
                    Entry::End { session: SessionId(1) },
                ],
            },
        },
    ]
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory");
        text
    })
}

fn disk() -> SimulatedDisk {
    let disk = new_disk(1);
    let (mut log, _) = recover(&disk);
    append(&mut log, &records()[..2]);
    append(&mut log, &records()[2..]);
    disk.kill()
}

#[test]
fn a_batch_is_what_it_always_was() {
    let files = disk().files();
    let segment = &files["log/00000001.wal"];
    assert_eq!(
        hex(&segment[..64]),
        concat!(
            "53594e4f44626174",                 // the letters
            "01000000",                         // version
            "01000000",                         // segment
            "0100000000000000",                 // number
            "efcdab8967452301efcdab8967452301", // incarnation
            "1b000000",                         // length of the records
            "00000000",                         // checksum of the header before
            "523f2345",                         // checksum of the records
            "0000000000000000",                 // zeros
            "799cc5ee",                         // checksum of the header
        )
    );
    assert_eq!(
        hex(&segment[64..91]),
        concat!(
            "0000fc01000100",     // watermark 0, promised, s
            "0101fc010001000202", // watermark 1, accepted, s, first slot, two entries
            "00",                 // no-op
            "01010201",           // request: session, number, answered
            "0568656c6c6f",       // and its value
        )
    );
    assert!(segment[91..4096].iter().all(|byte| *byte == 0));
    assert_eq!(
        hex(&segment[4096..4160]),
        concat!(
            "53594e4f44626174",                 // the letters
            "01000000",                         // version
            "01000000",                         // segment
            "0200000000000000",                 // number
            "efcdab8967452301efcdab8967452301", // incarnation
            "0c000000",                         // length of the records
            "799cc5ee",                         // checksum of the header before
            "868b7f3f",                         // checksum of the records
            "0000000000000000",                 // zeros
            "ef524443",                         // checksum of the header
        )
    );
    assert_eq!(
        hex(&segment[4160..4172]),
        concat!(
            "05020402",     // watermark 5, committed, first slot, two entries
            "0202fb2c0101", // open: origin, run, count
            "0301",         // end: session
        )
    );
    assert!(segment[4172..].iter().all(|byte| *byte == 0));
}

#[test]
fn small_files_are_what_they_always_were() {
    let files = disk().files();
    assert_eq!(
        hex(&files["identity"]),
        concat!(
            "53594e4f4469646e01000000840000000474657374a39d7db9d06b66afbeaf9085310e8e21244086",
            "c4f5bb906034318709f602c4f001feefcdab8967452301efcdab8967452301fc0000010001030001",
            "02fb0004fb0010fc0000000408fbb80bfbb80bfc00001000fc00000100fc00000004fc00000100fc",
            "00000004fb0004fc00000100fc00000100fc00000004fb0080fbc01fcd59f4ff",
        )
    );
    assert_eq!(hex(&files["incarnations"]), "53594e4f44696e6301000000020000000000d6ee82d9");
    assert_eq!(
        hex(&files["peers"]),
        "53594e4f44706572010000001900000002000d31302e302e302e313a34303030020772323a34303030decc5f02"
    );
}
