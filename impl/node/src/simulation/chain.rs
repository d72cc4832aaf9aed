//! A state machine whose responses show every mistake.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use synod_model::Slot;
use synod_wire::Value;

use crate::state_machine::StateMachine;

/// Responds with a hash of all commands so far. So a response is right only if every command before it
/// was applied once and in order. A few responses are empty.
#[derive(Debug, Default)]
pub(super) struct Chain(u64);

impl StateMachine for Chain {
    type Snapshot = ();

    fn apply(&mut self, slot: Slot, command: &Value) -> Value {
        let mut hasher = DefaultHasher::new();
        (self.0, slot, &command.0).hash(&mut hasher);
        self.0 = hasher.finish();
        if self.0.is_multiple_of(8) { Value::default() } else { self.0.to_string().into() }
    }

    fn query(&self, _request: &Value) -> Value {
        Value::default()
    }

    fn snapshot(&self) {}

    fn restore(&mut self, _snapshot: &mut dyn io::Read) -> io::Result<()> {
        Ok(())
    }
}
