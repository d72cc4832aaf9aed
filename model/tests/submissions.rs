//! The answer to a submission that arrives more than once.

use std::sync::Arc;

use synod_model::{
    Base, ClientAnswer, ClusterConstants, Configuration, ConfigurationId, Entry, Input, Limits,
    Output, Recovery, Replica, ReplicaId, Request, Run, SessionId, Slot, SubmissionId,
    SubmitRefused,
};

type Value = Arc<[u8]>;

/// One replica of three. It knows no coordinator.
fn replica() -> Replica<Value> {
    let members = (0..3).map(ReplicaId).collect();
    let members = Configuration::new(ConfigurationId(1), members).expect("the members differ");
    let limits = Limits { value_bytes_max: 4, ..Limits::default() };
    let cluster =
        ClusterConstants::new(3, members.clone(), limits).expect("the limits let through");
    let mut out = Output::default();
    let base = Base::new(members);
    let recovery =
        Recovery::new(Arc::new(cluster), ReplicaId(0), Run(1), Slot::ZERO, base, &mut out);
    recovery.and_then(Recovery::finish).expect("an empty disk")
}

fn request(value: &str) -> Entry<Value> {
    Entry::Request(Request {
        session: SessionId(1),
        number: 1,
        answered: 1,
        value: value.as_bytes().into(),
    })
}

fn answers(replica: &mut Replica<Value>, submissions: &[&str]) -> Vec<ClientAnswer> {
    let mut out = Output::default();
    let submissions = submissions.iter().copied().map(request).collect();
    replica.step(Input::Submit(submissions), &mut out);
    out.answers
}

/// An answer names a submission by its id. So while one copy is kept and may be committed, the refusal
/// of another copy must not be reported as the answer.
#[test]
fn a_copy_that_is_too_large_does_not_answer_for_the_one_that_is_kept() {
    let too_large = ClientAnswer::Refused {
        submission: Some(SubmissionId::Request { session: SessionId(1), number: 1 }),
        reason: SubmitRefused::TooLarge,
    };
    assert_eq!(answers(&mut replica(), &["too large"]), [too_large]);
    for together in [["ok", "too large"], ["too large", "ok"]] {
        assert_eq!(answers(&mut replica(), &together), []);
    }
    let mut replica = replica();
    assert_eq!(answers(&mut replica, &["ok"]), []);
    assert_eq!(answers(&mut replica, &["too large"]), []);
}
