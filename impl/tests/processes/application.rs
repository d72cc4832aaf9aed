//! A callback that panics, in the process of whoever uses the library.

use std::time::Duration;

use synod::api::{Delivery, NotDone, SubmitError, Unknown};
use synod::{Config, Log, NodeError};
use synod_model::Slot;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::wait::SOON;

/// A node whose application is dead is none: it must not go on to take what it will never answer.
#[test]
fn a_panic_of_the_application_ends_the_node_and_everybody_hears_of_it() {
    let cluster = Cluster::made(1);
    let application = |delivery: Delivery| {
        let is_bad = delivery.first_value().is_some_and(|value| value.0 == "bad");
        assert!(!is_bad, "the application does not like this");
    };
    let test = async {
        let log = Log::open(Config::new(cluster.data_dir(0)), application).await.unwrap();
        let good = log.submit("good").await.unwrap();
        let ended = log.ended();
        let (bad, ended) = tokio::join!(log.submit("bad"), ended);
        assert_eq!(bad, Err(SubmitError::Unknown(Unknown::Stopping)));
        let Err(NodeError::Application { slot }) = ended else {
            panic!("it ended otherwise: {ended:?}");
        };
        assert_eq!(slot, Slot(good.0 + 1));
        let late = log.submit("late").await;
        assert_eq!(late, Err(SubmitError::NotDone(NotDone::Stopping)));
        timeout(Duration::from_secs(5), log.stop()).await.expect("it has stopped").unwrap();
    };
    Runtime::new().unwrap().block_on(async { timeout(SOON, test).await.expect("it ends") });
}
