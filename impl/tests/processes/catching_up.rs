//! A replica that was away for longer than the others keep in memory: they read it the rest from disk.

use synod::client::{Client, ClientOptions};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;

/// Half as many again as the newest entries that a replica keeps in memory, 4,096.
const VALUES: usize = 6000;

#[test]
fn a_replica_that_was_away_for_long_is_brought_up_to_date() {
    let (mut cluster, coordination) = Cluster::running(3);
    let away = (coordination.id + 1) % 3;
    cluster.submit([away], &["before"]);
    cluster.kill(away);
    let endpoints = cluster.endpoints_from(coordination.id);
    Runtime::new().unwrap().block_on(async {
        let client = Client::new(endpoints, ClientOptions::default()).unwrap();
        let values = (0..VALUES).map(|count| client.submit(count.to_string().into_bytes()));
        for outcome in futures_util::future::join_all(values).await {
            outcome.unwrap();
        }
        client.close().await;
    });
    cluster.start(away);
    cluster.submit([away], &["afterwards"]);
    assert_eq!(cluster.same_everywhere().len(), VALUES + 2);
    // What it was sent it has on its own disk now.
    cluster.ids().for_each(|id| cluster.kill(id));
    cluster.start_all();
    cluster.settled();
    assert_eq!(cluster.same_everywhere().len(), VALUES + 2);
}
