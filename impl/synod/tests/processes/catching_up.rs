//! A replica was away for longer than the others keep in memory. They read the rest for it from disk.

use synod_client::{Client, ClientOptions};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::wait::until;

/// One and a half times the number of newest entries that a replica keeps in memory, 4,096.
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
    // What it was sent is on its own disk now.
    cluster.ids().for_each(|id| cluster.kill(id));
    cluster.start_all();
    cluster.settled();
    assert_eq!(cluster.same_everywhere().len(), VALUES + 2);
}

/// More bytes than a replica keeps in memory, in few slots.
#[test]
fn a_replica_that_lacks_large_values_is_brought_up_to_date() {
    const LARGE_VALUES: usize = 80;
    const VALUE_BYTES: usize = 1_000_000;
    let (mut cluster, coordination) = Cluster::running(3);
    let away = (coordination.id + 1) % 3;
    cluster.kill(away);
    let endpoints = cluster.endpoints_from(coordination.id);
    Runtime::new().unwrap().block_on(async {
        let client = Client::new(endpoints, ClientOptions::default()).unwrap();
        for _ in 0..LARGE_VALUES {
            client.submit(vec![b'x'; VALUE_BYTES]).await.unwrap();
        }
        client.close().await;
    });
    let end = cluster.read([coordination.id]);
    cluster.start(away);
    let status = || cluster.status([away])[0].clone();
    until("it says how far it lags", || {
        let status = status();
        let committed = status["committed"].as_u64()?;
        let lag = status["lag_slots"].as_u64()?;
        (committed == end || committed + lag >= end).then_some(())
    });
    until("it has everything", || (status()["committed"].as_u64()? >= end).then_some(()));
    assert_eq!(status()["lag_slots"], 0);
}
