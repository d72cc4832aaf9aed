//! What the log says of disks that have lost what was durable: of peers that have committed other entries,
//! and of peers that do not have what they told.

use std::collections::BTreeMap;
use std::time::Duration;

use synod_model::{Forgotten, OtherHistory, ReplicaId};
use tokio::time::Instant;
use tracing::error;

/// How long nothing more is said of a peer. Default 1 min: the core forgets what it knows of a peer that
/// connects anew, and finds it again.
const SAY_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// When the log told of which replica.
#[derive(Debug, Default)]
pub(super) struct DamageLog {
    histories: BTreeMap<ReplicaId, Instant>,
    forgotten: BTreeMap<ReplicaId, Instant>,
}

impl DamageLog {
    /// Tells of peers that have committed other entries.
    pub(super) fn tell_histories(&mut self, others: &mut Vec<OtherHistory>) {
        for OtherHistory { peer, slot } in others.drain(..) {
            if is_news(&mut self.histories, peer) {
                error!(
                    %peer,
                    %slot,
                    "this peer has committed other entries than this replica, up to that slot: there are \
                     two histories. A disk has lost what was durable, or an older copy of a data \
                     directory was put in place. Either side may be right, so neither counts for the \
                     other. Keep both data directories, and see docs/operating.md#two-histories"
                );
            }
        }
    }

    /// Tells of replicas that do not have what they told.
    pub(super) fn tell_forgotten(&mut self, forgotten: &mut Vec<Forgotten>) {
        for Forgotten { replica, told_to, s, slot } in forgotten.drain(..) {
            if is_news(&mut self.forgotten, replica) {
                error!(
                    %replica,
                    %told_to,
                    sequence_number = %s,
                    slot = slot.map(tracing::field::display),
                    "the disk of this replica has lost what the replica told when it was durable: a \
                     promise, or an entry that it had accepted in that slot. It counts for nothing \
                     until it is replaced: see docs/operating.md#a-disk-that-forgets"
                );
            }
        }
    }
}

/// Whether nothing was said of `replica` for some time; it is now.
fn is_news(told: &mut BTreeMap<ReplicaId, Instant>, replica: ReplicaId) -> bool {
    let now = Instant::now();
    let is_news = told
        .get(&replica)
        .is_none_or(|told| now.saturating_duration_since(*told) >= SAY_AGAIN_AFTER);
    if is_news {
        told.insert(replica, now);
    }
    is_news
}
