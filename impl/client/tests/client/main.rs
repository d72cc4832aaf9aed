//! Clients and servers over real sockets, with a cluster in memory behind them.

mod budget;
mod changing;
mod fake;
mod following;
mod saving;
mod serving;
mod submitting;

use std::future::Future;
use std::time::Duration;

use synod_client::{Client, ClientOptions, Endpoint};

use fake::Running;

/// No test takes longer.
const TEST_MAX: Duration = Duration::from_secs(20);

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_MAX, test).await.expect("the test takes too long")
}

/// Options with shorter times than by default, which are long enough for a busy machine.
fn options() -> ClientOptions {
    ClientOptions {
        deadline: Duration::from_secs(5),
        connect_max: Duration::from_secs(1),
        silent_max: Duration::from_millis(200),
        out_of_touch_max: Duration::from_secs(2),
        in_flight_max: 1024,
    }
}

fn endpoints(replicas: &[&Running]) -> Vec<Endpoint> {
    replicas.iter().map(|replica| replica.endpoint.clone()).collect()
}

fn client(replicas: &[&Running]) -> Client {
    Client::new(endpoints(replicas), options()).unwrap()
}
