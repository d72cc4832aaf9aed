//! What a slot of the log can hold.

use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::counted::SizeBytes;
use crate::limits::Limits;
use crate::numbers::{ReplicaId, Run, SessionId};

/// What clients put in the log. The core never looks into a value, and clones only its handle.
///
/// A handle should be cheap to clone: bytes behind a reference count, or a small integer.
pub trait Value: Clone + Eq + core::fmt::Debug {
    /// The length in bytes of the value behind the handle, for the limits.
    fn size_bytes(&self) -> u64;

    /// A digest of the value behind the handle, for the running hash. It is the same on every replica, in
    /// every version of the program. Two values have the same one only by chance.
    fn digest(&self) -> u64;
}

impl Value for u8 {
    fn size_bytes(&self) -> u64 {
        1
    }

    fn digest(&self) -> u64 {
        u64::from(*self)
    }
}

impl Value for alloc::sync::Arc<[u8]> {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn digest(&self) -> u64 {
        // FNV-1a.
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.iter().fold(0xcbf2_9ce4_8422_2325, mix)
    }
}

/// A client's request for a value in the log.
///
/// This is the one type of a request, from the client protocol to the entry in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request<V> {
    /// The client's session.
    pub session: SessionId,
    /// The request's number in its session, from 1. The same number is the same request.
    pub number: u64,
    /// The client has an answer to, or has given up, every request of the session below this
    /// number; their numbers need not be remembered any longer.
    pub answered: u64,
    /// What the client wants in the log.
    pub value: V,
}

/// A client's wish for a session. The session's id is the slot of this entry. A retried opening is
/// known again by its three fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Opening {
    /// The replica that the client asked.
    pub origin: ReplicaId,
    /// The run of that replica.
    pub run: Run,
    /// Counts the sessions opened through that run.
    pub count: u64,
}

/// A client's wish for another configuration. It is a request of its session, so a retry is known again.
///
/// It is based on the configuration before it. If another change was committed first, delivery refuses it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// As in a [`Request`].
    pub session: SessionId,
    /// As in a [`Request`].
    pub number: u64,
    /// As in a [`Request`].
    pub answered: u64,
    /// It governs the slots after the one in which this entry is committed.
    pub configuration: Configuration,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Entry<V> {
    /// Nothing. A new coordinator fills an empty slot with it if a slot above is not empty.
    NoOp,
    /// A client's value.
    Request(Request<V>),
    /// Opens a session.
    Open(Opening),
    /// Ends a session: its requests are forgotten.
    End {
        /// The session that ends.
        session: SessionId,
    },
    /// Changes the members.
    Change(Change),
}

/// How many bytes an entry counts for in the limits, beside its value.
pub(crate) const ENTRY_BYTES: u64 = 32;

/// Tells submissions apart: two entries with the same identity are copies of one submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SubmissionId {
    /// A request or a change, by session and number.
    Request {
        /// The client's session.
        session: SessionId,
        /// The request's number in its session.
        number: u64,
    },
    /// The opening of a session.
    Open(Opening),
    /// The end of a session.
    End {
        /// The session that ends.
        session: SessionId,
    },
}

impl<V: Value> Entry<V> {
    /// The identity of the submission that this entry is a copy of. None if the protocol put the entry
    /// in the log by itself.
    #[must_use]
    pub fn submission_id(&self) -> Option<SubmissionId> {
        match *self {
            Self::Request(Request { session, number, .. })
            | Self::Change(Change { session, number, .. }) => {
                Some(SubmissionId::Request { session, number })
            }
            Self::Open(opening) => Some(SubmissionId::Open(opening)),
            Self::End { session } => Some(SubmissionId::End { session }),
            Self::NoOp => None,
        }
    }

    /// Whether the value has no more bytes than the limit allows.
    pub(crate) fn is_within(&self, limits: &Limits) -> bool {
        match self {
            Self::Request(Request { value, .. }) => value.size_bytes() <= limits.value_bytes_max,
            Self::Change(Change { configuration, .. }) => {
                configuration.address_bytes() <= limits.value_bytes_max
            }
            _ => true,
        }
    }

    /// How many bytes this entry counts for in the limits: its value, and a fixed part so that
    /// entries without a value have a limit too.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Request(Request { value, .. }) => ENTRY_BYTES.saturating_add(value.size_bytes()),
            Self::Change(change) => {
                ENTRY_BYTES.saturating_add(change.configuration.address_bytes())
            }
            _ => ENTRY_BYTES,
        }
    }
}

impl<V: Value> SizeBytes for Entry<V> {
    fn size_bytes(&self) -> u64 {
        Entry::size_bytes(self)
    }
}
