//! The handshake: each says who it is before anything else is said.
//!
//! The dialer says who it is and whom it looks for. The acceptor looks whether the two belong
//! together, stores which data directory the dialer has, and says who it is itself: [`Welcome`]. The
//! dialer looks at that in the same way, and stores it as well. So a welcome tells two things: who
//! the acceptor is, and that it has stored who the dialer is, on which [`forming`](crate::forming)
//! rests. Or the acceptor answers why not: [`Refused`]; with who it is, for whether a refusal is to be
//! believed depends on who refuses.
//!
//! Each of the two is one frame, whose payload is:
//!
//! ```text
//! offset  bytes
//!      0      8  eight letters that say what this is
//!      8      4  version of the protocol, little end first
//!     12         in that version: a hello, or an answer, in bincode
//! ```
//!
//! So two versions that share nothing else can tell each other that they are two versions.
//!
//! [`Welcome`]: Answer::Welcome
//! [`Refused`]: Answer::Refused

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use synod_model::{ReplicaId, Run};
use synod_wire::codec::{self, EncodeError};
use synod_wire::frame;
use synod_wire::{ClusterId, Incarnation};
use thiserror::Error;

use super::error::{LinkError, Mismatch};
use super::limits::INTRODUCTION_BYTES_MAX;
use crate::storage::Identity;

/// The version of everything that replicas tell one another. Another meaning of any message, in this
/// crate or in the core, is another version.
pub const PROTOCOL_VERSION: u32 = 1;

const LETTERS: [u8; 8] = *b"SYNODnet";
const PREAMBLE_BYTES: usize = 12;

/// Who a replica is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Introduction {
    pub(super) cluster_id: ClusterId,
    /// Both are in the id already. If two ids differ, they tell people why.
    pub(super) cluster_name: String,
    pub(super) members: Vec<ReplicaId>,
    pub(super) replica: ReplicaId,
    pub(super) incarnation: Incarnation,
    pub(super) run: Run,
}

/// What the dialer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) from: Introduction,
    /// Whom it looks for.
    pub(super) to: ReplicaId,
}

/// What the acceptor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// "You are stored; and this is who I am."
    Welcome(Introduction),
    /// "I do not talk to you; and this is who I am."
    Refused(Introduction, Refusal),
}

/// Why an acceptor does not talk to a dialer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub(super) enum Refusal {
    #[error("which is of another cluster")]
    OtherCluster,
    #[error("which looks for somebody else")]
    WrongReplica,
    #[error("which is none of its peers")]
    NoPeer,
    #[error("which it knows as incarnation {known}")]
    OtherIncarnation { known: Incarnation },
    #[error("which speaks another version of the protocol")]
    OtherVersion,
}

impl Introduction {
    pub(super) fn new(identity: &Identity, run: Run) -> Self {
        Self {
            cluster_id: identity.cluster_id,
            cluster_name: identity.cluster_name.clone(),
            members: identity.cluster.first_configuration().members().to_vec(),
            replica: identity.replica,
            incarnation: identity.incarnation,
            run,
        }
    }

    /// What this replica, as the acceptor, holds against a dialer. That leaves its incarnation.
    pub(super) fn judge_dialer(&self, hello: &Hello) -> Result<(), (Mismatch, Refusal)> {
        self.compare_clusters(&hello.from).map_err(|it| (it, Refusal::OtherCluster))?;
        if hello.to != self.replica {
            let mismatch = Mismatch::Misled { wanted: hello.to, me: self.replica };
            return Err((mismatch, Refusal::WrongReplica));
        }
        let replica = hello.from.replica;
        if replica == self.replica || !self.members.contains(&replica) {
            let peers = self.members.iter().copied().filter(|it| *it != self.replica).collect();
            return Err((Mismatch::NoPeer { replica, peers }, Refusal::NoPeer));
        }
        Ok(())
    }

    /// What this replica, as the dialer, holds against whoever answers where it looked for `wanted`.
    /// That leaves its incarnation.
    pub(super) fn judge_acceptor(
        &self,
        acceptor: &Self,
        wanted: ReplicaId,
    ) -> Result<(), Mismatch> {
        self.compare_clusters(acceptor)?;
        let found = acceptor.replica;
        if found == wanted { Ok(()) } else { Err(Mismatch::WrongReplica { wanted, found }) }
    }

    fn compare_clusters(&self, other: &Self) -> Result<(), Mismatch> {
        if self.cluster_id == other.cluster_id {
            return Ok(());
        }
        let name = self.cluster_name.clone();
        Err(if name != other.cluster_name {
            Mismatch::ClusterName { mine: name, theirs: other.cluster_name.clone() }
        } else if self.members != other.members {
            Mismatch::Members { name, mine: self.members.clone(), theirs: other.members.clone() }
        } else {
            Mismatch::Constants { name }
        })
    }
}

/// The frame of a hello or an answer.
pub(super) fn to_frame(said: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let mut buffer = Vec::new();
    frame::append(&mut buffer, INTRODUCTION_BYTES_MAX, |buffer, length_bytes_max| {
        buffer.extend_from_slice(&LETTERS);
        buffer.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        codec::encode(said, buffer, length_bytes_max)
    })?;
    Ok(buffer)
}

/// The hello or the answer that is in a frame.
pub(super) fn from_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, LinkError> {
    let (preamble, said) =
        payload.split_first_chunk::<PREAMBLE_BYTES>().ok_or(LinkError::NotAReplica)?;
    let Some(version) = preamble.strip_prefix(&LETTERS) else {
        return Err(LinkError::NotAReplica);
    };
    let found = version.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
    if found != PROTOCOL_VERSION {
        return Err(LinkError::OtherVersion { found });
    }
    codec::decode_small(said).map_err(LinkError::Undecodable)
}
