//! Callbacks, in the process of whoever uses the library: on a thread of their own, and where the
//! replica runs.

use std::sync::mpsc::{Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

use synod::api::{Backend as _, Delivery, NotDone, SubmitError, Unknown};
use synod::{Application, Config, Log, NodeError};
use synod_model::Slot;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::wait::SOON;

/// Tells of every value, and on which thread it came; of one it dies.
struct Fussy {
    is_immediate: bool,
    told: Sender<(Slot, ThreadId)>,
}

impl Application for Fussy {
    fn deliver(&mut self, delivery: Delivery) {
        let Some(value) = delivery.first_value() else {
            return;
        };
        assert!(value.0 != "bad", "the application does not like this");
        self.told.send((delivery.slot, std::thread::current().id())).expect("the test listens");
    }

    fn is_immediate(&self) -> bool {
        self.is_immediate
    }
}

/// A node whose application is dead is none: it must not go on to take what it will never answer.
#[test]
fn a_panic_of_the_application_ends_the_node_and_everybody_hears_of_it() {
    for is_immediate in [false, true] {
        let cluster = Cluster::made(1);
        let (told, _heard) = channel();
        let test = async {
            let application = Fussy { is_immediate, told };
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
}

/// Whoever submits, or reads, and then looks at the application, finds what it has to have.
#[test]
fn a_value_is_answered_when_the_application_has_it() {
    for is_immediate in [false, true] {
        let cluster = Cluster::made(1);
        let (told, heard) = channel();
        let test = async {
            let application = Fussy { is_immediate, told };
            let log = Log::open(Config::new(cluster.data_dir(0)), application).await.unwrap();
            let mut threads = Vec::new();
            for value in ["one", "two", "three"] {
                let slot = log.submit(value).await.unwrap();
                let (delivered, thread) = heard.try_recv().expect("it was delivered before");
                assert_eq!(delivered, slot);
                threads.push(thread);
                assert_eq!(log.read().await, Ok(slot));
                assert_eq!(log.status().applied, slot);
            }
            let of_its_own = !threads.contains(&std::thread::current().id());
            assert_eq!(of_its_own, !is_immediate, "on a runtime of one thread");
            log.stop().await.unwrap();
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async { timeout(SOON, test).await.expect("it ends") });
    }
}
