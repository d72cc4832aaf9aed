//! Watches a search until it ends, and tells how it ended.
//!
//! stateright's `is_done()` is also true of a search that was stopped or whose threads panicked. So
//! this module joins the threads, one by one. The frontier was emptied only if every thread returned
//! by itself, no limit stopped the search, and no violation made it finish early.

use std::any::Any;
use std::time::{Duration, Instant};

use stateright::{Checker, Model};

use crate::interrupt::Interrupt;
use crate::memory::{MemoryLimit, PeakMemory};

/// How often the threads are polled. The interval is short, so that a small search need not wait.
const POLL: Duration = Duration::from_millis(5);
/// The memory is read, and progress shown, once in so many polls.
const POLLS_A_TICK: u32 = 10;

/// What stops a search before its frontier is empty.
#[derive(Clone, Debug)]
pub struct SearchLimits {
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// The memory limit.
    pub memory: MemoryLimit,
    /// The time at which it is stopped.
    pub deadline: Option<Instant>,
}

/// Why a search ended before its frontier was empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// By Ctrl-C.
    Interrupted,
    /// At the memory limit.
    Memory,
    /// At the deadline.
    Deadline,
    /// A thread of the checker panicked, with this message.
    Panicked(String),
}

impl SearchLimits {
    fn exceeded(&self) -> Option<StopReason> {
        if self.interrupt.is_set() {
            Some(StopReason::Interrupted)
        } else if self.memory.is_exceeded() {
            Some(StopReason::Memory)
        } else if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            Some(StopReason::Deadline)
        } else {
            None
        }
    }
}

/// How far a search is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SearchProgress {
    /// The number of unique states so far.
    pub unique_states: u64,
    /// The number of transitions so far.
    pub transitions: u64,
    /// The length of the longest path so far, in states.
    pub max_depth: u64,
    /// How long it has run.
    pub elapsed: Duration,
    /// How much memory the process holds now.
    pub held: Option<u64>,
}

/// How a search ended.
#[derive(Debug)]
pub struct SearchEnd {
    /// Why it ended early; `None` if all of its threads ended by themselves.
    pub stopped: Option<StopReason>,
    /// How far it came.
    pub progress: SearchProgress,
    /// The most memory that the process held during the search.
    pub peak: Option<u64>,
}

/// Waits until `checker` has ended, and shows its progress meanwhile. Calls `stop` when a limit is
/// exceeded.
pub fn watch<M: Model, C: Checker<M>>(
    checker: &mut C,
    limits: &SearchLimits,
    stop: impl Fn(&C),
    mut show: impl FnMut(&SearchProgress),
) -> SearchEnd {
    let start = Instant::now();
    let mut peak = PeakMemory::begin();
    let mut stopped = None;
    let threads = checker.handles();
    let initial = checker.model().init_states().len() as u64;
    let progress = |checker: &C, held| SearchProgress {
        unique_states: checker.unique_state_count() as u64,
        transitions: (checker.state_count() as u64).saturating_sub(initial),
        max_depth: checker.max_depth() as u64,
        elapsed: start.elapsed(),
        held,
    };
    let mut polls = 0;
    while threads.iter().any(|thread| !thread.is_finished()) {
        if polls % POLLS_A_TICK == 0 {
            show(&progress(checker, peak.sample()));
            if stopped.is_none()
                && let Some(reason) = limits.exceeded()
            {
                stop(checker);
                stopped = Some(reason);
            }
        }
        polls += 1;
        std::thread::sleep(POLL);
    }
    for thread in threads {
        if let Err(payload) = thread.join() {
            stopped = Some(StopReason::Panicked(said(payload.as_ref())));
        }
    }
    let progress = progress(checker, peak.sample());
    show(&progress);
    SearchEnd { stopped, progress, peak: peak.end() }
}

/// The message of a panic.
fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
