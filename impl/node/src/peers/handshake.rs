//! The handshake: two replicas say who they are before anything else.
//!
//! The dialer says who it is and which replica it looks for. The acceptor checks that the two belong
//! together, stores the incarnation of the dialer, and says who it is itself: [`Welcome`]. The dialer
//! checks that in the same way, and stores the acceptor's incarnation. So a welcome says two things:
//! who the acceptor is, and that it has stored who the dialer is. [`forming`](crate::forming) relies on
//! the second. If the acceptor does not admit the dialer, it says why, and who it is itself:
//! [`Refused`]. The dialer needs to know that: whether it believes a refusal depends on who refuses.
//!
//! The hello and the reply are one frame each, with this payload:
//!
//! ```text
//! offset  bytes
//!      0      8  eight letters that say what this is
//!      8      4  version of the protocol, little-endian
//!     12         in that version: a hello, or a reply, in bincode
//! ```
//!
//! So two versions that share nothing else can still tell that they differ.
//!
//! [`Welcome`]: super::introduction::HelloReply::Welcome
//! [`Refused`]: super::introduction::HelloReply::Refused

use serde::Serialize;
use serde::de::DeserializeOwned;
use synod_model::{ReplicaId, Run};
use synod_wire::codec::{self, EncodeError};
use synod_wire::frame;

use super::error::{LinkError, Mismatch};
use super::introduction::{Hello, Introduction, PROTOCOL_VERSION, Refusal};
use super::limits::INTRODUCTION_BYTES_MAX;
use crate::identity::Identity;

const LETTERS: [u8; 8] = *b"SYNODnet";
const PREAMBLE_BYTES: usize = 12;

impl Introduction {
    pub(super) fn new(identity: &Identity, run: Run) -> Self {
        Self {
            cluster_id: identity.cluster_id,
            cluster_name: identity.cluster_name.clone(),
            members: identity.constants.first_configuration().members().to_vec(),
            replica: identity.replica,
            incarnation: identity.incarnation,
            run,
        }
    }

    /// Checks a dialer as the acceptor, except for its incarnation. It need not be a member: it may join, or not know
    /// that it was removed, or know of a newer configuration than this replica.
    pub(super) fn judge_dialer(&self, hello: &Hello) -> Result<(), (Mismatch, Refusal)> {
        self.compare_clusters(&hello.from).map_err(|it| (it, Refusal::OtherCluster))?;
        if hello.to != self.replica {
            let mismatch = Mismatch::Misled { wanted: hello.to, me: self.replica };
            return Err((mismatch, Refusal::WrongReplica));
        }
        let replica = hello.from.replica;
        if replica == self.replica {
            return Err((Mismatch::SameReplica { replica }, Refusal::NoPeer));
        }
        Ok(())
    }

    /// Checks, as the dialer, the replica that answers where this one looked for `wanted`, except for
    /// its incarnation.
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

/// The frame of a hello or a reply.
pub(super) fn to_frame(said: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let mut buffer = Vec::new();
    frame::append(&mut buffer, INTRODUCTION_BYTES_MAX, |buffer, length_bytes_max| {
        buffer.extend_from_slice(&LETTERS);
        buffer.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        codec::encode(said, buffer, length_bytes_max)
    })?;
    Ok(buffer)
}

/// The hello or the reply in a frame.
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
