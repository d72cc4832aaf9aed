//! The bytes of what clients and nodes say. Whoever changes one of these changes [`VERSION`] as well.

use std::fmt::Write as _;

use synod_model::{
    ClusterConstants, Configuration, ConfigurationId, Incarnation, Limits, Registration, ReplicaId,
    Run, Slot,
};

use super::*;
use crate::ClusterId;
use crate::codec;

fn hex(message: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    codec::encode(message, &mut bytes, 1 << 20).expect("it is short");
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory");
        text
    })
}

fn ask(ask: Ask) -> String {
    hex(&ToNode { id: 9, ask })
}

fn answer(answer: Answer) -> String {
    hex(&ToClient { id: 9, answer })
}

#[test]
fn version_8_is_what_it_always_was() {
    assert_eq!(VERSION, 8);
    assert_eq!(hex(&Hello::OURS), "53594e4f44636c6908");
    let about = About {
        cluster_id: ClusterId([0xab; 32]),
        replica: ReplicaId(2),
        run: Run(3),
        value_bytes_max: 4,
        session_requests_max: 5,
    };
    let welcome = format!("00{}02030405", "ab".repeat(32));
    assert_eq!(hex(&Welcome::Welcome(about)), welcome);
    assert_eq!(hex(&Welcome::Unwelcome(Unwelcome::Version { node_speaks: 7 })), "010007");

    let request =
        Request { session: SessionId(1), number: 2, answered: 3, value: Value::from("abc") };
    let query = Query { request: Value::from("q"), consistency: Consistency::Stale };
    let follow = Follow { from: Slot(300), until_caught_up: true, everything: false };
    let save = SaveId(0x0102_0304_0506_0708);
    for (asked, bytes) in [
        (Ask::OpenSession, "0900"),
        (Ask::Request(request), "090101020303616263"),
        (Ask::EndSession(SessionId(1)), "090201"),
        (Ask::Query(query), "0903017101"),
        (Ask::Read, "0904"),
        (Ask::Follow(follow), "0905fb2c010100"),
        (Ask::Status, "0906"),
        (Ask::TakeSnapshot, "0907"),
        (Ask::BeginSave(save), "0908fd0807060504030201"),
        (Ask::ReadSave(ReadSave { save: SaveId(1), offset: 300 }), "090901fb2c01"),
        (Ask::EndSave(SaveId(1)), "090a01"),
    ] {
        assert_eq!(ask(asked.clone()), bytes, "{asked:?}");
    }

    let begun = SaveBegun {
        slot: Slot(5),
        bytes: 6,
        checksum: 7,
        piece_bytes: 8,
        cluster_name: "c".to_owned(),
    };
    for (answered, bytes) in [
        (Answer::Opened(SessionId(1)), "090001"),
        (Answer::Ended(Slot(1)), "090201"),
        (Answer::ReadAt(Slot(1)), "090601"),
        (Answer::SaveBegun(begun), "090e050607080163"),
        (Answer::SavePiece(Value::from("abc")), "090f03616263"),
        (Answer::NotSaved(SaveError::NotTaken(TakeSnapshotError::Empty)), "09100000"),
        (Answer::NotSaved(SaveError::Busy), "091001"),
        (Answer::NotSaved(SaveError::NotKept), "091002"),
        (Answer::NotSaved(SaveError::Disk("d".to_owned())), "0910030164"),
        (Answer::NotSaved(SaveError::Stopping), "091004"),
        (Answer::SaveEnded, "0911"),
    ] {
        assert_eq!(answer(answered.clone()), bytes, "{answered:?}");
    }
}

/// What is said of the members.
#[test]
fn version_8_says_this_of_members() {
    assert_eq!(VERSION, 8);
    let first = Configuration::new(ConfigurationId(1), vec![ReplicaId(0)]).expect("a member");
    let constants = ClusterConstants::new(7, first.clone(), Limits::default()).expect("right");
    let registration = Registration { incarnation: Incarnation(5), address: "a:1".to_owned() };
    let configuration = first.with_registration(ReplicaId(0), registration).expect("a member");
    let changed = configuration.changed(&[ReplicaId(0)], &[ReplicaId(1)]).expect("a learner");
    let change = Change { session: SessionId(2), number: 3, answered: 4, configuration: changed };
    let members = Members {
        cluster_id: ClusterId([0xab; 32]),
        cluster_name: "c".to_owned(),
        constants: constants.clone(),
        configuration: configuration.clone(),
        changed_at: Slot(6),
        is_finished: true,
    };
    assert_eq!(ask(Ask::Members), "090b");
    let changed = "020200010101020100050361 3a31".replace(' ', "");
    assert_eq!(ask(Ask::Change(change)), format!("090c020304{changed}"));
    let rest = format!("{}{}0601", hex(&constants), hex(&configuration));
    let expected = format!("0912{}0163{rest}", "ab".repeat(32));
    assert_eq!(answer(Answer::Members(Box::new(members))), expected);
    assert_eq!(answer(Answer::Changed(Slot(6))), "091306");
}

/// Whatever is said fits in a message.
#[test]
fn a_piece_fits() {
    let piece = Value::from(vec![7; usize::try_from(SAVE_PIECE_BYTES_MAX).expect("short")]);
    let mut bytes = Vec::new();
    let message = ToClient { id: u64::MAX, answer: Answer::SavePiece(piece) };
    let limit = usize::try_from(message_bytes_max(1)).expect("short");
    codec::encode(&message, &mut bytes, limit).expect("it fits");
}
