//! Random logs: what a responder tells, and what is left of it in a snapshot.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{
    Configuration, ConfigurationId, Delivered, Entry, Limits, Opening, ReplicaId, Request,
    RequestTable, Run, SessionId, Slot, SubmissionId, Verdict,
};
use synod_wire::Value;
use synod_wire::api::{RESPONSE_BYTES_MAX, Response};

use crate::state_machine::{Responder, Snapshot, StateMachine};

const SESSIONS: u64 = 4;
const REQUESTS_MAX: u64 = 8;

/// Counts the commands, and responds with the count and the command. Every third response is empty.
#[derive(Clone, Debug, Default, PartialEq)]
struct Machine(Arc<Vec<(Slot, Value)>>);

/// Written by another thread than the one that made it.
struct Handle(Machine);

impl StateMachine for Machine {
    type Snapshot = Handle;

    fn apply(&mut self, slot: Slot, command: &Value) -> Value {
        let commands = Arc::make_mut(&mut self.0);
        commands.push((slot, command.clone()));
        if commands.len().is_multiple_of(3) {
            return Value::default();
        }
        [format!("{}: ", commands.len()).as_bytes(), &command.0].concat().into()
    }

    fn query(&self, _request: &Value) -> Value {
        self.0.len().to_string().into()
    }

    fn snapshot(&self) -> Handle {
        Handle(self.clone())
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut text = String::new();
        snapshot.read_to_string(&mut text)?;
        let command = |line: &str| {
            let (slot, command) = line.split_once(' ').expect("it was written so");
            (Slot(slot.parse().expect("a number")), Value::from(command.to_owned()))
        };
        self.0 = Arc::new(text.lines().map(command).collect());
        Ok(())
    }
}

impl Snapshot for Handle {
    fn write_to(self, out: &mut dyn Write) -> io::Result<()> {
        self.0
            .0
            .iter()
            .try_for_each(|(slot, command)| writeln!(out, "{slot} {}", command.0.escape_ascii()))
    }
}

/// An entry of a random log.
#[derive(Clone, Copy, Debug)]
enum Event {
    Open,
    /// Of the session with this index: a number so far above the lowest unanswered one, told with
    /// another answered number.
    Request {
        session: usize,
        above: u64,
        answers: u64,
    },
    End {
        session: usize,
    },
    NoOp,
}

fn event() -> impl Strategy<Value = Event> {
    let session = 0..8_usize;
    prop_oneof![
        2 => Just(Event::Open),
        20 => (session.clone(), 0..REQUESTS_MAX + 2, 0..3_u64)
            .prop_map(|(session, above, answers)| Event::Request { session, above, answers }),
        1 => session.prop_map(|session| Event::End { session }),
        1 => Just(Event::NoOp),
    ]
}

/// A log, with the verdicts of the request table; and the table after each slot.
fn deliver(events: &[Event]) -> Vec<(Delivered<Value>, RequestTable)> {
    let limits =
        Limits { sessions_max: SESSIONS, session_requests_max: REQUESTS_MAX, ..Limits::default() };
    let configuration = Configuration::new(ConfigurationId(1), vec![ReplicaId(0)]);
    let configuration = configuration.expect("a member");
    let mut table = RequestTable::default();
    let mut sessions: Vec<(SessionId, u64)> = Vec::new();
    let mut log = Vec::new();
    for event in events {
        let slot = Slot(log.len() as u64 + 1);
        let known = sessions.len().max(1);
        let entry = match *event {
            Event::Open => {
                sessions.push((SessionId(slot.0), 1));
                Entry::Open(Opening { origin: ReplicaId(0), run: Run(1), count: slot.0 })
            }
            Event::Request { session, above, answers } => {
                let Some((session, answered)) = sessions.get_mut(session % known) else {
                    continue;
                };
                let number = *answered + above;
                *answered += answers;
                let value = Value::from(format!("{session}.{number}"));
                Entry::Request(Request { session: *session, number, answered: *answered, value })
            }
            Event::End { session } => {
                let Some((session, _)) = sessions.get(session % known) else {
                    continue;
                };
                Entry::End { session: *session }
            }
            Event::NoOp => Entry::NoOp,
        };
        let verdict = table.deliver(slot, &entry, &configuration, &limits);
        log.push((Delivered { slot, entry, verdict }, table.clone()));
    }
    log
}

/// The first copy's response of each request.
type Told = HashMap<SubmissionId, (Slot, Response)>;

/// Applies an entry. Whatever is answered is what the first copy was answered.
fn apply(responder: &mut Responder<Machine>, delivered: &Delivered<Value>, told: &mut Told) {
    let response = responder.apply(delivered);
    let Some(id @ SubmissionId::Request { .. }) = delivered.entry.submission_id() else {
        return;
    };
    match delivered.verdict {
        Some(Verdict::First) => {
            assert!(told.insert(id, (delivered.slot, response)).is_none(), "applied once");
        }
        Some(Verdict::Duplicate { first_slot }) => {
            let (slot, response) = &told[&id];
            assert_eq!((first_slot, &responder.response_of(first_slot)), (*slot, response));
        }
        _ => {}
    }
}

/// Small responses and some of the largest size, in many blocks.
#[test]
fn a_snapshot_holds_many_responses_and_large_ones() {
    let mut responder = Responder::new(Machine::default());
    for slot in 1..=5_000 {
        let bytes = if slot % 1_000 == 0 { RESPONSE_BYTES_MAX - 10 } else { 100 };
        let value = vec![b'v'; bytes].into();
        let request = Request { session: SessionId(slot), number: 1, answered: 1, value };
        let (entry, verdict) = (Entry::Request(request), Some(Verdict::First));
        responder.apply(&Delivered { slot: Slot(slot), entry, verdict });
    }
    let mut bytes = Vec::new();
    responder.snapshot().write_to(&mut bytes).unwrap();
    let mut restored = Responder::new(Machine::default());
    restored.restore(&mut &bytes[..]).unwrap();
    let mut large = 0;
    for slot in (1..=5_000).map(Slot) {
        assert_eq!(restored.response_of(slot), responder.response_of(slot));
        large += usize::from(restored.response_of(slot).size_bytes() > 1_000_000);
    }
    assert_eq!(large, 4, "and that in slot 3,000 is empty");
}

proptest! {
    /// A retry is told what its first copy was told, for as long as the request table remembers it;
    /// also by a replica that was restored from a snapshot, which was written while commands went on.
    #[test]
    fn a_retry_and_a_snapshot_know_what_the_first_copy_was_told(
        events in vec(event(), 1..150),
        at in any::<prop::sample::Index>(),
    ) {
        let log = deliver(&events);
        prop_assume!(!log.is_empty());
        let at = at.index(log.len());
        let mut told = Told::new();
        let mut responder = Responder::new(Machine::default());
        let mut writer = None;
        for (index, (delivered, table)) in log.iter().enumerate() {
            if index == at {
                let snapshot = responder.snapshot();
                writer = Some(thread::spawn(move || {
                    let mut bytes = Vec::new();
                    snapshot.write_to(&mut bytes).map(|()| bytes)
                }));
            }
            apply(&mut responder, delivered, &mut told);
            for (id, (slot, response)) in &told {
                if matches!(table.look_up(*id), synod_model::Known::Delivered { .. }) {
                    prop_assert_eq!(&responder.response_of(*slot), response);
                }
            }
        }

        let bytes = writer.expect("one was begun").join().expect("it writes").unwrap();
        let mut restored = Responder::new(Machine::default());
        restored.restore(&mut &bytes[..]).unwrap();
        prop_assert_eq!(restored.applied(), log[at].0.slot.0.checked_sub(1).map(Slot).unwrap());
        for (delivered, _) in &log[at..] {
            restored.apply(delivered);
        }
        prop_assert_eq!(restored.machine(), responder.machine());
        for (slot, _) in told.values() {
            prop_assert_eq!(restored.response_of(*slot), responder.response_of(*slot));
        }
        // The two are in the same state to the last byte.
        let [mut one, mut other] = [Vec::new(), Vec::new()];
        responder.snapshot().write_to(&mut one).unwrap();
        restored.snapshot().write_to(&mut other).unwrap();
        prop_assert_eq!(one, other);
    }

    /// Neither a cut snapshot nor one with a changed byte makes the reader panic or allocate much.
    #[test]
    fn what_is_no_snapshot_is_refused(cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let events = [Event::Open, Event::Request { session: 0, above: 0, answers: 0 }];
        let mut responder = Responder::new(Machine::default());
        for (delivered, _) in deliver(&events) {
            responder.apply(&delivered);
        }
        let mut bytes = Vec::new();
        responder.snapshot().write_to(&mut bytes).unwrap();
        let machine_bytes = "2 1.1\n".len();
        let cut = cut.index(bytes.len() - machine_bytes);
        let mut restored = Responder::new(Machine::default());
        prop_assert!(restored.restore(&mut &bytes[..cut]).is_err());
        bytes[cut] = byte;
        // It may still make sense, with another number in it.
        let _ = restored.restore(&mut &bytes[..bytes.len() - machine_bytes]);
    }
}
