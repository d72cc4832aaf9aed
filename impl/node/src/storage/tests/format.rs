//! The format, byte by byte, as docs/storage.md has it and an older program has written it.

use synod_model::{
    ConfigurationId, Content, Entry, Forgotten, Opening, PrefixHash, Record, ReplicaId, Request,
    Run, SequenceNumber, SessionId, Slot,
};
use synod_wire::Value;

use super::fixtures::{append, hex, new_disk, recover};
use crate::disk::SimulatedDisk;

fn records() -> Vec<Record<Value>> {
    let value = Value::from(&b"hello"[..]);
    vec![
        Record {
            watermark: Slot(0),
            hash: PrefixHash(0),
            content: Content::Promised(SequenceNumber(65_537)),
        },
        Record {
            watermark: Slot(1),
            hash: PrefixHash(0x0123_4567_89ab_cdef),
            content: Content::Accepted {
                s: SequenceNumber(65_537),
                configuration: ConfigurationId(3),
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
            hash: PrefixHash(9),
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
            "04000000",                         // version
            "01000000",                         // segment
            "0100000000000000",                 // number
            "efcdab8967452301efcdab8967452301", // incarnation
            "26000000",                         // length of the records
            "00000000",                         // checksum of the header before
            "e4c42b6e",                         // checksum of the records
            "0000000000000000",                 // zeros
            "b5bf6821",                         // checksum of the header
        )
    );
    assert_eq!(
        hex(&segment[64..102]),
        concat!(
            "000000fc01000100",   // watermark 0, its hash, promised, s
            "01",                 // watermark 1
            "fdefcdab8967452301", // its hash
            "01fc0100010003",     // accepted, s, configuration
            "0202",               // first slot, two entries
            "00",                 // no-op
            "01010201",           // request: session, number, answered
            "0568656c6c6f",       // and its value
        )
    );
    assert!(segment[102..4096].iter().all(|byte| *byte == 0));
    assert_eq!(
        hex(&segment[4096..4160]),
        concat!(
            "53594e4f44626174",                 // the letters
            "04000000",                         // version
            "01000000",                         // segment
            "0200000000000000",                 // number
            "efcdab8967452301efcdab8967452301", // incarnation
            "0d000000",                         // length of the records
            "b5bf6821",                         // checksum of the header before
            "b5eb349f",                         // checksum of the records
            "0000000000000000",                 // zeros
            "4bcd7ac3",                         // checksum of the header
        )
    );
    assert_eq!(
        hex(&segment[4160..4173]),
        concat!(
            "0509020402",   // watermark 5, its hash, committed, first slot, two entries
            "0202fb2c0101", // open: origin, run, count
            "0301",         // end: session
        )
    );
    assert!(segment[4173..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_record_of_a_loss_is_what_it_always_was() {
    let disk = new_disk(1);
    let (mut log, _) = recover(&disk);
    let loss = |slot| {
        let (replica, told_to, s) = (ReplicaId(1), ReplicaId(2), SequenceNumber(4));
        let content = Content::Forgotten(Forgotten { replica, told_to, s, slot });
        Record { watermark: Slot(0), hash: PrefixHash(0), content }
    };
    append(&mut log, &[loss(Some(Slot(7))), loss(None)]);
    let files = disk.kill().files();
    assert_eq!(
        hex(&files["log/00000001.wal"][64..79]),
        concat!(
            "000003",   // watermark 0, its hash, forgotten
            "01020401", // the replica, who was told, s, a slot
            "07",       // which
            "000003",   // the same
            "01020400", // of a promise: no slot
        )
    );
}

#[test]
fn small_files_are_what_they_always_were() {
    let files = disk().files();
    assert_eq!(
        hex(&files["identity"]),
        concat!(
            "53594e4f4469646e04000000870000000474657374a39d7db9d06b66afbeaf9085310e8e21244086",
            "c4f5bb906034318709f602c4f001feefcdab8967452301efcdab8967452301fc0000010001030001",
            "02000300fb0004fb0010fc0000000408fbb80bfbb80bfc00001000fc00000100fc00000004fc0000",
            "0100fc00000004fb0004fc00000100fc00000100fc00000004fb0080fbc01f2d782c79",
        )
    );
    assert_eq!(hex(&files["incarnations"]), "53594e4f44696e6304000000020000000000f4e0b931");
    assert_eq!(
        hex(&files["peers"]),
        "53594e4f44706572040000001900000002000d31302e302e302e313a34303030020772323a34303030bc3d6e35"
    );
}
