//! The request table evicts the session that a search through all sessions would evict.

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{
    Configuration, ConfigurationId, Entry, Known, Limits, Opening, ReplicaId, Request,
    RequestTable, Run, SessionId, Slot, SubmissionId, Verdict,
};

use crate::check;

/// An act of a client. A session is named by the number of sessions that were opened before it.
#[derive(Clone, Copy, Debug)]
enum Act {
    Open,
    Request { session: usize },
    End { session: usize },
}

/// A session, with what decides whether it is evicted.
struct Seen {
    id: SessionId,
    is_open: bool,
    last_delivery: Slot,
}

const SESSIONS_MAX: usize = 4;

fn act() -> impl Strategy<Value = Act> {
    let session = 0..12_usize;
    prop_oneof![
        3 => Just(Act::Open),
        4 => session.clone().prop_map(|session| Act::Request { session }),
        1 => session.prop_map(|session| Act::End { session }),
    ]
}

fn opening(count: u64) -> SubmissionId {
    SubmissionId::Open(Opening { origin: ReplicaId(0), run: Run(1), count })
}

#[test]
fn the_session_that_was_quiet_for_longest_is_evicted() {
    check(2_000, &vec(act(), 1..80), |acts| {
        let limits = Limits { sessions_max: SESSIONS_MAX as u64, ..Limits::default() };
        let configuration = Configuration::new(ConfigurationId(1), vec![ReplicaId(0)]);
        let configuration = configuration.expect("one member");
        let mut table = RequestTable::default();
        // All sessions that were ever opened, and those that the table should still have.
        let mut opened: Vec<SessionId> = Vec::new();
        let mut there: Vec<Seen> = Vec::new();
        for (slot, act) in (1..).map(Slot).zip(acts) {
            let named = |session: usize| opened.get(session).copied().unwrap_or(SessionId(999));
            let entry: Entry<u8> = match act {
                Act::Open => {
                    let count = opened.len() as u64;
                    Entry::Open(Opening { origin: ReplicaId(0), run: Run(1), count })
                }
                Act::Request { session } => {
                    let (session, number) = (named(session), slot.0);
                    Entry::Request(Request { session, number, answered: number, value: 0 })
                }
                Act::End { session } => Entry::End { session: named(session) },
            };
            let verdict = table.deliver(slot, &entry, &configuration, &limits);
            match entry {
                Entry::Open(_) => {
                    if there.len() == SESSIONS_MAX {
                        let key = |it: &Seen| (it.is_open, it.last_delivery, it.id);
                        let quiet = (0..there.len()).min_by_key(|at| key(&there[*at]));
                        there.remove(quiet.expect("it is full"));
                    }
                    let id = SessionId(slot.0);
                    opened.push(id);
                    there.push(Seen { id, is_open: true, last_delivery: slot });
                    assert_eq!(verdict, Some(Verdict::First));
                }
                Entry::Request(Request { session, .. }) | Entry::End { session } => {
                    let known = there.iter_mut().find(|it| it.id == session && it.is_open);
                    assert_eq!(verdict == Some(Verdict::First), known.is_some());
                    if let Some(known) = known {
                        known.last_delivery = slot;
                        known.is_open = matches!(entry, Entry::Request(_));
                    }
                }
                Entry::NoOp | Entry::Change(_) => unreachable!("no act submits these"),
            }
            for (count, id) in (0..).zip(&opened) {
                let is_there = there.iter().any(|it| it.id == *id);
                assert_eq!(table.look_up(opening(count)) != Known::Nothing, is_there);
            }
        }
    });
}
