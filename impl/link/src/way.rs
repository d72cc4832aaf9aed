//! One direction of a link while it runs: its bottleneck on a clock, and who waits for what.
//!
//! While the direction is cut, its clock stands still. So what was on its way stays there, and takes the
//! rest of its time after the cut.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::bottleneck::{Arrival, Bottleneck, EARLY, FlowId, Piece};
use crate::line::Line;

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Way {
    state: Mutex<State>,
    /// Something waits that cannot pass yet, or the conditions have changed.
    waits: Notify,
    is_cut: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    bottleneck: Bottleneck,
    clock: Clock,
    flows: BTreeMap<FlowId, Arc<Signals>>,
}

/// What the two ends of a flow wait for.
#[derive(Debug, Default)]
struct Signals {
    /// The sender: there is room.
    room: Notify,
    /// The receiver: something is on its way.
    sent: Notify,
}

/// The time of one direction, which stands still while it is cut.
#[derive(Debug)]
struct Clock {
    began: Instant,
    /// How long it has stood still before.
    stood: Duration,
    stands_since: Option<Instant>,
}

impl Clock {
    fn now(&self) -> Duration {
        let running = self.stands_since.unwrap_or_else(Instant::now).duration_since(self.began);
        running.saturating_sub(self.stood)
    }

    /// When it will be this time. None: not before the cut ends.
    fn instant_of(&self, time: Duration) -> Option<Instant> {
        self.stands_since.is_none().then(|| self.began + self.stood + time)
    }

    fn set_standing(&mut self, stands: bool) {
        match self.stands_since {
            None if stands => self.stands_since = Some(Instant::now()),
            Some(since) if !stands => {
                self.stood += since.elapsed();
                self.stands_since = None;
            }
            _ => {}
        }
    }
}

impl Way {
    pub(crate) fn new(line: Line) -> Self {
        let clock = Clock { began: Instant::now(), stood: Duration::ZERO, stands_since: None };
        let state = State { bottleneck: Bottleneck::new(line), clock, flows: BTreeMap::new() };
        let is_cut = watch::Sender::new(false);
        Self { state: Mutex::new(state), waits: Notify::new(), is_cut }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn line(&self) -> Line {
        self.lock().bottleneck.line()
    }

    pub(crate) fn set_line(&self, line: Line) {
        let mut state = self.lock();
        let now = state.clock.now();
        state.bottleneck.set_line(line, now);
        self.wake_all(&state);
    }

    pub(crate) fn set_cut(&self, is_cut: bool) {
        let mut state = self.lock();
        state.clock.set_standing(is_cut);
        self.is_cut.send_replace(is_cut);
        self.wake_all(&state);
    }

    fn wake_all(&self, state: &State) {
        self.waits.notify_one();
        for signals in state.flows.values() {
            signals.room.notify_one();
            signals.sent.notify_one();
        }
    }

    pub(crate) fn carried_bytes(&self) -> u64 {
        self.lock().bottleneck.carried_bytes()
    }

    /// Waits until this direction is not cut.
    pub(crate) async fn whole(&self) {
        // The sender is part of this, so waiting cannot fail.
        let _ = self.is_cut.subscribe().wait_for(|is_cut| !is_cut).await;
    }

    /// Waits as long as one packet takes, if nothing is in its way.
    pub(crate) async fn cross(&self) {
        self.whole().await;
        sleep(self.line().delay).await;
    }

    /// Lets pieces pass when it is their time. Never ends.
    pub(crate) async fn run(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                state.advance();
                let next = state.bottleneck.next_start();
                next.and_then(|(_, start)| state.clock.instant_of(start))
            };
            tokio::select! {
                () = wait_until(next) => {}
                () = self.waits.notified() => {}
            }
        }
    }
}

impl State {
    fn advance(&mut self) {
        if self.clock.stands_since.is_some() {
            return;
        }
        for id in self.bottleneck.advance(self.clock.now()) {
            if let Some(signals) = self.flows.get(&id) {
                signals.room.notify_one();
                signals.sent.notify_one();
            }
        }
    }
}

/// One connection in one direction. It is forgotten, with what is on its way, when this is dropped.
#[derive(Debug)]
pub(crate) struct Flow {
    way: Arc<Way>,
    id: FlowId,
    signals: Arc<Signals>,
}

impl Flow {
    pub(crate) fn new(way: &Arc<Way>) -> Self {
        let (mut state, signals) = (way.lock(), Arc::<Signals>::default());
        let now = state.clock.now();
        let id = state.bottleneck.add_flow(now);
        state.flows.insert(id, Arc::clone(&signals));
        drop(state);
        Self { way: Arc::clone(way), id, signals }
    }

    /// Waits until the sender may send so many bytes, at least one.
    pub(crate) async fn room(&self) -> usize {
        loop {
            let room = self.way.lock().bottleneck.room(self.id);
            if room > 0 {
                return room;
            }
            self.signals.room.notified().await;
        }
    }

    pub(crate) fn put(&self, piece: Piece) {
        let mut state = self.way.lock();
        let now = state.clock.now();
        state.bottleneck.put(self.id, piece, now);
        // On a link that is idle it passes at once, and nobody else has to be woken for that.
        state.advance();
        let has_more = state.bottleneck.next_start().is_some();
        drop(state);
        if has_more {
            self.way.waits.notify_one();
        }
    }

    /// Waits as long as one packet takes.
    pub(crate) async fn cross(&self) {
        self.way.cross().await;
    }

    /// Waits for the next piece to arrive.
    pub(crate) async fn take(&self) -> Piece {
        loop {
            let next = {
                let mut state = self.way.lock();
                let now = state.clock.now();
                let is_cut = state.clock.stands_since.is_some();
                match if is_cut { Arrival::Nothing } else { state.bottleneck.take(self.id, now) } {
                    Arrival::Piece(piece) => return piece,
                    Arrival::At(time) => state.clock.instant_of(time.saturating_sub(EARLY)),
                    Arrival::Nothing => None,
                }
            };
            tokio::select! {
                () = wait_until(next) => {}
                () = self.signals.sent.notified() => {}
            }
        }
    }

    /// The receiver has these bytes, so there is room for more.
    pub(crate) fn written(&self, bytes: usize) {
        let mut state = self.way.lock();
        let now = state.clock.now();
        state.bottleneck.written(self.id, bytes, now);
        state.advance();
        let has_more = state.bottleneck.next_start().is_some();
        drop(state);
        if has_more {
            self.way.waits.notify_one();
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let mut state = self.way.lock();
        state.bottleneck.remove_flow(self.id);
        state.flows.remove(&self.id);
    }
}

async fn wait_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
