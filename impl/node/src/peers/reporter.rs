//! One task for each peer, which carries its news to the inbox.

use std::sync::Arc;

use tokio::time::Instant;

use super::peer::Peer;
use super::shared::Shared;

/// Carries the news of `peer` to the inbox, until nobody reads it any more. While the cluster is not
/// formed, the news wait: no message passes yet.
pub(super) async fn run(shared: Arc<Shared>, peer: Arc<Peer>) {
    let mut formed = shared.gate.watch_formed();
    if formed.wait_for(|formed| *formed).await.is_err() {
        return;
    }
    loop {
        let news = &peer.news;
        let Ok(room) = shared.inbox.control.reserve().await else {
            return;
        };
        if let Some(event) = news.take(peer.id, Instant::now()) {
            room.send(event);
            news.note_told();
        } else {
            drop(room);
            news.changed().await;
        }
    }
}
