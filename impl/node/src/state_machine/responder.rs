//! The state machine with the responses that its clients may ask for again.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use synod_model::DeliveryRefused::NoSession;
use synod_model::{Delivered, Entry, Slot, Verdict};
use synod_wire::Value;
use synod_wire::api::{Answered, RESPONSE_BYTES_MAX, Response};
use synod_wire::codec;

use super::responses::{Kept, Responses};
use super::{Snapshot, StateMachine};

/// The version of what a [`ResponderSnapshot`] writes.
const SNAPSHOT_VERSION: u32 = 1;

/// How many bytes of responses stand in one block of a snapshot, unless a single one has more.
const BLOCK_BYTES: usize = 256 << 10;

/// How long a block may be: one that was not full, and the largest response with its numbers.
const BLOCK_BYTES_MAX: usize = 2 * BLOCK_BYTES + RESPONSE_BYTES_MAX + 1024;

/// A state machine, with the responses that a retry may ask for: what a node runs.
///
/// It takes in every entry of the log in order, and gives the machine the commands that count: the
/// first copies of requests. It keeps the response of each until the client has it, bounded by 64 MiB.
/// What it keeps is a function of the log, so every replica keeps the same. It belongs to the state:
/// [`snapshot`](Self::snapshot) covers both, and a replica that is restored from one answers a retry as
/// the others do.
///
/// There is one exception. A machine that [has stored its state](StateMachine::applied) is not given
/// the log again, so the responses of what it had stored are [no longer
/// known](Response::NoLongerKnown) after a restart.
#[derive(Debug)]
pub struct Responder<M> {
    machine: M,
    responses: Responses,
    applied: Slot,
}

impl<M: StateMachine> Responder<M> {
    /// Around a machine that has applied what it says.
    pub fn new(machine: M) -> Self {
        let applied = machine.applied();
        Self { machine, responses: Responses::new(applied), applied }
    }

    /// The last slot that it has taken in.
    pub fn applied(&self) -> Slot {
        self.applied
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Takes in the next entry of the log, and returns the response of its command. An entry that is
    /// no command, or not the first copy of one, changes nothing and has an empty response.
    pub fn apply(&mut self, delivered: &Delivered<Value>) -> Response {
        let Delivered { slot, entry, verdict } = delivered;
        self.applied = *slot;
        match (entry, verdict) {
            (Entry::Request(request), Some(Verdict::First)) => {
                let response = self.machine.apply(*slot, &request.value);
                return self.responses.keep(*slot, request, response);
            }
            (Entry::Request(_), Some(Verdict::Refused { reason: NoSession })) => {}
            (Entry::Request(request), Some(_)) => {
                // Its session is open, so the request table has taken note of `answered` too.
                self.responses.forget_below(request.session, request.answered);
            }
            (Entry::End { session }, Some(Verdict::First)) => {
                self.responses.forget_session(*session);
            }
            _ => {}
        }
        Response::empty()
    }

    /// The response of the command whose first copy is in `slot`. The request table, as of the last
    /// slot that was taken in, remembers that request.
    pub fn response_of(&self, slot: Slot) -> Response {
        self.responses.of(slot)
    }

    /// Asks the machine, and says which state it was asked in.
    pub fn query(&self, request: &Value) -> Answered {
        let response = self.machine.query(request);
        let bytes = response.0.len();
        let response = if bytes > RESPONSE_BYTES_MAX {
            Response::TooLarge { bytes: bytes as u64 }
        } else {
            Response::Known(response)
        };
        Answered { slot: self.applied, response }
    }

    /// A handle on the machine and the responses as they are now.
    pub fn snapshot(&self) -> ResponderSnapshot<M::Snapshot> {
        let (unknown_through, responses) = self.responses.parts();
        let header = Header { version: SNAPSHOT_VERSION, applied: self.applied, unknown_through };
        ResponderSnapshot { header, responses, machine: self.machine.snapshot() }
    }

    /// Replaces the machine's state and the responses by those of a snapshot.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is none. The state may be anything then.
    pub fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut responses = Vec::new();
        let header = read_responses(snapshot, |block| responses.extend(block))?;
        self.machine.restore(snapshot)?;
        self.responses = Responses::from_parts(header.unknown_through, responses);
        self.applied = header.applied;
        Ok(())
    }
}

/// What a snapshot begins with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    applied: Slot,
    unknown_through: Slot,
}

/// The state of a [`Responder`] at one moment.
///
/// It is written as blocks, each with its length before it: a header, the responses, and an empty block
/// at their end. The machine's own snapshot follows. It has no checksum: what stores or sends it adds
/// one.
#[derive(Debug)]
pub struct ResponderSnapshot<S> {
    header: Header,
    responses: BTreeMap<Slot, Kept>,
    machine: S,
}

impl<S> ResponderSnapshot<S> {
    /// The state includes every command up to this slot.
    pub fn applied(&self) -> Slot {
        self.header.applied
    }
}

impl<S: Snapshot> Snapshot for ResponderSnapshot<S> {
    fn write_to(self, out: &mut dyn Write) -> io::Result<()> {
        write_block(out, &self.header)?;
        let mut block = Vec::new();
        let mut block_bytes = 0;
        for (slot, kept) in self.responses {
            block_bytes += kept.size_bytes();
            block.push((slot, kept));
            if block_bytes >= BLOCK_BYTES {
                write_block(out, &block)?;
                block.clear();
                block_bytes = 0;
            }
        }
        if !block.is_empty() {
            write_block(out, &block)?;
        }
        out.write_all(&0_u32.to_le_bytes())?;
        self.machine.write_to(out)
    }
}

fn write_block(out: &mut dyn Write, block: &impl Serialize) -> io::Result<()> {
    let mut bytes = Vec::new();
    codec::encode(block, &mut bytes, BLOCK_BYTES_MAX).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&bytes)
}

/// Reads a snapshot up to the machine's own part of it.
///
/// # Errors
///
/// If it cannot be read, or is none.
pub(crate) fn skip_responses(snapshot: &mut dyn Read) -> io::Result<()> {
    read_responses(snapshot, drop).map(drop)
}

fn read_responses(
    snapshot: &mut dyn Read,
    mut take: impl FnMut(Vec<(Slot, Kept)>),
) -> io::Result<Header> {
    let header: Header = read_block(snapshot)?.ok_or_else(|| invalid("it has no header"))?;
    if header.version != SNAPSHOT_VERSION {
        return Err(invalid("it is of another version of synod"));
    }
    while let Some(block) = read_block(snapshot)? {
        take(block);
    }
    Ok(header)
}

/// The next block; none if it is the empty one.
fn read_block<T: DeserializeOwned>(from: &mut dyn Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 {
        return Ok(None);
    }
    if length > BLOCK_BYTES_MAX {
        return Err(invalid("a block is longer than any that is written"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    match codec::decode(&bytes) {
        Ok((block, taken)) if taken == length => Ok(Some(block)),
        Ok(_) => Err(invalid("a block goes on behind its end")),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn invalid(why: &str) -> io::Error {
    let why = format!("this is no snapshot of a state machine: {why}");
    io::Error::new(io::ErrorKind::InvalidData, why)
}
