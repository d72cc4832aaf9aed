//! What the log says of peers that have committed other entries.

use std::collections::BTreeMap;
use std::time::Duration;

use synod_model::{OtherHistory, ReplicaId};
use tokio::time::Instant;
use tracing::error;

/// How long nothing more is said of a peer. Default 1 min: the core forgets what it knows of a peer that
/// connects anew, and finds it again.
const SAY_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// When the log told of which peer.
#[derive(Debug, Default)]
pub(super) struct HistoriesLog(BTreeMap<ReplicaId, Instant>);

impl HistoriesLog {
    pub(super) fn tell(&mut self, others: &mut Vec<OtherHistory>) {
        let now = Instant::now();
        for OtherHistory { peer, slot } in others.drain(..) {
            let told = self.0.get(&peer);
            if told.is_some_and(|told| now.saturating_duration_since(*told) < SAY_AGAIN_AFTER) {
                continue;
            }
            self.0.insert(peer, now);
            error!(
                %peer,
                %slot,
                "this peer has committed other entries than this replica, up to that slot: there are \
                 two histories. A disk has lost what was durable, or an older copy of a data directory \
                 was put in place. Either side may be right, so neither counts for the other. Keep \
                 both data directories, and see docs/operating.md#two-histories"
            );
        }
    }
}
