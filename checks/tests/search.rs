//! It is known how a search ended, even if stateright calls it done.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use stateright::{Checker, Model, Property};
use synod_checks::interrupt::Interrupt;
use synod_checks::memory::MemoryLimit;
use synod_checks::search::{SearchLimits, StopReason, watch};

/// Counts until it is stopped, panics or reaches its end, if it has one.
#[derive(Default)]
struct Counter {
    panics_at: Option<u64>,
    ends_at: Option<u64>,
    is_stopped: AtomicBool,
}

impl Model for Counter {
    type State = u64;
    type Action = u64;

    fn init_states(&self) -> Vec<u64> {
        vec![0]
    }

    fn actions(&self, state: &u64, actions: &mut Vec<u64>) {
        if !self.is_stopped.load(Ordering::Relaxed) && Some(*state) != self.ends_at {
            actions.push(1);
        }
    }

    fn next_state(&self, state: &u64, action: u64) -> Option<u64> {
        assert!(self.panics_at != Some(*state), "{state} is unlucky");
        // Slowly, because a search keeps every state.
        std::thread::sleep(std::time::Duration::from_micros(50));
        Some(state + action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("it counts", |_, _| true)]
    }
}

fn limits() -> SearchLimits {
    let memory = MemoryLimit::new(None).expect("a machine with memory");
    SearchLimits { interrupt: Interrupt::default(), memory, deadline: None }
}

/// How a search of `counter` ended, and after how many states.
fn ended(counter: Counter, limits: &SearchLimits) -> (Option<StopReason>, u64) {
    let threads = NonZeroUsize::new(2).expect("two").get();
    let mut checker = counter.checker().threads(threads).spawn_dfs();
    let ended = watch(&mut checker, limits, stop_it, |_| ());
    (ended.stopped, ended.progress.unique_states)
}

fn stop_it(checker: &impl Checker<Counter>) {
    checker.model().is_stopped.store(true, Ordering::Relaxed);
}

#[test]
fn a_search_that_ends_by_itself_was_not_stopped() {
    let counter = Counter { ends_at: Some(41), ..Counter::default() };
    assert_eq!(ended(counter, &limits()), (None, 42));
}

#[test]
fn a_panic_is_told_with_what_it_said() {
    let counter = Counter { panics_at: Some(13), ..Counter::default() };
    let (stopped, states) = ended(counter, &limits());
    assert_eq!(stopped, Some(StopReason::Panicked("13 is unlucky".to_owned())));
    assert_eq!(states, 14);
}

#[test]
fn every_bound_stops_a_search() {
    let interrupted = limits();
    interrupted.interrupt.set();
    let late = SearchLimits { deadline: Some(Instant::now()), ..limits() };
    for (limits, why) in [(interrupted, StopReason::Interrupted), (late, StopReason::Deadline)] {
        let (stopped, states) = ended(Counter::default(), &limits);
        assert_eq!(stopped, Some(why));
        assert!(states > 0);
    }
}
