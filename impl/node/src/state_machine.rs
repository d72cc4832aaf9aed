//! The state machine: what a replicated log is for.
//!
//! A node applies every command of the log to its state machine, in the order of the log. Two state
//! machines that start in the same state and apply the same commands in the same order end in the same
//! state. So every replica has the same state, and any of them can take over.
//!
//! To embed a node, write one type and implement [`StateMachine`] for it. [`Responder`] is what
//! the node runs: it wraps the machine, and keeps the responses that a retry may ask for.

mod responder;
mod responses;

use std::io::{self, Read, Write};

use synod_model::Slot;
use synod_wire::Value;

pub(crate) use responder::skip_responses;
pub use responder::{Responder, ResponderSnapshot};

/// A deterministic state machine. The node calls it from one thread at a time.
///
/// # Determinism
///
/// [`apply`](Self::apply) must depend on the state and on the command, and on nothing else. A clock, a
/// random number, the order of a hash table, an environment variable or a file would make replicas
/// differ, and nothing would notice. If a command needs the time or a random number, the client puts
/// it into the command.
///
/// # Bytes
///
/// Commands, responses and requests are bytes. The node does not look into them. The machine decodes a
/// command, and a client may send anything: every replica must do the same with a command that makes
/// no sense. To respond with an error and to change nothing is a good choice.
///
/// # Panics
///
/// A panic in [`apply`](Self::apply) or [`query`](Self::query) ends the node with an error that names
/// the slot. Other replicas apply the same command, so a command that panics ends all of them. Clients
/// ask another replica when one ends, so a query that panics does the same.
pub trait StateMachine: Send + 'static {
    /// What [`snapshot`](Self::snapshot) returns.
    type Snapshot: Snapshot;

    /// Applies a command and returns its response.
    ///
    /// It is called once for each command, in the order of the slots. The log may hold a command twice,
    /// where a client has retried, and holds entries of the protocol itself. The node leaves those out,
    /// so the slots ascend and have gaps.
    ///
    /// The client that submitted the command receives the response, at whichever replica it is. The
    /// node keeps the response for a retry as long as the client may ask for it: see [`Responder`]. A
    /// response that is empty costs nothing.
    fn apply(&mut self, slot: Slot, command: &Value) -> Value;

    /// Answers a question about the state, and changes nothing.
    ///
    /// No command is applied while a query runs, so a query should be quick: the state is in memory.
    fn query(&self, request: &Value) -> Value;

    /// A handle on the state as it is now.
    ///
    /// Commands wait until this returns, so it should be cheap: a clone of an `Arc`, or the number of a
    /// version. Another thread then writes the handle out ([`Snapshot::write_to`]), while commands go on
    /// being applied. What is written is the state at the time of this call.
    fn snapshot(&self) -> Self::Snapshot;

    /// Replaces the state by the one that a snapshot wrote.
    ///
    /// # Errors
    ///
    /// If `snapshot` cannot be read, or is not what this machine writes. The state may be anything then,
    /// and the caller drops the machine.
    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()>;

    /// The last slot whose command the state includes; asked once, at the start.
    ///
    /// A machine in memory starts empty and says slot 0, as here. The node then applies the whole log
    /// again. A machine that stores its state says which slot it has stored, and the node applies the
    /// log from the next slot on. Such a machine stores the state and the slot together, atomically:
    /// otherwise a crash makes it apply a command twice, or never.
    ///
    /// The store belongs to one data directory of one cluster. With the store of another cluster, the
    /// node leaves out commands that the state does not include, and it cannot notice. It logs a warning
    /// if this slot is above all that its log knows to be committed. That is normal after a crash: a
    /// command is applied when it is committed, and the disk may learn that later.
    fn applied(&self) -> Slot {
        Slot::ZERO
    }

    /// Whether every call returns within microseconds and never waits; asked once, at the start.
    ///
    /// The replica's own task then calls the machine. This saves two changes of thread for each batch,
    /// and the replica does nothing else meanwhile. Otherwise, as here, the machine has a thread of its
    /// own.
    fn is_immediate(&self) -> bool {
        false
    }
}

/// The state of a machine at one moment, made by [`StateMachine::snapshot`].
pub trait Snapshot: Send + 'static {
    /// Writes the state, in the form that [`StateMachine::restore`] reads.
    ///
    /// # Errors
    ///
    /// What `out` fails with. A snapshot that fails changes nothing.
    fn write_to(self, out: &mut dyn Write) -> io::Result<()>;
}

/// Nothing to write.
impl Snapshot for () {
    fn write_to(self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// A state that is encoded already.
impl Snapshot for Vec<u8> {
    fn write_to(self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self)
    }
}

/// The state machine of `synod node`: it has no state. The log itself is what clients want, and they
/// read it by following it.
#[derive(Clone, Copy, Debug, Default)]
pub struct BareLog;

impl StateMachine for BareLog {
    type Snapshot = ();

    fn apply(&mut self, _slot: Slot, _command: &Value) -> Value {
        Value::default()
    }

    fn query(&self, _request: &Value) -> Value {
        Value::default()
    }

    fn snapshot(&self) {}

    fn restore(&mut self, _snapshot: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }

    fn is_immediate(&self) -> bool {
        true
    }
}
