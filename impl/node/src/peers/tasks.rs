//! The tasks of the transport, and what ends them.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::error::{LinkError, PeersError};
use super::lane::Lane;
use super::limits::GUEST_LOOKS;
use super::peer::Peer;
use super::shared::Shared;
use super::supervision::run_again;
use super::{acceptor, dialer, reporter, snapshots};

/// The tasks of a replica. They end when the other end of `stop` says so, or is gone. Peers come and go, so tasks do.
#[derive(Debug)]
pub(super) struct Tasks {
    stop: watch::Receiver<bool>,
    running: Mutex<JoinSet<()>>,
    rng: Mutex<Rng>,
    /// Held by the one who waits for their end.
    joining: tokio::sync::Mutex<()>,
}

impl Tasks {
    pub(super) fn new(stop: watch::Receiver<bool>, rng: Rng) -> Self {
        let (running, joining) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { stop, running, rng: Mutex::new(rng), joining }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running();
        // Those that have ended are remembered until they are asked for.
        while running.try_join_next().is_some() {}
        running.spawn(task);
    }

    /// Waits until all have ended. They must have been told to.
    pub(super) async fn join(&self) {
        let _joining = self.joining.lock().await;
        while poll_fn(|context| self.running().poll_join_next(context)).await.is_some() {}
    }

    fn running(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rng(&self) -> Rng {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }
}

impl Shared {
    /// Starts to listen, and what there is once.
    pub(super) fn begin(self: &Arc<Self>, listener: TcpListener) {
        let tasks = &self.tasks;
        tasks.spawn(accept(Arc::clone(self), listener, tasks.stop.clone()));
        let fetcher = fetch_snapshots(Arc::clone(self), tasks.rng());
        let fetcher = unless_fatal(self.fatal.subscribe(), fetcher);
        tasks.spawn(until_stopped(tasks.stop.clone(), fetcher));
        tasks.spawn(until_stopped(tasks.stop.clone(), drop_guests(Arc::clone(self))));
    }

    /// Starts to dial `peer`, and to tell the replica of it, until the peer is dropped.
    pub(super) fn keep_connected(self: &Arc<Self>, peer: &Arc<Peer>) {
        let tasks = &self.tasks;
        for lane in Lane::ALL {
            let dialer = dial(Arc::clone(self), Arc::clone(peer), lane, tasks.rng());
            let dialer = unless_fatal(self.fatal.subscribe(), dialer);
            let dialer = until_dropped(Arc::clone(peer), dialer);
            tasks.spawn(until_stopped(tasks.stop.clone(), dialer));
        }
        let reporter = report(Arc::clone(self), Arc::clone(peer));
        let reporter = until_dropped(Arc::clone(peer), reporter);
        tasks.spawn(until_stopped(tasks.stop.clone(), reporter));
    }
}

async fn until_stopped(mut stop: watch::Receiver<bool>, task: impl Future<Output = ()>) {
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = task => {}
    }
}

/// A replica that must stop dials nobody.
async fn unless_fatal(
    mut fatal: watch::Receiver<Option<PeersError>>,
    task: impl Future<Output = ()>,
) {
    tokio::select! {
        _ = fatal.wait_for(Option::is_some) => {}
        () = task => {}
    }
}

async fn until_dropped(peer: Arc<Peer>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = peer.presence.gone() => {}
        () = task => {}
    }
}

async fn fetch_snapshots(shared: Arc<Shared>, mut rng: Rng) {
    let pause = shared.timing.backoff_max;
    let make = || snapshots::fetch(Arc::clone(&shared), rng.fork());
    run_again("receiver of snapshots", pause, make, |_| {}).await;
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, stop: watch::Receiver<bool>) {
    let (listener, pause) = (Arc::new(listener), shared.timing.backoff_max);
    let make = || acceptor::run(Arc::clone(&shared), Arc::clone(&listener), stop.clone());
    run_again("acceptor of peers", pause, make, |_| {}).await;
}

async fn dial(shared: Arc<Shared>, peer: Arc<Peer>, lane: Lane, mut rng: Rng) {
    let (name, pause) = (format!("dialer of {peer} ({lane})"), shared.timing.backoff_max);
    let make = || dialer::run(Arc::clone(&shared), Arc::clone(&peer), lane, rng.fork());
    let note = |panic: &str| {
        let error = LinkError::Panicked(panic.to_owned());
        peer.note_error(lane, error.topic(), error.to_string());
    };
    run_again(name, pause, make, note).await;
}

async fn report(shared: Arc<Shared>, peer: Arc<Peer>) {
    let (name, pause) = (format!("reporter of {peer}"), shared.timing.backoff_min);
    let make = || reporter::run(Arc::clone(&shared), Arc::clone(&peer));
    run_again(name, pause, make, |_| {}).await;
}

async fn drop_guests(shared: Arc<Shared>) {
    let pause = shared.timing.guest_kept / GUEST_LOOKS;
    let make = || async {
        loop {
            sleep(pause).await;
            shared.roster.drop_unused(Instant::now());
        }
    };
    run_again("host of guests", pause, make, |_| {}).await;
}
